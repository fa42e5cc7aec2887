//! The JSON bodies of a webhook.

use serde_json::{Map, Value, json};
use systole_core::message::{
    Evidence, IncidentFacts, Item, Message, MessageKind, MonitorFacts, Occasion,
};
use systole_core::time::Time;

/// The most of a job's own words that is passed on.
const WORDS_MOST: usize = 2_000;
/// The most other incidents that one message describes in full; the next are only named, and of still more it says how
/// many. Keeps a body below 150 KB.
const DESCRIBED_MOST: usize = 25;
const NAMED_MOST: usize = 500;

/// The body of `format: standard`: `type`, `timestamp`, `data`.
pub fn standard(message: &Message) -> Vec<u8> {
    let mut data = Map::new();
    data.insert(
        "incident".into(),
        message.incident.as_ref().map_or(Value::Null, incident),
    );
    data.insert(
        "monitor".into(),
        message.monitor.as_ref().map_or(Value::Null, monitor),
    );
    data.insert("evidence".into(), evidence(&message.evidence));
    data.insert("regions_failing".into(), json!(message.regions_failing));
    data.insert("regions_ok".into(), json!(message.regions_ok));
    data.insert("triage".into(), Value::Null);
    if let Some((from, to)) = message.outage {
        data.insert("outage".into(), json!({"from": time(from), "to": time(to)}));
    }
    if let Some((name, value)) = occasion(&message.occasion) {
        data.insert(name.into(), value);
    }
    data.extend(message.incident.as_ref().into_iter().flat_map(person));
    if !message.grouped.is_empty() {
        let described: Vec<Value> = message
            .grouped
            .iter()
            .take(NAMED_MOST)
            .enumerate()
            .map(|(place, item)| {
                if place < DESCRIBED_MOST {
                    member(item)
                } else {
                    named(item)
                }
            })
            .collect();
        let omitted = message.grouped.len() - described.len();
        data.insert("grouped".into(), Value::Array(described));
        if omitted > 0 {
            data.insert("grouped_omitted".into(), json!(omitted));
        }
    }
    // Written out for its order: a person who reads the raw body meets the type first.
    let (kind, at) = (json!(message.kind.as_str()), time(message.at));
    format!(
        r#"{{"type":{kind},"timestamp":{at},"data":{}}}"#,
        Value::Object(data)
    )
    .into_bytes()
}

/// The body of `format: vigilmon`, or `None` for what that format has no word for.
pub fn vigilmon(message: &Message) -> Option<Vec<u8>> {
    let incident = message.incident.as_ref()?;
    let (status, duration) = match message.kind {
        // The format's `down` is about the beginning, so its duration is none yet.
        MessageKind::Triggered => ("down", 0),
        MessageKind::Resolved => {
            let ended = incident.resolved_at.unwrap_or(message.at);
            ("up", ended.since(incident.started_at).as_seconds())
        }
        _ => return None,
    };
    let monitor = message.monitor.as_ref();
    let body = json!({
        "monitor_name": monitor.map_or(incident.title.as_str(), |monitor| monitor.name.as_str()),
        "status": status,
        "url": monitor.and_then(|monitor| monitor.url.as_deref()),
        // Whole seconds, as the format has them.
        "started_at": time(Time::from_seconds(incident.started_at.as_seconds())),
        "duration_seconds": duration,
        "regions_failing": message.regions_failing,
    });
    Some(body.to_string().into_bytes())
}

fn time(time: Time) -> Value {
    Value::String(time.to_string())
}

fn optional(at: Option<Time>) -> Value {
    at.map_or(Value::Null, time)
}

fn incident(facts: &IncidentFacts) -> Value {
    json!({
        "id": facts.id,
        "number": facts.number,
        "state": facts.state,
        "severity": facts.severity.as_str(),
        "title": facts.title,
        "reason": facts.reason,
        "reopened": facts.reopened,
        "started_at": time(facts.started_at),
        "detected_at": time(facts.detected_at),
        "resolved_at": optional(facts.resolved_at),
        "url": facts.url,
    })
}

fn monitor(facts: &MonitorFacts) -> Value {
    let labels: Map<String, Value> = facts
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    json!({
        "id": facts.id,
        "kind": facts.kind,
        "name": facts.name,
        "url": facts.url,
        "labels": labels,
        "state": facts.state,
    })
}

fn evidence(evidence: &Evidence) -> Value {
    json!({
        "last_checkin_at": optional(evidence.last_checkin_at),
        "expected_at": optional(evidence.expected_at),
        "exit_status": evidence.exit_status,
        "message": evidence.message.as_deref().map(shortened),
    })
}

fn member(item: &Item) -> Value {
    let mut member = Map::new();
    member.insert("type".into(), json!(item.kind.as_str()));
    member.insert("incident".into(), incident(&item.incident));
    member.insert("monitor".into(), monitor(&item.monitor));
    member.insert("evidence".into(), evidence(&item.evidence));
    if let Some((name, value)) = occasion(&item.occasion) {
        member.insert(name.into(), value);
    }
    member.extend(person(&item.incident));
    Value::Object(member)
}

/// Enough to know which it is.
fn named(item: &Item) -> Value {
    json!({
        "type": item.kind.as_str(),
        "incident": {"id": item.incident.id, "number": item.incident.number, "state": item.incident.state},
        "monitor": {"id": item.monitor.id, "name": item.monitor.name, "state": item.monitor.state},
    })
}

/// Why it is said now: a field of its own, and none where the type says it.
fn occasion(occasion: &Occasion) -> Option<(&'static str, Value)> {
    match occasion {
        Occasion::Event => None,
        Occasion::Reminder { number } => Some(("reminder", json!({"number": number}))),
        Occasion::MaintenanceOver { window } => {
            Some(("maintenance_over", json!({"window": window})))
        }
        Occasion::DeliveryDead { channel, detail } => Some((
            "delivery_dead",
            json!({"channel": channel, "detail": shortened(detail)}),
        )),
    }
}

/// Who did it and what they wrote: fields of their own, and none where the job or the clock did it.
fn person(facts: &IncidentFacts) -> impl Iterator<Item = (String, Value)> {
    let note = facts.note.as_deref().map(shortened);
    [("by", facts.by.clone()), ("note", note)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WORDS_MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use systole_core::message::Severity;

    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    pub(crate) fn triggered() -> Message {
        Message {
            kind: MessageKind::Triggered,
            at: at("2026-11-21T08:05:00.25Z"),
            incident: Some(IncidentFacts {
                id: "0190b7e2-0000-7000-8000-00000000000c".into(),
                number: 12,
                state: "triggered".into(),
                severity: Severity::Critical,
                title: "invoice-generator is down".into(),
                reason: "missed_deadline".into(),
                reason_sentence: "No check-in arrived in time.".into(),
                reopened: 0,
                started_at: at("2026-11-21T08:05:00Z"),
                detected_at: at("2026-11-21T08:05:00.2Z"),
                resolved_at: None,
                by: None,
                note: None,
                url: "https://systole.example/incidents/12".into(),
            }),
            monitor: Some(MonitorFacts {
                id: "0190b7e2-0000-7000-8000-000000000001".into(),
                kind: "heartbeat".into(),
                name: "invoice-generator".into(),
                url: None,
                labels: vec![("team".into(), "billing".into())],
                state: "down".into(),
            }),
            evidence: Evidence {
                last_checkin_at: Some(at("2026-11-21T02:00:00Z")),
                expected_at: Some(at("2026-11-21T08:00:00Z")),
                exit_status: None,
                message: None,
            },
            regions_failing: vec![],
            regions_ok: vec![],
            outage: None,
            occasion: Occasion::Event,
            grouped: vec![],
        }
    }

    fn read(body: &[u8]) -> Value {
        serde_json::from_slice(body).unwrap()
    }

    #[test]
    fn the_standard_body_is_the_contracts() {
        let body = standard(&triggered());
        assert!(body.starts_with(br#"{"type":"incident.triggered","timestamp":"2026"#));
        assert_eq!(
            read(&body),
            json!({"type": "incident.triggered", "timestamp": "2026-11-21T08:05:00.25Z", "data": {
                "incident": {
                    "id": "0190b7e2-0000-7000-8000-00000000000c", "number": 12, "state": "triggered",
                    "severity": "critical", "title": "invoice-generator is down",
                    "reason": "missed_deadline", "reopened": 0,
                    "started_at": "2026-11-21T08:05:00Z", "detected_at": "2026-11-21T08:05:00.2Z",
                    "resolved_at": null, "url": "https://systole.example/incidents/12"},
                "monitor": {
                    "id": "0190b7e2-0000-7000-8000-000000000001", "kind": "heartbeat",
                    "name": "invoice-generator", "url": null, "labels": {"team": "billing"},
                    "state": "down"},
                "evidence": {
                    "last_checkin_at": "2026-11-21T02:00:00Z",
                    "expected_at": "2026-11-21T08:00:00Z", "exit_status": null, "message": null},
                "regions_failing": [], "regions_ok": [], "triage": null}})
        );
    }

    #[test]
    fn a_resolve_a_failure_and_regions_are_told() {
        let mut message = triggered();
        message.kind = MessageKind::Resolved;
        message.incident.as_mut().unwrap().resolved_at = Some(at("2026-11-21T08:10:00Z"));
        message.evidence.exit_status = Some(137);
        message.evidence.message = Some("said \"no\"\nü".into());
        message.regions_failing = vec!["us-east".into()];
        message.regions_ok = vec!["eu-west".into()];
        let body = read(&standard(&message));
        for (pointer, expected) in [
            ("/type", json!("incident.resolved")),
            ("/data/incident/resolved_at", json!("2026-11-21T08:10:00Z")),
            ("/data/evidence/exit_status", json!(137)),
            ("/data/evidence/message", json!("said \"no\"\nü")),
            ("/data/regions_failing", json!(["us-east"])),
            ("/data/regions_ok", json!(["eu-west"])),
        ] {
            assert_eq!(body.pointer(pointer), Some(&expected), "{pointer}");
        }
    }

    #[test]
    fn a_test_has_no_incident() {
        let message = Message::channel_test(at("2026-11-21T08:00:00Z"));
        let empty = json!({"last_checkin_at": null, "expected_at": null, "exit_status": null, "message": null});
        assert_eq!(
            read(&standard(&message)),
            json!({"type": "channel.test", "timestamp": "2026-11-21T08:00:00Z", "data": {
                "incident": null, "monitor": null, "evidence": empty,
                "regions_failing": [], "regions_ok": [], "triage": null}})
        );
        assert_eq!(vigilmon(&message), None);
    }

    #[test]
    fn an_outage_and_what_it_explains_are_added() {
        let mut message = triggered();
        message.outage = Some((at("2026-11-21T07:00:00Z"), at("2026-11-21T07:30:00Z")));
        let other = Item {
            kind: MessageKind::Triggered,
            incident: message.incident.clone().unwrap(),
            monitor: message.monitor.clone().unwrap(),
            evidence: message.evidence.clone(),
            occasion: Occasion::Event,
        };
        message.grouped = vec![other.clone()];
        let body = read(&standard(&message));
        let outage = json!({"from": "2026-11-21T07:00:00Z", "to": "2026-11-21T07:30:00Z"});
        assert_eq!(body["data"]["outage"], outage);
        for part in ["incident", "monitor", "evidence"] {
            assert_eq!(
                body["data"]["grouped"][0][part], body["data"][part],
                "{part}"
            );
        }
        assert_eq!(body["data"]["grouped"][0]["type"], "incident.triggered");
        assert_eq!(body["data"].get("grouped_omitted"), None);

        message.grouped = vec![other; 1_000];
        let body = standard(&message);
        assert!(body.len() < 150_000, "{} bytes", body.len());
        let body = read(&body);
        assert_eq!(body["data"]["grouped"].as_array().map(Vec::len), Some(500));
        assert_eq!(body["data"]["grouped_omitted"], 500);
        let last = &body["data"]["grouped"][499];
        assert_eq!(last["monitor"]["name"], "invoice-generator");
        assert_eq!(last.get("evidence"), None);
    }

    #[test]
    fn why_it_is_said_now_is_a_field_of_its_own() {
        for (occasion, pointer, expected) in [
            (
                Occasion::Reminder { number: 2 },
                "/data/reminder/number",
                json!(2),
            ),
            (
                Occasion::MaintenanceOver {
                    window: "patch day".into(),
                },
                "/data/maintenance_over/window",
                json!("patch day"),
            ),
            (
                Occasion::DeliveryDead {
                    channel: "ops".into(),
                    detail: "HTTP 410".into(),
                },
                "/data/delivery_dead/channel",
                json!("ops"),
            ),
        ] {
            let message = Message {
                occasion,
                ..triggered()
            };
            assert_eq!(
                read(&standard(&message)).pointer(pointer),
                Some(&expected),
                "{pointer}"
            );
        }
    }

    #[test]
    fn who_did_it_is_told_where_a_person_did() {
        let mut message = triggered();
        for field in ["by", "note"] {
            assert_eq!(read(&standard(&message))["data"].get(field), None);
        }
        message.kind = MessageKind::Acknowledged;
        let incident = message.incident.as_mut().unwrap();
        incident.by = Some("ann@example.org".into());
        incident.note = Some("rolling back".into());
        message.grouped = vec![Item {
            kind: message.kind,
            incident: message.incident.clone().unwrap(),
            monitor: message.monitor.clone().unwrap(),
            evidence: Evidence::default(),
            occasion: Occasion::Event,
        }];
        let body = read(&standard(&message));
        for place in ["/data", "/data/grouped/0"] {
            let told = body.pointer(place).unwrap();
            assert_eq!(
                (&told["by"], &told["note"]),
                (&json!("ann@example.org"), &json!("rolling back")),
                "{place}"
            );
        }
    }

    #[test]
    fn long_words_are_cut_between_characters() {
        let mut message = triggered();
        message.evidence.message = Some("ü".repeat(10_000));
        let body = read(&standard(&message));
        let words = body["data"]["evidence"]["message"].as_str().unwrap();
        assert_eq!(words.chars().count(), 2_001);
        assert!(words.ends_with("ü…"));
    }

    #[test]
    fn the_flat_body_is_the_seeds() {
        let mut message = triggered();
        let monitor = message.monitor.as_mut().unwrap();
        monitor.name = "[prod-us] api /health".into();
        monitor.url = Some("https://api.us.example.com/health".into());
        message.incident.as_mut().unwrap().started_at = at("2026-06-30T10:23:00.75Z");
        message.regions_failing = vec!["us-east".into(), "eu-west".into()];
        let down = json!({
            "monitor_name": "[prod-us] api /health", "status": "down",
            "url": "https://api.us.example.com/health", "started_at": "2026-06-30T10:23:00Z",
            "duration_seconds": 0, "regions_failing": ["us-east", "eu-west"]});
        assert_eq!(read(&vigilmon(&message).unwrap()), down);

        message.kind = MessageKind::Resolved;
        message.incident.as_mut().unwrap().resolved_at = Some(at("2026-06-30T10:30:01Z"));
        message.regions_failing.clear();
        let mut up = down;
        up["status"] = json!("up");
        up["duration_seconds"] = json!(420);
        up["regions_failing"] = json!([]);
        assert_eq!(read(&vigilmon(&message).unwrap()), up);
    }

    #[test]
    fn the_flat_format_has_words_for_down_and_up_alone() {
        for kind in MessageKind::ALL {
            let message = Message {
                kind,
                ..triggered()
            };
            let expected = matches!(kind, MessageKind::Triggered | MessageKind::Resolved);
            assert_eq!(vigilmon(&message).is_some(), expected, "{kind}");
        }
    }
}
