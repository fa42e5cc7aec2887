//! Maintenances: making, listing, changing, ending; what monitors say of them.

use serde_json::{Value, json};
use systole_core::time::{Span, Time};

use crate::support::{Server, path};

/// Four heartbeats: two of team a, one of team b, one without labels.
async fn filled() -> (Server, Vec<Value>) {
    let server = Server::start().await;
    let mut made = Vec::new();
    for (name, labels) in [
        ("one", json!({"team": "a", "env": "prod"})),
        ("two", json!({"team": "a", "env": "test"})),
        ("three", json!({"team": "b"})),
        ("four", json!({})),
    ] {
        let input = json!({"kind": "heartbeat", "name": name, "schedule": {"every": "6h"}, "labels": labels});
        made.push(server.post("/monitors", input).await.expect(201));
    }
    (server, made)
}

async fn covered(server: &Server) -> Vec<String> {
    let list = server.get("/monitors").await.expect(200);
    let mut names: Vec<String> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|monitor| monitor["maintenance"] == true)
        .map(|monitor| monitor["name"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_maintenance_overlays_what_it_covers_until_it_is_ended() {
    let (server, monitors) = filled().await;
    let reply = server
        .post(
            "/maintenances",
            json!({"name": "upgrade", "selector": "team=a, env!=test", "monitors": ["four", monitors[0]["id"]], "when": {"duration": "1h"}}),
        )
        .await;
    assert_eq!(reply.header("location"), "/api/v1/maintenances/mnt_1");
    let made = reply.expect(201);
    assert_eq!(
        (&made["state"], &made["active"], &made["matches"]),
        (&json!("active"), &json!(true), &json!(2)),
        "{made:#}"
    );
    assert_eq!(made["selector"], "team=a,env!=test");
    assert_eq!(made["monitors"], json!(["four", "one"]));
    assert_eq!(made["current_end"], made["when"]["end"]);
    assert_eq!(made["next_start"], Value::Null);
    let time = |field: &str| Time::parse(made["when"][field].as_str().unwrap()).unwrap();
    assert_eq!(time("end").since(time("start")), Span::from_seconds(3_600));
    assert_eq!(covered(&server).await, ["four", "one"]);
    let one = server
        .get(&path("monitors", &monitors[0], ""))
        .await
        .expect(200);
    assert_eq!(
        (&one["maintenance"], &one["state"]),
        (&json!(true), &json!("new"))
    );

    let again = server
        .post(&path("maintenances", &made, "/end"), Value::Null)
        .await
        .expect(200);
    assert_eq!(
        (&again["state"], &again["active"]),
        (&json!("over"), &json!(false))
    );
    assert!(again["ended_at"].is_string(), "{again:#}");
    assert_eq!(covered(&server).await, Vec::<String>::new());
    let refused = server
        .post(&path("maintenances", &made, "/end"), Value::Null)
        .await;
    assert_eq!(refused.expect(409)["code"], "not_active");

    let extended = server
        .call(
            "PATCH",
            &path("maintenances", &made, ""),
            json!({"when": {"duration": "2h"}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (&extended["state"], &extended["ended_at"]),
        (&json!("active"), &Value::Null)
    );
    let deleted = server
        .call("DELETE", &path("maintenances", &made, ""), Value::Null)
        .await;
    assert_eq!(deleted.status, 204);
    assert_eq!(covered(&server).await, Vec::<String>::new());
    assert_eq!(
        server.get(&path("maintenances", &made, "")).await.status,
        404
    );
}

#[tokio::test]
async fn a_recurring_one_that_is_ended_comes_again() {
    let (server, _) = filled().await;
    let begun = server.server.app().now() - Span::from_seconds(3_600);
    let start = begun.to_string()[..16].to_owned();
    let when = json!({"rrule": "FREQ=DAILY", "start": start, "duration": "6h", "timezone": "UTC"});
    let made = server
        .post(
            "/maintenances",
            json!({"name": "always", "all": true, "when": when}),
        )
        .await
        .expect(201);
    assert_eq!(
        (&made["state"], &made["matches"], &made["when"]),
        (&json!("active"), &json!(4), &when)
    );
    let time = |field: &str| Time::parse(made[field].as_str().unwrap()).unwrap();
    assert_eq!(
        time("next_start").since(time("current_end")),
        Span::from_seconds(18 * 3_600)
    );
    assert_eq!(covered(&server).await.len(), 4);
    let ended = server
        .post(&path("maintenances", &made, "/end"), Value::Null)
        .await
        .expect(200);
    assert_eq!(
        (&ended["state"], &ended["next_start"]),
        (&json!("planned"), &made["next_start"])
    );
    assert_eq!(covered(&server).await, Vec::<String>::new());
}

#[tokio::test]
async fn lists_are_filtered_by_where_a_maintenance_stands() {
    let (server, _) = filled().await;
    for (name, when) in [
        ("now", json!({"duration": "1h"})),
        (
            "past",
            json!({"start": "2020-01-01T00:00:00Z", "end": "2020-01-01T01:00:00Z"}),
        ),
        (
            "past rule",
            json!({"rrule": "FREQ=DAILY;COUNT=3", "start": "2020-01-01T00:00", "duration": "1h"}),
        ),
        (
            "future",
            json!({"start": "2098-07-01T02:30", "duration": "1h", "timezone": "Europe/Berlin"}),
        ),
        (
            "future rule",
            json!({"rrule": "FREQ=YEARLY", "start": "2098-02-01T00:00", "duration": "1h", "timezone": "Asia/Tokyo"}),
        ),
    ] {
        server
            .post(
                "/maintenances",
                json!({"name": name, "selector": "team", "when": when}),
            )
            .await
            .expect(201);
    }
    for (query, names) in [
        (
            "",
            &["future rule", "future", "past rule", "past", "now"][..],
        ),
        ("?state=active", &["now"]),
        ("?state=planned", &["future rule", "future"]),
        ("?state=over", &["past rule", "past"]),
        ("?state=over&limit=1", &["past rule"]),
        ("?cursor=mnt_3", &["past", "now"]),
    ] {
        let list = server
            .get(&format!("/maintenances{query}"))
            .await
            .expect(200);
        let found: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect();
        assert_eq!(found, names, "{query}");
    }
    let list = server.get("/maintenances?state=planned").await.expect(200);
    assert_eq!(list["items"][0]["next_start"], "2098-01-31T15:00:00Z");
    assert_eq!(
        list["items"][1]["when"],
        json!({"start": "2098-07-01T00:30:00Z", "end": "2098-07-01T01:30:00Z"})
    );
    server.get("/maintenances?state=on").await.expect(400);
}

#[tokio::test]
async fn what_means_nothing_is_refused_at_its_field() {
    let (server, _) = filled().await;
    let hour = || json!({"duration": "1h"});
    let rule = |rrule: &str| json!({"rrule": rrule, "start": "2026-11-29T02:00", "duration": "1h"});
    for (more, field, part) in [
        (json!({"when": hour()}), "selector", "selects nothing"),
        (
            json!({"selector": " ", "all": false, "when": hour()}),
            "selector",
            "selects nothing",
        ),
        (
            json!({"selector": "team in a", "when": hour()}),
            "selector",
            "' ' in the name",
        ),
        (
            json!({"monitors": ["five"], "when": hour()}),
            "monitors[0]",
            "no monitor has the name or id \"five\"",
        ),
        (
            json!({"all": true, "when": {"duration": "0s"}}),
            "when.duration",
            "not after the start",
        ),
        (
            json!({"all": true, "when": {"duration": "soon"}}),
            "when.duration",
            "not a duration",
        ),
        (
            json!({"all": true, "when": {"end": "2020-01-01T00:00:00Z"}}),
            "when.end",
            "not after the start",
        ),
        (
            json!({"all": true, "when": {"start": "2026-11-29T02:00", "duration": "1h"}}),
            "when.start",
            "RFC 3339",
        ),
        (
            json!({"all": true, "when": {"start": "2026-11-29T02:00Z", "duration": "1h", "timezone": "UTC"}}),
            "when.start",
            "not a local time",
        ),
        (
            json!({"all": true, "when": {"start": "2026-11-29T02:00", "duration": "1h", "timezone": "Mars/Base"}}),
            "when.timezone",
            "Mars/Base",
        ),
        (
            json!({"all": true, "when": rule("FREQ=DAILY;BYHOUR=25")}),
            "when.rrule",
            "^^",
        ),
        (
            json!({"all": true, "when": rule("FREQ=MONTHLY;BYMONTHDAY=31;BYMONTH=2")}),
            "when.rrule",
            "never comes",
        ),
        (
            json!({"all": true, "when": {"rrule": "FREQ=DAILY", "start": "2026-11-29T02:00", "duration": "31d"}}),
            "when.duration",
            "1m to 30d",
        ),
    ] {
        let mut input = json!({"name": "a"});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (found, message) = server.post("/maintenances", input).await.only_error(422);
        assert_eq!(found, field, "{more}: {message}");
        assert!(message.contains(part), "{more}: {message}");
    }
    let input = json!({"name": "a", "all": true, "when": hour()});
    let made = server
        .post("/maintenances", input.clone())
        .await
        .expect(201);
    server.post("/maintenances", input).await.expect(409);
    let url = path("maintenances", &made, "");
    let (field, _) = server
        .call("PATCH", &url, json!({"all": false}))
        .await
        .only_error(422);
    assert_eq!(field, "selector");
    let stale = server
        .call_as(
            crate::support::ADMIN,
            "PATCH",
            &url,
            json!({"name": "b"}),
            &[("if-match", "\"7\"")],
        )
        .await;
    assert_eq!(stale.status, 412);
    let same = server
        .call("PATCH", &url, json!({"name": "a", "when": made["when"]}))
        .await
        .expect(200);
    assert_eq!(same["rev"], 1, "what changes nothing is no change");
    let whole = json!({"name": "b", "selector": "team=c", "when": made["when"]});
    let replaced = server.call("PUT", &url, whole).await.expect(200);
    assert_eq!(
        (&replaced["rev"], &replaced["all"], &replaced["matches"]),
        (&json!(2), &json!(false), &json!(0))
    );
    assert_eq!(replaced["warnings"][0]["code"], "covers_nothing");
}

#[tokio::test]
async fn a_monitor_that_is_renamed_or_deleted_is_followed() {
    let (server, monitors) = filled().await;
    let made = server
        .post(
            "/maintenances",
            json!({"name": "a", "monitors": ["one", "two"], "when": {"duration": "1h"}}),
        )
        .await
        .expect(201);
    server
        .call(
            "PATCH",
            &path("monitors", &monitors[0], ""),
            json!({"name": "uno"}),
        )
        .await
        .expect(200);
    server
        .call("DELETE", &path("monitors", &monitors[1], ""), Value::Null)
        .await;
    let read = server
        .get(&path("maintenances", &made, ""))
        .await
        .expect(200);
    assert_eq!(
        (&read["monitors"], &read["matches"]),
        (&json!(["uno"]), &json!(1))
    );
    assert_eq!(covered(&server).await, ["uno"]);
}
