//! Several replicas on one PostgreSQL: who decides when one is stopped, killed or held up, and what is told of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../common/mod.rs"]
mod common;
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/mod.rs"]
mod support;

mod deciding;
mod refused;
mod restarted;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use common::http::ask;
use common::{Heartbeat, Server, directory, serve, until_within};
use serde_json::{Value, json};
use support::Fake;

/// The key that all replicas are given.
const KEY: &str = "c3lzdG9sZSB0ZXN0cyB1c2UgdGhpcyBrZXkhISEhISE=";

/// A replica may be missed for up to 23 s, a claim of a message for a minute, and the machine has other work.
const LONG: Duration = Duration::from_secs(180);

/// A replica, with a data directory of its own.
struct Replica {
    server: Server,
    _data: tempfile::TempDir,
}

impl Replica {
    fn start(database_url: &str) -> Replica {
        let data = directory();
        Replica {
            server: Server::spawn(data.path(), command(data.path(), database_url)),
            _data: data,
        }
    }

    /// Whether it decides, by its metrics; a replica that does not answer does not.
    fn decides(&self) -> bool {
        let metrics = ask(self.server.metrics_address(), "GET", "/metrics", "", b"");
        metrics
            .text()
            .lines()
            .any(|line| line == "systole_decides 1")
    }

    /// The status that a check-in gets.
    fn checked_in(&self, heartbeat: &Heartbeat, suffix: &str) -> u16 {
        let target = format!("/ping/{}{suffix}", heartbeat.token);
        self.server.get(&target).status
    }

    fn shows(&self, heartbeat: &Heartbeat, state: &str) {
        wait(&format!("{} to be {state}", heartbeat.slug), || {
            (self.server.state(heartbeat) == state).then_some(())
        });
    }

    /// The incidents of a heartbeat, with their states.
    fn incidents(&self, heartbeat: &Heartbeat) -> Vec<String> {
        let target = format!("/incidents?monitor={}&limit=500", heartbeat.id);
        let shown = self.server.shown(&target);
        let state = |incident: &Value| incident["state"].as_str().unwrap().to_owned();
        shown["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(state)
            .collect()
    }
}

/// `systole serve` on this database.
fn command(data: &std::path::Path, database_url: &str) -> Command {
    let more = [
        "--metrics-listen",
        "127.0.0.1:0",
        "--outbound-allow",
        "127.0.0.1/32",
    ];
    let mut command = serve(data, &more);
    command
        .env("SYSTOLE_DATABASE_URL", database_url)
        .env("SYSTOLE_KEY", KEY);
    command
}

fn wait<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(LONG, what, look)
}

/// Takes the one that decides out of them.
fn take_decider(replicas: &mut Vec<Replica>) -> Replica {
    let at = wait("one to decide", || {
        let deciding: Vec<usize> = (0..replicas.len())
            .filter(|at| replicas[*at].decides())
            .collect();
        assert!(deciding.len() < 2, "{deciding:?} decide");
        deciding.first().copied()
    });
    replicas.remove(at)
}

/// A heartbeat of so many seconds.
fn every(replica: &Replica, name: &str, period: &str, grace: &str) -> Heartbeat {
    replica.server.heartbeat_of(&json!({
        "kind": "heartbeat", "name": name, "schedule": {"every": period}, "grace": grace
    }))
}

/// A channel to `fake`, that says each thing by itself.
fn told(replica: &Replica, fake: &Fake) {
    let body =
        json!({"name": "told", "kind": "webhook", "digest": false, "config": {"url": fake.url}});
    let (status, made) = replica.server.api("POST", "/channels", &body);
    assert_eq!(status, 201, "{made}");
}

/// What was said of a heartbeat, each thing once for every id that it was said with. What lapses together after an outage is
/// one message.
fn said_of(fake: &Fake, heartbeat: &Heartbeat) -> Vec<String> {
    let mut ids = BTreeSet::new();
    let mut said = Vec::new();
    for asked in fake.asked() {
        let id = asked
            .headers
            .lines()
            .find_map(|line| line.strip_prefix("webhook-id: "));
        if !ids.insert(id.unwrap().to_owned()) {
            continue;
        }
        let message: Value = serde_json::from_str(&asked.body).unwrap();
        let first = (&message["type"], &message["data"]);
        let rest = message["data"]["grouped"].as_array().into_iter().flatten();
        said.extend(
            std::iter::once(first)
                .chain(rest.map(|item| (&item["type"], item)))
                .filter(|(_, item)| item["monitor"]["id"] == *heartbeat.id)
                .map(|(kind, _)| kind.as_str().unwrap().to_owned()),
        );
    }
    said
}

/// Its incident is open and told, once.
fn is_down_once(replica: &Replica, fake: &Fake, heartbeat: &Heartbeat) {
    replica.shows(heartbeat, "down");
    wait("the incident to be told", || {
        (!said_of(fake, heartbeat).is_empty()).then_some(())
    });
    assert_eq!(said_of(fake, heartbeat), ["incident.triggered"]);
    assert_eq!(replica.incidents(heartbeat), ["triggered"]);
}

/// It is well again, and that was told, once.
fn is_up_again(replica: &Replica, fake: &Fake, heartbeat: &Heartbeat) {
    replica.shows(heartbeat, "up");
    wait("the recovery to be told", || {
        (said_of(fake, heartbeat).len() > 1).then_some(())
    });
    assert_eq!(
        said_of(fake, heartbeat),
        ["incident.triggered", "incident.resolved"]
    );
    assert_eq!(replica.incidents(heartbeat), ["resolved"]);
}
