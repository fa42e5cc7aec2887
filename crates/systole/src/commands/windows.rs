//! Whether two maintenances mean the same, however they are written.

use serde_json::Value;
use systole_core::maintenance::{LabelSelector, Recurrence, When, instant};
use systole_core::time::{Span, Time};

/// Whether both are the same window, or the same windows. A time that means nothing is the server's to refuse.
pub fn is_same_time(wanted: &Value, found: &Value) -> bool {
    when(wanted).is_some_and(|wanted| when(found) == Some(wanted))
}

fn when(value: &Value) -> Option<When> {
    let text = |field: &str| value[field].as_str();
    let duration = || match &value["duration"] {
        Value::Number(number) => Span::parse(&number.to_string()).ok(),
        given => Span::parse(given.as_str()?).ok(),
    };
    let zone = text("timezone");
    if let Some(rrule) = text("rrule") {
        let recurrence =
            Recurrence::parse(rrule, text("start")?, duration()?, zone.unwrap_or("UTC"));
        return Some(When::Recurring(Box::new(recurrence.ok()?)));
    }
    let time = |field: &str, is_end| match zone {
        None => Time::parse(text(field)?).ok(),
        Some(zone) => instant(text(field)?, zone, is_end).ok(),
    };
    let start = time("start", false)?;
    let end = match text("end") {
        Some(_) => time("end", true)?,
        None => start + duration()?,
    };
    When::once(start, end).ok()
}

/// Whether both select the same monitors by their labels.
pub fn is_same_selector(wanted: &Value, found: &Value) -> bool {
    let read = |value: &Value| LabelSelector::parse(value.as_str().unwrap_or_default()).ok();
    read(wanted).is_some_and(|wanted| read(found) == Some(wanted))
}

/// Whether both name the same monitors, in any order; `None` where a document names them by ids.
pub fn are_same_monitors(wanted: &Value, found: &Value) -> Option<bool> {
    let names = |value: &Value| {
        let mut names: Vec<String> = value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let (wanted, found) = (names(wanted), names(found));
    let is_same = wanted == found;
    let may_be_id = |name: &String| name.starts_with("mon_") && !found.contains(name);
    (is_same || !wanted.iter().any(may_be_id)).then_some(is_same)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_the_same_however_they_are_written() {
        let once = json!({"start": "2026-12-01T13:00:00Z", "end": "2026-12-01T17:00:00Z"});
        let weekly = json!({"rrule": "FREQ=WEEKLY;BYDAY=SU", "start": "2026-11-29T02:00:00", "duration": "2h", "timezone": "UTC"});
        for (wanted, found, expected) in [
            (
                json!({"start": "2026-12-01T22:00", "duration": "4h", "timezone": "Asia/Tokyo"}),
                &once,
                true,
            ),
            (
                json!({"start": "2026-12-01T14:00:00+01:00", "duration": 14_400}),
                &once,
                true,
            ),
            (
                json!({"start": "2026-12-01T13:00:00Z", "duration": "3h"}),
                &once,
                false,
            ),
            (
                json!({"rrule": "FREQ=WEEKLY;BYDAY=SU", "start": "2026-11-29T02:00", "duration": "120m"}),
                &weekly,
                true,
            ),
            (
                json!({"rrule": "FREQ=WEEKLY;BYDAY=MO", "start": "2026-11-29T02:00", "duration": "2h"}),
                &weekly,
                false,
            ),
            (
                json!({"start": "2026-11-29T02:00:00Z", "duration": "2h"}),
                &weekly,
                false,
            ),
            (json!({"start": "nonsense", "duration": "2h"}), &once, false),
            (json!(null), &once, false),
        ] {
            assert_eq!(is_same_time(&wanted, found), expected, "{wanted}");
        }
    }

    #[test]
    fn selectors_and_lists_are_the_same_in_any_spacing_and_order() {
        for (wanted, found, expected) in [
            (
                json!("team = billing, !legacy"),
                json!("team=billing,!legacy"),
                true,
            ),
            (json!(null), json!(""), true),
            (json!("team=shop"), json!("team=billing"), false),
            (json!("a b c"), json!("team=billing"), false),
        ] {
            assert_eq!(is_same_selector(&wanted, &found), expected, "{wanted}");
        }
        for (wanted, found, expected) in [
            (json!(["b", "a", "a"]), json!(["a", "b"]), Some(true)),
            (json!(null), json!([]), Some(true)),
            (json!(["a"]), json!(["a", "b"]), Some(false)),
            (json!(["mon_1"]), json!(["a"]), None),
            (json!(["mon_1"]), json!(["mon_1"]), Some(true)),
        ] {
            assert_eq!(are_same_monitors(&wanted, &found), expected, "{wanted}");
        }
    }
}
