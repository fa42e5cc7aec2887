//! `bench scale`: what more monitors change, on both databases; flat, or proportional and said so.

use std::time::Duration;

use anyhow::Result;

use crate::api::{self, Client};
use crate::bench::{Bench, Common, Data, Kind, ON_LOOPBACK};
use crate::load::Plan;
use crate::machine;
use crate::process::Server;
use crate::report::{Goal, Report, quartiles, say};

/// The metric of the history's writer, which a server may not have.
const HISTORY_LAG: &str = "history_lag_seconds";

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Heartbeats of each installation; the others are compared with the first
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    sizes: Vec<u32>,
    /// On which databases
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Sqlite, Kind::Postgres])]
    db: Vec<Kind>,
    /// Connections of the closed loop
    #[arg(long, default_value_t = 64)]
    conns: usize,
    /// Rounds, in each of which every size has its run
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of one run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// One installation and what was found of it.
struct Size {
    data: Data,
    servers: Vec<Server>,
    start: Vec<f64>,
    memory: f64,
    rates: Vec<f64>,
    p99: Vec<f64>,
    written: f64,
    history: Option<f64>,
}

pub fn run(mut options: Options) -> Result<()> {
    if options.common.quick {
        options.sizes = vec![1_000, 10_000];
        options.rounds = options.rounds.min(2);
        options.seconds = options.seconds.min(1.0);
    }
    let mut bench = Bench::new(&options.common)?;
    let mut report = Report::default();
    let databases = &options.db;
    let parts = databases
        .iter()
        .try_for_each(|kind| on(*kind, &options, &mut bench, &mut report));
    report.note(
        "start and memory are proportional to the monitors by design: every state is read at the start and kept in \
         memory, so that nothing is read for a ping. Written behind: a pass begins every 30 s and history is written every \
         10 s or sooner, so what is left depends on when the load ended",
    );
    if options.db.contains(&Kind::Postgres) {
        report.note(ON_LOOPBACK);
    }
    bench.finish(report, parts)
}

fn on(kind: Kind, options: &Options, bench: &mut Bench, report: &mut Report) -> Result<()> {
    let mut sizes = options
        .sizes
        .iter()
        .map(|count| begin(kind, *count, options, bench))
        .collect::<Result<Vec<Size>>>()?;
    let duration = Duration::from_secs_f64(options.seconds);
    say(&format!("- pings per second on {}", kind.name()));
    let count = sizes.len();
    for round in 0..options.rounds {
        for turn in 0..count {
            // Whoever comes first in a round comes last in another.
            let size = &mut sizes[(turn + round) % count];
            let plan = size
                .data
                .closed_over(&size.servers, options.conns, duration);
            let warm_up = Plan {
                duration: plan.duration / 5,
                ..plan.clone()
            };
            bench.load("a warm-up", warm_up)?;
            let outcome = bench.load("a round", plan)?;
            size.rates.push(outcome.per_second());
            size.p99
                .push(outcome.latency.quantile(0.99).as_secs_f64() * 1e3);
        }
    }
    say(&format!("- how far {} is behind after a load", kind.name()));
    for size in &mut sizes {
        api::all_written(&size.servers)?;
        let plan = size
            .data
            .closed_over(&size.servers, options.conns, duration * 2);
        bench.load("the load before the lag", plan)?;
        size.history = Client::connect(size.servers[0].address)?.metric(HISTORY_LAG)?;
        size.written = api::all_written(&size.servers)?.as_secs_f64();
    }
    say_all(kind, &sizes, report);
    Ok(())
}

/// Seeds, starts several times, and leaves a server running that has come to rest.
fn begin(kind: Kind, count: u32, options: &Options, bench: &mut Bench) -> Result<Size> {
    let data = bench.seeded_on(kind, &format!("{}-{count}", kind.name()), count)?;
    let mut start = vec![];
    for _ in 0..if options.common.quick { 1 } else { 3 } {
        bench.quiet()?;
        let (server, took) = bench.start(&data)?;
        start.push(took.as_secs_f64());
        server.stop()?;
    }
    let (server, _) = bench.start(&data)?;
    std::thread::sleep(Duration::from_secs(4));
    Ok(Size {
        memory: machine::memory(server.pid())? / 1e6,
        servers: vec![server],
        data,
        start,
        rates: vec![],
        p99: vec![],
        written: 0.0,
        history: None,
    })
}

fn say_all(kind: Kind, sizes: &[Size], report: &mut Report) {
    let Some(first) = sizes.first() else { return };
    let median = |values: &[f64]| quartiles(values).map_or(f64::NAN, |found| found.median);
    let from = first.data.monitors;
    for (index, size) in sizes.iter().enumerate() {
        let name = |what: &str| format!("{}, {} monitors: {what}", kind.name(), size.data.monitors);
        report.figures(name("pings per second"), &size.rates, "/s", Goal::NONE);
        report.figures(name("p99"), &size.p99, "ms", Goal::NONE);
        report.figures(
            name("start"),
            &size.start,
            "s",
            Goal::at_most(None, Some(10.0)),
        );
        report.figure(name("memory (PSS)"), size.memory, "MB", Goal::NONE);
        report.figure(name("states written behind"), size.written, "s", Goal::NONE);
        match size.history {
            Some(lag) => report.figure(name("history lag"), lag, "s", Goal::NONE),
            None if index == 0 => report.note(format!(
                "there is no history lag: the server has no metric systole_{HISTORY_LAG}"
            )),
            None => {}
        }
        if index == 0 {
            continue;
        }
        // Of the same round, so that what slows a round slows both.
        let ratios = |of: fn(&Size) -> &[f64]| -> Vec<f64> {
            let pairs = of(size).iter().zip(of(first));
            pairs.map(|(here, there)| here / there).collect()
        };
        let to = |what: &str| format!("  {what} / that of {from} monitors");
        let flat = Goal::at_least(None, Some(0.9));
        report.figures(
            to("pings per second"),
            &ratios(|size| &size.rates),
            "",
            flat,
        );
        let flat = Goal::at_most(None, Some(1.1));
        report.figures(to("p99"), &ratios(|size| &size.p99), "", flat);
        let start = median(&size.start) / median(&first.start);
        report.figure(to("start"), start, "", Goal::NONE);
        report.figure(to("memory"), size.memory / first.memory, "", Goal::NONE);
        let added = f64::from(size.data.monitors - from);
        let bytes = (size.memory - first.memory) * 1e6 / added;
        report.figure("  memory per further monitor", bytes, "B", Goal::NONE);
        let seconds = (median(&size.start) - median(&first.start)) * 1e6 / added;
        report.figure("  start per further monitor", seconds, "us", Goal::NONE);
        report.figure(
            to("states written behind"),
            size.written / first.written,
            "",
            Goal::NONE,
        );
    }
}
