//! What a durable ping costs the disk, and what a slow disk costs a ping.

use std::time::Duration;

use anyhow::Result;

use super::Options;
use crate::api;
use crate::bench::{Bench, Data};
use crate::load::{Pace, Plan};
use crate::machine;
use crate::process::Server;
use crate::report::{Goal, Report, say};
use crate::shim::Shim;

/// Bytes that reach the device for each ping, all that is written behind included.
pub fn bytes(options: &Options, bench: &mut Bench, data: &Data, report: &mut Report) -> Result<()> {
    say(&format!(
        "- bytes written per ping; written-behind data gets {} s to reach the disk",
        options.settle
    ));
    let goal = Goal::at_most(Some(2048.0), Some(1024.0));
    let (server, _) = bench.start(data)?;
    // What the start leaves to be written is nobody's ping.
    settled(options, &server)?;
    let kept_before = machine::size_of(&data.directory)?;
    let device_before = machine::written_to_device(&data.directory)?;
    let process_before = machine::written_by(server.pid())?;
    let outcome = bench.load(
        "the run that counts bytes",
        data.closed(&server, options.conns, options.duration()),
    )?;
    settled(options, &server)?;
    let device = machine::written_to_device(&data.directory)?;
    let process = machine::written_by(server.pid())? - process_before;
    let kept = machine::size_of(&data.directory)? - kept_before;
    let pings = outcome.latency.count() as f64;
    match device.zip(device_before) {
        Some((after, before)) => {
            report.figure(
                "device bytes written per ping",
                (after - before) / pings,
                "B",
                goal,
            );
            report.figure(
                "  by the kernel's account of the process",
                process / pings,
                "B",
                Goal::NONE,
            );
        }
        None => {
            report.figure(
                "bytes written per ping (/proc/PID/io)",
                process / pings,
                "B",
                goal,
            );
            report.note("the data directory is on no block device; --dir names one that is");
        }
    }
    report.figure("  bytes kept per ping", kept / pings, "B", Goal::NONE);
    report.figure(
        "  check-ins per heartbeat in that run",
        pings / f64::from(data.monitors),
        "",
        Goal::NONE,
    );
    Ok(())
}

/// Waits until all that is written behind has reached the disk.
fn settled(options: &Options, server: &Server) -> Result<()> {
    api::all_written(std::slice::from_ref(server))?;
    std::thread::sleep(Duration::from_secs_f64(options.settle));
    machine::flush();
    Ok(())
}

/// Latency at a fixed rate on a disk whose flushes are slow, in flushes.
pub fn slow(
    options: &Options,
    bench: &mut Bench,
    data: &Data,
    shim: &Shim,
    report: &mut Report,
) -> Result<()> {
    let delay = Duration::from_micros(options.fsync_delay_us);
    say(&format!(
        "- a disk whose flushes take {} ms more",
        delay.as_secs_f64() * 1e3
    ));
    let flush = (machine::probe_fsync(bench.work())? + delay).as_secs_f64();
    let (server, _) = bench.start_with(data, &[], &shim.environment(delay))?;
    let open = |duration| Plan {
        pace: Pace::Open(options.rate),
        ..data.closed(&server, 256, duration)
    };
    bench.load("a warm-up on a slow disk", open(options.duration() / 3))?;
    let (mut p50, mut p99, mut fastest) = (vec![], vec![], f64::INFINITY);
    for _ in 0..if options.common.quick { 1 } else { 5 } {
        let latency = bench
            .load("the open loop on a slow disk", open(options.duration()))?
            .latency;
        p50.push(latency.quantile(0.5).as_secs_f64() / flush);
        p99.push(latency.quantile(0.99).as_secs_f64() / flush);
        fastest = fastest.min(latency.shortest().as_secs_f64() / delay.as_secs_f64());
    }
    let name = format!(
        "p99 in flushes of {:.1} ms at {} pings/s",
        flush * 1e3,
        options.rate
    );
    report.figures(name, &p99, "", Goal::at_most(Some(3.0), None));
    report.figures("  p50 in flushes", &p50, "", Goal::NONE);
    // An answer that is faster than the sleep of a flush cannot have waited for one.
    report.figure(
        "  fastest answer / injected delay",
        fastest,
        "",
        Goal::at_least(Some(1.0), None),
    );
    let closed = bench.load(
        "the closed loop on a slow disk",
        data.closed(&server, 64, options.duration()),
    )?;
    report.figure(
        "  pings per second, 64 connections",
        closed.per_second(),
        "/s",
        Goal::NONE,
    );
    Ok(())
}
