//! `systole doctor` against servers that are well, ill and down.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;
#[expect(dead_code, reason = "other tests need the rest")]
mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::{Server, directory, systole};
use serde_json::{Value, json};
use support::Fake;

/// Exit status and findings.
fn doctor(url: &str, data: &Path, more: &[&str]) -> (i32, Vec<Value>) {
    let output = systole(&["doctor", "-o", "json", "--server", url, "--data-dir"])
        .arg(data)
        .args(more)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (
        output.status.code().unwrap(),
        found["findings"].as_array().unwrap().clone(),
    )
}

/// The level and message of a check.
#[track_caller]
fn of<'f>(findings: &'f [Value], check: &str) -> (&'f str, &'f str) {
    let finding = findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("no {check} in {findings:#?}"));
    (
        finding["level"].as_str().unwrap(),
        finding["message"].as_str().unwrap(),
    )
}

fn channel(server: &Server, name: &str, url: &str, more: &Value) {
    let mut body = json!({"kind": "webhook", "name": name, "config": {"url": url}});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let (status, made) = server.api("POST", "/channels", &body);
    assert_eq!(status, 201, "{made}");
}

#[test]
fn a_new_server_is_told_what_is_missing() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    server.heartbeat("unheard");
    let (status, findings) = doctor(&server.url, data.path(), &[]);
    assert_eq!(status, 1, "{findings:#?}");
    for (check, level, part) in [
        ("server", "ok", "answers"),
        ("clock", "ok", "agree"),
        ("database", "ok", "readable and sound"),
        ("disk", "ok", "are free"),
        ("key", "ok", "it opens the database"),
        ("encryption", "ok", "loopback alone"),
        ("base url", "warning", "only this machine can reach"),
        ("channels", "problem", "there is no channel"),
        ("monitors", "problem", "unheard"),
        ("sign-in", "warning", "no administrator yet"),
        ("watcher", "warning", "nobody notices"),
        ("deliveries", "ok", "none was given up"),
        ("ping urls", "ok", "leads to this server"),
    ] {
        let found = of(&findings, check);
        assert!(
            found.0 == level && found.1.contains(part),
            "{check}: {found:?}"
        );
    }
    for finding in &findings {
        assert_eq!(
            finding["advice"].is_null(),
            finding["level"] == "ok",
            "{finding}"
        );
    }
}

#[test]
fn every_channel_is_tested_by_a_message_unless_told_otherwise() {
    let data = directory();
    let server = Server::start(data.path(), &["--outbound-allow", "127.0.0.0/8"]);
    let good = Fake::start(|_| (200, String::new()));
    let bad = Fake::start(|_| (404, String::new()));
    channel(&server, "good", &good.url, &json!({"system": true}));
    channel(&server, "bad", &bad.url, &json!({}));
    let (status, findings) = doctor(&server.url, data.path(), &["--no-send"]);
    assert_eq!(status, 0, "{findings:#?}");
    assert_eq!(of(&findings, "test messages"), ("ok", "none were sent"));
    assert!(good.asked().is_empty());

    let (status, findings) = doctor(&server.url, data.path(), &["--send"]);
    assert_eq!(status, 1);
    assert_eq!(of(&findings, "channels").0, "ok");
    assert_eq!(of(&findings, "channel good").0, "ok");
    let (level, message) = of(&findings, "channel bad");
    assert!(
        level == "problem" && message.contains("status 404"),
        "{message}"
    );
    assert!(
        good.asked()[0].body.contains("channel.test"),
        "{:?}",
        good.asked()
    );
}

#[test]
fn ping_urls_that_lead_elsewhere_are_a_problem() {
    let (data, other_data) = (directory(), directory());
    let other = Server::start(other_data.path(), &[]);
    let stranger = Fake::start(|_| (200, "ok".to_owned()));
    for (base_url, part) in [
        (other.url.as_str(), "leads to another Systole"),
        (stranger.url.as_str(), "something that is not a Systole"),
        ("http://127.0.0.1:1", "cannot reach"),
    ] {
        let server = Server::start(data.path(), &["--base-url", base_url]);
        let (status, findings) = doctor(&server.url, data.path(), &["--no-send"]);
        let found = of(&findings, "ping urls");
        assert!(
            status == 1 && found.0 == "problem" && found.1.contains(part),
            "{found:?}"
        );
        server.stop();
    }
}

#[test]
fn a_smaller_token_sees_less_and_is_told_so() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    server.heartbeat("unheard");
    let (_, made) = server.api("POST", "/tokens", &json!({"name": "v", "role": "viewer"}));
    let token = made["token"].as_str().unwrap();
    let (status, findings) = doctor(&server.url, data.path(), &["--token", token]);
    assert_eq!(status, 1);
    assert_eq!(of(&findings, "report").0, "warning");
    assert_eq!(of(&findings, "channels").0, "problem");
    assert!(of(&findings, "monitors").1.contains("unheard"));
    let (_, findings) = doctor(
        &server.url,
        data.path(),
        &["--token", "no-token-of-this-server"],
    );
    assert!(of(&findings, "channels").1.contains("401"), "{findings:#?}");
}

#[test]
fn of_a_server_that_is_down_the_files_are_looked_at() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let url = server.url.clone();
    server.stop();
    let (status, findings) = doctor(&url, data.path(), &[]);
    assert_eq!(status, 1);
    assert_eq!(of(&findings, "server").0, "problem");
    for check in ["database", "disk", "key"] {
        assert_eq!(of(&findings, check).0, "ok", "{findings:#?}");
    }
    let key = data.path().join("key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (_, findings) = doctor(&url, data.path(), &[]);
    assert!(
        of(&findings, "key")
            .1
            .contains("mode 0644: others may read it")
    );
    std::fs::write(&key, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n").unwrap();
    let (_, findings) = doctor(&url, data.path(), &[]);
    assert!(of(&findings, "key").1.contains("is not the one"));
    for companion in ["systole.db-wal", "systole.db-shm"] {
        _ = std::fs::remove_file(data.path().join(companion));
    }
    std::fs::write(data.path().join("systole.db"), "no database".repeat(1000)).unwrap();
    let (_, findings) = doctor(&url, data.path(), &[]);
    assert_eq!(of(&findings, "database").0, "problem");
}
