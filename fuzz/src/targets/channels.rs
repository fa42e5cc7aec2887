//! Configurations of channels: the kind on the first line, then JSON.

use serde_json::Value;
use systole_core::message::Message;
use systole_server::channels::{self, Config, FieldError, KINDS, Request, Sending};
use systole_server::outbound;

use super::{NOW, is_said, is_told_apart, texts};

pub fn run(input: &[u8]) {
    let Some([kind, config]) = texts(input) else {
        return;
    };
    let Ok(mut config) = serde_json::from_str::<Value>(config) else {
        return;
    };
    channels::complete(kind, &mut config, [7; 32]);
    match Config::parse(kind, &config) {
        Ok(read) => accepted(kind, &config, &read),
        Err(errors) => refused(kind, &config, &errors),
    }
}

/// Whatever is accepted can be sent, and is never shown with its secrets.
fn accepted(kind: &str, config: &Value, read: &Config) {
    assert!(KINDS.iter().any(|known| known.name == kind));
    assert_eq!(
        Config::parse(kind, config).as_ref(),
        Ok(read),
        "the same text is the same channel"
    );
    let sending = Sending {
        delivery_id: "dlv_1",
        attempt: 1,
        now: NOW,
        base_url: "https://systole.example",
        channel: 1,
        unsubscribe_url: None,
    };
    let request = read.request(&Message::channel_test(NOW), &sending);
    let shown = format!("{read:?} {request:?}");
    if let Some(secret) = secret(kind, config) {
        assert!(!shown.contains(secret), "{shown} shows the secret");
    }
    if let Some(Request::Http(request)) = request {
        assert!(matches!(request.url.scheme(), "http" | "https") && request.url.has_host());
        let written = outbound::written(request)
            .unwrap_or_else(|(_, why)| panic!("{config} cannot be sent: {why}"));
        assert!(written.headers().contains_key(http::header::HOST));
        assert!(
            written.uri().path().starts_with('/'),
            "{} is no target of a request",
            written.uri()
        );
    }
}

fn refused(kind: &str, config: &Value, errors: &[FieldError]) {
    assert!(!errors.is_empty());
    for error in errors {
        is_said(&error.detail, 1_000);
        let is_known =
            error.field == "kind" || error.field == "config" || error.field.starts_with("config.");
        assert!(is_known, "{} is no field of a channel", error.field);
        if let Some(secret) = secret(kind, config) {
            assert!(!error.detail.contains(secret), "{error} repeats the secret");
        }
    }
}

/// The secret, where it is one: long, and written nowhere else.
fn secret<'c>(kind: &str, config: &'c Value) -> Option<&'c str> {
    let secret = config.get("secret")?.as_str()?;
    let mut others = config.clone();
    others["secret"].take();
    let is_elsewhere = kind.contains(secret) || others.to_string().contains(secret);
    (is_told_apart(secret) && !is_elsewhere).then_some(secret)
}
