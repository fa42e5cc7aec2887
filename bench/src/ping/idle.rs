//! What monitors cost while nothing happens: memory, and time at the start.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use super::Options;
use crate::api::Client;
use crate::bench::{Bench, Data};
use crate::load::{self, Plan};
use crate::machine;
use crate::report::{Goal, Report, say};

/// From the start of the process to the first ping answered 200: after a clean stop, and after a kill under load.
pub fn start(options: &Options, bench: &mut Bench, data: &Data, report: &mut Report) -> Result<()> {
    say("- time to start");
    let rounds = if options.common.quick { 1 } else { 3 };
    let (mut clean, mut killed) = (vec![], vec![]);
    let (server, first) = bench.start(data)?;
    server.stop()?;
    for _ in 0..rounds {
        let (server, took) = bench.start(data)?;
        clean.push(took.as_secs_f64());
        server.stop()?;
        let (server, _) = bench.start(data)?;
        let run = bench.next_run();
        let plan = Plan {
            run,
            ..data.closed(&server, options.conns, Duration::from_secs(60))
        };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| load::run(&plan, &stop));
            std::thread::sleep(options.duration());
            let outcome = server.kill();
            stop.store(true, Ordering::Relaxed);
            load.join().ok().context("the load generator panicked")??;
            outcome
        })?;
        let (server, took) = bench.start(data)?;
        killed.push(took.as_secs_f64());
        server.stop()?;
    }
    let monitors = data.monitors;
    let goal = |seconds| Goal::at_most(None, Some(seconds));
    report.figures(
        format!("start with {monitors} monitors, clean"),
        &clean,
        "s",
        // PostgreSQL has other work and no pages of ours in our memory.
        goal(if data.shared.is_some() { 10.0 } else { 2.0 }),
    );
    report.figures(
        format!("start with {monitors} monitors, after kill -9"),
        &killed,
        "s",
        goal(10.0),
    );
    report.figure(
        "  first start after seeding",
        first.as_secs_f64(),
        "s",
        Goal::NONE,
    );
    Ok(())
}

/// Memory of an idle server, and what each monitor adds to it.
pub fn memory(bench: &Bench, small: &Data, large: &Data, report: &mut Report) -> Result<()> {
    say("- memory of idle monitors");
    let mut found = [0.0; 2];
    let mut name = 0.0;
    for (index, data) in [small, large].into_iter().enumerate() {
        let (server, _) = bench.start(data)?;
        // What the start left behind is returned, or it is not.
        std::thread::sleep(Duration::from_secs(4));
        found[index] = machine::memory(server.pid())?;
        name = Client::connect(server.address)?.name_length()?;
    }
    let added = (found[1] - found[0]) / f64::from(large.monitors - small.monitors);
    let goal = Goal::at_most(None, Some(128.0));
    report.figure(
        "memory per idle monitor beside its name",
        added - name,
        "B",
        goal,
    );
    report.figure("  the name", name, "B", Goal::NONE);
    for (data, found) in [small, large].into_iter().zip(found) {
        report.figure(
            format!("  PSS with {} idle monitors", data.monitors),
            found / 1e6,
            "MB",
            Goal::NONE,
        );
    }
    Ok(())
}
