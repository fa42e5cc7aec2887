//! `bench kill`: kill -9 under load, again and again; nothing acknowledged may be lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bench::{Bench, Common, Data};
use crate::load::{self, Plan};
use crate::process::Server;
use crate::report::say;
use crate::token::{Random, run_id};
use crate::{SEED, readback};

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// How many times the server is killed
    #[arg(long, default_value_t = 200)]
    times: u32,
    /// Heartbeats that are pinged
    #[arg(long, default_value_t = 10_000)]
    monitors: u32,
    /// Connections of the load
    #[arg(long, default_value_t = 64)]
    conns: usize,
    /// Read the log back after every so many kills, too, not only after the last
    #[arg(long, default_value_t = u32::MAX)]
    check_every: u32,
    /// The load lasts up to so long before each kill, and at least a tenth of it
    #[arg(long, default_value_t = 500)]
    longest_ms: u64,
}

#[derive(Default)]
struct Tally {
    /// Numbers of the requests that were answered 200.
    acknowledged: Vec<u64>,
    next_number: u64,
    /// The first number after each kill.
    kills: Vec<u64>,
    /// In flight when the server was killed: they may be found or not.
    unanswered: u64,
}

pub fn run(mut options: Options) -> Result<()> {
    if options.common.quick {
        options.times = options.times.min(10);
    }
    let mut bench = Bench::new(&options.common)?;
    let data = bench.seeded("kill", options.monitors)?;
    let mut random = Random::new(SEED);
    let mut tally = Tally::default();
    let (mut found, mut lost) = (0, vec![]);
    for time in 1..=options.times {
        let (server, _) = bench.start(&data)?;
        let after = Duration::from_micros(
            options.longest_ms * 100 + random.below(options.longest_ms * 900),
        );
        kill_under_load(&options, &mut bench, &data, server, after, &mut tally)?;
        if time % options.check_every.max(1) == 0 || time == options.times {
            // The server recovers what the kill left, and stops; what it kept is what counts.
            let (server, _) = bench.start(&data)?;
            server.stop()?;
            (found, lost) = check(&data, &tally)?;
            let acknowledged = tally.acknowledged.len();
            say(&format!(
                "- killed {time} times: acknowledged {acknowledged}, found {found}, lost {}",
                lost.len()
            ));
        }
        if !lost.is_empty() {
            break;
        }
    }
    if let Some(first) = lost.first() {
        let kill = tally.kills.partition_point(|end| end <= first) + 1;
        say(&format!(
            "the first that is lost was acknowledged before kill {kill}: run id {}",
            run_id(SEED, *first)
        ));
    }
    say(&format!(
        "in flight at a kill and not acknowledged: {}",
        tally.unanswered
    ));
    let (acknowledged, lost) = (tally.acknowledged.len(), lost.len());
    say(&format!(
        "acknowledged {acknowledged}  found {found}  lost {lost} (must be 0)"
    ));
    ensure!(
        acknowledged > 0,
        "nothing was acknowledged, so nothing was shown"
    );
    ensure!(
        lost == 0,
        "{lost} acknowledged check-ins are not in the log"
    );
    Ok(())
}

/// Loads the server, kills it `after` so long, and notes what it had acknowledged by then.
fn kill_under_load(
    options: &Options,
    bench: &mut Bench,
    data: &Data,
    server: Server,
    after: Duration,
    tally: &mut Tally,
) -> Result<()> {
    let plan = Plan {
        run: bench.next_run(),
        number_from: Some(tally.next_number),
        ..data.closed(&server, options.conns, Duration::from_secs(60))
    };
    let stop = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        let load = scope.spawn(|| load::run(&plan, &stop));
        std::thread::sleep(after);
        let killed = server.kill();
        // It ends by itself once it has read what the dead server had sent and no connection is left.
        let give_up = std::time::Instant::now() + Duration::from_secs(10);
        while !load.is_finished() && std::time::Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        killed?;
        load.join().ok().context("the load generator panicked")?
    })?;
    ensure!(
        outcome.refused.is_empty(),
        "pings were refused: {:?}",
        outcome.refused
    );
    tally.acknowledged.extend(outcome.acknowledged);
    tally.next_number = outcome.next_number;
    tally.kills.push(outcome.next_number);
    tally.unanswered += outcome.broken + outcome.unanswered;
    Ok(())
}

/// How many acknowledged check-ins the log holds, and the numbers of those that it does not.
fn check(data: &Data, tally: &Tally) -> Result<(usize, Vec<u64>)> {
    let kept = readback::read_all_rids(&data.directory).context("read the log back")?;
    let missing = |number: &u64| !kept.contains(&run_id(SEED, *number));
    let mut lost: Vec<u64> = tally.acknowledged.iter().copied().filter(missing).collect();
    lost.sort_unstable();
    Ok((tally.acknowledged.len() - lost.len(), lost))
}
