//! `systole ping`: one check-in.

use std::time::Duration;

use crate::cli::PingArgs;
use crate::client::http::{Http, Reply, Url};
use crate::client::server_url;
use crate::failure::Failure;
use crate::out;

/// Waits between the tries; there is one try more than there are waits.
const WAITS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// A server may ask for no longer wait than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Sends the check-in, again where that may help, and prints OK.
///
/// # Errors
/// Why it did not arrive.
pub async fn run(args: PingArgs) -> Result<(), Failure> {
    let url = target(&args.target, args.server.as_deref())?.join(&suffix(&args));
    let method = if args.message.is_some() {
        "POST"
    } else {
        "GET"
    };
    let body = args.message.clone().unwrap_or_default().into_bytes();
    let http = Http::new();
    let mut waits = WAITS.iter();
    loop {
        let outcome = http.send(method, &url, &[], body.clone()).await;
        let wait = waits.next();
        match (judge(outcome), wait) {
            (Verdict::Done, _) => return Ok(out::line("OK")?),
            (Verdict::Again(failure, _), None) | (Verdict::Refused(failure), _) => {
                return Err(failure);
            }
            (Verdict::Again(_, asked), Some(wait)) => {
                tokio::time::sleep(asked.map_or(*wait, |asked| asked.min(LONGEST_WAIT))).await;
            }
        }
    }
}

enum Verdict {
    Done,
    /// Worth another try, perhaps after the time that the server asked for.
    Again(Failure, Option<Duration>),
    Refused(Failure),
}

fn judge(outcome: anyhow::Result<Reply>) -> Verdict {
    let reply = match outcome {
        Ok(reply) => reply,
        Err(error) => return Verdict::Again(Failure::Failed(error), None),
    };
    let said = String::from_utf8_lossy(&reply.body);
    let said: String = out::shown(said.trim()).chars().take(200).collect();
    let failure = Failure::failed(format!(
        "the check-in was answered with status {}: {said}",
        reply.status
    ));
    match reply.status {
        200..300 => Verdict::Done,
        408 | 425 | 429 | 500.. => {
            Verdict::Again(failure, reply.retry_after.map(Duration::from_secs))
        }
        _ => Verdict::Refused(failure),
    }
}

/// Where the check-in goes, before what it says is added.
fn target(given: &str, server: Option<&str>) -> Result<Url, Failure> {
    if given.contains("://") {
        return Url::parse(given).map_err(Failure::Usage);
    }
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let parts: Vec<&str> = given.split('/').collect();
    if parts.len() > 2 || !parts.iter().copied().all(plain) {
        return Err(Failure::Usage(
            "the target is neither a URL, nor a token, nor a ping key and a slug (KEY/SLUG)"
                .to_owned(),
        ));
    }
    Ok(server_url(server)?.join(&format!("/ping/{given}")))
}

fn suffix(args: &PingArgs) -> String {
    match (args.start, args.fail, args.exit) {
        (true, _, _) => "/start".to_owned(),
        (_, true, _) => "/fail".to_owned(),
        (_, _, Some(status)) => format!("/{status}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_token_a_key_and_slug_or_a_url() {
        let server = Some("https://systole.example.com/");
        for (given, expected) in [
            (
                "0d8b1e3a-token",
                Some("https://systole.example.com/ping/0d8b1e3a-token"),
            ),
            (
                "key/nightly",
                Some("https://systole.example.com/ping/key/nightly"),
            ),
            (
                "http://other.example.com/ping/x",
                Some("http://other.example.com/ping/x"),
            ),
            ("a/b/c", None),
            ("../admin", None),
            ("", None),
            ("a b", None),
        ] {
            assert_eq!(
                target(given, server).ok().map(|url| url.shown()).as_deref(),
                expected,
                "{given}"
            );
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let reply = |status| {
            Ok(Reply {
                status,
                body: b"x".to_vec(),
                retry_after: Some(1),
                location: None,
                date: None,
                instance: None,
            })
        };
        for (status, again) in [
            (429, true),
            (503, true),
            (500, true),
            (404, false),
            (400, false),
            (302, false),
        ] {
            assert_eq!(
                matches!(judge(reply(status)), Verdict::Again(..)),
                again,
                "{status}"
            );
        }
        assert!(matches!(judge(reply(200)), Verdict::Done));
        assert!(matches!(
            judge(Err(anyhow::anyhow!("refused"))),
            Verdict::Again(..)
        ));
    }
}
