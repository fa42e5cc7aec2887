//! Sockets: accepting, TLS, HTTP/1.1, and the split between check-ins and everything else.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::app::App;
use crate::ping::{self, Remembered};
use crate::tls::Tls;

mod idle;

use idle::{Activity, Watched};

/// What one connection may make us hold of an unfinished request's head.
const BUFFER_MAX: usize = 32 * 1024;
/// Connections at once; beyond it new ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// Of these, so many from one address (of IPv6, from one network of 64 bits); beyond it new ones are closed. Proxies that
/// were named as trusted may have all.
const CONNECTIONS_OF_ONE: u32 = 2_000;
/// The body of a request that is not a check-in must have come within this time...
const BODY_TIME: Duration = Duration::from_secs(30);
/// ... and is not read beyond this; what a route takes is less.
const BODY_MAX: usize = 8 << 20;

/// The address that a request comes from, as a request extension.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// What connections are served with.
#[derive(Clone)]
pub struct Listening {
    /// Everything that is not a check-in.
    pub router: axum::Router,
    /// Whether check-ins are taken here.
    pub checkins: bool,
    /// TLS, where it was configured.
    pub tls: Option<Arc<Tls>>,
    /// Stops accepting, lets requests under way end.
    pub stop: CancellationToken,
}

/// Accepts until told to stop, then waits for the requests under way.
///
/// # Errors
/// Never: what accepting meets is logged and tried again.
pub(crate) async fn run(
    app: Arc<App>,
    listener: TcpListener,
    listening: Listening,
) -> Result<(), &'static str> {
    let tracker = TaskTracker::new();
    let slots = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    let sources = Arc::new(Sources::default());
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            () = listening.stop.cancelled() => break,
        };
        let Ok(slot) = slot else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = listening.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let trusted = is_trusted(&app.config.trusted_proxies, peer.ip().to_canonical());
                let counted = if trusted {
                    None
                } else {
                    let Some(counted) = Sources::count(&sources, peer.ip()) else {
                        app.metrics.refused.inc();
                        continue;
                    };
                    Some(counted)
                };
                let (app, listening) = (Arc::clone(&app), listening.clone());
                tracker.spawn(async move {
                    connection(app, listening, stream, peer).await;
                    drop((slot, counted));
                });
            }
            Err(error) => {
                // Out of file descriptors, or the peer went away meanwhile.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Whoever comes from here on is refused at once, or waits where the socket was handed over.
    drop(listener);
    tracker.close();
    _ = tokio::time::timeout(Duration::from_secs(15), tracker.wait()).await;
    Ok(())
}

/// Connections by where they come from.
#[derive(Default)]
struct Sources(Mutex<HashMap<IpAddr, u32>>);

/// One connection, counted as long as it lives.
struct Counted {
    sources: Arc<Sources>,
    network: IpAddr,
}

impl Sources {
    /// `None` where there are too many from there already.
    fn count(sources: &Arc<Sources>, peer: IpAddr) -> Option<Counted> {
        let network = network(peer.to_canonical());
        let mut counts = sources.lock();
        let count = counts.entry(network).or_insert(0);
        if *count >= CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        drop(counts);
        let sources = Arc::clone(sources);
        Some(Counted { sources, network })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, u32>> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.sources.lock();
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

/// What one sender has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

fn is_trusted(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

async fn connection(app: Arc<App>, listening: Listening, stream: TcpStream, peer: SocketAddr) {
    // Without it small answers wait for the peer's delayed acknowledgement.
    _ = stream.set_nodelay(true);
    match &listening.tls {
        None => http(app, &listening, stream, peer).await,
        Some(tls) => {
            match tokio::time::timeout(Duration::from_secs(10), tls.acceptor().accept(stream)).await
            {
                Ok(Ok(stream)) => http(app, &listening, stream, peer).await,
                Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => tracing::debug!("TLS handshake took too long"),
            }
        }
    }
}

async fn http<S>(app: Arc<App>, listening: &Listening, stream: S, peer: SocketAddr)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let remembered = Remembered::default();
    let activity = Arc::new(Activity::default());
    let service = service_fn(async |request| {
        let _under_way = activity.begin();
        let reply = answer(&app, listening, &remembered, peer.ip(), request).await;
        Ok::<_, Infallible>(reply)
    });
    let stream = Watched::new(stream, Arc::clone(&activity));
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(BUFFER_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = async {
        tokio::select! {
            outcome = connection.as_mut() => outcome,
            () = listening.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let outcome = tokio::select! {
        biased;
        outcome = ended => outcome,
        () = activity.ceased() => {
            tracing::debug!("a connection on which nothing happened was closed");
            return;
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

async fn answer(
    app: &Arc<App>,
    listening: &Listening,
    remembered: &Remembered,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let source = source(&app.config.trusted_proxies, peer, request.headers());
    // A reference-counted copy: the request is taken apart while its path is looked at.
    let uri = request.uri().clone();
    if listening.checkins
        && let Some(target) = ping::route(uri.path())
    {
        let reply = ping::handle(app, source, remembered, target, request).await;
        return reply.map(ReplyBody::Short);
    }
    // In a box: a check-in would carry its room along.
    Box::pin(routed(listening, source, request)).await
}

/// Answers what is not a check-in.
async fn routed(
    listening: &Listening,
    source: IpAddr,
    mut request: Request<Incoming>,
) -> Response<ReplyBody> {
    request.extensions_mut().insert(Peer(source));
    let (parts, body) = request.into_parts();
    let body = match whole(body).await {
        Ok(body) => body,
        Err(reply) => return reply.map(ReplyBody::Short),
    };
    let request = Request::from_parts(parts, body);
    // A task of its own, so that it is not dropped with its connection: what was committed must reach memory.
    match tokio::spawn(listening.router.clone().oneshot(request)).await {
        Ok(Ok(reply)) => reply.map(ReplyBody::Long),
        Err(error) => {
            tracing::error!(%error, "a request's handler has panicked");
            let text = "something went wrong; the log has more";
            ping::plain(http::StatusCode::INTERNAL_SERVER_ERROR, text).map(ReplyBody::Short)
        }
    }
}

/// The whole body: a sender that dribbles must not keep a handler waiting.
async fn whole(body: Incoming) -> Result<axum::body::Body, ping::Reply> {
    let refused = |status, text| {
        let mut reply = ping::plain(status, text);
        let close = http::HeaderValue::from_static("close");
        reply.headers_mut().insert(http::header::CONNECTION, close);
        reply
    };
    if body.is_end_stream() {
        return Ok(axum::body::Body::empty());
    }
    match tokio::time::timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => Ok(axum::body::Body::from(body.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(refused(
            http::StatusCode::PAYLOAD_TOO_LARGE,
            "the body of the request is larger than 8 MiB; send less",
        )),
        Ok(Err(_)) => Err(refused(
            http::StatusCode::BAD_REQUEST,
            "the body of the request could not be read",
        )),
        Err(_) => Err(refused(
            http::StatusCode::REQUEST_TIMEOUT,
            "the body of the request did not arrive within 30 s; send it again",
        )),
    }
}

/// The peer, or behind a trusted proxy the last address in `X-Forwarded-For` that is not one itself.
pub fn source(trusted: &[IpNet], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    if trusted.is_empty() || !is_trusted(&peer) {
        return peer;
    }
    let mut source = peer;
    let forwarded_for: Vec<&str> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    for text in forwarded_for
        .iter()
        .rev()
        .flat_map(|header| header.rsplit(','))
    {
        let Some(address) = forwarded(text.trim()) else {
            break;
        };
        source = address;
        if !is_trusted(&address) {
            break;
        }
    }
    source
}

/// An address as proxies write it: alone, with a port, in brackets.
fn forwarded(text: &str) -> Option<IpAddr> {
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| text.trim_matches(['[', ']']).parse());
    address.ok().map(|address| address.to_canonical())
}

/// A short text, or what the router made.
enum ReplyBody {
    /// A check-in's answer.
    Short(Full<Bytes>),
    /// Everything else.
    Long(axum::body::Body),
}

impl hyper::body::Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            ReplyBody::Short(body) => Pin::new(body)
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never: Infallible| match never {}))),
            ReplyBody::Long(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            ReplyBody::Short(body) => body.is_end_stream(),
            ReplyBody::Long(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Short(body) => body.size_hint(),
            ReplyBody::Long(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_addresses_are_believed_from_trusted_proxies_only() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap()];
        for (peer, header, expected) in [
            ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1, 203.0.113.5", "203.0.113.5"),
            ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
            ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
            ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
            ("10.0.0.1", "unknown", "10.0.0.1"),
            ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ] {
            let request = Request::builder()
                .header("x-forwarded-for", header)
                .body(())
                .unwrap();
            assert_eq!(
                source(&trusted, peer.parse().unwrap(), request.headers()),
                expected.parse::<IpAddr>().unwrap(),
                "{peer} {header}"
            );
        }
    }
}
