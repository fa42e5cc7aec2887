//! `systole exec` as cron, a terminal or a container run it, against a real server and against ones that misbehave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../common/mod.rs"]
mod common;
#[expect(dead_code, reason = "other tests need the rest")]
#[path = "../support/mod.rs"]
mod support;

mod reports;
mod signals;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use common::{Heartbeat, Server, clean, directory, systole, until};
use serde_json::Value;
use support::Fake;

const TOKEN: &str = "c0ffee00-1111-4222-8333-444455556666";

/// Flags and a script; what comes out on stdout and stderr, and what is kept.
type Passed = (
    &'static [&'static str],
    &'static str,
    Vec<u8>,
    &'static [u8],
    Vec<u8>,
);

/// `systole exec` that reports to this heartbeat, with flags and the command to come.
fn exec(server: &Server, heartbeat: &Heartbeat) -> Command {
    exec_to(&server.url, &heartbeat.token)
}

fn exec_to(url: &str, token: &str) -> Command {
    let mut command = systole(&["exec", "--server", url]);
    command.env("SYSTOLE_PING", token).stdin(Stdio::null());
    command
}

/// The same behind `env`, which says how signals are set before it becomes our program.
fn behind_env(how: &str, inner: &Command) -> Command {
    let mut command = Command::new("env");
    clean(&mut command);
    command
        .arg(how)
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::null());
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
}

fn ended(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The check-ins of the heartbeat, oldest first, once there are so many.
fn reported(server: &Server, heartbeat: &Heartbeat, count: usize) -> Vec<Value> {
    let mut found = until("the check-ins", || {
        Some(server.checkins(heartbeat)).filter(|found| found.len() >= count)
    });
    found.reverse();
    found
}

fn kinds(checkins: &[Value]) -> Vec<&str> {
    checkins
        .iter()
        .map(|one| one["kind"].as_str().unwrap())
        .collect()
}

fn body(checkin: &Value) -> Vec<u8> {
    match (checkin["body"].as_str(), checkin["body_base64"].as_str()) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, Some(coded)) => base64::engine::general_purpose::STANDARD
            .decode(coded)
            .unwrap(),
        (None, None) => Vec::new(),
    }
}

fn body_text(checkin: &Value) -> String {
    String::from_utf8(body(checkin)).unwrap()
}

/// A pipe with a name: who opens it for reading waits until the test writes to it.
fn fifo(directory: &Path, name: &str) -> String {
    let path = directory.join(name);
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    path.to_str().unwrap().to_owned()
}

fn there(directory: &Path, name: &str) {
    until(name, || directory.join(name).exists().then_some(()));
}

fn signal(process: &Child, name: &str) {
    let pid = process.id().to_string();
    let sent = Command::new("kill").args(["-s", name, &pid]).status();
    assert!(sent.unwrap().success());
}

/// Whether a process still does anything.
fn is_running(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            let (_, rest) = stat.rsplit_once(") ")?;
            rest.chars().next()
        })
        .is_some_and(|state| state != 'Z')
}

#[test]
fn the_command_s_exit_status_is_ours_and_is_reported() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let plain = files.path().join("plain");
    std::fs::write(&plain, "exit 0\n").unwrap();
    let plain = plain.to_str().unwrap();
    let folder = files.path().to_str().unwrap();
    let (not_executable, a_folder) = (["--", plain], ["--", folder]);
    let told = "systole: the command ran longer than 100ms: it was ended by SIGTERM\n";
    let cannot = |why: &str| format!("systole: cannot run {why}\n");
    let denied = |what: &str| cannot(&format!("{what}: Permission denied (os error 13)"));
    #[rustfmt::skip]
    let cases: Vec<(&[&str], i32, bool, String)> = vec![
        (&["--", "true"], 0, true, String::new()),
        (&["true"], 0, true, String::new()),
        (&["--", "sh", "-c", "echo text; exit 3"], 3, true, "text\n".into()),
        (&["--", "sh", "-c", "exit 255"], 255, true, String::new()),
        (&["--", "sh", "-c", "kill -KILL $$"], 137, true, "systole: the command was ended by SIGKILL\n".into()),
        (&["--", "sh", "-c", "printf part; kill -TERM $$"], 143, true,
            "part\nsystole: the command was ended by SIGTERM\n".into()),
        (&["--timeout", "100ms", "--", "sleep", "1000"], 124, true, told.into()),
        (&["--", "there-is-no-such-program"], 127, false, cannot("there-is-no-such-program: there is no such program")),
        (&["--", "./neither/this"], 127, false, cannot("./neither/this: there is no such program")),
        (&not_executable, 126, false, denied(plain)),
        (&a_folder, 126, false, denied(folder)),
    ];
    for (case, (arguments, status, runs, text)) in cases.into_iter().enumerate() {
        let heartbeat = server.heartbeat(&format!("case {case}"));
        let output = exec(&server, &heartbeat).args(arguments).output().unwrap();
        let (ours, _, stderr) = ended(&output);
        assert_eq!(ours, Some(status), "{arguments:?}: {stderr}");
        let expected: &[&str] = if runs {
            &["start", "exit_status"]
        } else {
            &["exit_status"]
        };
        let found = reported(&server, &heartbeat, expected.len());
        assert_eq!(kinds(&found), expected, "{arguments:?}");
        let end = found.last().unwrap();
        assert_eq!(end["exit_status"], status, "{arguments:?}");
        assert_eq!(body_text(end), text, "{arguments:?}");
        assert!(end["rid"].is_string(), "{arguments:?}: {end}");
        assert_eq!(end["rid"], found[0]["rid"], "{arguments:?}");
        assert_eq!(end["duration"].is_string(), runs, "{arguments:?}: {end}");
    }
}

#[test]
fn a_wrong_usage_runs_nothing() {
    let files = directory();
    let mark = files.path().join("mark");
    let run = |command: &mut Command| ended(&command.output().unwrap());
    #[rustfmt::skip]
    let cases: &[&[&str]] = &[
        &["exec", "--"],
        &["exec", "--ping", "neither this", "--"],
        &["exec", "--ping", "", "--"],
        &["exec", "--ping", "htp://example.com/ping/c0ffee00", "--"],
        &["exec", "--ping", "c0ffee00", "--server", "example.com", "--"],
        &["exec", "--ping", "c0ffee00", "--timeout", "0", "--"],
        &["exec", "--ping", "c0ffee00", "--timeout", "soon", "--"],
        &["exec", "--ping", "c0ffee00", "--report-timeout", "0s", "--"],
        &["exec", "--ping", "c0ffee00", "--kill-after", "-1s", "--"],
        &["exec", "--ping", "c0ffee00", "--no-such-flag", "--"],
    ];
    for arguments in cases {
        let (status, _, stderr) = run(systole(arguments).arg("touch").arg(&mark));
        assert_eq!(status, Some(2), "{arguments:?}: {stderr}");
        assert!(!mark.exists(), "{arguments:?}");
        assert!(!stderr.contains("c0ffee00"), "{arguments:?}: {stderr}");
    }
    let (status, _, stderr) = run(&mut systole(&["exec", "--ping", "c0ffee00", "--"]));
    assert_eq!(status, Some(2), "no command: {stderr}");
}

#[test]
fn output_passes_through_unchanged_and_its_end_is_reported() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let many = "head -c 3000000 /dev/zero | tr '\\0' x; echo; echo end";
    let many_out = [vec![b'x'; 3_000_000], b"\nend\n".to_vec()].concat();
    #[rustfmt::skip]
    let cases: Vec<Passed> = vec![
        (&[], "printf '\\377\\000\\001 no line'", b"\xff\x00\x01 no line".to_vec(), b"", b"\xff\x00\x01 no line".to_vec()),
        (&[], "printf gone >&2", Vec::new(), b"gone", b"gone".to_vec()),
        (&[], many, many_out.clone(), b"", many_out[many_out.len() - 10_000..].to_vec()),
        (&["--no-output"], "echo a secret; echo another >&2", b"a secret\n".to_vec(), b"another\n", Vec::new()),
    ];
    for (case, (flags, script, out, err, kept)) in cases.into_iter().enumerate() {
        let heartbeat = server.heartbeat(&format!("case {case}"));
        let output = exec(&server, &heartbeat)
            .args(flags)
            .args(["--", "sh", "-c", script])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{script}");
        assert!(output.stdout == out, "{script}");
        assert_eq!(output.stderr, err, "{script}");
        let found = reported(&server, &heartbeat, 2);
        assert!(body(&found[1]) == kept, "{script}: {}", found[1]);
        assert_eq!(found[1]["body_truncated"], false, "{script}");
    }
}

#[test]
fn as_much_output_is_reported_as_the_server_keeps() {
    let data = directory();
    let server = Server::start(data.path(), &["--ping-body-limit", "60"]);
    let heartbeat = server.heartbeat("watched");
    let script = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done; kill -KILL $$";
    exec(&server, &heartbeat)
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    let found = reported(&server, &heartbeat, 2);
    let text = body_text(&found[1]);
    assert!(
        text.len() == 60 && text.ends_with("line 99\nsystole: the command was ended by SIGKILL\n"),
        "{text}"
    );
}

#[test]
fn stdout_and_stderr_that_go_to_one_place_keep_their_order() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let script = "i=0; while [ $i -lt 200 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let inner = exec(&server, &heartbeat);
    let mut command = Command::new("sh");
    clean(&mut command);
    let output = command
        .args(["-c", r#""$@" 2>&1"#, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .args(["--", "sh", "-c", script])
        .env("SYSTOLE_PING", &heartbeat.token)
        .output()
        .unwrap();
    let expected: String = (0..200).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(ended(&output), (Some(0), expected.clone(), String::new()));
    assert_eq!(body_text(&reported(&server, &heartbeat, 2)[1]), expected);
}

#[test]
fn a_running_command_reads_our_stdin_and_its_output_is_seen_at_once() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let mut process = exec(&server, &heartbeat)
        .args(["--", "sh", "-c", "printf name?; read name; echo \" $name\""])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut asked = [0; 5];
    let stdout = process.stdout.as_mut().unwrap();
    stdout.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"name?");
    let stdin = process.stdin.as_mut().unwrap();
    stdin.write_all(b"systole\n").unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(
        ended(&output),
        (Some(0), " systole\n".into(), String::new())
    );
}

#[test]
fn a_command_whose_output_nobody_reads_ends_as_it_would_without_us() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let mut process = exec(&server, &heartbeat)
        .args(["--", "yes"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    process
        .stdout
        .take()
        .unwrap()
        .read_exact(&mut [0; 4])
        .unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(141));
    let found = reported(&server, &heartbeat, 2);
    assert_eq!(found[1]["exit_status"], 141);
}

#[test]
fn a_process_left_behind_does_not_keep_us_though_it_keeps_the_output_open() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let output = exec(&server, &heartbeat)
        .args(["--", "sh", "-c", "sleep 1000 & echo $!"])
        .output()
        .unwrap();
    let (status, pid, stderr) = ended(&output);
    assert!(
        is_running(pid.trim()),
        "what a command leaves behind lives on"
    );
    let killed = Command::new("kill").arg(pid.trim()).status().unwrap();
    assert!(killed.success());
    let note = "systole: a process that the command left behind keeps its output open; it is not waited for\n";
    assert_eq!((status, stderr.as_str()), (Some(0), note));
    let found = reported(&server, &heartbeat, 2);
    assert_eq!(body_text(&found[1]), format!("{pid}{note}"));
}
