//! `systole demo-receiver`: shows what a webhook's receiver gets, and checks the signatures as one should.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use systole_core::time::Time;
use systole_server::channels::signature::{self, Secret, TOLERANCE};
use systole_wire::WebhookPayload;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::cli::ReceiverArgs;
use crate::failure::Failure;
use crate::{out, times};

/// Webhooks are smaller than 20 kB.
const LARGEST_BODY: usize = 1 << 20;
/// More text than this of a body that is no webhook of ours is not shown.
const LONGEST_SHOWN: usize = 4000;

/// Listens, prints each webhook, answers 200, and ends after as many as were asked for.
///
/// # Errors
/// An address that cannot be listened on, or a secret that is none.
pub async fn run(args: ReceiverArgs) -> Result<(), Failure> {
    let secret = secret(args.secret.as_deref(), args.secret_file.as_deref())?.map(Arc::new);
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Failure::failed(format!("cannot listen on {}: {error}", args.listen)))?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    let mut left = if args.once { Some(1) } else { args.count };
    let (sender, mut received) = mpsc::channel::<Received>(1);
    while left != Some(0) {
        tokio::select! {
            connection = listener.accept() => {
                if let Ok((stream, _)) = connection {
                    tokio::spawn(converse(stream, sender.clone()));
                }
            }
            Some(webhook) = received.recv() => {
                let said = describe(&webhook.headers, &webhook.body, secret.as_deref(), times::now());
                out::line(&said)?;
                // Only what has been shown is confirmed.
                let _ = webhook.shown.send(());
                left = left.map(|left| left.saturating_sub(1));
            }
        }
    }
    // The last answer is on its way; the connection's end tells that it has gone out.
    drop(sender);
    let rest = async { while received.recv().await.is_some() {} };
    let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
    Ok(())
}

struct Received {
    headers: HeaderMap,
    body: Bytes,
    shown: tokio::sync::oneshot::Sender<()>,
}

async fn converse(stream: tokio::net::TcpStream, sender: mpsc::Sender<Received>) {
    let service = service_fn(move |request| {
        let sender = sender.clone();
        async move { Ok::<_, Infallible>(take(request, &sender).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // A sender that breaks off has nothing to be told.
    let _ = tokio::time::timeout(Duration::from_secs(30), served).await;
}

async fn take(
    request: Request<Incoming>,
    sender: &mpsc::Sender<Received>,
) -> Response<Full<Bytes>> {
    let answer = |status: u16, text: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        response
    };
    if request.method() != Method::POST {
        return answer(405, "webhooks come by POST\n");
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_BODY).collect().await else {
        return answer(413, "larger than 1 MiB, or broken off\n");
    };
    let (shown, wait) = tokio::sync::oneshot::channel();
    let received = Received {
        headers: parts.headers,
        body: body.to_bytes(),
        shown,
    };
    if sender.send(received).await.is_err() || wait.await.is_err() {
        return answer(503, "the receiver is stopping\n");
    }
    answer(200, "OK\n")
}

fn secret(given: Option<&str>, file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    let text = match (given, file) {
        (Some(text), _) => text.to_owned(),
        (None, Some(path)) => std::fs::read_to_string(path).map_err(|error| {
            Failure::failed(format!(
                "cannot read the secret file {}: {error}",
                path.display()
            ))
        })?,
        (None, None) => return Ok(None),
    };
    Secret::parse(text.trim())
        .map(Some)
        .map_err(|error| Failure::Usage(format!("the secret is wrong: {error}")))
}

/// A webhook as lines for people.
pub fn describe(headers: &HeaderMap, body: &[u8], secret: Option<&Secret>, now: Time) -> String {
    let verdict = match secret {
        None => "no secret given".to_owned(),
        Some(secret) => match signature::verify(secret, headers, body, now, TOLERANCE) {
            Ok(()) => "valid".to_owned(),
            Err(error) => format!("WRONG ({})", out::shown(&error.to_string())),
        },
    };
    let id = headers
        .get(signature::ID)
        .and_then(|id| id.to_str().ok())
        .unwrap_or("none");
    let mut lines = match serde_json::from_slice::<WebhookPayload>(body) {
        Ok(payload) => payload_lines(&payload, now),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let text: String = text.chars().take(LONGEST_SHOWN).collect();
            vec![
                format!("a body of {} bytes that is no webhook of ours:", body.len()),
                out::shown_lines(&text),
            ]
        }
    };
    lines.push(format!("  webhook-id  {}", out::shown(id)));
    lines.push(format!("  signature: {verdict}"));
    lines.push(String::new());
    lines.join("\n")
}

fn payload_lines(payload: &WebhookPayload, now: Time) -> Vec<String> {
    let when = |text: &str| match Time::parse(text) {
        Ok(time) => format!("{text} ({})", times::relative(time, now)),
        Err(_) => text.to_owned(),
    };
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let mut title = String::new();
    if let Some(incident) = &payload.data.incident {
        title = format!(": {}", incident.title);
        let reopened = if incident.reopened > 0 {
            format!(", reopened {} times", incident.reopened)
        } else {
            String::new()
        };
        pairs.push((
            "incident",
            format!(
                "#{} {}, {}{reopened}",
                incident.number,
                incident.state.as_str(),
                incident.severity.as_str()
            ),
        ));
        pairs.push(("reason", incident.reason.clone()));
        pairs.push(("started", when(&incident.started_at)));
        pairs.push(("detected", when(&incident.detected_at)));
        pairs.extend(
            incident
                .resolved_at
                .as_ref()
                .map(|at| ("resolved", when(at))),
        );
        pairs.extend(incident.url.as_ref().map(|url| ("page", url.clone())));
    }
    if let Some(monitor) = &payload.data.monitor {
        pairs.push((
            "monitor",
            format!("{} ({}, {})", monitor.name, monitor.kind, monitor.state),
        ));
        let labels: Vec<String> = monitor
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        if !labels.is_empty() {
            pairs.push(("labels", labels.join(", ")));
        }
    }
    let evidence = &payload.data.evidence;
    pairs.extend(
        evidence
            .last_checkin_at
            .as_ref()
            .map(|at| ("last heard", when(at))),
    );
    pairs.extend(
        evidence
            .expected_at
            .as_ref()
            .map(|at| ("expected", when(at))),
    );
    pairs.extend(
        evidence
            .exit_status
            .map(|status| ("exit status", status.to_string())),
    );
    pairs.extend(
        evidence
            .message
            .as_ref()
            .map(|message| ("message", message.clone())),
    );
    let mut lines = vec![out::shown(&format!("{}{title}", payload.kind))];
    lines.extend(
        pairs
            .iter()
            .map(|(name, value)| format!("  {name:<11} {}", out::shown(value))),
    );
    lines.push(format!(
        "  {:<11} {}",
        "sent",
        out::shown(&when(&payload.timestamp))
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"type":"incident.triggered","timestamp":"2026-11-21T12:00:00Z","data":{
        "incident":{"id":"i","number":12,"state":"triggered","severity":"critical","title":"invoice-generator is down",
          "reason":"missed_deadline","reopened":0,"started_at":"2026-11-21T11:59:00Z","detected_at":"2026-11-21T12:00:00Z",
          "resolved_at":null,"url":null},
        "monitor":{"id":"m","kind":"heartbeat","name":"invoice-generator","url":null,"labels":{"team":"billing"},"state":"down"},
        "evidence":{"last_checkin_at":null,"expected_at":"2026-11-21T11:54:00Z","exit_status":null,"message":"\u001b[31mred"},
        "regions_failing":[],"regions_ok":[],"triage":null}}"#;

    fn signed(secret: &Secret, body: &[u8], now: Time) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(signature::ID, "msg_1".parse().unwrap());
        headers.insert(signature::TIMESTAMP, now.as_seconds().into());
        headers.insert(
            signature::SIGNATURE,
            secret
                .sign("msg_1", now.as_seconds(), body)
                .parse()
                .unwrap(),
        );
        headers
    }

    #[test]
    fn a_webhook_is_shown_readably_with_the_verdict_on_its_signature() {
        let now = Time::parse("2026-11-21T12:00:00Z").unwrap();
        let secret = Secret::parse(&Secret::encode(&[7; 32])).unwrap();
        let other = Secret::parse(&Secret::encode(&[8; 32])).unwrap();
        let headers = signed(&secret, BODY.as_bytes(), now);
        let said = describe(&headers, BODY.as_bytes(), Some(&secret), now);
        for part in [
            "incident.triggered: invoice-generator is down\n",
            "  incident    #12 triggered, critical\n",
            "  started     2026-11-21T11:59:00Z (1 min ago)\n",
            "  monitor     invoice-generator (heartbeat, down)\n",
            "  labels      team=billing\n",
            "  message     \\u{1b}[31mred\n",
            "  webhook-id  msg_1\n",
            "  signature: valid\n",
        ] {
            assert!(said.contains(part), "{part:?} is not in {said}");
        }
        assert!(
            describe(&headers, BODY.as_bytes(), Some(&other), now).contains("signature: WRONG (")
        );
        assert!(describe(&headers, b"changed", Some(&secret), now).contains("signature: WRONG ("));
        assert!(
            describe(&HeaderMap::new(), BODY.as_bytes(), Some(&secret), now)
                .contains("signature: WRONG (")
        );
        assert!(
            describe(&headers, BODY.as_bytes(), None, now).contains("signature: no secret given\n")
        );
    }

    #[test]
    fn a_body_of_any_kind_is_shown_escaped() {
        let now = Time::parse("2026-11-21T12:00:00Z").unwrap();
        let said = describe(&HeaderMap::new(), b"\xff\x1b[2J\nline", None, now);
        assert!(
            said.contains("13 bytes") || said.contains("bytes that is no webhook of ours:\n"),
            "{said}"
        );
        assert!(!said.contains('\u{1b}'), "{said:?}");
    }
}
