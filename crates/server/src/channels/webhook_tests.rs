use serde_json::json;
use systole_core::message::MessageKind;
use systole_core::time::Span;

use super::super::payload::tests::triggered;
use super::super::tests::{http_request, sending};
use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn config(more: &Value) -> Result<super::super::Config, String> {
    let mut config = json!({"url": "https://a.example/in?key=1", "secret": SECRET});
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    super::super::Config::parse("webhook", &config).map_err(|errors| {
        errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    })
}

#[test]
fn urls_of_http_with_a_host_are_taken() {
    for url in [
        "https://a.example",
        "http://a.example:8080/in?x=%20y",
        "https://[2001:4860::1]:8443/",
        "http://10.0.0.7/hook",
        "https://hooks.slack.com.a.example/",
        "https://bücher.example/",
    ] {
        assert!(config(&json!({"url": url})).is_ok(), "{url}");
    }
}

#[test]
fn other_urls_are_refused_with_advice() {
    for (url, why) in [
        (json!(""), "not a URL"),
        (json!(5), "must be a string"),
        (json!("a.example/in"), "not a URL"),
        (json!("ftp://a.example/"), "only http and https"),
        (json!("file:///etc/passwd"), "only http and https"),
        (json!("https://"), "not a URL"),
        (json!("https://user@a.example/"), "Authorization"),
        (json!("https://:hidden@a.example/"), "Authorization"),
        (json!("https://a.example/#there"), "fragment"),
        (json!("https://a.example:0/"), "port is 0"),
        (
            json!(format!("https://a.example/{}", "x".repeat(3_000))),
            "at most 2048",
        ),
        (
            json!("https://hooks.slack.com/services/T/B/hidden"),
            "kind slack",
        ),
        (
            json!("https://HOOKS.SLACK.COM./services/T/B/hidden"),
            "kind slack",
        ),
        (
            json!("https://hooks.slack-gov.com/services/T/B/hidden"),
            "kind slack",
        ),
    ] {
        let error = config(&json!({"url": url})).unwrap_err();
        assert!(
            error.contains("config.url") && error.contains(why),
            "{url}: {error}"
        );
        assert!(!error.contains("hidden"), "{error}");
    }
}

#[test]
fn headers_are_taken_unless_they_are_the_senders() {
    assert!(config(&json!({"headers": {"Authorization": "Bearer hidden", "X-Team": "ü"}})).is_ok());
    for (headers, why) in [
        (json!([]), "must be an object"),
        (json!({"no good": "hidden"}), "not the name of a header"),
        (json!({"Host": "hidden"}), "set by the sender"),
        (json!({"Content-Length": "0"}), "set by the sender"),
        (json!({"Webhook-Id": "hidden"}), "set by the sender"),
        (
            json!({"Proxy-Authorization": "hidden"}),
            "set by the sender",
        ),
        (json!({"x": 5}), "must be a string"),
        (
            json!({"x": "hidden\r\nHost: b.example"}),
            "no header can hold",
        ),
        (json!({"x": "y".repeat(5_000)}), "longer than"),
    ] {
        let error = config(&json!({"headers": headers})).unwrap_err();
        assert!(
            error.contains("config.headers") && error.contains(why),
            "{error}"
        );
        assert!(!error.contains("hidden"), "{error}");
    }
    let many: Map<String, Value> = (0..21).map(|n| (format!("x-{n}"), json!("y"))).collect();
    assert!(
        config(&json!({"headers": many}))
            .unwrap_err()
            .contains("at most 20")
    );
}

#[test]
fn a_secret_must_be_there_when_it_is_to_be_used() {
    let error = config(&json!({"secret": null})).unwrap_err();
    assert!(error.contains("config.secret"), "{error}");
    assert!(
        config(&json!({"secret": "abc"}))
            .unwrap_err()
            .contains("whsec_")
    );
    assert!(
        config(&json!({"format": "xml"}))
            .unwrap_err()
            .contains("vigilmon")
    );
}

#[test]
fn the_request_is_signed_over_what_it_sends() {
    let config = config(&json!({"headers": {"Authorization": "Bearer x"}})).unwrap();
    let now = Time::parse("2026-11-21T08:05:01.9Z").unwrap();
    let request = http_request(&config, &triggered(), &sending("d-1", now)).unwrap();
    assert_eq!(request.method, Method::POST);
    assert_eq!(request.url.as_str(), "https://a.example/in?key=1");
    let headers: http::HeaderMap = request
        .headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    for (name, expected) in [
        ("content-type", "application/json"),
        ("webhook-id", "d-1"),
        ("webhook-timestamp", "1795248301"),
        ("authorization", "Bearer x"),
    ] {
        assert_eq!(headers[name], expected, "{name}");
    }
    let secret = signature::Secret::parse(SECRET).unwrap();
    let verified = signature::verify(&secret, &headers, &request.body, now, signature::TOLERANCE);
    assert_eq!(verified, Ok(()));
}

#[test]
fn a_repetition_differs_only_in_its_time_and_signature() {
    let config = config(&json!({})).unwrap();
    let first = http_request(
        &config,
        &triggered(),
        &sending("d-1", Time::from_seconds(1_000)),
    )
    .unwrap();
    let second = http_request(
        &config,
        &triggered(),
        &sending("d-1", Time::from_seconds(2_000)),
    )
    .unwrap();
    assert_eq!(first.body, second.body);
    let changed: Vec<&str> = first
        .headers
        .iter()
        .zip(&second.headers)
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.0.as_str())
        .collect();
    assert_eq!(changed, ["webhook-timestamp", "webhook-signature"]);
}

#[test]
fn the_flat_format_sends_down_and_up_one_by_one() {
    let flat = config(&json!({"format": "vigilmon"})).unwrap();
    let standard = config(&json!({"format": "standard"})).unwrap();
    assert!(standard.can_group() && !flat.can_group());
    for kind in MessageKind::ALL {
        let message = Message {
            kind,
            ..triggered()
        };
        let sends = matches!(kind, MessageKind::Triggered | MessageKind::Resolved);
        let now = Time::from_seconds(0);
        assert_eq!(
            flat.request(&message, &sending("d", now)).is_some(),
            sends,
            "{kind}"
        );
        assert!(
            standard.request(&message, &sending("d", now)).is_some(),
            "{kind}"
        );
    }
}

#[test]
fn an_answer_is_judged_by_its_status() {
    use ErrorClass::*;
    let asked = Some(Span::from_seconds(7));
    let retry = |class| Outcome::Retry {
        class,
        retry_after: asked,
    };
    let reject = |class| Outcome::Reject { class };
    for (status, expected) in [
        (200, Outcome::Delivered { status: 200 }),
        (204, Outcome::Delivered { status: 204 }),
        (301, reject(Redirect)),
        (307, reject(Redirect)),
        (400, reject(Http4xx)),
        (401, reject(Auth)),
        (403, reject(Auth)),
        (404, reject(Http4xx)),
        (408, retry(Timeout)),
        (410, reject(Gone)),
        (413, reject(InvalidPayload)),
        (422, reject(InvalidPayload)),
        (425, retry(Http4xx)),
        (429, retry(RateLimited)),
        (500, retry(Http5xx)),
        (503, retry(Http5xx)),
        (599, retry(Http5xx)),
        (101, retry(InvalidResponse)),
        (999, retry(InvalidResponse)),
    ] {
        assert_eq!(
            judge(status, Some("7"), Time::from_seconds(0)),
            expected,
            "{status}"
        );
    }
}

#[test]
fn a_config_shown_for_debugging_holds_no_secret() {
    let config = config(&json!({"url": "https://a.example/hidden", "headers": {"x": "hidden"}}));
    let shown = format!("{:?}", config.unwrap());
    assert!(shown.contains("https://a.example:443"), "{shown}");
    assert!(
        !shown.contains("hidden") && !shown.contains("MfKQ"),
        "{shown}"
    );
}
