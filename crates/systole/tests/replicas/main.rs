//! Several replicas on one PostgreSQL: who decides when one is stopped, killed or held up, and what is told of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../common/mod.rs"]
mod common;
#[path = "../overlay/mod.rs"]
mod overlay;
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/mod.rs"]
mod support;

mod deciding;
mod faults;
mod refused;
mod restarted;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::http::ask;
use common::{Heartbeat, Server, directory, serve, until_within};
use serde_json::{Value, json};
use support::Fake;
use systole_testing::postgres::{script, script_with};

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
        Replica::start_with(database_url, |_| {})
    }

    /// With more that the command is to have.
    fn start_with(database_url: &str, more: impl FnOnce(&mut Command)) -> Replica {
        let data = directory();
        let mut command = command(data.path(), database_url);
        more(&mut command);
        Replica {
            server: Server::spawn(data.path(), command),
            _data: data,
        }
    }

    /// Whether it decides, by its metrics.
    fn decides(&self) -> bool {
        self.server.metric("systole_decides") == 1
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

/// A PostgreSQL of one test's own, to which it may do anything.
struct Own {
    name: &'static str,
    url: String,
}

impl Own {
    /// With these variables.
    fn start(name: &'static str, variables: &[(&str, &Path)]) -> Own {
        // One that a killed test left may have anything in it.
        script(&["remove", name]).unwrap();
        let url = script_with(&["start", name], variables).unwrap();
        Own { name, url }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        _ = script(&["remove", self.name]);
    }
}

/// `systole serve` on this database.
fn command(data: &Path, database_url: &str) -> Command {
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

fn is_ready(replica: &Replica) {
    wait("it to be ready", || {
        (replica.server.get("/readyz").status == 200).then_some(())
    });
}

/// Checks in every half second, as long as the value lives; every check-in must be taken.
struct Job {
    goes_on: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Job {
    fn start(replica: &Replica, token: &str) -> Job {
        let goes_on = Arc::new(AtomicBool::new(true));
        let (address, target) = (replica.server.address, format!("/ping/{token}"));
        let still = Arc::clone(&goes_on);
        let thread = std::thread::spawn(move || {
            while still.load(Ordering::Relaxed) {
                assert_eq!(ask(address, "GET", &target, "", b"").status, 200);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Job {
            goes_on,
            thread: Some(thread),
        }
    }

    fn end(mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// How long a heartbeat of these tests may be silent: a check-in each half second keeps it up on a machine with other work.
const LAPSES: (&str, &str) = ("6s", "4s");

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
