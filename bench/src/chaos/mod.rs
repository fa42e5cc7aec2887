//! `bench chaos`: three servers on one PostgreSQL, which are killed, stopped, cut off and moved, under a steady load.
//!
//! Nothing acknowledged may be lost, nothing decided twice, no silence missed, no job called late that was not.

mod cluster;
mod events;
mod fleet;
mod hooks;
mod proxy;
mod senders;
mod standing;
mod tally;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::events::Event;
use self::fleet::Fleet;
use self::hooks::Hooks;
use self::senders::{EVERY, Field, GRACE, History};
use self::standing::Times;
use self::tally::{Delivery, Incident, Tally};
use crate::api::Client;
use crate::report::{Goal, Report, say};
use crate::token::{Random, token};
use crate::{SEED, readback};

/// Servers.
pub const REPLICAS: usize = 3;
/// Monitors of one thread of the steady load, which reports for one after the other.
const STEADY_EACH: u32 = 10;
/// The schedule and grace of the steady ones, in seconds.
const STEADY: (i64, i64) = (60, 30);
/// After so many events comes a calm, so long that every silence has its incident.
const CALM_EVERY: u32 = 12;
const CALM: Duration = Duration::from_secs(50);
/// Until everything that was decided has been told at the end: a claim of a sender that died lasts a minute.
const SETTLE: Duration = Duration::from_secs(240);

#[derive(clap::Args, Debug)]
pub struct Options {
    /// How many things happen
    #[arg(long, default_value_t = 200)]
    times: u32,
    /// What happens is drawn from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Threads of the steady load
    #[arg(long, default_value_t = 4)]
    senders: u32,
    /// Between two check-ins of one such thread
    #[arg(long, default_value_t = 20)]
    pause_ms: u64,
    /// Jobs that fall silent now and then
    #[arg(long, default_value_t = 24)]
    lapsing: u32,
    /// The servers under test
    #[arg(long, default_value = "target/release/systole")]
    server: PathBuf,
    /// Where the run's log goes, with what the servers write
    #[arg(long, default_value = "target/chaos.log")]
    log: PathBuf,
}

pub fn run(options: Options) -> Result<()> {
    let binary = options.server.canonicalize().with_context(|| {
        format!(
            "find the server {}; build it with: cargo build --release -p systole",
            options.server.display()
        )
    })?;
    say(&format!(
        "seed {}, {} events, log in {}",
        options.seed,
        options.times,
        options.log.display()
    ));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the runtime of the proxies")?;
    let work = tempfile::tempdir().context("make a directory for the servers")?;
    let field = Arc::new(Field::new(options.seed, Hooks::start()?));
    let fleet = Fleet::new(&binary, work.path(), &options.log, Arc::clone(&field));
    let mut fleet = runtime.block_on(fleet)?;
    for replica in 0..REPLICAS {
        fleet.start(replica)?;
    }
    set_up(&options, &field)?;
    let outcome = std::thread::scope(|scope| {
        let outcome = load(scope, &options, &field, &mut fleet);
        field.stop.store(true, Ordering::Relaxed);
        outcome
    });
    let end = outcome?;
    for replica in 0..REPLICAS {
        fleet.stop(replica)?;
    }
    say("- reading the log back");
    let found = runtime.block_on(readback::count_rids(fleet.cluster.url()))?;
    let mut tally = Tally::default();
    tally.log(&end.steady, &found);
    tally.log(&end.lapsing, &found);
    let seconds = |(every, grace)| SignedDuration::from_secs(every + grace);
    tally.incidents(
        &end.lapsing,
        &end.incidents,
        seconds((EVERY, GRACE)),
        end.at,
    );
    tally.incidents(&end.steady, &end.incidents, seconds(STEADY), end.at);
    tally.messages(&end.incidents, &end.deliveries, &field.hooks.all()?);
    let (times, _) = fleet.standings.times();
    conclude(&field, &tally, &times)
}

/// What was there at the end.
struct End {
    at: Timestamp,
    steady: Vec<History>,
    lapsing: Vec<History>,
    incidents: Vec<Incident>,
    deliveries: Vec<Delivery>,
}

/// The heartbeats, and the channel.
fn set_up(options: &Options, field: &Field) -> Result<()> {
    let mut client = Client::connect(address(field)?)?;
    let url = format!("http://{}/hook", field.hooks.receiver.address);
    let channel =
        json!({"name": "receiver", "kind": "webhook", "config": {"url": url}, "default": true});
    client.create("/api/v1/channels", &channel)?;
    let steady = options.senders * STEADY_EACH;
    for number in 0..steady + options.lapsing {
        let (name, (every, grace)) = if number < steady {
            (format!("steady-{number}"), STEADY)
        } else {
            (format!("lapsing-{number}"), (EVERY, GRACE))
        };
        let heartbeat = json!({
            "kind": "heartbeat",
            "name": name,
            "schedule": {"every": format!("{every}s")},
            "grace": format!("{grace}s"),
            "token": token(field.seed, u64::from(number)).to_string(),
        });
        client.create("/api/v1/monitors", &heartbeat)?;
    }
    Ok(())
}

/// Where one of the servers is.
fn address(field: &Field) -> Result<std::net::SocketAddr> {
    let addresses = field
        .addresses
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    addresses
        .iter()
        .flatten()
        .next()
        .copied()
        .context("no server runs")
}

/// The load, the events, and what there is when all is calm again.
fn load<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    options: &Options,
    field: &'scope Field,
    fleet: &mut Fleet,
) -> Result<End> {
    let pause = Duration::from_millis(options.pause_ms);
    let steady: Vec<_> = (0..options.senders)
        .map(|thread| {
            let first = thread * STEADY_EACH;
            scope.spawn(move || senders::steady(field, first, STEADY_EACH, pause))
        })
        .collect();
    let first = options.senders * STEADY_EACH;
    let lapsing: Vec<_> = (first..first + options.lapsing)
        .map(|number| scope.spawn(move || senders::lapsing(field, number)))
        .collect();
    scope.spawn(|| field.keep_time());

    let happened = events(options, field, fleet);
    let (incidents, deliveries) = happened.and_then(|()| settle(field, fleet))?;
    let at = Timestamp::now();
    field.stop.store(true, Ordering::Relaxed);
    let panicked = || anyhow::anyhow!("a sender panicked");
    let mut end = End {
        at,
        steady: Vec::new(),
        lapsing: Vec::new(),
        incidents,
        deliveries,
    };
    for thread in steady {
        end.steady.extend(thread.join().map_err(|_| panicked())?);
    }
    for thread in lapsing {
        end.lapsing.push(thread.join().map_err(|_| panicked())?);
    }
    Ok(end)
}

fn events(options: &Options, field: &Field, fleet: &mut Fleet) -> Result<()> {
    let mut random = Random::new(options.seed);
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(10));
    for time in 1..=options.times {
        let event = Event::draw(&mut random, fleet);
        let words = event.words(fleet);
        fleet.note(&format!("EVENT {time}: {words}"));
        if event.disturbs() {
            field.disturbed();
        }
        let started = Instant::now();
        event.happen(fleet)?;
        if event.disturbs() {
            field.undisturbed();
        }
        fleet.note(&format!("EVENT {time} is over"));
        say(&format!(
            "{:5.0} s  {time}/{}  {words}; over after {:.1?}",
            begun.elapsed().as_secs_f64(),
            options.times,
            started.elapsed()
        ));
        std::thread::sleep(Duration::from_millis(1_000 + random.below(4_000)));
        fleet.check()?;
        if time % CALM_EVERY == 0 {
            std::thread::sleep(CALM);
        }
        if let (_, Some(nobody)) = fleet.standings.times()
            && nobody > Duration::from_secs(60)
        {
            bail!("nobody decides since {nobody:.0?}");
        }
    }
    Ok(())
}

/// Waits until everything is well, told and written down.
fn settle(field: &Field, fleet: &mut Fleet) -> Result<(Vec<Incident>, Vec<Delivery>)> {
    say("- waiting for calm");
    field.settle.store(true, Ordering::Relaxed);
    let give_up = Instant::now() + SETTLE;
    loop {
        std::thread::sleep(Duration::from_secs(2));
        fleet.check()?;
        if Instant::now() < give_up && field.silent.load(Ordering::Relaxed) > 0 {
            continue;
        }
        let mut client = Client::connect(address(field)?)?;
        let incidents = pages(&mut client, "incidents")?;
        let deliveries = pages(&mut client, "deliveries")?;
        let open = incidents
            .iter()
            .filter(|it| it["state"] != "resolved")
            .count();
        let pending = deliveries
            .iter()
            .filter(|it| it["state"] == "pending")
            .count();
        if open + pending > 0 && Instant::now() < give_up {
            continue;
        }
        if open + pending > 0 {
            say(&format!(
                "! {open} incidents are open, {pending} messages are still to be sent"
            ));
        }
        // What was recorded as sent may have been read before what was said last.
        let incidents = incidents
            .iter()
            .map(|it| read_incident(&mut client, it))
            .collect::<Result<_>>()?;
        let deliveries = pages(&mut client, "deliveries")?;
        return Ok((incidents, deliveries.iter().map(read_delivery).collect()));
    }
}

/// All items of a list.
fn pages(client: &mut Client, list: &str) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/api/v1/{list}?limit=500{cursor}"))?;
        items.extend(page["items"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn read_incident(client: &mut Client, listed: &Value) -> Result<Incident> {
    let id = text(&listed["id"]);
    let incident = client.get(&format!("/api/v1/incidents/{id}"))?;
    let events = incident["events"]
        .as_array()
        .context("an incident has no events")?;
    let event = |event: &Value| Ok((text(&event["kind"]), text(&event["at"]).parse()?));
    Ok(Incident {
        id,
        monitor: text(&incident["monitor"]["name"]),
        events: events.iter().map(event).collect::<Result<_>>()?,
    })
}

fn read_delivery(delivery: &Value) -> Delivery {
    Delivery {
        key: text(&delivery["idempotency_key"]),
        kind: text(&delivery["type"]),
        incident: text(&delivery["incident_id"]),
        state: text(&delivery["state"]),
    }
}

fn conclude(field: &Field, tally: &Tally, times: &Times) -> Result<()> {
    let mut report = Report::default();
    let plain = Goal::NONE;
    let none = Goal::at_most(Some(0.0), None);
    let some = Goal::at_least(Some(1.0), None);
    for (figure, value, goal) in [
        ("check-ins acknowledged", tally.acknowledged, some),
        ("  found in the log", tally.found, plain),
        ("  lost", tally.lost, none),
        ("  in the log more than once", tally.twice, none),
        ("incidents expected", tally.expected, some),
        (
            "  opened (jobs that nobody would listen to are silent, too)",
            tally.opened,
            plain,
        ),
        ("  missed", tally.missed, none),
        ("  duplicated", tally.duplicated, none),
        ("  without a silence", tally.without_silence, none),
        ("messages expected", tally.messages_expected, some),
        ("  delivered", tally.delivered, plain),
        ("  superseded", tally.superseded, plain),
        ("  never delivered", tally.undelivered, none),
        (
            "  duplicated, by idempotency key",
            tally.messages_duplicated,
            none,
        ),
        ("  out of order", tally.out_of_order, none),
        (
            "  attempts repeated with the same key",
            tally.repeated_attempts,
            plain,
        ),
    ] {
        report.figure(figure, value as f64, "", goal);
    }
    let attempts = field.attempts.load(Ordering::Relaxed);
    let answered = 100.0 * tally.acknowledged as f64 / attempts as f64;
    report.figure(
        "attempts of check-ins that were acknowledged",
        answered,
        "%",
        plain,
    );
    let refused = field
        .refused
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let strange: u64 = refused.values().sum();
    report.figure("  answered neither 200 nor 503", strange as f64, "", none);
    let longest = |times: &[Duration]| times.iter().max().map_or(0.0, Duration::as_secs_f64);
    let within = |limit: f64| Goal::at_most(None, Some(limit));
    report.figure(
        "take-over after a fault, longest",
        longest(&times.take_over),
        "s",
        within(5.0),
    );
    report.figure(
        "hand-over at a stop, longest",
        longest(&times.hand_over),
        "s",
        within(1.0),
    );
    let without = times.longest_without.as_secs_f64();
    report.figure(
        "longest without a decider, the database there",
        without,
        "s",
        within(5.0),
    );
    report.note(format!(
        "{} take-overs and {} hand-overs were measured",
        times.take_over.len(),
        times.hand_over.len()
    ));
    if strange > 0 {
        report.note(format!("answers neither 200 nor 503: {:?}", *refused));
    }
    for complaint in &tally.complaints {
        report.note(complaint.clone());
    }
    ensure!(report.print(), "a figure that must hold does not");
    Ok(())
}
