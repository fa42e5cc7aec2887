//! The one HTTP client for user-given URLs.
//!
//! HTTP/1.1, each request bounded in time and each answer in size. Redirects are not followed and the proxy variables of the
//! environment are not read: either would let someone else choose the address. Errors name a target by scheme, host and
//! port alone, because paths and queries of such URLs are credentials.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use rustls::RootCertStore;
use systole_core::delivery::{ErrorClass, Outcome};
use systole_core::time::Span;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use super::connect::{Connection, Failure, Target, open, shown};
use super::echo::Echo;
use super::guard::Lists;
use super::pool::Pool;
use crate::channels::HttpRequest;

/// The most of an answer's body that is kept.
const EXCERPT_MOST: usize = 1_024;
/// The most of one that is read, so that its connection can be used again.
const DRAIN_MOST: usize = 16 * 1_024;
/// How long the body may take once the status is known: the status is the answer.
const BODY_TIME: Span = Span::from_seconds(2);

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Name, connection and TLS together.
    pub connect: Span,
    /// The whole request.
    pub whole: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connect: Span::from_seconds(5),
            whole: Span::from_seconds(10),
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its `Retry-After`, as it came.
    pub retry_after: Option<String>,
    /// The beginning of its body, as text without control characters.
    pub excerpt: String,
    /// From the call to the answer's head.
    pub latency: Span,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SendError {
    /// The class, for the policy and for counting.
    pub class: ErrorClass,
    /// What was attempted and what was wrong, free of secrets.
    pub message: String,
}

impl SendError {
    /// What the attempt came to. [`ErrorClass::ClaimTooOld`] is no attempt at all: drop it, and let the claim lapse.
    pub fn outcome(&self) -> Outcome {
        match self.class {
            class @ (ErrorClass::BlockedByPolicy | ErrorClass::InvalidConfig) => {
                Outcome::Reject { class }
            }
            class => Outcome::Retry {
                class,
                retry_after: None,
            },
        }
    }
}

/// The client. One for the whole process, so that connections are shared.
pub struct Outbound {
    pub(super) lists: Lists,
    tls: Arc<rustls::ClientConfig>,
    pub(super) mail_tls: Arc<rustls::ClientConfig>,
    pub(super) limits: Limits,
    pool: Pool,
}

impl Outbound {
    /// A client that trusts this machine's certificates, read once.
    ///
    /// # Errors
    /// When the TLS library refuses its own defaults.
    pub fn new(lists: Lists) -> Result<Outbound, rustls::Error> {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (trusted, _) = roots.add_parsable_certificates(found.certs);
        if trusted == 0 {
            tracing::warn!(
                "no trusted certificates were found on this machine, so every https channel will \
                 fail; install ca-certificates or set SSL_CERT_FILE"
            );
        }
        Outbound::with(lists, roots, Limits::default())
    }

    /// A client with given trust and limits.
    ///
    /// # Errors
    /// As [`Outbound::new`].
    pub fn with(
        lists: Lists,
        roots: RootCertStore,
        limits: Limits,
    ) -> Result<Outbound, rustls::Error> {
        let mail_tls = tls_config(roots)?;
        let mut tls = mail_tls.clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Outbound {
            lists,
            tls: Arc::new(tls),
            mail_tls: Arc::new(mail_tls),
            limits,
            pool: Pool::default(),
        })
    }

    /// Sends a request and reads its answer, whatever its status.
    ///
    /// `before_write` is asked when the connection stands, right before the request is written, and once more where a
    /// connection that was kept turns out dead and a fresh one is used; at its no nothing is written. The longest
    /// time from a yes to the last byte written is [`Limits::whole`].
    ///
    /// # Errors
    /// [`SendError`] when there is no answer. The request may have arrived nevertheless, except where the class is
    /// `ClaimTooOld`, `BlockedByPolicy`, `InvalidConfig`, `Dns` or `Tls`.
    pub async fn send(
        &self,
        request: HttpRequest,
        before_write: impl FnMut() -> bool + Send,
    ) -> Result<Response, SendError> {
        let what = shown(&request.method, &request.url);
        let failed = |(class, why): Failure| SendError {
            class,
            message: format!("{what}: {why}"),
        };
        let target = Target::of(&request.url).map_err(failed)?;
        let echo = Echo::of(&request);
        let request = written(request).map_err(failed)?;
        let deadline = Instant::now() + self.limits.whole.as_std();
        let exchange = Box::pin(self.exchange(&target, &request, &echo, before_write, deadline));
        timeout_at(deadline, exchange)
            .await
            .unwrap_or_else(|_| {
                self.pool.forget(&target);
                Err((
                    ErrorClass::Timeout,
                    format!("no answer within {}", self.limits.whole),
                ))
            })
            .map_err(failed)
    }

    /// Gets a URL: for the server's own heartbeat.
    ///
    /// # Errors
    /// As [`Outbound::send`], and when `url` is not a URL.
    pub async fn get(&self, url: &str) -> Result<Response, SendError> {
        let url = Url::parse(url).map_err(|error| SendError {
            class: ErrorClass::InvalidConfig,
            message: format!("GET: what was given is not a URL ({error})"),
        })?;
        let request = HttpRequest {
            method: http::Method::GET,
            url,
            headers: Vec::new(),
            body: Vec::new(),
        };
        self.send(request, || true).await
    }

    async fn exchange(
        &self,
        target: &Target,
        request: &http::Request<Full<Bytes>>,
        echo: &Echo,
        mut before_write: impl FnMut() -> bool + Send,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let started = Instant::now();
        let mut kept = self.pool.take(target, &self.lists, started);
        loop {
            let is_fresh = kept.is_none();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => {
                    let connect_by = deadline.min(Instant::now() + self.limits.connect.as_std());
                    open(target, &self.lists, &self.tls, connect_by).await?
                }
            };
            if let Err(error) = connection.sender.ready().await {
                if is_fresh {
                    return Err(exchange_failure(&error));
                }
                continue;
            }
            if !before_write() {
                self.pool.put(target, connection, Instant::now());
                let why = "the claim had grown too old, so nothing was sent";
                return Err((ErrorClass::ClaimTooOld, why.to_owned()));
            }
            match connection.sender.send_request(request.clone()).await {
                Ok(answer) => {
                    return Ok(self
                        .read(target, connection, answer, echo, started, deadline)
                        .await);
                }
                // A server closes idle connections when it likes; that says nothing about the request.
                Err(error) if !is_fresh && !is_about_the_answer(&error) => {
                    self.pool.forget(target);
                }
                Err(error) => return Err(exchange_failure(&error)),
            }
        }
    }

    /// Reads what is kept of an answer, and keeps the connection where the answer was read to its end.
    async fn read(
        &self,
        target: &Target,
        connection: Connection,
        answer: http::Response<Incoming>,
        echo: &Echo,
        started: Instant,
        deadline: Instant,
    ) -> Response {
        let latency = span(Instant::now().duration_since(started));
        let status = answer.status().as_u16();
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let mut body = answer.into_body();
        let mut begin = Vec::new();
        let body_by = deadline.min(Instant::now() + BODY_TIME.as_std());
        let reading = async {
            let mut seen = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                let Some(data) = frame.data_ref() else {
                    continue;
                };
                seen += data.len();
                let room = DRAIN_MOST.saturating_sub(begin.len()).min(data.len());
                begin.extend_from_slice(&data[..room]);
                if seen > DRAIN_MOST {
                    return false;
                }
            }
            true
        };
        let is_whole = timeout_at(body_by, reading).await == Ok(true);
        if is_whole {
            self.pool.put(target, connection, Instant::now());
        }
        Response {
            status,
            retry_after,
            excerpt: excerpt(echo.hidden(&begin, !is_whole).as_bytes()),
            latency,
        }
    }
}

/// A client's side of TLS that trusts these.
pub(super) fn tls_config(roots: RootCertStore) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    Ok(builder
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The request as hyper takes it: the path alone in the first line, the host in its header.
///
/// # Errors
/// What cannot be sent. A channel's configuration that was accepted gives no such request.
pub fn written(request: HttpRequest) -> Result<http::Request<Full<Bytes>>, Failure> {
    let wrong = |what: &str| (ErrorClass::InvalidConfig, what.to_owned());
    let path = &request.url[Position::BeforePath..Position::AfterQuery];
    let host = &request.url[Position::BeforeHost..Position::AfterPort];
    let host = HeaderValue::from_str(host).map_err(|_| wrong("the host cannot be sent"))?;
    let mut written = http::Request::builder()
        .method(request.method)
        .uri(path)
        .body(Full::new(Bytes::from(request.body)))
        .map_err(|_| wrong("the URL's path cannot be sent"))?;
    let headers = written.headers_mut();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("Systole/", env!("CARGO_PKG_VERSION"))),
    );
    for (name, value) in request.headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| wrong("a header has a name that cannot be sent"))?;
        let value = HeaderValue::from_str(&value).map_err(|_| {
            wrong(&format!(
                "the header {name} has a value that cannot be sent"
            ))
        })?;
        headers.insert(name, value);
    }
    headers.insert(HOST, host);
    Ok(written)
}

fn is_about_the_answer(error: &hyper::Error) -> bool {
    error.is_parse() || error.is_parse_too_large() || error.is_parse_status() || error.is_user()
}

fn exchange_failure(error: &hyper::Error) -> Failure {
    let cause = std::error::Error::source(error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    let class = if is_about_the_answer(error) {
        ErrorClass::InvalidResponse
    } else {
        ErrorClass::Connect
    };
    (class, format!("{error}{cause}"))
}

/// Text for people and for a database: what is not text is replaced, control characters become spaces.
pub fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut kept = String::with_capacity(text.len().min(EXCERPT_MOST));
    for c in text.chars() {
        let c = if c.is_control() && c != '\n' { ' ' } else { c };
        if kept.len() + c.len_utf8() > EXCERPT_MOST {
            break;
        }
        kept.push(c);
    }
    kept
}

fn span(duration: std::time::Duration) -> Span {
    Span::from_micros(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
