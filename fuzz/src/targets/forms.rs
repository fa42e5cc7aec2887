//! Forms of the pages, and URLs that people type: a form's body, a page to go back to, a URL, a line for each.

use systole::client::http::{Url, escaped};
use systole_server::pages::{self, MonitorForm};
use systole_wire::strict::from_value;
use systole_wire::{MonitorInput, MonitorPatch};

use super::{is_said, texts};

pub fn run(input: &[u8]) {
    let Some([form, next, url]) = texts(input) else {
        return;
    };
    if let Some(form) = form_of(form) {
        let patch = from_value::<MonitorPatch>(form.document(Some("classic")));
        let mut document = form.document(None);
        document["kind"] = "heartbeat".into();
        let input = from_value::<MonitorInput>(document);
        assert_eq!(
            patch.is_ok(),
            input.is_ok(),
            "what can be made can be edited"
        );
        for error in input.err().into_iter().flatten() {
            let is_known = ["name", "grace", "schedule"]
                .iter()
                .any(|field| error.field.starts_with(field));
            assert!(is_known, "{error} stands beside no field of the form");
        }
    }
    let path = pages::own_path(next);
    let base = url::Url::parse("https://systole.example.com/").unwrap();
    let joined = base.join(path).unwrap();
    assert_eq!(joined.origin(), base.origin(), "{next:?} leads to {joined}");
    assert!(http::HeaderValue::from_str(path).is_ok());
    match Url::parse(url) {
        Ok(url) => {
            is_said(&url.shown(), 5_000);
            assert!(!url.shown().contains(char::is_control) && !url.origin().contains('@'));
            assert!(url.join("/start").shown().ends_with("/start"));
        }
        Err(why) => is_said(&why, 5_000),
    }
    let plain = escaped(url);
    let read: Vec<_> = url::form_urlencoded::parse(plain.as_bytes()).collect();
    assert!(
        url.is_empty() || (read.len() == 1 && read[0].0 == url),
        "{plain} is not {url:?}"
    );
}

/// As axum's extractor reads a form.
fn form_of(text: &str) -> Option<MonitorForm> {
    let pairs = url::form_urlencoded::parse(text.as_bytes())
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()));
    let fields: serde_json::Map<String, serde_json::Value> = pairs.collect();
    serde_json::from_value(fields.into()).ok()
}
