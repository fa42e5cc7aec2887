//! `systole get`: lists for people and for programs.

use serde_json::{Value, json};
use systole_core::time::Time;

use crate::cli::{Format, GetArgs, Listed};
use crate::client::Api;
use crate::failure::Failure;
use crate::table::Table;
use crate::{out, times};

/// Lists what was asked for.
///
/// # Errors
/// Why it cannot be shown, or that there is none of the given name.
pub async fn run(args: GetArgs) -> Result<(), Failure> {
    let api = Api::connect(&args.connection)?;
    let (path, word) = match args.what {
        Listed::Monitors => ("/monitors", "monitor"),
        Listed::Incidents => ("/incidents", "incident"),
        Listed::Deliveries => ("/deliveries", "delivery"),
        Listed::Channels => ("/channels", "channel"),
        Listed::Maintenances => ("/maintenances", "maintenance"),
        Listed::Tokens => ("/tokens", "token"),
    };
    let mut query: Vec<(&str, &str)> = Vec::new();
    if let Some(state) = &args.state {
        query.push(("state", state));
    }
    let mut items = api.list(path, &query).await?;
    if let Some(name) = &args.name {
        items.retain(|item| is_named(item, name));
        if items.is_empty() {
            return Err(Failure::failed(format!(
                "there is no {word} {:?}",
                out::shown(name)
            )));
        }
    }
    let text = match args.output {
        Format::Table if items.is_empty() => {
            eprintln!("There are none.");
            return Ok(());
        }
        Format::Table => table(args.what, &items, times::now()).render(),
        Format::Json | Format::Yaml => {
            let whole = match (&args.name, items.len()) {
                (Some(_), 1) => items.remove(0),
                _ => json!({"items": items}),
            };
            if args.output == Format::Json {
                out::json(&whole) + "\n"
            } else {
                out::yaml(&whole).map_err(Failure::failed)?
            }
        }
    };
    Ok(out::print(&text)?)
}

fn is_named(item: &Value, name: &str) -> bool {
    let is = |field: &str| match &item[field] {
        Value::String(text) => text == name,
        Value::Number(number) => number.to_string() == name,
        _ => false,
    };
    is("id") || is("name") || is("number")
}

fn table(what: Listed, items: &[Value], now: Time) -> Table {
    let headings: &[&'static str] = match what {
        Listed::Monitors => &["STATE", "NAME", "KIND", "LAST", "NEXT", "SCHEDULE", "NOTES"],
        Listed::Incidents => &[
            "NUMBER", "STATE", "SEVERITY", "TITLE", "REASON", "STARTED", "LASTED",
        ],
        Listed::Deliveries => &[
            "STATE",
            "TYPE",
            "CHANNEL",
            "INCIDENT",
            "TRIES",
            "DECIDED",
            "LAST ERROR",
            "ID",
        ],
        Listed::Channels => &["NAME", "KIND", "DEFAULT", "SYSTEM", "REMINDS", "NOTES"],
        Listed::Maintenances => &["STATE", "NAME", "COVERS", "WHEN", "ENDS", "NEXT", "NOTES"],
        Listed::Tokens => &["NAME", "ROLE", "FOR", "MADE", "LAST USED", "ID"],
    };
    let mut table = Table::new(headings);
    for item in items {
        let when = |field: &str| said_time(&item[field], now);
        let plain = |field: &str| said(&item[field]);
        table.row(match what {
            Listed::Monitors => vec![
                plain("state"),
                plain("name"),
                plain("kind"),
                when("last_checkin_at"),
                when("next_expected_at"),
                schedule(&item["schedule"]),
                notes(item),
            ],
            Listed::Incidents => vec![
                plain("number"),
                plain("state"),
                plain("severity"),
                plain("title"),
                plain("reason"),
                when("started_at"),
                lasted(item),
            ],
            Listed::Deliveries => vec![
                plain("state"),
                plain("type"),
                plain("channel"),
                plain("incident_number"),
                item["attempts"]
                    .as_array()
                    .map_or(String::new(), |attempts| attempts.len().to_string()),
                when("created_at"),
                item["attempts"]
                    .as_array()
                    .and_then(|attempts| attempts.last())
                    .map_or(String::new(), last_error),
                plain("id"),
            ],
            Listed::Channels => vec![
                plain("name"),
                plain("kind"),
                yes(&item["default"]),
                yes(&item["system"]),
                plain("remind_every"),
                notes(item),
            ],
            Listed::Maintenances => vec![
                plain("state"),
                plain("name"),
                plain("matches"),
                window(&item["when"]),
                when("current_end"),
                when("next_start"),
                notes(item),
            ],
            Listed::Tokens => vec![
                plain("name"),
                plain("role"),
                format!("{}{}", plain("region"), plain("cluster")),
                when("created_at"),
                when("last_used_at"),
                plain("id"),
            ],
        });
    }
    table
}

fn said(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn yes(value: &Value) -> String {
    if value.as_bool() == Some(true) {
        "yes".to_owned()
    } else {
        "no".to_owned()
    }
}

fn said_time(value: &Value, now: Time) -> String {
    let text = said(value);
    Time::parse(&text).map_or(text, |time| times::relative(time, now))
}

fn schedule(value: &Value) -> String {
    if let Some(every) = value.get("every") {
        return format!("every {}", said(every));
    }
    let zone = said(&value["timezone"]);
    format!(
        "{} {}",
        said(&value["cron"]),
        if zone == "UTC" { "" } else { &zone }
    )
    .trim()
    .to_owned()
}

/// When a maintenance is: its rule, or its two ends.
fn window(value: &Value) -> String {
    let Some(rule) = value["rrule"].as_str() else {
        let (start, end) = (whole(&value["start"]), whole(&value["end"]));
        return format!("{start} to {end}");
    };
    let (start, zone) = (said(&value["start"]), said(&value["timezone"]));
    format!(
        "{rule} from {start} for {}, {zone}",
        said(&value["duration"])
    )
}

/// A time without the fraction of its second.
fn whole(value: &Value) -> String {
    let text = said(value);
    Time::parse(&text).map_or(text, |time| {
        Time::from_seconds(time.as_seconds()).to_string()
    })
}

/// Whatever else somebody should see: warnings, maintenance, failures that are counted.
fn notes(item: &Value) -> String {
    let mut notes: Vec<String> = Vec::new();
    if item["maintenance"] == true {
        notes.push("maintenance".to_owned());
    }
    if let Some(failures) = item["failures"].as_u64().filter(|failures| *failures > 0) {
        notes.push(format!(
            "{failures} of {} failures",
            said(&item["fail_threshold"])
        ));
    }
    if let Some(runs) = item["open_runs"].as_u64().filter(|runs| *runs > 0) {
        notes.push(format!("{runs} running"));
    }
    for warning in item["warnings"].as_array().into_iter().flatten() {
        notes.push(said(warning.get("code").unwrap_or(warning)));
    }
    notes.join(", ")
}

fn lasted(item: &Value) -> String {
    let time = |field: &str| Time::parse(item[field].as_str()?).ok();
    // Of an open one the column before says it.
    let Some((started, resolved)) = time("started_at").zip(time("resolved_at")) else {
        return String::new();
    };
    times::length(resolved.since(started))
}

fn last_error(attempt: &Value) -> String {
    let status = said(&attempt["status"]);
    let error = said(&attempt["error"]);
    // An answer by HTTP says its status itself.
    if error.contains(&status) {
        return error;
    }
    format!("{status} {error}").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(what: Listed, item: Value) -> Vec<String> {
        let now = Time::parse("2026-11-21T12:00:00Z").unwrap();
        let text = table(what, &[item], now).render();
        text.lines()
            .nth(1)
            .unwrap()
            .split("   ")
            .map(|cell| cell.trim().to_owned())
            .filter(|cell| !cell.is_empty())
            .collect()
    }

    #[test]
    fn every_list_has_its_rows() {
        for (what, item, expected) in [
            (
                Listed::Monitors,
                json!({"state": "late", "name": "invoice-generator", "kind": "heartbeat", "last_checkin_at": "2026-11-21T11:55:00Z",
                       "next_expected_at": "2026-11-21T15:12:00Z", "schedule": {"cron": "0 2 * * *", "timezone": "UTC"},
                       "failures": 1, "fail_threshold": 2, "warnings": [{"code": "no_channel", "message": ""}]}),
                vec![
                    "late",
                    "invoice-generator",
                    "heartbeat",
                    "5 min ago",
                    "in 3 h 12 min",
                    "0 2 * * *",
                    "1 of 2 failures, no_channel",
                ],
            ),
            (
                Listed::Monitors,
                json!({"state": "new", "name": "a", "kind": "heartbeat", "schedule": {"every": "6h"}}),
                vec!["new", "a", "heartbeat", "-", "-", "every 6h", "-"],
            ),
            (
                Listed::Incidents,
                json!({"number": 12, "state": "resolved", "severity": "critical", "title": "a is down", "reason": "missed_deadline",
                       "started_at": "2026-11-21T10:00:00Z", "resolved_at": "2026-11-21T10:30:00Z"}),
                vec![
                    "12",
                    "resolved",
                    "critical",
                    "a is down",
                    "missed_deadline",
                    "2 h ago",
                    "30 min",
                ],
            ),
            (
                Listed::Incidents,
                json!({"number": 13, "state": "triggered", "severity": "critical", "title": "b is down", "reason": "overran",
                       "started_at": "2026-11-21T10:00:00Z"}),
                vec![
                    "13",
                    "triggered",
                    "critical",
                    "b is down",
                    "overran",
                    "2 h ago",
                    "-",
                ],
            ),
            (
                Listed::Deliveries,
                json!({"state": "dead", "type": "incident.triggered", "channel": "ops", "incident_number": 12, "id": "d1",
                       "created_at": "2026-11-21T11:59:00Z", "attempts": [{"status": 500, "error": "HTTP 500: server error"}]}),
                vec![
                    "dead",
                    "incident.triggered",
                    "ops",
                    "12",
                    "1",
                    "1 min ago",
                    "HTTP 500: server error",
                    "d1",
                ],
            ),
            (
                Listed::Channels,
                json!({"name": "ops", "kind": "webhook", "default": true, "system": false, "remind_every": "4h"}),
                vec!["ops", "webhook", "yes", "no", "4h", "-"],
            ),
            (
                Listed::Maintenances,
                json!({"state": "planned", "name": "db", "matches": 3, "next_start": "2026-11-21T15:12:00Z",
                       "when": {"rrule": "FREQ=DAILY", "start": "2026-01-01T02:00", "duration": "1h", "timezone": "UTC"}}),
                vec![
                    "planned",
                    "db",
                    "3",
                    "FREQ=DAILY from 2026-01-01T02:00 for 1h, UTC",
                    "-",
                    "in 3 h 12 min",
                    "-",
                ],
            ),
            (
                Listed::Maintenances,
                json!({"state": "active", "name": "db", "matches": 0, "current_end": "2026-11-21T12:05:00Z",
                       "when": {"start": "2026-11-21T11:00:00.78642Z", "end": "2026-11-21T12:05:00Z"},
                       "warnings": [{"code": "covers_nothing", "message": ""}]}),
                vec![
                    "active",
                    "db",
                    "0",
                    "2026-11-21T11:00:00Z to 2026-11-21T12:05:00Z",
                    "in 5 min",
                    "-",
                    "covers_nothing",
                ],
            ),
            (
                Listed::Tokens,
                json!({"name": "ci", "role": "editor", "created_at": "2026-11-20T12:00:00Z", "id": "t1"}),
                vec!["ci", "editor", "-", "1 d ago", "-", "t1"],
            ),
        ] {
            assert_eq!(shown(what, item), expected);
        }
    }

    #[test]
    fn an_item_is_found_by_name_number_or_id() {
        let item = json!({"id": "x1", "name": "ops", "number": 12});
        for (name, found) in [
            ("x1", true),
            ("ops", true),
            ("12", true),
            ("op", false),
            ("1", false),
        ] {
            assert_eq!(is_named(&item, name), found, "{name}");
        }
    }
}
