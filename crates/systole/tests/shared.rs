//! `systole db` and `systole doctor` with a PostgreSQL: a server's database copied into it, looked at, and served from it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Heartbeat, Server, directory, serve, systole, until};
use serde_json::{Value, json};
use systole_testing::postgres;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
const OTHER_KEY: &str = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n";

/// Exit status, stdout, stderr.
fn ended(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn db(arguments: &[&str], data: &Path) -> Command {
    let mut command = systole(&["db"]);
    command.args(arguments).arg("--data-dir").arg(data);
    command
}

/// It must work; answers what it says.
#[track_caller]
fn done(command: &mut Command) -> String {
    let (status, stdout, stderr) = ended(command);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

/// It must end with `status`, print nothing, and say why.
#[track_caller]
fn refused(command: &mut Command, status: i32, part: &str) {
    let (found, stdout, stderr) = ended(command);
    assert_eq!((found, stdout.as_str()), (status, ""), "{stderr}");
    assert!(stderr.contains(part), "{part:?} is not in {stderr}");
}

fn status(data: &Path, more: &[&str]) -> Value {
    let text = done(db(&["status", "-o", "json"], data).args(more));
    serde_json::from_str(&text).unwrap()
}

/// `systole demo-receiver` for two webhooks, and its URL.
fn receiver() -> (Child, String) {
    let mut child = systole(&["demo-receiver", "--listen", "127.0.0.1:0", "--count", "2"])
        .env("SYSTOLE_WEBHOOK_SECRET", SECRET)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stderr.take().unwrap())
        .read_line(&mut said)
        .unwrap();
    let url = said.trim().strip_prefix("listening on ").unwrap();
    (child, url.to_owned())
}

fn report(server: &Server, heartbeat: &Heartbeat, how: &str) {
    let reply = server.get(&format!("/ping/{}{how}", heartbeat.token));
    assert_eq!(reply.status, 200, "{}{how}", heartbeat.slug);
}

fn is_in(server: &Server, heartbeat: &Heartbeat, state: &str) {
    until(state, || (server.state(heartbeat) == state).then_some(()));
}

/// Number and state of every incident.
fn incidents(server: &Server) -> Vec<(String, String)> {
    let text = |incident: &Value, field: &str| incident[field].as_str().unwrap().to_owned();
    let shown = server.shown("/incidents");
    let items = shown["items"].as_array().unwrap();
    items
        .iter()
        .map(|incident| (text(incident, "id"), text(incident, "state")))
        .collect()
}

/// Serves `data` with the database at `url`.
fn shared(data: &Path, url: &str) -> Server {
    let key = data.join("key");
    let mut command = serve(
        data,
        &[
            "--key-file",
            key.to_str().unwrap(),
            "--outbound-allow",
            "127.0.0.1/32",
        ],
    );
    command.env("SYSTOLE_DATABASE_URL", url);
    Server::spawn(data, command)
}

#[test]
fn a_server_grows_into_a_postgresql_and_goes_on_where_it_was() {
    let data = directory();
    let database = postgres::database();
    let url = database.url();
    let (receiver, receiver_url) = receiver();
    let server = Server::start(data.path(), &["--outbound-allow", "127.0.0.1/32"]);
    let channel = json!({"name": "pager", "kind": "webhook", "config": {"url": receiver_url, "secret": SECRET}});
    assert_eq!(server.api("POST", "/channels", &channel).0, 201);
    let make = |name: &str, more: Value| {
        let mut document = json!({"kind": "heartbeat", "name": name, "schedule": {"every": "1h"}});
        document
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        server.heartbeat_of(&document)
    };
    let good = make("good", json!({}));
    let flaky = make("flaky", json!({"channels": []}));
    let bad = make("bad", json!({}));
    for _ in 0..5 {
        report(&server, &good, "");
    }
    report(&server, &flaky, "/fail");
    is_in(&server, &flaky, "down");
    report(&server, &flaky, "");
    is_in(&server, &flaky, "up");
    report(&server, &bad, "/fail");
    is_in(&server, &bad, "down");
    until("the alert to be delivered", || {
        let delivered = server.shown("/deliveries?state=delivered");
        (!delivered["items"].as_array().unwrap().is_empty()).then_some(())
    });
    let incidents_before = incidents(&server);
    let checkins_before = server.checkins(&good);

    let copy = || {
        let mut command = db(&["copy"], data.path());
        command.env("SYSTOLE_DATABASE_URL", url);
        command
    };
    let said = done(&mut db(&["status"], data.path()));
    for part in [
        "SQLite",
        "check-ins    8 in the log",
        ", epoch 1\n",
        "0 waiting",
        "STREAM",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    refused(
        &mut copy(),
        1,
        "is in use by another Systole; stop that one",
    );
    server.stop();

    refused(&mut db(&["copy"], data.path()), 2, "where to?");
    let other = data.path().join("other");
    std::fs::write(&other, OTHER_KEY).unwrap();
    refused(
        copy().arg("--key-file").arg(&other),
        1,
        "is not the one that this database was made with",
    );
    let unused = directory();
    refused(
        db(&["copy", "--to", url], unused.path()).env("SYSTOLE_DATABASE_URL", url),
        1,
        "cannot read",
    );
    assert_eq!(
        status(data.path(), &["--database-url", url])["schema_version"],
        0,
        "what was refused has left nothing"
    );

    let before = status(data.path(), &[]);
    let said = done(&mut copy());
    for part in [
        "monitors              3            3",
        "channels              1            1",
        "incidents             2            2",
        "check-ins             8            8",
        "export SYSTOLE_DATABASE_URL=",
        &format!("--key-file {}", data.path().join("key").display()),
        "Jobs need no change",
    ] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
    assert!(!said.contains(url), "the URL may hold a password: {said}");
    assert_eq!(before, status(data.path(), &[]), "the source is as it was");
    refused(&mut copy(), 1, "in use already");

    let server = shared(data.path(), url);
    is_in(&server, &good, "up");
    is_in(&server, &bad, "down");
    assert_eq!(incidents(&server), incidents_before);
    assert_eq!(server.checkins(&good), checkins_before);
    report(&server, &good, "");
    assert_eq!(server.checkins(&good).len(), checkins_before.len() + 1);
    report(&server, &bad, "");
    is_in(&server, &bad, "up");
    let (code, stdout, _) = {
        let output = receiver.wait_with_output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            output.stderr,
        )
    };
    assert_eq!(code, Some(0));
    assert_eq!(stdout.matches("signature: valid").count(), 2, "{stdout}");
    assert!(stdout.contains("incident.resolved"), "{stdout}");
    let numbers =
        |all: Vec<(String, String)>| all.into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(
        numbers(incidents(&server)),
        numbers(incidents_before),
        "it is the same incident that recovered"
    );
    assert!(
        incidents(&server)
            .iter()
            .all(|(_, state)| state == "resolved")
    );
    report(&server, &flaky, "/fail");
    is_in(&server, &flaky, "down");
}

#[test]
fn a_shared_database_is_looked_at_beside_its_servers_and_without_them() {
    let data = directory();
    let database = postgres::database();
    let url = database.url();
    std::fs::write(data.path().join("key"), OTHER_KEY).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(data.path().join("key"), private).unwrap();
    let said = done(db(&["status"], data.path()).env("SYSTOLE_DATABASE_URL", url));
    assert!(said.contains("no server has used it yet"), "{said}");

    let server = shared(data.path(), url);
    let heartbeat = server.heartbeat("job");
    report(&server, &heartbeat, "");
    is_in(&server, &heartbeat, "up");
    let shown = status(data.path(), &["--database-url", url]);
    assert_eq!(shown["kind"], "postgresql");
    assert_eq!(shown["schema_version"], shown["schema_known"]);
    assert_eq!(
        (&shown["monitors"], &shown["checkins"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(shown["decider"]["epoch"], 1);
    assert_eq!(shown["decider"]["replica"], shown["streams"][0]["replica"]);
    assert!(shown["server"]["version"].is_string(), "{shown}");
    let said = done(&mut db(&["status", "--database-url", url], data.path()));
    for line in said.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let password = url.split(['/', ':', '@']).nth(4).unwrap();
    assert!(!said.contains(&format!(":{password}@")), "{said}");

    let checks = [
        ("database", "PostgreSQL"),
        ("database clock", "agree"),
        ("durability", "on its disk"),
        ("commit", "ms from here"),
        ("lease", "epoch 1"),
        ("key", "it opens the database"),
    ];
    let doctor = |server_url: &str| {
        let mut command = systole(&["doctor", "--no-send", "-o", "json", "--server", server_url]);
        command
            .env("SYSTOLE_DATABASE_URL", url)
            .arg("--data-dir")
            .arg(data.path())
            .arg("--key-file")
            .arg(data.path().join("key"));
        let (_, stdout, stderr) = ended(&mut command);
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stderr}"));
        report["findings"].as_array().unwrap().clone()
    };
    let of = |findings: &[Value], check: &str| {
        let finding = findings.iter().find(|finding| finding["check"] == check);
        let finding = finding.unwrap_or_else(|| panic!("no {check} in {findings:#?}"));
        (
            finding["level"].as_str().unwrap().to_owned(),
            finding["message"].as_str().unwrap().to_owned(),
        )
    };
    let findings = doctor(&server.url);
    for (check, part) in checks {
        let (level, message) = of(&findings, check);
        assert!(
            level == "ok" && message.contains(part),
            "{check}: {level}, {message}"
        );
    }
    let (level, message) = of(&findings, "standby");
    assert!(
        level == "warning" && message.contains("no synchronous standby"),
        "{message}"
    );

    let server_url = server.url.clone();
    server.stop();
    until("the lease to be seen as free", || {
        let (level, message) = of(&doctor(&server_url), "lease");
        (level == "problem" && message.contains("nobody decides")).then_some(())
    });
    let unreachable = "postgres://nobody@127.0.0.1:1/none";
    refused(
        db(&["status", "--database-url", unreachable], data.path()).env_remove("PGPASSWORD"),
        1,
        "see whether the server runs and can be reached from here",
    );
}

#[test]
fn what_postgresql_does_itself_is_left_to_it() {
    let data = directory();
    let url = "postgres://user:hidden@127.0.0.1:1/name";
    for (arguments, part) in [
        (["backup", "x"], "pg_dump"),
        (["restore", "x"], "pg_restore"),
        (["check", ""], "pg_amcheck"),
    ] {
        let arguments: Vec<&str> = arguments
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        refused(
            db(&arguments, data.path()).args(["--database-url", url]),
            2,
            part,
        );
        refused(
            db(&arguments, data.path()).env("SYSTOLE_DATABASE_URL", url),
            2,
            part,
        );
        let (_, _, stderr) = ended(db(&arguments, data.path()).args(["--database-url", url]));
        assert!(!stderr.contains("hidden"), "{stderr}");
    }
    // A backup of SQLite can be looked at all the same.
    refused(
        db(&["check", "none.db"], data.path()).env("SYSTOLE_DATABASE_URL", url),
        1,
        "none.db",
    );
}
