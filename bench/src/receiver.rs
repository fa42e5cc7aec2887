//! A webhook receiver on loopback that notes when each message arrived.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

type Arrivals = Arc<Mutex<Vec<Arrival>>>;

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Timestamp,
    /// The idempotency key: the same for every attempt.
    pub key: String,
    pub body: Bytes,
}

/// Listens as long as it lives.
pub struct Receiver {
    pub address: SocketAddr,
    arrivals: Arrivals,
    // Dropping it ends the tasks.
    _runtime: tokio::runtime::Runtime,
}

/// An incident that was triggered, as a webhook told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    pub monitor: String,
    pub incident: String,
    pub reason: String,
    /// From the deadline to the last byte of the message.
    pub lateness: SignedDuration,
}

impl Receiver {
    pub fn start() -> Result<Receiver> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start the runtime of the receiver")?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(SocketAddr::from((
                [127, 0, 0, 1],
                0,
            ))))
            .context("listen for webhooks")?;
        let address = listener.local_addr()?;
        let arrivals = Arrivals::default();
        runtime.spawn(accept(listener, Arc::clone(&arrivals)));
        Ok(Receiver {
            address,
            arrivals,
            _runtime: runtime,
        })
    }

    /// How many messages arrived.
    pub fn count(&self) -> usize {
        self.arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// The messages after the first `known`, in the order of arrival.
    pub fn after(&self, known: usize) -> Vec<Arrival> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.iter().skip(known).cloned().collect()
    }

    /// The first message about each triggered incident, in the order of arrival; how many more there were of them.
    pub fn triggered(&self) -> Result<(Vec<Triggered>, usize)> {
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = std::collections::HashSet::new();
        let (mut triggered, mut repeated) = (Vec::new(), 0);
        for arrival in arrivals.iter() {
            let Some(message) = read(arrival.at, &arrival.body).context("read a webhook")? else {
                continue;
            };
            if seen.insert(message.incident.clone()) {
                triggered.push(message);
            } else {
                repeated += 1;
            }
        }
        Ok((triggered, repeated))
    }
}

async fn accept(listener: tokio::net::TcpListener, arrivals: Arrivals) {
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let arrivals = Arc::clone(&arrivals);
        let service = service_fn(move |request| note(request, Arc::clone(&arrivals)));
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async {
            let _ = connection.await;
        });
    }
}

/// Parsing waits until the run is over; here only the time counts.
async fn note(
    request: Request<Incoming>,
    arrivals: Arrivals,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let key = request.headers().get("webhook-id");
    let key = key.and_then(|key| key.to_str().ok()).unwrap_or_default();
    let key = key.to_owned();
    if let Ok(body) = request.into_body().collect().await {
        let arrival = Arrival {
            at: Timestamp::now(),
            key,
            body: body.to_bytes(),
        };
        arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(arrival);
    }
    Ok(Response::new(Empty::new()))
}

/// `None` where the message tells of something else.
fn read(arrived: Timestamp, body: &[u8]) -> Result<Option<Triggered>> {
    let message: Value =
        serde_json::from_slice(body).with_context(|| String::from_utf8_lossy(body).into_owned())?;
    if message["type"] != "incident.triggered" {
        return Ok(None);
    }
    let text = |value: &Value, name: &str| {
        value[name]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("no {name} in {message}"))
    };
    let (monitor, incident) = (&message["data"]["monitor"], &message["data"]["incident"]);
    let deadline: Timestamp = text(incident, "started_at")?
        .parse()
        .context("read started_at")?;
    Ok(Some(Triggered {
        monitor: text(monitor, "name")?,
        incident: text(incident, "id")?,
        reason: text(incident, "reason")?,
        lateness: arrived.duration_since(deadline),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_from_the_deadline_to_the_arrival() {
        let body = r#"{"type":"incident.triggered","data":{"incident":{"id":"i","reason":"missed_deadline",
            "started_at":"2026-11-21T00:00:01.5Z"},"monitor":{"name":"m"}}}"#;
        let arrived = "2026-11-21T00:00:01.75Z".parse().unwrap();
        let found = read(arrived, body.as_bytes()).unwrap().unwrap();
        assert_eq!(found.lateness, SignedDuration::from_millis(250));
        assert_eq!((&*found.monitor, &*found.reason), ("m", "missed_deadline"));
    }

    #[test]
    fn other_messages_are_passed_over_and_strange_ones_are_errors() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(read(now, br#"{"type":"incident.resolved"}"#).unwrap(), None);
        assert!(read(now, br#"{"type":"incident.triggered"}"#).is_err());
        assert!(read(now, b"down").is_err());
    }
}
