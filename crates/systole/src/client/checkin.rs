//! Where check-ins go, and what their answers mean.

use std::time::Duration;

use super::http::{Http, Reply, Url};
use super::server_url;
use crate::failure::Failure;
use crate::out;

/// Shorter parts of a URL are words; to hide them would make a message unreadable and no secret safer.
const SHORTEST_SECRET: usize = 6;

/// A heartbeat's address. Who knows it can report for the job, so it stands in no message.
pub struct Target {
    url: Url,
    secrets: Vec<String>,
}

/// What became of a check-in.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is durable; the server may say how much of a body it keeps.
    Taken {
        /// In bytes.
        body_limit: Option<usize>,
    },
    /// It is worth another try, perhaps after the time that the server asked for.
    Again {
        /// What went wrong.
        why: String,
        /// What the server asked for.
        wait: Option<Duration>,
    },
    /// Another try would change nothing.
    Refused(String),
}

impl Target {
    /// Reads a token, a ping key and a slug, or a whole URL.
    ///
    /// # Errors
    /// Text that is none of these; it is not repeated.
    pub fn parse(given: &str, server: Option<&str>) -> Result<Target, Failure> {
        if given.contains("://") {
            let url = Url::parse(given).map_err(|_| {
                Failure::Usage(
                    "the target is not a URL such as https://systole.example.com/ping/TOKEN, without a name and a password"
                        .to_owned(),
                )
            })?;
            return Ok(Target::new(url));
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
        let url = server_url(server)?.join(&format!("/ping/{given}"));
        Ok(Target::new(url))
    }

    fn new(url: Url) -> Target {
        let all = url.path_and_query();
        let (path, query) = all.split_once('?').unwrap_or((all, ""));
        let parts = path.split('/').chain(query.split(['&', '=']));
        let mut secrets: Vec<String> = parts
            .filter(|part| part.len() >= SHORTEST_SECRET)
            .map(str::to_owned)
            .collect();
        // A part may hold another.
        secrets.sort_by_key(|part| std::cmp::Reverse(part.len()));
        Target { url, secrets }
    }

    /// The same for one run of the job, so that its start and its end pair.
    pub fn of_run(self, run: &str) -> Target {
        Target {
            url: self.url.with_parameter("rid", run),
            ..self
        }
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> String {
        self.url.origin()
    }

    /// Sends one check-in; the suffix says what it means.
    pub async fn send(&self, http: &Http, method: &str, suffix: &str, body: Vec<u8>) -> Answer {
        let url = self.url.join(suffix);
        self.judge(http.send(method, &url, &[], body).await)
    }

    fn judge(&self, outcome: anyhow::Result<Reply>) -> Answer {
        let reply = match outcome {
            Ok(reply) => reply,
            Err(error) => {
                let why = self.without_secrets(&format!("{error:#}"));
                return Answer::Again { why, wait: None };
            }
        };
        let said = String::from_utf8_lossy(&reply.body);
        let said = self.without_secrets(&out::shown(said.trim()));
        let said: String = said.chars().take(200).collect();
        let advice = match reply.status {
            300..400 => "; give the address that it redirects to",
            404 => "; is the token right?",
            _ => "",
        };
        let why = format!(
            "the check-in was answered with status {}: {said}{advice}",
            reply.status
        );
        match reply.status {
            200..300 => Answer::Taken {
                body_limit: reply.body_limit,
            },
            408 | 425 | 429 | 500.. => Answer::Again {
                why,
                wait: reply.retry_after.map(Duration::from_secs),
            },
            _ => Answer::Refused(why),
        }
    }

    fn without_secrets(&self, text: &str) -> String {
        self.secrets
            .iter()
            .fold(text.to_owned(), |text, secret| text.replace(secret, "…"))
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
            ("ftp://example.com/ping/x", None),
        ] {
            let target = Target::parse(given, server);
            assert_eq!(
                target.ok().map(|target| target.url.shown()).as_deref(),
                expected,
                "{given}"
            );
        }
    }

    fn reply(status: u16, body: &str) -> anyhow::Result<Reply> {
        Ok(Reply {
            status,
            body: body.as_bytes().to_vec(),
            retry_after: Some(1),
            location: None,
            body_limit: Some(10),
            date: None,
            instance: None,
        })
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let target = Target::parse("some-token", None).ok().unwrap();
        for (status, again) in [
            (429, true),
            (503, true),
            (500, true),
            (404, false),
            (400, false),
            (302, false),
        ] {
            let answer = target.judge(reply(status, "x"));
            assert_eq!(matches!(answer, Answer::Again { .. }), again, "{status}");
        }
        let taken = Answer::Taken {
            body_limit: Some(10),
        };
        assert_eq!(target.judge(reply(200, "OK")), taken);
        let lost = target.judge(Err(anyhow::anyhow!("no answer")));
        assert!(matches!(lost, Answer::Again { wait: None, .. }));
    }

    #[test]
    fn no_message_repeats_what_lets_others_report() {
        for given in [
            "0d8b1e3a-token",
            "0d8b1e3a-token/nightly",
            "http://h/0d8b1e3a-token",
            "http://h/x?key=0d8b1e3a-token&a",
        ] {
            let target = Target::parse(given, None).ok().unwrap();
            let echo = target.judge(reply(404, "no route for /ping/0d8b1e3a-token/start"));
            let failed = target.judge(Err(anyhow::anyhow!("POST {}", target.url.shown())));
            for answer in [echo, failed] {
                let said = format!("{answer:?}");
                assert!(!said.contains("0d8b1e3a"), "{given}: {said}");
            }
        }
        for given in [
            "htt://h/0d8b1e3a-token",
            "0d8b1e3a-token/a/b",
            "http://u:0d8b1e3a@h/",
        ] {
            let Err(Failure::Usage(said)) = Target::parse(given, None) else {
                panic!("{given} is taken");
            };
            assert!(!said.contains("0d8b1e3a"), "{given}: {said}");
        }
    }
}
