//! What every request obeys.

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::support::{ADMIN, Server};

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_with_the_reason() {
    let server = Server::start().await;
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(1 << 20));
    for (kind, body, status, code, said) in [
        (
            "application/json",
            "{\"kind\": \"heartbeat\",}",
            400,
            "malformed_json",
            "line 1 column",
        ),
        ("application/json", "{", 400, "malformed_json", "EOF"),
        ("application/json", "", 400, "malformed_json", "empty"),
        (
            "application/json; charset=utf-8",
            "[]",
            422,
            "invalid",
            "an object",
        ),
        (
            "application/json",
            &"[".repeat(5_000),
            400,
            "malformed_json",
            "recursion",
        ),
        ("text/plain", "{}", 415, "not_json", "application/json"),
        (
            "application/x-www-form-urlencoded",
            "a=b",
            415,
            "not_json",
            "application/json",
        ),
        ("application/json", &large, 413, "too_large", "1 MiB"),
    ] {
        let request = http::Request::post("/api/v1/monitors")
            .header("host", "x")
            .header("authorization", format!("Bearer {ADMIN}"))
            .header("content-type", kind)
            .body(Full::new(Bytes::from(body.to_owned())));
        let reply = server.send(request.unwrap()).await;
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem = reply.expect(status);
        assert_eq!(problem["code"], code, "{problem:#}");
        assert!(
            problem["detail"].as_str().unwrap().contains(said),
            "{problem:#}"
        );
        assert_eq!(problem["status"], status);
    }
}

#[tokio::test]
async fn what_is_not_there_says_so_as_a_problem() {
    let server = Server::start().await;
    for (method, path, status, code) in [
        ("GET", "/nothing", 404, "no_such_route"),
        ("GET", "", 404, "no_such_route"),
        ("GET", "/monitors/1/2/3/4", 404, "no_such_route"),
        ("GET", "/monitors/mon_99", 404, "not_found"),
        ("GET", "/monitors/99", 404, "not_found"),
        (
            "GET",
            "/monitors/mon_99999999999999999999",
            404,
            "not_found",
        ),
        ("GET", "/monitors/%ff", 404, "not_found"),
        ("GET", "/monitors/mon_1/results", 501, "not_built"),
        ("GET", "/clusters", 501, "not_built"),
        ("PUT", "/monitors", 405, "method_not_allowed"),
        ("DELETE", "/incidents/1", 405, "method_not_allowed"),
    ] {
        let reply = server.call(method, path, Value::Null).await;
        assert_eq!(
            reply.header("content-type"),
            "application/problem+json",
            "{method} {path}"
        );
        assert_eq!(reply.expect(status)["code"], code, "{method} {path}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_taken_is_answered_with_those_that_are() {
    let server = Server::start().await;
    let reply = server.call("PUT", "/monitors", Value::Null).await;
    let mut allowed: Vec<&str> = reply.header("allow").split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}

#[tokio::test]
async fn a_schedule_is_previewed() {
    let server = Server::start().await;
    let schedule = json!({"cron": "0 2 * * *", "timezone": "Europe/Berlin"});
    let input = json!({"schedule": schedule, "after": "2026-11-21T10:00:00Z", "count": 2});
    let preview = server.post("/schedules/preview", input).await.expect(200);
    assert_eq!(
        preview["next"],
        json!(["2026-11-22T01:00:00Z", "2026-11-23T01:00:00Z"])
    );
    assert_eq!(preview["description"], "at 02:00 every day, Europe/Berlin");
    for (input, field) in [
        (json!({"schedule": {"cron": "* * *"}}), "schedule.cron"),
        (json!({"schedule": {"every": "1h"}, "count": 101}), "count"),
        (
            json!({"schedule": {"every": "1h"}, "after": "noon"}),
            "after",
        ),
        (json!({}), "schedule"),
    ] {
        assert_eq!(
            server
                .post("/schedules/preview", input.clone())
                .await
                .only_error(422)
                .0,
            field,
            "{input}"
        );
    }
}

#[tokio::test]
async fn the_ping_key_is_made_once_and_works_by_name() {
    let server = Server::start().await;
    assert_eq!(
        server.get("/ping-key").await.expect(200),
        json!({"ping_key": null, "ping_url": null})
    );
    let made = server.post("/ping-key", Value::Null).await.expect(201);
    assert_eq!(server.post("/ping-key", json!({})).await.expect(200), made);
    assert_eq!(server.get("/ping-key").await.expect(200), made);
    server.heartbeat("nightly").await;
    let url = made["ping_url"]
        .as_str()
        .unwrap()
        .replace("{slug}", "nightly");
    let by_name = |url: &str| {
        let path = url.split_once("/ping/").unwrap().1.to_owned();
        http::Request::get(format!("/ping/{path}"))
            .header("host", "x")
            .body(Full::default())
            .unwrap()
    };
    assert_eq!(server.send(by_name(&url)).await.status, 200);
    let replaced = server
        .post("/ping-key", json!({"replace": true}))
        .await
        .expect(201);
    assert_ne!(replaced["ping_key"], made["ping_key"]);
    assert_eq!(server.send(by_name(&url)).await.status, 404);
}
