//! Check-ins and runs.

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{Server, path};

#[tokio::test]
async fn check_ins_are_shown_as_they_came() {
    let server = Server::start().await;
    let monitor = server.heartbeat("a").await;
    let token = monitor["token"].as_str().unwrap();
    let rid = "0b9f1a52-4c61-4f0a-8f3e-1d2c3b4a5968";
    for (suffix, body) in [
        (format!("/start?rid={rid}"), Bytes::new()),
        ("/log".to_owned(), Bytes::from_static(b"caf\xc3\xa9")),
        (format!("/7?rid={rid}"), Bytes::from_static(b"\xff\x00")),
        (String::new(), Bytes::from("x".repeat(10_001))),
    ] {
        let request = http::Request::post(format!("/ping/{token}{suffix}"))
            .header("host", "x")
            .header("user-agent", "curl/8");
        assert_eq!(
            server
                .send(request.body(Full::new(body)).unwrap())
                .await
                .status,
            200,
            "{suffix}"
        );
    }
    server.ping(&monitor, "/log", "").await;
    let page = server
        .get(&path("monitors", &monitor, "/checkins"))
        .await
        .expect(200);
    let items = page["items"].as_array().unwrap();
    let kinds: Vec<&str> = items
        .iter()
        .map(|item| item["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["log", "success", "exit_status", "log", "start"]);
    assert_eq!(
        (
            &items[1]["body_truncated"],
            items[1]["body"].as_str().unwrap().len()
        ),
        (&json!(true), 10_000)
    );
    assert_eq!(
        (&items[2]["exit_status"], &items[2]["rid"]),
        (&json!(7), &json!(rid))
    );
    assert_eq!(
        (&items[2]["body_base64"], items[2].get("body")),
        (&json!("/wA="), None)
    );
    assert!(
        items[2]["duration"].is_string() && items[1]["duration"].is_null(),
        "{page:#}"
    );
    assert_eq!(items[3]["body"], "café");
    for (field, expected) in [
        ("method", "POST"),
        ("source", "127.0.0.1"),
        ("user_agent", "curl/8"),
    ] {
        assert_eq!(items[3][field], expected);
    }

    let mut seen = Vec::new();
    let mut next = String::new();
    loop {
        let rest = format!("/checkins?limit=2{next}");
        let page = server
            .get(&path("monitors", &monitor, &rest))
            .await
            .expect(200);
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(&seen, items, "page by page the same");
}

#[tokio::test]
async fn runs_are_made_of_starts_and_ends() {
    let server = Server::start().await;
    let monitor = server.heartbeat("a").await;
    for suffix in ["", "/start", "/1", "/start", "", "/start"] {
        server.ping(&monitor, suffix, "").await;
    }
    let page = server
        .get(&path("monitors", &monitor, "/runs"))
        .await
        .expect(200);
    let items = page["items"].as_array().unwrap();
    let shown: Vec<(&str, bool, bool)> = items
        .iter()
        .map(|run| {
            (
                run["outcome"].as_str().unwrap(),
                run["started_at"].is_string(),
                run["finished_at"].is_string(),
            )
        })
        .collect();
    let expected = [
        ("running", true, false),
        ("success", true, true),
        ("fail", true, true),
        ("success", false, true),
    ];
    assert_eq!(shown, expected, "{page:#}");
    assert_eq!(
        (&items[2]["exit_status"], &items[0]["exit_status"]),
        (&json!(1), &Value::Null)
    );

    let first = server
        .get(&path("monitors", &monitor, "/runs?limit=3"))
        .await
        .expect(200);
    let rest = format!("/runs?limit=3&cursor={}", first["next"].as_str().unwrap());
    let second = server
        .get(&path("monitors", &monitor, &rest))
        .await
        .expect(200);
    assert_eq!(
        (&second["items"][0], &second["next"]),
        (&items[3], &Value::Null)
    );
}

#[tokio::test]
async fn hours_and_days_say_what_is_known() {
    let server = Server::start().await;
    let monitor = server.heartbeat("a").await;
    let read = async |query: &str| -> Value {
        let rest = format!("/history{query}");
        server
            .get(&path("monitors", &monitor, &rest))
            .await
            .expect(200)
    };
    let before = read("").await;
    assert_eq!(before["resolution"], "day");
    assert_eq!(before["items"][0]["checkins"], 0, "{before:#}");
    assert_eq!(
        before["items"][0]["uptime"],
        Value::Null,
        "nothing is known yet"
    );
    assert_eq!(before["uptime"]["90d"], Value::Null);
    for suffix in ["/start", "", "/log"] {
        server.ping(&monitor, suffix, "").await;
    }
    for (query, resolution) in [("?resolution=hour", "hour"), ("?resolution=day", "day")] {
        let page = read(query).await;
        assert_eq!(page["resolution"], resolution);
        // Midnight, or the full hour, may pass while this runs.
        let items = page["items"].as_array().unwrap();
        let sum =
            |field: &str| -> u64 { items.iter().filter_map(|item| item[field].as_u64()).sum() };
        assert_eq!(
            (sum("checkins"), sum("successes"), sum("failures")),
            (3, 1, 0),
            "{page:#}"
        );
        assert!(
            items.iter().any(|item| item["runs"]["count"] == 1),
            "{page:#}"
        );
        assert_eq!(page["uptime"]["24h"], 1.0, "{page:#}");
    }
    for (query, field) in [
        ("?resolution=week", "resolution"),
        ("?since=yesterday", "since"),
    ] {
        let rest = format!("/history{query}");
        let reply = server.get(&path("monitors", &monitor, &rest)).await;
        let problem = reply.expect(400);
        assert_eq!(problem["errors"][0]["field"], field, "{problem:#}");
    }
}
