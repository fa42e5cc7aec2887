//! What an apply would change: the document against the object that there is.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use systole_core::time::Span;
use systole_wire::REDACTED;

use super::windows;

/// Fields whose text is a duration, where `90s` and `1m30s` are the same.
const DURATIONS: [&str; 6] = [
    "grace",
    "start_grace",
    "max_runtime",
    "early_window",
    "remind_every",
    "every",
];

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which, for example `grace` or `config.url`.
    pub field: String,
    /// What the object has.
    pub from: Value,
    /// What the document wants.
    pub to: Value,
}

/// How a document and an object differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Fields that differ for certain.
    pub changed: Vec<Change>,
    /// Fields that cannot be compared from here: secrets, and monitors that are named by their ids.
    pub unsure: Vec<String>,
}

impl Difference {
    fn add(&mut self, field: impl Into<String>, from: &Value, to: &Value) {
        self.changed.push(Change {
            field: field.into(),
            from: from.clone(),
            to: to.clone(),
        });
    }
}

/// Compares only what the document says; `channel_names` maps ids to names, since a monitor's list may hold either.
pub fn difference(
    document: &Map<String, Value>,
    object: &Value,
    channel_names: &BTreeMap<String, String>,
) -> Difference {
    let mut difference = Difference::default();
    for (field, wanted) in document {
        let found = &object[field.as_str()];
        match field.as_str() {
            "token" => {
                // To a reader's token it is not shown; whether it is the same is then the server's to know.
                if !found.is_null() && wanted != found {
                    difference.add(field, found, wanted);
                }
            }
            "when" if windows::is_same_time(wanted, found) => {}
            "selector" if windows::is_same_selector(wanted, found) => {}
            "monitors" => match windows::are_same_monitors(wanted, found) {
                Some(true) => {}
                Some(false) => difference.add(field, found, wanted),
                None => difference.unsure.push(field.clone()),
            },
            "config" => compare_settings(wanted, found, &mut difference),
            "channels" if names(wanted, channel_names) == names(found, channel_names) => {}
            "schedule" if same_schedule(wanted, found) => {}
            field if is_same(field, wanted, found) => {}
            _ => difference.add(field, found, wanted),
        }
    }
    difference
}

fn is_same(field: &str, wanted: &Value, found: &Value) -> bool {
    if DURATIONS.contains(&field)
        && let (Some(wanted), Some(found)) = (span(wanted), span(found))
    {
        return wanted == found;
    }
    wanted == found || (is_empty(wanted) && is_empty(found))
}

fn span(value: &Value) -> Option<Span> {
    match value {
        Value::String(text) => Span::parse(text).ok(),
        Value::Number(number) => Span::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// Nothing, written in one way or another.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// A period with itself, cron with its defaults filled in.
fn same_schedule(wanted: &Value, found: &Value) -> bool {
    let or = |value: &Value, field: &str, default: &str| match &value[field] {
        Value::Null => Value::from(default),
        given => given.clone(),
    };
    is_same("every", &wanted["every"], &found["every"])
        && wanted["cron"] == found["cron"]
        && (wanted["cron"].is_null()
            || or(wanted, "timezone", "UTC") == or(found, "timezone", "UTC")
                && or(wanted, "dialect", "classic") == or(found, "dialect", "classic"))
}

fn names(value: &Value, channel_names: &BTreeMap<String, String>) -> Option<Vec<String>> {
    let mut names: Vec<String> = value
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .map(|name| {
            channel_names
                .get(name)
                .map_or(name, String::as_str)
                .to_owned()
        })
        .collect();
    names.sort();
    Some(names)
}

fn compare_settings(wanted: &Value, found: &Value, difference: &mut Difference) {
    let empty = Map::new();
    let (wanted, found) = (
        wanted.as_object().unwrap_or(&empty),
        found.as_object().unwrap_or(&empty),
    );
    for (name, value) in wanted {
        let place = format!("config.{name}");
        match found.get(name) {
            Some(found) if holds_secret(found) => difference.unsure.push(place),
            found if is_same(name, value, found.unwrap_or(&Value::Null)) => {}
            found => difference.add(place, found.unwrap_or(&Value::Null), value),
        }
    }
    // The settings are set as a whole. Some secrets that are left out stay, which is the server's to know.
    for (name, value) in found.iter().filter(|(name, _)| !wanted.contains_key(*name)) {
        let place = format!("config.{name}");
        if holds_secret(value) {
            difference.unsure.push(place);
        } else if !is_empty(value) {
            difference.add(place, value, &Value::Null);
        }
    }
}

fn holds_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains(REDACTED),
        Value::Array(items) => items.iter().any(holds_secret),
        Value::Object(fields) => fields.values().any(holds_secret),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(difference: &Difference) -> Vec<&str> {
        let changed = difference.changed.iter();
        changed.map(|change| change.field.as_str()).collect()
    }

    #[test]
    fn only_what_really_differs_is_a_change() {
        let found = json!({
            "kind": "heartbeat", "name": "a", "description": "", "owner": null, "labels": {}, "grace": "1m30s",
            "schedule": {"cron": "0 2 * * *", "timezone": "UTC", "dialect": "classic"}, "channels": ["c1", "c2"], "token": "abcdefghij",
            "fail_threshold": 1
        });
        let channels = BTreeMap::from([
            ("c1".to_owned(), "ops".to_owned()),
            ("c2".to_owned(), "web".to_owned()),
        ]);
        for (document, changed) in [
            (json!({"kind": "heartbeat", "name": "a"}), vec![]),
            (
                json!({"grace": "90s", "description": null, "owner": "", "labels": null}),
                vec![],
            ),
            (json!({"grace": 90}), vec![]),
            (json!({"grace": "2m"}), vec!["grace"]),
            (json!({"schedule": {"cron": "0 2 * * *"}}), vec![]),
            (
                json!({"schedule": {"cron": "0 2 * * *", "timezone": "Europe/Oslo"}}),
                vec!["schedule"],
            ),
            (json!({"schedule": {"every": "6h"}}), vec!["schedule"]),
            (json!({"channels": ["web", "ops"]}), vec![]),
            (json!({"channels": ["ops"]}), vec!["channels"]),
            (json!({"channels": []}), vec!["channels"]),
            (json!({"channels": null}), vec!["channels"]),
            (json!({"token": "abcdefghij"}), vec![]),
            (json!({"token": "0123456789"}), vec!["token"]),
            (
                json!({"fail_threshold": 3, "labels": {"a": "b"}}),
                vec!["fail_threshold", "labels"],
            ),
        ] {
            let found = difference(document.as_object().unwrap(), &found, &channels);
            assert_eq!(fields(&found), changed, "{document}");
            assert!(found.unsure.is_empty(), "{document}");
        }
    }

    #[test]
    fn secrets_cannot_be_compared_from_here_and_settings_left_out_are_taken_away() {
        let found = json!({"config": {"url": "https://example.com", "secret": "(secret)", "format": "standard",
                                    "headers": {"authorization": "(secret)"}}});
        let document = json!({"config": {"url": "https://example.org", "secret": "whsec_x"}});
        let found = difference(document.as_object().unwrap(), &found, &BTreeMap::new());
        assert_eq!(fields(&found), ["config.url", "config.format"]);
        assert_eq!(found.unsure, ["config.secret", "config.headers"]);
    }
}
