//! Reports to servers that are away, slow, or refuse.

use super::*;

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
    let server = Server::handed_over(&listener, data.path());
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
