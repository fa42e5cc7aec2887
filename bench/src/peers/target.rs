//! A ping URL that somebody gave: where it leads, and its requests, made before the load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use url::Url;

use crate::response::{self, Answer};

/// What stands for a token.
pub const PLACEHOLDER: &str = "{token}";

pub struct Target {
    /// For people: no token.
    pub name: String,
    pub address: SocketAddr,
    /// One for each token.
    pub requests: Arc<[Vec<u8>]>,
}

impl Target {
    pub fn new(
        given: &str,
        tokens: &[String],
        headers: &[String],
        allow_remote: bool,
    ) -> Result<Target> {
        let (method, url) = match given.split_once(' ') {
            Some((method, url)) => (method, url.trim()),
            None => ("GET", given),
        };
        ensure!(
            matches!(method, "GET" | "POST" | "PUT" | "HEAD"),
            "{method} in {given:?} is no method of a ping: GET, POST, PUT or HEAD"
        );
        for header in headers {
            ensure!(
                header.contains(':') && !header.contains(['\r', '\n']),
                "--header needs `Name: value`"
            );
        }
        let parse = |token: &str| -> Result<Url> {
            let url = Url::parse(&url.replace(PLACEHOLDER, token))
                .with_context(|| format!("{url} is no URL"))?;
            ensure!(
                url.scheme() == "http",
                "{url} is not http: a benchmark of TLS would measure TLS"
            );
            Ok(url)
        };
        let first = parse(tokens.first().map_or("", String::as_str))?;
        let (host, port) = (
            first
                .host_str()
                .context("the URL names no host")?
                .to_owned(),
            first.port().unwrap_or(80),
        );
        let address = resolve(&host, port, allow_remote)?;
        let body = if matches!(method, "POST" | "PUT") {
            "Content-Length: 0\r\n"
        } else {
            ""
        };
        let mut requests = Vec::with_capacity(tokens.len());
        for token in tokens {
            let url = parse(token)?;
            ensure!(
                url.host_str() == Some(&host) && url.port().unwrap_or(80) == port,
                "{{token}} in {given:?} may stand in the path or the query alone"
            );
            let query = url.query().map(|query| format!("?{query}"));
            let mut request = format!(
                "{method} {}{} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: curl/8.14.1\r\nAccept: */*\r\n{body}",
                url.path(),
                query.unwrap_or_default()
            );
            for header in headers {
                request.push_str(header);
                request.push_str("\r\n");
            }
            request.push_str("\r\n");
            requests.push(request.into_bytes());
        }
        Ok(Target {
            name: format!("{host}:{port}"),
            address,
            requests: requests.into(),
        })
    }

    /// Whether the server keeps a connection open after its answer; an error if it does not answer with a 2xx.
    pub fn keeps_connections(&self) -> Result<bool> {
        let ask = || format!("ping {} once", self.name);
        let request = self.requests.first().context("there is no token")?;
        let mut stream = TcpStream::connect(self.address).with_context(ask)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.write_all(request).with_context(ask)?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
        let closes = loop {
            let read = stream.read(&mut buffer).with_context(ask)?;
            ensure!(
                read > 0,
                "{} closed the connection without a whole answer",
                self.name
            );
            answer.extend_from_slice(&buffer[..read]);
            match response::read(&answer) {
                Answer::Partial => {}
                Answer::Whole {
                    status: 200..=299,
                    closes,
                } => break closes,
                Answer::Whole { status, .. } => {
                    bail!("{} answers {status} to the first ping, not 2xx", self.name)
                }
                Answer::Strange => bail!(
                    "{} does not answer in HTTP/1.1 of a known length",
                    self.name
                ),
            }
        };
        // Some close without a word.
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(!closes && !matches!(stream.read(&mut buffer), Ok(0)))
    }
}

fn resolve(host: &str, port: u16, allow_remote: bool) -> Result<SocketAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = (bare, port)
        .to_socket_addrs()
        .with_context(|| format!("look {host} up"))?
        .next()
        .with_context(|| format!("{host} has no address"))?;
    ensure!(
        allow_remote || address.ip().is_loopback(),
        "{host} is {}, which is not this machine; --allow-remote loads it all the same",
        address.ip()
    );
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Result<Target> {
        let tokens = ["a1".to_owned(), "b2".to_owned()];
        Target::new(url, &tokens, &["Authorization: Bearer x".to_owned()], false)
    }

    #[test]
    fn a_request_is_made_for_every_token() {
        let made = target("POST http://127.0.0.1:81/api/{token}/external?success=true").unwrap();
        assert_eq!(made.requests.len(), 2);
        assert_eq!(
            String::from_utf8_lossy(&made.requests[1]),
            "POST /api/b2/external?success=true HTTP/1.1\r\nHost: 127.0.0.1:81\r\nUser-Agent: curl/8.14.1\r\n\
             Accept: */*\r\nContent-Length: 0\r\nAuthorization: Bearer x\r\n\r\n"
        );
        assert_eq!(made.name, "127.0.0.1:81");
        assert_eq!(
            target("http://[::1]:81/ping/{token}")
                .unwrap()
                .address
                .port(),
            81
        );
    }

    #[test]
    fn what_must_not_be_loaded_is_refused() {
        for (url, said) in [
            ("http://192.0.2.1/ping/{token}", "--allow-remote"),
            ("https://127.0.0.1/ping/{token}", "not http"),
            ("DELETE http://127.0.0.1/ping/{token}", "no method"),
            ("http://127.0.0.1:81{token}/ping", "no URL"),
            ("ping/{token}", "no URL"),
        ] {
            let error = format!("{:#}", target(url).err().unwrap());
            assert!(error.contains(said), "{url}: {error}");
        }
        let remote = Target::new("http://192.0.2.1/x", &[String::new()], &[], true).unwrap();
        assert!(!remote.address.ip().is_loopback());
    }

    #[test]
    fn who_closes_after_an_answer_gets_a_connection_for_each() {
        for (head, stays, keeps) in [
            ("", true, true),
            ("Connection: close\r\n", true, false),
            ("", false, false),
        ] {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let (done, until) = std::sync::mpsc::channel::<()>();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let read = stream.read(&mut [0; 1024]).unwrap();
                assert!(read > 0);
                write!(
                    stream,
                    "HTTP/1.1 202 Accepted\r\n{head}Content-Length: 2\r\n\r\nOK"
                )
                .unwrap();
                if stays {
                    _ = until.recv();
                }
            });
            let found = target(&format!("http://{address}/{{token}}"))
                .unwrap()
                .keeps_connections();
            assert_eq!(found.unwrap(), keeps, "{head:?}, {stays}");
            drop(done);
            server.join().unwrap();
        }
    }
}
