//! Servers under test, as processes of their own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The administrator's token of every server that a benchmark starts.
pub const ADMIN_TOKEN: &str = "benchmark-administrator-token";

/// The key of replicas, which all of them must be given.
const REPLICAS_KEY: &str = "YmVuY2htYXJrcyBhcmUgbm90IHNlY3JldCwgbm8gMzI=";

/// How long a server may take until it listens, and until it has stopped.
const PATIENCE: Duration = Duration::from_secs(180);

/// A server that listens; killed when dropped.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// When it was asked to start.
    pub spawned: Instant,
    said: Arc<Mutex<VecDeque<String>>>,
}

/// Is told each line that a server writes.
pub type Observer = Arc<dyn Fn(&str) + Send + Sync>;

/// The server under test, on `data_dir`, under `wrapper` (or none) with `environment` added.
pub fn systole(
    binary: &Path,
    data_dir: &Path,
    wrapper: &[String],
    environment: &[(String, String)],
) -> Result<Server> {
    let mut words = wrapper.to_vec();
    words.push(binary.display().to_string());
    words.extend(["serve", "--listen", "127.0.0.1:0", "--data-dir"].map(str::to_owned));
    words.push(data_dir.display().to_string());
    words.extend(["--metrics-listen", "off", "--outbound-allow", "127.0.0.0/8"].map(str::to_owned));
    Server::spawn(words, environment, None)
}

/// One of several servers under test that share the database at `url`.
pub fn replica(binary: &Path, data_dir: &Path, url: &str, observer: Observer) -> Result<Server> {
    let mut words = vec![binary.display().to_string()];
    words.extend(["serve", "--listen", "127.0.0.1:0", "--data-dir"].map(str::to_owned));
    words.push(data_dir.display().to_string());
    words.extend(["--metrics-listen", "off", "--outbound-allow", "127.0.0.0/8"].map(str::to_owned));
    let environment = [
        ("SYSTOLE_DATABASE_URL".to_owned(), url.to_owned()),
        ("SYSTOLE_KEY".to_owned(), REPLICAS_KEY.to_owned()),
    ];
    Server::spawn(words, &environment, Some(observer))
}

/// The bare server, under `wrapper` (or none).
pub fn bare(wrapper: &[String]) -> Result<Server> {
    let this = std::env::current_exe().context("find the benchmark's own binary")?;
    let mut words = wrapper.to_vec();
    words.extend([this.display().to_string(), "bare".to_owned()]);
    Server::spawn(words, &[], None)
}

impl Server {
    fn spawn(
        mut words: Vec<String>,
        environment: &[(String, String)],
        observer: Option<Observer>,
    ) -> Result<Server> {
        // A server must not outlive a benchmark that is killed.
        if Path::new("/usr/bin/setpriv").exists() {
            words.splice(
                0..0,
                ["/usr/bin/setpriv", "--pdeathsig", "KILL"].map(str::to_owned),
            );
        }
        let spawned = Instant::now();
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("SYSTOLE_ADMIN_TOKEN", ADMIN_TOKEN)
            // Its end tells the bare server to stop.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", words.join(" ")))?;
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let (found, address) = mpsc::channel();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            child
                .stdout
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child
                .stderr
                .take()
                .map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let (said, found, observer) = (Arc::clone(&said), found.clone(), observer.clone());
            std::thread::spawn(move || listen(output, &said, &found, observer.as_deref()));
        }
        drop(found);
        match address.recv_timeout(PATIENCE) {
            Ok(address) => Ok(Server {
                child,
                address,
                spawned,
                said,
            }),
            Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = last_words(&said);
                bail!(
                    "{} did not say where it listens; its last words: {said}",
                    words.join(" ")
                )
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it last wrote, for errors.
    pub fn last_words(&self) -> String {
        last_words(&self.said)
    }

    /// `kill -9`.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the server")?;
        self.child.wait().context("wait for the killed server")?;
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("the server has no process id")?;
        rustix::process::kill_process(pid, signal).context("send the server a signal")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .context("look whether the server has ended")
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(rustix::process::Signal::TERM)?;
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .context("wait for the server to stop")?
            {
                return Ok(status);
            }
            if Instant::now() >= give_up {
                bail!(
                    "the server did not stop within {PATIENCE:?} of SIGTERM; last words: {}",
                    self.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a server's output to its end, keeps the last lines, and reports the address it names.
fn listen(
    output: Box<dyn Read + Send>,
    said: &Mutex<VecDeque<String>>,
    found: &mpsc::Sender<SocketAddr>,
    observer: Option<&(dyn Fn(&str) + Send + Sync)>,
) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some(address) = address_in(&line) {
            let _ = found.send(address);
        }
        if let Some(observer) = observer {
            observer(&line);
        }
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == 20 {
            said.pop_front();
        }
        said.push_back(line);
    }
}

fn last_words(said: &Mutex<VecDeque<String>>) -> String {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_empty() {
        "none".to_owned()
    } else {
        said.iter().cloned().collect::<Vec<String>>().join(" | ")
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on http://")?;
    let end = rest
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_plain_and_structured_lines() {
        for (line, address) in [
            ("listening on http://127.0.0.1:4711", Some("127.0.0.1:4711")),
            (
                "2026-11-21T00:00:00Z INFO serve: listening on http://127.0.0.1:80 tls=false",
                Some("127.0.0.1:80"),
            ),
            (
                "{\"message\":\"listening on http://127.0.0.1:81\"}",
                Some("127.0.0.1:81"),
            ),
            ("listening on a socket", None),
        ] {
            assert_eq!(
                address_in(line),
                address.map(|text| text.parse().unwrap()),
                "{line}"
            );
        }
    }
}
