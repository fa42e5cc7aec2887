//! PostgreSQL under test: a server that is written to, and one that follows it synchronously, by `ci/postgres`.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What the names of its servers begin with.
const PREFIX: &str = "chaos";

/// Removed when dropped.
pub struct Cluster {
    primary: u32,
    follower: u32,
    url: String,
}

impl Cluster {
    pub fn start() -> Result<Cluster> {
        let mut cluster = Cluster {
            primary: 1,
            follower: 2,
            url: String::new(),
        };
        // What a run that was killed left.
        for line in script(&["status"]).unwrap_or_default().lines() {
            if let Some((name, _)) = line.split_once(':')
                && name.starts_with(PREFIX)
            {
                script(&["remove", name])?;
            }
        }
        cluster.url = script(&["start", &name(cluster.primary)])?;
        cluster.start_follower()?;
        Ok(cluster)
    }

    /// Where the one is that is written to.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> Result<SocketAddr> {
        let (_, place) = self.url.rsplit_once('@').context("the URL has no host")?;
        let (address, _) = place.split_once('/').context("the URL has no database")?;
        address.parse().context("read the address of the database")
    }

    /// The URL of the same database behind a proxy.
    pub fn url_by(&self, proxy: SocketAddr) -> Result<String> {
        let address = self.address()?.to_string();
        Ok(self.url.replace(&address, &proxy.to_string()))
    }

    /// Stops it as a crash would.
    pub fn crash(&self) -> Result<()> {
        script(&["stop", &name(self.primary), "--now"]).map(drop)
    }

    pub fn start_again(&self) -> Result<()> {
        script(&["start", &name(self.primary)]).map(drop)
    }

    /// From here on nothing can be committed.
    pub fn crash_follower(&self) -> Result<()> {
        script(&["stop", &name(self.follower), "--now"]).map(drop)
    }

    pub fn start_follower(&self) -> Result<()> {
        let (primary, follower) = (name(self.primary), name(self.follower));
        script(&[
            "start",
            &follower,
            "--replica-of",
            &primary,
            "--synchronous",
        ])
        .map(drop)
    }

    /// The follower is written to from here on; the former primary may still run, and acknowledges nothing.
    pub fn promote(&mut self) -> Result<()> {
        let follower = name(self.follower);
        script(&["promote", &follower])?;
        self.url = script(&["url", &follower])?;
        Ok(())
    }

    /// Throws the former primary away, and makes a new follower from the present one.
    pub fn replace(&mut self) -> Result<()> {
        script(&["remove", &name(self.primary)])?;
        self.primary = self.follower;
        self.follower += 1;
        self.start_follower()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in [self.follower, self.primary] {
            let _ = script(&["remove", &name(number)]);
        }
    }
}

fn name(number: u32) -> String {
    format!("{PREFIX}_{number}")
}

fn script(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ci/postgres")
        .args(arguments)
        .output()
        .context("call ci/postgres; the benchmark is started in the root of the repository")?;
    ensure!(
        output.status.success(),
        "ci/postgres {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
