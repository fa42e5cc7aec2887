//! Signals, time-outs and terminals: who is reached, and how it ends.

use super::*;

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
