//! `bench ping`: what a durable check-in costs beside a bare server, and how that grows.

mod counted;
mod databases;
mod disk;
mod idle;
mod speed;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::bench::{Bench, Common, Kind, ON_LOOPBACK};
use crate::machine::{self, Cpu};
use crate::report::{Report, quartiles, say};
use crate::shim::Shim;

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Which database the server lies on; PostgreSQL is measured beside SQLite, with one and with two replicas
    #[arg(long, value_enum, default_value = "sqlite")]
    db: Kind,
    /// Alternating pairs of runs, bare server and server under test
    #[arg(long, default_value_t = 9)]
    pairs: u32,
    /// Connections of a closed loop
    #[arg(long, default_value_t = 64)]
    conns: usize,
    /// Heartbeats of the large data directory
    #[arg(long, default_value_t = 1_000_000)]
    monitors: u32,
    /// Heartbeats of the small one, which growth is measured from
    #[arg(long, default_value_t = 10_000)]
    few: u32,
    /// Length of one run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Sleep added to every flush of the disk where a slow disk is measured
    #[arg(long, default_value_t = 5_000)]
    fsync_delay_us: u64,
    /// Pings per second of the open loop on the slow disk
    #[arg(long, default_value_t = 5_000.0)]
    rate: f64,
    /// Seconds that written-behind data is given to reach the disk before its bytes are counted
    #[arg(long, default_value_t = 40.0)]
    settle: f64,
    /// Pings counted under valgrind, where perf has no counters
    #[arg(long, default_value_t = 20_000)]
    counted: u64,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Start,
    Memory,
    Speed,
    Bytes,
    Growth,
    Instructions,
    Fsync,
}

impl Options {
    fn quick(mut self) -> Options {
        if self.common.quick {
            self.pairs = self.pairs.min(3);
            self.monitors = self.monitors.min(50_000);
            self.few = self.few.min(5_000);
            self.seconds = self.seconds.min(1.0);
            self.settle = self.settle.min(3.0);
            self.counted = self.counted.min(5_000);
        }
        self
    }

    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// CPU time per ping, in seconds, of each run of one server.
#[derive(Default)]
struct Costs(Vec<Cpu>);

impl Costs {
    fn total(&self) -> Vec<f64> {
        self.0.iter().map(|cost| cost.total()).collect()
    }

    /// Kernel time over user time; `None` before anything ran.
    fn kernel_share(&self) -> Option<f64> {
        let shares: Vec<f64> = self.0.iter().map(|cost| cost.system / cost.user).collect();
        quartiles(&shares).map(|found| found.median)
    }
}

pub fn run(options: Options) -> Result<()> {
    let options = options.quick();
    let bench = Bench::new(&options.common)?;
    match options.db {
        Kind::Sqlite => on_sqlite(&options, bench),
        Kind::Postgres => on_postgres(&options, bench),
    }
}

fn on_postgres(options: &Options, mut bench: Bench) -> Result<()> {
    let known = [Part::Start, Part::Speed];
    ensure!(
        options.only.iter().all(|part| known.contains(part)),
        "on PostgreSQL there are the parts start and speed; `bench scale` has memory and growth"
    );
    let mut report = Report::default();
    let parts = parts_on_postgres(options, &mut bench, &mut report);
    report.note(ON_LOOPBACK);
    bench.finish(report, parts)
}

fn parts_on_postgres(options: &Options, bench: &mut Bench, report: &mut Report) -> Result<()> {
    let postgres = bench.seeded_on(Kind::Postgres, "postgres", options.monitors)?;
    if options.wants(Part::Start) {
        idle::start(options, bench, &postgres, report)?;
    }
    if options.wants(Part::Speed) {
        let sqlite = bench.seeded("sqlite", options.monitors)?;
        for replicas in [1, 2] {
            databases::pairs(options, bench, [&sqlite, &postgres], replicas, report)?;
        }
    }
    Ok(())
}

fn on_sqlite(options: &Options, mut bench: Bench) -> Result<()> {
    let mut report = Report::default();
    let parts = parts_on_sqlite(options, &mut bench, &mut report);
    bench.finish(report, parts)
}

fn parts_on_sqlite(options: &Options, bench: &mut Bench, report: &mut Report) -> Result<()> {
    let shim = Shim::build(bench.work())?;
    let fsync = machine::probe_fsync(bench.work())?;
    say(&format!(
        "- one flush of this disk takes {:.0} us",
        fsync.as_secs_f64() * 1e6
    ));
    let large = bench.seeded("large", options.monitors)?;
    let small = bench.seeded("small", options.few)?;
    if options.wants(Part::Start) {
        idle::start(options, bench, &large, report)?;
    }
    if options.wants(Part::Memory) {
        idle::memory(bench, &small, &large, report)?;
    }
    if options.wants(Part::Bytes) {
        disk::bytes(options, bench, &large, report)?;
    }
    let mut costs = speed::Measured::default();
    if options.wants(Part::Speed) || options.wants(Part::Instructions) {
        costs = speed::pairs(options, bench, &large, &shim, report)?;
    }
    if options.wants(Part::Growth) {
        speed::growth(options, bench, &small, &large, report)?;
    }
    if options.wants(Part::Instructions) {
        counted::instructions(options, bench, &shim, &costs, report)?;
    }
    if options.wants(Part::Fsync) {
        disk::slow(options, bench, &large, &shim, report)?;
    }
    Ok(())
}
