//! `bench create`: monitors made one by one, many to a request, and by `systole apply`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::api::Client;
use crate::bench::{Bench, Common};
use crate::process::{ADMIN_TOKEN, Server};
use crate::report::{Goal, Report, say};

#[derive(clap::Args, Debug)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// Heartbeats that there are before
    #[arg(long, default_value_t = 100_000)]
    existing: u32,
    /// Heartbeats made many to a request, and as many by apply
    #[arg(long, default_value_t = 50_000)]
    monitors: u32,
    /// Heartbeats made one by one, on 16 connections
    #[arg(long, default_value_t = 5_000)]
    singles: u32,
    /// How often each way is measured, in turn
    #[arg(long, default_value_t = 3)]
    rounds: u32,
}

/// Heartbeats of one request.
const CHUNK: usize = 1_000;
/// Documents of one file.
const PER_FILE: u32 = 10_000;
/// Connections on which single ones are made.
const CONNECTIONS: u32 = 16;
/// What is asked of making many.
const GOAL: Goal = Goal::at_least(Some(5_000.0), None);

pub fn run(mut options: Options) -> Result<()> {
    if options.common.quick {
        options.existing = options.existing.min(5_000);
        options.monitors = options.monitors.min(5_000);
        options.singles = options.singles.min(500);
        options.rounds = 1;
    }
    let mut bench = Bench::new(&options.common)?;
    let mut report = Report::default();
    let data = bench.seeded("create", options.existing)?;
    let (server, _) = bench.start(&data)?;
    let (mut single, mut many, mut ratio) = (vec![], vec![], vec![]);
    let (mut applied, mut again) = (vec![], vec![]);
    for round in 0..options.rounds {
        say(&format!("- round {} of {}", round + 1, options.rounds));
        bench.quiet()?;
        single.push(singly(&server, round, options.singles)?);
        many.push(in_bulk(&server, round, options.monitors)?);
        ratio.push(many[many.len() - 1] / single[single.len() - 1]);
        let files = bench.path(&format!("documents-{round}"));
        write_documents(&files, round, options.monitors)?;
        for rates in [&mut applied, &mut again] {
            rates.push(apply(bench.binary(), &server, &files, options.monitors)?);
        }
    }
    let existing = options.existing;
    report.figures(
        format!("monitors made many to a request, over {existing}"),
        &many,
        "/s",
        GOAL,
    );
    let name = format!("monitors made by apply of {} documents", options.monitors);
    report.figures(name, &applied, "/s", GOAL);
    report.figures("  applied again, unchanged", &again, "/s", Goal::NONE);
    let name = format!("  made one by one on {CONNECTIONS} connections");
    report.figures(name, &single, "/s", Goal::NONE);
    report.figures("  many to a request / one by one", &ratio, "", Goal::NONE);
    bench.finish(report, Ok(()))
}

/// A period or a slot of cron in some zone, as installations have them: many alike, and many that are not.
fn schedule(index: u32) -> Value {
    let cron = format!("{} {} * * *", index % 60, index / 60 % 24);
    match index % 4 {
        0 => json!({"every": "6h"}),
        1 => json!({"every": format!("{}m", index % 240 + 1)}),
        2 => json!({"cron": cron}),
        _ => json!({"cron": cron, "timezone": "Europe/Oslo"}),
    }
}

fn heartbeat(name: String, index: u32) -> Value {
    let labels = json!({"team": format!("team-{}", index % 50)});
    json!({"kind": "heartbeat", "name": name, "schedule": schedule(index), "grace": "10m", "labels": labels})
}

/// Monitors per second.
fn rate(count: u32, begun: Instant) -> f64 {
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn singly(server: &Server, round: u32, count: u32) -> Result<f64> {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|first| {
                scope.spawn(move || -> Result<()> {
                    let mut client = Client::connect(server.address)?;
                    for index in (first..count).step_by(CONNECTIONS as usize) {
                        let heartbeat = heartbeat(format!("single {round} {index}"), index);
                        client.create("/api/v1/monitors", &heartbeat)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for worker in workers {
            worker.join().ok().context("a client panicked")??;
        }
        Ok(rate(count, begun))
    })
}

fn in_bulk(server: &Server, round: u32, count: u32) -> Result<f64> {
    let all: Vec<Value> = (0..count)
        .map(|index| heartbeat(format!("bulk {round} {index}"), index))
        .collect();
    let bodies: Vec<Value> = all
        .chunks(CHUNK)
        .map(|items| json!({"items": items}))
        .collect();
    let mut client = Client::connect(server.address)?;
    let begun = Instant::now();
    for body in &bodies {
        client.create("/api/v1/monitors/bulk", body)?;
    }
    Ok(rate(count, begun))
}

fn write_documents(directory: &Path, round: u32, count: u32) -> Result<()> {
    std::fs::create_dir(directory).with_context(|| format!("make {}", directory.display()))?;
    for (number, first) in (0..count).step_by(PER_FILE as usize).enumerate() {
        let mut text = String::new();
        for index in first..(first + PER_FILE).min(count) {
            let heartbeat = heartbeat(format!("applied {round} {index}"), index);
            let schedule = &heartbeat["schedule"];
            let labels = &heartbeat["labels"];
            let name = &heartbeat["name"];
            writeln!(
                text,
                "---\nkind: heartbeat\nname: {name}\nschedule: {schedule}\ngrace: 10m\nlabels: {labels}"
            )?;
        }
        let path = directory.join(format!("{number:03}.yaml"));
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// `systole apply` of all of them; documents per second, reading and comparing them included.
fn apply(binary: &Path, server: &Server, documents: &Path, count: u32) -> Result<f64> {
    let begun = Instant::now();
    let output = Command::new(binary)
        .args(["apply", "--server", &format!("http://{}", server.address)])
        .arg("-f")
        .arg(documents)
        .env("SYSTOLE_TOKEN", ADMIN_TOKEN)
        .stdin(Stdio::null())
        .output()
        .context("run systole apply")?;
    let rate = rate(count, begun);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "systole apply failed: {said}");
    let lines = output.stdout.iter().filter(|byte| **byte == b'\n').count();
    ensure!(
        lines == count as usize,
        "systole apply told of {lines} documents, not of {count}: {said}"
    );
    Ok(rate)
}
