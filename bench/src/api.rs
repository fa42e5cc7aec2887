//! A small blocking client of the management API.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::process::{ADMIN_TOKEN, Server};

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Result<Client> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Client {
            stream: BufReader::new(stream),
            address,
        })
    }

    /// The same, which waits for no answer longer than `patience`.
    pub fn connect_within(address: SocketAddr, patience: Duration) -> Result<Client> {
        let mut client = Client::connect(address)?;
        client.stream.get_mut().set_read_timeout(Some(patience))?;
        Ok(client)
    }

    /// One check-in of the run `run`; the status of the answer.
    pub fn ping_run(&mut self, token: &str, run: Uuid) -> Result<u16> {
        let (status, _) = self.request("GET", &format!("/ping/{token}?rid={run}"), "")?;
        Ok(status)
    }

    /// What `path` answers, which must be a 200.
    pub fn get(&mut self, path: &str) -> Result<Value> {
        let (status, body) = self.request("GET", path, "")?;
        ensure!(
            status == 200,
            "GET {path} answered {status}, not 200: {body}"
        );
        serde_json::from_str(&body).with_context(|| format!("read what GET {path} answered"))
    }

    /// Creates an object; what the server made of it.
    pub fn create(&mut self, path: &str, object: &Value) -> Result<Value> {
        let (status, body) = self.request("POST", path, &object.to_string())?;
        ensure!(
            status == 201,
            "POST {path} answered {status}, not 201: {body}"
        );
        serde_json::from_str(&body)
            .with_context(|| format!("read what POST {path} answered: {body}"))
    }

    /// One check-in, durable when this returns.
    pub fn ping(&mut self, token: &str) -> Result<()> {
        let (status, body) = self.request("GET", &format!("/ping/{token}"), "")?;
        ensure!(
            status == 200,
            "GET /ping/… answered {status}, not 200: {body}"
        );
        Ok(())
    }

    /// How long the name of a monitor is, in bytes; seeded ones are all about as long.
    pub fn name_length(&mut self) -> Result<f64> {
        let (status, body) = self.request("GET", "/api/v1/monitors?limit=1", "")?;
        ensure!(
            status == 200,
            "GET /api/v1/monitors answered {status}, not 200: {body}"
        );
        let list: Value = serde_json::from_str(&body).context("read the list of monitors")?;
        let name = list["items"][0]["name"]
            .as_str()
            .context("the first monitor has no name")?;
        Ok(name.len() as f64)
    }

    /// The value of one of our metrics, without its prefix; `None` where there is no such metric.
    pub fn metric(&mut self, name: &str) -> Result<Option<f64>> {
        Ok(metric_in(&self.metrics()?, name))
    }

    fn metrics(&mut self) -> Result<String> {
        let (status, body) = self.request("GET", "/metrics", "")?;
        ensure!(
            status == 200,
            "GET /metrics answered {status}, not 200: {body}"
        );
        Ok(body)
    }

    fn request(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .with_context(|| format!("send {method} {path}"))?;
        self.answer()
            .with_context(|| format!("read the answer to {method} {path}"))
    }

    fn answer(&mut self) -> Result<(u16, String)> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status: u16 = status.with_context(|| format!("{line:?} is no status line"))?;
        let mut length = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            if line.trim_end().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value
                    .trim()
                    .parse()
                    .with_context(|| format!("{line:?} is no length"))?;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// Waits until the replica that decides has written every state, and all of the log into history; how long that took. One row may be
/// the making of a million heartbeats, so none may be left; a server at rest adds one every three seconds.
pub fn all_written(servers: &[Server]) -> Result<Duration> {
    let begun = Instant::now();
    loop {
        for server in servers {
            let mut client = Client::connect(server.address)?;
            let metrics = client.metrics()?;
            let of = |name| metric_in(&metrics, name);
            if of("decides") == Some(1.0)
                && of("monitors_dirty") == Some(0.0)
                && of("history_lag_rows").is_none_or(|rows| rows < 1.0)
            {
                return Ok(begun.elapsed());
            }
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(300),
            "states or history were still not written 300 s after the load"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn metric_in(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        let (found, value) = line.strip_prefix("systole_")?.split_once(' ')?;
        (found == name).then(|| value.trim().parse().ok())?
    })
}

/// Pings until the first 200; the time from the server's start to it.
pub fn first_acknowledged(server: &Server, token: Uuid) -> Result<Duration> {
    let give_up = Instant::now() + Duration::from_secs(120);
    loop {
        let tried =
            Client::connect(server.address).and_then(|mut client| client.ping(&token.to_string()));
        match tried {
            Ok(()) => return Ok(server.spawned.elapsed()),
            Err(error) if Instant::now() >= give_up => {
                let said = server.last_words();
                bail!(
                    "no ping was answered 200 within 120 s of the start: {error:#}; the server's last words: {said}"
                )
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_found_by_its_whole_name() {
        let text = "# HELP systole_monitors Monitors.\n# TYPE systole_monitors gauge\nsystole_monitors_dirty 7\n\
                    systole_monitors 10\nsystole_loop_ok{name=\"writer\"} 1\n# EOF\n";
        assert_eq!(metric_in(text, "monitors"), Some(10.0));
        assert_eq!(metric_in(text, "monitors_dirty"), Some(7.0));
        assert_eq!(metric_in(text, "history_lag_seconds"), None);
    }
}
