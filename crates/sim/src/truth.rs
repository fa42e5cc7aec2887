//! What truly happened: every row that was committed, every check-in that was acknowledged, every outage.
//!
//! The engine never sees this. Nothing here is persisted, lost or folded twice.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use systole_core::engine::{
    Action, CONFIGURATION, Command, MonitorId, Position, Record, Row, Vector,
};
use systole_core::heartbeat::{Checkin, Settings, State};
use systole_core::outage::{Outage, Outages, Silence};
use systole_core::time::{Span, Time};

use crate::broken::Broken;
use crate::reference::{self, Input, Lapsed, Reference, Told};

/// A check-in's number, known to the simulation alone.
pub type Uid = u64;

/// A true outage counts from this length on: the engine's own rule says over 10 s, by stamps that may be a little off.
const SURELY_AN_OUTAGE: Span = Span::from_seconds(15);
/// How much later than a row that was handed over an older one of another stream may be read.
const HANDED_OVER: Span = Span::from_millis(500);
/// How exactly the simulation knows when we could be reached again.
const BLUR: Span = Span::from_seconds(1);

/// What a decision could know: all that was committed before its head read, and what its process had read besides.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// So many rows had been committed.
    pub moment: usize,
    /// How far the process had read.
    pub vector: Option<&'a Vector>,
    /// What it took for the time.
    pub now: Time,
}

impl View<'_> {
    fn sees(&self, index: usize, stream: u32, seq: u64) -> bool {
        let read = |vector: &Vector| {
            vector
                .get(&stream)
                .is_some_and(|reached| reached.seq >= seq)
        };
        index < self.moment || self.vector.is_some_and(read)
    }
}

#[derive(Clone, Copy)]
struct Stream {
    silence: Silence,
    put: Time,
    ended: bool,
}

/// The true history of a run.
#[derive(Default)]
pub struct Truth {
    rows: usize,
    told: BTreeMap<MonitorId, Vec<Told>>,
    unclear: BTreeSet<MonitorId>,
    streams: BTreeMap<u32, Stream>,
    outages: Vec<(usize, Position, Outage)>,
    placed: HashMap<Uid, (u32, u64)>,
    acked: Vec<(Uid, Time)>,
    read: HashSet<(u32, u64)>,
    unreachable: Vec<Outage>,
    lapsed: BTreeMap<MonitorId, Vec<Lapsed>>,
    /// Misses below the threshold. Such a miss is no news: it is in the memory of the process that counted it, and in no row
    /// before the next sweep. So one that recovers may know of it or not, and where a check-in came within the slack, or was
    /// durable only later, that makes a difference: either is right.
    counted: BTreeMap<MonitorId, Vec<Lapsed>>,
}

impl Truth {
    /// A row was committed; `uids` are those of its check-ins, in order.
    ///
    /// # Errors
    /// A check-in that stands in the log twice.
    pub fn committed(&mut self, row: &Row, uids: &[Uid]) -> Result<(), Broken> {
        self.learn_silence(row);
        let index = self.rows;
        self.rows += 1;
        let mut twice = None;
        for uid in uids {
            if self.placed.insert(*uid, (row.stream, row.seq)).is_some() {
                twice = Some(*uid);
            }
        }
        for record in &row.records {
            let (id, input) = match record {
                Record::Checkin(id, checkin) => (*id, Input::Checkin(*checkin)),
                Record::Command(command) => {
                    let Some(id) = command.monitor else { continue };
                    (id, Input::Command(command.clone()))
                }
            };
            let told = self.told.entry(id).or_default();
            let new = Told {
                index,
                stream: row.stream,
                seq: row.seq,
                row_at: row.at,
                input,
            };
            // Commands come through another stream: where the orders by stamp, by row and by commit differ, or may
            // differ because the one is handed over and the other is read later, every one of them is right.
            let disagree = |old: &Told| {
                // What is read of a monitor waits for its creation.
                let late = if matches!(&old.input, Input::Command(command)
                    if matches!(command.action, Action::Create(_)))
                {
                    Span::ZERO
                } else {
                    HANDED_OVER
                };
                old.stream != new.stream
                    && (old.input.at() + late > new.input.at() || old.row_at + late > new.row_at)
            };
            if told.iter().rev().take(40).any(disagree) {
                self.unclear.insert(id);
            }
            told.push(new);
        }
        match twice {
            Some(uid) => Err(Broken {
                promise: 1,
                what: format!("check-in {uid} stands in the log twice and counts twice"),
                at: row.put,
            }),
            None => Ok(()),
        }
    }

    /// The same rule as the engine's, on the whole history (reference: silence of a stream by the database's stamps).
    fn learn_silence(&mut self, row: &Row) {
        if row.stream == CONFIGURATION {
            return;
        }
        let known = self.streams.get(&row.stream).copied();
        let put = known.map_or(row.put, |known| known.put.max(row.put));
        let mut silence = match known {
            Some(known) => known.silence,
            None if self.streams.values().any(|stream| !stream.ended) => Silence::opened(row.at),
            None => {
                let last = self
                    .streams
                    .values()
                    .map(|stream| stream.silence)
                    .max_by_key(|silence| silence.at);
                last.unwrap_or(Silence::opened(row.at))
            }
        };
        let before = silence;
        if let Some(outage) = silence.row(row.at, put) {
            // What was counted before this was known stays counted, unless its process died before it was stored.
            for (id, counted) in &self.counted {
                if counted.iter().any(|counted| {
                    counted.deadline >= outage.from && counted.deadline < outage.until
                }) {
                    self.unclear.insert(*id);
                }
            }
            self.doubt_edits(outage);
            self.outages
                .push((self.rows, Position::new(row.stream, row.seq), outage));
        }
        let silence = if row.end { before } else { silence };
        self.streams.insert(
            row.stream,
            Stream {
                silence,
                put,
                ended: row.end,
            },
        );
    }

    /// An edit of a monitor that is down asks whether it is overdue still. That is no news where it is, so any process may have
    /// folded it before this outage was found, or only after that: where the answers differ, both are right.
    fn doubt_edits(&mut self, found: Outage) {
        let known = self.outages(self.now());
        let mut with_found = known.clone();
        with_found.add(found);
        let is_in_doubt = |id: MonitorId, edit: &Told, with_counted: bool| {
            let at = edit.input.at();
            let lapsed = self.lapsed_of(id, with_counted);
            let state = |with_edit: bool, outages: &Outages| {
                let told = self.told(id).iter().filter(|told| {
                    told.input.at() <= at && (with_edit || !std::ptr::eq(*told, edit))
                });
                reference::fold(told, &lapsed, outages, at).map(|it| it.heartbeat.state)
            };
            state(false, &with_found) == Some(State::Down)
                && state(true, &known) != state(true, &with_found)
        };
        let doubtful = self.told.iter().filter(|(id, told)| {
            let mut edits = told.iter().filter(|told| told.input.edits());
            edits.any(|edit| {
                edit.input.at() >= found.from
                    && (is_in_doubt(**id, edit, false) || is_in_doubt(**id, edit, true))
            })
        });
        let doubtful: Vec<MonitorId> = doubtful.map(|(id, _)| *id).collect();
        self.unclear.extend(doubtful);
    }

    /// How many rows were committed: names a moment in the history.
    pub const fn moment(&self) -> usize {
        self.rows
    }

    /// A sender was told that its check-in is safe.
    pub fn acknowledged(&mut self, uid: Uid, now: Time) {
        self.acked.push((uid, now));
    }

    /// An engine has read this row.
    pub fn was_read(&mut self, stream: u32, seq: u64) {
        self.read.insert((stream, seq));
    }

    /// Nobody could reach us from `from` to `until`, by the database's clock.
    pub fn could_not_be_reached(&mut self, from: Time, until: Time) {
        if until.since(from) > SURELY_AN_OUTAGE {
            self.unreachable.push(Outage {
                from: from + BLUR,
                until: until - BLUR,
            });
        }
    }

    /// How much of `[from, until)` nobody could reach us, as far as could be known at `now`: a step of the database's
    /// clock that a process has not noticed yet is no time to it.
    pub fn unreachable_within(&self, from: Time, until: Time, now: Time) -> Span {
        let mut united = Outages::default();
        for outage in self.unreachable.iter().filter(|outage| outage.until <= now) {
            united.add(*outage);
        }
        united.iter().fold(Span::ZERO, |sum, outage| {
            let overlap = outage.until.min(until).since(outage.from.max(from));
            Span::from_micros(sum.as_micros() + overlap.as_micros())
        })
    }

    /// Whether the order of this monitor's inputs is not clear enough to say what must follow.
    pub fn is_unclear(&self, id: MonitorId) -> bool {
        self.unclear.contains(&id)
    }

    /// Every monitor that anything was ever said about.
    pub fn monitors(&self) -> impl Iterator<Item = MonitorId> + '_ {
        self.told.keys().copied()
    }

    /// What was said about a monitor, in the order of commits.
    pub fn told(&self, id: MonitorId) -> &[Told] {
        self.told.get(&id).map_or(&[], Vec::as_slice)
    }

    /// All that was ever committed.
    pub const fn now(&self) -> View<'static> {
        View {
            moment: self.rows,
            vector: None,
            now: Time::NEVER,
        }
    }

    /// Our outages by the rows that are seen.
    pub fn outages(&self, view: View<'_>) -> Outages {
        let mut outages = Outages::default();
        for (index, position, outage) in &self.outages {
            if view.sees(*index, position.stream(), position.seq()) {
                outages.add(*outage);
            }
        }
        outages
    }

    fn seen<'a>(&'a self, id: MonitorId, view: View<'a>) -> impl Iterator<Item = &'a Told> {
        self.told(id)
            .iter()
            .filter(move |told| view.sees(told.index, told.stream, told.seq))
    }

    /// What a monitor is at `until`, by all that is seen.
    pub fn reference(&self, id: MonitorId, view: View<'_>, until: Time) -> Option<Reference> {
        self.reference_with(id, view, until, &self.outages(view), false)
    }

    /// The settings that were in force at `then`.
    pub fn settings(&self, id: MonitorId, view: View<'_>, then: Time) -> Option<Arc<Settings>> {
        let set = self.seen(id, view).filter_map(|told| match &told.input {
            Input::Command(Command {
                action: Action::Create(settings) | Action::Edit(settings),
                at,
                ..
            }) if *at <= then => Some(settings),
            _ => None,
        });
        set.last().cloned()
    }

    /// The same, with outages as somebody else knows them, and with or without the misses that were only counted.
    pub fn reference_with(
        &self,
        id: MonitorId,
        view: View<'_>,
        until: Time,
        outages: &Outages,
        with_counted: bool,
    ) -> Option<Reference> {
        let lapsed = self.lapsed_of(id, with_counted);
        reference::fold(self.seen(id, view), &lapsed, outages, until)
    }

    fn lapsed_of(&self, id: MonitorId, with_counted: bool) -> Vec<Lapsed> {
        let of = |lapsed: &'_ BTreeMap<MonitorId, Vec<Lapsed>>| {
            lapsed.get(&id).cloned().unwrap_or_default()
        };
        let mut lapsed = of(&self.lapsed);
        if with_counted {
            lapsed.extend(of(&self.counted));
            lapsed.sort_by_key(|lapsed| lapsed.deadline);
        }
        lapsed
    }

    /// The check-ins of a monitor that are seen.
    pub fn checkins<'a>(
        &'a self,
        id: MonitorId,
        view: View<'a>,
    ) -> impl Iterator<Item = &'a Checkin> {
        self.seen(id, view).filter_map(|told| match &told.input {
            Input::Checkin(checkin) => Some(checkin),
            Input::Command(_) => None,
        })
    }

    /// A deadline was judged to be missed, by these outages, and that was persisted; with it, or without it, the misses
    /// that had only been counted before.
    pub fn was_judged(
        &mut self,
        id: MonitorId,
        deadline: Time,
        outages: Outages,
        view: View<'_>,
        with_counted: bool,
    ) {
        let counted = self.counted.entry(id).or_default();
        let before: Vec<Lapsed> = counted
            .extract_if(.., |counted| counted.deadline <= deadline)
            .collect();
        let lapsed = self.lapsed.entry(id).or_default();
        if with_counted {
            lapsed.extend(before);
        }
        lapsed.push(Lapsed::new(deadline, outages, view));
    }

    /// A deadline was counted as missed without news: below the threshold.
    pub fn was_counted(&mut self, id: MonitorId, deadline: Time, outages: Outages, view: View<'_>) {
        let lapsed = Lapsed::new(deadline, outages, view);
        self.counted.entry(id).or_default().push(lapsed);
    }

    /// Whether every check-in acknowledged before `then` is in the log, and its row was read.
    ///
    /// # Errors
    /// The first that is not.
    pub fn nothing_is_lost(&self, then: Time) -> Result<(), Broken> {
        for (uid, _) in self.acked.iter().filter(|(_, at)| *at < then) {
            let what = match self.placed.get(uid) {
                None => format!("check-in {uid} was acknowledged and is not in the log"),
                Some(place) if !self.read.contains(place) => {
                    format!("check-in {uid} was acknowledged and its row {place:?} was never read")
                }
                Some(_) => continue,
            };
            return Err(Broken {
                promise: 1,
                what,
                at: then,
            });
        }
        Ok(())
    }
}
