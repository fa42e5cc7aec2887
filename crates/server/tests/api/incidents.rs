//! Incidents: taken, resolved, annotated.

use serde_json::{Value, json};

use crate::support::{Server, path};

fn kinds(incident: &Value) -> Vec<&str> {
    incident["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn an_incident_is_taken_annotated_and_resolved_by_people() {
    let server = Server::start().await;
    let monitor = server.heartbeat("invoices").await;
    server.ping(&monitor, "/3", "disk full").await;
    let listed = server.get("/incidents?state=open").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed:#}");
    let incident = server.get("/incidents/inc_1").await.expect(200);
    for (field, expected) in [
        ("number", json!(1)),
        ("state", json!("triggered")),
        ("severity", json!("critical")),
        ("title", json!("invoices is down")),
        ("reason", json!("exit_status")),
        ("reopened", json!(0)),
        ("resolved_at", Value::Null),
        (
            "url",
            json!(format!("http://{}/incidents/1", server.server.address)),
        ),
    ] {
        assert_eq!(incident[field], expected, "{field}: {incident:#}");
    }
    assert_eq!(
        (&incident["monitor"]["name"], &incident["monitor"]["state"]),
        (&json!("invoices"), &json!("down"))
    );
    assert_eq!(
        (
            &incident["evidence"]["exit_status"],
            &incident["evidence"]["message"]
        ),
        (&json!(3), &json!("disk full"))
    );
    assert!(
        incident["events"][0]["text"]
            .as_str()
            .unwrap()
            .contains("Exit status 3."),
        "{incident:#}"
    );

    let taken = server
        .post("/incidents/1/acknowledge", json!({"note": "on it"}))
        .await
        .expect(200);
    assert_eq!(
        (&taken["state"], &taken["acknowledged_by"]),
        (&json!("acknowledged"), &json!("administrator's token"))
    );
    assert_eq!(
        taken["events"][1]["text"],
        "Acknowledged by administrator's token: on it"
    );
    let again = server
        .post("/incidents/1/acknowledge", Value::Null)
        .await
        .expect(200);
    assert_eq!(
        kinds(&again),
        ["triggered", "acknowledged"],
        "taking twice changes nothing"
    );
    let kept = server
        .post("/incidents/1/acknowledge", json!({"note": "still"}))
        .await
        .expect(200);
    assert_eq!(
        kinds(&kept),
        ["triggered", "acknowledged", "note"],
        "but a word is kept"
    );
    let noted = server
        .post("/incidents/inc_1/note", json!({"text": "cleared /var"}))
        .await
        .expect(201);
    assert_eq!(noted["events"][3]["text"], "cleared /var");
    let resolved = server
        .post("/incidents/1/resolve", json!({"note": "done"}))
        .await
        .expect(200);
    assert_eq!(
        (&resolved["state"], resolved["resolved_at"].is_string()),
        (&json!("resolved"), true)
    );

    for action in ["acknowledge", "resolve"] {
        let refused = server
            .post(&format!("/incidents/1/{action}"), Value::Null)
            .await
            .expect(409);
        assert_eq!(refused["code"], "not_open", "{action}");
        assert!(
            refused["detail"]
                .as_str()
                .unwrap()
                .contains("it is resolved"),
            "{refused:#}"
        );
    }
    let events = server
        .get(&path("monitors", &monitor, "/events?limit=2"))
        .await
        .expect(200);
    assert_eq!(
        (
            &events["items"][0]["kind"],
            &events["items"][0]["incident_id"]
        ),
        (&json!("resolved"), &json!("inc_1"))
    );
    let rest = format!("/events?cursor={}", events["next"].as_str().unwrap());
    let rest = server
        .get(&path("monitors", &monitor, &rest))
        .await
        .expect(200);
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next"]),
        (3, &Value::Null)
    );
}

#[tokio::test]
async fn incidents_are_listed_by_state_and_monitor() {
    let server = Server::start().await;
    let mut monitors = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let monitor = server.heartbeat(name).await;
        server.ping(&monitor, "/fail", "").await;
        monitors.push(monitor);
    }
    server
        .post("/incidents/2/acknowledge", Value::Null)
        .await
        .expect(200);
    server.ping(&monitors[2], "", "").await;
    for (query, expected) in [
        ("", vec![4, 3, 2, 1]),
        ("?state=open", vec![4, 2, 1]),
        ("?state=triggered", vec![4, 1]),
        ("?state=triggered&limit=1", vec![4]),
        ("?state=acknowledged&limit=1", vec![2]),
        ("?state=resolved", vec![3]),
        ("?monitor=mon_1", vec![1]),
        ("?monitor=mon_1&state=resolved", vec![]),
        ("?cursor=3", vec![2, 1]),
    ] {
        let page = server.get(&format!("/incidents{query}")).await.expect(200);
        let numbers: Vec<i64> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["number"].as_i64().unwrap())
            .collect();
        assert_eq!(numbers, expected, "{query}");
    }
    for (query, field) in [
        ("?state=closed", "state"),
        ("?monitor=1", "monitor"),
        ("?status=open", "status"),
    ] {
        assert_eq!(
            server
                .get(&format!("/incidents{query}"))
                .await
                .only_error(400)
                .0,
            field,
            "{query}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_done_to_an_incident_says_why() {
    let server = Server::start().await;
    let monitor = server.heartbeat("a").await;
    server.ping(&monitor, "/fail", "").await;
    for (action, body, status, code) in [
        ("note", json!({"text": " "}), 422, "invalid"),
        ("note", Value::Null, 400, "malformed_json"),
        ("acknowledge", json!({"timeout": "1h"}), 422, "invalid"),
        ("acknowledge", json!({"nite": "x"}), 422, "invalid"),
        ("snooze", json!({"until": "1h"}), 501, "not_built"),
    ] {
        let refused = server
            .post(&format!("/incidents/1/{action}"), body.clone())
            .await
            .expect(status);
        assert_eq!(refused["code"], code, "{action} {body}");
    }
    server
        .call("DELETE", &path("monitors", &monitor, ""), Value::Null)
        .await
        .expect(204);
    let incident = server.get("/incidents/1").await.expect(200);
    assert_eq!(
        (&incident["state"], &incident["monitor"]["state"]),
        (&json!("resolved"), &json!("deleted"))
    );
    assert_eq!(
        server
            .post("/incidents/1/note", json!({"text": "late"}))
            .await
            .expect(409)["code"],
        "closed"
    );
}
