//! `systole exec` as cron, a terminal or a container run it, against a real server and against ones that misbehave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;
#[expect(dead_code, reason = "other tests need the rest")]
mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use base64::Engine as _;
use common::{Heartbeat, Server, clean, directory, serve, systole, until};
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

#[test]
fn signals_reach_the_command_and_end_it_as_they_would_without_us() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    // What a trap must end itself, since it does not get every signal.
    let trapped = "trap 'echo got it; kill $pid 2>/dev/null; exit 7' NAME; sleep 1000 >/dev/null 2>&1 & pid=$!; : > ready; wait";
    for (name, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("USR1", 10),
        ("USR2", 12),
        ("ALRM", 14),
        ("TERM", 15),
    ] {
        let by_signal = format!(
            "systole: the command was ended by SIG{name}, which was sent to systole exec\n"
        );
        for (script, status, text) in [
            (
                ": > ready; exec sleep 1000".to_owned(),
                128 + number,
                by_signal,
            ),
            (trapped.replace("NAME", name), 7, "got it\n".to_owned()),
        ] {
            let files = directory();
            let heartbeat = server.heartbeat(&format!("{name} {status}"));
            let mut inner = exec(&server, &heartbeat);
            inner.args(["--", "sh", "-c", &script]);
            let mut process = behind_env("--default-signal", &inner)
                .current_dir(files.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            there(files.path(), "ready");
            signal(&process, name);
            assert_eq!(process.wait().unwrap().code(), Some(status), "{script}");
            let found = reported(&server, &heartbeat, 2);
            assert_eq!(found[1]["exit_status"], status, "{script}");
            assert_eq!(body_text(&found[1]), text, "{script}");
        }
    }
}

#[test]
fn signals_that_our_parent_has_turned_off_stay_off() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("nohup");
    let go = fifo(files.path(), "go");
    let mut inner = exec(&server, &heartbeat);
    inner.args([
        "--",
        "sh",
        "-c",
        ": > ready; read word < \"$0\"; echo $word",
        &go,
    ]);
    let process = behind_env("--ignore-signal=HUP", &inner)
        .current_dir(files.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    there(files.path(), "ready");
    signal(&process, "HUP");
    std::fs::write(&go, "still here\n").unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(ended(&output).1, "still here\n");

    let heartbeat = server.heartbeat("children");
    let mut inner = exec(&server, &heartbeat);
    inner.args(["--", "sh", "-c", "exit 3"]);
    let status = behind_env("--ignore-signal=CHLD", &inner).status().unwrap();
    assert_eq!(status.code(), Some(3));
}

/// Ignores TERM from its first instruction on, as all that it starts does, and writes down who they are.
const STUBBORN: &str =
    "echo $$ > pids; sh -c 'echo $$ >> pids; sleep 1000 & echo $! >> pids; wait' & wait";

fn are_gone(pids: &Path) {
    let pids = std::fs::read_to_string(pids).unwrap_or_default();
    for pid in pids.lines() {
        assert!(!is_running(pid), "{pid} is left");
    }
}

#[test]
fn a_time_out_ends_the_whole_tree_though_it_ignores_term() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let mut inner = exec(&server, &heartbeat);
    inner
        .args(["--timeout", "500ms", "--kill-after", "200ms"])
        .args(["--", "sh", "-c", STUBBORN]);
    let output = behind_env("--ignore-signal=TERM", &inner)
        .current_dir(files.path())
        .output()
        .unwrap();
    let note = "systole: the command ran longer than 500ms: it did not end on SIGTERM and was ended by SIGKILL\n";
    assert_eq!(ended(&output), (Some(124), String::new(), note.to_owned()));
    are_gone(&files.path().join("pids"));
    let found = reported(&server, &heartbeat, 2);
    assert_eq!(found[1]["exit_status"], 124);
    assert_eq!(body_text(&found[1]), note);
}

#[test]
fn a_time_out_ends_the_rest_of_the_tree_though_the_command_itself_went_at_once() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let script = format!(
        r#"env --ignore-signal=TERM sh -c "{}" & wait"#,
        STUBBORN.replace('$', "\\$")
    );
    let output = exec(&server, &heartbeat)
        .args(["--timeout", "500ms", "--kill-after", "200ms"])
        .args(["--", "sh", "-c", &script])
        .current_dir(files.path())
        .output()
        .unwrap();
    assert_eq!(ended(&output).0, Some(124));
    are_gone(&files.path().join("pids"));
    assert_eq!(reported(&server, &heartbeat, 2)[1]["exit_status"], 124);
}

/// Runs a shell script in `systole exec` at a terminal of its own; `script` makes one.
fn at_a_terminal(
    server: &Server,
    heartbeat: &Heartbeat,
    flags: &str,
    files: &Path,
    job: &str,
) -> Child {
    let mut command = Command::new("script");
    clean(&mut command);
    command
        .args([
            "-qefc",
            &format!(r#"exec env --default-signal "$PROGRAM" exec {flags} -- sh -c "$JOB""#),
        ])
        .arg("/dev/null")
        .current_dir(files)
        .env("SHELL", "/bin/sh")
        .env("PROGRAM", env!("CARGO_BIN_EXE_systole"))
        .env("JOB", job)
        .env("SYSTOLE_SERVER", &server.url)
        .env("SYSTOLE_PING", &heartbeat.token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn at_a_terminal_the_command_reads_and_ctrl_c_reaches_it_once() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let job = "trap 'echo got it >> interrupts' INT
        : > ready; read line; echo \"$line\" > line
        : > asking; until read line; do :; done; echo \"$line\" > last; exit 5";
    let mut process = at_a_terminal(&server, &heartbeat, "", files.path(), job);
    let mut keys = process.stdin.take().unwrap();
    there(files.path(), "ready");
    keys.write_all(b"some words\n").unwrap();
    there(files.path(), "asking");
    let line = std::fs::read_to_string(files.path().join("line")).unwrap();
    assert_eq!(line, "some words\n");
    keys.write_all(b"\x03").unwrap();
    there(files.path(), "interrupts");
    keys.write_all(b"more\n").unwrap();
    there(files.path(), "last");
    drop(keys);
    assert_eq!(process.wait().unwrap().code(), Some(5));
    let found = reported(&server, &heartbeat, 2);
    assert_eq!(found[1]["exit_status"], 5);
    let interrupts = std::fs::read_to_string(files.path().join("interrupts")).unwrap();
    assert_eq!(interrupts, "got it\n");
}

#[test]
fn at_a_terminal_a_time_out_ends_the_whole_tree_and_nobody_else() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let flags = "--timeout 500ms --kill-after 200ms";
    let job = format!("trap '' TERM; {STUBBORN}");
    let mut process = at_a_terminal(&server, &heartbeat, flags, files.path(), &job);
    assert_eq!(process.wait().unwrap().code(), Some(124));
    are_gone(&files.path().join("pids"));
    assert_eq!(reported(&server, &heartbeat, 2)[1]["exit_status"], 124);
}

#[test]
fn overlapping_runs_are_told_apart() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let mut runs: Vec<(Child, String)> = ["first", "second"]
        .into_iter()
        .enumerate()
        .map(|(before, name)| {
            let go = fifo(files.path(), name);
            let process = exec(&server, &heartbeat)
                .args(["--", "sh", "-c", "read status < \"$0\"; exit $status", &go])
                .spawn()
                .unwrap();
            reported(&server, &heartbeat, before + 1);
            (process, go)
        })
        .collect();
    // The first one ends first, and the second one must stay open.
    for (status, (process, go)) in runs.iter_mut().enumerate() {
        std::fs::write(go, format!("{status}\n")).unwrap();
        assert_eq!(
            process.wait().unwrap().code().map(i64::from),
            i64::try_from(status).ok()
        );
    }
    let found = reported(&server, &heartbeat, 4);
    assert_eq!(
        kinds(&found),
        ["start", "start", "exit_status", "exit_status"]
    );
    for run in 0..2 {
        assert_eq!(found[run]["rid"], found[run + 2]["rid"]);
        assert_eq!(found[run + 2]["exit_status"], run);
    }
    assert_ne!(found[0]["rid"], found[1]["rid"]);
    let shown = server.shown(&format!("/monitors/{}/runs", heartbeat.id));
    for run in shown["items"].as_array().unwrap() {
        assert!(run["duration"].is_string(), "{run}");
    }
}

/// Starts the server as systemd does, on a socket that is there already.
fn handed_over(socket: OwnedFd, data: &Path) -> Server {
    let program = serve(data, &[]);
    let mut command = Command::new("sh");
    clean(&mut command);
    command
        .args([
            "-c",
            r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$@""#,
            "sh",
        ])
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::from(socket));
    Server::spawn_with_stdin(data, command)
}

#[test]
fn a_result_reaches_a_server_that_was_away_when_the_command_ended() {
    let (data, files) = (directory(), directory());
    let server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    server.stop();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    // A port that is taken, and refuses every connection until somebody listens.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let process = exec_to(&url, &heartbeat.token)
        .args(["--", "sh", "-c", "echo text; : > done; exit 3"])
        .current_dir(files.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    there(files.path(), "done");
    let listener = socket.listen(16).unwrap().into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    let server = handed_over(OwnedFd::from(listener), data.path());
    let output = process.wait_with_output().unwrap();
    assert_eq!(ended(&output), (Some(3), "text\n".into(), String::new()));
    let found = reported(&server, &heartbeat, 1);
    let end = found.last().unwrap();
    assert_eq!(end["exit_status"], 3);
    assert!(body_text(end).starts_with("text\n"), "{end}");
    let ends = kinds(&found)
        .iter()
        .filter(|kind| **kind == "exit_status")
        .count();
    assert_eq!(ends, 1);
}

#[test]
fn a_server_that_does_not_answer_delays_us_no_longer_than_it_may() {
    // It takes connections and never reads from them.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let output = exec_to(&format!("http://{address}"), TOKEN)
        .args([
            "--report-timeout",
            "500ms",
            "--",
            "sh",
            "-c",
            "echo text; exit 3",
        ])
        .output()
        .unwrap();
    let line = format!(
        "systole: the result (exit status 3) was not reported to http://{address}: tried for 0.5 s (--report-timeout); \
         at last: no answer has come\n"
    );
    assert_eq!(ended(&output), (Some(3), "text\n".into(), line));
}

#[test]
fn a_second_signal_ends_the_reporting() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let files = directory();
    let mut inner = exec_to(&format!("http://{address}"), TOKEN);
    inner.args([
        "--report-timeout",
        "1h",
        "--",
        "sh",
        "-c",
        "echo $$ > pid; : > ready; exec sleep 1000",
    ]);
    let process = behind_env("--default-signal", &inner)
        .current_dir(files.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    there(files.path(), "ready");
    signal(&process, "TERM");
    let pid = std::fs::read_to_string(files.path().join("pid")).unwrap();
    let entry = format!("/proc/{}", pid.trim());
    until("the command's end", || {
        (!Path::new(&entry).exists()).then_some(())
    });
    signal(&process, "TERM");
    let (status, _, stderr) = ended(&process.wait_with_output().unwrap());
    assert_eq!(status, Some(143));
    assert!(
        stderr.contains("told to stop, after: no answer has come"),
        "{stderr}"
    );
}

#[test]
fn a_start_whose_outcome_is_open_holds_the_result_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let files = directory();
    let process = exec_to(&format!("http://{address}"), TOKEN)
        .args(["--", "sh", "-c", ": > done"])
        .current_dir(files.path())
        .spawn()
        .unwrap();
    let (mut start, _) = listener.accept().unwrap();
    assert!(first_line(&mut start).starts_with(&format!("POST /ping/{TOKEN}/start?rid=")));
    there(files.path(), "done");
    // Nobody else has come so far.
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    listener.set_nonblocking(false).unwrap();
    start
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    let (mut result, _) = listener.accept().unwrap();
    assert!(first_line(&mut result).starts_with(&format!("POST /ping/{TOKEN}/0?rid=")));
    result
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(ended(&process.wait_with_output().unwrap()).0, Some(0));
}

fn first_line(stream: &mut std::net::TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        read.extend_from_slice(&byte);
    }
    String::from_utf8(read).unwrap()
}

#[test]
fn a_result_is_tried_again_where_that_may_help_and_not_where_it_cannot() {
    let busy = |left: usize| {
        let mut left = left;
        Fake::start(move |asked| {
            if asked.line.contains("/start?") {
                return (503, "busy".to_owned());
            }
            let answer = if left > 0 {
                (429, "too many")
            } else {
                (200, "OK")
            };
            left = left.saturating_sub(1);
            (answer.0, answer.1.to_owned())
        })
    };
    let server = busy(2);
    let output = exec_to(&server.url, TOKEN)
        .args(["--", "true"])
        .output()
        .unwrap();
    assert_eq!(ended(&output), (Some(0), String::new(), String::new()));
    let results: Vec<_> = server
        .asked()
        .into_iter()
        .filter(|asked| {
            asked
                .line
                .starts_with(&format!("POST /ping/{TOKEN}/0?rid="))
        })
        .collect();
    assert_eq!(results.len(), 3);
    let note = &results[2].body;
    assert!(
        note.starts_with("systole: the command ran for ")
            && note.ends_with("; its start was not reported\n"),
        "{note}"
    );

    let server = busy(usize::MAX);
    let output = exec_to(&server.url, TOKEN)
        .args(["--report-timeout", "500ms", "--", "sh", "-c", "exit 3"])
        .output()
        .unwrap();
    let (status, _, stderr) = ended(&output);
    assert_eq!(status, Some(3));
    assert!(
        stderr.contains("at last: the check-in was answered with status 429: too many\n")
            && stderr.lines().count() == 1,
        "{stderr}"
    );
}

#[test]
fn a_server_that_asks_for_more_time_than_there_is_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let process = exec_to(&format!("http://{address}"), TOKEN)
        .args(["--report-timeout", "1h", "--", "true"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in ["start", "result"] {
        let (mut stream, _) = listener.accept().unwrap();
        first_line(&mut stream);
        stream
            .write_all(b"HTTP/1.1 503 X\r\nretry-after: 7200\r\ncontent-length: 4\r\n\r\nbusy")
            .unwrap();
    }
    let line = format!(
        "systole: the result (exit status 0) was not reported to http://{address}: the check-in was answered with \
         status 503: busy; the server asks to wait for 7200 s, longer than --report-timeout allows\n"
    );
    let output = process.wait_with_output().unwrap();
    assert_eq!(ended(&output), (Some(0), String::new(), line));
}

#[test]
fn an_unknown_token_is_said_in_one_line_that_does_not_hold_it() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let output = exec_to(&server.url, TOKEN)
        .args(["--", "sh", "-c", "exit 3"])
        .output()
        .unwrap();
    let line = format!(
        "systole: the result (exit status 3) was not reported to {}: the check-in was answered with status 404: \
         not found; is the token right?\n",
        server.url
    );
    assert_eq!(ended(&output), (Some(3), String::new(), line));

    let echo = Fake::start(|asked| (404, format!("no route for {}", asked.line)));
    let output = exec_to(&echo.url, TOKEN)
        .args(["--", "true"])
        .output()
        .unwrap();
    let (status, _, stderr) = ended(&output);
    assert_eq!((status, stderr.lines().count()), (Some(0), 1), "{stderr}");
    assert!(!stderr.contains(TOKEN), "{stderr}");
    assert_eq!(echo.lines().len(), 2);
}

#[test]
fn a_token_that_was_given_as_an_argument_is_not_in_the_command_s_environment() {
    let server = Fake::start(|_| (200, "OK".to_owned()));
    let mut command = systole(&[
        "exec",
        "--server",
        &server.url,
        "--ping",
        TOKEN,
        "--",
        "env",
    ]);
    let (status, stdout, _) = ended(&command.output().unwrap());
    assert_eq!(status, Some(0));
    assert!(!stdout.contains(TOKEN), "{stdout}");
}

#[test]
fn a_whole_url_is_reported_to_with_its_query() {
    let server = Fake::start(|_| (200, "OK".to_owned()));
    let url = format!("{}/ping/some-key/nightly?create=1", server.url);
    let output = systole(&["exec", "--ping", &url, "--", "true"])
        .output()
        .unwrap();
    assert_eq!(ended(&output).0, Some(0));
    for (line, path) in server.lines().iter().zip(["start", "0"]) {
        let begin = format!("POST /ping/some-key/nightly/{path}?create=1&rid=");
        assert!(line.starts_with(&begin), "{line}");
    }
}
