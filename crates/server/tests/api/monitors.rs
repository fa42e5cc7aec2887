//! Monitors.

use serde_json::{Value, json};

use crate::support::{ADMIN, Server, path};

#[tokio::test]
async fn a_monitor_is_made_with_its_defaults_and_is_known_to_check_ins_at_once() {
    let server = Server::start().await;
    let reply = server
        .post(
            "/monitors",
            json!({"kind": "heartbeat", "name": "Invoice Generator", "schedule": {"every": 3600}}),
        )
        .await;
    assert_eq!(reply.header("location"), "/api/v1/monitors/mon_1");
    assert_eq!(reply.header("etag"), "\"1\"");
    assert_eq!(reply.header("cache-control"), "no-store");
    let made = reply.expect(201);
    for (field, expected) in [
        ("kind", json!("heartbeat")),
        ("rev", json!(1)),
        ("slug", json!("invoice-generator")),
        ("schedule", json!({"every": "1h"})),
        ("grace", json!("5m")),
        ("severity", json!("critical")),
        ("state", json!("new")),
        ("channels", Value::Null),
        ("open_incident", Value::Null),
        ("last_checkin_at", Value::Null),
        ("next_expected_at", Value::Null),
        ("fail_threshold", json!(1)),
        ("maintenance", json!(false)),
    ] {
        assert_eq!(made[field], expected, "{field}: {made:#}");
    }
    let codes: Vec<&str> = made["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|w| w["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["no_channel", "loopback_base_url"]);
    let ping_url = made["ping_url"].as_str().unwrap();
    assert_eq!(
        ping_url,
        format!(
            "http://{}/ping/{}",
            server.server.address,
            made["token"].as_str().unwrap()
        )
    );

    server.ping(&made, "", "").await;
    let read = server.get("/monitors/mon_1").await.expect(200);
    assert_eq!(read["state"], "up");
    assert!(
        read["last_checkin_at"].is_string() && read["next_expected_at"].is_string(),
        "{read:#}"
    );
    assert!(read["last_checkin_at"].as_str() < read["next_expected_at"].as_str());
}

#[tokio::test]
async fn wrong_input_is_refused_at_its_field_with_its_rule() {
    let server = Server::start().await;
    let long = "x".repeat(201);
    for (change, field, rule) in [
        (json!({"name": ""}), "name", "1 to 200"),
        (json!({"name": long}), "name", "201 characters"),
        (json!({"name": null}), "name", "required"),
        (json!({"nmae": "x"}), "nmae", "did you mean \"name\"?"),
        (json!({"slug": "Has Spaces"}), "slug", "a-z"),
        (json!({"slug": "start"}), "slug", "never start"),
        (json!({"slug": "42"}), "slug", "number"),
        (json!({"labels": {"a b": "c"}}), "labels", "letters"),
        (json!({"labels": ["a"]}), "labels", "object"),
        (json!({"severity": "bad"}), "severity", "critical"),
        (json!({"set": "a b"}), "set", "letters"),
        (
            json!({"runbook_url": "javascript:alert(1)"}),
            "runbook_url",
            "https://",
        ),
        (
            json!({"channels": ["nobody"]}),
            "channels[0]",
            "there are none yet",
        ),
        (
            json!({"schedule": {"every": "0s"}}),
            "schedule.every",
            "at least 1s",
        ),
        (
            json!({"schedule": {"every": "999d"}}),
            "schedule.every",
            "400 days",
        ),
        (
            json!({"schedule": {"cron": "0 99 * * *"}}),
            "schedule.cron",
            "^^",
        ),
        (
            json!({"schedule": {"cron": "0 2 * * *", "timezone": "Mars/Base"}}),
            "schedule.timezone",
            "Mars/Base",
        ),
        (json!({"schedule": "6h"}), "schedule", "{\"every\": \"6h\"}"),
        (
            json!({"schedule": {"on_calendar": "daily"}}),
            "schedule.on_calendar",
            "not built yet",
        ),
        (json!({"grace": "401d"}), "grace", "400 days"),
        (json!({"grace": true}), "grace", "duration"),
        (json!({"fail_threshold": 0}), "fail_threshold", "1 to 1000"),
        (
            json!({"recovery_threshold": 1001}),
            "recovery_threshold",
            "1 to 1000",
        ),
        (json!({"max_runtime": "0"}), "max_runtime", "overrun"),
        (json!({"token": "short"}), "token", "10 to 64"),
        (json!({"kind": "endpoint"}), "kind", "not built yet"),
        (
            json!({"kind": "hartbeat"}),
            "kind",
            "did you mean \"heartbeat\"?",
        ),
    ] {
        let mut input = json!({"kind": "heartbeat", "name": "a", "schedule": {"every": "1h"}});
        input
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let reply = server.post("/monitors", input).await;
        assert_eq!(
            reply.header("content-type"),
            "application/problem+json",
            "{change}"
        );
        let (named, message) = reply.only_error(422);
        assert_eq!(named, field, "{change}: {message}");
        assert!(message.contains(rule), "{change}: {message}");
    }
    assert_eq!(
        server.get("/monitors").await.expect(200)["items"],
        json!([])
    );
}

#[tokio::test]
async fn names_slugs_and_tokens_are_unique_and_derived_slugs_are_numbered() {
    let server = Server::start().await;
    let input = |name: &str, more: Value| {
        let mut input = json!({"kind": "heartbeat", "name": name, "schedule": {"every": "1h"}});
        input
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        input
    };
    let token = "imported_token-1";
    let first = server
        .post(
            "/monitors",
            input("Nightly Backup", json!({"token": token})),
        )
        .await
        .expect(201);
    assert_eq!(first["token"], token);
    for (name, slug) in [
        ("nightly backup", "nightly-backup-2"),
        ("Nightly  Backup", "nightly-backup-3"),
    ] {
        assert_eq!(
            server
                .post("/monitors", input(name, json!({})))
                .await
                .expect(201)["slug"],
            slug
        );
    }
    for (name, more, field) in [
        ("Nightly Backup", json!({}), "name"),
        ("other", json!({"slug": "nightly-backup"}), "slug"),
        ("other", json!({"token": token}), "token"),
    ] {
        let (named, message) = server
            .post("/monitors", input(name, more))
            .await
            .only_error(409);
        assert_eq!(
            (named.as_str(), message.contains("taken")),
            (field, true),
            "{message}"
        );
    }
    let key = server.post("/ping-key", Value::Null).await.expect(201)["ping_key"].clone();
    let (field, _) = server
        .post("/monitors", input("other", json!({"token": key})))
        .await
        .only_error(409);
    assert_eq!(field, "token", "tokens and ping keys share one namespace");
}

#[tokio::test]
async fn a_change_changes_what_it_names_and_is_refused_at_another_revision() {
    let server = Server::start().await;
    let made = server.heartbeat("a").await;
    let at = path("monitors", &made, "");
    let patch = json!({"grace": "10m", "labels": {"team": "ops"}, "owner": "Ops", "schedule": {"cron": "0 2 * * *"}});
    let changed = server
        .call_as(ADMIN, "PATCH", &at, patch.clone(), &[("if-match", "\"1\"")])
        .await;
    assert_eq!(changed.header("etag"), "\"2\"");
    let changed = changed.expect(200);
    assert_eq!(
        (&changed["grace"], &changed["owner"], &changed["rev"]),
        (&json!("10m"), &json!("Ops"), &json!(2))
    );
    assert_eq!(
        changed["schedule"],
        json!({"cron": "0 2 * * *", "timezone": "UTC", "dialect": "classic"})
    );
    assert_eq!(
        (&changed["name"], &changed["token"]),
        (&made["name"], &made["token"]),
        "the rest stays"
    );

    let same = server
        .call_as(ADMIN, "PATCH", &at, patch, &[("if-match", "\"2\"")])
        .await
        .expect(200);
    assert_eq!(same["rev"], 2, "what changes nothing raises nothing");
    let cleared = server
        .call("PATCH", &at, json!({"owner": null, "description": null}))
        .await
        .expect(200);
    assert_eq!(
        (&cleared["owner"], &cleared["rev"]),
        (&Value::Null, &json!(3))
    );

    for (method, body, tag) in [
        ("PATCH", json!({"grace": "1m"}), "\"2\""),
        ("PATCH", json!({"grace": "1m"}), "W/\"3\""),
        (
            "PUT",
            json!({"kind": "heartbeat", "name": "b", "schedule": {"every": "1h"}}),
            "\"1\"",
        ),
        ("DELETE", Value::Null, "\"1\""),
    ] {
        let refused = server
            .call_as(ADMIN, method, &at, body, &[("if-match", tag)])
            .await
            .expect(412);
        assert_eq!(refused["code"], "changed_meanwhile", "{method} {tag}");
    }
    for (patch, field) in [
        (json!({"kind": "endpoint"}), "kind"),
        (json!({"token": "another-token"}), "token"),
        (json!({"name": null}), "name"),
        (json!({"grace": "soon"}), "grace"),
        (json!({"gracee": "1m"}), "gracee"),
    ] {
        assert_eq!(
            server
                .call("PATCH", &at, patch.clone())
                .await
                .only_error(422)
                .0,
            field,
            "{patch}"
        );
    }
    let put = json!({"kind": "heartbeat", "name": "b", "schedule": {"every": "2h"}});
    let set = server.call("PUT", &at, put).await.expect(200);
    assert_eq!(
        (&set["name"], &set["grace"], &set["labels"]),
        (&json!("b"), &json!("5m"), &json!({}))
    );
    assert_eq!(
        (&set["slug"], &set["token"]),
        (&made["slug"], &made["token"]),
        "slug and token stay"
    );
}

#[tokio::test]
async fn pausing_resuming_and_deleting_show_in_the_reply() {
    let server = Server::start().await;
    let made = server.heartbeat("a").await;
    server.ping(&made, "/fail", "").await;
    let down = server.get(&path("monitors", &made, "")).await.expect(200);
    assert_eq!(
        (&down["state"], &down["open_incident"]),
        (&json!("down"), &json!("inc_1"))
    );
    for _ in 0..2 {
        let paused = server
            .post(&path("monitors", &made, "/pause"), Value::Null)
            .await
            .expect(200);
        assert_eq!(
            (&paused["state"], &paused["open_incident"]),
            (&json!("paused"), &Value::Null)
        );
    }
    for _ in 0..2 {
        assert_eq!(
            server
                .post(&path("monitors", &made, "/resume"), Value::Null)
                .await
                .expect(200)["state"],
            "new"
        );
    }
    server
        .call("DELETE", &path("monitors", &made, ""), Value::Null)
        .await
        .expect(204);
    for (method, rest) in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("GET", "/checkins"),
        ("GET", "/events"),
    ] {
        let gone = server
            .call(method, &path("monitors", &made, rest), Value::Null)
            .await
            .expect(404);
        assert_eq!(gone["code"], "not_found", "{method} {rest}");
    }
    assert_eq!(
        ping_status(&server, &made["token"]).await,
        404,
        "its token works no more"
    );
}

#[tokio::test]
async fn a_rotated_token_leaves_the_former_one_its_overlap() {
    let server = Server::start().await;
    let made = server.heartbeat("a").await;
    let at = path("monitors", &made, "/rotate-token");
    let second = server.post(&at, json!({"overlap": "1h"})).await.expect(200);
    assert_ne!(second["token"], made["token"]);
    assert_eq!(ping_status(&server, &made["token"]).await, 200);
    let third = server.post(&at, Value::Null).await.expect(200);
    for (token, status) in [
        (&made["token"], 404),
        (&second["token"], 404),
        (&third["token"], 200),
    ] {
        assert_eq!(ping_status(&server, token).await, status, "{token}");
    }
    assert_eq!(
        server
            .post(&at, json!({"overlap": "long"}))
            .await
            .only_error(422)
            .0,
        "overlap"
    );
}

async fn ping_status(server: &Server, token: &Value) -> u16 {
    let request =
        http::Request::get(format!("/ping/{}", token.as_str().unwrap())).header("host", "x");
    server
        .send(request.body(http_body_util::Full::default()).unwrap())
        .await
        .status
}

#[tokio::test]
async fn a_list_is_filtered_and_paged_newest_first() {
    let server = Server::start().await;
    for (name, team) in [
        ("alpha", "ops"),
        ("beta", "web"),
        ("Alphabet", "ops"),
        ("100%", "web"),
    ] {
        let labels = json!({"team": team});
        let input = json!({"kind": "heartbeat", "name": name, "schedule": {"every": "1h"}, "labels": labels});
        let made = server.post("/monitors", input).await.expect(201);
        if name == "beta" {
            server.ping(&made, "/fail", "").await;
        }
    }
    for (query, expected) in [
        ("", vec!["100%", "Alphabet", "beta", "alpha"]),
        ("?kind=heartbeat", vec!["100%", "Alphabet", "beta", "alpha"]),
        ("?kind=endpoint", vec![]),
        ("?q=alpha", vec!["Alphabet", "alpha"]),
        ("?q=%25", vec!["100%"]),
        ("?name=alpha", vec!["alpha"]),
        ("?label=team%3Dweb", vec!["100%", "beta"]),
        ("?label=team=web&label=team=ops", vec![]),
        ("?state=down", vec!["beta"]),
        ("?state=new&label=team=web", vec!["100%"]),
        ("?limit=2", vec!["100%", "Alphabet"]),
    ] {
        let page = server.get(&format!("/monitors{query}")).await.expect(200);
        let names: Vec<&str> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, expected, "{query}");
    }
    let mut seen = Vec::new();
    let mut next = String::new();
    for _ in 0..10 {
        let page = server
            .get(&format!("/monitors?limit=1{next}"))
            .await
            .expect(200);
        seen.push(page["items"][0]["name"].as_str().unwrap().to_owned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, ["100%", "Alphabet", "beta", "alpha"]);
    for (query, field) in [
        ("?limit=0", "limit"),
        ("?limit=501", "limit"),
        ("?state=ill", "state"),
        ("?kind=hart", "kind"),
        ("?label=team", "label"),
        ("?cursor=x", "cursor"),
        ("?stat=up", "stat"),
        ("?q=a&q=b", "q"),
    ] {
        assert_eq!(
            server
                .get(&format!("/monitors{query}"))
                .await
                .only_error(400)
                .0,
            field,
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn monitors_made_at_the_same_time_are_all_there_and_nothing_is_read_twice() {
    let server = std::sync::Arc::new(Server::start().await);
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..100 {
        let server = std::sync::Arc::clone(&server);
        tasks.spawn(async move {
            let input = json!({"kind": "heartbeat", "name": format!("job {index}"), "schedule": {"every": "1h"}});
            let made = server.post("/monitors", input).await.expect(201);
            server.ping(&made, "", "").await;
            made["id"].as_str().unwrap().to_owned()
        });
    }
    for id in tasks.join_all().await {
        let read = server.get(&format!("/monitors/{id}")).await.expect(200);
        assert_eq!(read["state"], "up", "{read:#}");
    }
    let metrics = &server.server.app().metrics;
    assert_eq!(
        metrics.decision_failures.get(),
        0,
        "commits handed over in another order are no failure"
    );
}
