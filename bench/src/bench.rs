//! What the benchmarks share: options, directories, and the conditions of a run.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::load::{self, Outcome, Plan};
use crate::process::{self, Server};
use crate::report::{Report, say};
use crate::seed;
use crate::token::token;
use crate::{SEED, api, machine};

/// Options of every benchmark.
#[derive(clap::Args, Debug)]
pub struct Common {
    /// The server under test
    #[arg(long, default_value = "target/release/systole")]
    server: PathBuf,
    /// Where the data goes, on the disk to measure; removed at the end
    #[arg(long, default_value = "target/bench-data")]
    dir: PathBuf,
    /// A smoke run: small, short, and its figures mean little
    #[arg(long)]
    pub quick: bool,
}

/// One benchmark under way.
pub struct Bench {
    binary: PathBuf,
    work: TempDir,
    noisy: u32,
    runs: u64,
}

impl Bench {
    pub fn new(common: &Common) -> Result<Bench> {
        let binary = common.server.canonicalize().with_context(|| {
            format!(
                "find the server {}; build it with: cargo build --release -p systole",
                common.server.display()
            )
        })?;
        if cfg!(debug_assertions) {
            bail!(
                "this is a debug build and would measure itself; run: cargo run --release -p systole-bench -- …"
            );
        }
        std::fs::create_dir_all(&common.dir)
            .with_context(|| format!("make {}", common.dir.display()))?;
        let work = tempfile::tempdir_in(&common.dir)
            .with_context(|| format!("make a directory in {}", common.dir.display()))?;
        Ok(Bench {
            binary,
            work,
            noisy: 0,
            runs: 0,
        })
    }

    /// The server under test, which is the client too.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    pub fn work(&self) -> &Path {
        self.work.path()
    }

    /// A data directory with `count` heartbeats.
    pub fn seeded(&self, name: &str, count: u32) -> Result<Data> {
        say(&format!("- seeding {count} heartbeats"));
        let directory = self.path(name);
        seed::heartbeats(&directory, seed::Plan::far(count))
            .with_context(|| format!("seed {count} heartbeats into {}", directory.display()))?;
        machine::flush();
        Ok(Data {
            directory,
            monitors: count,
        })
    }

    /// Starts the server on `data` and waits until it has acknowledged a ping; how long that took.
    pub fn start(&self, data: &Data) -> Result<(Server, Duration)> {
        self.start_with(data, &[], &[])
    }

    pub fn start_with(
        &self,
        data: &Data,
        wrapper: &[String],
        environment: &[(String, String)],
    ) -> Result<(Server, Duration)> {
        let server = process::systole(&self.binary, &data.directory, wrapper, environment)?;
        let took = api::first_acknowledged(&server, token(SEED, 0))?;
        Ok((server, took))
    }

    /// Loads a server once the machine is quiet; an error unless every ping is answered 200.
    pub fn load(&mut self, what: &str, plan: Plan) -> Result<Outcome> {
        self.quiet()?;
        let run = self.next_run();
        load::run(&Plan { run, ..plan }, &AtomicBool::new(false))?.clean(what)
    }

    /// Waits for a quiet machine, but not for ever; whether it is.
    pub fn quiet(&mut self) -> Result<bool> {
        let quiet = machine::wait_for_quiet()?;
        self.noisy += u32::from(!quiet);
        Ok(quiet)
    }

    /// A number that no other run of this benchmark has.
    pub fn next_run(&mut self) -> u64 {
        self.runs += 1;
        self.runs
    }

    /// Says what was not ideal, prints the table, and fails if something that must hold does not.
    pub fn finish(&self, mut report: Report) -> Result<()> {
        if self.noisy > 0 {
            report.note(format!(
                "{} runs began while other processes used more than 12 % of the machine",
                self.noisy
            ));
        }
        ensure!(report.print(), "a figure that must hold does not");
        Ok(())
    }
}

/// A seeded data directory.
pub struct Data {
    pub directory: PathBuf,
    pub monitors: u32,
}

impl Data {
    /// A closed loop over all its heartbeats.
    pub fn closed(&self, server: &Server, connections: usize, duration: Duration) -> Plan {
        Plan {
            monitors: self.monitors,
            ..Plan::closed(server.address, connections, duration)
        }
    }
}
