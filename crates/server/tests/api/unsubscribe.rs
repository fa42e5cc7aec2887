//! The unsubscribe link of letters, against a real mail server.

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::mail::{MailServer, make, test_of};
use crate::support::{Reply, Server, path};

/// Longer than a line of a letter's head.
const BASE: &str =
    "https://systole.a-rather-long-name-of-a-host-as-platforms-give-them-out.example.org/path";

async fn server() -> Server {
    Server::with(|config| config.base_url = Some(BASE.to_owned())).await
}

/// Presses the button of the page.
async fn press(server: &Server, link: &str, origin: &str, address: &str) -> Reply {
    let body = Serializer::new(String::new())
        .append_pair("address", address)
        .finish();
    let request = http::Request::post(link)
        .header("host", server.server.address.to_string())
        .header("origin", origin)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(body)));
    server.send(request.unwrap()).await
}

async fn look(server: &Server, link: &str) -> Reply {
    let request = http::Request::get(link).body(Full::new(Bytes::new()));
    server.send(request.unwrap()).await
}

fn origin(server: &Server) -> String {
    format!("http://{}", server.server.address)
}

fn text(reply: &Reply) -> &str {
    reply.body.as_str().unwrap()
}

/// Each answer in a process of its own would have another count; here addresses differ, and 5 a minute are free.
async fn taken_off(server: &Server, link: &str, address: &str) {
    let reply = press(server, link, &origin(server), address).await;
    assert_eq!(reply.status, 200, "{}", text(&reply));
    assert!(
        text(&reply).contains("it is off it now"),
        "{}",
        text(&reply)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_to_several_says_how_to_leave_the_list() {
    let server = server().await;
    let mut mail = MailServer::start("starttls", json!({"auth": true}));
    let channel = make(&server, "mail", mail.config("starttls")).await;
    test_of(&server, &channel).await;
    let letter = mail.letter().await;
    let link = letter.head("list-unsubscribe");
    let token = server.server.app().keys.unsubscribe_token(1);
    assert_eq!(link, format!("<{BASE}/unsubscribe/{token}>"));
    let id = letter.head("list-id");
    assert!(
        id.starts_with("<channel-1.") && id.ends_with(".example.org>"),
        "{id}"
    );
    assert_eq!(
        letter.head("list-unsubscribe-post"),
        "",
        "the link names no recipient"
    );
    assert_eq!(letter.0["defects"], json!([]));

    let mut config = channel["config"].clone();
    config["to"] = json!(["on-call@example.org"]);
    let change = json!({"config": config});
    let at = path("channels", &channel, "");
    server.call("PATCH", &at, change).await.expect(200);
    test_of(&server, &channel).await;
    let letter = mail.letter().await;
    for name in ["list-id", "list-unsubscribe"] {
        assert_eq!(letter.head(name), "", "one recipient is no list");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_nobody_could_reach_is_not_sent() {
    for base in [
        None,
        Some("https://127.0.0.1:8443"),
        Some("http://localhost"),
    ] {
        let server = Server::with(|config| config.base_url = base.map(str::to_owned)).await;
        let mut mail = MailServer::start("starttls", json!({"auth": true}));
        let channel = make(&server, "mail", mail.config("starttls")).await;
        test_of(&server, &channel).await;
        assert_eq!(mail.letter().await.head("list-unsubscribe"), "", "{base:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_presses_the_button_is_taken_off_and_told() {
    let server = server().await;
    let mut mail = MailServer::start("starttls", json!({"auth": true}));
    let channel = make(&server, "mail", mail.config("starttls")).await;
    let token = server.server.app().keys.unsubscribe_token(1);
    let link = format!("/unsubscribe/{token}");

    let page = look(&server, &link).await;
    assert_eq!(page.status, 200);
    assert!(text(&page).contains("systole@example.org"), "the sender");
    assert!(
        !text(&page).contains("on-call@example.org"),
        "never the list"
    );

    taken_off(&server, &link, "stranger@example.org").await;
    let at = path("channels", &channel, "");
    let same = server.get(&at).await.expect(200);
    assert_eq!(
        (&same["rev"], &same["unsubscribed"]),
        (&json!(1), &json!([]))
    );

    taken_off(&server, &link, " Lead@Example.org ").await;
    let farewell = mail.letter().await;
    assert_eq!(farewell.0["to"], json!(["lead@example.org"]));
    assert_eq!(farewell.head("to"), "lead@example.org");
    assert_eq!(
        farewell.head("subject"),
        "You were taken off a list of alerts"
    );
    assert_eq!(farewell.head("auto-submitted"), "auto-generated");
    assert_eq!(farewell.0["defects"], json!([]));
    let said = farewell.0["parts"]["text/plain"].as_str().unwrap();
    assert!(
        said.contains(BASE) && said.contains("If it was not you, tell your administrator"),
        "{said}"
    );
    let changed = server.get(&at).await.expect(200);
    assert_eq!(changed["config"]["to"], json!(["on-call@example.org"]));
    assert_eq!(changed["unsubscribed"][0]["address"], "lead@example.org");
    assert!(changed["unsubscribed"][0]["at"].is_string());
    test_of(&server, &channel).await;
    assert_eq!(mail.letter().await.0["to"], json!(["on-call@example.org"]));

    // The last one stays, whoever asks.
    for address in ["on-call@example.org", "stranger@example.org"] {
        let reply = press(&server, &link, &origin(&server), address).await;
        assert_eq!(reply.status, 409);
        assert!(
            text(&reply).contains("one address left"),
            "{}",
            text(&reply)
        );
    }
    // An editor who enters it again has answered that.
    let mut config = changed["config"].clone();
    config["to"] = json!(["on-call@example.org", "lead@example.org"]);
    let change = json!({"config": config});
    let again = server.call("PATCH", &at, change).await.expect(200);
    assert_eq!(again["unsubscribed"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_of_one_channel_and_of_mail_alone() {
    let server = server().await;
    let config = json!({"host": "mail.example.org", "from": "a@example.org", "to": ["b@example.org", "c@example.org"]});
    let mail = make(&server, "mail", config).await;
    let webhook =
        json!({"name": "hook", "kind": "webhook", "config": {"url": "https://a.example/"}});
    server.post("/channels", webhook).await.expect(201);
    let app = server.server.app();
    let mine = app.keys.unsubscribe_token(1);
    let forged = mine.replacen('1', "2", 1);
    for (token, status) in [
        (mine.clone(), 200),
        (forged, 404),
        (app.keys.unsubscribe_token(2), 404),
        (app.keys.unsubscribe_token(3), 404),
        ("1".to_owned(), 404),
    ] {
        let link = format!("/unsubscribe/{token}");
        assert_eq!(look(&server, &link).await.status, status, "{token}");
    }
    let link = format!("/unsubscribe/{mine}");
    let foreign = press(&server, &link, "https://evil.example", "c@example.org").await;
    assert_eq!(foreign.status, 403);
    let wrong = press(&server, &link, &origin(&server), "c").await;
    assert_eq!(wrong.status, 422);
    for _ in 0..4 {
        press(&server, &link, &origin(&server), "nobody@example.org").await;
    }
    let sixth = press(&server, &link, &origin(&server), "c@example.org").await;
    assert_eq!(sixth.status, 429, "guesses are counted");
    assert!(!sixth.header("retry-after").is_empty());
    let at = path("channels", &mail, "");
    let same = server.get(&at).await.expect(200);
    assert_eq!(
        same["config"]["to"],
        json!(["b@example.org", "c@example.org"])
    );
    server.call("DELETE", &at, Value::Null).await.expect(204);
    assert_eq!(look(&server, &link).await.status, 404, "it is gone");
}
