//! Instructions per ping, which repeat where throughput does not.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::speed::Measured;
use super::{Options, machine};
use crate::api::{self, Client};
use crate::bench::{Bench, Data};
use crate::instructions::{Callgrind, Counter, INSTALL, Perf};
use crate::load::Plan;
use crate::process::{self, Server};
use crate::report::{Goal, Report, say};
use crate::shim::Shim;

const RATIO: Goal = Goal::at_most(Some(2.0), Some(1.5));
const GROWTH: Goal = Goal::at_most(None, Some(1.1));

/// Instructions per ping of the bare server, and of ours with few and with many monitors. What is written behind belongs to the
/// ping: it is counted until all is written. On data that no load has touched, since under valgrind what other parts left would
/// hold every ping up.
pub fn instructions(
    options: &Options,
    bench: &mut Bench,
    shim: &Shim,
    measured: &Measured,
    report: &mut Report,
) -> Result<()> {
    let Some(counter) = Counter::of_this_machine() else {
        report.absent("instructions per durable ping / bare hyper", INSTALL, RATIO);
        report.absent("growth of instructions", INSTALL, GROWTH);
        return Ok(());
    };
    let small = &bench.seeded("counted-small", options.few)?;
    let large = &bench.seeded("counted-large", options.monitors)?;
    match counter {
        Counter::Perf => by_perf(options, bench, small, large, report),
        Counter::Callgrind => by_callgrind(options, bench, [small, large], shim, measured, report),
    }
}

fn by_perf(
    options: &Options,
    bench: &mut Bench,
    small: &Data,
    large: &Data,
    report: &mut Report,
) -> Result<()> {
    say("- instructions, counted by perf");
    let bare = process::bare(&[])?;
    let limit = perf_run(options, bench, large, &bare, false)?;
    bare.kill()?;
    let mut ours = [0.0; 2];
    for (data, found) in [small, large].into_iter().zip(&mut ours) {
        let (server, _) = bench.start(data)?;
        somebody_is_told(&server)?;
        *found = perf_run(options, bench, data, &server, true)?;
    }
    report.figure(
        "instructions per durable ping / bare hyper",
        ours[1] / limit,
        "",
        RATIO,
    );
    report.figure("  bare hyper, user and kernel", limit, "", Goal::NONE);
    report.figure("  durable ping, user and kernel", ours[1], "", Goal::NONE);
    report.figure(growth_name(small, large), ours[1] / ours[0], "", GROWTH);
    Ok(())
}

fn perf_run(
    options: &Options,
    bench: &mut Bench,
    data: &Data,
    server: &Server,
    is_ours: bool,
) -> Result<f64> {
    let plan = data.closed(server, options.conns, options.duration());
    bench.load(
        "a warm-up",
        Plan {
            duration: plan.duration / 5,
            ..plan.clone()
        },
    )?;
    written(server, is_ours)?;
    let perf = Perf::attach(server.pid())?;
    let outcome = bench.load("a counted run", plan)?;
    written(server, is_ours)?;
    let (user, kernel) = perf.detach()?;
    Ok((user + kernel) / outcome.latency.count() as f64)
}

fn by_callgrind(
    options: &Options,
    bench: &mut Bench,
    [small, large]: [&Data; 2],
    shim: &Shim,
    measured: &Measured,
    report: &mut Report,
) -> Result<()> {
    say("- instructions: perf has no counters here, so callgrind counts user mode; this is slow");
    let mut callgrind = Callgrind::new(bench.work(), "bare");
    let bare = process::bare(&callgrind.wrapper())?;
    let counted = callgrind_run(options, bench, large, &bare, None, &mut callgrind)?;
    let (limit, slow_ping) = (counted.per_ping, counted.seconds);
    bare.kill()?;
    // As much slower as the processor is there, so that a flush finds as many pings waiting.
    let slowness = (slow_ping / measured.bare_ping).clamp(1.0, 1_000.0);
    let delay = machine::probe_fsync(bench.work())?.mul_f64(slowness);
    let (mut ours, mut resting) = ([0.0; 2], 0.0);
    let mut per_flush = 0.0;
    for (index, data) in [small, large].into_iter().enumerate() {
        let mut callgrind = Callgrind::new(bench.work(), &data.monitors.to_string());
        let (server, _) = bench.start_with(data, &callgrind.wrapper(), &shim.environment(delay))?;
        somebody_is_told(&server)?;
        let counted = callgrind_run(options, bench, data, &server, Some(shim), &mut callgrind)?;
        ours[index] = counted.per_ping;
        (resting, per_flush) = (counted.resting, counted.per_flush);
    }
    let user_ratio = ours[1] / limit;
    let shares = measured
        .ours
        .kernel_share()
        .zip(measured.bare.kernel_share());
    if let Some((kernel_ours, kernel_bare)) = shares {
        let estimate = user_ratio * (1.0 + kernel_ours) / (1.0 + kernel_bare);
        report.figure(
            "instructions per durable ping / bare hyper (estimate)",
            estimate,
            "",
            RATIO,
        );
        report.note(format!(
            "estimate: perf has no counters here. User instructions counted by callgrind; kernel instructions taken \
             as in proportion to CPU time (kernel / user: ours {kernel_ours:.2}, bare {kernel_bare:.2})"
        ));
    } else {
        report.absent(
            "instructions per durable ping / bare hyper",
            "the pairs found no CPU time",
            RATIO,
        );
    }
    report.figure(
        "  user instructions / bare hyper (callgrind)",
        user_ratio,
        "",
        Goal::NONE,
    );
    report.figure("  bare hyper, user", limit, "", Goal::NONE);
    report.figure("  durable ping, user", ours[1], "", Goal::NONE);
    report.figure(
        "  spent at rest, as a part of what was counted, and taken off",
        resting,
        "",
        Goal::NONE,
    );
    report.figure(
        format!("{} (user)", growth_name(small, large)),
        ours[1] / ours[0],
        "",
        GROWTH,
    );
    report.note(format!(
        "under valgrind a flush took {:.1} ms more ({slowness:.0} times a real one), and made {per_flush:.1} pings \
         durable; at full speed {:.1}",
        delay.as_secs_f64() * 1e3,
        measured.pings_per_flush
    ));
    Ok(())
}

/// A server whose heartbeats lead to nobody counts these for each scrape of its metrics, by which it is asked whether all is written.
fn somebody_is_told(server: &Server) -> Result<()> {
    let channel = json!({
        "name": "nobody", "kind": "webhook", "config": {"url": "http://127.0.0.1:9/"}, "default": true
    });
    Client::connect(server.address)?.create("/api/v1/channels", &channel)?;
    Ok(())
}

/// What is written behind belongs to the pings before it; the bare server has nothing of the kind.
fn written(server: &Server, is_ours: bool) -> Result<()> {
    if is_ours {
        api::all_written(std::slice::from_ref(server))?;
    }
    Ok(())
}

/// What was counted under valgrind.
struct Counted {
    /// User instructions per ping, less what the server spends at rest.
    per_ping: f64,
    /// Wall time of a ping.
    seconds: f64,
    /// The part of all instructions that was taken off.
    resting: f64,
    /// Pings that one flush made durable.
    per_flush: f64,
}

/// `shim` counts the flushes of a server that is ours.
fn callgrind_run(
    options: &Options,
    bench: &mut Bench,
    data: &Data,
    server: &Server,
    shim: Option<&Shim>,
    callgrind: &mut Callgrind,
) -> Result<Counted> {
    let is_ours = shim.is_some();
    let flushes = || shim.map_or(Ok(0), Shim::flushes);
    let bounded = |requests| Plan {
        requests,
        ..data.closed(server, options.conns, Duration::from_secs(120))
    };
    callgrind.begin(server.pid())?;
    bench.load("a warm-up under valgrind", bounded(options.counted / 5))?;
    written(server, is_ours)?;
    let rest = Duration::from_secs(9);
    let (at_rest, ()) = callgrind.count(server.pid(), || {
        std::thread::sleep(rest);
        Ok(())
    })?;
    let (all, (elapsed, outcome, flushed)) = callgrind.count(server.pid(), || {
        let (started, before) = (Instant::now(), flushes()?);
        let outcome = bench.load("a counted run under valgrind", bounded(options.counted))?;
        let flushed = flushes()? - before;
        written(server, is_ours)?;
        Ok((started.elapsed(), outcome, flushed))
    })?;
    let pings = outcome.latency.count() as f64;
    let resting = at_rest * elapsed.as_secs_f64() / rest.as_secs_f64();
    // What is written behind while the server is taken to rest makes a difference that says nothing, and would pass every goal.
    ensure!(
        all > resting,
        "the server did as much at rest ({resting:.0} instructions) as under load ({all:.0}): it still wrote behind what came \
         before, so instructions per ping are not known"
    );
    Ok(Counted {
        per_ping: (all - resting) / pings,
        seconds: outcome.elapsed.as_secs_f64() / pings,
        resting: resting / all,
        per_flush: pings / flushed.max(1) as f64,
    })
}

fn growth_name(small: &Data, large: &Data) -> String {
    format!(
        "growth of instructions, {} -> {} monitors",
        small.monitors, large.monitors
    )
}
