//! Seeds on a real database: the same engine and the store's own statements, one after the other, with fail points at
//! begin, commit and send, and the database dropped and opened again.

mod checks;
mod deciding;
mod following;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use systole_core::engine::{Action, Command, Engine, MonitorId, Vector};
use systole_core::heartbeat::{Checkin, Settings, Signal};
use systole_core::maintenance::Window;
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::channels::ChannelFields;
use systole_store::decide::SettingsIds;
use systole_store::deliveries::Outgoing;
use systole_store::log::Batch;
use systole_store::monitors::{MonitorFields, StoredToken};
use systole_store::record::{BatchPacker, CheckinRecord, Method};
use systole_store::{DEFAULT_PROJECT, Error, Store};

use crate::broken::{Broken, Outcome, Stats};
use crate::database::merged;
use crate::random::Random;
use crate::senders::{COUNTER, FLAPPER};
use crate::truth::{Truth, Uid};

const MS: i64 = 1_000;
const S: i64 = 1_000_000;
const STEPS: u64 = 160;
/// Monitors from here on are awaited every so often.
const PUNCTUAL: MonitorId = 3;
const MONITORS: MonitorId = 5;

/// What a crash takes.
struct Memory {
    store: Store,
    engine: Engine,
    settings: SettingsIds,
    epoch: i64,
    stream: u32,
    seq: u64,
    formed: Time,
    waiting: Vec<(Uid, MonitorId, Checkin)>,
    outgoing: Vec<Outgoing>,
    pass_due: Time,
}

/// A run.
pub(crate) struct Run<'a> {
    directory: &'a Path,
    rng: Random,
    now: Time,
    stamp: Time,
    memory: Option<Memory>,
    pub(crate) truth: Truth,
    learned: Vector,
    sent: HashMap<(u32, u64), Vec<Uid>>,
    settings: BTreeMap<MonitorId, Arc<Settings>>,
    next_checkin: BTreeMap<MonitorId, Time>,
    received: BTreeMap<(i64, u64), i64>,
    keys: BTreeMap<String, i64>,
    number: u64,
    windows: Vec<Window>,
    reminded: BTreeMap<(i64, u64), Time>,
    faults: bool,
    pub(crate) stats: Stats,
    trace: bool,
}

/// Why a run ends early.
pub(crate) enum Stop {
    /// A promise did not hold.
    Broken(Broken),
    /// The database refused where nothing was broken on purpose.
    Refused(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Refused(error)
    }
}

/// Runs one seed in a directory of its own.
pub fn run(seed: u64, parent: Option<&Path>, trace: bool) -> Outcome {
    let now = Time::from_seconds(1_800_000_000);
    let outcome = |broken, stats| Outcome {
        broken,
        stats,
        digest: 0,
    };
    let refused = |what: String| {
        outcome(
            Some(Broken {
                promise: 1,
                what,
                at: now,
            }),
            Stats::default(),
        )
    };
    let directory = match parent {
        Some(parent) => tempfile::tempdir_in(parent),
        None => tempfile::tempdir(),
    };
    let directory = match directory {
        Ok(directory) => directory,
        Err(error) => return refused(format!("no directory for a database: {error}")),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return refused(format!("no runtime for a database: {error}")),
    };
    let mut run = Run {
        directory: directory.path(),
        rng: Random::new(seed),
        now,
        stamp: now,
        memory: None,
        truth: Truth::default(),
        learned: Vector::new(),
        sent: HashMap::new(),
        settings: BTreeMap::new(),
        next_checkin: BTreeMap::new(),
        received: BTreeMap::new(),
        keys: BTreeMap::new(),
        number: 0,
        windows: Vec::new(),
        reminded: BTreeMap::new(),
        faults: true,
        stats: Stats::default(),
        trace,
    };
    let result = runtime.block_on(run.all());
    run.stats.seconds = run.now.since(now).as_seconds().cast_unsigned();
    let broken = match result {
        Ok(()) => None,
        Err(Stop::Broken(broken)) => Some(broken),
        Err(Stop::Refused(error)) => {
            let cause = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            Some(Broken {
                promise: 1,
                what: format!("the database refused: {error}: {cause}"),
                at: run.now,
            })
        }
    };
    let digest = run.rng.next();
    Outcome {
        broken,
        stats: run.stats,
        digest,
    }
}

impl Run<'_> {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{} {}", self.now, what());
        }
    }

    pub(crate) fn broken<T>(&self, promise: u8, what: String) -> Result<T, Stop> {
        Err(Stop::Broken(Broken {
            promise,
            what,
            at: self.now,
        }))
    }

    fn wait(&mut self, low: i64, high: i64) {
        let span = self.rng.between(low, high);
        self.now = self.now + Span::from_micros(span);
    }

    fn stamp(&mut self) -> Time {
        self.stamp = self.now.max(Time::from_micros(self.stamp.as_micros() + 1));
        self.stamp
    }

    /// A fail point.
    fn fails(&mut self, permille: u64) -> bool {
        self.faults && self.rng.chance(permille)
    }

    /// The process ends here: its memory, its connections and its lock are gone.
    fn crash(&mut self, at: &str) {
        self.say(|| format!("crash at {at}"));
        self.stats.crashes += 1;
        self.memory = None;
        let down = if self.rng.chance(600) { S } else { 60 * S };
        let since = self.now;
        self.wait(10 * MS, down);
        self.truth.could_not_be_reached(since, self.now);
    }

    async fn all(&mut self) -> Result<(), Stop> {
        self.set_up().await?;
        for _ in 0..STEPS {
            self.step().await?;
            self.stats.steps += 1;
        }
        self.faults = false;
        for _ in 0..40 {
            self.step().await?;
            self.wait(2 * S, 3 * S);
        }
        self.check().await?;
        self.nothing_is_forgotten().await?;
        self.at_the_end().await
    }

    async fn set_up(&mut self) -> Result<(), Stop> {
        let store = Store::open(self.directory).await?;
        store.install(self.now, "key", b"check").await?;
        // The second gathers, is reminded, and is told of the first one's dead deliveries.
        for (name, is_second) in [("one", false), ("two", true)] {
            let fields = ChannelFields {
                name: name.to_owned(),
                kind: "webhook".to_owned(),
                config_cipher: Vec::new(),
                default: true,
                system: is_second,
                remind_every: if is_second {
                    following::REMIND_EVERY.as_micros()
                } else {
                    0
                },
                digest: is_second,
                set: None,
                unsubscribed_cipher: None,
            };
            store
                .create_channel(self.now, DEFAULT_PROJECT, &fields)
                .await?;
        }
        let mut monitors = Vec::new();
        for id in 1..=MONITORS {
            let settings = Arc::new(self.settings_of(id));
            self.settings.insert(id, Arc::clone(&settings));
            let fields = MonitorFields {
                name: format!("monitor {id}"),
                slug: format!("monitor-{id}"),
                description: String::new(),
                severity: "error".to_owned(),
                labels: Vec::new(),
                owner: String::new(),
                runbook_url: String::new(),
                channels: None,
                set: None,
                settings,
            };
            let token = StoredToken {
                hash: vec![u8::try_from(id).unwrap_or(0); 32],
                cipher: Vec::new(),
            };
            monitors.push((fields, token));
        }
        store
            .create_monitors(self.now, "somebody", DEFAULT_PROJECT, &monitors)
            .await?;
        Ok(())
    }

    fn settings_of(&mut self, id: MonitorId) -> Settings {
        let every = |seconds| Schedule::Every(Span::from_seconds(seconds));
        let grace = Span::from_millis(self.rng.between(2_000, 9_000));
        match id {
            COUNTER => Settings {
                fail_threshold: u16::MAX,
                ..Settings::new(every(34_000_000), grace)
            },
            FLAPPER => Settings {
                fail_threshold: 3,
                ..Settings::new(every(34_000_000), grace)
            },
            _ => Settings::new(every(self.rng.between(12, 40)), grace),
        }
    }

    async fn step(&mut self) -> Result<(), Stop> {
        if self.memory.is_none() {
            self.start().await?;
        }
        match self.rng.below(12) {
            0 if self.faults => {
                // The process stands still: nobody can be heard.
                let since = self.now;
                self.stats.stops += 1;
                self.wait(S, 40 * S);
                self.truth.could_not_be_reached(since, self.now);
            }
            1..4 => self.wait(S, 3 * S),
            _ => self.wait(20 * MS, 900 * MS),
        }
        if self.fails(25) {
            self.crash("rest");
            return Ok(());
        }
        self.checkins();
        self.append().await?;
        if self.rng.chance(40) && self.faults {
            self.command().await?;
        }
        if self.rng.chance(15) && self.faults {
            self.window().await?;
        }
        self.decide().await?;
        self.follow_up().await?;
        self.sweep().await?;
        self.send().await?;
        if self.rng.chance(50) {
            self.drop_log().await?;
        }
        Ok(())
    }

    async fn start(&mut self) -> Result<(), Stop> {
        let store = Store::open(self.directory).await?;
        let stream = store.open_stream("one", self.now).await?;
        let epoch = store.take_lease(stream).await?;
        let booted = store.boot().await?;
        let mut engine = Engine::boot(booted.boot);
        let rows = store.tail(engine.vector(), 100_000).await?;
        for row in merged(rows) {
            self.truth.was_read(row.stream, row.seq);
            if let Err(gap) = engine.observe(&row) {
                return self.broken(1, format!("a boot cannot read the log: {gap}"));
            }
        }
        self.stats.takeovers += 1;
        self.say(|| format!("start: stream {stream}, epoch {epoch}"));
        self.memory = Some(Memory {
            store,
            engine,
            settings: booted.settings,
            epoch,
            stream,
            seq: 0,
            formed: Time::MIN,
            waiting: Vec::new(),
            outgoing: Vec::new(),
            pass_due: self.now + Span::from_seconds(5),
        });
        self.learn().await?;
        self.check().await
    }

    /// What is in the log is history, whoever wrote it.
    async fn learn(&mut self) -> Result<(), Stop> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let rows = memory.store.tail(&self.learned, 100_000).await?;
        for row in merged(rows) {
            let uids = self
                .sent
                .get(&(row.stream, row.seq))
                .cloned()
                .unwrap_or_default();
            let reached = systole_core::engine::Reached {
                seq: row.seq,
                silence: systole_core::outage::Silence::opened(row.at),
                put: row.put,
                ended: row.end,
            };
            self.learned.insert(row.stream, reached);
            self.truth
                .committed(&row, if row.end { &[] } else { &uids })
                .map_err(Stop::Broken)?;
        }
        Ok(())
    }

    fn checkins(&mut self) {
        for id in 1..=MONITORS {
            let due = *self.next_checkin.entry(id).or_insert(self.now);
            if due > self.now {
                continue;
            }
            let at = self.stamp();
            let bad = if id == FLAPPER { 550 } else { 60 };
            let signal = if id == COUNTER || self.rng.chance(bad) {
                Signal::Fail
            } else {
                Signal::Success
            };
            let next = match self.settings.get(&id) {
                Some(settings) if id >= PUNCTUAL => {
                    let slot = settings.schedule.next_after(at).unwrap_or(at);
                    let late = match self.rng.below(10) {
                        0..6 => self.rng.between(0, settings.grace.as_micros()),
                        6..8 => settings.grace.as_micros() + self.rng.between(0, 80 * MS),
                        _ => self.rng.between(S, 60 * S),
                    };
                    slot + Span::from_micros(late)
                }
                _ => at + Span::from_micros(self.rng.between(S, 8 * S)),
            };
            self.next_checkin.insert(id, next);
            self.number += 1;
            let uid = self.number;
            if let Some(memory) = &mut self.memory {
                memory.waiting.push((
                    uid,
                    id,
                    Checkin {
                        at,
                        signal,
                        run: None,
                    },
                ));
            }
        }
    }

    async fn append(&mut self) -> Result<(), Stop> {
        let at = self.stamp();
        let reply_lost = self.fails(15);
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        if memory.waiting.is_empty() && at.since(memory.formed) < Span::from_seconds(3) {
            return Ok(());
        }
        let waiting = std::mem::take(&mut memory.waiting);
        memory.formed = at;
        memory.seq += 1;
        let mut packer = BatchPacker::new(at);
        for (_, monitor, checkin) in &waiting {
            packer.push(&CheckinRecord {
                monitor: *monitor,
                checkin: *checkin,
                previous: memory
                    .engine
                    .monitor(*monitor)
                    .map(|known| known.last)
                    .unwrap_or_default(),
                method: Method::Get,
                source: None,
                user_agent: "sim".into(),
                message: String::new(),
                body: Vec::new(),
                body_truncated: false,
            });
        }
        let body = if waiting.is_empty() {
            Vec::new()
        } else {
            packer.finish()
        };
        let batch = Batch {
            stream: memory.stream,
            seq: memory.seq,
            at,
            count: waiting.len(),
            body,
        };
        self.sent.insert(
            (batch.stream, batch.seq),
            waiting.iter().map(|(uid, ..)| *uid).collect(),
        );
        let clock = self.now;
        let put = memory.store.append(&batch, || clock).await?;
        if memory.store.append(&batch, || clock).await? != put {
            return self.broken(
                1,
                "an append that is sent again is written again".to_owned(),
            );
        }
        self.learn().await?;
        if reply_lost {
            self.crash("append, durable but not answered");
            return Ok(());
        }
        for (uid, ..) in waiting {
            self.stats.checkins += 1;
            self.truth.acknowledged(uid, clock);
        }
        Ok(())
    }

    async fn command(&mut self) -> Result<(), Stop> {
        let at = self.stamp();
        let id = u32::try_from(self.rng.between(i64::from(PUNCTUAL), i64::from(MONITORS)))
            .unwrap_or(PUNCTUAL);
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let incident = memory
            .engine
            .monitor(id)
            .and_then(systole_core::engine::Monitor::open_incident);
        let note = None;
        let action = match (self.rng.below(4), incident) {
            (0, _) => Action::Pause,
            (1, _) => Action::Resume,
            (2, Some(incident)) => Action::Acknowledge {
                incident: incident.number,
                note,
            },
            (_, Some(incident)) => Action::Resolve {
                incident: incident.number,
                note,
            },
            _ => return Ok(()),
        };
        self.say(|| format!("a person: monitor {id} {action:?}"));
        self.stats.commands += 1;
        memory
            .store
            .command(Command {
                at,
                monitor: Some(id),
                by: "somebody".to_owned(),
                action,
            })
            .await?;
        self.learn().await
    }
}
