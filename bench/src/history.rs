//! What a year of history takes, and how fast it is read: made by the functions that the server calls, told the time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use systole_core::engine::{Engine, MonitorId, Position};
use systole_core::heartbeat::{Checkin, Settings, Signal};
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::history::forget::{Keep, KeptBytes};
use systole_store::history::rolled::Resolution;
use systole_store::log::Batch;
use systole_store::monitors::{MonitorFields, StoredToken};
use systole_store::record::{BatchPacker, CheckinRecord, Method};
use systole_store::{DEFAULT_PROJECT, Store};

use crate::report::say;

/// A midnight.
const BEGUN: Time = Time::from_seconds(1_767_225_600);
const HOUR: i64 = 3_600;
const DAY: Span = Span::from_seconds(86_400);
/// Monitors whose reads are measured.
const READ: usize = 100;

/// See `main`.
#[derive(clap::Args)]
pub struct Options {
    /// Monitors
    #[arg(long, default_value_t = 1_000)]
    monitors: u32,
    /// Days
    #[arg(long, default_value_t = 365)]
    days: u32,
    /// Seconds between two check-ins of a monitor
    #[arg(long, default_value_t = 300)]
    every: u32,
    /// Each third monitor reports the start of its runs, too
    #[arg(long)]
    starts: bool,
    /// Where to make the database; a temporary directory where it is left out
    #[arg(long)]
    dir: Option<PathBuf>,
    /// An empty PostgreSQL instead
    #[arg(long, conflicts_with = "dir")]
    postgres: Option<String>,
}

pub fn run(options: Options) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(&options))
}

async fn measure(options: &Options) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = options.dir.as_deref().unwrap_or(temporary.path());
    let store = match &options.postgres {
        Some(url) => Store::connect(url).await?,
        None => Store::open(directory).await?,
    };
    let ids = prepare(&store, options).await?;
    let stream = store.open_stream("bench", BEGUN).await?;
    let epoch = store.take_lease(stream).await?;
    let keep = Keep {
        age: span(90),
        checkins: 10_000,
        bytes: 10 << 30,
        hours: span(365),
        days: span(1_825),
    };
    let begun = Instant::now();
    let mut checkins = 0_u64;
    let (mut writing, mut rolling) = (0.0, 0.0);
    for day in 0..i64::from(options.days) {
        for hour in 0..24 {
            let at = BEGUN + Span::from_seconds((day * 24 + hour + 1) * HOUR);
            let seq = u64::try_from(day * 24 + hour + 1)?;
            let batch = batch(options, &ids, stream, seq, at);
            checkins += batch.count as u64;
            store.append(&batch, || at).await?;
            let started = Instant::now();
            while !store.write_history(epoch).await?.drained {}
            writing += started.elapsed().as_secs_f64();
            let started = Instant::now();
            let settled = at + Span::from_seconds(600);
            while store.roll_history(epoch, settled).await? {}
            rolling += started.elapsed().as_secs_f64();
        }
        let now = BEGUN + span(day + 1);
        tidy(&store, epoch, &keep, now).await?;
        if day % 30 == 29 {
            say(&format!(
                "day {}: {:.0} s",
                day + 1,
                begun.elapsed().as_secs_f64()
            ));
        }
    }
    store.checkpoint_wal(true).await?;
    report(&store, options, checkins, writing, rolling).await?;
    reads(&store, &ids, BEGUN + span(options.days.into())).await
}

const fn span(days: i64) -> Span {
    Span::from_seconds(days * DAY.as_seconds())
}

/// What the loops do beside: states to rows, the log up to them dropped, old history forgotten.
async fn tidy(store: &Store, epoch: i64, keep: &Keep, now: Time) -> Result<()> {
    let booted = store.boot().await?;
    let (mut engine, mut settings) = (Engine::boot(booted.boot), booted.settings);
    loop {
        let rows = store.tail(engine.vector(), 100).await?;
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            engine.observe(row)?;
        }
    }
    engine.begin_pass();
    while let Some(chunk) = engine.sweep(1_000) {
        store.sweep(epoch, &chunk, &mut settings).await?;
        engine.swept(&chunk);
    }
    while store.drop_folded(epoch).await? {}
    let bounds = store.log_bounds().await?;
    while store.drop_log(&bounds, 1_000).await? > 0 {}
    let mut after = None;
    loop {
        after = store
            .forget_history(epoch, keep, None, after, now, &mut KeptBytes::default())
            .await?;
        if after.is_none() {
            return Ok(());
        }
    }
}

async fn prepare(store: &Store, options: &Options) -> Result<Vec<MonitorId>> {
    store.install(BEGUN, "key", b"check").await?;
    // Nothing is to become late: what is measured is history.
    let schedule = Schedule::every(span(300)).map_err(|error| anyhow::anyhow!("{error}"))?;
    let settings = Arc::new(Settings::new(schedule, span(300)));
    let monitors: Vec<(MonitorFields, StoredToken)> = (0..options.monitors)
        .map(|index| {
            let fields = MonitorFields {
                name: format!("job-{index}"),
                slug: format!("job-{index}"),
                description: String::new(),
                severity: "critical".to_owned(),
                labels: Vec::new(),
                owner: String::new(),
                runbook_url: String::new(),
                channels: None,
                set: None,
                settings: Arc::clone(&settings),
            };
            let mut hash = vec![0; 32];
            hash[..4].copy_from_slice(&index.to_be_bytes());
            let token = StoredToken {
                hash,
                cipher: vec![0; 64],
            };
            (fields, token)
        })
        .collect();
    let (ids, _) = store
        .create_monitors(BEGUN, "bench", DEFAULT_PROJECT, &monitors)
        .await?;
    Ok(ids)
}

/// An hour of check-ins as one row, in the order of their times.
fn batch(options: &Options, ids: &[MonitorId], stream: u32, seq: u64, at: Time) -> Batch {
    let mut packer = BatchPacker::new(at);
    let mut count = 0;
    let from = at - Span::from_seconds(HOUR);
    let rounds = i64::from(3_600 / options.every.max(1)).max(1);
    for round in 0..rounds {
        for (index, monitor) in (0_i64..).zip(ids) {
            // Some thousandths of a second late or early, as senders are.
            let jitter =
                (index * 7_919 + round * 104_729 + i64::try_from(seq).unwrap_or(0) * 1_299_709)
                    % 400_000;
            let shift =
                index * i64::from(options.every) * 1_000_000 / i64::from(options.monitors) + jitter;
            let time =
                from + Span::from_micros(round * i64::from(options.every) * 1_000_000 + shift);
            let time = if time > at { at } else { time };
            let mut push = |at: Time, signal, run| {
                count += 1;
                packer.push(&CheckinRecord {
                    monitor: *monitor,
                    checkin: Checkin { at, signal, run },
                    previous: Position::NONE,
                    method: Method::Get,
                    source: Some(
                        [
                            10,
                            0,
                            u8::try_from(index / 256 % 256).unwrap_or(0),
                            u8::try_from(index % 256).unwrap_or(0),
                        ]
                        .into(),
                    ),
                    user_agent: "curl/8.14.1".into(),
                    message: String::new(),
                    body: Vec::new(),
                    body_truncated: false,
                });
            };
            if options.starts && index % 3 == 0 {
                let run = (u128::from(seq) << 64)
                    | (u128::from(*monitor) << 32)
                    | u128::try_from(round).unwrap_or(0);
                push(time - Span::from_seconds(20), Signal::Start, Some(run));
                push(time, Signal::Exit(0), Some(run));
            } else {
                push(time, Signal::Success, None);
            }
        }
    }
    Batch {
        stream,
        seq,
        at,
        count,
        body: packer.finish(),
    }
}

async fn report(
    store: &Store,
    options: &Options,
    checkins: u64,
    writing: f64,
    rolling: f64,
) -> Result<()> {
    let bytes = store.history_bytes().await?;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let each = |bytes: u64, of: u32| bytes / u64::from(of.max(1));
    let kept = checkins.min(u64::from(options.monitors) * 10_000);
    say(&format!(
        "{} monitors, one check-in each {} s, {} days: {checkins} check-ins",
        options.monitors, options.every, options.days
    ));
    say(&format!(
        "check-ins kept: {} ({} bytes for each of about {kept})",
        mib(bytes.checkins),
        bytes.checkins / kept.max(1)
    ));
    say(&format!(
        "hours: {} ({} bytes for a monitor's day)",
        mib(bytes.hours),
        each(bytes.hours, options.monitors * options.days)
    ));
    say(&format!(
        "days: {} ({} bytes for a monitor's year)",
        mib(bytes.days),
        each(bytes.days, options.monitors) * 365 / u64::from(options.days.max(1))
    ));
    say(&format!(
        "the whole database: {}",
        mib(store.database_bytes().await?)
    ));
    say(&format!(
        "writing: {:.1} µs for a check-in; folding and rolling up: {:.1} µs for a monitor's hour",
        writing * 1e6 / checkins as f64,
        rolling * 1e6 / f64::from(options.monitors) / f64::from(options.days) / 24.0
    ));
    Ok(())
}

async fn reads(store: &Store, ids: &[MonitorId], now: Time) -> Result<()> {
    let mut fifty = Vec::new();
    let mut days = Vec::new();
    for id in ids.iter().step_by((ids.len() / READ).max(1)) {
        let begun = Instant::now();
        let found = store.checkins(*id, None, 50).await?;
        fifty.push(begun.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(
            found.len() == 50,
            "only {} check-ins were found",
            found.len()
        );
        let begun = Instant::now();
        let found = store
            .rollups(*id, Resolution::Day, now - span(89), now)
            .await?;
        days.push(begun.elapsed().as_secs_f64() * 1e3);
        anyhow::ensure!(found.len() >= 89, "only {} days were found", found.len());
    }
    for (what, mut times) in [("the last 50 check-ins", fifty), ("90 days", days)] {
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).context("nothing was read")?;
        let worst = times.last().context("nothing was read")?;
        say(&format!(
            "reading {what} of one monitor: {median:.2} ms, at worst {worst:.2} ms"
        ));
    }
    Ok(())
}
