//! Many monitors in one request.

use serde_json::{Value, json};

use crate::support::{ADMIN, Reply, Server};

fn input(name: &str, more: Value) -> Value {
    let mut input = json!({"kind": "heartbeat", "name": name, "schedule": {"every": "1h"}});
    let more = more.as_object().unwrap().clone();
    input.as_object_mut().unwrap().extend(more);
    input
}

async fn bulk(server: &Server, items: &[Value]) -> Reply {
    server.post("/monitors/bulk", json!({"items": items})).await
}

/// The field and the message of every error.
fn errors(reply: Reply, status: u16) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let body = reply.expect(status);
    let errors = body["errors"].as_array().unwrap().iter();
    errors
        .map(|error| (text(&error["field"]), text(&error["message"])))
        .collect()
}

async fn count(server: &Server) -> usize {
    let shown = server.get("/monitors?limit=500").await.expect(200);
    shown["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn many_are_made_in_order_as_one_would_be_and_are_known_to_check_ins_at_once() {
    let server = Server::start().await;
    let items = [
        input("Nightly \"Backup\" \\ ☂", json!({})),
        input(
            "b",
            json!({"slug": "bee", "token": "imported_token-1", "labels": {"team": "ops"}}),
        ),
        input(
            "c",
            json!({"schedule": {"cron": "0 2 * * *", "timezone": "Europe/Oslo"}, "grace": "9m"}),
        ),
        input(
            "d",
            json!({"schedule": {"cron": "0 2 * * *", "timezone": "Europe/Oslo"}, "grace": "9m"}),
        ),
    ];
    let made = bulk(&server, &items).await.expect(201);
    let made = made["items"].as_array().unwrap();
    assert_eq!(made.len(), items.len());
    for (made, item) in made.iter().zip(&items) {
        assert_eq!(made["name"], item["name"]);
        let path = format!("/monitors/{}", made["id"].as_str().unwrap());
        let read = server.get(&path).await.expect(200);
        assert_eq!(&read, made, "the reply is what is there");
    }
    assert_eq!(made[0]["slug"], "nightly-backup");
    assert_eq!(
        (&made[1]["slug"], &made[1]["token"]),
        (&json!("bee"), &json!("imported_token-1"))
    );
    assert_eq!(made[2]["schedule"]["timezone"], "Europe/Oslo");
    for made in made {
        server.ping(made, "", "").await;
    }
    let up = server.get("/monitors?state=up").await.expect(200);
    assert_eq!(up["items"].as_array().unwrap().len(), items.len());
    let named = server
        .get("/monitors?kind=heartbeat&name=b&name=Nightly%20%22Backup%22%20%5C%20%E2%98%82&name=nobody")
        .await
        .expect(200);
    let named: Vec<&Value> = named["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["name"])
        .collect();
    assert_eq!(named, ["b", "Nightly \"Backup\" \\ ☂"]);
}

#[tokio::test]
async fn every_wrong_field_of_every_item_is_named_and_nothing_is_made() {
    let server = Server::start().await;
    let items = [
        input("fine", json!({})),
        json!("nonsense"),
        input("", json!({"grcae": "1m"})),
        input(
            "d",
            json!({"schedule": {"cron": "0 2 * * *", "timezone": "Mars/Base"}, "channels": ["nobody"]}),
        ),
        input("fine", json!({"slug": "one"})),
        input("f", json!({"slug": "one", "token": "imported_token-1"})),
        input("g", json!({"token": "imported_token-1"})),
        json!({"kind": "endpoint"}),
    ];
    let found = errors(bulk(&server, &items).await, 422);
    for (field, part) in [
        ("items[1]", "must be an object"),
        ("items[2].name", "1 to 200"),
        ("items[2].grcae", "did you mean \"grace\"?"),
        ("items[3].channels[0]", "nobody"),
        ("items[3].schedule.timezone", "Mars/Base"),
        ("items[4].name", "is the name of \"fine\" (items[0]) too"),
        ("items[5].slug", "is the slug of \"fine\" (items[4]) too"),
        ("items[6].token", "is the token of \"f\" (items[5]) too"),
        ("items[7].kind", "not built yet"),
    ] {
        let named = found.iter().find(|(named, _)| named == field);
        let (_, message) = named.unwrap_or_else(|| panic!("{field} is not in {found:#?}"));
        assert!(message.contains(part), "{field}: {message}");
    }
    assert_eq!(found.len(), 9, "{found:#?}");
    for (body, field, part) in [
        (json!({}), "items", "required"),
        (json!({"items": {}}), "items", "a list of monitors"),
        (json!({"items": []}), "items", "1 to 1000"),
        (
            json!({"items": vec![input("a", json!({})); 1_001]}),
            "items",
            "has 1001 monitors; there can be 1000",
        ),
        (
            json!({"items": [input("a", json!({}))], "itmes": 1}),
            "itmes",
            "did you mean \"items\"?",
        ),
    ] {
        let (named, message) = server.post("/monitors/bulk", body).await.only_error(422);
        assert_eq!(named, field, "{message}");
        assert!(message.contains(part), "{message}");
    }
    let all_wrong: Vec<Value> = (0..1_000)
        .map(|_| json!({"kind": "heartbeat", "a": 1, "b": 2}))
        .collect();
    let found = errors(bulk(&server, &all_wrong).await, 422);
    for index in 0..1_000 {
        let place = format!("items[{index}].");
        assert!(
            found.iter().any(|(field, _)| field.starts_with(&place)),
            "{place} is not named"
        );
    }
    assert!(found.len() < 2_100, "{} errors", found.len());
    assert_eq!(count(&server).await, 0);
}

#[tokio::test]
async fn what_others_have_is_named_for_every_item_and_nothing_is_made() {
    let server = Server::start().await;
    let there = [
        input("a", json!({"slug": "one"})),
        input("b", json!({"token": "imported_token-1"})),
    ];
    bulk(&server, &there).await.expect(201);
    let key = server.post("/ping-key", Value::Null).await.expect(201)["ping_key"].clone();
    let items = [
        input("new", json!({})),
        input("a", json!({"slug": "one"})),
        input("c", json!({"token": "imported_token-1"})),
        input("d", json!({"token": key})),
        input("b", json!({})),
    ];
    let reply = bulk(&server, &items).await;
    assert_eq!(reply.body["code"], "taken");
    let found: Vec<String> = errors(reply, 409)
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(
        found,
        [
            "items[1].name",
            "items[1].slug",
            "items[2].token",
            "items[3].token",
            "items[4].name"
        ]
    );
    let (field, message) = bulk(&server, &items[4..]).await.only_error(409);
    assert_eq!(
        (field.as_str(), message.as_str()),
        ("items[0].name", "is taken by another monitor")
    );
    assert_eq!(count(&server).await, 2);
}

#[tokio::test]
async fn slugs_made_from_names_are_numbered_around_those_that_are_in_use() {
    let server = Server::start().await;
    let first = [input("x", json!({})), input("X!", json!({"slug": "x-3"}))];
    bulk(&server, &first).await.expect(201);
    let items = [
        input("x 2", json!({})),
        input("X", json!({})),
        input("x ☂", json!({})),
        input("given", json!({"slug": "x-5"})),
        input("y", json!({})),
        input("Y", json!({})),
    ];
    let made = bulk(&server, &items).await.expect(201);
    let slugs: Vec<&Value> = made["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["slug"])
        .collect();
    assert_eq!(slugs, ["x-2", "x-4", "x-6", "x-5", "y", "y-2"]);
    // Names without a letter that a slug can have: all of them are made from one word.
    let umbrellas: Vec<Value> = (1..=199)
        .map(|n| input(&"☂".repeat(n), json!({})))
        .collect();
    let made = bulk(&server, &umbrellas).await.expect(201);
    assert_eq!(made["items"][0]["slug"], "monitor");
    assert_eq!(made["items"][198]["slug"], "monitor-199");
    let more = [
        input("♥", json!({})),
        input("♥♥", json!({})),
        input("z", json!({})),
    ];
    let (field, message) = bulk(&server, &more).await.only_error(422);
    assert_eq!(field, "items[1].slug");
    assert_eq!(
        message,
        "200 monitors have slugs like \"monitor\"; give one"
    );
    bulk(&server, &more[..1]).await.expect(201);
    let (field, _) = server
        .post("/monitors", more[1].clone())
        .await
        .only_error(422);
    assert_eq!(field, "slug");
}

#[tokio::test]
async fn a_thousand_are_made_by_those_who_may_in_a_body_of_up_to_four_mebibytes() {
    let server = Server::start().await;
    let description = "d".repeat(3_900);
    let items: Vec<Value> = (0..1_000)
        .map(|n| {
            input(
                &format!("job {n}"),
                json!({"description": description, "schedule": {"every": 60 + n}}),
            )
        })
        .collect();
    let viewer = server.token("viewer").await;
    let body = json!({"items": items});
    let refused = server
        .call_as(&viewer, "POST", "/monitors/bulk", body.clone(), &[])
        .await;
    assert_eq!(refused.expect(403)["code"], "forbidden");
    let made = server
        .call_as(ADMIN, "POST", "/monitors/bulk", body, &[])
        .await
        .expect(201);
    assert_eq!(made["items"].as_array().unwrap().len(), 1_000);
    server.ping(&made["items"][999], "", "").await;
    let larger = json!({"items": [input(&"x".repeat(5 << 20), json!({}))]});
    let refused = server.post("/monitors/bulk", larger).await.expect(413);
    assert!(
        refused["detail"].as_str().unwrap().contains("4 MiB"),
        "{refused}"
    );
    let single = server
        .post("/monitors", input(&"x".repeat(2 << 20), json!({})))
        .await;
    assert!(
        single.expect(413)["detail"]
            .as_str()
            .unwrap()
            .contains("1 MiB")
    );
}
