//! Text of strangers in every place that takes one, and every place where somebody sees it: pages, terminals, the log, webhooks,
//! Slack, mail. Nothing of it may command, disguise itself, or end what it stands in.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;
#[expect(dead_code, reason = "other tests need the rest")]
mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use common::http::{Reply, ask, head, send};
use common::{Server, directory, serve, systole, until};
use serde_json::{Value, json};
use support::Fake;

/// What somebody may send.
const TEXTS: &[&[u8]] = &[
    b"plain \xe2\x98\x82",
    b"<!channel> <!here> wake up",
    b"<@U123> <https://evil.example|click> *bold* `code`",
    b"x\r\nBcc: evil@evil.example\r\n\r\nX-Injected: 1",
    b"\x1b[2J\x1b]0;evil\x07 red \xc2\x9b31m",
    "cod\u{202e}txt.exe \u{2066}a\u{2069} \u{200b}\u{feff}".as_bytes(),
    b"<script>evil()</script>\"'><img src=x onerror=evil()>",
    b"{{7*7}} {% evil %} ${evil} %s%n",
    b"nul\0nul \x7f",
    b"\xff\xfe broken \xc3( utf-8",
    &[b'W'; 200],
];

/// What takes mail and keeps all that was said.
fn mail_server() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::new(Mutex::new(String::new()));
    let memory = Arc::clone(&said);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            _ = stream.write_all(b"220 mail.test\r\n");
            let (mut is_letter, mut letter) = (false, String::new());
            for line in lines.map_while(Result::ok) {
                let answer = match (is_letter, line.as_str()) {
                    (true, ".") => {
                        is_letter = false;
                        memory.lock().unwrap().push_str(&format!("{letter}\n.\n"));
                        "250 taken\r\n"
                    }
                    (true, line) => {
                        letter.push_str(line);
                        letter.push('\n');
                        continue;
                    }
                    (false, "DATA") => {
                        is_letter = true;
                        "354 go on\r\n"
                    }
                    _ => "250 mail.test\r\n",
                };
                _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    (port, said)
}

/// Shows itself and moves nothing.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[track_caller]
fn assert_plain(place: &str, text: &str, more: &[char]) {
    if let Some(at) = text.find(|c| !is_plain(c) && c != '\n' && !more.contains(&c)) {
        let around: String = text[at..].chars().take(40).collect();
        panic!("{place}: {around:?}");
    }
}

/// A refusal names a field, and repeats nothing that moves a cursor.
#[track_caller]
fn made_or_refused(place: &str, (status, reply): (u16, Value)) -> Option<Value> {
    match status {
        200 | 201 => Some(reply),
        422 => {
            let errors = reply["errors"].as_array().cloned().unwrap_or_default();
            assert!(!errors.is_empty(), "{place}: {reply}");
            for error in &errors {
                assert_plain(place, &error.to_string(), &[]);
            }
            None
        }
        other => panic!("{place}: {other} {reply}"),
    }
}

/// Puts a text wherever one can be put; a place that refuses it gets a name of ours.
fn put(server: &Server, n: usize, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let place = |what: &str| format!("{what} of text {n}");
    let post = |path: &str, body: Value| server.api("POST", path, &body);
    let every = json!({"every": "1h"});
    let base = json!({"kind": "heartbeat", "name": format!("job {n}"), "schedule": every});
    let with = |field: &str, value: Value| {
        let mut body = base.clone();
        body[field] = value;
        body
    };
    let named = made_or_refused(&place("name"), post("/monitors", with("name", json!(text))));
    let made = named.unwrap_or_else(|| {
        let (status, made) = post("/monitors", base.clone());
        assert_eq!(status, 201, "{made}");
        made
    });
    let id = made["id"]
        .as_str()
        .unwrap_or_else(|| panic!("{}: {made}", place("reply")));
    let path = format!("/monitors/{id}");
    for (field, value) in [
        ("description", json!(text)),
        ("owner", json!(text)),
        ("labels", json!({"a": text})),
        ("labels", json!({text.clone(): "a"})),
        ("runbook_url", json!(format!("https://r.example/{text}"))),
        ("slug", json!(text)),
        ("severity", json!(text)),
        ("channels", json!([text])),
    ] {
        made_or_refused(
            &place(field),
            server.api("PATCH", &path, &json!({field: value})),
        );
    }
    let hook = json!({"url": "http://127.0.0.1:1/", "format": "standard"});
    let channel = json!({"name": text, "kind": "webhook", "default": false, "config": hook});
    made_or_refused(&place("channel"), post("/channels", channel));
    let window = json!({"name": format!("window {n} {text}"), "selector": "none=yes", "when": {"duration": "1h"}});
    made_or_refused(&place("maintenance"), post("/maintenances", window));
    let window = json!({"name": format!("window {n}"), "description": text, "selector": "none=yes", "when": {"duration": "1h"}});
    made_or_refused(
        &place("maintenance's description"),
        post("/maintenances", window),
    );
    made_or_refused(
        &place("token"),
        post("/tokens", json!({"name": text, "role": "viewer"})),
    );

    // A job says it failed: the body as it is, and whatever of it a header can hold.
    let agent: Vec<u8> = bytes
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | b'\0' | 0x7f | 0x1b | 7))
        .collect();
    let token = made["token"].as_str().unwrap();
    let mut request = head(
        "POST",
        &format!("/ping/{token}/fail"),
        "connection: close\r\nuser-agent: AGENT\r\n",
        bytes.len(),
    )
    .into_bytes();
    let at = request
        .windows(5)
        .position(|part| part == b"AGENT")
        .unwrap();
    request.splice(at..at + 5, agent);
    request.extend_from_slice(bytes);
    assert_eq!(
        send(server.address, &request, false).unwrap().status,
        200,
        "{}",
        place("body")
    );
    let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
    let message = server.get(&format!("/v1/heartbeat/{token}?msg={escaped}"));
    assert!(
        matches!(message.status, 200 | 400),
        "{}: {}",
        place("message"),
        message.text()
    );
    assert_eq!(server.get(&format!("/ping/{token}/fail")).status, 200);
}

fn page(server: &Server, cookie: &str, path: &str) -> String {
    let reply: Reply = ask(server.address, "GET", path, cookie, b"");
    assert_eq!(reply.status, 200, "{path}");
    let text = String::from_utf8(reply.body).unwrap();
    for evil in ["<script>evil", "<img src=x", "onerror=evil()>\""] {
        assert!(!text.contains(evil), "{path}: {evil}");
    }
    text
}

#[test]
fn text_of_strangers_commands_nothing_and_disguises_nothing() {
    let data = directory();
    let admin = "an-administrators-token-of-this-test";
    let mut command = serve(
        data.path(),
        &["--outbound-allow", "127.0.0.1/32", "--log", "trace"],
    );
    command.env("SYSTOLE_ADMIN_TOKEN", admin);
    let server = Server::spawn(data.path(), command);
    let fake = Fake::start(|_| (200, "ok \u{202e}<script>evil()</script>".to_owned()));
    let (port, letters) = mail_server();
    for (name, kind, config) in [
        (
            "hook",
            "webhook",
            json!({"url": format!("{}/hook", fake.url)}),
        ),
        (
            "chat",
            "slack",
            json!({"url": format!("{}/slack", fake.url)}),
        ),
        (
            "mail",
            "email",
            json!({"host": "127.0.0.1", "port": port, "tls": "none", "from": "a@example.com", "to": ["b@example.com"]}),
        ),
    ] {
        let body = json!({"name": name, "kind": kind, "config": config, "digest": false});
        let (status, made) = server.api("POST", "/channels", &body);
        assert_eq!(status, 201, "{made}");
    }
    for (n, bytes) in TEXTS.iter().enumerate() {
        put(&server, n, bytes);
    }
    let count = TEXTS.len();
    until("all incidents to be told", || {
        let shown = server.shown("/deliveries?state=delivered&limit=500");
        let delivered = shown["items"].as_array().unwrap().iter();
        let triggered = delivered.filter(|one| one["type"] == "incident.triggered");
        (triggered.count() >= 3 * count).then_some(())
    });
    for incident in server.shown("/incidents?limit=500")["items"]
        .as_array()
        .unwrap()
    {
        let path = format!("/incidents/{}/note", incident["id"].as_str().unwrap());
        for bytes in TEXTS {
            let note = json!({"text": String::from_utf8_lossy(bytes)});
            made_or_refused("note", server.api("POST", &path, &note));
        }
    }

    // Pages: markup is text, and what hides is shown.
    let form = format!(
        "origin: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n",
        server.url
    );
    let door = ask(
        server.address,
        "POST",
        "/sign-in",
        &form,
        format!("token={admin}").as_bytes(),
    );
    let cookie = format!(
        "cookie: {}\r\n",
        door.header("set-cookie")
            .unwrap()
            .split(';')
            .next()
            .unwrap()
    );
    let mut paths = ["/", "/incidents", "/channels", "/maintenance"]
        .map(str::to_owned)
        .to_vec();
    for monitor in server.shown("/monitors?limit=500")["items"]
        .as_array()
        .unwrap()
    {
        paths.push(format!("/monitors/{}", monitor["id"].as_str().unwrap()));
    }
    for number in 1..=count {
        paths.push(format!("/incidents/{number}"));
    }
    let mut seen = String::new();
    for path in &paths {
        let text = page(&server, &cookie, path);
        assert_plain(path, &text, &['\t']);
        seen.push_str(&text);
    }
    for shown in [
        "&#60;script&#62;evil()",
        "‹U+202E›",
        "{{7*7}}",
        "␛[2J",
        "nul␀nul",
    ] {
        assert!(seen.contains(shown), "no page shows {shown}");
    }

    // Terminals: `get`, `export`, `diff`, `apply`, `doctor`, `schedule`.
    let token = data.path().join("local-token");
    let run = |arguments: &[&str]| {
        let output = systole(arguments)
            .env("SYSTOLE_SERVER", &server.url)
            .env("SYSTOLE_TOKEN_FILE", &token)
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_plain(&arguments.join(" "), &said, &[]);
        said
    };
    for what in [
        "monitors",
        "incidents",
        "deliveries",
        "channels",
        "maintenances",
        "tokens",
    ] {
        for format in ["table", "json", "yaml"] {
            run(&["get", what, "-o", format]);
        }
    }
    let exported = run(&["export"]);
    assert!(exported.contains("<!channel>"), "{exported}");
    run(&["export", "-o", "json"]);
    run(&["doctor", "--no-send"]);
    let document = data.path().join("evil.yaml");
    for bytes in TEXTS {
        let text = String::from_utf8_lossy(bytes);
        let evil = json!({"kind": "heartbeat", "name": "job 3", "schedule": {"every": "2h"}, "description": text, "owner": text});
        let renamed =
            json!({"kind": "heartbeat", "name": text, "schedule": {"cron": text}, text.clone(): 1});
        let unknown = json!({"kind": text, "name": "a"});
        for value in [evil, renamed, unknown] {
            std::fs::write(&document, value.to_string()).unwrap();
            let path = document.to_str().unwrap();
            run(&["diff", "-f", path]);
            run(&["apply", "-f", path]);
        }
        std::fs::write(&document, bytes).unwrap();
        run(&["diff", "-f", document.to_str().unwrap()]);
        if !text.contains('\0') {
            run(&["schedule", "--", &text]);
            run(&["schedule", "--timezone", &text, "0 2 * * *"]);
            run(&["get", "monitors", &text]);
        }
    }

    told(&fake, &letters.lock().unwrap());
    // The log: sign-ins with any address, and all of the above.
    for bytes in TEXTS {
        let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        ask(
            server.address,
            "POST",
            "/sign-in",
            &form,
            format!("email={escaped}&password=x").as_bytes(),
        );
    }
    assert_plain("the log", &server.stop(), &[]);
}

/// What Slack looks for commands in: the text of the notification and every `mrkdwn`, but no `plain_text`.
fn marked_up(value: &Value, all: &mut String) {
    if let Some(text) = value["text"].as_str()
        && (value["type"] == "mrkdwn" || value["blocks"].is_array())
    {
        all.push_str(text);
        all.push('\n');
    }
    match value {
        Value::Object(fields) => fields.values().for_each(|value| marked_up(value, all)),
        Value::Array(items) => items.iter().for_each(|value| marked_up(value, all)),
        _ => {}
    }
}

fn every_text(value: &Value, look: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => look(text),
        Value::Object(fields) => fields.values().for_each(|value| every_text(value, look)),
        Value::Array(items) => items.iter().for_each(|value| every_text(value, look)),
        _ => {}
    }
}

/// What channels were sent.
fn told(fake: &Fake, letters: &str) {
    let (mut hooks, mut slacks) = (0, 0);
    for asked in fake.asked() {
        let body: Value = serde_json::from_str(&asked.body)
            .unwrap_or_else(|error| panic!("{error}: {}", asked.body));
        if asked.line == "POST /hook" {
            hooks += 1;
            assert!(body["data"]["monitor"]["name"].is_string(), "{body}");
        } else {
            slacks += 1;
            let mut text = String::new();
            marked_up(&body, &mut text);
            assert!(
                text.contains("is down") || text.contains(" is up"),
                "{body}"
            );
            for evil in ["<!channel>", "<!here>", "<@U123>", "<https://evil.example|"] {
                assert!(!text.contains(evil), "{evil} in {text}");
            }
            // Its own escapes keep JSON's controls in; what they stand for must not be there either.
            every_text(&body, &mut |text| assert_plain("Slack", text, &['\t']));
        }
    }
    assert!(hooks >= TEXTS.len() && slacks >= TEXTS.len());
    let mut count = 0;
    for letter in letters.split("\n.\n").filter(|letter| !letter.is_empty()) {
        count += 1;
        let (heads, parts) = letter.split_once("\n\n").unwrap();
        for line in heads.lines() {
            assert!(
                line.is_ascii() && line.chars().all(|c| !c.is_control() || c == '\t'),
                "{line:?}"
            );
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            assert!(!matches!(name.as_str(), "bcc" | "x-injected"), "{heads}");
        }
        let (_, html) = parts.split_once("text/html").unwrap();
        assert!(!html.contains("<script>evil"), "{html}");
        assert_plain("a letter", parts, &['\t']);
    }
    assert!(count >= TEXTS.len(), "{count} letters");
}
