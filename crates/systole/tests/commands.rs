//! The commands as people run them, against a server that says what the test wants.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};
use support::{Fake, ended, run, systole};

#[test]
fn what_is_not_built_says_so_and_is_a_wrong_usage() {
    for arguments in [
        &["agent", "--server", "x"][..],
        &["agent", "manifests"],
        &["probe"],
        &["check", "https://example.com"],
        &["triage", "a/b"],
        &["import", "healthchecks"],
        &["serve", "--kubernetes"],
    ] {
        let (status, stdout, stderr) = run(arguments);
        assert_eq!((status, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(
            stderr.contains("not built yet") && stderr.lines().count() == 1,
            "{arguments:?}: {stderr}"
        );
    }
}

#[test]
fn a_short_admin_token_refuses_to_start_and_is_not_repeated() {
    let output = systole(&["serve", "--listen", "127.0.0.1:0"])
        .env("SYSTOLE_ADMIN_TOKEN", "hunter2")
        .output()
        .unwrap();
    let (status, _, stderr) = ended(&output);
    assert_eq!(status, 2);
    assert!(
        stderr.contains("SYSTOLE_ADMIN_TOKEN has 7 characters") && !stderr.contains("hunter2"),
        "{stderr}"
    );
}

#[test]
fn a_check_in_is_tried_again_until_it_is_taken() {
    let mut left = 2;
    let server = Fake::start(move |_| {
        if left > 0 {
            left -= 1;
            (503, "busy".to_owned())
        } else {
            (200, "OK".to_owned())
        }
    });
    let (status, stdout, _) = run(&[
        "ping",
        "some-token",
        "--exit",
        "3",
        "--message",
        "disk full",
        "--server",
        &server.url,
    ]);
    assert_eq!((status, stdout.as_str()), (0, "OK\n"));
    assert_eq!(server.lines(), ["POST /ping/some-token/3"; 3]);
    assert_eq!(server.asked()[2].body, "disk full");
}

#[test]
fn a_refused_check_in_is_not_tried_again() {
    let server = Fake::start(|_| (404, "not \u{1b}[31mfound".to_owned()));
    let output = systole(&["ping", "--start"])
        .env("SYSTOLE_PING", format!("{}/ping/abc", server.url))
        .output()
        .unwrap();
    let (status, _, stderr) = ended(&output);
    assert_eq!(status, 1);
    assert!(
        stderr.contains("status 404: not \\u{1b}[31mfound"),
        "{stderr}"
    );
    assert_eq!(server.lines(), ["GET /ping/abc/start"]);
}

#[test]
fn a_list_is_read_page_by_page_with_the_local_token() {
    let server = Fake::start(|asked| {
        let item = |name: &str| json!({"id": name, "name": name, "state": "up", "kind": "heartbeat", "schedule": {"every": "6h"}});
        let page = if asked.line.contains("cursor=a%2Fb") {
            json!({"items": [item("second")], "next": null})
        } else {
            json!({"items": [item("first\u{1b}[2J")], "next": "a/b"})
        };
        (200, page.to_string())
    });
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("local-token"), "the-local-token\n").unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let connection = ["--server", server.url.as_str(), "--data-dir", data_dir];

    let (status, stdout, stderr) = run(&[&["get", "monitors"], &connection[..]].concat());
    assert_eq!(status, 0, "{stderr}");
    assert!(
        stdout.contains("first\\u{1b}[2J")
            && stdout.contains("second")
            && !stdout.contains('\u{1b}'),
        "{stdout}"
    );
    assert!(
        server.asked()[0]
            .headers
            .contains("authorization: Bearer the-local-token"),
        "{:?}",
        server.asked()[0]
    );

    let (_, stdout, _) = run(&[
        &["get", "monitors", "second", "-o", "json"],
        &connection[..],
    ]
    .concat());
    assert_eq!(
        serde_json::from_str::<Value>(&stdout).unwrap()["name"],
        "second"
    );
    let (_, stdout, _) = run(&[&["get", "monitors", "-o", "yaml"], &connection[..]].concat());
    assert!(stdout.contains("name: second"), "{stdout}");
    let (status, _, stderr) = run(&[&["get", "monitors", "third"], &connection[..]].concat());
    assert!(
        status == 1 && stderr.contains("there is no monitor \"third\""),
        "{stderr}"
    );
}

#[test]
fn a_refusal_is_said_in_the_server_s_words() {
    let server = Fake::start(|_| {
        (401, json!({"title": "Unauthorized", "status": 401, "code": "unauthorized", "detail": "no token"}).to_string())
    });
    let (status, _, stderr) = run(&["get", "channels", "--server", &server.url]);
    assert_eq!(status, 1);
    assert!(
        stderr.contains("no token (status 401)") && stderr.contains("no token was given"),
        "{stderr}"
    );
}

/// A server that keeps monitors and channels, as far as an apply needs one.
fn keeping() -> Fake {
    let mut objects: Vec<Value> = Vec::new();
    Fake::start(move |asked| {
        let (method, target) = asked.line.split_once(' ').unwrap();
        let path = target
            .trim_start_matches("/api/v1")
            .split('?')
            .next()
            .unwrap()
            .to_owned();
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        match method {
            "GET" => {
                let items: Vec<&Value> = objects
                    .iter()
                    .filter(|object| object["path"] == path.as_str())
                    .collect();
                (200, json!({"items": items, "next": null}).to_string())
            }
            // Many at once: all of them, or none.
            "POST" if path == "/monitors/bulk" => {
                let mut items = body["items"].as_array().unwrap().clone();
                if let Some(place) = items.iter().position(|item| item["name"] == "refused") {
                    let field = format!("items[{place}].schedule.timezone");
                    let errors = json!([{"field": field, "message": "is not known"}]);
                    return (422, json!({"title": "x", "status": 422, "detail": "one field is wrong", "errors": errors}).to_string());
                }
                for item in &mut items {
                    item["id"] = json!(format!("id{}", objects.len()));
                    item["path"] = json!("/monitors");
                    item["rev"] = json!(1);
                    objects.push(item.clone());
                }
                (201, json!({"items": items}).to_string())
            }
            "POST" if body["name"] == "refused" => {
                let errors = json!([{"field": "schedule.timezone", "message": "is not known"}]);
                (422, json!({"title": "x", "status": 422, "detail": "one field is wrong", "errors": errors}).to_string())
            }
            "POST" => {
                let mut object = body;
                object["id"] = json!(format!("id{}", objects.len()));
                object["path"] = json!(path);
                object["rev"] = json!(1);
                objects.push(object.clone());
                (201, object.to_string())
            }
            _ => {
                let object = objects
                    .iter_mut()
                    .find(|object| path.ends_with(object["id"].as_str().unwrap()))
                    .unwrap();
                for (field, value) in body.as_object().unwrap() {
                    object[field] = value.clone();
                }
                object["rev"] = json!(object["rev"].as_i64().unwrap() + 1);
                (200, object.to_string())
            }
        }
    })
}

fn apply(server: &Fake, document: &str, more: &[&str]) -> (i32, String, String) {
    let mut child =
        systole(&[&["apply", "-f", "-", "--server", server.url.as_str()], more].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(document.as_bytes())
        .unwrap();
    ended(&child.wait_with_output().unwrap())
}

#[test]
fn documents_are_created_then_unchanged_then_changed_channels_first() {
    let server = keeping();
    let documents = "kind: heartbeat\nname: nightly\nschedule: {every: 1h30m}\n---\nkind: channel\ntype: webhook\nname: ops\nconfig: {url: 'https://example.com'}\n";
    let (_, stdout, _) = apply(&server, documents, &["--dry-run"]);
    assert_eq!(
        stdout,
        "channel ops: would be created\nheartbeat nightly: would be created\n"
    );
    assert!(
        server.lines().iter().all(|line| line.starts_with("GET ")),
        "{:?}",
        server.lines()
    );

    let (status, stdout, stderr) = apply(&server, documents, &[]);
    assert_eq!(
        (status, stdout.as_str()),
        (0, "channel ops: created\nheartbeat nightly: created\n"),
        "{stderr}"
    );
    let (_, stdout, _) = apply(&server, &documents.replace("1h30m", "90m"), &[]);
    assert_eq!(
        stdout,
        "channel ops: unchanged\nheartbeat nightly: unchanged\n"
    );
    let (_, stdout, _) = apply(&server, &documents.replace("1h30m", "2h"), &["--dry-run"]);
    assert_eq!(
        stdout,
        "channel ops: unchanged\nheartbeat nightly: would be changed (schedule)\n"
    );
    let (_, stdout, _) = apply(&server, &documents.replace("1h30m", "2h"), &[]);
    assert_eq!(
        stdout,
        "channel ops: unchanged\nheartbeat nightly: changed (schedule)\n"
    );
    assert!(
        server
            .asked()
            .last()
            .unwrap()
            .headers
            .contains("if-match: \"1\"")
    );
}

#[test]
fn a_wrong_document_applies_nothing_and_a_refused_one_does_not_stop_the_others() {
    let server = keeping();
    let (status, _, stderr) = apply(
        &server,
        "kind: heartbeat\nname: a\nschedule: {evry: 6h}\n",
        &[],
    );
    assert_eq!((status, server.lines().len()), (1, 0));
    assert!(
        stderr.contains("stdin, document 1: schedule.evry: unknown field; did you mean \"every\"?"),
        "{stderr}"
    );

    let documents = "kind: heartbeat\nname: refused\nschedule: {every: 6h}\n---\nkind: heartbeat\nname: b\nschedule: {every: 6h}\n";
    let (status, stdout, stderr) = apply(&server, documents, &[]);
    assert_eq!((status, stdout.as_str()), (1, "heartbeat b: created\n"));
    assert!(
        stderr.contains("heartbeat refused: ")
            && stderr.contains("(status 422)\n  schedule.timezone: is not known"),
        "{stderr}"
    );
}

#[test]
fn the_demo_receiver_shows_a_webhook_answers_it_and_ends() {
    let mut child = systole(&["demo-receiver", "--listen", "127.0.0.1:0", "--once"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    let address = said
        .trim()
        .strip_prefix("listening on http://")
        .unwrap()
        .to_owned();
    let body = r#"{"type":"channel.test","timestamp":"2026-11-21T12:00:00Z","data":{}}"#;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (status, stdout, _) = ended(&child.wait_with_output().unwrap());
    assert_eq!(status, 0);
    assert!(
        stdout.starts_with("channel.test\n") && stdout.contains("signature: no secret given"),
        "{stdout}"
    );
}

#[test]
fn output_that_nobody_reads_any_more_is_no_failure() {
    let mut child = systole(&["reference", "configuration"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let (_, _, stderr) = ended(&child.wait_with_output().unwrap());
    assert_eq!(stderr, "");
}
