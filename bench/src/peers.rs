//! `bench peers`: other servers that take pings, beside ours, under the same load in the same run.
//!
//! They must run already. Only loopback is loaded unless one says otherwise: a load test of somebody else's server is an attack.

mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, Common, Kind, ON_LOOPBACK};
use crate::load::{self, Outcome, Plan};
use crate::report::{Goal, Report, say};
use target::Target;

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Ping URLs of the peers, http alone; `{token}` stands for a line of its file, and `POST ` may stand before one
    #[arg(long, required = true, value_delimiter = ',')]
    url: Vec<String>,
    /// Files with a token to a line, one for each URL that has a `{token}`, in their order
    #[arg(long, value_delimiter = ',')]
    tokens: Vec<PathBuf>,
    /// A header for all peers, `Name: value`; ours does not get it
    #[arg(long)]
    header: Vec<String>,
    /// Load servers beyond this machine, too: only with the consent of whoever runs them
    #[arg(long)]
    allow_remote: bool,
    /// Our heartbeats [default: as many as the longest file of tokens has, or 1]
    #[arg(long)]
    monitors: Option<u32>,
    /// Which database ours lies on
    #[arg(long, value_enum, default_value = "sqlite")]
    db: Kind,
    /// Connections of the closed loop
    #[arg(long, default_value_t = 64)]
    conns: usize,
    /// Rounds, in each of which every server has its run
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of one run
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

/// What the rounds found of one server.
#[derive(Default)]
struct Found {
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    answered: u64,
    /// By what happened instead.
    refused: std::collections::BTreeMap<u16, u64>,
    broken: u64,
    unanswered: u64,
}

impl Found {
    fn add(&mut self, outcome: &Outcome) {
        self.rates.push(outcome.per_second());
        let milliseconds = |share| outcome.latency.quantile(share).as_secs_f64() * 1e3;
        self.p50.push(milliseconds(0.5));
        self.p99.push(milliseconds(0.99));
        self.answered += outcome.latency.count();
        for (status, count) in &outcome.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        self.broken += outcome.broken;
        self.unanswered += outcome.unanswered;
    }

    fn errors(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.broken + self.unanswered
    }
}

pub fn run(mut options: Options) -> Result<()> {
    if options.common.quick {
        options.rounds = options.rounds.min(2);
        options.seconds = options.seconds.min(1.0);
    }
    let targets = targets(&options)?;
    let mut bench = Bench::new(&options.common)?;
    let longest = targets.iter().map(|target| target.requests.len()).max();
    let monitors = match options.monitors {
        Some(monitors) => monitors,
        None => u32::try_from(longest.unwrap_or(1)).context("count the tokens")?,
    };
    let data = bench.seeded_on(options.db, "ours", monitors)?;
    let (server, _) = bench.start(&data)?;
    let duration = Duration::from_secs_f64(options.seconds);
    let mut plans = vec![(
        format!("Systole on {}", options.db.name()),
        data.closed(&server, options.conns, duration),
    )];
    for target in &targets {
        // Where every request needs a new connection, ours is not handicapped, and that is said.
        let keep_alive = target.keeps_connections()?;
        let name = if keep_alive {
            target.name.clone()
        } else {
            format!("{} (a connection for each ping)", target.name)
        };
        let plan = Plan {
            keep_alive,
            requests_of: Some(Arc::clone(&target.requests)),
            ..Plan::closed(vec![target.address], options.conns, duration)
        };
        plans.push((name, plan));
    }
    let mut found: Vec<Found> = plans.iter().map(|_| Found::default()).collect();
    say("- rounds of all servers");
    let count = plans.len();
    for round in 0..options.rounds {
        for turn in 0..count {
            let index = (turn + round) % count;
            let (_, plan) = &plans[index];
            bench.quiet()?;
            let warm_up = Plan {
                duration: plan.duration / 5,
                run: bench.next_run(),
                ..plan.clone()
            };
            load::run(&warm_up, &AtomicBool::new(false))?;
            let plan = Plan {
                run: bench.next_run(),
                ..plan.clone()
            };
            found[index].add(&load::run(&plan, &AtomicBool::new(false))?);
        }
    }
    let mut report = Report::default();
    for ((name, _), here) in plans.iter().zip(&found) {
        say_of(name, here, &found[0], &mut report);
    }
    report.note(format!(
        "{} connections, of our {monitors} heartbeats uniformly random ones; each server as it was set up, on this machine \
         with the generator. Only ours is known to answer when a ping is on the disk",
        options.conns
    ));
    if options.db == Kind::Postgres {
        report.note(ON_LOOPBACK);
    }
    bench.finish(report, Ok(()))
}

fn say_of(name: &str, here: &Found, ours: &Found, report: &mut Report) {
    let is_ours = std::ptr::eq(here, ours);
    report.figures(
        format!("{name}: pings per second"),
        &here.rates,
        "/s",
        Goal::NONE,
    );
    report.figures("  p50", &here.p50, "ms", Goal::NONE);
    report.figures("  p99", &here.p99, "ms", Goal::NONE);
    let goal = if is_ours {
        Goal::at_most(Some(0.0), None)
    } else {
        Goal::NONE
    };
    report.figure("  errors", here.errors() as f64, "", goal);
    if here.errors() > 0 {
        report.note(format!(
            "{name}: {} answered, by status {:?} were refused, {} broke, {} were not answered; latencies are of the answered",
            here.answered, here.refused, here.broken, here.unanswered
        ));
    }
    if !is_ours {
        let pairs = ours.rates.iter().zip(&here.rates);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        let ratios: Vec<f64> = ratios
            .into_iter()
            .filter(|ratio| ratio.is_finite())
            .collect();
        report.figures("  pings per second, ours / theirs", &ratios, "", Goal::NONE);
    }
}

fn targets(options: &Options) -> Result<Vec<Target>> {
    let mut files = options.tokens.iter();
    let mut targets = Vec::new();
    for url in &options.url {
        let tokens = if url.contains(target::PLACEHOLDER) {
            let file = files.next().with_context(|| {
                format!("{url} has a {{token}}: give a file of its tokens with --tokens")
            })?;
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("read the tokens in {}", file.display()))?;
            let tokens: Vec<String> = text
                .lines()
                .map(|line| line.trim().to_owned())
                .filter(|line| !line.is_empty())
                .collect();
            ensure!(!tokens.is_empty(), "{} holds no token", file.display());
            tokens
        } else {
            vec![String::new()]
        };
        targets.push(Target::new(
            url,
            &tokens,
            &options.header,
            options.allow_remote,
        )?);
    }
    ensure!(
        files.next().is_none(),
        "there are more files of tokens than URLs with a {{token}}"
    );
    Ok(targets)
}
