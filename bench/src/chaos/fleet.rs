//! The servers, each with its way to the database, and what can be done to them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::REPLICAS;
use super::cluster::Cluster;
use super::proxy::{Proxy, Way};
use super::senders::Field;
use super::standing::Standings;
use crate::process::{self, Observer, Server};

/// A server that cannot reach the database at its start ends; whoever keeps it running tries again for so long.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Fleet {
    binary: PathBuf,
    work: PathBuf,
    pub cluster: Cluster,
    pub proxies: Vec<Proxy>,
    servers: Vec<Option<Server>>,
    pub standings: Arc<Standings>,
    field: Arc<Field>,
    log: Arc<Mutex<std::fs::File>>,
    begun: Instant,
}

impl Fleet {
    pub async fn new(binary: &Path, work: &Path, log: &Path, field: Arc<Field>) -> Result<Fleet> {
        let cluster = Cluster::start()?;
        let mut proxies = Vec::new();
        for _ in 0..REPLICAS {
            proxies.push(Proxy::start(cluster.address()?).await?);
        }
        let file = std::fs::File::create(log).with_context(|| format!("make {}", log.display()))?;
        Ok(Fleet {
            binary: binary.to_owned(),
            work: work.to_owned(),
            cluster,
            proxies,
            servers: std::iter::repeat_with(|| None).take(REPLICAS).collect(),
            standings: Arc::default(),
            field,
            log: Arc::new(Mutex::new(file)),
            begun: Instant::now(),
        })
    }

    /// Writes a line into the log of the run, where the servers' lines go, too.
    pub fn note(&self, line: &str) {
        note(&self.log, self.begun, "bench", line);
    }

    /// Starts a server, again and again until it runs.
    pub fn start(&mut self, replica: usize) -> Result<()> {
        let url = self.cluster.url_by(self.proxies[replica].address)?;
        let directory = self.work.join(name(replica));
        let give_up = Instant::now() + PATIENCE;
        let server = loop {
            match process::replica(&self.binary, &directory, &url, self.observer(replica)) {
                Ok(server) => break server,
                Err(error) if Instant::now() >= give_up => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(500)),
            }
        };
        self.tell(replica, Some(server.address));
        self.servers[replica] = Some(server);
        Ok(())
    }

    fn observer(&self, replica: usize) -> Observer {
        let (standings, log, begun) = (
            Arc::clone(&self.standings),
            Arc::clone(&self.log),
            self.begun,
        );
        Arc::new(move |line| {
            standings.said(replica, line);
            note(&log, begun, name(replica), line);
        })
    }

    fn tell(&self, replica: usize, address: Option<std::net::SocketAddr>) {
        let mut addresses = self
            .field
            .addresses
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        addresses[replica] = address;
    }

    pub fn kill(&mut self, replica: usize) -> Result<()> {
        let server = self.servers[replica].take().context("it runs")?;
        server.kill()?;
        self.tell(replica, None);
        self.standings.is_gone(replica);
        Ok(())
    }

    /// Stops it in order, and answers how long that took.
    pub fn stop(&mut self, replica: usize) -> Result<Duration> {
        let server = self.servers[replica].take().context("it runs")?;
        let begun = Instant::now();
        let status = server.stop()?;
        self.tell(replica, None);
        self.standings.is_gone(replica);
        if !status.success() {
            bail!("server {} stopped with {status}", name(replica));
        }
        Ok(begun.elapsed())
    }

    pub fn pause(&self, replica: usize) -> Result<()> {
        let server = self.servers[replica].as_ref().context("it runs")?;
        server.signal(Signal::STOP)?;
        self.standings.suspend(replica);
        Ok(())
    }

    pub fn resume(&self, replica: usize) -> Result<()> {
        let server = self.servers[replica].as_ref().context("it runs")?;
        self.standings.resume(replica);
        server.signal(Signal::CONT)
    }

    pub fn cut(&self, replica: usize, way: Way) {
        self.proxies[replica].set(way);
        self.standings.suspend(replica);
    }

    pub fn heal(&self, replica: usize) {
        self.standings.resume(replica);
        self.proxies[replica].set(Way::Open);
    }

    /// All ways lead to where the database is now.
    pub fn follow(&self) -> Result<()> {
        let address = self.cluster.address()?;
        for proxy in &self.proxies {
            proxy.lead_to(address);
        }
        Ok(())
    }

    /// Servers that ended although nobody asked them to.
    pub fn check(&mut self) -> Result<()> {
        for (replica, server) in self.servers.iter_mut().enumerate() {
            if let Some(server) = server
                && let Some(status) = server.has_ended()?
            {
                bail!(
                    "server {} has ended by itself with {status}; its last words: {}",
                    name(replica),
                    server.last_words()
                );
            }
        }
        Ok(())
    }
}

/// What a server is called.
pub const fn name(replica: usize) -> &'static str {
    ["a", "b", "c"][replica]
}

fn note(log: &Mutex<std::fs::File>, begun: Instant, who: &str, line: &str) {
    use std::io::Write as _;
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(log, "{:9.3} {who} {line}", begun.elapsed().as_secs_f64());
}
