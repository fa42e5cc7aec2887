//! A small HTTP/1.1 client: one request, one connection, everything bounded.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use systole_core::time::Time;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No answer is read further.
const LARGEST_REPLY: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

/// An `http://` or `https://` URL.
#[derive(Clone, Debug)]
pub struct Url {
    encrypted: bool,
    host: String,
    port: u16,
    /// Path and query, without a slash at the end.
    path: String,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// A sentence that says what would be right.
    pub fn parse(text: &str) -> Result<Url, String> {
        let shown = crate::out::shown(text);
        let wrong = || format!("{shown:?} is not a URL such as https://systole.example.com");
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        let encrypted = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(
                "a URL with a name and a password in it is not used; give a token instead"
                    .to_owned(),
            );
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(wrong)?
            .to_owned();
        let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
        let path = uri
            .path_and_query()
            .map_or("", |path| path.as_str())
            .trim_end_matches('/')
            .to_owned();
        Ok(Url {
            encrypted,
            host,
            port,
            path,
        })
    }

    /// This URL with more at the end of its path; a query stays at the end.
    pub fn join(&self, more: &str) -> Url {
        let path = match self.path.split_once('?') {
            Some((path, query)) => format!("{}{more}?{query}", path.trim_end_matches('/')),
            None => format!("{}{more}", self.path),
        };
        Url {
            path,
            ..self.clone()
        }
    }

    /// This URL with one more parameter in its query.
    pub fn with_parameter(&self, name: &str, value: &str) -> Url {
        let sign = if self.path.contains('?') { '&' } else { '?' };
        let value = escaped(value);
        Url {
            path: format!("{}{sign}{name}={value}", self.path),
            ..self.clone()
        }
    }

    /// Path and query.
    pub fn path_and_query(&self) -> &str {
        &self.path
    }

    /// Whether the way is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether the host is this machine, by its name or address alone.
    pub fn is_loopback(&self) -> bool {
        let bare = self.bare_host();
        bare.eq_ignore_ascii_case("localhost")
            || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        let (scheme, standard) = if self.encrypted {
            ("https", 443)
        } else {
            ("http", 80)
        };
        if self.port == standard {
            format!("{scheme}://{}", self.host)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }

    /// For messages: without the query.
    pub fn shown(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        crate::out::shown(&format!("{}{path}", self.origin()))
    }

    fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    fn request_target(&self) -> &str {
        if self.path.is_empty() {
            "/"
        } else {
            &self.path
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// How long to wait, where it says so in seconds.
    pub retry_after: Option<u64>,
    /// Where it points to.
    pub location: Option<String>,
    /// How much of a check-in's body the server keeps, in bytes.
    pub body_limit: Option<usize>,
    /// When it was sent, in whole seconds, by the other's clock.
    pub date: Option<Time>,
    /// Which process of ours answered, where it says so.
    pub instance: Option<String>,
}

/// The client; TLS is prepared when it is first needed.
#[derive(Default)]
pub struct Http {
    tls: OnceLock<TlsConnector>,
}

impl Http {
    /// A client.
    pub fn new() -> Http {
        Http::default()
    }

    /// Sends one request and reads the whole answer. Redirections are not followed.
    ///
    /// # Errors
    /// What was attempted and what went wrong; never a header.
    pub async fn send(
        &self,
        method: &str,
        url: &Url,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> anyhow::Result<Reply> {
        let stream = tokio::time::timeout(
            CONNECT_TIMEOUT,
            TcpStream::connect((url.bare_host(), url.port)),
        )
        .await
        .map_err(|_| anyhow!("no connection within {} s", CONNECT_TIMEOUT.as_secs()))
        .and_then(|connected| connected.map_err(anyhow::Error::from))
        .with_context(|| format!("cannot reach {}", url.origin()))?;
        let exchange = async {
            if url.encrypted {
                let name = rustls_pki_types::ServerName::try_from(url.bare_host().to_owned())?;
                let stream = self
                    .connector()?
                    .connect(name, stream)
                    .await
                    .context("TLS")?;
                exchange(stream, method, url, headers, body).await
            } else {
                exchange(stream, method, url, headers, body).await
            }
        };
        tokio::time::timeout(REPLY_TIMEOUT, exchange)
            .await
            .map_err(|_| anyhow!("no answer within {} s", REPLY_TIMEOUT.as_secs()))
            .and_then(|reply| reply)
            .with_context(|| format!("{method} {}", url.shown()))
    }

    fn connector(&self) -> anyhow::Result<&TlsConnector> {
        if let Some(connector) = self.tls.get() {
            return Ok(connector);
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            bail!(
                "this machine has no root certificates; install ca-certificates or set SSL_CERT_FILE"
            );
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self
            .tls
            .get_or_init(|| TlsConnector::from(Arc::new(config))))
    }
}

async fn exchange<S>(
    stream: S,
    method: &str,
    url: &Url,
    headers: &[(&str, String)],
    body: Vec<u8>,
) -> anyhow::Result<Reply>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // The connection does the work while the answer is awaited; it ends with the sender.
    let connection = tokio::spawn(connection);
    let host = url.origin();
    let host = host
        .split_once("://")
        .map_or(host.as_str(), |(_, host)| host);
    let mut request = Request::builder()
        .method(method)
        .uri(url.request_target())
        .header("host", host)
        .header("user-agent", concat!("systole/", env!("CARGO_PKG_VERSION")))
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let reply = sender
        .send_request(request.body(Full::new(Bytes::from(body)))?)
        .await?;
    let (parts, body) = reply.into_parts();
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let retry_after = text("retry-after").and_then(|seconds| seconds.trim().parse().ok());
    let location = text("location").map(str::to_owned);
    let body_limit = text("ping-body-limit").and_then(|bytes| bytes.trim().parse().ok());
    let date = text("date")
        .and_then(|text| jiff::fmt::rfc2822::parse(text).ok())
        .map(|date| Time::from_jiff(date.timestamp()));
    let instance = text("systole-instance").map(str::to_owned);
    let body = Limited::new(body, LARGEST_REPLY)
        .collect()
        .await
        .map_err(|error| anyhow!("the answer broke off or was too long: {error}"))?
        .to_bytes()
        .to_vec();
    connection.abort();
    Ok(Reply {
        status: parts.status.as_u16(),
        body,
        retry_after,
        location,
        body_limit,
        date,
        instance,
    })
}

/// Text as it can stand in a query or as one part of a path.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_and_put_together() {
        for (text, more, shown, loopback) in [
            (
                "http://127.0.0.1:8080",
                "/ping/x",
                "http://127.0.0.1:8080/ping/x",
                true,
            ),
            (
                "http://localhost:8080/",
                "/ping/x",
                "http://localhost:8080/ping/x",
                true,
            ),
            (
                "https://example.com/systole/",
                "/a",
                "https://example.com/systole/a",
                false,
            ),
            ("https://[::1]:8443", "/a", "https://[::1]:8443/a", true),
            (
                "https://example.com/p/x?key=1",
                "/start",
                "https://example.com/p/x/start",
                false,
            ),
            (
                "http://127.0.0.1.example.com",
                "",
                "http://127.0.0.1.example.com",
                false,
            ),
        ] {
            let url = Url::parse(text).unwrap().join(more);
            assert_eq!(
                (url.shown().as_str(), url.is_loopback()),
                (shown, loopback),
                "{text}"
            );
        }
        let with_query = Url::parse("https://example.com/p/x?key=1")
            .unwrap()
            .join("/start");
        assert_eq!(with_query.request_target(), "/p/x/start?key=1");
        let with_more = with_query.with_parameter("a", "b c").join("/end");
        assert_eq!(with_more.request_target(), "/p/x/start/end?key=1&a=b%20c");
        for text in [
            "example.com",
            "ftp://example.com",
            "http://",
            "http://user:secret@example.com",
            "http://a b",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_is_escaped_in_queries() {
        assert_eq!(escaped("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
