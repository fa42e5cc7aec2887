//! Every block of `docs/recipes.md`, run: with a job that succeeds, with one that fails, and with a report that is refused.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod blocks;
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../common/mod.rs"]
mod common;
mod place;
mod runners;

use std::collections::BTreeSet;
use std::process::Stdio;

use common::{Heartbeat, Server, directory, systole, until};
use place::{Ended, Place};
use serde_json::Value;

/// A recipe that reports a job.
struct Recipe {
    /// Its block.
    name: &'static str,
    run: fn(&Place) -> Ended,
    /// The check-ins of a job that succeeds, and of one that ends with 3, separated by spaces.
    good: &'static str,
    bad: &'static str,
    /// What the report holds of the job's words.
    said: &'static str,
    /// The times that its job runs when it succeeds.
    runs: usize,
}

const fn recipe(name: &'static str, run: fn(&Place) -> Ended) -> Recipe {
    Recipe {
        name,
        run,
        good: "success",
        bad: "",
        said: "",
        runs: 1,
    }
}

/// One that reports as `systole exec` does.
const fn whole(name: &'static str, run: fn(&Place) -> Ended) -> Recipe {
    Recipe {
        good: "start exit_status",
        bad: "start exit_status",
        said: "42 rows\n",
        ..recipe(name, run)
    }
}

#[rustfmt::skip]
const RECIPES: &[Recipe] = &[
    recipe("after-success", |place| runners::script(place, "after-success")),
    Recipe { said: "", ..whole("start-and-exit-status", |place| runners::script(place, "start-and-exit-status")) },
    whole("crontab", |place| runners::cron(place, "crontab", 0)),
    whole("cron-d", |place| runners::cron(place, "cron-d", 0)),
    whole("backup.service", runners::service),
    Recipe { good: "exit_status", bad: "fail", said: "success", ..recipe("exec-stop-post", runners::drop_in) },
    recipe("cronjob", |place| runners::pod(place, "cronjob")),
    whole("cronjob-exec", |place| runners::pod(place, "cronjob-exec")),
    recipe("cronjob-init-container", |place| runners::pod(place, "cronjob-init-container")),
    Recipe { said: ".dump: 8 bytes", ..recipe("pg-dump", |place| runners::script(place, "pg-dump")) },
    Recipe { runs: 3, ..whole("restic", |place| runners::script(place, "restic")) },
    Recipe { good: "exit_status", bad: "fail", said: "success: https://github.com/shop/jobs/actions/runs/7", ..recipe("github-actions", runners::workflow) },
    Recipe { good: "start success", bad: "start fail", ..recipe("watched.py", |place| runners::python(place, "watched.py")) },
];

/// The blocks that are looked at by tests of their own, below.
const OTHERS: &[&str] = &[
    "crontab-heartbeats",
    "environment-file",
    "backup.timer",
    "timer-heartbeat",
    "secret",
    "cronjob-heartbeat",
    "cronjob-exec-heartbeat",
    "github-actions-heartbeat",
];

/// The kinds of all check-ins, oldest first. A last one of the test's own says that nothing before it is still to come.
fn reported(server: &Server, heartbeat: &Heartbeat) -> (String, Vec<Value>) {
    let marked = server.get(&format!("/ping/{}/log", heartbeat.token));
    assert_eq!(marked.status, 200);
    let mut checkins = until("the mark", || {
        let found = server.checkins(heartbeat);
        (found.first()?["kind"] == "log").then_some(found)
    });
    checkins.remove(0);
    checkins.reverse();
    let kinds: Vec<&str> = checkins
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect();
    (kinds.join(" "), checkins)
}

fn place(server: &Server, heartbeat: &Heartbeat, job: i32) -> Place {
    Place::new(&server.url, &heartbeat.token, job)
}

#[test]
fn every_block_is_run() {
    let named: BTreeSet<&str> = RECIPES
        .iter()
        .map(|recipe| recipe.name)
        .chain(OTHERS.iter().copied())
        .collect();
    let blocks = blocks::all();
    let there: BTreeSet<&str> = blocks.iter().map(|block| block.name.as_str()).collect();
    assert_eq!(named, there);
    assert_eq!(there.len(), blocks.len(), "a name twice");
}

#[test]
fn a_job_that_succeeds_is_reported_and_ends_as_it_would_alone() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for recipe in RECIPES {
        let heartbeat = server.heartbeat(recipe.name);
        let place = place(&server, &heartbeat, 0);
        let ended = (recipe.run)(&place);
        assert_eq!(
            (ended.status, ended.stderr.as_str()),
            (0, ""),
            "{}",
            recipe.name
        );
        assert_eq!(place.runs(), recipe.runs, "{}", recipe.name);
        let (kinds, checkins) = reported(&server, &heartbeat);
        assert_eq!(kinds, recipe.good, "{}", recipe.name);
        let body = checkins.last().unwrap()["body"]
            .as_str()
            .unwrap_or_default();
        assert!(body.contains(recipe.said), "{}: {body}", recipe.name);
        assert_eq!(server.state(&heartbeat), "up", "{}", recipe.name);
        assert!(
            !ended.stdout.contains("OK"),
            "{}: cron would mail it",
            recipe.name
        );
    }
}

#[test]
fn a_job_that_fails_keeps_its_status_and_no_success_is_reported() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for recipe in RECIPES {
        let heartbeat = server.heartbeat(recipe.name);
        let place = place(&server, &heartbeat, 3);
        let ended = (recipe.run)(&place);
        assert_eq!(ended.status, 3, "{}: {}", recipe.name, ended.stderr);
        assert_eq!(place.runs(), 1, "{}", recipe.name);
        assert_eq!(
            reported(&server, &heartbeat).0,
            recipe.bad,
            "{}",
            recipe.name
        );
        let state = if recipe.bad.is_empty() { "new" } else { "down" };
        until(recipe.name, || {
            (server.state(&heartbeat) == state).then_some(())
        });
    }
}

#[test]
fn a_report_that_is_refused_fails_no_job_and_is_said() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for recipe in RECIPES {
        let place = Place::new(&server.url, "0000-no-such-token", 0);
        let ended = (recipe.run)(&place);
        assert_eq!(ended.status, 0, "{}: {}", recipe.name, ended.stderr);
        assert_eq!(place.runs(), recipe.runs, "{}", recipe.name);
        let said = ended.stderr + &ended.stdout;
        // systemd writes what curl says into the journal.
        let is_said = ["not sent", "was not reported", "404"]
            .iter()
            .any(|words| said.contains(words));
        assert!(is_said, "{}: {said}", recipe.name);
    }
}

#[test]
fn a_report_waits_for_a_server_that_is_away() {
    let data = directory();
    let server = Server::start(data.path(), &["--listen", "127.0.0.71:0"]);
    let heartbeat = server.heartbeat("watched");
    let place = place(&server, &heartbeat, 0);
    let address = server.address.to_string();
    server.stop();
    let (ended, server) = std::thread::scope(|scope| {
        let running = scope.spawn(|| runners::script(&place, "after-success"));
        until("the job's end", || (place.runs() == 1).then_some(()));
        let server = Server::start(data.path(), &["--listen", &address]);
        (running.join().unwrap(), server)
    });
    assert_eq!((ended.status, place.runs()), (0, 1), "{}", ended.stderr);
    assert_eq!(reported(&server, &heartbeat).0, "success");
}

#[test]
fn a_backup_that_cannot_be_read_is_not_reported() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let place = place(&server, &heartbeat, 0);
    place.program("usr/local/bin/pg_restore", "exit 1\n");
    let ended = runners::script(&place, "pg-dump");
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    assert_eq!(reported(&server, &heartbeat).0, "");
}

#[test]
fn a_percent_sign_in_a_crontab_reaches_the_job() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let place = place(&server, &heartbeat, 0);
    let ended = runners::cron(&place, "crontab", 1);
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let made = std::fs::read_dir(place.at("/backup")).unwrap();
    let names: Vec<String> = made
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let [name] = &names[..] else {
        panic!("{names:?}");
    };
    assert!(
        name.starts_with("etc-20") && name.ends_with(".tar.gz"),
        "{name}"
    );
}

#[test]
fn the_secret_holds_the_url_and_no_line_break() {
    let place = Place::new("https://monitor.example.com", "c0ffee00", 0);
    let ended = runners::script(&place, "secret");
    assert_eq!(
        (ended.status, ended.stdout, ended.stderr.as_str()),
        (0, place.url(), "")
    );
    assert!(!place.at("heartbeat-url").exists());
}

#[test]
fn the_heartbeats_are_made_and_fit_what_they_watch() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    for block in blocks::all() {
        if !block.name.contains("heartbeat") {
            continue;
        }
        let path = data.path().join("document.yaml");
        std::fs::write(&path, &block.text).unwrap();
        let output = systole(&["apply", "-f"])
            .arg(&path)
            .env("SYSTOLE_SERVER", &server.url)
            .env("SYSTOLE_TOKEN_FILE", data.path().join("local-token"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}: {said}", block.name);
        assert!(said.lines().all(|line| line.ends_with("created")), "{said}");
    }
    let schedule = |name: &str| {
        let shown = server.shown(&format!("/monitors?q={name}"));
        let [monitor] = &shown["items"].as_array().unwrap()[..] else {
            panic!("{shown}");
        };
        let text = |key: &str| {
            monitor["schedule"][key]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (text("cron"), text("timezone"), text("dialect"))
    };
    let expected = |cron: &str, zone: &str, dialect: &str| {
        (cron.to_owned(), zone.to_owned(), dialect.to_owned())
    };
    for (block, heartbeat) in [("cronjob", "nightly-report"), ("cronjob-exec", "invoices")] {
        let manifest: Value = serde_saphyr::from_str(&blocks::text(block)).unwrap();
        let zone = manifest["spec"]["timeZone"].as_str().unwrap_or("UTC");
        let cron = manifest["spec"]["schedule"].as_str().unwrap();
        assert_eq!(
            schedule(heartbeat),
            expected(cron, zone, "kubernetes"),
            "{block}"
        );
    }
    let lines = runners::crontab(&blocks::text("crontab"));
    for (line, heartbeat) in lines.iter().zip(["nightly-backup", "etc"]) {
        assert_eq!(
            schedule(heartbeat),
            expected(&line.expression, "Europe/Berlin", "classic")
        );
    }
    let workflow: Value = serde_saphyr::from_str(&blocks::text("github-actions")).unwrap();
    let cron = workflow["on"]["schedule"][0]["cron"].as_str().unwrap();
    assert_eq!(
        schedule("nightly-workflow"),
        expected(cron, "UTC", "classic")
    );
    let timer = blocks::text("backup.timer");
    assert_eq!(
        runners::unit(&timer, "OnCalendar"),
        ["*-*-* 02:00:00 Europe/Berlin"]
    );
    assert_eq!(
        schedule("timer-backup"),
        expected("0 2 * * *", "Europe/Berlin", "classic")
    );
}
