//! Both databases side by side: pings per second as ratios of runs that alternate, and what PostgreSQL has to do for them.

use anyhow::Result;

use super::Options;
use crate::bench::{Bench, Data};
use crate::load::{Outcome, Plan};
use crate::report::{Goal, Report, say};
use crate::{api, machine};

/// Alternating pairs of one server on SQLite and `replicas` on PostgreSQL.
pub fn pairs(
    options: &Options,
    bench: &mut Bench,
    [sqlite, postgres]: [&Data; 2],
    replicas: usize,
    report: &mut Report,
) -> Result<()> {
    let among = match replicas {
        1 => "1 replica".to_owned(),
        _ => format!("{replicas} replicas"),
    };
    say(&format!(
        "- pings per second of {among} on PostgreSQL beside SQLite"
    ));
    let ours = [
        bench.start_replicas(sqlite, 1)?,
        bench.start_replicas(postgres, replicas)?,
    ];
    let mut before = None;
    let (mut ratios, mut rates, mut p99) = (vec![], [vec![], vec![]], [vec![], vec![]]);
    let mut pings = 0;
    for pair in 0..options.pairs as usize {
        let mut rate = [0.0; 2];
        for turn in [pair % 2, (pair + 1) % 2] {
            let data = [sqlite, postgres][turn];
            let outcome = warm(
                bench,
                data.closed_over(&ours[turn], options.conns, options.duration()),
                &mut pings,
                turn == 1,
            )?;
            rate[turn] = outcome.per_second();
            rates[turn].push(outcome.per_second());
            p99[turn].push(outcome.latency.quantile(0.99).as_secs_f64() * 1e3);
            if turn == 1 && before.is_none() {
                // What a start leaves to be done, and every page's first change, is behind now.
                api::all_written(&ours[1])?;
                pings = 0;
                before = Some(counted(postgres)?);
            }
        }
        ratios.push(rate[1] / rate[0]);
    }
    report.figures(
        format!("pings per second, PostgreSQL ({among}) / SQLite"),
        &ratios,
        "",
        Goal::at_least(Some(0.5), Some(0.8)),
    );
    for (turn, name) in ["SQLite", "PostgreSQL"].into_iter().enumerate() {
        report.figures(format!("  {name}"), &rates[turn], "/s", Goal::NONE);
        report.figures(format!("  {name}, p99"), &p99[turn], "ms", Goal::NONE);
    }
    let Some(before) = before.filter(|_| pings > 0) else {
        report.absent("  share of HOT updates", "one pair is too few", HOT);
        return Ok(());
    };
    // States are written behind; what they cost belongs to the pings.
    api::all_written(&ours[1])?;
    let after = counted(postgres)?;
    let updates = after.updates - before.updates;
    let hot = after.hot_updates - before.hot_updates;
    let wal = after.wal_bytes - before.wal_bytes;
    report.figure(
        "  share of HOT updates",
        hot as f64 / updates as f64,
        "",
        HOT,
    );
    report.figure(
        "  updated rows per ping",
        updates as f64 / pings as f64,
        "",
        Goal::NONE,
    );
    report.figure(
        "  WAL bytes per ping",
        wal as f64 / pings as f64,
        "B",
        Goal::NONE,
    );
    Ok(())
}

const HOT: Goal = Goal::at_least(None, Some(0.99));

/// A warm-up and a run; counts the pings of both where `counts`.
fn warm(bench: &mut Bench, plan: Plan, pings: &mut u64, counts: bool) -> Result<Outcome> {
    let warm_up = bench.load(
        "a pair",
        Plan {
            duration: plan.duration / 5,
            ..plan.clone()
        },
    )?;
    let outcome = bench.load("a pair", plan)?;
    if counts {
        *pings += warm_up.latency.count() + outcome.latency.count();
    }
    Ok(outcome)
}

fn counted(data: &Data) -> Result<systole_testing::postgres::Counters> {
    // Sessions report what they did within a second of being idle.
    std::thread::sleep(std::time::Duration::from_secs(2));
    machine::flush();
    data.counters()
}
