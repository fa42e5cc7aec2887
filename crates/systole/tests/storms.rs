//! No storms, no forgetting: digests, reminders, and deliveries that died.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;
#[expect(dead_code, reason = "other tests need the rest")]
mod support;

use std::collections::BTreeSet;

use common::{Heartbeat, Server, directory, until};
use serde_json::{Value, json};
use support::Fake;

/// Loopback as a destination of messages, which is refused unless named.
const LOOPBACK: [&str; 2] = ["--outbound-allow", "127.0.0.1/32"];

/// A channel to `fake`, with more fields.
fn channel(server: &Server, name: &str, fake: &Fake, more: &Value) {
    let mut body = json!({"name": name, "kind": "webhook", "config": {"url": fake.url}});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    let (status, made) = server.api("POST", "/channels", &body);
    assert_eq!(status, 201, "{made}");
}

fn fails(server: &Server, heartbeat: &Heartbeat) {
    let reply = server.get(&format!("/ping/{}/fail", heartbeat.token));
    assert_eq!(reply.status, 200);
}

/// What arrived, oldest first.
fn messages(fake: &Fake) -> Vec<Value> {
    fake.asked()
        .iter()
        .map(|asked| serde_json::from_str(&asked.body).unwrap())
        .collect()
}

/// The monitors that a message names.
fn named(message: &Value) -> Vec<String> {
    let grouped = message["data"]["grouped"].as_array();
    let first = &message["data"]["monitor"]["name"];
    std::iter::once(first)
        .chain(
            grouped
                .into_iter()
                .flatten()
                .map(|item| &item["monitor"]["name"]),
        )
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn three_hundred_failures_are_six_messages_that_name_them_all() {
    let data = directory();
    let server = Server::start(data.path(), &LOOPBACK);
    let fake = Fake::start(|_| (204, String::new()));
    let plain = Fake::start(|_| (204, String::new()));
    channel(&server, "gathers", &fake, &json!({"digest": true}));
    channel(&server, "each", &plain, &json!({"digest": false}));
    let heartbeats: Vec<Heartbeat> = (0..300)
        .map(|n| server.heartbeat(&format!("job {n:03}")))
        .collect();
    for heartbeat in &heartbeats {
        fails(&server, heartbeat);
    }
    let all = |fake: &Fake| {
        let names: BTreeSet<String> = messages(fake).iter().flat_map(named).collect();
        (names.len() == 300).then_some(())
    };
    until("every monitor to be named", || all(&fake));
    until("every monitor to be named by itself", || all(&plain));
    let received = messages(&fake);
    let names: Vec<String> = received.iter().flat_map(named).collect();
    assert_eq!(names.len(), 300, "nobody is named twice");
    assert!(received.len() <= 6, "{} messages", received.len());
    assert_eq!(messages(&plain).len(), 300);
    // Whoever reads the incident sees that it was told; that is written after the receiver has answered.
    until("every delivery to be shown as delivered", || {
        let delivered = server.shown("/deliveries?state=delivered&limit=500");
        let rest = server.shown("/deliveries?state=pending");
        let count = |shown: &Value| shown["items"].as_array().unwrap().len();
        (count(&delivered) == 500 && count(&rest) == 0).then_some(())
    });
}

#[test]
fn a_message_that_cannot_be_delivered_is_told_on_the_system_channels() {
    let data = directory();
    let server = Server::start(data.path(), &LOOPBACK);
    let gone = Fake::start(|_| (410, "no longer here".to_owned()));
    let system = Fake::start(|_| (204, String::new()));
    channel(&server, "pager", &gone, &json!({}));
    channel(
        &server,
        "operators",
        &system,
        &json!({"default": false, "system": true}),
    );
    fails(&server, &server.heartbeat("backup"));
    let told = until("the operators to be told", || {
        messages(&system).first().cloned()
    });
    for (pointer, expected) in [
        ("/type", json!("incident.updated")),
        ("/data/monitor/name", json!("backup")),
        ("/data/delivery_dead/channel", json!("pager")),
    ] {
        assert_eq!(told.pointer(pointer), Some(&expected), "{told}");
    }
    let detail = told["data"]["delivery_dead"]["detail"].as_str().unwrap();
    assert!(detail.contains("410"), "{detail}");
    let incidents = server.shown("/incidents");
    let id = incidents["items"][0]["id"].as_str().unwrap();
    let shown = server.shown(&format!("/incidents/{id}"));
    let timeline = shown["events"].as_array().unwrap();
    let entry = timeline.iter().find(|entry| entry["kind"] == "undelivered");
    let text = entry.unwrap()["text"].as_str().unwrap();
    assert!(text.contains("pager"), "{text}");
}

#[test]
fn a_death_that_nobody_can_be_told_of_stands_on_the_timeline_and_is_told_once() {
    let data = directory();
    let server = Server::start(data.path(), &LOOPBACK);
    let gone = Fake::start(|_| (410, String::new()));
    // Both die, and each is told of the other's death once; that message dies, too, and there it ends.
    channel(&server, "one", &gone, &json!({"system": true}));
    channel(&server, "two", &gone, &json!({"system": true}));
    fails(&server, &server.heartbeat("backup"));
    let deaths = || {
        let incidents = server.shown("/incidents");
        let id = incidents["items"][0]["id"].as_str()?.to_owned();
        let shown = server.shown(&format!("/incidents/{id}"));
        let events = shown["events"].as_array()?.clone();
        Some(
            events
                .into_iter()
                .filter(|entry| entry["kind"] == "undelivered")
                .collect::<Vec<_>>(),
        )
    };
    let told = until("four deaths", || {
        deaths().filter(|deaths| deaths.len() == 4)
    });
    let unsaid = told
        .iter()
        .filter(|entry| entry["text"].as_str().unwrap().contains("Nobody was told"))
        .count();
    assert_eq!(unsaid, 2, "{told:?}");
    assert_eq!(gone.asked().len(), 4, "{:?}", gone.lines());
}

#[test]
fn what_nobody_acknowledges_is_said_again() {
    let data = directory();
    let server = Server::start(data.path(), &LOOPBACK);
    let fake = Fake::start(|_| (204, String::new()));
    channel(&server, "pager", &fake, &json!({"remind_every": "1s"}));
    let never = Fake::start(|_| (204, String::new()));
    channel(&server, "once", &never, &json!({"remind_every": "0"}));
    fails(&server, &server.heartbeat("first"));
    let reminders = |name: &str| {
        messages(&fake)
            .into_iter()
            .filter(|message| {
                message["type"] == "incident.updated" && message["data"]["monitor"]["name"] == name
            })
            .map(|message| message["data"]["reminder"]["number"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    until("two reminders", || {
        (reminders("first").len() >= 2).then_some(())
    });
    assert_eq!(reminders("first")[..2], [1, 2]);
    let incidents = server.shown("/incidents");
    let id = incidents["items"][0]["id"].as_str().unwrap();
    let (status, _) = server.api("POST", &format!("/incidents/{id}/acknowledge"), &json!({}));
    assert_eq!(status, 200);
    // By the time another has been said twice again, the first would have been, too.
    fails(&server, &server.heartbeat("second"));
    until("two reminders", || {
        (reminders("second").len() >= 2).then_some(())
    });
    let of_first: Vec<Value> = messages(&fake)
        .into_iter()
        .filter(|message| message["data"]["monitor"]["name"] == "first")
        .collect();
    assert_eq!(of_first.last().unwrap()["type"], "incident.acknowledged");
    assert!(
        messages(&never)
            .iter()
            .all(|message| message["type"] != "incident.updated")
    );
}

/// A window that covers everything with these labels, from an hour ago for so long.
fn maintenance(server: &Server, name: &str, selector: &str) -> String {
    let now = jiff::Timestamp::now();
    let at = |hours: i64| (now + jiff::SignedDuration::from_hours(hours)).to_string();
    let body = json!({"name": name, "selector": selector, "when": {"start": at(-1), "end": at(2)}});
    let (status, made) = server.api("POST", "/maintenances", &body);
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_maintenance_keeps_states_sends_nothing_and_what_still_stands_is_sent_at_its_end() {
    let data = directory();
    let server = Server::start(data.path(), &LOOPBACK);
    let fake = Fake::start(|_| (204, String::new()));
    channel(&server, "pager", &fake, &json!({"remind_every": "1s"}));
    let make = |name: &str, team: &str| {
        server.heartbeat_of(
            &json!({"kind": "heartbeat", "name": name, "schedule": {"every": "1h"},
            "grace": "5m", "labels": {"team": team}}),
        )
    };
    let [stays, recovers, taken, known] =
        ["stays", "recovers", "taken", "known"].map(|name| make(name, "billing"));
    let other = make("other", "search");
    let told = |name: &str| -> Vec<String> {
        messages(&fake)
            .iter()
            .filter(|message| message["data"]["monitor"]["name"] == name)
            .filter(|message| message["type"] != "incident.updated")
            .map(|message| message["type"].as_str().unwrap().to_owned())
            .collect()
    };
    fails(&server, &known);
    until("the one before to be told", || {
        (!told("known").is_empty()).then_some(())
    });
    let id = maintenance(&server, "patch day", "team=billing");
    for heartbeat in [&stays, &recovers, &taken] {
        fails(&server, heartbeat);
    }
    assert_eq!(server.get(&format!("/ping/{}", known.token)).status, 200);
    for heartbeat in [&stays, &recovers, &taken] {
        until("down", || (server.state(heartbeat) == "down").then_some(()));
    }
    until("up", || (server.state(&known) == "up").then_some(()));
    assert_eq!(server.get(&format!("/ping/{}", recovers.token)).status, 200);
    let incidents = server.shown("/incidents?limit=50");
    let of_taken = incidents["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|incident| incident["monitor"]["name"] == "taken")
        .unwrap();
    let path = format!(
        "/incidents/{}/acknowledge",
        of_taken["id"].as_str().unwrap()
    );
    assert_eq!(server.api("POST", &path, &json!({})).0, 200);
    // Everything before it was decided before it: what is not held back arrives.
    fails(&server, &other);
    until("the one that is not covered to be told", || {
        (!told("other").is_empty()).then_some(())
    });
    for name in ["stays", "recovers", "taken"] {
        assert_eq!(told(name), Vec::<String>::new(), "{name}");
    }
    assert_eq!(told("known"), ["incident.triggered"]);
    let shown = server.shown(&format!("/monitors/{}", stays.id));
    assert_eq!(
        (&shown["state"], &shown["maintenance"]),
        (&json!("down"), &json!(true))
    );

    let (status, ended) = server.api("POST", &format!("/maintenances/{id}/end"), &json!({}));
    assert_eq!(status, 200, "{ended}");
    until("what still stands to be told", || {
        (!told("stays").is_empty() && told("known").len() == 2).then_some(())
    });
    assert_eq!(told("stays"), ["incident.triggered"]);
    assert_eq!(told("known"), ["incident.triggered", "incident.resolved"]);
    assert_eq!(told("recovers"), Vec::<String>::new());
    assert_eq!(told("taken"), Vec::<String>::new());
    let said = messages(&fake);
    let of_stays = said
        .iter()
        .find(|message| message["data"]["monitor"]["name"] == "stays");
    assert_eq!(
        of_stays.unwrap()["data"]["maintenance_over"]["window"],
        "patch day"
    );
}
