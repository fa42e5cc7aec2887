//! Tests of the memory: a shell that persists into plain maps, then what a crash, a doubt, a hold and a sweep must keep.

use super::*;
use crate::schedule::Schedule;
use crate::time::Span;

mod deciding;
mod passes;
mod standby;
mod stories;

const BEAT: i64 = 3;

fn s(seconds: i64) -> Time {
    Time::from_seconds(1_767_225_600 + seconds)
}

fn seconds(time: Time) -> i64 {
    time.as_seconds() - 1_767_225_600
}

/// A period of 60 s, 10 s of grace.
fn minutely() -> Arc<Settings> {
    every(60)
}

fn every(period: i64) -> Arc<Settings> {
    Arc::new(Settings::new(
        Schedule::every(Span::from_seconds(period)).unwrap(),
        Span::from_seconds(10),
    ))
}

fn row(stream: u32, seq: u64, at: i64, records: Vec<Record>) -> Row {
    Row {
        stream,
        seq,
        at: s(at),
        put: s(at),
        records,
        end: false,
    }
}

fn checkin(id: MonitorId, at: i64, signal: Signal) -> Record {
    Record::Checkin(
        id,
        Checkin {
            at: s(at),
            signal,
            run: None,
        },
    )
}

fn command(id: MonitorId, at: i64, action: Action) -> Record {
    Record::Command(Command {
        at: s(at),
        monitor: Some(id),
        by: "ann".to_owned(),
        action,
    })
}

/// What a database would hold.
#[derive(Clone, Default)]
struct Persisted {
    checkpoint: (u64, Vector),
    cuts: BTreeMap<u64, Vector>,
    monitors: BTreeMap<MonitorId, (u64, Monitor)>,
    outages: Vec<Outage>,
    events: Vec<(MonitorId, Event)>,
}

impl Persisted {
    fn write_row(&mut self, id: MonitorId, cut: u64, monitor: &Monitor) {
        let known = self
            .monitors
            .get(&id)
            .is_some_and(|(known, _)| *known >= cut);
        if !known {
            self.monitors.insert(id, (cut, monitor.clone()));
        }
    }

    fn write(&mut self, decision: &Decision) {
        for Decided { id, after, events } in &decision.changes {
            self.events
                .extend(events.iter().map(|event| (*id, event.clone())));
            match after {
                Some(monitor) => self.write_row(*id, decision.cut, monitor),
                None => {
                    self.monitors.remove(id);
                }
            }
        }
        self.cuts
            .entry(decision.cut)
            .or_insert_with(|| decision.vector.clone());
        self.outages
            .extend(decision.outages.iter().map(|(outage, _)| *outage));
    }

    fn sweep(&mut self, sweep: &Sweep) {
        for (id, monitor) in &sweep.rows {
            self.write_row(*id, sweep.cut, monitor);
        }
        self.cuts
            .entry(sweep.cut)
            .or_insert_with(|| sweep.vector.clone());
        self.outages
            .extend(sweep.outages.iter().map(|(outage, _)| *outage));
        if let Some(end) = &sweep.end {
            self.checkpoint = (end.cut, end.vector.clone());
            self.cuts.retain(|cut, _| *cut >= end.cut);
        }
    }

    fn boot(&self) -> Engine {
        let next = self
            .events
            .iter()
            .map(|(_, event)| event.incident.number + 1)
            .max()
            .unwrap_or(1);
        let monitors = self.monitors.iter();
        Engine::boot(Boot {
            checkpoint: self.checkpoint.clone(),
            cuts: self.cuts.clone().into_iter().collect(),
            monitors: monitors
                .map(|(id, (cut, monitor))| BootedMonitor {
                    id: *id,
                    cut: *cut,
                    monitor: monitor.clone(),
                })
                .collect(),
            outages: self.outages.clone(),
            next_incident: next,
        })
    }
}

/// One process with its log.
struct Shell {
    engine: Engine,
    log: Vec<Row>,
    persisted: Persisted,
}

impl Shell {
    fn new() -> Shell {
        Shell {
            engine: Engine::boot(Boot::default()),
            log: Vec::new(),
            persisted: Persisted::default(),
        }
    }

    /// With monitors `ids` of these settings, made at 0.
    fn with(ids: std::ops::Range<MonitorId>, settings: &Arc<Settings>) -> Shell {
        let mut shell = Shell::new();
        let records = ids
            .map(|id| command(id, 0, Action::Create(Arc::clone(settings))))
            .collect();
        shell.append(CONFIGURATION, 0, records);
        shell
    }

    fn append(&mut self, stream: u32, at: i64, records: Vec<Record>) {
        let row = row(stream, self.engine.reached(stream) + 1, at, records);
        self.engine.observe(&row).unwrap();
        self.log.push(row);
    }

    /// Beats of `stream` up to `until`.
    fn beat(&mut self, stream: u32, until: i64) {
        let mut last = self
            .log
            .iter()
            .rev()
            .find(|row| row.stream == stream)
            .map_or(0, |row| seconds(row.at));
        while last + BEAT < until {
            last += BEAT;
            self.append(stream, last, Vec::new());
        }
    }

    /// A check-in read from stream 1, which has beaten all the time.
    fn tell(&mut self, id: MonitorId, at: i64, signal: Signal) {
        self.beat(1, at);
        self.append(1, at, vec![checkin(id, at, signal)]);
    }

    fn command(&mut self, id: MonitorId, at: i64, action: Action) {
        self.append(CONFIGURATION, at, vec![command(id, at, action)]);
    }

    /// Decides until nothing is left, persisting what is news; says what happened.
    fn decide(&mut self, now: i64) -> Vec<String> {
        self.beat(1, now + 1);
        self.decide_held(now)
    }

    /// As [`Shell::decide`], but nobody has beaten.
    fn decide_held(&mut self, now: i64) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(decision) = self.engine.decide(s(now)) {
            said.extend(
                decision
                    .changes
                    .iter()
                    .flat_map(|change| change.events.iter().map(|event| say(change.id, event))),
            );
            if decision.is_news() {
                self.persisted.write(&decision);
            }
            self.engine.install(decision);
        }
        assert!(!self.engine.wants_decision(s(now)));
        said
    }

    /// Decides; what comes next comes too late to have met a deadline of now. (A count below the threshold is no news, so
    /// a crash between such a look and a photo finish may forget that look.)
    fn decide_before_any_finish(&mut self, now: i64) -> i64 {
        self.decide_held(now);
        now + 2
    }

    fn pass(&mut self, limit: usize) {
        self.engine.begin_pass();
        while let Some(sweep) = self.engine.sweep(limit) {
            self.persisted.sweep(&sweep);
            self.engine.swept(&sweep);
        }
    }

    /// A new process: what was persisted, and the log after it.
    fn boot(&mut self) {
        self.engine = self.persisted.boot();
        for row in &self.log {
            self.engine.observe(row).unwrap();
        }
    }

    fn states(&self) -> Vec<(MonitorId, Monitor)> {
        self.engine
            .monitors()
            .map(|(id, monitor)| (id, monitor.clone()))
            .collect()
    }
}

/// `MONITOR WHAT NUMBER[+REOPENED] REASON TIME`.
fn say(id: MonitorId, event: &Event) -> String {
    let Incident {
        number, reopened, ..
    } = event.incident;
    let reopened = if reopened == 0 {
        String::new()
    } else {
        format!("+{reopened}")
    };
    format!(
        "{id} {} {number}{reopened} {} {}",
        event.what.word(),
        event.reason,
        seconds(event.at)
    )
}

fn none() -> Vec<String> {
    Vec::new()
}
