//! The server in operation: signals, handed-over sockets, TLS, health, metrics, the self heartbeat.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;

use std::collections::BTreeSet;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use common::http::{ask, connect, head, read};
use common::{Server, directory, until};
use serde_json::{Value, json};

/// A check-in with a body of ten bytes, of which the server has five and waits for the others.
fn half_sent(server: &Server, path: &str) -> TcpStream {
    let mut stream = connect(server.address);
    stream
        .write_all(head("POST", path, "expect: 100-continue\r\n", 10).as_bytes())
        .unwrap();
    // It asks for the body: it has begun to read it.
    let asks = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut answer = vec![0; asks.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, asks);
    stream.write_all(b"first").unwrap();
    stream
}

#[test]
fn a_first_signal_finishes_what_is_under_way_and_nothing_acknowledged_is_lost() {
    let data = directory();
    let mut server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let path = format!("/ping/{}", heartbeat.token);
    assert_eq!(server.get(&format!("{path}/fail")).status, 200);
    // A request of which the half has come, and whose other half the server waits for.
    let mut stream = half_sent(&server, &path);
    let mut idle = BufReader::new(connect(server.address));
    idle.get_mut()
        .write_all(head("GET", "/healthz", "", 0).as_bytes())
        .unwrap();
    assert_eq!(read(&mut idle, false).unwrap().status, 200);
    server.signal("TERM");
    until("the server to stop", || {
        server.said().contains("stopping").then_some(())
    });
    until("its port to be closed", || {
        TcpStream::connect(server.address).is_err().then_some(())
    });
    assert_eq!(
        idle.read_to_end(&mut Vec::new()).unwrap_or_default(),
        0,
        "an idle connection is closed"
    );
    stream.write_all(b", las").unwrap();
    let reply = read(&mut BufReader::new(&stream), false).unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(server.ended().code(), Some(0), "{}", server.said());

    let server = Server::start(data.path(), &[]);
    let found = server.checkins(&heartbeat);
    let kept: Vec<(&Value, &Value)> = found
        .iter()
        .map(|found| (&found["kind"], &found["body"]))
        .collect();
    assert_eq!(
        kept,
        [
            (&json!("success"), &json!("first, las")),
            (&json!("fail"), &Value::Null)
        ]
    );
    until("up", || (server.state(&heartbeat) == "up").then_some(()));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let data = directory();
    let mut server = Server::start(data.path(), &[]);
    let heartbeat = server.heartbeat("watched");
    let _waited_for = half_sent(&server, &format!("/ping/{}", heartbeat.token));
    server.signal("TERM");
    until("the server to stop", || {
        server.said().contains("stopping").then_some(())
    });
    server.signal("INT");
    // The status tells it from the end that waiting would have come to.
    assert_eq!(server.ended().code(), Some(1), "{}", server.said());
}

#[test]
fn states_incidents_and_keys_survive_a_restart() {
    let data = directory();
    let base_url = ["--base-url", "https://systole.example.com"];
    let server = Server::start(data.path(), &base_url);
    let (_, key) = server.api("POST", "/ping-key", &json!({}));
    let make = |name: &str, suffix: &str, state: &str| {
        let heartbeat = server.heartbeat(name);
        if state == "paused" {
            assert_eq!(
                server
                    .api(
                        "POST",
                        &format!("/monitors/{}/pause", heartbeat.id),
                        &json!({})
                    )
                    .0,
                200
            );
        } else if state != "new" {
            assert_eq!(
                server
                    .get(&format!("/ping/{}{suffix}", heartbeat.token))
                    .status,
                200
            );
        }
        until(state, || (server.state(&heartbeat) == state).then_some(()));
        (heartbeat, state.to_owned())
    };
    let made = [
        make("a", "", "new"),
        make("b", "", "up"),
        make("c", "/fail", "down"),
        make("d", "", "paused"),
    ];
    let incidents = server.shown("/incidents");
    server.stop();

    // Once in order, once by a kill.
    for _ in 0..2 {
        let server = Server::start(data.path(), &base_url);
        for (heartbeat, state) in &made {
            assert_eq!(&server.state(heartbeat), state, "{}", heartbeat.slug);
        }
        assert_eq!(server.shown("/incidents"), incidents);
        assert_eq!(
            server.api("GET", "/ping-key", &Value::Null).1["ping_key"],
            key["ping_key"]
        );
        let path = format!("/ping/{}/a/log", key["ping_key"].as_str().unwrap());
        assert_eq!(server.get(&path).status, 200);
    }
}

#[test]
fn a_socket_that_was_handed_over_refuses_nobody_while_the_server_restarts() {
    let data = directory();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::handed_over(&listener, data.path());
    assert_eq!(server.address, address);
    let heartbeat = server.heartbeat("watched");
    let path = format!("/ping/{}", heartbeat.token);
    assert_eq!(server.get(&path).status, 200);
    server.stop();

    // Nobody is there.
    let mut stream = connect(address);
    stream
        .write_all(head("GET", &format!("{path}/fail"), "", 0).as_bytes())
        .unwrap();
    let server = Server::handed_over(&listener, data.path());
    assert_eq!(
        read(&mut BufReader::new(stream), false).unwrap().status,
        200
    );
    until("down", || {
        (server.state(&heartbeat) == "down").then_some(())
    });
}

/// A certificate of its own authority for 127.0.0.1, in the server's files and as what a client trusts.
fn certificate(directory: &Path, trusted: &str) -> std::path::PathBuf {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let trusted = directory.join(trusted);
    let chain = pem("CERTIFICATE", made.cert.der());
    std::fs::write(&trusted, &chain).unwrap();
    std::fs::write(directory.join("tls.crt"), &chain).unwrap();
    std::fs::write(
        directory.join("tls.key"),
        pem("PRIVATE KEY", &made.signing_key.serialize_der()),
    )
    .unwrap();
    trusted
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
}

#[test]
fn https_is_served_and_renewed_files_are_picked_up_without_a_restart() {
    let (data, files) = (directory(), directory());
    let first = certificate(files.path(), "first.pem");
    let file = |name: &str| files.path().join(name).display().to_string();
    let server = Server::start(
        data.path(),
        &[
            "--tls-cert",
            &file("tls.crt"),
            "--tls-key",
            &file("tls.key"),
        ],
    );
    assert!(server.url.starts_with("https://"), "{}", server.url);
    let healthy = |trusted: &Path| {
        let url = format!("{}/healthz", server.url);
        let output = Command::new("curl")
            .args(["-fsS", "--noproxy", "*", "--cacert"])
            .arg(trusted)
            .arg(url)
            .output()
            .unwrap();
        output.status.success() && output.stdout == b"ok\n"
    };
    assert!(healthy(&first));
    assert!(
        server.said().contains("https://127.0.0.1"),
        "links name the scheme: {}",
        server.said()
    );

    let second = certificate(files.path(), "second.pem");
    until("the renewed certificate", || healthy(&second).then_some(()));
    assert!(!healthy(&first), "the former is in use still");

    std::fs::write(files.path().join("tls.key"), "no key\n").unwrap();
    until("a complaint", || {
        server
            .said()
            .lines()
            .any(|line| line.contains("the former stay") && line.contains("tls.key"))
            .then_some(())
    });
    assert!(
        healthy(&second),
        "a broken file takes the working pair away"
    );
}

#[test]
fn health_is_for_everybody_and_metrics_for_those_who_may() {
    let data = directory();
    let server = Server::start(data.path(), &["--metrics-listen", "127.0.0.1:0"]);
    let healthz = server.get("/healthz");
    assert_eq!((healthz.status, healthz.text().as_str()), (200, "ok\n"));
    until("ready", || {
        (server.get("/readyz").text() == "ready\n").then_some(())
    });
    assert_eq!(server.get("/readyz").status, 200);

    let token = |role: &str| {
        let (status, made) = server.api("POST", "/tokens", &json!({"name": role, "role": role}));
        assert_eq!(status, 201, "{made}");
        made["token"].as_str().unwrap().to_owned()
    };
    let (metrics, viewer) = (token("metrics"), token("viewer"));
    let with = |path: &str, token: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        ask(server.address, "GET", path, &headers, b"").status
    };
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(with("/metrics", "sys_of_nobody_at_all_whatsoever"), 401);
    assert_eq!(with("/metrics", &metrics), 200);
    assert_eq!(with("/metrics", &viewer), 200, "a viewer may more");
    assert_eq!(
        with("/api/v1/monitors", &metrics),
        403,
        "it opens nothing else"
    );

    let open = server.metrics_address();
    assert_eq!(ask(open, "GET", "/metrics", "", b"").status, 200);
    let heartbeat = server.heartbeat("watched");
    for path in [
        "/",
        "/api/v1/monitors",
        "/sign-in",
        &format!("/ping/{}", heartbeat.token),
    ] {
        assert_eq!(
            ask(open, "GET", path, "", b"").status,
            404,
            "{path} where no token is asked for"
        );
    }
}

#[test]
fn the_metrics_are_those_that_the_page_documents() {
    let data = directory();
    let server = Server::start(data.path(), &["--metrics-listen", "127.0.0.1:0"]);
    let page = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .join("docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `systole_")?.split(['`', '{']).next())
        .map(|name| name.trim_end_matches("_total"))
        .collect();
    // What has an outcome is printed once there was one.
    assert!(documented.remove("delivery_attempts"));
    let text = ask(server.metrics_address(), "GET", "/metrics", "", b"").text();
    let served: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE systole_")?.split(' ').next())
        .map(|name| name.trim_end_matches("_total"))
        .collect();
    assert_eq!(served, documented);
}

#[test]
fn the_self_heartbeat_reaches_its_receiver_where_that_is_allowed() {
    let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/secret-of-mine", receiver.local_addr().unwrap());
    let (data, other) = (directory(), directory());
    let allowed = Server::start(
        data.path(),
        &[
            "--self-heartbeat-url",
            &url,
            "--outbound-allow",
            "127.0.0.1/32",
        ],
    );
    let refused = Server::start(other.path(), &["--self-heartbeat-url", &url]);
    assert!(
        allowed
            .said()
            .contains("warning: channels may reach 127.0.0.1/32"),
        "{}",
        allowed.said()
    );
    let (mut stream, _) = receiver.accept().unwrap();
    let mut asked = [0; 24];
    stream.read_exact(&mut asked).unwrap();
    assert_eq!(&asked, b"GET /secret-of-mine HTTP");
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        .unwrap();
    until("a complaint", || {
        refused
            .said()
            .contains("the self heartbeat was not sent")
            .then_some(())
    });
    assert!(
        !refused.said().contains("secret-of-mine"),
        "{}",
        refused.said()
    );
    assert!(
        !allowed.said().contains("secret-of-mine"),
        "{}",
        allowed.said()
    );
    // Not being allowed to call is nothing that makes check-ins fail.
    assert_eq!(refused.get("/readyz").status, 200);
}
