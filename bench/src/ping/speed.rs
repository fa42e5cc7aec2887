//! Throughput and CPU time, as ratios of runs that alternate.

use anyhow::Result;

use super::{Costs, Options};
use crate::bench::{Bench, Data};
use crate::load::{Outcome, Plan};
use crate::machine::Cpu;
use crate::process::{self, Server};
use crate::report::{Goal, Report, say};
use crate::shim::Shim;

/// What the pairs found and the instructions need.
#[derive(Default)]
pub struct Measured {
    pub bare: Costs,
    pub ours: Costs,
    /// Wall time of one ping of the bare server, in seconds.
    pub bare_ping: f64,
    /// Pings that one flush of the disk made durable.
    pub pings_per_flush: f64,
}

/// Alternating pairs of the bare server and the server under test, on the large data directory.
pub fn pairs(
    options: &Options,
    bench: &mut Bench,
    data: &Data,
    shim: &Shim,
    report: &mut Report,
) -> Result<Measured> {
    say("- pings per second beside the bare server");
    let bare = process::bare(&[])?;
    // Without a delay the shim only counts flushes.
    let (ours, _) = bench.start_with(data, &[], &shim.environment(std::time::Duration::ZERO))?;
    let mut found = Measured::default();
    let (mut ratios, mut cpu_ratios, mut rates, mut p99) =
        (vec![], vec![], [vec![], vec![]], vec![]);
    let (mut pings, flushes) = (0, shim.flushes()?);
    for pair in 0..options.pairs {
        let mut rate = [0.0; 2];
        for turn in [pair % 2, (pair + 1) % 2] {
            let server = if turn == 0 { &bare } else { &ours };
            let plan = data.closed(server, options.conns, options.duration());
            let (outcome, cost) = costed(bench, "a pair", server, plan)?;
            rate[turn as usize] = outcome.per_second();
            rates[turn as usize].push(outcome.per_second());
            let costs = if turn == 0 {
                &mut found.bare
            } else {
                &mut found.ours
            };
            costs.0.push(cost);
            if turn == 1 {
                pings += outcome.latency.count();
                p99.push(outcome.latency.quantile(0.99).as_secs_f64() * 1e3);
            }
        }
        ratios.push(rate[1] / rate[0]);
    }
    for (ours, bare) in found.ours.total().iter().zip(found.bare.total()) {
        cpu_ratios.push(ours / bare);
    }
    let per_flush = pings as f64 / (shim.flushes()? - flushes).max(1) as f64;
    found.pings_per_flush = per_flush;
    found.bare_ping = 1.0 / crate::report::quartiles(&rates[0]).map_or(1.0, |rates| rates.median);
    let conns = options.conns;
    report.figures(
        format!("pings per second / bare hyper, {conns} connections"),
        &ratios,
        "",
        Goal::at_least(None, Some(0.75)),
    );
    report.figures("  bare hyper", &rates[0], "/s", Goal::NONE);
    report.figures("  durable pings", &rates[1], "/s", Goal::NONE);
    report.figures("  p99 of durable pings", &p99, "ms", Goal::NONE);
    report.figure(
        "  pings per flush of the disk",
        found.pings_per_flush,
        "",
        Goal::NONE,
    );
    report.figures(
        "CPU time per durable ping / bare hyper",
        &cpu_ratios,
        "",
        Goal::NONE,
    );
    Ok(found)
}

/// Alternating rounds of the small and the large data directory.
pub fn growth(
    options: &Options,
    bench: &mut Bench,
    small: &Data,
    large: &Data,
    report: &mut Report,
) -> Result<()> {
    say("- growth with the number of monitors");
    let (few, _) = bench.start(small)?;
    let (many, _) = bench.start(large)?;
    let (mut p99, mut cpu) = (vec![], vec![]);
    for round in 0..options.pairs.min(5) {
        let mut found = [(0.0, 0.0); 2];
        for turn in [round % 2, (round + 1) % 2] {
            let (server, data) = if turn == 0 {
                (&few, small)
            } else {
                (&many, large)
            };
            let plan = data.closed(server, options.conns, options.duration());
            let (outcome, cost) = costed(bench, "a round of growth", server, plan)?;
            found[turn as usize] = (outcome.latency.quantile(0.99).as_secs_f64(), cost.total());
        }
        p99.push(found[1].0 / found[0].0);
        cpu.push(found[1].1 / found[0].1);
    }
    let step = format!("{} -> {} monitors", small.monitors, large.monitors);
    report.figures(
        format!("growth of p99, {step}"),
        &p99,
        "",
        Goal::at_most(None, Some(1.5)),
    );
    report.figures(
        format!("growth of CPU time per ping, {step}"),
        &cpu,
        "",
        Goal::NONE,
    );
    Ok(())
}

/// A short warm-up, a run, and the CPU time that each of its pings took the server.
fn costed(bench: &mut Bench, what: &str, server: &Server, plan: Plan) -> Result<(Outcome, Cpu)> {
    bench.load(
        what,
        Plan {
            duration: plan.duration / 5,
            ..plan.clone()
        },
    )?;
    let before = Cpu::of(server.pid())?;
    let outcome = bench.load(what, plan)?;
    let spent = Cpu::of(server.pid())?.since(before);
    let pings = outcome.latency.count() as f64;
    Ok((
        outcome,
        Cpu {
            user: spent.user / pings,
            system: spent.system / pings,
        },
    ))
}
