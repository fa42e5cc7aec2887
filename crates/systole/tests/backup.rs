//! The database copied while it is used, put back, and checked.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::http::ask;
use common::{Server, directory, systole, until};
use serde_json::{Value, json};

/// `systole db …`: exit status, stdout, stderr.
fn db(arguments: &[&str], data: &Path) -> (i32, String, String) {
    let output = systole(&["db"])
        .args(arguments)
        .arg("--data-dir")
        .arg(data)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// It must work; answers what it says.
#[track_caller]
fn done(arguments: &[&str], data: &Path) -> String {
    let (status, stdout, stderr) = db(arguments, data);
    assert_eq!((status, stderr.as_str()), (0, ""), "{stdout}");
    stdout
}

/// It must not work and say why.
#[track_caller]
fn refused(arguments: &[&str], data: &Path, part: &str) {
    let (status, stdout, stderr) = db(arguments, data);
    assert_eq!((status, stdout.as_str()), (1, ""), "{stderr}");
    assert!(stderr.contains(part), "{part:?} is not in {stderr}");
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Files of a directory, by name.
fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// A heartbeat's check-ins, page after page.
fn all_checkins(server: &Server, id: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let shown = server.shown(&format!("/monitors/{id}/checkins?limit=500{cursor}"));
        all.extend(shown["items"].as_array().unwrap().iter().cloned());
        match shown["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[test]
fn every_check_in_acknowledged_before_a_backup_began_is_in_it() {
    let (data, backups) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeats: Vec<_> = (0..4)
        .map(|n| server.heartbeat(&format!("job {n}")))
        .collect();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    // Each sender's check-ins are numbered, and the next is sent when the one before it is acknowledged.
    let counts: Vec<AtomicU64> = heartbeats.iter().map(|_| AtomicU64::new(0)).collect();
    let file = backups.path().join("systole.db");
    let before: Vec<u64> = std::thread::scope(|scope| {
        for (heartbeat, count) in heartbeats.iter().zip(&counts) {
            let (stop, acknowledged, address) = (&stop, &acknowledged, server.address);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let body = format!("number {}", count.load(Ordering::SeqCst));
                    let path = format!("/ping/{}", heartbeat.token);
                    let reply = ask(address, "POST", &path, "", body.as_bytes());
                    assert_eq!(reply.status, 200, "check-ins go on while a backup is made");
                    count.fetch_add(1, Ordering::SeqCst);
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        until("some check-ins", || {
            (acknowledged.load(Ordering::SeqCst) > 100).then_some(())
        });
        let before = counts
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect();
        let said = db(&["backup", &text(&file)], data.path());
        let at_end = acknowledged.load(Ordering::SeqCst);
        until("check-ins after the backup", || {
            (acknowledged.load(Ordering::SeqCst) > at_end + 20).then_some(())
        });
        stop.store(true, Ordering::SeqCst);
        assert_eq!(said.0, 0, "{said:?}");
        assert!(
            said.1.contains("read again and sound") && said.1.contains("4 monitors, 0 channels"),
            "{said:?}"
        );
        assert!(said.1.contains("is not in it"), "{said:?}");
        before
    });
    server.stop();
    assert_eq!(
        files(backups.path()),
        ["systole.db"],
        "the copy is one file"
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let key = std::fs::read_to_string(data.path().join("key")).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert!(
        !bytes
            .windows(key.trim().len())
            .any(|window| window == key.trim().as_bytes())
    );

    let fresh = directory();
    std::fs::copy(data.path().join("key"), fresh.path().join("key")).unwrap();
    let said = done(&["restore", &text(&file)], fresh.path());
    assert!(said.contains("opened by the key at hand"), "{said}");
    let server = Server::start(fresh.path(), &[]);
    for (heartbeat, before) in heartbeats.iter().zip(before) {
        let found: Vec<String> = all_checkins(&server, &heartbeat.id)
            .iter()
            .map(|checkin| checkin["body"].as_str().unwrap().to_owned())
            .collect();
        for number in 0..before {
            let body = format!("number {number}");
            assert!(
                found.contains(&body),
                "{body} of {} is lost",
                heartbeat.slug
            );
        }
        assert_eq!(
            server.state(heartbeat),
            "up",
            "the time without a server is no silence of the job"
        );
        assert_eq!(
            server.get(&format!("/ping/{}", heartbeat.token)).status,
            200,
            "its URL works"
        );
    }
}

#[test]
fn a_restore_needs_the_right_key_a_sound_file_and_an_unused_directory() {
    let (data, backups) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    server.heartbeat("first");
    let file = backups.path().join("one.db");
    let name = text(&file);
    done(&["backup", &name], data.path());
    refused(
        &["backup", &name],
        data.path(),
        "a backup is never overwritten",
    );
    refused(
        &["restore", &name],
        data.path(),
        "is in use by another Systole",
    );
    refused(
        &["restore", &name, "--force"],
        data.path(),
        "is in use by another Systole",
    );
    assert!(done(&["check"], data.path()).contains("the key at hand opens it"));
    server.heartbeat("second");
    server.stop();

    refused(
        &["restore", &name],
        data.path(),
        "give --force to replace it",
    );
    let keyless = directory();
    refused(
        &["restore", &name],
        keyless.path(),
        "a backup never holds the key",
    );
    std::fs::write(
        keyless.path().join("key"),
        "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n",
    )
    .unwrap();
    refused(
        &["restore", &name],
        keyless.path(),
        "is not the one that this database was made with",
    );
    assert_eq!(
        files(keyless.path()),
        ["key", "lock"],
        "nothing is left of a refused restore"
    );
    let (status, stdout, _) = db(&["check", &name], directory().path());
    assert!(
        status == 0 && stdout.contains("whether the key opens it was not seen"),
        "{stdout}"
    );
    refused(
        &["backup", &text(&backups.path().join("two.db"))],
        keyless.path(),
        "cannot read",
    );
    assert_eq!(
        files(backups.path()),
        ["one.db"],
        "nothing is left of a failed backup"
    );

    let stray = directory();
    std::fs::write(stray.path().join("systole.db-wal"), "of another database").unwrap();
    refused(
        &["restore", &name],
        stray.path(),
        "give --force to replace it",
    );

    let foreign = backups.path().join("foreign");
    std::fs::write(
        &foreign,
        "this is a text of some length, and no database at all".repeat(100),
    )
    .unwrap();
    let broken = backups.path().join("broken");
    let mut bytes = std::fs::read(&file).unwrap();
    let page = bytes.len() / 4096 / 2 * 4096;
    bytes[page..page + 4096].fill(0xA5);
    std::fs::write(&broken, &bytes).unwrap();
    for (file, part) in [
        (&foreign, "is not a database of Systole"),
        (&broken, "broken is damaged"),
        (&backups.path().join("none"), "No such file"),
    ] {
        refused(&["restore", &text(file), "--force"], data.path(), part);
        refused(&["check", &text(file)], data.path(), part);
    }

    let said = done(&["restore", &name, "--force"], data.path());
    let kept = said
        .lines()
        .find_map(|line| line.strip_prefix("the database that was there is kept in "))
        .unwrap();
    assert!(done(&["check", &format!("{kept}/systole.db")], data.path()).contains("2 monitors"));
    let server = Server::start(data.path(), &[]);
    assert_eq!(
        server.shown("/monitors")["items"].as_array().unwrap().len(),
        1
    );
    let (status, _) = server.api(
        "POST",
        "/monitors",
        &json!({"kind": "heartbeat", "name": "third", "schedule": {"every": "1h"}}),
    );
    assert_eq!(status, 201);
}

#[test]
fn a_database_that_a_killed_server_left_is_backed_up_with_all_it_acknowledged() {
    let (data, backups) = (directory(), directory());
    let mut server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("job");
    for _ in 0..10 {
        assert_eq!(
            server.get(&format!("/ping/{}", heartbeat.token)).status,
            200
        );
    }
    server.signal("KILL");
    server.ended();
    let said = done(
        &["backup", &text(&backups.path().join("x.db"))],
        data.path(),
    );
    assert!(said.contains("10 check-ins in the log"), "{said}");
    let server = Server::start(data.path(), &[]);
    assert_eq!(server.checkins(&heartbeat).len(), 10);
}
