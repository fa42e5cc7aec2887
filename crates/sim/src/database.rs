//! A model of the database: tables as maps, effects of transactions in one piece, the lock on the lease.
//!
//! When an effect happens, and whether its reply arrives, is the business of [`crate::server`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use systole_core::engine::{
    Action, Boot, BootedMonitor, Command, Decision, Engine, Gap, Monitor, MonitorId, Persisted,
};
use systole_core::engine::{CONFIGURATION, Position, Record, Row, Sweep, Vector};
use systole_core::heartbeat::Settings;
use systole_core::incident::{Event, Phase};
use systole_core::maintenance::Windows;
use systole_core::outage::{Outage, Outages};
use systole_core::time::{Span, Time};

use crate::outbox::{Outbox, Placing};
use crate::rules::{Rule, Rules};
use crate::truth::Uid;

/// A stream's row.
pub struct StreamRow {
    /// Its end marker was written.
    pub ended: bool,
    /// Nothing of it is left to read.
    pub folded: bool,
}

/// A row of the log with the numbers of its check-ins.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// As the engine reads it.
    pub row: Row,
    /// As the simulation knows it.
    pub uids: Vec<Uid>,
}

/// An incident's row.
#[derive(Clone, Copy)]
pub struct IncidentRow {
    /// Its monitor.
    pub monitor: MonitorId,
    /// Where it stands.
    pub phase: Phase,
}

/// A row of the timeline.
pub struct EventRow {
    /// Its monitor.
    pub monitor: MonitorId,
    /// What the engine decided.
    pub event: Event,
}

/// What a reload reads.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// Monitors.
    pub persisted: Vec<Persisted>,
    /// The log after all their bases.
    pub rows: Vec<Row>,
    /// The highest cut that was ever written.
    pub version: u64,
    /// The next incident's number.
    pub next_incident: u64,
}

/// How long a lease holds.
pub const LEASE: Span = Span::from_seconds(2);

/// Everything that survives a crash.
pub struct Database {
    /// Which rules hold.
    pub rules: Rules,
    /// Streams of the log.
    pub streams: BTreeMap<u32, StreamRow>,
    /// The log.
    pub log: BTreeMap<(u32, u64), LogRow>,
    head: u64,
    next_stream: u32,
    cuts: BTreeMap<u64, Vector>,
    /// Where a boot begins to read.
    pub checkpoint: (u64, Vector),
    outages: BTreeMap<Position, Outage>,
    states: BTreeMap<MonitorId, (u64, Monitor)>,
    /// The decider's epoch.
    pub epoch: u64,
    /// Until when its lease holds, where several may decide.
    pub lease_until: Time,
    /// Transactions that hold the lease row.
    pub holders: BTreeSet<u64>,
    /// What people configured last.
    pub settings: BTreeMap<MonitorId, Arc<Settings>>,
    given: BTreeSet<MonitorId>,
    /// Every incident.
    pub incidents: BTreeMap<u64, IncidentRow>,
    /// Every event, in order of `seq`.
    pub events: Vec<EventRow>,
    /// Deliveries.
    pub outbox: Outbox,
    /// The number of the last event, or of what was said beside them.
    pub seq: u64,
    /// Maintenance windows.
    pub windows: Windows,
}

/// What became of an append.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It is in the log, now or already.
    Durable(Time),
    /// The stream was closed before.
    Closed,
}

impl Database {
    /// Empty.
    pub fn new(rules: Rules) -> Database {
        let configuration = StreamRow {
            ended: false,
            folded: false,
        };
        Database {
            rules,
            streams: BTreeMap::from([(CONFIGURATION, configuration)]),
            log: BTreeMap::new(),
            head: 0,
            next_stream: 1,
            cuts: BTreeMap::new(),
            checkpoint: (0, Vector::new()),
            outages: BTreeMap::new(),
            states: BTreeMap::new(),
            epoch: 0,
            lease_until: Time::MIN,
            holders: BTreeSet::new(),
            settings: BTreeMap::new(),
            given: BTreeSet::new(),
            incidents: BTreeMap::new(),
            events: Vec::new(),
            outbox: Outbox::default(),
            seq: 0,
            windows: Windows::default(),
        }
    }

    fn last_seq(&self, stream: u32) -> u64 {
        self.log
            .range((stream, 0)..=(stream, u64::MAX))
            .next_back()
            .map_or(0, |((_, seq), _)| *seq)
    }

    /// The next number of the one identity column, where there is such a thing.
    pub fn identity(&mut self) -> u64 {
        self.head += 1;
        self.head
    }

    /// Opens a stream and, where one process has the database for itself, closes every other; answers it with the end markers.
    pub fn open_stream(&mut self, now: Time, is_shared: bool) -> (u32, Vec<LogRow>) {
        if !self.rules.hold(Rule::KeyedAppend) {
            self.streams.insert(
                1,
                StreamRow {
                    ended: false,
                    folded: false,
                },
            );
            return (1, Vec::new());
        }
        let open: Vec<u32> = self
            .streams
            .iter()
            .filter(|(id, s)| **id != CONFIGURATION && !s.ended && !is_shared)
            .map(|(id, _)| *id)
            .collect();
        let markers = open
            .into_iter()
            .filter_map(|stream| self.close_stream(stream, self.last_seq(stream) + 1, now))
            .collect();
        let stream = self.next_stream;
        self.next_stream += 1;
        self.streams.insert(
            stream,
            StreamRow {
                ended: false,
                folded: false,
            },
        );
        (stream, markers)
    }

    /// Closes an open stream by an end marker, if `seq` is the place after its last row; answers the marker.
    pub fn close_stream(&mut self, stream: u32, seq: u64, now: Time) -> Option<LogRow> {
        let last = self.last_seq(stream);
        let state = self.streams.get_mut(&stream)?;
        if state.ended || seq != last + 1 {
            return None;
        }
        state.ended = true;
        let before = self.log.get(&(stream, last)).map_or(now, |row| row.row.put);
        let at = now.max(before);
        let row = Row {
            stream,
            seq,
            at,
            put: at,
            records: Vec::new(),
            end: true,
        };
        let marker = LogRow {
            row,
            uids: Vec::new(),
        };
        self.log.insert((stream, seq), marker.clone());
        Some(marker)
    }

    /// Takes the lease for as long as it holds, where it is free; where one process has the database for itself, always.
    pub fn take_lease(&mut self, now: Time, is_shared: bool) -> Option<u64> {
        if is_shared && self.lease_until >= now {
            return None;
        }
        self.epoch += 1;
        self.lease_until = now + LEASE;
        Some(self.epoch)
    }

    /// Renews the lease of this epoch, or gives it back; `false` where another has taken it.
    pub fn renew_lease(&mut self, epoch: u64, now: Time, is_released: bool) -> bool {
        let is_own = self.epoch == epoch;
        if is_own {
            self.lease_until = if is_released { Time::MIN } else { now + LEASE };
        }
        is_own
    }

    /// Appends a batch under its key; the same batch again finds its own row.
    pub fn append(&mut self, row: &Row, uids: &[Uid]) -> (Appended, Option<LogRow>) {
        let checked = self.rules.hold(Rule::EndMarker);
        let open = self
            .streams
            .get(&row.stream)
            .is_some_and(|stream| !stream.ended);
        if let Some(found) = self.log.get(&(row.stream, row.seq)) {
            let own = !found.row.end && found.row.at == row.at && found.uids == uids;
            let outcome = if own || !checked {
                Appended::Durable(found.row.put)
            } else {
                Appended::Closed
            };
            return (outcome, None);
        }
        if checked && !open {
            return (Appended::Closed, None);
        }
        let new = LogRow {
            row: row.clone(),
            uids: uids.to_vec(),
        };
        self.log.insert((row.stream, row.seq), new.clone());
        (Appended::Durable(row.put), Some(new))
    }

    /// A person's command, in its place in the configuration stream; a number is given once.
    ///
    /// Stamped here, so that the stamps of this stream ascend as its rows do.
    pub fn command(&mut self, mut command: Command, at: Time) -> Option<LogRow> {
        command.at = at;
        match (&command.action, command.monitor) {
            (Action::Create(settings), Some(id)) => {
                if !self.given.insert(id) {
                    return None;
                }
                self.settings.insert(id, Arc::clone(settings));
            }
            (Action::Edit(settings), Some(id)) => {
                // Whoever edits what was deleted meanwhile is told that it is gone.
                self.settings.get_mut(&id)?.clone_from(settings);
            }
            (Action::Delete, Some(id)) => _ = self.settings.remove(&id),
            _ => {}
        }
        let seq = self.last_seq(CONFIGURATION) + 1;
        let row = Row {
            stream: CONFIGURATION,
            seq,
            at,
            put: at,
            records: vec![Record::Command(command)],
            end: false,
        };
        let row = LogRow {
            row,
            uids: Vec::new(),
        };
        self.log.insert((CONFIGURATION, seq), row.clone());
        Some(row)
    }

    /// The rows after a vector, of all streams, in one snapshot.
    pub fn tail(&self, vector: &Vector) -> Vec<Row> {
        let mut rows = Vec::new();
        for (stream, state) in &self.streams {
            // One that a pass has finished is read to its end by whoever has begun it.
            if state.folded && !vector.contains_key(stream) {
                continue;
            }
            let mut expected = vector.get(stream).map_or(0, |reached| reached.seq) + 1;
            for found in self
                .log
                .range((*stream, expected)..=(*stream, u64::MAX))
                .map(|(_, found)| &found.row)
            {
                // An identity column has holes: whoever reads by it must take them for nothing.
                while !self.rules.hold(Rule::KeyedAppend)
                    && *stream != CONFIGURATION
                    && expected < found.seq
                {
                    rows.push(Row {
                        seq: expected,
                        records: Vec::new(),
                        ..found.clone()
                    });
                    expected += 1;
                }
                rows.push(found.clone());
                expected = found.seq + 1;
            }
        }
        rows
    }

    /// What a boot reads, as one snapshot.
    pub fn snapshot(&self) -> Boot {
        let monitors = self
            .states
            .iter()
            .map(|(id, (cut, monitor))| BootedMonitor {
                id: *id,
                cut: *cut,
                monitor: self.as_configured(*id, monitor),
            });
        let cuts = if self.rules.hold(Rule::Positions) {
            self.cuts
                .iter()
                .map(|(cut, vector)| (*cut, vector.clone()))
                .collect()
        } else {
            // The version must go on rising all the same.
            self.cuts
                .last_key_value()
                .map(|(cut, _)| (*cut, self.checkpoint.1.clone()))
                .into_iter()
                .collect()
        };
        Boot {
            checkpoint: self.checkpoint.clone(),
            cuts,
            monitors: monitors.collect(),
            outages: self.outages.values().copied().collect(),
            next_incident: self.next_incident(),
        }
    }

    fn version(&self) -> u64 {
        let newest = self.cuts.last_key_value().map_or(0, |(cut, _)| *cut);
        newest.max(self.checkpoint.0)
    }

    /// What a reload of these monitors reads, as one snapshot: rows, their bases, and the log after those.
    pub fn reload(&self, ids: &BTreeSet<MonitorId>) -> Reloaded {
        let mut lowest = self.checkpoint.1.clone();
        let mut one = |id: &MonitorId| {
            let id = *id;
            let row = self.states.get(&id);
            let base = row
                .and_then(|(cut, _)| self.cuts.get(cut).filter(|_| *cut >= self.checkpoint.0))
                .filter(|_| self.rules.hold(Rule::Positions))
                .unwrap_or(&self.checkpoint.1)
                .clone();
            let monitor = row.map(|(_, monitor)| self.as_configured(id, monitor));
            // Where positions are left out, or a stream has been forgotten, one may lie before the checkpoint.
            lowest.retain(|stream, reached| {
                base.get(stream).is_some_and(|base| {
                    reached.seq = reached.seq.min(base.seq);
                    true
                })
            });
            Persisted {
                id,
                monitor,
                base: Arc::new(base),
            }
        };
        Reloaded {
            persisted: ids.iter().map(&mut one).collect(),
            rows: self.tail(&lowest),
            version: self.version(),
            next_incident: self.next_incident(),
        }
    }

    fn next_incident(&self) -> u64 {
        self.incidents.keys().next_back().map_or(1, |last| last + 1)
    }

    fn as_configured(&self, id: MonitorId, monitor: &Monitor) -> Monitor {
        match self.settings.get(&id) {
            Some(settings) if !self.rules.hold(Rule::OldSettings) => Monitor {
                settings: Arc::clone(settings),
                ..monitor.clone()
            },
            _ => monitor.clone(),
        }
    }

    /// A recovery at this very instant: boot, then the log up to its head.
    ///
    /// # Errors
    /// A row that is missing.
    pub fn recover(&self) -> Result<Engine, Gap> {
        let mut engine = Engine::boot(self.snapshot());
        for row in merged(self.tail(engine.vector())) {
            engine.observe(&as_read(&row, self.rules))?;
        }
        Ok(engine)
    }

    /// Our outages, as persisted.
    pub fn outages(&self) -> Outages {
        let mut outages = Outages::default();
        self.outages
            .values()
            .for_each(|outage| outages.add(*outage));
        outages
    }

    /// Whether a transaction of this epoch may go on.
    pub fn may_decide(&self, epoch: u64) -> bool {
        !self.rules.hold(Rule::Fence) || self.epoch == epoch
    }

    /// The deciding transaction: all of it, or nothing.
    pub fn decide(&mut self, decision: &Decision, now: Time) {
        let mut written = Vec::new();
        for change in &decision.changes {
            for event in &change.events {
                let number = event.incident.number;
                // Neither row nor monitor is left to make an incident from.
                if !self.incidents.contains_key(&number) && !self.settings.contains_key(&change.id)
                {
                    continue;
                }
                self.incidents.insert(
                    number,
                    IncidentRow {
                        monitor: change.id,
                        phase: event.incident.phase,
                    },
                );
                self.events.push(EventRow {
                    monitor: change.id,
                    event: event.clone(),
                });
                self.seq += 1;
                written.push((self.seq, change.id, event.clone()));
            }
            if self.rules.hold(Rule::StateWithDecision) {
                match &change.after {
                    Some(after) => self.write_state(change.id, decision.cut, after, true),
                    None => _ = self.states.remove(&change.id),
                }
            }
        }
        self.cuts
            .entry(decision.cut)
            .or_insert_with(|| decision.vector.clone());
        self.outages.extend(
            decision
                .outages
                .iter()
                .map(|(outage, position)| (*position, *outage)),
        );
        let none = Windows::default();
        let placing = Placing {
            // The database's own time: claims must outlive a process whose clock is behind.
            now,
            windows: if self.rules.hold(Rule::Maintenance) {
                &self.windows
            } else {
                &none
            },
            gathers: self.rules.hold(Rule::Digest),
        };
        self.outbox.decided(&written, placing);
    }

    fn write_state(&mut self, id: MonitorId, cut: u64, monitor: &Monitor, guarded: bool) {
        let newer = self.states.get(&id).is_none_or(|(known, _)| *known < cut);
        if newer || !guarded {
            self.states.insert(id, (cut, monitor.clone()));
        }
    }

    /// A chunk of a pass.
    pub fn sweep(&mut self, sweep: &Sweep) {
        let guarded = self.rules.hold(Rule::SweepGuard);
        for (id, monitor) in &sweep.rows {
            self.write_state(*id, sweep.cut, monitor, guarded);
        }
        self.cuts
            .entry(sweep.cut)
            .or_insert_with(|| sweep.vector.clone());
        self.outages.extend(
            sweep
                .outages
                .iter()
                .map(|(outage, position)| (*position, *outage)),
        );
        if let Some(end) = &sweep.end {
            let (cut, vector) = if self.rules.hold(Rule::PassStart) {
                (end.cut, end.vector.clone())
            } else {
                (sweep.cut, sweep.vector.clone())
            };
            self.cuts.retain(|known, _| *known >= cut);
            self.checkpoint = (cut, vector);
            for stream in &end.finished {
                if let Some(row) = self.streams.get_mut(stream) {
                    row.folded = true;
                }
            }
        }
    }

    /// Drops rows of the log below a vector, but the last of each stream; folded streams go wholly.
    pub fn drop_log(&mut self, below: &Vector) {
        let streams = &self.streams;
        self.log.retain(|(stream, seq), _| {
            let folded = streams.get(stream).is_none_or(|row| row.folded);
            !folded && below.get(stream).is_none_or(|reached| *seq >= reached.seq)
        });
        self.streams.retain(|_, row| !row.folded);
    }

    /// The open incidents of a monitor.
    pub fn open_incidents(&self, id: MonitorId) -> impl Iterator<Item = u64> + '_ {
        let open =
            move |row: &IncidentRow| row.monitor == id && !matches!(row.phase, Phase::Resolved(_));
        self.incidents
            .iter()
            .filter(move |(_, row)| open(row))
            .map(|(number, _)| *number)
    }
}

/// Rows of several streams in the order of their stamps, each stream in its own order.
pub fn merged(rows: Vec<Row>) -> Vec<Row> {
    let mut streams: BTreeMap<u32, Vec<Row>> = BTreeMap::new();
    for row in rows {
        streams.entry(row.stream).or_default().push(row);
    }
    let mut queues: Vec<_> = streams
        .into_values()
        .map(|rows| rows.into_iter().peekable())
        .collect();
    let mut out = Vec::new();
    while let Some(queue) = queues
        .iter_mut()
        .filter_map(|queue| Some((queue.peek()?.at, queue)))
        .min_by_key(|(at, _)| *at)
    {
        out.extend(queue.1.next());
    }
    out
}

/// A row as an engine sees it that ignores our own outages.
pub fn as_read(row: &Row, rules: Rules) -> Row {
    let mut seen = row.clone();
    if !rules.hold(Rule::Holes) {
        // A stamp beyond all others: no interval is ever slow.
        seen.at = Time::LAST;
    }
    seen
}
