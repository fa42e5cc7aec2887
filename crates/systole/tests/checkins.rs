//! Check-ins from outside: what is asked, what is answered, what is kept, and what state follows.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;

use std::io::{BufReader, Read as _, Write as _};
use std::process::Command;
use std::time::Instant;

use base64::Engine as _;
use common::http::{Reply, ask, connect, head, read, send};
use common::{Heartbeat, Server, directory, until};
use serde_json::{Value, json};

const OTHER: &str = "1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed";
const RID: &str = "11111111-2222-4333-8444-aaaaaaaaaaaa";
const BEHIND_A_PROXY: &[&str] = &["--trusted-proxy", "127.0.0.1/32"];
const FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// Method, path, headers and body; what is kept of it, and the state that follows.
type Taken = (
    &'static str,
    String,
    &'static str,
    &'static [u8],
    Value,
    &'static str,
);

/// Every request comes from an address of its own, so that refusals do not add up.
fn from(case: usize) -> String {
    format!("x-forwarded-for: 192.0.2.{}\r\n", case % 250 + 1)
}

fn ping_key(server: &Server) -> String {
    let (status, made) = server.api("POST", "/ping-key", &json!({}));
    assert!(matches!(status, 200 | 201), "{made}");
    made["ping_key"].as_str().unwrap().to_owned()
}

/// What was kept, without what differs from run to run.
fn kept(server: &Server, heartbeat: &Heartbeat) -> Vec<Value> {
    let mut items = server.checkins(heartbeat);
    for item in &mut items {
        let item = item.as_object_mut().unwrap();
        for name in ["id", "received_at", "duration", "source", "user_agent"] {
            item.remove(name);
        }
    }
    items
}

/// What is kept of a check-in that says nothing more than its kind.
fn record(kind: &str, method: &str, more: &Value) -> Value {
    let mut record = json!({
        "kind": kind, "method": method, "rid": null, "exit_status": null, "message": null, "body_truncated": false,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        record[name] = value.clone();
    }
    record
}

fn recorded(server: &Server, heartbeat: &Heartbeat, count: usize) -> Vec<Value> {
    until("the check-in", || {
        Some(kept(server, heartbeat)).filter(|found| found.len() >= count)
    })
}

#[test]
fn every_dialect_is_taken_and_says_what_it_means() {
    let data = directory();
    let server = Server::start(data.path(), BEHIND_A_PROXY);
    let key = ping_key(&server);
    let rid = json!({"rid": RID});
    let exit = |status: u8| json!({"exit_status": status});
    let upper = RID.to_uppercase();
    #[rustfmt::skip]
    let cases: Vec<Taken> = vec![
        ("GET", "/ping/{token}".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("POST", "/ping/{token}".into(), "", b"", record("success", "POST", &json!({})), "up"),
        ("PUT", "/ping/{token}".into(), "", b"text", record("success", "PUT", &json!({"body": "text"})), "up"),
        ("GET", "/ping/{token}/".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/ping/{token}/start".into(), "", b"", record("start", "GET", &json!({})), "new"),
        ("GET", "/ping/{token}/fail".into(), "", b"", record("fail", "GET", &json!({})), "down"),
        ("POST", "/ping/{token}/log".into(), "", b"half way", record("log", "POST", &json!({"body": "half way"})), "new"),
        ("GET", "/ping/{token}/0".into(), "", b"", record("exit_status", "GET", &exit(0)), "up"),
        ("GET", "/ping/{token}/00".into(), "", b"", record("exit_status", "GET", &exit(0)), "up"),
        ("GET", "/ping/{token}/1".into(), "", b"", record("exit_status", "GET", &exit(1)), "down"),
        ("GET", "/ping/{token}/255".into(), "", b"", record("exit_status", "GET", &exit(255)), "down"),
        ("GET", format!("/ping/{{token}}?rid={RID}"), "", b"", record("success", "GET", &rid), "up"),
        ("GET", format!("/ping/{{token}}/start?rid={upper}"), "", b"", record("start", "GET", &rid), "new"),
        ("GET", "/ping/{token}?create=1&x=y".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/{token}".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/{token}/".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/{token}/fail".into(), "", b"", record("fail", "GET", &json!({})), "down"),
        ("GET", "/{token}/137".into(), "", b"", record("exit_status", "GET", &exit(137)), "down"),
        ("GET", "/ping/{key}/{slug}".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/ping/{key}/{slug}/start".into(), "", b"", record("start", "GET", &json!({})), "new"),
        ("GET", "/ping/{key}/{slug}/fail".into(), "", b"", record("fail", "GET", &json!({})), "down"),
        ("GET", "/ping/{key}/{slug}/log".into(), "", b"", record("log", "GET", &json!({})), "new"),
        ("GET", "/ping/{key}/{slug}/3".into(), "", b"", record("exit_status", "GET", &exit(3)), "down"),
        ("GET", "/ping/{key}/{slug}?create=1".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/api/hb/{token}".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/v1/heartbeat/{token}".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/v1/heartbeat/{token}?msg=all+is%20well".into(), "", b"",
            record("success", "GET", &json!({"message": "all is well"})), "up"),
        ("POST", "/v1/heartbeat/{token}".into(), FORM, b"x=1&msg=12%20rows+done",
            record("success", "POST", &json!({"message": "12 rows done", "body": "x=1&msg=12%20rows+done"})), "up"),
        ("GET", "/heartbeat/{token}".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("GET", "/heartbeat/{token}/".into(), "", b"", record("success", "GET", &json!({})), "up"),
        ("POST", "/heartbeat/{token}".into(), FORM, b"msg=no", record("success", "POST", &json!({"body": "msg=no"})), "up"),
        ("POST", "/ping/{token}".into(), "", b"\xff\xfe\x00",
            record("success", "POST", &json!({"body_base64": base64::engine::general_purpose::STANDARD.encode(b"\xff\xfe\x00")})),
            "up"),
    ];
    for (case, (method, path, headers, body, expected, state)) in cases.into_iter().enumerate() {
        let heartbeat = server.heartbeat(&format!("case {case}"));
        let path = path
            .replace("{token}", &heartbeat.token)
            .replace("{key}", &key)
            .replace("{slug}", &heartbeat.slug);
        let reply = ask(
            server.address,
            method,
            &path,
            &format!("{headers}{}", from(case)),
            body,
        );
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, "OK"),
            "{method} {path}"
        );
        assert_eq!(
            recorded(&server, &heartbeat, 1),
            [expected],
            "{method} {path}"
        );
        until(&format!("{method} {path} to make it {state}"), || {
            (server.state(&heartbeat) == state).then_some(())
        });
    }
}

#[test]
fn what_is_not_a_check_in_is_refused_with_its_reason_and_keeps_nothing() {
    let data = directory();
    let server = Server::start(data.path(), BEHIND_A_PROXY);
    let key = ping_key(&server);
    let heartbeat = server.heartbeat("watched");
    let long = "a".repeat(101);
    let url = "invalid url format";
    let uuid = "invalid uuid format";
    #[rustfmt::skip]
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("GET", "/ping/{other}".into(), 404, "not found"),
        ("GET", "/ping/{other}/256".into(), 404, "not found"),
        ("GET", "/ping/{other}?rid=bad".into(), 404, "not found"),
        ("GET", "/ping/{TOKEN}".into(), 404, "not found"),
        ("GET", "/ping/{undashed}".into(), 404, "not found"),
        ("GET", "/{other}".into(), 404, "not found"),
        ("GET", "/api/hb/{other}".into(), 404, "not found"),
        ("GET", "/v1/heartbeat/{other}".into(), 404, "not found"),
        ("GET", "/heartbeat/{other}".into(), 404, "not found"),
        ("GET", "/ping/{token}/start/".into(), 404, "not found"),
        ("GET", "/ping/{token}/bogus".into(), 404, "not found"),
        ("GET", "/ping/{token}/-1".into(), 404, "not found"),
        ("GET", "/ping/{token}/start/start".into(), 404, "not found"),
        ("GET", "/ping/{token}/256".into(), 400, url),
        ("GET", "/ping/{token}/99999999999999999999".into(), 400, url),
        ("GET", "/{token}/256".into(), 400, url),
        ("GET", "/ping/{token}?rid=".into(), 400, uuid),
        ("GET", "/ping/{token}?rid".into(), 400, uuid),
        ("GET", "/ping/{token}?rid=bad".into(), 400, uuid),
        ("GET", format!("/ping/{{token}}?rid={}", RID.replace('-', "")), 400, uuid),
        ("GET", format!("/ping/{{token}}?rid=%7B{RID}%7D"), 400, uuid),
        ("GET", format!("/ping/{{token}}?rid=urn:uuid:{RID}"), 400, uuid),
        ("GET", "/ping/{key}/missing".into(), 404, "not found"),
        ("GET", "/ping/{key}/Watched".into(), 400, url),
        ("GET", "/ping/{key}/with.dot".into(), 404, "not found"),
        ("GET", "/ping/{key}/watched/".into(), 404, "not found"),
        ("GET", "/ping/{key}/watched/bogus".into(), 404, "not found"),
        ("GET", "/ping/{key}/watched/256".into(), 400, url),
        ("GET", "/ping/{key}/watched?rid=bad".into(), 400, uuid),
        ("GET", format!("/ping/{{key}}/{long}?create=1"), 404, "not found"),
        ("GET", "/ping/{other}/watched".into(), 404, "not found"),
        ("GET", "/ping/{key}/missing?create=true".into(), 404, "not found"),
        ("GET", "/ping/{key}/missing?create=0".into(), 404, "not found"),
        ("GET", "/ping/{key}/missing?create".into(), 404, "not found"),
        ("GET", "/ping/{key}/missing/256?create=1".into(), 400, url),
        ("GET", "/ping/{key}/missing/bogus?create=1".into(), 404, "not found"),
        ("GET", "/ping/{key}/missing?create=1&rid=bad".into(), 400, uuid),
        ("GET", "/ping/{key}/Missing?create=1".into(), 400, url),
    ];
    for (case, (method, path, status, text)) in cases.into_iter().enumerate() {
        let path = path
            .replace("{token}", &heartbeat.token)
            .replace("{TOKEN}", &heartbeat.token.to_uppercase())
            .replace("{undashed}", &heartbeat.token.replace('-', ""))
            .replace("{other}", OTHER)
            .replace("{key}", &key);
        let reply = ask(server.address, method, &path, &from(case), b"");
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (status, text),
            "{method} {path}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
        assert_eq!(reply.header("ping-body-limit"), None, "{path}");
    }
    let upper = ask(
        server.address,
        "GET",
        &format!("/{}", heartbeat.token.to_uppercase()),
        "",
        b"",
    );
    assert_eq!(upper.status, 404);
    // A check-in that is taken comes after all that were not.
    assert_eq!(
        server.get(&format!("/ping/{}/log", heartbeat.token)).status,
        200
    );
    assert_eq!(
        recorded(&server, &heartbeat, 1),
        [record("log", "GET", &json!({}))]
    );
    assert_eq!(server.state(&heartbeat), "new");
    assert_eq!(
        server.shown("/monitors")["items"].as_array().unwrap().len(),
        1,
        "a refused request has made a monitor"
    );
}

#[test]
fn other_methods_are_told_which_there_are() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    for method in ["DELETE", "PATCH", "OPTIONS", "TRACE"] {
        for path in [
            "/ping/{}",
            "/{}",
            "/api/hb/{}",
            "/v1/heartbeat/{}",
            "/heartbeat/{}",
        ] {
            let reply = ask(
                server.address,
                method,
                &path.replace("{}", &heartbeat.token),
                "",
                b"",
            );
            assert_eq!(reply.status, 405, "{method} {path}");
            assert_eq!(
                reply.header("allow"),
                Some("GET, HEAD, POST, PUT"),
                "{method} {path}"
            );
        }
    }
    assert_eq!(
        server.get(&format!("/ping/{}/log", heartbeat.token)).status,
        200
    );
    assert_eq!(recorded(&server, &heartbeat, 1).len(), 1);
}

#[test]
fn the_answer_has_the_headers_that_clients_know() {
    let data = directory();
    let server = Server::start(data.path(), &["--ping-body-limit", "77"]);
    let heartbeat = server.heartbeat("watched");
    for (method, body) in [("GET", "OK"), ("HEAD", ""), ("POST", "OK")] {
        let reply = ask(
            server.address,
            method,
            &format!("/ping/{}", heartbeat.token),
            "",
            b"",
        );
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, body),
            "{method}"
        );
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("ping-body-limit", "77"),
            (
                "cache-control",
                "max-age=0, no-cache, no-store, must-revalidate, private",
            ),
            ("content-type", "text/plain; charset=utf-8"),
            ("content-length", "2"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{method} {name}");
        }
    }
    let kinds = recorded(&server, &heartbeat, 3);
    let methods: Vec<&str> = kinds
        .iter()
        .filter_map(|item| item["method"].as_str())
        .collect();
    assert_eq!(methods, ["POST", "HEAD", "GET"]);
}

#[test]
fn a_check_in_by_name_makes_what_is_missing_once() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let key = ping_key(&server);
    let path = format!("/ping/{key}/nightly/start?create=1");
    for (status, text) in [(201, "Created"), (200, "OK")] {
        let reply = server.get(&path);
        assert_eq!((reply.status, reply.text().as_str()), (status, text));
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!(reply.header("ping-body-limit"), Some("10000"));
    }
    let made = server.shown("/monitors")["items"][0].clone();
    assert_eq!(
        (made["name"].as_str(), made["slug"].as_str()),
        (Some("nightly"), Some("nightly"))
    );
    assert_eq!(made["grace"], "1h");
    // Its own token works as well.
    assert_eq!(
        server
            .get(&format!("/ping/{}", made["token"].as_str().unwrap()))
            .status,
        200
    );
    // Names that differ in their slug only.
    let (status, _) = server.api(
        "POST",
        "/monitors",
        &json!({
            "kind": "heartbeat", "name": "taken", "slug": "other", "schedule": {"every": "1h"},
        }),
    );
    assert_eq!(status, 201);
    assert_eq!(
        server.get(&format!("/ping/{key}/taken?create=1")).status,
        409
    );
}

#[test]
fn a_brought_token_works_in_every_dialect_and_before_a_ping_key() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat_of(&json!({
        "kind": "heartbeat", "name": "imported", "schedule": {"every": "1h"}, "token": "Imported_Token-1",
    }));
    for path in [
        "/ping/{}",
        "/ping/{}/fail",
        "/api/hb/{}",
        "/v1/heartbeat/{}",
        "/heartbeat/{}",
    ] {
        assert_eq!(
            server.get(&path.replace("{}", &heartbeat.token)).status,
            200,
            "{path}"
        );
    }
    assert_eq!(
        server.get("/ping/imported_token-1").status,
        404,
        "its letters count"
    );
    assert_eq!(recorded(&server, &heartbeat, 5).len(), 5);
}

/// The lines of vendors' pages as they are printed there: host and token alone are others.
#[test]
fn the_lines_that_people_have_in_their_jobs_work_as_printed() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for (name, line, message) in [
        (
            "direct",
            r#"curl -fsS --retry 3 "https://app.alert24.net/api/hb/$ALERT24_HB_TOKEN""#,
            None,
        ),
        (
            "message",
            "curl -fsS --retry 3 \"https://pulse.alert24.io/v1/heartbeat/YOUR-HEARTBEAT-TOKEN\" \\\n--data-urlencode \"msg=backup completed successfully\"",
            Some("backup completed successfully"),
        ),
        (
            "vigilmon",
            r#"curl -fsS "$VIGILMON_HEARTBEAT_URL" > /dev/null"#,
            None,
        ),
    ] {
        let heartbeat = server.heartbeat(name);
        let script = ["https://app.alert24.net", "https://pulse.alert24.io"]
            .iter()
            .fold(line.to_owned(), |line, host| {
                line.replace(host, &server.url)
            })
            .replace("YOUR-HEARTBEAT-TOKEN", &heartbeat.token);
        let output = Command::new("sh")
            .args(["-ec", &script])
            .env("ALERT24_HB_TOKEN", &heartbeat.token)
            .env(
                "VIGILMON_HEARTBEAT_URL",
                format!("{}/heartbeat/{}", server.url, heartbeat.token),
            )
            .output()
            .unwrap();
        assert!(output.status.success(), "{script}: {output:?}");
        let found = &recorded(&server, &heartbeat, 1)[0];
        assert_eq!(
            (found["kind"].as_str(), found["message"].as_str()),
            (Some("success"), message),
            "{line}"
        );
        until("up", || (server.state(&heartbeat) == "up").then_some(()));
    }
}

/// Sends a body in a thread of its own, so that an early answer is read.
fn post(server: &Server, path: &str, body: &[u8]) -> (Option<Reply>, bool) {
    let stream = connect(server.address);
    let mut writer = stream.try_clone().unwrap();
    let mut bytes = head("POST", path, "", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    // The server may close before all of it is sent.
    let sending = std::thread::spawn(move || _ = writer.write_all(&bytes));
    let mut reader = BufReader::new(stream);
    let reply = read(&mut reader, false);
    let closes = reply
        .as_ref()
        .is_some_and(|reply| reply.header("connection") == Some("close"));
    if closes {
        let mut rest = Vec::new();
        _ = reader.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    } else {
        // The connection goes on.
        reader
            .get_mut()
            .write_all(head("GET", "/healthz", "connection: close\r\n", 0).as_bytes())
            .unwrap();
        assert_eq!(read(&mut reader, false).unwrap().status, 200);
    }
    sending.join().unwrap();
    (reply, closes)
}

#[test]
fn a_body_is_kept_from_its_beginning_and_never_refused_for_its_size() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for (length, truncated, closes) in [
        (0, false, false),
        (9_999, false, false),
        (10_000, false, false),
        (10_001, true, false),
        (900_000, true, false),
        (3 << 20, true, true),
    ] {
        let heartbeat = server.heartbeat(&format!("body of {length}"));
        let body: Vec<u8> = (0..length)
            .map(|i| b'a' + u8::try_from(i % 26).unwrap())
            .collect();
        let (reply, closed) = post(&server, &format!("/ping/{}", heartbeat.token), &body);
        assert_eq!(reply.map(|reply| reply.status), Some(200), "{length}");
        assert_eq!(closed, closes, "{length}");
        let found = &recorded(&server, &heartbeat, 1)[0];
        assert_eq!(found["body_truncated"], truncated, "{length}");
        let expected = &body[..length.min(10_000)];
        assert_eq!(
            found["body"].as_str().unwrap_or_default().as_bytes(),
            expected,
            "{length}"
        );
    }
}

#[test]
fn a_body_in_chunks_is_kept_like_any_other() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for (name, chunks, truncated) in [
        ("small", vec![3, 1, 5_000], false),
        ("full", vec![5_000, 5_000], false),
        ("over", vec![9_000, 1_000, 1], true),
        ("large", vec![60_000; 10], true),
    ] {
        let heartbeat = server.heartbeat(name);
        let headers = "connection: close\r\ntransfer-encoding: chunked\r\n";
        let mut bytes =
            head("POST", &format!("/ping/{}", heartbeat.token), headers, 0).into_bytes();
        let mut body = Vec::new();
        for (number, length) in chunks.into_iter().enumerate() {
            let chunk = vec![b'a' + u8::try_from(number).unwrap(); length];
            bytes.extend_from_slice(format!("{length:x}\r\n").as_bytes());
            bytes.extend_from_slice(&chunk);
            bytes.extend_from_slice(b"\r\n");
            body.extend_from_slice(&chunk);
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        assert_eq!(
            send(server.address, &bytes, false).unwrap().status,
            200,
            "{name}"
        );
        let found = &recorded(&server, &heartbeat, 1)[0];
        assert_eq!(found["body_truncated"], truncated, "{name}");
        assert_eq!(
            found["body"].as_str().unwrap().as_bytes(),
            &body[..body.len().min(10_000)],
            "{name}"
        );
    }
}

#[test]
fn a_sender_that_goes_away_or_silent_after_the_kept_part_has_checked_in() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for sent in [10_000, 10_001, 15_000, 15_001] {
        let heartbeat = server.heartbeat(&format!("gone after {sent}"));
        let mut stream = connect(server.address);
        let path = format!("/ping/{}", heartbeat.token);
        stream
            .write_all(head("POST", &path, "", 500_000).as_bytes())
            .unwrap();
        stream.write_all(&vec![b'x'; sent]).unwrap();
        if sent % 2 == 0 {
            drop(stream);
        }
        // Else it stays and says nothing more.
        let found = recorded(&server, &heartbeat, 1);
        assert_eq!(
            found,
            [record(
                "success",
                "POST",
                &json!({"body": "x".repeat(10_000), "body_truncated": true})
            )],
            "{sent}"
        );
    }
}

#[test]
fn the_source_is_the_peer_unless_a_trusted_proxy_says_whose_it_is() {
    for (more, forwarded, source) in [
        (&[][..], "198.51.100.7", "127.0.0.1"),
        (BEHIND_A_PROXY, "198.51.100.7", "198.51.100.7"),
        (BEHIND_A_PROXY, "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (
            BEHIND_A_PROXY,
            "203.0.113.9, 198.51.100.7, 127.0.0.1",
            "198.51.100.7",
        ),
        (BEHIND_A_PROXY, "2001:db8::7", "2001:db8::7"),
        (
            &["--trusted-proxy", "192.0.2.0/24"][..],
            "198.51.100.7",
            "127.0.0.1",
        ),
    ] {
        let data = directory();
        let server = Server::start(data.path(), more);
        let heartbeat = server.heartbeat("watched");
        let headers = format!(
            "x-forwarded-for: {forwarded}\r\nuser-agent: {}\r\n",
            "u".repeat(300)
        );
        let reply = ask(
            server.address,
            "GET",
            &format!("/ping/{}", heartbeat.token),
            &headers,
            b"",
        );
        assert_eq!(reply.status, 200);
        let found = until("the check-in", || server.checkins(&heartbeat).pop());
        assert_eq!(found["source"], source, "{more:?} {forwarded}");
        assert_eq!(found["user_agent"].as_str().map(str::len), Some(200));
    }
}

#[test]
fn an_address_that_is_refused_too_often_waits_while_known_tokens_work() {
    let data = directory();
    let server = Server::start(data.path(), BEHIND_A_PROXY);
    let heartbeat = server.heartbeat("watched");
    let ask_from = |address: &str, path: &str| {
        ask(
            server.address,
            "GET",
            path,
            &format!("x-forwarded-for: {address}\r\n"),
            b"",
        )
    };
    let bad = format!("/ping/{OTHER}");
    for _ in 0..20 {
        assert_eq!(ask_from("192.0.2.1", &bad).status, 404);
    }
    let reply = ask_from("192.0.2.1", &bad);
    assert_eq!(reply.status, 429);
    let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(
        ask_from("192.0.2.1", &format!("/ping/{}", heartbeat.token)).status,
        200,
        "a known token"
    );
    assert_eq!(ask_from("192.0.2.2", &bad).status, 404, "another address");
}

#[test]
fn a_token_that_comes_too_often_is_told_to_wait_and_loses_nothing() {
    const LANES: usize = 40;
    const EACH: usize = 200;
    let data = directory();
    let server = Server::start(data.path(), &["--metrics-listen", "127.0.0.1:0"]);
    let metrics = server.metrics_address();
    let heartbeat = server.heartbeat("busy");
    let path = format!("/ping/{}", heartbeat.token);
    let request = head("GET", &path, "", 0);
    let begun = Instant::now();
    // Many requests at once on each of many connections, none of which waits for an answer.
    let lanes: Vec<_> = (0..LANES)
        .map(|_| {
            let (request, address) = (request.repeat(EACH), server.address);
            std::thread::spawn(move || {
                let stream = connect(address);
                let mut writer = stream.try_clone().unwrap();
                let sending =
                    std::thread::spawn(move || writer.write_all(request.as_bytes()).unwrap());
                let mut reader = BufReader::new(stream);
                let replies: Vec<Reply> = (0..EACH)
                    .map(|_| read(&mut reader, false).unwrap())
                    .collect();
                sending.join().unwrap();
                replies
            })
        })
        .collect();
    let replies: Vec<Reply> = lanes
        .into_iter()
        .flat_map(|lane| lane.join().unwrap())
        .collect();
    let most = 1_000.0 + 100.0 * (begun.elapsed().as_secs_f64() + 1.0);
    let (taken, refused): (Vec<&Reply>, Vec<&Reply>) =
        replies.iter().partition(|reply| reply.status == 200);
    assert!(
        taken.len() >= 1_000 && taken.len() as f64 <= most,
        "{} were taken",
        taken.len()
    );
    assert!(!refused.is_empty(), "nothing was refused");
    for reply in refused {
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (429, Some("1"))
        );
    }
    let counted = ask(metrics, "GET", "/metrics", "", b"").text();
    let expected = format!("systole_checkins_total {}\n", taken.len());
    assert!(
        counted.contains(&expected),
        "{} were taken: {counted}",
        taken.len()
    );
    until("the token to be taken again", || {
        (server.get(&path).status == 200).then_some(())
    });
}

/// Healthchecks' table: what each signal makes of each state.
#[test]
fn a_signal_makes_of_each_state_what_the_table_says() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let make = |heartbeat: &Heartbeat, state: &str| {
        let path = match state {
            "up" => format!("/ping/{}", heartbeat.token),
            "down" => format!("/ping/{}/fail", heartbeat.token),
            _ => String::new(),
        };
        if !path.is_empty() {
            assert_eq!(server.get(&path).status, 200);
        }
        if state == "paused" {
            assert_eq!(
                server
                    .api(
                        "POST",
                        &format!("/monitors/{}/pause", heartbeat.id),
                        &json!({})
                    )
                    .0,
                200
            );
        }
        until(state, || (server.state(heartbeat) == state).then_some(()));
    };
    for (before, success, fail, start, log) in [
        ("new", "up", "down", "new", "new"),
        ("up", "up", "down", "up", "up"),
        ("down", "up", "down", "down", "down"),
        ("paused", "up", "down", "paused", "paused"),
    ] {
        for (suffix, after) in [
            ("", success),
            ("/0", success),
            ("/fail", fail),
            ("/9", fail),
            ("/start", start),
            ("/log", log),
        ] {
            let heartbeat = server.heartbeat(&format!("{before}{}", suffix.replace('/', " then ")));
            make(&heartbeat, before);
            let known = server.checkins(&heartbeat).len();
            assert_eq!(
                server
                    .get(&format!("/ping/{}{suffix}", heartbeat.token))
                    .status,
                200
            );
            recorded(&server, &heartbeat, known + 1);
            until(&format!("{before} and {suffix} to make {after}"), || {
                (server.state(&heartbeat) == after).then_some(())
            });
        }
    }
    // One incident for each that became down, also where it failed twice; none for the others.
    let open = server.shown("/incidents?state=open&limit=500")["items"]
        .as_array()
        .unwrap()
        .len();
    let monitors = server.shown("/monitors?state=down&limit=500")["items"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(open, monitors);
}
