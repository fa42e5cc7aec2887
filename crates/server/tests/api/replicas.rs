//! Two replicas on one database: what one of them was told, the other knows.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{Server, path};

/// Nothing here takes so long; whatever does has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            // Not so often that a wrong token is slowed down.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let seen = tokio::time::timeout(PATIENCE, looking).await;
    seen.unwrap_or_else(|_| panic!("waited too long for: {what}"))
}

/// Two replicas, the one that decides first.
async fn two() -> [Server; 2] {
    let one = Server::start().await;
    let other = Server::on(one.database.clone(), |_| {}).await;
    let decides = |server: &Server| server.server.app().standing.epoch().is_some();
    until("one to decide", async || {
        (decides(&one) || decides(&other)).then_some(())
    })
    .await;
    assert!(!(decides(&one) && decides(&other)), "both decide");
    if decides(&one) {
        [one, other]
    } else {
        [other, one]
    }
}

/// Each of them as the one that is told something, and the one that has to know.
fn both_ways(replicas: &[Server; 2]) -> [(&Server, &Server); 2] {
    let [one, other] = replicas;
    [(one, other), (other, one)]
}

/// The status that a check-in gets.
async fn checked_in(server: &Server, target: &str) -> u16 {
    let request = http::Request::post(format!("/ping/{target}"))
        .header("host", "x")
        .body(Full::new(Bytes::new()));
    server.send(request.unwrap()).await.status
}

fn token(monitor: &Value) -> &str {
    monitor["token"].as_str().unwrap()
}

async fn shows(server: &Server, at: &str, field: &str, expected: &Value) {
    until(&format!("{at} to show {field}: {expected}"), async || {
        let reply = server.get(at).await;
        (reply.status == 200 && reply.body[field] == *expected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_monitor_made_through_one_replica_is_pinged_through_the_other_at_once() {
    let replicas = two().await;
    for (n, (here, there)) in both_ways(&replicas).into_iter().enumerate() {
        let made = here.heartbeat(&format!("nightly {n}")).await;
        assert_eq!(checked_in(there, token(&made)).await, 200);
        for server in [here, there] {
            shows(server, &path("monitors", &made, ""), "state", &json!("up")).await;
            let at = path("monitors", &made, "/checkins");
            let shown = server.get(&at).await.expect(200);
            assert_eq!(shown["items"].as_array().unwrap().len(), 1, "{shown:#}");
        }
        assert_eq!(checked_in(there, "not-a-token-of-anybody").await, 404);
    }
}

#[tokio::test]
async fn what_is_done_to_a_monitor_through_one_replica_holds_on_the_other() {
    let replicas = two().await;
    for (n, (here, there)) in both_ways(&replicas).into_iter().enumerate() {
        let made = here.heartbeat(&format!("nightly {n}")).await;
        let at = path("monitors", &made, "");
        assert_eq!(checked_in(there, token(&made)).await, 200);
        shows(here, &at, "state", &json!("up")).await;

        let change = json!({"grace": "7m", "schedule": {"every": "2h"}});
        let changed = here.call("PATCH", &at, change).await.expect(200);
        shows(there, &at, "grace", &json!("7m")).await;
        shows(there, &at, "next_due", &changed["next_due"]).await;

        let act = async |server: &Server, action: &str| {
            let at = path("monitors", &made, action);
            server.post(&at, Value::Null).await.expect(200)
        };
        act(here, "/pause").await;
        shows(there, &at, "state", &json!("paused")).await;
        act(there, "/resume").await;
        shows(here, &at, "state", &json!("new")).await;

        let rotated = act(here, "/rotate-token").await;
        assert_eq!(checked_in(there, token(&rotated)).await, 200);
        until("the former token to be forgotten", async || {
            (checked_in(there, token(&made)).await == 404).then_some(())
        })
        .await;
        shows(there, &at, "token", &rotated["token"]).await;

        here.call("DELETE", &at, Value::Null).await.expect(204);
        until(
            "the token of what was deleted to be forgotten",
            async || (checked_in(there, token(&rotated)).await == 404).then_some(()),
        )
        .await;
        assert_eq!(there.get(&at).await.status, 404);
    }
}

#[tokio::test]
async fn tokens_and_the_ping_key_made_through_one_replica_open_the_other() {
    let replicas = two().await;
    replicas[0].heartbeat("nightly").await;
    for (here, there) in both_ways(&replicas) {
        let input = json!({"name": "deploy", "role": "editor"});
        let made = here.post("/tokens", input).await.expect(201);
        let opens = async |expected: u16| {
            until(&format!("an answer of {expected}"), async || {
                let secret = token(&made);
                let reply = there
                    .call_as(secret, "GET", "/monitors", Value::Null, &[])
                    .await;
                (reply.status == expected).then_some(())
            })
            .await;
        };
        opens(200).await;
        let at = path("tokens", &made, "");
        here.call("DELETE", &at, Value::Null).await.expect(204);
        opens(401).await;

        let made = here.post("/ping-key", json!({"replace": true})).await;
        let target = format!("{}/nightly", made.expect(201)["ping_key"].as_str().unwrap());
        until("the ping key to be known", async || {
            (checked_in(there, &target).await == 200).then_some(())
        })
        .await;
        let made = here.post("/ping-key", json!({"replace": true})).await;
        made.expect(201);
        until("the former ping key to be forgotten", async || {
            (checked_in(there, &target).await == 404).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_maintenance_begun_and_ended_through_one_replica_lies_over_the_monitors_of_the_other() {
    let replicas = two().await;
    let monitor = replicas[0].heartbeat("nightly").await;
    let at = path("monitors", &monitor, "");
    for (here, there) in both_ways(&replicas) {
        let input = json!({"name": "upgrade", "monitors": ["nightly"], "when": {"duration": "1h"}});
        let made = here.post("/maintenances", input).await.expect(201);
        shows(there, &at, "maintenance", &json!(true)).await;
        let ended = path("maintenances", &made, "/end");
        there.post(&ended, Value::Null).await.expect(200);
        shows(here, &at, "maintenance", &json!(false)).await;
        let gone = path("maintenances", &made, "");
        here.call("DELETE", &gone, Value::Null).await.expect(204);
        assert_eq!(there.get(&gone).await.status, 404);
    }
}

#[tokio::test]
async fn what_one_replica_decides_both_show_and_both_may_act_on() {
    let replicas = two().await;
    let [decider, standby] = &replicas;
    for (number, (here, there)) in both_ways(&replicas).into_iter().enumerate() {
        // One of its own: a failure so soon after a recovery would open the former incident again.
        let monitor = standby.heartbeat(&format!("nightly {number}")).await;
        let at = path("monitors", &monitor, "");
        let incident = format!("/incidents/inc_{}", number + 1);
        let failed = format!("{}/fail", token(&monitor));
        assert_eq!(checked_in(standby, &failed).await, 200);
        for server in &replicas {
            shows(server, &incident, "state", &json!("triggered")).await;
            shows(server, &at, "state", &json!("down")).await;
        }
        let taken = format!("{incident}/acknowledge");
        here.post(&taken, json!({"note": "on it"}))
            .await
            .expect(200);
        shows(there, &incident, "state", &json!("acknowledged")).await;
        assert_eq!(checked_in(there, token(&monitor)).await, 200);
        for server in &replicas {
            shows(server, &incident, "state", &json!("resolved")).await;
            shows(server, &at, "state", &json!("up")).await;
        }
    }
    assert!(decider.server.app().standing.epoch().is_some());
    assert_eq!(standby.server.app().standing.epoch(), None);
}
