//! Answers of channels' destinations: status, `Retry-After`, a line for each, then the body.

use serde_json::json;
use systole_core::delivery::{GIVE_UP_AFTER, Outcome, Step, next_step};
use systole_core::time::Span;
use systole_server::channels::{Config, retry_after, signature};
use systole_server::outbound::{self, Answer, Response};

use super::{NOW, parts};

pub fn run(input: &[u8]) {
    let Some([status, retry, body]) = parts(input) else {
        return;
    };
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse::<u16>().ok();
    let status = number(status).unwrap_or_default();
    let excerpt = outbound::excerpt(body);
    assert!(excerpt.len() <= 1_024);
    assert!(
        !excerpt.contains(|c: char| c.is_control() && c != '\n'),
        "{excerpt:?} would move a terminal's cursor"
    );

    let retry = std::str::from_utf8(retry).ok();
    if let Some(text) = retry {
        let asked = retry_after::parse(text, NOW);
        if let Ok(seconds) = text.parse::<u32>()
            && !text.starts_with('+')
        {
            assert_eq!(asked, Some(Span::from_seconds(seconds.into())));
        }
    }
    let secret = signature::Secret::encode(&[1; 32]);
    let config = Config::parse(
        "webhook",
        &json!({"url": "https://a.example/", "secret": secret}),
    )
    .unwrap();
    let answer = Answer::Http(Response {
        status,
        retry_after: retry.map(str::to_owned),
        excerpt,
        latency: Span::ZERO,
    });
    let outcome = config.judge(&answer, NOW);
    assert_eq!(
        matches!(outcome, Outcome::Delivered { .. }),
        (200..300).contains(&status)
    );
    for attempts in [1, 7, u32::MAX] {
        match next_step(outcome, attempts, NOW, NOW, 0.5) {
            Step::RetryAt(at) => {
                assert!(at > NOW && at <= NOW + GIVE_UP_AFTER, "tried again at {at}")
            }
            Step::Delivered => assert!((200..300).contains(&status)),
            Step::Dead(_) => {}
        }
    }
}
