use serde_json::json;
use systole_core::time::Span;

use super::super::payload::tests::triggered;
use super::super::tests::{http_request, sending};
use super::*;
use crate::outbound::{Answer, Response};

const URL: &str = "https://hooks.slack.com/services/T00/B00/hidden";

fn config(url: &str) -> Result<super::super::Config, String> {
    super::super::Config::parse("slack", &json!({"url": url})).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

#[test]
fn webhooks_of_slack_and_of_what_speaks_like_it_are_taken() {
    for url in [
        URL,
        "https://hooks.slack-gov.com/services/T/B/x",
        "https://mattermost.example/hooks/xyz",
        "https://chat.example:8443/hooks/xyz",
        "http://127.0.0.1:9000/hooks/xyz",
        "http://[::1]:9000/",
        "http://localhost:8065/hooks/xyz",
    ] {
        assert!(config(url).is_ok(), "{url}");
    }
}

#[test]
fn other_urls_are_refused_with_advice() {
    for (url, why) in [
        ("", "not a URL"),
        ("http://hooks.slack.com/services/T/B/hidden", "https://"),
        ("http://mattermost.example/hooks/hidden", "https://"),
        ("http://10.0.0.1/hooks/hidden", "https://"),
        ("https://hooks.slack.com/", "incoming webhook"),
        (
            "https://HOOKS.slack.com./workflows/hidden",
            "incoming webhook",
        ),
        (
            "https://hooks.slack.com/triggers/T/1/hidden",
            "incoming webhook",
        ),
        ("https://user:hidden@mattermost.example/", "user name"),
        ("https://a.example/#hidden", "fragment"),
    ] {
        let error = config(url).unwrap_err();
        assert!(
            error.starts_with("config.url") && error.contains(why) && !error.contains("hidden"),
            "{url}: {error}"
        );
    }
}

#[test]
fn the_url_is_a_secret_everywhere() {
    let config = config(URL).unwrap();
    assert_eq!(
        super::super::secret_fields("slack").collect::<Vec<_>>(),
        ["url"]
    );
    assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    assert_eq!(config.target(), "https://hooks.slack.com:443");
}

#[test]
fn a_message_is_posted_as_json_the_same_at_every_attempt() {
    let config = config(URL).unwrap();
    let message = triggered();
    let first = http_request(&config, &message, &sending("d-1", message.at)).unwrap();
    assert_eq!((first.method.as_str(), first.url.as_str()), ("POST", URL));
    let body: Value = serde_json::from_slice(&first.body).unwrap();
    assert_eq!(
        body["blocks"][0]["text"]["text"],
        "🔴 Down: invoice-generator"
    );
    let second = http_request(
        &config,
        &message,
        &Sending {
            attempt: 2,
            ..sending("d-1", message.at)
        },
    );
    assert_eq!(Some(first), second);
    assert!(config.can_group());
}

#[test]
fn an_answer_is_judged_by_its_status_and_its_word() {
    use ErrorClass::*;
    let asked = Some(Span::from_seconds(7));
    let retry = |class| Outcome::Retry {
        class,
        retry_after: asked,
    };
    let reject = |class| Outcome::Reject { class };
    let delivered = Outcome::Delivered { status: 200 };
    let (slack, other) = (
        config(URL).unwrap(),
        config("https://mattermost.example/hooks/x").unwrap(),
    );
    for (config, status, said, expected) in [
        (&slack, 200, "ok", delivered),
        (&slack, 200, "ok\n", delivered),
        (&slack, 200, "<html>Sign in</html>", retry(InvalidResponse)),
        (&slack, 200, "", retry(InvalidResponse)),
        (&other, 200, "ok", delivered),
        (&other, 200, "{\"success\":true}", delivered),
        (&slack, 302, "", reject(Redirect)),
        (&slack, 400, "invalid_payload", reject(InvalidPayload)),
        (&slack, 400, "invalid_blocks", reject(InvalidPayload)),
        (&slack, 400, "msg_blocks_too_long", reject(InvalidPayload)),
        (&slack, 400, "no_text", reject(InvalidPayload)),
        (&slack, 400, "user_not_found", reject(Auth)),
        (&slack, 403, "action_prohibited", reject(Auth)),
        (&slack, 403, "invalid_token", reject(Auth)),
        (&slack, 404, "no_service", reject(Auth)),
        (&slack, 404, "no_team", reject(Auth)),
        (&slack, 404, "channel_not_found", reject(Http4xx)),
        (&slack, 404, "channel_is_archived", reject(Gone)),
        (&slack, 410, "channel_is_archived", reject(Gone)),
        (&slack, 408, "", retry(Timeout)),
        (&slack, 413, "", reject(InvalidPayload)),
        (&slack, 429, "rate_limited", retry(RateLimited)),
        (&slack, 500, "rollup_error", retry(Http5xx)),
        (&slack, 503, "", retry(Http5xx)),
        (&slack, 101, "", retry(InvalidResponse)),
    ] {
        let answer = Answer::Http(Response {
            status,
            retry_after: Some("7".to_owned()),
            excerpt: said.to_owned(),
            latency: Span::ZERO,
        });
        let judged = config.judge(&answer, Time::from_seconds(0));
        assert_eq!(judged, expected, "{status} {said}");
    }
}
