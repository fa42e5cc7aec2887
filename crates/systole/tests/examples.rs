//! The files of `examples/` against a started server: documents are applied, scripts and the manifests' commands are run,
//! with nothing but host and token changed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// The host that the examples name.
const HOST: &str = "https://systole.example.com";
/// The jobs of the manifests, which are not there.
const JOBS: &[&str] = &["python /app/generate_invoices.py", "/app/run-report"];

/// A server of the test's own, ended with it.
struct Server {
    process: Child,
    url: String,
    data: tempfile::TempDir,
}

impl Server {
    fn start() -> Server {
        let data = tempfile::tempdir().unwrap();
        let mut process = command(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "off",
            "--data-dir",
        ])
        .arg(data.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let listening = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        let url = listening.expect("the server ends without saying where it listens");
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Server { process, url, data }
    }

    fn client(&self, arguments: &[&str]) -> String {
        let output = command(arguments)
            .env("SYSTOLE_SERVER", &self.url)
            .env("SYSTOLE_TOKEN_FILE", self.data.path().join("local-token"))
            .env(
                "SYSTOLE_WEBHOOK_SECRET",
                "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            )
            .env(
                "SLACK_WEBHOOK_URL",
                "https://hooks.slack.com/services/T0/B0/x",
            )
            .env("SMTP_PASSWORD", "a password")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// A monitor as `systole get` shows it.
    fn monitor(&self, name: &str) -> Value {
        let found: Value =
            serde_json::from_str(&self.client(&["get", "monitors", name, "-o", "json"])).unwrap();
        let items = found.get("items").cloned().unwrap_or(found);
        match items {
            Value::Array(mut items) => items.pop().unwrap(),
            one => one,
        }
    }

    /// Runs a script in which host and job alone are others.
    fn run(&self, script: &str, environment: &[(&str, &str)]) -> String {
        let script = JOBS
            .iter()
            .fold(script.replace(HOST, &self.url), |script, job| {
                script.replace(job, "true")
            });
        let output = Command::new("sh")
            .arg("-c")
            .arg(&script)
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && errors.is_empty(),
            "{script}\n{errors}"
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The program, without whatever the environment of the tests would tell it.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_systole"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYSTOLE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(std::env::temp_dir());
    command
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples")
        .join(name)
}

/// The script of the manifest's last container.
fn script(manifest: &str) -> String {
    let text = std::fs::read_to_string(example(manifest)).unwrap();
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    let container = &manifest["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0];
    container["command"][2].as_str().unwrap().to_owned()
}

#[test]
fn the_examples_do_what_they_say() {
    let server = Server::start();
    let documents = [
        "heartbeats.yaml",
        "webhook.yaml",
        "slack.yaml",
        "email.yaml",
        "maintenance.yaml",
    ]
    .map(|name| example(name).display().to_string());
    for (round, outcome) in [("first", "created"), ("again", "unchanged")] {
        for document in &documents {
            let said = server.client(&["apply", "-f", document]);
            let every = said.lines().all(|line| line.ends_with(outcome));
            assert!(every, "{document} applied the {round} time:\n{said}");
        }
        assert_eq!(
            server.monitor("queue-worker")["state"],
            "new",
            "applied the {round} time"
        );
    }
    let said = server.client(&["get", "maintenances", "database upgrade", "-o", "json"]);
    let upgrade: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(upgrade["matches"], 2, "{said}");
    for (name, manifest, variable, whole_url) in [
        (
            "invoice-generator",
            "kubernetes/last-command.yaml",
            "ALERT24_HB_TOKEN",
            false,
        ),
        (
            "nightly-backup",
            "kubernetes/after-an-init-container.yaml",
            "ALERT24_HB_TOKEN",
            false,
        ),
        (
            "nightly-report",
            "kubernetes/url-from-a-secret.yaml",
            "VIGILMON_HEARTBEAT_URL",
            true,
        ),
    ] {
        let monitor = server.monitor(name);
        assert_eq!(monitor["state"], "new", "{name}");
        let token = monitor["token"].as_str().unwrap();
        let value = if whole_url {
            format!("{}/heartbeat/{token}", server.url)
        } else {
            token.to_owned()
        };
        server.run(&script(manifest), &[(variable, &value)]);
        assert_eq!(server.monitor(name)["state"], "up", "{manifest}");
    }
}

#[test]
fn every_curl_line_is_a_check_in() {
    let server = Server::start();
    server.client(&[
        "apply",
        "-f",
        &example("heartbeats.yaml").display().to_string(),
    ]);
    let monitor = server.monitor("queue-worker");
    let text = std::fs::read_to_string(example("curl.sh")).unwrap();
    let answers = server.run(&text, &[("TOKEN", monitor["token"].as_str().unwrap())]);
    // The last one throws its answer away.
    assert_eq!(answers, "OK".repeat(text.matches("\ncurl ").count() - 1));
    assert_eq!(server.monitor("queue-worker")["state"], "up");
}
