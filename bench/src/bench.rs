//! What the benchmarks share: options, directories, and the conditions of a run.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use systole_server::seed::Place;
use systole_testing::postgres::{Counters, Database};
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
        self.seeded_on(Kind::Sqlite, name, count)
    }

    /// `count` heartbeats on a database of this kind.
    pub fn seeded_on(&self, kind: Kind, name: &str, count: u32) -> Result<Data> {
        say(&format!("- seeding {count} heartbeats on {}", kind.name()));
        let directory = self.path(name);
        let shared = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(Shared::new()),
        };
        let place = match &shared {
            None => Place::Directory(&directory),
            Some(shared) => Place::Database {
                url: &shared.url,
                key: &KEY,
            },
        };
        seed::heartbeats(place, seed::Plan::far(count))
            .with_context(|| format!("seed {count} heartbeats for {}", directory.display()))?;
        if let Some(shared) = &shared {
            // As the server's own upkeep would have done by the time that there are so many.
            shared.database.analyze().map_err(anyhow::Error::msg)?;
        }
        machine::flush();
        Ok(Data {
            directory,
            monitors: count,
            shared,
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
        self.start_in(data, &data.directory, wrapper, environment)
    }

    /// Starts so many replicas on `data`, which must be shared if it is more than one.
    pub fn start_replicas(&self, data: &Data, count: usize) -> Result<Vec<Server>> {
        (1..=count)
            .map(|number| {
                let directory = data.directory.with_extension(number.to_string());
                let directory = if data.shared.is_some() {
                    &directory
                } else {
                    &data.directory
                };
                self.start_in(data, directory, &[], &[])
                    .map(|(server, _)| server)
            })
            .collect()
    }

    fn start_in(
        &self,
        data: &Data,
        directory: &Path,
        wrapper: &[String],
        environment: &[(String, String)],
    ) -> Result<(Server, Duration)> {
        let mut environment = environment.to_vec();
        if let Some(shared) = &data.shared {
            environment.push(("SYSTOLE_DATABASE_URL".to_owned(), shared.url.clone()));
            environment.push(("SYSTOLE_KEY".to_owned(), STANDARD.encode(KEY)));
        }
        let server = process::systole(&self.binary, directory, wrapper, &environment)?;
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

    /// Says what was not ideal, prints what was found until a part failed, and fails with that part, or if something that must
    /// hold does not.
    pub fn finish(&self, mut report: Report, parts: Result<()>) -> Result<()> {
        if self.noisy > 0 {
            report.note(format!(
                "{} runs began while other processes used more than 12 % of the machine",
                self.noisy
            ));
        }
        let holds = report.print();
        parts?;
        ensure!(holds, "a figure that must hold does not");
        Ok(())
    }
}

/// Which database a server lies on.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its own, in its data directory
    Sqlite,
    /// The project's own PostgreSQL, which ci/postgres starts
    Postgres,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Sqlite => "SQLite",
            Kind::Postgres => "PostgreSQL",
        }
    }
}

/// The key of the replicas.
const KEY: [u8; 32] = [7; 32];

/// What a reader of figures must know of the PostgreSQL that gave them.
pub const ON_LOOPBACK: &str = "PostgreSQL is on this machine and its disk, over loopback with sslmode=disable, fsync and \
                               synchronous_commit on; it shares the processors with the servers and the generator";

/// A database for one benchmark, dropped with this value.
pub struct Shared {
    pub database: Database,
    /// With `sslmode=disable`.
    url: String,
}

impl Shared {
    fn new() -> Shared {
        let database = systole_testing::postgres::database();
        let url = format!("{}?sslmode=disable", database.url());
        Shared { database, url }
    }
}

/// Seeded heartbeats.
pub struct Data {
    pub directory: PathBuf,
    pub monitors: u32,
    /// Where they lie in a shared database.
    pub shared: Option<Shared>,
}

impl Data {
    /// What PostgreSQL has counted; zeros where the heartbeats lie elsewhere.
    pub fn counters(&self) -> Result<Counters> {
        let shared = self.shared.as_ref();
        shared.map_or_else(
            || Ok(Counters::default()),
            |shared| shared.database.counters().map_err(anyhow::Error::msg),
        )
    }

    /// A closed loop over all its heartbeats.
    pub fn closed(&self, server: &Server, connections: usize, duration: Duration) -> Plan {
        self.closed_over(std::slice::from_ref(server), connections, duration)
    }

    /// The same, over several replicas.
    pub fn closed_over(&self, servers: &[Server], connections: usize, duration: Duration) -> Plan {
        let addresses = servers.iter().map(|server| server.address).collect();
        Plan {
            monitors: self.monitors,
            ..Plan::closed(addresses, connections, duration)
        }
    }
}
