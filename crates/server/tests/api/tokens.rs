//! Tokens, sessions, and what roles may do.

use serde_json::{Value, json};
use systole_core::time::Span;

use crate::support::{ADMIN, Server, path};

/// Every route with the roles that may use it: the lowest that suffices.
const ROUTES: &[(&str, &str, &str)] = &[
    ("GET", "/monitors", "viewer"),
    ("POST", "/monitors", "editor"),
    ("POST", "/monitors/bulk", "editor"),
    ("GET", "/monitors/mon_1", "viewer"),
    ("PATCH", "/monitors/mon_1", "editor"),
    ("PUT", "/monitors/mon_1", "editor"),
    ("DELETE", "/monitors/mon_99", "editor"),
    ("POST", "/monitors/mon_1/pause", "editor"),
    ("POST", "/monitors/mon_1/resume", "editor"),
    ("POST", "/monitors/mon_1/rotate-token", "editor"),
    ("GET", "/monitors/mon_1/checkins", "viewer"),
    ("GET", "/monitors/mon_1/history", "viewer"),
    ("GET", "/monitors/mon_1/runs", "viewer"),
    ("GET", "/monitors/mon_1/results", "viewer"),
    ("GET", "/monitors/mon_1/events", "viewer"),
    ("GET", "/channels", "viewer"),
    ("POST", "/channels", "editor"),
    ("GET", "/channels/chn_9", "viewer"),
    ("PATCH", "/channels/chn_9", "editor"),
    ("PUT", "/channels/chn_9", "editor"),
    ("DELETE", "/channels/chn_9", "editor"),
    ("POST", "/channels/chn_9/test", "editor"),
    ("GET", "/incidents", "viewer"),
    ("GET", "/incidents/9", "viewer"),
    ("POST", "/incidents/9/acknowledge", "editor"),
    ("POST", "/incidents/9/resolve", "editor"),
    ("POST", "/incidents/9/snooze", "editor"),
    ("POST", "/incidents/9/note", "editor"),
    ("GET", "/maintenances", "viewer"),
    ("POST", "/maintenances", "editor"),
    ("GET", "/maintenances/mnt_9", "viewer"),
    ("PATCH", "/maintenances/mnt_9", "editor"),
    ("PUT", "/maintenances/mnt_9", "editor"),
    ("DELETE", "/maintenances/mnt_9", "editor"),
    ("POST", "/maintenances/mnt_9/end", "editor"),
    ("GET", "/deliveries", "viewer"),
    ("GET", "/deliveries/dlv_9", "viewer"),
    ("POST", "/deliveries/dlv_9/replay", "editor"),
    ("GET", "/tokens", "admin"),
    ("POST", "/tokens", "admin"),
    ("DELETE", "/tokens/tok_99", "admin"),
    ("POST", "/schedules/preview", "viewer"),
    ("GET", "/ping-key", "editor"),
    ("POST", "/ping-key", "editor"),
    ("GET", "/doctor", "admin"),
];

#[tokio::test]
async fn every_route_asks_for_its_role() {
    let server = Server::start().await;
    server.heartbeat("a").await;
    let order = ["probe", "agent", "metrics", "viewer", "editor", "admin"];
    let mut tokens = Vec::new();
    for role in order {
        tokens.push(server.token(role).await);
    }
    for (method, path, needs) in ROUTES {
        let nobody = server.call_as("", method, path, Value::Null, &[]).await;
        assert_eq!(
            nobody.header("www-authenticate"),
            "Bearer realm=\"systole\"",
            "{method} {path}"
        );
        assert_eq!(
            nobody.expect(401)["code"],
            "unauthorized",
            "{method} {path}"
        );
        let suffices = order.iter().position(|role| role == needs).unwrap();
        for (place, token) in tokens.iter().enumerate() {
            let reply = server.call_as(token, method, path, Value::Null, &[]).await;
            let is_refused = reply.status == 403;
            assert_eq!(
                is_refused,
                place < suffices,
                "{method} {path} as {}: {}",
                order[place],
                reply.status
            );
            assert_ne!(reply.status, 401, "{method} {path} as {}", order[place]);
        }
    }
}

#[tokio::test]
async fn the_table_of_roles_names_every_route() {
    let document = serde_json::to_value(systole_server::api::openapi()).unwrap();
    for (route, operations) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"]
            .iter()
            .filter(|method| operations.get(**method).is_some())
        {
            let is_it = |given: &str| {
                given.split('/').count() == route.split('/').count()
                    && given
                        .split('/')
                        .zip(route.split('/'))
                        .all(|(given, part)| part == "{id}" || given == part)
            };
            let is_known = ROUTES
                .iter()
                .any(|(known, given, _)| known.eq_ignore_ascii_case(method) && is_it(given));
            assert!(is_known, "{method} {route}");
        }
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_works_until_it_is_deleted() {
    let server = Server::start().await;
    let made = server
        .post("/tokens", json!({"name": "terraform", "role": "editor"}))
        .await
        .expect(201);
    let secret = made["token"].as_str().unwrap();
    let listed = server.get("/tokens").await.expect(200);
    assert_eq!(listed["items"][0]["name"], "terraform");
    assert!(!listed.to_string().contains(secret), "{listed}");
    assert_eq!(
        server
            .call_as(secret, "GET", "/monitors", Value::Null, &[])
            .await
            .status,
        200
    );
    server
        .call("DELETE", &path("tokens", &made, ""), Value::Null)
        .await
        .expect(204);
    server
        .call_as(secret, "GET", "/monitors", Value::Null, &[])
        .await
        .expect(401);
    server
        .call("DELETE", &path("tokens", &made, ""), Value::Null)
        .await
        .expect(404);
    for (input, status, field) in [
        (json!({"role": "editor"}), 422, "name"),
        (json!({"name": "x", "role": "root"}), 422, "role"),
        (json!({"name": "x", "role": "probe"}), 422, "region"),
        (json!({"name": "x", "role": "agent"}), 422, "cluster"),
        (
            json!({"name": "x", "role": "viewer", "region": "eu"}),
            422,
            "region",
        ),
        (
            json!({"name": "x", "role": "probe", "region": "eu", "cluster": "one"}),
            422,
            "cluster",
        ),
    ] {
        assert_eq!(
            server
                .post("/tokens", input.clone())
                .await
                .only_error(status)
                .0,
            field,
            "{input}"
        );
    }
    server
        .post("/tokens", json!({"name": "twice", "role": "viewer"}))
        .await
        .expect(201);
    let again = server
        .post("/tokens", json!({"name": "twice", "role": "viewer"}))
        .await;
    assert_eq!(again.only_error(409).0, "name");
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down_and_known_ones_go_on() {
    let server = Server::start().await;
    for _ in 0..20 {
        server
            .call_as("sys_guess", "GET", "/monitors", Value::Null, &[])
            .await
            .expect(401);
    }
    let slowed = server
        .call_as("sys_guess", "GET", "/monitors", Value::Null, &[])
        .await;
    assert!(slowed.header("retry-after").parse::<u32>().unwrap() >= 1);
    assert_eq!(slowed.expect(429)["code"], "too_many_requests");
    server.get("/monitors").await.expect(200);
}

#[tokio::test]
async fn a_session_reads_from_anywhere_and_changes_from_our_own_pages_alone() {
    let server = Server::start().await;
    let app = server.server.app();
    app.store
        .begin_session(
            app.now(),
            &app.keys.hash("session-of-a-test"),
            None,
            Span::from_seconds(60),
        )
        .await
        .unwrap();
    let cookie = ("cookie", "theme=dark; systole_session=session-of-a-test");
    let host = server.server.address.to_string();
    let ours = format!("http://{host}");
    let input = json!({"schedule": {"every": "1h"}});
    for (headers, status) in [
        (vec![cookie, ("sec-fetch-site", "same-origin")], 200),
        (vec![cookie, ("origin", ours.as_str())], 200),
        (vec![cookie, ("sec-fetch-site", "cross-site")], 403),
        (vec![cookie, ("origin", "https://evil.example")], 403),
        (vec![cookie], 403),
        (
            vec![
                ("cookie", "systole_session=unknown"),
                ("sec-fetch-site", "same-origin"),
            ],
            401,
        ),
    ] {
        let reply = server
            .call_as("", "POST", "/schedules/preview", input.clone(), &headers)
            .await;
        assert_eq!(reply.status, status, "{headers:?}: {}", reply.body);
    }
    server
        .call_as(
            "",
            "GET",
            "/monitors",
            Value::Null,
            &[cookie, ("sec-fetch-site", "cross-site")],
        )
        .await
        .expect(200);
    let basic = server
        .call_as(
            "",
            "GET",
            "/monitors",
            Value::Null,
            &[("authorization", "Basic eDp5"), cookie],
        )
        .await;
    assert!(
        basic.expect(401)["detail"]
            .as_str()
            .unwrap()
            .contains("Bearer")
    );
}

#[tokio::test]
async fn metrics_take_a_token_of_their_role_or_of_one_above() {
    let server = Server::start().await;
    let (metrics, agent) = (server.token("metrics").await, server.token("agent").await);
    for (token, status) in [
        (metrics.as_str(), 200),
        (ADMIN, 200),
        (agent.as_str(), 403),
        ("wrong", 401),
        ("", 401),
    ] {
        let request = http::Request::get("/metrics")
            .header("host", "x")
            .header("authorization", format!("Bearer {token}"));
        let reply = server
            .send(request.body(http_body_util::Full::default()).unwrap())
            .await;
        assert_eq!(reply.status, status, "{token}");
    }
}
