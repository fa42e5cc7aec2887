//! The real program on a port of its own, and a client that has every byte in its hand.

pub mod http;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use http::{Reply, ask};

/// Nothing here takes so long; whatever does has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Looks again and again until there is something to see.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with another patience, for what waits for the clock.
pub fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < patience, "waited too long for: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program, without whatever the environment of the tests would tell it.
pub fn systole(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    clean(&mut command);
    command.args(arguments);
    command
}

/// Takes the environment of the tests away from a command.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYSTOLE_") {
            command.env_remove(name);
        }
    }
    command.current_dir(std::env::temp_dir());
}

/// `systole serve` on a free port of loopback unless told otherwise, with its data in `data`.
pub fn serve(data: &Path, more: &[&str]) -> Command {
    let mut command = systole(&["serve", "--data-dir"]);
    command.arg(data).args(more);
    for (flag, value) in [("--listen", "127.0.0.1:0"), ("--metrics-listen", "off")] {
        if !more.contains(&flag) {
            command.args([flag, value]);
        }
    }
    command
}

/// A directory that is gone with the test.
pub fn directory() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A running server, ended with the test.
pub struct Server {
    pub process: Child,
    /// Where it listens, with its scheme.
    pub url: String,
    pub address: SocketAddr,
    data: PathBuf,
    said: Arc<Mutex<String>>,
}

impl Server {
    /// Starts `systole serve` in `data`.
    pub fn start(data: &Path, more: &[&str]) -> Server {
        Server::spawn(data, serve(data, more))
    }

    /// Starts what the command says, which is `systole serve` in `data`, and waits until it listens.
    pub fn spawn(data: &Path, mut command: Command) -> Server {
        command.stdin(Stdio::null());
        Server::spawn_with_stdin(data, command)
    }

    /// The same with the stdin that the command names.
    pub fn spawn_with_stdin(data: &Path, mut command: Command) -> Server {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let memory = Arc::clone(&said);
        // All of it is read, so that the pipe never fills.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *memory.lock().unwrap() += &(line + "\n");
            }
        });
        let url = until("the server's address", || {
            assert!(
                process.try_wait().unwrap().is_none(),
                "it has ended: {}",
                said.lock().unwrap()
            );
            word_after(&said.lock().unwrap(), "listening on ")
        });
        let address = url.split_once("://").unwrap().1.parse().unwrap();
        Server {
            process,
            url,
            address,
            data: data.to_owned(),
            said,
        }
    }

    /// Starts it as systemd does: the socket is its third file, and it is told so.
    pub fn handed_over(listener: &TcpListener, data: &Path) -> Server {
        // The socket comes as stdin and moves: a child's other files cannot be set without unsafe code.
        let socket = OwnedFd::from(listener.try_clone().unwrap());
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

    /// What it has said on stderr so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// What a metric of this name, with its labels, shows.
    pub fn metric(&self, name: &str) -> u64 {
        let text = ask(self.metrics_address(), "GET", "/metrics", "", b"").text();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .parse()
            .unwrap()
    }

    /// Where it serves metrics without a token.
    pub fn metrics_address(&self) -> SocketAddr {
        let url = until("the address of the metrics", || {
            word_after(&self.said(), "metrics on http://")
        });
        url.trim_end_matches("/metrics").parse().unwrap()
    }

    /// A request without headers or body.
    pub fn get(&self, path: &str) -> Reply {
        ask(self.address, "GET", path, "", b"")
    }

    /// A request to the management API as the administrator of this machine.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let token = std::fs::read_to_string(self.data.join("local-token")).unwrap();
        let headers = format!(
            "authorization: Bearer {}\r\ncontent-type: application/json\r\n",
            token.trim()
        );
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let reply = ask(
            self.address,
            method,
            &format!("/api/v1{path}"),
            &headers,
            body.as_bytes(),
        );
        (
            reply.status,
            serde_json::from_slice(&reply.body).unwrap_or_default(),
        )
    }

    /// What the API shows.
    pub fn shown(&self, path: &str) -> Value {
        let (status, shown) = self.api("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {shown}");
        shown
    }

    /// A heartbeat that is due every hour.
    pub fn heartbeat(&self, name: &str) -> Heartbeat {
        let body =
            json!({"kind": "heartbeat", "name": name, "schedule": {"every": "1h"}, "grace": "5m"});
        self.heartbeat_of(&body)
    }

    /// A heartbeat as this document says.
    pub fn heartbeat_of(&self, document: &Value) -> Heartbeat {
        let (status, made) = self.api("POST", "/monitors", document);
        assert_eq!(status, 201, "{made}");
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        Heartbeat {
            id: text("id"),
            token: text("token"),
            slug: text("slug"),
        }
    }

    /// A heartbeat's state.
    pub fn state(&self, heartbeat: &Heartbeat) -> String {
        self.shown(&format!("/monitors/{}", heartbeat.id))["state"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A heartbeat's newest check-ins as the API shows them, newest first.
    pub fn checkins(&self, heartbeat: &Heartbeat) -> Vec<Value> {
        let shown = self.shown(&format!("/monitors/{}/checkins?limit=500", heartbeat.id));
        shown["items"].as_array().unwrap().clone()
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        until("the server's end", || self.process.try_wait().unwrap())
    }

    /// Ends it as systemd does; answers with what it said.
    pub fn stop(mut self) -> String {
        self.signal("TERM");
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "{}", self.said());
        self.said()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// A heartbeat that a test has made.
pub struct Heartbeat {
    pub id: String,
    pub token: String,
    pub slug: String,
}

fn word_after(text: &str, before: &str) -> Option<String> {
    // The line must be whole.
    let line = text
        .split_inclusive('\n')
        .find(|line| line.starts_with(before) && line.ends_with('\n'))?;
    line[before.len()..]
        .split_whitespace()
        .next()
        .map(str::to_owned)
}
