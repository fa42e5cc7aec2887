//! The first night: a crontab run by Debian's cron, jobs that go wrong in every way, mail and Slack that tell of it, and the recovery.
//!
//! cron's resolution is a minute, so all jobs run side by side. `ci/first-night` starts it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../common/mod.rs"]
mod common;
mod cron;
mod mail;
#[path = "../../../server/src/channels/slack_limits.rs"]
mod slack_limits;
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/mod.rs"]
mod support;

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use common::{Heartbeat, Server, directory, until, until_within};
use cron::Cron;
use mail::{Letter, Mail};
use serde_json::{Value, json};
use support::Fake;

/// Three of cron's minutes, and the machine's slowness.
const NIGHT: Duration = Duration::from_secs(300);

/// A job that goes wrong once.
struct Job {
    name: &'static str,
    /// What it does in its first run, with flags of `systole exec`; in later runs it prints a line and succeeds.
    flags: &'static str,
    first: &'static str,
    max_runtime: &'static str,
    /// The reason, in the API and in people's words.
    reason: &'static str,
    sentence: &'static str,
    /// What the letter quotes, lines of it.
    quoted: &'static [&'static str],
}

const JOBS: &[Job] = &[
    Job {
        name: "fails",
        flags: "",
        first: "echo disk full; exit 3",
        max_runtime: "50s",
        reason: "exit_status",
        sentence: "The job ended with a non-zero exit status.",
        quoted: &["> disk full"],
    },
    Job {
        name: "hangs",
        flags: "--timeout 5s",
        first: "echo waiting for the lock; exec sleep 1000",
        max_runtime: "50s",
        reason: "exit_status",
        sentence: "The job ended with a non-zero exit status.",
        quoted: &[
            "> waiting for the lock",
            "> systole: the command ran longer than 5s: it was ended by SIGTERM",
        ],
    },
    Job {
        name: "is-killed",
        flags: "",
        first: "echo half way; kill -KILL $$",
        max_runtime: "50s",
        reason: "exit_status",
        sentence: "The job ended with a non-zero exit status.",
        quoted: &["> half way", "> systole: the command was ended by SIGKILL"],
    },
    // Nobody is left who could report the end.
    Job {
        name: "vanishes",
        flags: "",
        first: "until [ -e started ]; do sleep 0.1; done; kill -KILL $PPID; exec sleep 1000",
        max_runtime: "10s",
        reason: "overran",
        sentence: "A run was started and did not finish within its maximum run time.",
        quoted: &[],
    },
    // The second run succeeds while the first one hangs, which is noticed all the same.
    Job {
        name: "overlaps",
        flags: "",
        first: "exec sleep 1000",
        max_runtime: "70s",
        reason: "overran",
        sentence: "A run was started and did not finish within its maximum run time.",
        quoted: &[],
    },
    // Its program is not there, until the test puts it there.
    Job {
        name: "is-gone",
        flags: "",
        first: "",
        max_runtime: "50s",
        reason: "exit_status",
        sentence: "The job ended with a non-zero exit status.",
        quoted: &["there is no such program"],
    },
    // It runs once, is not started in the second minute, and runs again in the third.
    Job {
        name: "is-not-started",
        flags: "",
        first: "true",
        max_runtime: "50s",
        reason: "missed_deadline",
        sentence: "No success arrived by the expected time plus grace.",
        quoted: &[],
    },
];

/// Every minute, as its line in the crontab says.
fn heartbeat(server: &Server, name: &str, max_runtime: &str) -> Heartbeat {
    server.heartbeat_of(&json!({
        "kind": "heartbeat", "name": name, "schedule": {"cron": "* * * * *"},
        "grace": "20s", "max_runtime": max_runtime,
    }))
}

/// A job's script: it counts its runs.
fn script(home: &Path, name: &str, first: &str) {
    let text = format!(
        "#!/bin/sh\nset -e\ncd '{0}'\nn=$(($(cat {name}.runs 2>/dev/null || echo 0) + 1))\necho $n > {name}.runs\n\
         if [ $n -eq 1 ]; then {first}; fi\necho all is well\n",
        home.display()
    );
    executable(&home.join(name), &text);
}

fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The lines of a crontab that run these jobs and report to this server.
fn lines(server: &Server, jobs: &[(&Heartbeat, String)]) -> String {
    let mut text = format!("SYSTOLE_SERVER={}\n", server.url);
    for (heartbeat, command) in jobs {
        write!(
            text,
            "SYSTOLE_PING={}\n* * * * * {command}\n",
            heartbeat.token
        )
        .unwrap();
    }
    text
}

/// A channel of Slack at this receiver.
fn slack_channel(server: &Server, receiver: &Fake) {
    let config = json!({"url": format!("{}/services/T1/B1/hidden", receiver.url)});
    let (status, made) = server.api(
        "POST",
        "/channels",
        &json!({"kind": "slack", "name": "chat", "config": config}),
    );
    assert_eq!(status, 201, "{made}");
}

/// How many of Slack's messages say this of the job: alone, or as a line of several.
fn said_in_slack(payloads: &[Value], base: &str, what: &str, name: &str, number: u64) -> usize {
    let alone = format!("{what}: {name}");
    let listed = format!("{what}: <{base}/incidents/{number}|{name}>");
    payloads
        .iter()
        .filter(|payload| {
            let text = slack_limits::all_text(payload);
            text.lines()
                .any(|line| line == alone || line.starts_with(&listed))
        })
        .count()
}

#[test]
fn every_way_to_go_wrong_is_told_once_and_so_is_its_end() {
    let (data, away_data, home) = (directory(), directory(), directory());
    let outbound = ["--outbound-allow", "127.0.0.0/8"];
    let server = Server::start(data.path(), &outbound);
    let mail = Mail::start();
    let slack = Fake::start(|_| (200, "ok".to_owned()));
    slack_channel(&server, &slack);
    let letters =
        json!({"kind": "email", "name": "mail", "digest": false, "config": mail.config()});
    let (status, made) = server.api("POST", "/channels", &letters);
    assert_eq!(status, 201, "{made}");

    // Another server, which is away when its job runs. It has heard of the job, so there is something to miss.
    let quiet = Fake::start(|_| (200, "ok".to_owned()));
    let away = Server::start(
        away_data.path(),
        &[
            "--outbound-allow",
            "127.0.0.0/8",
            "--listen",
            "127.0.0.72:0",
        ],
    );
    slack_channel(&away, &quiet);
    let courier = heartbeat(&away, "courier", "50s");
    assert_eq!(away.get(&format!("/ping/{}", courier.token)).status, 200);
    let away_at = away.address.to_string();

    let heartbeats: Vec<Heartbeat> = JOBS
        .iter()
        .map(|job| heartbeat(&server, job.name, job.max_runtime))
        .collect();
    let well = heartbeat(&server, "is-well", "50s");
    let place = home.path().display();
    let mut commands = vec![(&well, format!("systole exec -- {place}/is-well"))];
    script(home.path(), "is-well", "true");
    for (job, heartbeat) in JOBS.iter().zip(&heartbeats) {
        let mut command = format!("systole exec {} -- {place}/{}", job.flags, job.name);
        if job.name == "is-not-started" {
            command = format!("{place}/not-in-the-second-minute && {command}");
        }
        if job.name != "is-gone" {
            script(home.path(), job.name, job.first);
        }
        commands.push((heartbeat, command));
    }
    let nth = "#!/bin/sh\ncd \"${0%/*}\"\necho >> minutes\n[ $(wc -l < minutes) -ne 2 ]\n";
    executable(&home.path().join("not-in-the-second-minute"), nth);
    // It notes the minute in which it ran.
    let note = format!("#!/bin/sh\ndate +%H:%M >> {place}/courier.minutes\n");
    executable(&home.path().join("courier"), &note);

    let programs = Path::new(env!("CARGO_BIN_EXE_systole")).parent().unwrap();
    let crontab = format!(
        "PATH={}:/usr/bin:/bin\nMAILTO=\"\"\n{}{}",
        programs.display(),
        lines(&server, &commands),
        lines(
            &away,
            &[(
                &courier,
                format!("systole exec --report-timeout 5m -- {place}/courier")
            )]
        ),
    );
    let crontab_file = home.path().join("crontab");
    std::fs::write(&crontab_file, crontab).unwrap();
    drop(away);
    let cron = Cron::start(&crontab_file);

    // The first minute.
    let job = |name: &str| &heartbeats[JOBS.iter().position(|job| job.name == name).unwrap()];
    until_within(NIGHT, "the start of the job that vanishes", || {
        (!server.checkins(job("vanishes")).is_empty()).then_some(())
    });
    std::fs::write(home.path().join("started"), "").unwrap();
    until("the news that a program is gone", || {
        (server.state(job("is-gone")) == "down").then_some(())
    });
    script(home.path(), "is-gone", "true");

    // The second one. The server that was away comes back when its job has run twice.
    let minutes = until_within(NIGHT, "two runs without a server", || {
        let text = std::fs::read_to_string(home.path().join("courier.minutes")).ok()?;
        (text.lines().count() >= 2).then_some(text)
    });
    let away = Server::start(
        away_data.path(),
        &["--outbound-allow", "127.0.0.0/8", "--listen", &away_at],
    );
    let reported = until("the results of both runs", || {
        let ends: Vec<Value> = away
            .checkins(&courier)
            .into_iter()
            .filter(|one| one["kind"] == "exit_status")
            .collect();
        (ends.len() >= 2).then_some(ends)
    });

    // The third one.
    let incidents = until_within(NIGHT, "the end of every incident", || {
        let shown = server.shown("/incidents?limit=500");
        let items = shown["items"].as_array().unwrap().clone();
        let over = items.iter().all(|one| one["state"] == "resolved");
        (over && items.len() >= JOBS.len()).then_some(items)
    });
    let letters = mail.letters(2 * JOBS.len());
    let payloads = until("everything in Slack", || {
        let payloads: Vec<Value> = slack
            .asked()
            .iter()
            .map(|asked| serde_json::from_str(&asked.body).unwrap())
            .collect();
        let over: usize = incidents
            .iter()
            .map(|incident| {
                let number = incident["number"].as_u64().unwrap();
                let name = incident["monitor"]["name"].as_str().unwrap();
                said_in_slack(&payloads, &server.url, "✅ Resolved", name, number)
            })
            .sum();
        (over >= JOBS.len()).then_some(payloads)
    });
    drop(cron);

    assert_eq!(incidents.len(), JOBS.len(), "{incidents:#?}");
    assert_eq!(letters.len(), 2 * JOBS.len());
    for job in JOBS {
        let incident = incidents
            .iter()
            .find(|one| one["monitor"]["name"] == job.name)
            .unwrap_or_else(|| panic!("no incident of {}", job.name));
        assert_eq!(incident["reason"], job.reason, "{}", job.name);
        assert_eq!(incident["reopened"], 0, "{}", job.name);
        let number = incident["number"].as_u64().unwrap();
        check_letters(job, number, &letters);
        for what in ["🔴 Down", "✅ Resolved"] {
            let times = said_in_slack(&payloads, &server.url, what, job.name, number);
            assert_eq!(times, 1, "{}: {what}: {payloads:#?}", job.name);
        }
    }
    for payload in &payloads {
        let wrong = slack_limits::wrong(payload, &server.url);
        assert!(wrong.is_empty(), "{wrong:?}: {payload:#}");
    }
    assert_eq!(server.state(&well), "up");

    // The outage was ours: the job ran, its results came, nobody was told anything.
    let mut ran: Vec<&str> = minutes.lines().collect();
    ran.dedup();
    assert_eq!(
        ran.len(),
        minutes.lines().count(),
        "a minute twice: {minutes}"
    );
    let mut runs: Vec<&str> = reported
        .iter()
        .map(|one| one["rid"].as_str().unwrap())
        .collect();
    runs.sort_unstable();
    runs.dedup();
    assert_eq!(runs.len(), reported.len(), "a result twice: {reported:#?}");
    assert!(reported.iter().all(|one| one["exit_status"] == 0));
    assert_eq!(away.state(&courier), "up");
    assert_eq!(away.shown("/incidents")["items"], json!([]));
    assert!(quiet.asked().is_empty(), "{:#?}", quiet.asked());
}

/// One letter when it went wrong and one when it was over, in one conversation.
fn check_letters(job: &Job, number: u64, letters: &[Letter]) {
    let one = |subject: String| {
        let found: Vec<&Letter> = letters
            .iter()
            .filter(|letter| letter.head("subject") == subject)
            .collect();
        let [letter] = found[..] else {
            panic!("{} letters with subject {subject}", found.len());
        };
        assert!(letter.is_sound(), "{subject}");
        letter
    };
    let name = job.name;
    let down = one(format!("[Down] {name}, incident #{number}"));
    let up = one(format!("Re: [Resolved] {name}, incident #{number}"));
    let text = down.text();
    for words in [&[job.sentence], job.quoted].concat() {
        assert!(text.contains(words), "{name}: {words:?} in {text}");
    }
    assert!(up.text().contains("It lasted"), "{name}: {}", up.text());
    assert!(!down.head("references").is_empty(), "{name}");
    assert_eq!(down.head("references"), up.head("references"), "{name}");
    assert_ne!(down.head("message-id"), up.head("message-id"), "{name}");
}
