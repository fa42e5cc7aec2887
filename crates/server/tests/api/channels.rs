//! Channels and deliveries.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{ADMIN, Server, path};

/// A receiver that answers each request with this status; says what came.
async fn receiver(status: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "http://{}/hook/with-a-secret-path?and=query",
        listener.local_addr().unwrap()
    );
    let (sender, received) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut text = String::new();
                let mut buffer = vec![0; 16_384];
                while let Ok(read) = stream.read(&mut buffer).await {
                    text.push_str(&String::from_utf8_lossy(&buffer[..read]));
                    let length = text
                        .to_lowercase()
                        .split_once("content-length: ")
                        .and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
                    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.len());
                    if read == 0
                        || body
                            .is_some_and(|body| length.is_none_or(|length: usize| body >= length))
                    {
                        break;
                    }
                }
                _ = sender.send(text);
                _ = stream
                    .write_all(
                        format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok").as_bytes(),
                    )
                    .await;
            });
        }
    });
    (url, received)
}

#[tokio::test]
async fn a_channels_secrets_are_shown_once_and_stay() {
    let server = Server::start().await;
    let viewer = server.token("viewer").await;
    let config = json!({"url": "https://hooks.example.com/t0ken?k=v", "headers": {"x-api-key": "hidden-value"}});
    let made = server
        .post(
            "/channels",
            json!({"name": "on-call", "kind": "webhook", "config": config}),
        )
        .await
        .expect(201);
    let secret = made["config"]["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("whsec_"), "{made:#}");
    for (field, expected) in [
        ("rev", json!(1)),
        ("default", json!(true)),
        ("system", json!(false)),
        ("remind_every", json!("4h")),
        ("digest", json!(false)),
    ] {
        assert_eq!(made[field], expected, "{field}");
    }
    let at = path("channels", &made, "");
    let shown = json!({"url": "https://hooks.example.com/t0ken?k=v", "secret": "(secret)", "headers": {"x-api-key": "(secret)"}});
    let read = server.get(&at).await.expect(200);
    assert_eq!(read["config"], shown);
    let hidden = server
        .call_as(&viewer, "GET", &at, Value::Null, &[])
        .await
        .expect(200);
    assert_eq!(
        hidden["config"]["url"], "https://hooks.example.com:443",
        "a URL's path is a credential"
    );
    for place in ["/channels", &at] {
        let text = server.get(place).await.expect(200).to_string();
        assert!(
            !text.contains(&secret) && !text.contains("hidden-value"),
            "{text}"
        );
    }

    let same = server
        .call("PATCH", &at, json!({"config": shown}))
        .await
        .expect(200);
    assert_eq!(
        same["rev"], 1,
        "what was redacted stays, so nothing has changed"
    );
    let elsewhere = json!({"url": "https://b.example.com/", "headers": {"x-api-key": "(secret)"}});
    let (field, message) = server
        .call("PATCH", &at, json!({"config": elsewhere}))
        .await
        .only_error(422);
    assert_eq!(field, "config.headers");
    assert!(message.contains("given anew"), "{message}");
    let changed = server
        .call(
            "PATCH",
            &at,
            json!({"config": {"url": "https://b.example.com/"}}),
        )
        .await
        .expect(200);
    assert_eq!(
        (
            &changed["config"]["secret"],
            changed["config"].get("headers")
        ),
        (&json!("(secret)"), None)
    );
    let stale = server
        .call_as(
            ADMIN,
            "PATCH",
            &at,
            json!({"name": "x"}),
            &[("if-match", "\"1\"")],
        )
        .await;
    stale.expect(412);
    let stored = server
        .server
        .app()
        .store
        .channel(1, 1)
        .await
        .unwrap()
        .unwrap();
    let opened = server
        .server
        .app()
        .keys
        .open("channel", &stored.fields.config_cipher)
        .unwrap();
    assert!(
        String::from_utf8(opened).unwrap().contains(&secret),
        "the signing secret outlives a change"
    );
    server.call("DELETE", &at, Value::Null).await.expect(204);
    server.get(&at).await.expect(404);
}

#[tokio::test]
async fn wrong_channels_are_refused_at_their_field() {
    let server = Server::start().await;
    for (input, field, rule) in [
        (
            json!({"kind": "webhook", "config": {"url": "https://a.example/"}}),
            "name",
            "required",
        ),
        (json!({"name": "a", "config": {}}), "kind", "required"),
        (
            json!({"name": "a", "kind": "webhok", "config": {}}),
            "kind",
            "did you mean webhook?",
        ),
        (
            json!({"name": "a", "kind": "teams", "config": {}}),
            "kind",
            "not built yet",
        ),
        (
            json!({"name": "a", "kind": "webhook", "config": {}}),
            "config.url",
            "required",
        ),
        (
            json!({"name": "a", "kind": "webhook", "config": {"url": "ftp://a.example/"}}),
            "config.url",
            "http",
        ),
        (
            json!({"name": "a", "kind": "webhook", "config": {"url": "https://a.example/", "sekret": 1}}),
            "config.sekret",
            "secret",
        ),
        (
            json!({"name": "a", "kind": "webhook", "config": {"url": "https://a.example/", "secret": "x"}}),
            "config.secret",
            "whsec_",
        ),
        (
            json!({"name": "chn_7", "kind": "webhook", "config": {"url": "https://a.example/"}}),
            "name",
            "id",
        ),
        (
            json!({"name": "a", "kind": "webhook", "config": {"url": "https://a.example/"}, "remind_every": "often"}),
            "remind_every",
            "duration",
        ),
        (
            json!({"name": "a", "kind": "webhook", "config": {"url": "https://a.example/"}, "sytem": true}),
            "sytem",
            "system",
        ),
    ] {
        let (named, message) = server
            .post("/channels", input.clone())
            .await
            .only_error(422);
        assert_eq!(named, field, "{input}: {message}");
        assert!(message.contains(rule), "{input}: {message}");
    }
    let input = json!({"name": "a", "kind": "webhook", "config": {"url": "https://a.example/"}});
    server.post("/channels", input.clone()).await.expect(201);
    assert_eq!(
        server.post("/channels", input).await.only_error(409).0,
        "name"
    );
    assert_eq!(
        server
            .call("PATCH", "/channels/chn_1", json!({"kind": "slack"}))
            .await
            .only_error(422)
            .0,
        "kind"
    );
}

#[tokio::test]
async fn a_monitor_names_its_channels_by_name_or_id() {
    let server = Server::start().await;
    for name in ["one", "two"] {
        let input = json!({"name": name, "kind": "webhook", "default": name == "one", "config": {"url": "https://a.example/"}});
        server.post("/channels", input).await.expect(201);
    }
    let monitor = server.heartbeat("a").await;
    let at = path("monitors", &monitor, "");
    let has_no_channel = |monitor: &Value| monitor["warnings"].to_string().contains("no_channel");
    assert!(!has_no_channel(&monitor), "the default one");
    for (channels, shown, silent) in [
        (
            json!(["two", "chn_1", "chn_2"]),
            json!(["two", "one"]),
            false,
        ),
        (json!([]), json!([]), true),
        (json!(["chn_2"]), json!(["two"]), false),
        (Value::Null, Value::Null, false),
    ] {
        let changed = server
            .call("PATCH", &at, json!({"channels": channels}))
            .await
            .expect(200);
        assert_eq!(
            (&changed["channels"], has_no_channel(&changed)),
            (&shown, silent),
            "{channels}"
        );
    }
    let (field, message) = server
        .call("PATCH", &at, json!({"channels": ["one", "tow"]}))
        .await
        .only_error(422);
    assert_eq!(
        (field.as_str(), message.contains("did you mean \"two\"?")),
        ("channels[1]", true),
        "{message}"
    );
}

#[tokio::test]
async fn a_test_says_how_it_went() {
    let server = Server::start().await;
    for (status, outcome) in [("200 OK", "delivered"), ("500 Broken", "http_5xx")] {
        let (url, mut received) = receiver(status).await;
        let made = server
            .post(
                "/channels",
                json!({"name": status, "kind": "webhook", "config": {"url": url}}),
            )
            .await
            .expect(201);
        let tried = server
            .post(&path("channels", &made, "/test"), Value::Null)
            .await
            .expect(200);
        assert_eq!(
            (&tried["outcome"], &tried["status"]),
            (&json!(outcome), &json!(status[..3].parse::<u16>().unwrap()))
        );
        let request = received.recv().await.unwrap();
        assert!(
            request.contains("channel.test") && request.contains("webhook-signature"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn slack_is_told_in_blocks_of_an_incident_and_of_its_end() {
    let server = Server::start().await;
    let (url, mut received) = receiver("200 OK").await;
    let input = json!({"name": "chat", "kind": "slack", "config": {"url": url}});
    let made = server.post("/channels", input).await.expect(201);
    assert_eq!(
        (&made["config"]["url"], &made["digest"]),
        (&json!("(secret)"), &json!(true))
    );
    let monitor = server.heartbeat("night <!channel> & *job*").await;
    for (suffix, headline, text) in [
        (
            "/7",
            "🔴 Down: night <!channel> & *job*",
            "night &lt;!channel&gt; &amp; ∗job∗ is down. The job ended with a non-zero exit status.",
        ),
        (
            "",
            "✅ Resolved: night <!channel> & *job*",
            "night &lt;!channel&gt; &amp; ∗job∗ is up. The job reported a success.",
        ),
    ] {
        server.ping(&monitor, suffix, "").await;
        let request = received.recv().await.unwrap();
        let body = request.split_once("\r\n\r\n").unwrap().1;
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["blocks"][0]["text"]["text"], headline);
        let said = body["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(said.starts_with(text), "{said}");
    }
    wait_for(&server, "delivered").await;
    let deliveries = server.get("/deliveries").await.expect(200);
    assert!(!deliveries.to_string().contains("with-a-secret-path"));
}

#[tokio::test]
async fn deliveries_are_listed_and_dead_ones_replayed() {
    let server = Server::start().await;
    // Gone for good: no second attempt.
    let (url, mut received) = receiver("410 Gone").await;
    let channel = server
        .post(
            "/channels",
            json!({"name": "gone", "kind": "webhook", "config": {"url": url}}),
        )
        .await
        .expect(201);
    let monitor = server.heartbeat("a").await;
    server.ping(&monitor, "/fail", "").await;
    received.recv().await.unwrap();
    let dead = wait_for(&server, "dead").await;
    for (field, expected) in [
        ("type", json!("incident.triggered")),
        ("channel", json!("gone")),
        ("channel_id", channel["id"].clone()),
        ("incident_number", json!(1)),
        ("monitor", json!("a")),
        ("next_attempt_at", Value::Null),
    ] {
        assert_eq!(dead[field], expected, "{field}: {dead:#}");
    }
    assert_eq!(
        (
            &dead["attempts"][0]["status"],
            dead["attempts"].as_array().unwrap().len()
        ),
        (&json!(410), 1)
    );
    assert!(!dead.to_string().contains("with-a-secret-path"), "{dead:#}");
    let replayed = server
        .post(&path("deliveries", &dead, "/replay"), Value::Null)
        .await
        .expect(200);
    assert_eq!(replayed["idempotency_key"], dead["idempotency_key"]);
    received.recv().await.unwrap();
    wait_for(&server, "dead").await;
    server
        .call("DELETE", &path("channels", &channel, ""), Value::Null)
        .await
        .expect(204);
    let nowhere = server
        .post(&path("deliveries", &dead, "/replay"), Value::Null)
        .await
        .expect(409);
    assert_eq!(nowhere["code"], "no_channel");
    assert_eq!(
        server.get("/deliveries?incident=2").await.expect(200)["items"],
        json!([])
    );
    assert_eq!(
        server.get("/deliveries?state=lost").await.only_error(400).0,
        "state"
    );
    server
        .post("/deliveries/dlv_99/replay", Value::Null)
        .await
        .expect(404);
}

/// The receiver has answered; what that means is written a moment later.
async fn wait_for(server: &Server, state: &str) -> Value {
    loop {
        let page = server
            .get(&format!("/deliveries?state={state}"))
            .await
            .expect(200);
        if let Some(delivery) = page["items"].get(0) {
            return delivery.clone();
        }
        tokio::task::yield_now().await;
    }
}
