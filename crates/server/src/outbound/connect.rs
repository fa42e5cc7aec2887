//! From a URL's host to a connection: resolve, judge every address, connect to a judged one, speak TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use systole_core::delivery::ErrorClass;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::guard::{Lists, judge_address};
use crate::channels::redacted;

/// Addresses of one name that are tried.
const ADDRESSES_MOST: usize = 4;
/// The longest head of an answer.
const HEAD_MOST: usize = 64 * 1_024;

/// Why there is no connection: a class and what was wrong, without the target.
pub(super) type Failure = (ErrorClass, String);

/// Where a request goes; connections are shared by requests to the same one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) tls: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
}

impl Target {
    pub(super) fn of(url: &Url) -> Result<Target, Failure> {
        let wrong = |what: &str| (ErrorClass::InvalidConfig, what.to_owned());
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("only http and https URLs can be sent to")),
        };
        let host = url
            .host()
            .ok_or_else(|| wrong("the URL has no host"))?
            .to_owned();
        let port = url
            .port_or_known_default()
            .ok_or_else(|| wrong("the URL has no port"))?;
        Ok(Target { tls, host, port })
    }
}

/// An open connection. Dropping it closes the socket at once, so nothing is written after a sender has given up.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    pub(super) peer: IpAddr,
    pub(super) opened: Instant,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Opens a connection by `deadline`.
pub(super) async fn open(
    target: &Target,
    lists: &Lists,
    tls: &Arc<rustls::ClientConfig>,
    deadline: Instant,
) -> Result<Connection, Failure> {
    let opening = async {
        let addresses = addresses(target, lists).await?;
        let (stream, peer) = connect(&addresses, deadline).await?;
        if !target.tls {
            return speak(stream, peer).await;
        }
        let name = server_name(&target.host)?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await;
        speak(stream.map_err(|error| tls_failure(&error))?, peer).await
    };
    let late = || {
        (
            ErrorClass::Timeout,
            "no connection was made in time".to_owned(),
        )
    };
    timeout_at(deadline, Box::pin(opening))
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// The addresses that may be connected to. A name with forbidden and allowed addresses has the allowed ones.
pub(super) async fn addresses(target: &Target, lists: &Lists) -> Result<Vec<SocketAddr>, Failure> {
    let resolved: Vec<SocketAddr> = match &target.host {
        Host::Ipv4(v4) => vec![SocketAddr::new((*v4).into(), target.port)],
        Host::Ipv6(v6) => vec![SocketAddr::new((*v6).into(), target.port)],
        Host::Domain(name) => tokio::net::lookup_host((name.as_str(), target.port))
            .await
            .map_err(|error| {
                (
                    ErrorClass::Dns,
                    format!("the name does not resolve: {error}"),
                )
            })?
            .collect(),
    };
    let mut refused = None;
    let mut allowed = Vec::new();
    for address in resolved {
        match judge_address(address.ip(), lists) {
            Ok(()) => allowed.push(address),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    allowed.truncate(ADDRESSES_MOST);
    match (allowed.is_empty(), refused) {
        (false, _) => Ok(allowed),
        (true, Some(refusal)) => Err((ErrorClass::BlockedByPolicy, refusal.to_string())),
        (true, None) => Err((ErrorClass::Dns, "the name has no address".to_owned())),
    }
}

/// Connects to the first that answers; one that is silent leaves the others their share of the time.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<(TcpStream, IpAddr), Failure> {
    let mut last = (ErrorClass::Connect, "the name has no address".to_owned());
    for (index, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let left = u32::try_from(addresses.len() - index).unwrap_or(1);
        let share = now + deadline.saturating_duration_since(now) / left;
        match timeout_at(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Small requests leave at once; where the option cannot be set they leave a little later.
                let _ = stream.set_nodelay(true);
                return Ok((stream, address.ip()));
            }
            Ok(Err(error)) => last = (ErrorClass::Connect, error.to_string()),
            Err(_) => {
                last = (
                    ErrorClass::Timeout,
                    "no connection was made in time".to_owned(),
                )
            }
        }
    }
    Err(last)
}

pub(super) fn server_name(host: &Host<String>) -> Result<ServerName<'static>, Failure> {
    match host {
        Host::Ipv4(v4) => Ok(ServerName::from(IpAddr::from(*v4))),
        Host::Ipv6(v6) => Ok(ServerName::from(IpAddr::from(*v6))),
        Host::Domain(name) => {
            ServerName::try_from(name.trim_end_matches('.').to_owned()).map_err(|_| {
                (
                    ErrorClass::InvalidConfig,
                    "no certificate can be for that host".into(),
                )
            })
        }
    }
}

pub(super) fn tls_failure(error: &std::io::Error) -> Failure {
    let advice = match error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)) => {
            "; if its authority is your own, add it to this machine's trusted certificates or name \
             the file in SSL_CERT_FILE"
        }
        _ => "",
    };
    (ErrorClass::Tls, format!("TLS failed: {error}{advice}"))
}

async fn speak<S>(stream: S, peer: IpAddr) -> Result<Connection, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MOST)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| (ErrorClass::Connect, error.to_string()))?;
    let driver = tokio::spawn(async move {
        // Whoever waits for the answer is told of the error by the sender's half.
        let _ = connection.await;
    });
    Ok(Connection {
        sender,
        peer,
        opened: Instant::now(),
        driver,
    })
}

/// `POST https://host:port`: all of a request that may be shown.
pub(super) fn shown(method: &http::Method, url: &Url) -> String {
    format!("{method} {}", redacted(url))
}
