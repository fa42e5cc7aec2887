//! `bench alerts`: from a deadline to the webhook that tells of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::api::Client;
use crate::bench::{Bench, Common};
use crate::histogram::Histogram;
use crate::process::Server;
use crate::receiver::{Receiver, Triggered};
use crate::report::{Goal, Report, say};
use crate::token::{Random, token};
use crate::{SEED, machine};

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Heartbeats that are armed and do not lapse; several numbers are several runs
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000])]
    armed: Vec<u32>,
    /// Heartbeats that lapse one by one, at instants spread over 20 s
    #[arg(long, default_value_t = 200)]
    singles: u32,
    /// Heartbeats that lapse at one instant; 0 for none
    #[arg(long, default_value_t = 10_000)]
    burst: u32,
}

/// Tokens of the heartbeats that lapse, apart from those that only wait.
const SINGLES: u64 = SEED + 1;
const BURST: u64 = SEED + 2;

/// How long after the last deadline messages are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(mut options: Options) -> Result<()> {
    if options.common.quick {
        options.armed = vec![10_000];
        options.singles = options.singles.min(40);
        options.burst = options.burst.min(500);
    }
    let mut bench = Bench::new(&options.common)?;
    let mut report = Report::default();
    let parts = options
        .armed
        .iter()
        .try_for_each(|armed| with(&options, *armed, &mut bench, &mut report));
    bench.finish(report, parts)
}

/// What `armed` heartbeats change.
fn with(options: &Options, armed: u32, bench: &mut Bench, report: &mut Report) -> Result<()> {
    let data = bench.seeded(&format!("armed-{armed}"), armed)?;
    let fsync = machine::probe_fsync(bench.work())?;
    let (server, _) = bench.start(&data)?;
    let receiver = Receiver::start()?;
    let url = format!("http://{}/hook", receiver.address);
    let channel =
        json!({"name": "receiver", "kind": "webhook", "config": {"url": url}, "default": true});
    Client::connect(server.address)?.create("/api/v1/channels", &channel)?;
    bench.quiet()?;
    singles(options, armed, fsync, &server, &receiver, report)?;
    if options.burst > 0 {
        burst(options, armed, &server, &receiver, report)?;
    }
    drop(server);
    std::fs::remove_dir_all(&data.directory).context("remove the data of a run")
}

/// Heartbeats that lapse one after another.
fn singles(
    options: &Options,
    armed: u32,
    fsync: Duration,
    server: &Server,
    receiver: &Receiver,
    report: &mut Report,
) -> Result<()> {
    say(&format!(
        "- {} single alerts with {armed} armed",
        options.singles
    ));
    let schedule = json!({"every": "2s"});
    create(server, "single", SINGLES, options.singles, &schedule)?;
    let window = 20_000_000_u64;
    let mut random = Random::new(SINGLES);
    let mut instants: Vec<u64> = (0..options.singles).map(|_| random.below(window)).collect();
    instants.sort_unstable();
    let started = Instant::now();
    let mut client = Client::connect(server.address)?;
    for (index, &instant) in instants.iter().enumerate() {
        std::thread::sleep(Duration::from_micros(instant).saturating_sub(started.elapsed()));
        client.ping(&token(SINGLES, index as u64).to_string())?;
    }
    let found = wait(
        receiver,
        "single",
        options.singles,
        Instant::now() + Duration::from_secs(3) + PATIENCE,
    )?;
    let mut lateness = Histogram::new();
    for one in &found {
        lateness.record(one.lateness.try_into().unwrap_or(Duration::ZERO));
    }
    let (must, aim) = (
        Some(50.0),
        (armed >= 1_000_000).then(|| 10.0 + milliseconds(fsync)),
    );
    let n = found.len();
    let name = format!("deadline to webhook p99 of {n}, {armed} armed");
    report.figure(
        name,
        milliseconds(lateness.quantile(0.99)),
        "ms",
        Goal::at_most(must, aim),
    );
    report.figure(
        "  p50",
        milliseconds(lateness.quantile(0.5)),
        "ms",
        Goal::NONE,
    );
    let early = found
        .iter()
        .filter(|one| one.lateness.is_negative())
        .count();
    ensure!(early == 0, "{early} alerts arrived before their deadline");
    complete(&found, options.singles, "single alerts", report);
    Ok(())
}

/// Heartbeats that lapse at one instant: a minute's slot of a cron expression, and its grace.
fn burst(
    options: &Options,
    armed: u32,
    server: &Server,
    receiver: &Receiver,
    report: &mut Report,
) -> Result<()> {
    say(&format!(
        "- {} alerts at one instant with {armed} armed",
        options.burst
    ));
    create(
        server,
        "burst",
        BURST,
        options.burst,
        &json!({"cron": "* * * * *"}),
    )?;
    // All of them must be up before the slot that they are to miss.
    let second = Timestamp::now().as_second().rem_euclid(60);
    if second > 40 {
        std::thread::sleep(Duration::from_secs(61 - second.unsigned_abs()));
    }
    spread(
        options.burst,
        |client, index| client.ping(&token(BURST, index).to_string()),
        server,
    )?;
    let next_minute = 60 - Timestamp::now().as_second().rem_euclid(60).unsigned_abs();
    let deadline = Instant::now() + Duration::from_secs(next_minute + 1);
    let found = wait(receiver, "burst", options.burst, deadline + PATIENCE)?;
    let longest = found
        .iter()
        .map(|one| one.lateness)
        .max()
        .unwrap_or(SignedDuration::ZERO);
    let shortest = found
        .iter()
        .map(|one| one.lateness)
        .min()
        .unwrap_or(SignedDuration::ZERO);
    let name = format!(
        "last of {} that lapse at one instant, {armed} armed",
        options.burst
    );
    report.figure(
        name,
        longest.as_secs_f64(),
        "s",
        Goal::at_most(Some(2.0), Some(0.3)),
    );
    report.figure("  first", shortest.as_secs_f64(), "s", Goal::NONE);
    complete(&found, options.burst, "alerts at one instant", report);
    Ok(())
}

/// Creates heartbeats `name-0` to `name-(count-1)`, with tokens of `seed`, in parallel.
fn create(
    server: &Server,
    name: &str,
    seed: u64,
    count: u32,
    schedule: &serde_json::Value,
) -> Result<()> {
    spread(
        count,
        |client, index| {
            let heartbeat = json!({
                "kind": "heartbeat",
                "name": format!("{name}-{index}"),
                "schedule": schedule,
                "grace": "1s",
                "token": token(seed, index).to_string(),
            });
            client.create("/api/v1/monitors", &heartbeat).map(|_| ())
        },
        server,
    )
}

/// Does something for each number below `count`, on 16 connections at once.
fn spread(
    count: u32,
    act: impl Fn(&mut Client, u64) -> Result<()> + Sync,
    server: &Server,
) -> Result<()> {
    let threads = 16;
    std::thread::scope(|scope| {
        let act = &act;
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(server.address)?;
                    (first..u64::from(count))
                        .step_by(threads as usize)
                        .try_for_each(|index| act(&mut client, index))
                })
            })
            .collect();
        for worker in workers {
            worker.join().ok().context("a client panicked")??;
        }
        Ok(())
    })
}

/// Waits for `count` incidents of monitors named `name-…`, at most until `give_up`.
fn wait(receiver: &Receiver, name: &str, count: u32, give_up: Instant) -> Result<Vec<Triggered>> {
    let mut seen = usize::MAX;
    loop {
        std::thread::sleep(Duration::from_millis(250));
        // Reading every message again is dear: only when none came for a while.
        let arrived = receiver.count();
        if arrived != seen && Instant::now() < give_up {
            seen = arrived;
            continue;
        }
        let (mut found, _) = receiver.triggered()?;
        found.retain(|one| {
            one.monitor
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('-'))
        });
        if found.len() >= count as usize || Instant::now() >= give_up {
            return Ok(found);
        }
    }
}

/// Alerts that never came, and those that came for another reason than the missed deadline.
fn complete(found: &[Triggered], expected: u32, what: &str, report: &mut Report) {
    let missing = (expected as usize).saturating_sub(found.len());
    report.figure(
        format!("  {what} that never came"),
        missing as f64,
        "",
        Goal::at_most(Some(0.0), None),
    );
    let others: Vec<&Triggered> = found
        .iter()
        .filter(|one| one.reason != "missed_deadline")
        .collect();
    if let Some(one) = others.first() {
        let (count, reason) = (others.len(), &one.reason);
        report.note(format!(
            "{count} of the {what} came for another reason, such as {reason}"
        ));
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
