//! Check-in requests: every dialect's URL to one record, answered once it is durable.
//!
//! This is the hot path, so it is plain hyper: parse the path by hand, look the token up in memory, put the record
//! into the queue, wait. The `/ping` dialect follows the observable contract of Healthchecks; differences are listed
//! in docs/check-ins.md.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName,
    HeaderValue, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Method as HttpMethod, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use systole_core::engine::{MonitorId, Position};
use systole_core::heartbeat::{Checkin, Signal};
use systole_core::time::{Span, Time};
use systole_store::DEFAULT_PROJECT;
use systole_store::record::{CheckinRecord, Method};

use crate::app::App;
use crate::provision;
use crate::replica;
use crate::tokens::Found;

mod query;
mod route;

pub use query::{parameter, run_id};
pub use route::{Target, route};

/// Of a body longer than the limit so much is read and dropped before the answer...
const DRAIN_MAX: usize = 1 << 20;
/// ... and for so long.
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// The kept part of a body must have come within this time.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Of a message or a user agent so much is kept, in bytes.
const TEXT_MAX: usize = 200;
const MESSAGE_MAX: usize = 2_000;

static PING_BODY_LIMIT: HeaderName = HeaderName::from_static("ping-body-limit");

/// An answer without a body of its own making.
pub type Reply = Response<Full<Bytes>>;

/// What a connection remembers between its requests.
#[derive(Default)]
pub struct Remembered {
    user_agent: std::sync::Mutex<Arc<str>>,
}

impl Remembered {
    /// A connection's requests have one user agent, as a rule: it is allocated once.
    pub fn user_agent(&self, headers: &HeaderMap) -> Arc<str> {
        let bytes = headers
            .get(USER_AGENT)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let mut known = self
            .user_agent
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if known.as_bytes() != bytes {
            *known = String::from_utf8_lossy(cut(bytes, TEXT_MAX)).into();
        }
        Arc::clone(&known)
    }
}

fn cut(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

/// Answers a request to a check-in route.
pub async fn handle(
    app: &Arc<App>,
    source: IpAddr,
    remembered: &Remembered,
    target: Target<'_>,
    request: Request<Incoming>,
) -> Reply {
    let Some(method) = method(request.method()) else {
        app.metrics.refused.inc();
        let mut reply = plain(
            StatusCode::METHOD_NOT_ALLOWED,
            "method not allowed: use GET, HEAD, POST or PUT",
        );
        reply
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT"));
        return reply;
    };
    match record(app, source, remembered, target, method, request).await {
        Ok(reply) => reply,
        Err(refusal) => {
            app.metrics.refused.inc();
            refusal.reply(app, source)
        }
    }
}

const fn method(method: &HttpMethod) -> Option<Method> {
    match *method {
        HttpMethod::GET => Some(Method::Get),
        HttpMethod::HEAD => Some(Method::Head),
        HttpMethod::POST => Some(Method::Post),
        HttpMethod::PUT => Some(Method::Put),
        _ => None,
    }
}

/// Why a check-in was not taken.
#[derive(Debug)]
pub enum Refusal {
    /// Nothing has this address.
    NotFound,
    /// Something has, and the rest of the address or its query cannot be read.
    Malformed(&'static str),
    /// It could mean two things.
    Ambiguous(&'static str),
    /// Its token or its sender comes too often.
    TooMany(Span),
    /// It could not be kept.
    NotDurable(crate::ingest::NotDurable),
}

impl Refusal {
    fn reply(self, app: &App, source: IpAddr) -> Reply {
        let waiting = |status, text: &str, seconds: i64| {
            let mut reply = plain(status, text);
            reply
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            reply
        };
        let limited = match self {
            Refusal::NotFound | Refusal::Malformed(_) | Refusal::Ambiguous(_) => {
                app.refused_limit.refuse(source, app.now())
            }
            _ => None,
        };
        if let Some(wait) = limited {
            let text = "too many refused requests from this address";
            return waiting(StatusCode::TOO_MANY_REQUESTS, text, wait.as_seconds() + 1);
        }
        match self {
            Refusal::NotFound => plain(StatusCode::NOT_FOUND, "not found"),
            Refusal::Malformed(why) => plain(StatusCode::BAD_REQUEST, why),
            Refusal::Ambiguous(why) => plain(StatusCode::CONFLICT, why),
            Refusal::TooMany(wait) => waiting(
                StatusCode::TOO_MANY_REQUESTS,
                "too many check-ins with this token",
                wait.as_seconds(),
            ),
            Refusal::NotDurable(why) => {
                waiting(StatusCode::SERVICE_UNAVAILABLE, &why.to_string(), 1)
            }
        }
    }
}

/// What only few check-ins need stands in boxes: every one would carry its room along.
async fn record(
    app: &Arc<App>,
    source: IpAddr,
    remembered: &Remembered,
    target: Target<'_>,
    method: Method,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let now = app.now();
    let query = request.uri().query().unwrap_or_default();
    let mut found = find_token(app, &target, now)?;
    if found.is_none()
        && let Some(token) = target.token()
        && let Ok(Some(monitor)) = Box::pin(replica::look_for_token(app, token, now)).await
    {
        found = Some((monitor, target.signal()?));
    }
    let (monitor, signal, created) = match found {
        Some((monitor, signal)) => (monitor, signal, false),
        None => Box::pin(find_by_name(app, &target, query, now)).await?,
    };
    let run = run_id(query)?;
    let user_agent = remembered.user_agent(request.headers());
    let mut message = if target.takes_message() {
        parameter(query, "msg").unwrap_or_default()
    } else {
        String::new()
    };
    let is_form = target.takes_message()
        && request.headers().get(CONTENT_TYPE).is_some_and(|kind| {
            kind.as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
    let limit = app.config.ping_body_limit;
    let mut body = request.into_body();
    let kept = if body.is_end_stream() {
        Kept::default()
    } else {
        Box::pin(keep(&mut body, limit)).await
    };
    if is_form && message.is_empty() {
        message = parameter(&String::from_utf8_lossy(&kept.bytes), "msg").unwrap_or_default();
    }
    let record = CheckinRecord {
        monitor,
        checkin: Checkin {
            at: now,
            signal,
            run,
        },
        previous: Position::NONE,
        method,
        source: Some(source),
        user_agent,
        message: String::from_utf8_lossy(cut(message.as_bytes(), MESSAGE_MAX)).into_owned(),
        body: kept.bytes.to_vec(),
        body_truncated: kept.truncated,
    };
    app.ingest
        .record(&app.clock, record)
        .await
        .map_err(Refusal::NotDurable)?;
    let close = kept.truncated && !Box::pin(drain(&mut body)).await;
    Ok(accepted(app, created, close))
}

/// Whose check-in this is, and what it says. A known token wins over a ping key and slug, an unknown one over a
/// malformed rest.
fn find_token(
    app: &App,
    target: &Target<'_>,
    now: Time,
) -> Result<Option<(MonitorId, Signal)>, Refusal> {
    let Some(token) = target.token() else {
        return Ok(None);
    };
    match app.ping_tokens.find(app.keys.short_hash(token), now) {
        Some(Found::Monitor(id)) => Ok(Some((id, target.signal()?))),
        Some(Found::Limited) => Err(Refusal::TooMany(Span::from_seconds(1))),
        None => Ok(None),
    }
}

async fn find_by_name(
    app: &Arc<App>,
    target: &Target<'_>,
    query: &str,
    now: Time,
) -> Result<(MonitorId, Signal, bool), Refusal> {
    let Some((key, slug)) = target.by_name() else {
        return Err(Refusal::NotFound);
    };
    if !app.is_ping_key(key) {
        return Err(Refusal::NotFound);
    }
    if slug.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(Refusal::Malformed("invalid url format"));
    }
    let signal = target.signal_by_name()?;
    // A rejected request makes nothing.
    run_id(query)?;
    let internal = |error: systole_store::Error| {
        tracing::error!(error = %crate::chain(&error), "cannot look for a heartbeat by name");
        Refusal::NotDurable(crate::ingest::NotDurable::NotWritten)
    };
    if let Some(id) = app
        .store
        .monitor_by_slug(DEFAULT_PROJECT, slug)
        .await
        .map_err(internal)?
    {
        return match app.ping_tokens.admit(id, now) {
            Found::Monitor(id) => Ok((id, signal, false)),
            Found::Limited => Err(Refusal::TooMany(Span::from_seconds(1))),
        };
    }
    if parameter(query, "create").as_deref() != Some("1") {
        return Err(Refusal::NotFound);
    }
    // A task of its own: its sender may go away between the commit and memory.
    let (shared, name) = (Arc::clone(app), slug.to_owned());
    let made = tokio::spawn(async move { provision::heartbeat(&shared, &name).await }).await;
    match made.unwrap_or(Err(provision::Refused::Taken)) {
        Ok(id) => Ok((id, signal, true)),
        Err(provision::Refused::Slug) => Err(Refusal::Malformed("invalid url format")),
        Err(provision::Refused::Taken) => Err(Refusal::Ambiguous(
            "a monitor of this name has another slug",
        )),
        Err(provision::Refused::Store(error)) => Err(internal(error)),
    }
}

#[derive(Default)]
struct Kept {
    bytes: Bytes,
    truncated: bool,
}

/// Reads until the limit is full, the body ends, the sender goes away or its time is over: the check-in counts with
/// what has come.
async fn keep(body: &mut Incoming, limit: usize) -> Kept {
    let mut bytes = BytesMut::new();
    let mut truncated = false;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let room = limit - bytes.len();
            bytes.extend_from_slice(cut(&data, room));
            // Full: where the sender has said how much is still to come, nothing more needs to.
            let still_to_come = body.size_hint().exact();
            if data.len() > room
                || (data.len() == room && still_to_come.is_some_and(|length| length > 0))
            {
                truncated = true;
                break;
            }
        }
    };
    if tokio::time::timeout(BODY_TIME, reading).await.is_err() {
        truncated = true;
    }
    Kept {
        bytes: bytes.freeze(),
        truncated,
    }
}

/// Reads the rest of a long body, so that its sender sees the answer; `false` when it is too long even for that.
async fn drain(body: &mut Incoming) -> bool {
    let mut left = DRAIN_MAX;
    let draining = async {
        while let Some(frame) = body.frame().await {
            let length = frame
                .ok()
                .and_then(|frame| frame.into_data().ok())
                .map_or(0, |data| data.len());
            if length > left {
                return false;
            }
            left -= length;
        }
        true
    };
    tokio::time::timeout(DRAIN_TIME, draining)
        .await
        .unwrap_or(false)
}

fn accepted(app: &App, created: bool, close: bool) -> Reply {
    let (status, text) = if created {
        (StatusCode::CREATED, "Created")
    } else {
        (StatusCode::OK, "OK")
    };
    let mut reply = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *reply.status_mut() = status;
    *reply.headers_mut() = app.accepted_headers.clone();
    if close {
        let close = HeaderValue::from_static("close");
        reply.headers_mut().insert(CONNECTION, close);
    }
    reply
}

/// What [`App::accepted_headers`] holds: put together once, a check-in costs less.
pub(crate) fn accepted_headers(body_limit: usize) -> HeaderMap {
    let mut headers = plain_headers();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(&PING_BODY_LIMIT, HeaderValue::from(body_limit));
    headers
}

/// A short text.
pub fn plain(status: StatusCode, text: &str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())));
    *reply.status_mut() = status;
    *reply.headers_mut() = plain_headers();
    reply
}

fn plain_headers() -> HeaderMap {
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    let uncached =
        HeaderValue::from_static("max-age=0, no-cache, no-store, must-revalidate, private");
    HeaderMap::from_iter([(CONTENT_TYPE, text), (CACHE_CONTROL, uncached)])
}
