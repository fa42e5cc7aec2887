//! Documents against a real server: sets and pruning, differences, export and back.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;

use std::path::Path;
use std::process::Output;

use common::{Server, directory, systole};
use serde_json::{Value, json};

struct Home {
    server: Server,
    data: tempfile::TempDir,
    /// Where documents lie.
    files: tempfile::TempDir,
}

/// What a command said.
struct Said {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Home {
    fn new() -> Home {
        let data = directory();
        Home {
            server: Server::start(data.path(), &[]),
            data,
            files: directory(),
        }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.files.path().join(name), text).unwrap();
    }

    /// `systole COMMAND -f DIRECTORY MORE`.
    fn documents(&self, command: &str, more: &[&str]) -> Said {
        let files = self.files.path().to_str().unwrap();
        self.run(&[&[command, "-f", files], more].concat(), &[])
    }

    fn run(&self, arguments: &[&str], environment: &[(String, String)]) -> Said {
        self.run_with(
            &self.data.path().join("local-token"),
            arguments,
            environment,
        )
    }

    fn run_with(&self, token: &Path, arguments: &[&str], environment: &[(String, String)]) -> Said {
        let output = systole(arguments)
            .env("SYSTOLE_SERVER", &self.server.url)
            .env("SYSTOLE_TOKEN_FILE", token)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .output()
            .unwrap();
        said(&output)
    }

    fn names(&self, path: &str) -> Vec<String> {
        let shown = self.server.shown(path);
        let items = shown["items"].as_array().unwrap().iter();
        let mut names: Vec<String> = items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

fn said(output: &Output) -> Said {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Said {
        status: output.status.code().unwrap(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

impl Said {
    #[track_caller]
    fn expect(self, status: i32, stdout: &str) -> Said {
        assert_eq!(
            (self.status, self.stdout.as_str()),
            (status, stdout),
            "{}",
            self.stderr
        );
        self
    }

    #[track_caller]
    fn complains(self, status: i32, part: &str) -> Said {
        assert_eq!(self.status, status, "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(part), "{}", self.stderr);
        self
    }
}

const OPS: &str = "kind: webhook\nname: ops\nconfig: {url: 'https://hooks.example.com/x'}\n";

fn heartbeat(name: &str, more: &str) -> String {
    format!("kind: heartbeat\nname: {name}\nschedule: {{every: 6h}}\n{more}")
}

#[test]
fn only_what_its_own_set_made_and_the_documents_no_longer_name_is_pruned() {
    let home = Home::new();
    home.server.heartbeat("by hand");
    home.write(
        "a.yaml",
        &format!(
            "{OPS}---\n{}---\n{}",
            heartbeat("one", "channels: [ops]\n"),
            heartbeat("two", "")
        ),
    );
    home.documents("apply", &[]).expect(
        0,
        "channel ops: created\nheartbeat one: created\nheartbeat two: created\n",
    );
    let other = directory();
    std::fs::write(
        other.path().join("b.yaml"),
        heartbeat("three", "channels: [ops]\n"),
    )
    .unwrap();
    let other_file = other.path().to_str().unwrap().to_owned();
    home.run(&["apply", "-f", &other_file, "--set", "team-b"], &[])
        .expect(0, "heartbeat three: created\n");
    let shown = home.server.shown("/monitors?set=team-b");
    assert_eq!(shown["items"][0]["name"], "three");
    assert_eq!(shown["items"][0]["set"], "team-b");

    home.write("a.yaml", &heartbeat("two", ""));
    home.documents("apply", &[])
        .expect(0, "heartbeat two: unchanged\n");
    assert_eq!(home.names("/monitors"), ["by hand", "one", "three", "two"]);

    let would = "heartbeat two: unchanged\nheartbeat one: would be deleted\nchannel ops: would be deleted\n";
    home.documents("apply", &["--prune", "--dry-run"])
        .expect(0, would);
    home.documents("diff", &["--prune"])
        .expect(1, "- heartbeat one\n- channel ops\n");
    assert_eq!(home.names("/monitors"), ["by hand", "one", "three", "two"]);

    home.documents("apply", &["--prune"])
        .expect(
            0,
            "heartbeat two: unchanged\nheartbeat one: deleted\nchannel ops: deleted\n",
        )
        .complains(0, "channel ops (still named by three, which would lose it)");
    assert_eq!(home.names("/monitors"), ["by hand", "three", "two"]);
    assert!(home.names("/channels").is_empty());
    home.documents("apply", &["--prune", "--yes"])
        .expect(0, "heartbeat two: unchanged\n");
}

#[test]
fn what_others_made_is_changed_and_stays_theirs_unless_it_is_taken() {
    let home = Home::new();
    home.server.heartbeat("by hand");
    home.write("a.yaml", &heartbeat("shared", ""));
    home.documents("apply", &["--set", "team-a"])
        .expect(0, "heartbeat shared: created\n");
    home.write(
        "a.yaml",
        &format!(
            "{}---\nkind: heartbeat\nname: by hand\nschedule: {{every: 1h}}\n",
            heartbeat("shared", "grace: 9m\n")
        ),
    );
    home.documents("apply", &["--set", "team-b"]).expect(
        0,
        "heartbeat shared: changed (grace); it belongs to set \"team-a\" and stays there (--take takes it)\n\
         heartbeat by hand: unchanged; it was not made by set \"team-b\", which does not own it (--take takes it)\n",
    );
    home.documents("diff", &["--set", "team-b"]).expect(0, "");
    home.documents("diff", &["--set", "team-b", "--take"]).expect(
        1,
        "~ heartbeat shared\n    set: team-a → team-b\n~ heartbeat by hand\n    set: (none) → team-b\n",
    );
    home.documents("apply", &["--set", "team-b", "--take"])
        .expect(
            0,
            "heartbeat shared: changed (set)\nheartbeat by hand: changed (set)\n",
        );
    home.documents("apply", &["--set", "team-b"]).expect(
        0,
        "heartbeat shared: unchanged\nheartbeat by hand: unchanged\n",
    );
    // The page and the API change it without taking it.
    let id = home.server.shown("/monitors?name=shared")["items"][0]["id"].clone();
    let path = format!("/monitors/{}", id.as_str().unwrap());
    let (status, changed) = home.server.api("PATCH", &path, &json!({"grace": "1m"}));
    assert_eq!((status, &changed["set"]), (200, &json!("team-b")));
    let put = json!({"kind": "heartbeat", "name": "shared", "schedule": {"every": "1h"}});
    let (status, changed) = home.server.api("PUT", &path, &put);
    assert_eq!((status, &changed["set"]), (200, &json!("team-b")));
    let (status, changed) = home.server.api("PATCH", &path, &json!({"set": null}));
    assert_eq!((status, &changed["set"]), (200, &Value::Null));
}

fn maintenance(name: &str, more: &str) -> String {
    format!(
        "kind: maintenance\nname: {name}\nall: true\nwhen: {{start: 2026-12-01T22:00:00Z, duration: 4h}}\n{more}"
    )
}

#[test]
fn maintenances_belong_to_sets_and_are_pruned_last() {
    let home = Home::new();
    let by_hand = json!({"name": "by hand", "all": true, "when": {"duration": "1h"}});
    assert_eq!(
        home.server.api("POST", "/maintenances", &by_hand).0,
        201,
        "without a set"
    );
    home.write(
        "a.yaml",
        &format!("{}---\n{}", maintenance("gone", ""), heartbeat("one", "")),
    );
    home.write("b.yaml", &maintenance("stays", ""));
    home.documents("apply", &["--set", "team-a"]).expect(
        0,
        "heartbeat one: created\nmaintenance gone: created\nmaintenance stays: created\n",
    );
    home.write("a.yaml", "# nothing\n");
    home.write(
        "b.yaml",
        &maintenance("stays", "description: longer\nselector: a=b\n"),
    );
    home.documents("apply", &["--set", "team-b"]).expect(
        0,
        "maintenance stays: changed (description, selector); it belongs to set \"team-a\" and stays there (--take takes it)\n",
    );
    home.documents("diff", &["--set", "team-b", "--take"])
        .expect(1, "~ maintenance stays\n    set: team-a → team-b\n");
    home.documents("diff", &["--set", "team-a", "--prune"])
        .expect(1, "- heartbeat one\n- maintenance gone\n");
    home.documents("apply", &["--set", "team-a", "--prune"])
        .expect(
            0,
            "maintenance stays: unchanged\nheartbeat one: deleted\nmaintenance gone: deleted\n",
        );
    assert_eq!(home.names("/maintenances"), ["by hand", "stays"]);

    // The page and the API change it without taking it.
    let id = home.server.shown("/maintenances?state=planned")["items"][0]["id"].clone();
    let path = format!("/maintenances/{}", id.as_str().unwrap());
    let put = json!({"name": "stays", "all": true, "when": {"duration": "2h"}});
    let (status, changed) = home.server.api("PUT", &path, &put);
    assert_eq!((status, &changed["set"]), (200, &json!("team-a")));
    home.write("b.yaml", &maintenance("stays", ""));
    let moved = home.documents("diff", &["--set", "team-a"]);
    assert_eq!(moved.status, 1, "{}", moved.stdout);
    assert!(
        moved
            .stdout
            .contains("when.duration: (none) → 4h\n    when.end: "),
        "{}",
        moved.stdout
    );
    home.documents("apply", &["--set", "team-b", "--take"])
        .expect(0, "maintenance stays: changed (when, set)\n");
    let (status, changed) = home.server.api("PATCH", &path, &json!({"set": null}));
    assert_eq!((status, &changed["set"]), (200, &Value::Null));
    let (status, refused) = home.server.api("PATCH", &path, &json!({"set": "a b"}));
    assert_eq!(
        (status, &refused["errors"][0]["field"]),
        (422, &json!("set"))
    );
}

#[test]
fn a_wrong_path_or_a_refused_document_prunes_nothing() {
    let home = Home::new();
    home.write("a.yaml", &heartbeat("one", ""));
    home.documents("apply", &[])
        .expect(0, "heartbeat one: created\n");
    home.write("a.yaml", "# nothing\n");
    for more in [&["--prune", "--yes"][..], &["--prune", "--dry-run"]] {
        home.documents("apply", more)
            .complains(1, "would delete all that the set made");
    }
    home.documents("diff", &["--prune"])
        .complains(2, "would delete all that the set made");
    home.write(
        "a.yaml",
        "kind: heartbeat\nname: new\nschedule: {every: 6h}\nchannels: [nobody]\n",
    );
    home.documents("apply", &["--prune"])
        .complains(1, "nothing was pruned, since documents were refused");
    assert_eq!(home.names("/monitors"), ["one"]);
    home.documents("apply", &["--set", "not a name"])
        .complains(2, "--set: contains ' '");
    home.write("a.yaml", &heartbeat("one", "set: other\n"));
    home.documents("apply", &[])
        .complains(1, "set: does not stand in documents");
}

#[test]
fn a_difference_is_shown_field_by_field_and_by_the_exit_status() {
    let home = Home::new();
    home.write("a.yaml", &format!("{OPS}---\n{}", heartbeat("one", "")));
    home.documents("diff", &[]).expect(
        1,
        "+ channel ops\n    config: url\n+ heartbeat one\n    schedule: {\"every\":\"6h\"}\n",
    );
    home.documents("apply", &[]).complains(0, "");
    home.documents("diff", &[]).expect(
        0,
        "? channel ops\n    config.secret: a secret, which cannot be compared\n",
    );
    let changed = heartbeat(
        "one",
        "severity: warning\nlabels: {team: billing}\nchannels: [ops]\n",
    );
    home.write("a.yaml", &changed.replace("6h", "2h"));
    home.documents("diff", &[]).expect(
        1,
        "~ heartbeat one\n    channels: (none) → [\"ops\"]\n    labels.team: (none) → billing\n    \
         schedule.every: 6h → 2h\n    severity: critical → warning\n",
    );
    home.write("a.yaml", "kind: heartbeat\nname: one\nshedule: 1\n");
    home.documents("diff", &[])
        .complains(2, "did you mean \"schedule\"?");
    home.run(&["diff"], &[]).complains(2, "--file");
    home.write("a.yaml", &heartbeat("one", ""));
    home.run(
        &[
            "diff",
            "-f",
            home.files.path().to_str().unwrap(),
            "--server",
            "http://127.0.0.1:1",
        ],
        &[],
    )
    .complains(2, "cannot reach");
}

/// Every field of every kind of document.
const WHOLE: &str = r##"
kind: webhook
name: "on-call: #1"
config:
  url: https://hooks.example.com/a?b=c
  secret: {env: HOOK_SECRET}
  format: vigilmon
  headers: {Authorization: {env: HOOK_HEADER}, X-Env: {env: HOOK_HEADER}}
default: false
system: true
remind_every: 90m
digest: true
---
kind: channel
type: webhook
name: plain
config: {url: "http://plain.example.com/", secret: {env: HOOK_SECRET}}
remind_every: 0
---
kind: heartbeat
name: 'yes'
slug: nightly_backup
description: "first line\n\n  second: #line\n"
schedule: {cron: "0 2 * * 1-5", timezone: Europe/Oslo, dialect: kubernetes}
grace: 30m
start_grace: 5m
max_runtime: 1h30m
early_window: 90s
fail_threshold: 3
recovery_threshold: 2
severity: warning
labels: {team: billing, app.kubernetes.io/name: "1", empty: ""}
owner: "null"
runbook_url: https://runbooks.example.com/x
channels: [plain, "on-call: #1"]
token: {env: TOKEN}
---
kind: heartbeat
name: quiet
schedule: {every: 90s}
channels: []
---
kind: heartbeat
name: plain
schedule: {every: 1d}
---
kind: maintenance
name: "upgrade: #1"
description: "first line\n\n  second: #line\n"
selector: team in (billing,shop), !legacy
when: {start: 2026-12-01T22:00, duration: 4h, timezone: Asia/Tokyo}
---
kind: maintenance
name: patches
monitors: [quiet, 'yes']
when: {rrule: "FREQ=MONTHLY;BYDAY=1SU", start: 2026-12-06T02:00, duration: 90m, timezone: Europe/Berlin}
---
kind: maintenance
name: whole house
all: true
when: {start: "2027-01-01T00:00:00Z", end: "2027-01-01T06:00:00Z"}
---
kind: maintenance
name: over
all: true
selector: a=b
monitors: [plain]
when: {rrule: "FREQ=DAILY;COUNT=2", start: 2020-01-01T02:00, duration: 1h}
"##;

#[test]
fn an_export_is_read_back_to_no_change_here_and_to_the_same_on_another_server() {
    let home = Home::new();
    home.write("a.yaml", WHOLE);
    let given = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let secrets = [
        given(
            "HOOK_SECRET",
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        ),
        given("HOOK_HEADER", "Bearer hidden"),
        given("TOKEN", "a-token-of-ours"),
    ];
    let files = home.files.path().to_str().unwrap().to_owned();
    home.run(&["apply", "-f", &files], &secrets)
        .complains(0, "");

    let env_file = home.data.path().join("variables");
    let env_name = env_file.to_str().unwrap();
    let exported = home.run(&["export", "--env-file", env_name], &[]);
    assert_eq!(exported.status, 0, "{}", exported.stderr);
    let yaml = exported.stdout;
    for hidden in ["whsec_", "hidden", "a-token-of-ours"] {
        assert!(!yaml.contains(hidden), "{yaml}");
    }
    home.run(&["export", "--env-file", env_name], &[])
        .complains(1, "name a file that is not there yet");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&env_file).unwrap());
    assert_eq!(mode & 0o777, 0o600);

    // What the variables' file leaves open, is filled in.
    let mut variables: Vec<(String, String)> = Vec::new();
    for line in std::fs::read_to_string(&env_file).unwrap().lines() {
        let Some((name, value)) = line.split_once('=') else {
            continue;
        };
        match (name.strip_prefix('#'), name) {
            (Some(name), _) if name.ends_with("_SECRET") => {
                variables.push(given(name, &secrets[0].1));
            }
            (Some(name), _) if name.starts_with("CHANNEL_") => {
                variables.push(given(name, &secrets[1].1));
            }
            (None, name) => variables.push(given(name, value)),
            _ => {}
        }
    }
    assert_eq!(variables.len(), 7, "{variables:?}");
    for (name, _) in &variables {
        assert!(
            yaml.lines()
                .any(|line| line.starts_with(&format!("#   {name}: "))),
            "{name} is not said in {yaml}"
        );
    }

    let json = home.run(&["export", "-o", "json"], &[]).stdout;
    for (name, text) in [("a.yaml", &yaml), ("b.yaml", &json)] {
        std::fs::remove_file(home.files.path().join("a.yaml")).unwrap_or_default();
        home.write(name, text);
        let again = home.run(&["apply", "-f", &files], &variables);
        assert_eq!(again.status, 0, "{}{text}", again.stderr);
        assert_eq!(again.stdout.lines().count(), 9, "{}", again.stdout);
        assert!(
            again
                .stdout
                .lines()
                .all(|line| line.ends_with(": unchanged")),
            "{}{text}",
            again.stdout
        );
        let compared = home.run(&["diff", "-f", &files], &variables);
        assert_eq!(compared.status, 0, "{}", compared.stdout);
    }

    std::fs::remove_file(home.files.path().join("b.yaml")).unwrap();
    home.write("a.yaml", &yaml);
    let other = Home::new();
    let made = other.run(&["apply", "-f", &files], &variables);
    assert_eq!(made.status, 0, "{}", made.stderr);
    let moved = other.run(&["export"], &[]).stdout;
    assert_eq!(moved, yaml, "the same on another server");
    let ping = other.server.get("/ping/a-token-of-ours");
    assert_eq!(ping.status, 200, "ping URLs survive the move");
}

#[test]
fn an_export_of_one_set_is_what_that_set_made_and_viewers_export_nothing() {
    let home = Home::new();
    home.server.heartbeat("by hand");
    home.write("a.yaml", &format!("{OPS}---\n{}", heartbeat("one", "")));
    home.documents("apply", &["--set", "a"]).complains(0, "");
    let yaml = home.run(&["export", "--set", "a"], &[]).stdout;
    assert!(
        yaml.contains("name: one") && yaml.contains("name: ops") && !yaml.contains("by hand"),
        "{yaml}"
    );
    home.run(&["export", "--set", "b"], &[]).expect(
        0,
        "# Written by `systole export`, for `systole apply -f`.\n",
    );

    let (_, made) = home
        .server
        .api("POST", "/tokens", &json!({"name": "v", "role": "viewer"}));
    let token = home.data.path().join("viewer");
    std::fs::write(&token, made["token"].as_str().unwrap()).unwrap();
    home.run_with(&token, &["export"], &[])
        .complains(1, "status 403");
}

#[test]
fn many_new_heartbeats_are_made_and_those_that_are_refused_are_told_one_by_one() {
    let home = Home::new();
    let taken = json!({"kind": "heartbeat", "name": "by hand", "slug": "taken", "schedule": {"every": "1h"}});
    assert_eq!(home.server.api("POST", "/monitors", &taken).0, 201);
    let more = |n: usize| match n {
        3 => "slug: taken\n",
        7 | 1_100 => "slug: shared\n",
        1_150 => "channels: [nobody]\n",
        _ => "",
    };
    let documents: Vec<String> = (0..1_200)
        .map(|n| heartbeat(&format!("job {n}"), more(n)))
        .collect();
    home.write("a.yaml", &documents.join("---\n"));
    let is_refused = |n: &usize| matches!(n, 3 | 1_100 | 1_150);
    let told = |what: &str| -> String {
        (0..1_200)
            .filter(|n| !is_refused(n))
            .map(|n| format!("heartbeat job {n}: {what}\n"))
            .collect()
    };
    let said = home
        .documents("apply", &[])
        .expect(1, &told("created"))
        .complains(1, "heartbeat job 3: slug: is taken by another monitor");
    for part in [
        "heartbeat job 1100: slug: is taken by another monitor (status 409)",
        "heartbeat job 1150: channels[0]: no channel has the name or id \"nobody\"",
    ] {
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    home.documents("apply", &["--dry-run"])
        .complains(0, "")
        .stdout
        .lines()
        .enumerate()
        .for_each(|(n, line)| {
            let expected = if is_refused(&n) {
                "would be created"
            } else {
                "unchanged"
            };
            assert_eq!(line, format!("heartbeat job {n}: {expected}"));
        });
    home.documents("apply", &[])
        .expect(1, &told("unchanged"))
        .complains(1, "heartbeat job 1150: ");
}

#[test]
fn a_slug_that_one_document_lets_go_is_there_for_the_next() {
    let home = Home::new();
    home.write("a.yaml", &heartbeat("old", "slug: nightly\n"));
    home.documents("apply", &[])
        .expect(0, "heartbeat old: created\n");
    home.write(
        "a.yaml",
        &[
            heartbeat("first", ""),
            heartbeat("old", "slug: former\n"),
            heartbeat("new", "slug: nightly\n"),
        ]
        .join("---\n"),
    );
    home.documents("apply", &[]).expect(
        0,
        "heartbeat first: created\nheartbeat old: changed (slug)\nheartbeat new: created\n",
    );
}
