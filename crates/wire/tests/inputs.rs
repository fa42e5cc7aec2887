//! What people get wrong, and what they are told.

use serde_json::{Value, json};
use systole_wire::strict::{Read, from_value};
use systole_wire::{
    ChannelInput, DurationText, MaintenanceInput, MaintenancePatch, Monitor, MonitorInput,
    MonitorPatch, SchedulePreviewInput, ScheduleSpec, TokenInput,
};

fn errors<T: Read>(value: Value) -> Vec<String> {
    from_value::<T>(value)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

/// Every row: a document, and parts of the messages it must give, one message a part, in any order.
fn check<T: Read>(rows: &[(Value, &[&str])]) {
    for (value, expected) in rows {
        let found = errors::<T>(value.clone());
        for part in *expected {
            assert!(
                found.iter().any(|message| message.contains(part)),
                "{value}\n wants {part:?}\n has {found:#?}"
            );
        }
        assert_eq!(found.len(), expected.len(), "{value}\n has {found:#?}");
    }
}

#[test]
fn every_mistake_in_a_monitor_is_named_at_once() {
    check::<MonitorInput>(&[
        (json!([]), &["must be an object, not a list"]),
        (json!({}), &["kind: is required"]),
        (
            json!({"kind": "endpoint", "name": "shop"}),
            &["kind: monitors of kind \"endpoint\" are not built yet"],
        ),
        (
            json!({"kind": "hartbeat"}),
            &["kind: \"hartbeat\" is not a kind; did you mean \"heartbeat\"?"],
        ),
        (
            json!({"kind": 7}),
            &["kind: must be a string such as \"heartbeat\", not a number"],
        ),
        (
            json!({"kind": "heartbeat"}),
            &["name: is required", "schedule: is required"],
        ),
        (
            json!({"kind": "heartbeat", "name": "a\u{0}b", "schedule": {"evry": "6h"}, "grcae": "5m", "severity": "critcal",
                   "labels": {"-x": "y"}, "fail_threshold": 0, "token": "short"}),
            &[
                "name: contains the unprintable character U+0000",
                "schedule.every: is required, or cron",
                "schedule.evry: unknown field; did you mean \"every\"?",
                "grcae: unknown field; did you mean \"grace\"?",
                "severity: \"critcal\" is not known; did you mean \"critical\"?",
                "labels: the key \"-x\" must begin and end with a letter or a digit",
                "fail_threshold: is 0; it can be 1 to 1000",
                "token: has 5 characters; a token has 10 to 64",
            ],
        ),
        (
            json!({"kind": "heartbeat", "name": 7, "schedule": "0 2 * * *", "grace": true, "channels": ["a", 1], "labels": {"a": 1},
                   "fail_threshold": 1.5, "owner": [], "runbook_url": "wiki"}),
            &[
                "name: must be a string, not a number",
                "schedule: must be an object: {\"every\": \"6h\"}",
                "grace: must be a duration such as 90s, 5m, 1h30m or 1d, not true or false",
                "channels[1]: must be a string, not a number",
                "labels.a: must be a string, not a number",
                "fail_threshold: must be a whole number of 0 or more, not 1.5",
                "owner: must be a string, not a list",
                "runbook_url: must be a link",
            ],
        ),
    ]);
}

#[test]
fn a_schedule_is_a_period_or_a_cron_expression() {
    let preview = |schedule: Value| json!({"schedule": schedule});
    let long = "*".repeat(1001);
    check::<SchedulePreviewInput>(&[
        (preview(json!({"every": "6h"})), &[]),
        (preview(json!({"every": 90})), &[]),
        (
            preview(json!({"cron": "0 2 * * *", "timezone": "UTC", "dialect": "kubernetes"})),
            &[],
        ),
        (
            preview(json!({})),
            &["schedule.every: is required, or cron"],
        ),
        (
            preview(json!({"every": "6h", "cron": "0 2 * * *"})),
            &["schedule.every: stands beside cron"],
        ),
        (
            preview(json!({"every": "6h", "timezone": "UTC"})),
            &["schedule.timezone: belongs to cron"],
        ),
        (
            preview(json!({"every": {}})),
            &["schedule.every: must be a duration"],
        ),
        (
            preview(json!({"cron": "0 2 * * *", "tz": "UTC"})),
            &["schedule.tz: unknown field; did you mean \"timezone\"?"],
        ),
        (
            preview(json!({"cron": "0 2 * * *", "dialect": "robfig"})),
            &["schedule.dialect: \"robfig\" is not known; it is one of"],
        ),
        (preview(json!({"cron": ""})), &["schedule.cron: is empty"]),
        (
            preview(json!({"cron": long})),
            &["schedule.cron: has 1001 characters"],
        ),
        (
            preview(json!({"on_calendar": "daily"})),
            &["schedule.on_calendar: schedules of systemd's form are not built yet"],
        ),
        (
            json!({"schedule": {"every": "6h"}, "count": 101}),
            &["count: is 101; it can be 1 to 100"],
        ),
    ]);
}

#[test]
fn a_change_keeps_null_and_absent_apart() {
    let patch: MonitorPatch =
        from_value(json!({"owner": null, "channels": [], "max_runtime": null, "grace": 90, "description": null})).unwrap();
    assert_eq!(patch.owner, Some(None));
    assert_eq!(patch.runbook_url, None);
    assert_eq!(patch.channels, Some(Some(vec![])));
    assert_eq!(patch.description.as_deref(), Some(""));
    assert_eq!(patch.heartbeat.max_runtime, Some(None));
    assert_eq!(patch.heartbeat.start_grace, None);
    assert_eq!(patch.heartbeat.grace, Some(DurationText::from("90")));
    let written = serde_json::to_value(&patch).unwrap();
    assert_eq!(
        written,
        json!({"owner": null, "channels": [], "max_runtime": null, "grace": "90", "description": ""})
    );
    assert_eq!(
        serde_json::from_value::<MonitorPatch>(written).unwrap(),
        patch
    );
    check::<MonitorPatch>(&[
        (json!({}), &[]),
        (
            json!({"name": null}),
            &["name: cannot be null; leave it out"],
        ),
        (json!({"grace": null}), &["grace: cannot be null"]),
        (
            json!({"slug": "log"}),
            &["slug: \"log\" is part of the check-in URLs"],
        ),
        (
            json!({"token": "0123456789"}),
            &["token: cannot be changed; ask for another by rotate-token"],
        ),
        (
            json!({"channels": ["a", "a"]}),
            &["channels: names \"a\" twice"],
        ),
        (
            json!({"channels": ["a", ""]}),
            &["channels: entry 2 is empty"],
        ),
        (json!({"state": "up"}), &["state: unknown field"]),
    ]);
}

#[test]
fn channels_and_tokens_say_what_they_lack() {
    check::<ChannelInput>(&[
        (
            json!({"name": "ops", "kind": "webhook", "config": {"url": "https://example.com"}, "remind_every": 0}),
            &[],
        ),
        (
            json!({"name": "", "config": []}),
            &[
                "name: is empty",
                "kind: is required",
                "config: must be an object, not a list",
            ],
        ),
        (
            json!({"name": "ops", "kind": "slack", "defualt": true}),
            &["defualt: unknown field; did you mean \"default\"?"],
        ),
    ]);
    check::<TokenInput>(&[
        (json!({"name": "ci", "role": "editor"}), &[]),
        (
            json!({"name": "p", "role": "probe"}),
            &["region: is required for role probe"],
        ),
        (
            json!({"name": "p", "role": "viewer", "cluster": "a"}),
            &["cluster: belongs to role agent, not viewer"],
        ),
        (
            json!({"name": "p", "role": "root"}),
            &["role: \"root\" is not known; it is one of admin"],
        ),
    ]);
}

#[test]
fn hostile_input_gives_a_bounded_answer() {
    let many: serde_json::Map<String, Value> =
        (0..10_000).map(|i| (format!("f{i}"), json!(i))).collect();
    assert_eq!(errors::<MonitorPatch>(Value::Object(many)).len(), 50);
    let long = json!({"x".repeat(1_000_000): 1});
    let found = errors::<MonitorPatch>(long);
    assert!(found[0].len() < 1000, "{}", found[0].len());
}

#[test]
fn a_full_heartbeat_is_read_as_written() {
    let input: MonitorInput = from_value(json!({
        "kind": "heartbeat", "name": "invoice-generator", "schedule": {"every": "6h"}, "grace": "5m", "description": null,
        "severity": "error", "labels": {"team": "billing"}, "channels": ["ops"], "token": "abcdefghij"
    }))
    .unwrap();
    let MonitorInput::Heartbeat(heartbeat) = &input;
    assert_eq!(heartbeat.common.name, "invoice-generator");
    assert_eq!(heartbeat.common.channels, Some(vec!["ops".to_owned()]));
    assert_eq!(
        heartbeat.spec.schedule,
        ScheduleSpec::Every { every: "6h".into() }
    );
    assert_eq!(heartbeat.spec.fail_threshold, None);
    assert_eq!(
        serde_json::from_value::<MonitorInput>(serde_json::to_value(&input).unwrap()).unwrap(),
        input
    );
}

#[test]
fn a_reply_is_flat_and_read_back() {
    let reply = json!({
        "id": "m1", "rev": 3, "kind": "heartbeat", "name": "invoice-generator", "description": "", "severity": "critical",
        "labels": {}, "owner": null, "runbook_url": null, "channels": null, "set": null, "state": "up",
        "since": "2026-11-21T02:10:00Z", "maintenance": false, "open_incident": null,
        "warnings": [{"code": "no_channel", "message": "nobody is told"}], "created_at": "2026-11-21T02:00:00Z",
        "slug": "invoice-generator", "schedule": {"cron": "0 2 * * *", "timezone": "UTC", "dialect": "classic"},
        "grace": "5m", "start_grace": null, "max_runtime": "5m", "early_window": "5m", "fail_threshold": 1,
        "recovery_threshold": 1, "token": "t", "ping_url": "http://localhost/ping/t", "last_checkin_at": null,
        "next_expected_at": "2026-11-22T02:00:00Z", "open_runs": 0, "failures": 0, "recoveries": 0
    });
    let monitor: Monitor = serde_json::from_value(reply.clone()).unwrap();
    assert_eq!(monitor.detail.kind().as_str(), "heartbeat");
    assert_eq!(serde_json::to_value(&monitor).unwrap(), reply);
}

#[test]
fn a_maintenance_says_when_in_one_of_two_ways() {
    check::<MaintenanceInput>(&[
        (json!({}), &["name: is required", "when: is required"]),
        (
            json!({"name": "a", "when": {"start": "2026-12-01T22:00:00Z"}, "kind": "window", "monitors": ["x", ""], "tags": "a"}),
            &[
                "kind: is \"window\"",
                "when.end: is required, or duration",
                "monitors: entry 2 is empty",
                "tags: unknown field",
            ],
        ),
        (
            json!({"name": "a", "when": {"end": "2026-12-01T22:00:00Z", "duration": "1h"}}),
            &["when.duration: stands beside end"],
        ),
        (
            json!({"name": "a", "when": {"rrule": "FREQ=DAILY", "end": "2026-12-01T22:00:00Z"}}),
            &[
                "when.end: belongs to a window that comes once",
                "when.start: is required beside rrule",
                "when.duration: is required beside rrule",
            ],
        ),
        (
            json!({"kind": "Maintenance", "name": "a", "when": {"rrule": "FREQ=DAILY", "start": "2026-12-01T22:00", "duration": "1h", "zone": "UTC"}}),
            &["when.zone: unknown field"],
        ),
        (json!({"name": "a", "when": {"duration": 3600}}), &[]),
    ]);
    check::<MaintenancePatch>(&[
        (json!({}), &[]),
        (
            json!({"selector": null, "monitors": null, "all": null, "description": null}),
            &[],
        ),
        (
            json!({"name": null, "when": null}),
            &["name: cannot be null", "when: cannot be null"],
        ),
    ]);
}
