//! How observations become decisions: the engine's memory as one plain value.
//!
//! Every rule here comes from the project's model of log and recovery; ARCHITECTURE.md walks through it. The shell
//! (`systole-server`, and the simulation) does the IO in this order:
//!
//! 1. [`Engine::observe`] each row of the log. A record whose folding is news is not folded: it and what follows it
//!    for that monitor wait as *backlog*, and the monitor is unsettled.
//! 2. When [`Engine::wants_decision`]: begin a transaction, check the epoch, read the tail of all streams *again* and
//!    observe it, then [`Engine::decide`]. Write the decision with the monitors' state rows, commit, and only then
//!    [`Engine::install`]. If the commit's outcome is not known, do not guess: boot again.
//! 3. In passes, [`Engine::sweep`] dirty states to rows, and at the end of a pass move the checkpoint to where the log
//!    stood at its *beginning*.
//!
//! A replica that does not decide observes as well, and reloads what the decider has persisted (`standby.rs`).
//!
//! Boot, take-over and doubt are one operation: state = latest persisted row + the log after its position.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::sync::Arc;

use crate::heartbeat::{Change, Checkin, Heartbeat, Settings, Signal, State};
use crate::incident::{self, Event, Happened, Incident, Phase};
use crate::outage::{Outage, Outages, Silence};
use crate::reason::Reason;
use crate::time::Time;

mod boot;
mod input;
mod standby;
mod sweep;
#[cfg(test)]
mod tests;

use input::{Input, apply, judges};

pub use boot::{Boot, BootedMonitor};
pub use standby::Persisted;
pub use sweep::{Sweep, SweepEnd};

/// A monitor's number: small, dense, never used again.
pub type MonitorId = u32;

/// The stream of people's commands and configuration.
pub const CONFIGURATION: u32 = 0;

/// How many monitors one deciding transaction may change.
pub const DECISION_MAX: usize = 1_000;

/// Where a record stands: its stream and the `seq` of its row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position(u64);

impl Position {
    /// No position.
    pub const NONE: Position = Position(0);
    const SEQ_BITS: u32 = 40;

    /// Stream numbers fit 24 bits (process starts), `seq` 40 bits (rows of one stream).
    pub const fn new(stream: u32, seq: u64) -> Position {
        Position(((stream as u64) << Self::SEQ_BITS) | (seq & ((1 << Self::SEQ_BITS) - 1)))
    }

    /// The stream.
    pub const fn stream(self) -> u32 {
        (self.0 >> Self::SEQ_BITS) as u32
    }

    /// The row within the stream.
    pub const fn seq(self) -> u64 {
        self.0 & ((1 << Self::SEQ_BITS) - 1)
    }

    /// As one integer, for storing.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// From the integer that [`Position::as_u64`] gave.
    pub const fn from_u64(packed: u64) -> Position {
        Position(packed)
    }
}

/// How far one stream has been read, and what is known of its silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached {
    /// `seq` of the last row.
    pub seq: u64,
    /// Its stamps.
    pub silence: Silence,
    /// `put` of the last row: readers never let it go back.
    pub put: Time,
    /// Its end marker has been read.
    pub ended: bool,
}

/// How far every stream has been read.
pub type Vector = BTreeMap<u32, Reached>;

/// One row of the log, as the engine reads it.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its stream.
    pub stream: u32,
    /// Its place in the stream; consecutive from 1.
    pub seq: u64,
    /// The writer's stamp when the batch was formed.
    pub at: Time,
    /// The database's stamp.
    pub put: Time,
    /// What it holds; nothing in a beat.
    pub records: Vec<Record>,
    /// It is the stream's end marker.
    pub end: bool,
}

/// One record of a row.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// A check-in for a heartbeat.
    Checkin(MonitorId, Checkin),
    /// What a person did.
    Command(Command),
}

/// What a person, or a client on their behalf, did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// When.
    pub at: Time,
    /// The monitor that it is about; `None` for configuration that touches no monitor's state.
    pub monitor: Option<MonitorId>,
    /// Who.
    pub by: String,
    /// What.
    pub action: Action,
}

/// What a command does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// A monitor was made.
    Create(Arc<Settings>),
    /// Its settings were changed to these.
    Edit(Arc<Settings>),
    /// Watch it no longer.
    Pause,
    /// Watch it again.
    Resume,
    /// Forget it.
    Delete,
    /// Somebody takes the incident of this number.
    Acknowledge {
        /// The incident.
        incident: u64,
        /// What they wrote.
        note: Option<String>,
    },
    /// The incident of this number is over, says a person.
    Resolve {
        /// The incident.
        incident: u64,
        /// What they wrote.
        note: Option<String>,
    },
    /// Something to keep on the timeline.
    Note {
        /// The incident.
        incident: u64,
        /// What they wrote.
        note: String,
    },
    /// Configuration without a state: channels, tokens.
    Configure,
}

/// A monitor's state in memory and in its row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Monitor {
    /// The settings that this state was folded with.
    pub settings: Arc<Settings>,
    /// The state machine.
    pub heartbeat: Heartbeat,
    /// Its last incident, while that is open or may be reopened.
    pub incident: Option<Box<Incident>>,
    /// When anything was last heard; `Time::MIN` before.
    pub last_checkin: Time,
    /// The row of its last check-in.
    pub last: Position,
    /// The row of its last failing check-in.
    pub last_failing: Position,
}

impl Monitor {
    /// Made at `at`.
    pub const fn new(settings: Arc<Settings>, at: Time) -> Monitor {
        Monitor {
            settings,
            heartbeat: Heartbeat::new(at),
            incident: None,
            last_checkin: Time::MIN,
            last: Position::NONE,
            last_failing: Position::NONE,
        }
    }

    /// The open incident.
    pub fn open_incident(&self) -> Option<Incident> {
        self.incident.as_deref().copied().filter(Incident::is_open)
    }

    fn event(&self, incident: Incident, what: Happened, at: Time, reason: Reason) -> Event {
        Event {
            incident,
            what,
            at,
            reason,
            last_checkin: self.last_checkin,
            by: None,
            note: None,
            outages: Vec::new(),
        }
    }

    /// Turns a change of the heartbeat into what happens to its incident.
    fn change(
        &mut self,
        change: Change,
        outages: &Outages,
        next: &mut u64,
        events: &mut Vec<Event>,
    ) {
        match change {
            Change::Down(cause) => {
                let incident = incident::open(self.incident.as_deref().copied(), &cause, next);
                let mut event =
                    self.event(incident, Happened::Triggered(cause), cause.at, cause.reason);
                if incident.by_silence {
                    event.outages = outages.between(self.last_checkin, cause.at);
                }
                self.incident = Some(Box::new(incident));
                events.push(event);
            }
            Change::Recovered { at, reason } => self.resolve(at, reason, None, None, events),
        }
    }

    fn resolve(
        &mut self,
        at: Time,
        reason: Reason,
        by: Option<String>,
        note: Option<String>,
        events: &mut Vec<Event>,
    ) {
        let Some(open) = self.open_incident() else {
            return;
        };
        let incident = Incident {
            phase: Phase::Resolved(at),
            ..open
        };
        self.incident = Some(Box::new(incident));
        events.push(Event {
            by,
            note,
            ..self.event(incident, Happened::Resolved, at, reason)
        });
    }

    fn checkin(
        &mut self,
        checkin: Checkin,
        position: Position,
        outages: &Outages,
        next: &mut u64,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let settings = Arc::clone(&self.settings);
        let [lapsed, changed] = self.heartbeat.checkin(&settings, outages, checkin);
        if let Some(change) = lapsed {
            self.change(change, outages, next, &mut events);
        }
        self.last_checkin = self.last_checkin.max(checkin.at);
        self.last = position;
        if matches!(checkin.signal, Signal::Fail | Signal::Exit(1..)) {
            self.last_failing = position;
            // Now it has failed, too: an edit must not bring it up.
            if let Some(incident) = &mut self.incident {
                incident.by_silence = false;
            }
        }
        if let Some(change) = changed {
            self.change(change, outages, next, &mut events);
        }
        self.forget_old_incident(checkin.at);
        events
    }

    fn forget_old_incident(&mut self, now: Time) {
        if let Some(Phase::Resolved(at)) = self.incident.as_deref().map(|incident| incident.phase)
            && now.since(at) > incident::REOPEN_WINDOW
            // Resolved by hand while down: an edit still asks why it went down.
            && self.heartbeat.state != State::Down
        {
            self.incident = None;
        }
    }

    fn lapse(&mut self, now: Time, outages: &Outages, next: &mut u64, events: &mut Vec<Event>) {
        let settings = Arc::clone(&self.settings);
        if let Some(change) = self.heartbeat.lapse(&settings, outages, now) {
            self.change(change, outages, next, events);
        }
    }

    /// A command for a monitor that exists; `Delete` is the caller's.
    fn command(&mut self, command: &Command, outages: &Outages, next: &mut u64) -> Vec<Event> {
        let mut events = Vec::new();
        let at = command.at;
        let by = || Some(command.by.clone());
        match &command.action {
            Action::Create(_) | Action::Configure => {}
            Action::Edit(settings) => {
                // What lapsed before the edit lapsed by the old settings.
                self.lapse(at, outages, next, &mut events);
                let by_silence = self
                    .incident
                    .as_deref()
                    .is_none_or(|incident| incident.by_silence);
                self.settings = Arc::clone(settings);
                if let Some(change) = self.heartbeat.edit(settings, outages, at, by_silence) {
                    self.change(change, outages, next, &mut events);
                }
            }
            Action::Pause => {
                self.heartbeat.pause(at);
                self.resolve(at, Reason::Paused, by(), None, &mut events);
            }
            Action::Resume => self.heartbeat.resume(at),
            Action::Delete => self.resolve(at, Reason::Deleted, by(), None, &mut events),
            Action::Acknowledge { incident, note } => {
                if let Some(open) = self.open_incident()
                    && open.number == *incident
                    && open.phase == Phase::Triggered
                {
                    let taken = Incident {
                        phase: Phase::Acknowledged,
                        ..open
                    };
                    self.incident = Some(Box::new(taken));
                    let event = self.event(taken, Happened::Acknowledged, at, Reason::ByHand);
                    events.push(Event {
                        by: by(),
                        note: note.clone(),
                        ..event
                    });
                }
            }
            Action::Resolve { incident, note } => {
                if self
                    .open_incident()
                    .is_some_and(|open| open.number == *incident)
                {
                    self.resolve(at, Reason::ByHand, by(), note.clone(), &mut events);
                }
            }
            Action::Note { incident, note } => {
                if let Some(last) = self.incident.as_deref().copied()
                    && last.number == *incident
                {
                    let event = self.event(last, Happened::Noted, at, Reason::ByHand);
                    events.push(Event {
                        by: by(),
                        note: Some(note.clone()),
                        ..event
                    });
                }
            }
        }
        events
    }
}

/// A monitor's place in memory.
#[derive(Clone, Debug)]
struct Place {
    monitor: Monitor,
    /// When its entry in the heap of timers surfaces; `Time::NEVER` where it has none.
    armed: Time,
    dirty: bool,
}

/// What one deciding transaction writes.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    /// The version of memory that it makes; also the `cut` of its rows.
    pub cut: u64,
    /// The clock read before the head read: `detected_at`.
    pub now: Time,
    /// How far the log had been read.
    pub vector: Vector,
    /// In the order of monitors' numbers.
    pub changes: Vec<Decided>,
    /// Outages found since the last decision or sweep, with the row that ended each.
    pub outages: Vec<(Outage, Position)>,
    next_incident: u64,
}

/// What becomes of one monitor.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided {
    /// The monitor.
    pub id: MonitorId,
    /// Its new state; `None` when it was deleted.
    pub after: Option<Monitor>,
    /// What happened to its incident, in order.
    pub events: Vec<Event>,
}

impl Decision {
    /// Whether anything is news. A decision without news need not be written.
    pub fn is_news(&self) -> bool {
        self.changes
            .iter()
            .any(|change| !change.events.is_empty() || change.after.is_none())
    }
}

/// A row does not follow the one read before: the reader must boot again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("stream {stream} has row {found} where {expected} was expected")]
pub struct Gap {
    /// The stream.
    pub stream: u32,
    /// The `seq` that had to come.
    pub expected: u64,
    /// The `seq` that came.
    pub found: u64,
}

/// The engine's memory.
#[derive(Debug)]
pub struct Engine {
    places: Vec<Option<Place>>,
    count: usize,
    vector: Vector,
    version: u64,
    timers: BinaryHeap<Reverse<(Time, MonitorId)>>,
    backlog: BTreeMap<MonitorId, Vec<Input>>,
    dirty: Vec<MonitorId>,
    outages: Outages,
    unsaved_outages: Vec<(Outage, Position)>,
    next_incident: u64,
    bases: Option<boot::Bases>,
    pass: Option<sweep::Pass>,
    /// Streams that a pass has finished, with how many passes ago that was.
    finished: BTreeMap<u32, u8>,
    standby: standby::Standby,
    /// Equal settings are kept once: a million monitors have few of them.
    settings: HashSet<Arc<Settings>>,
}

impl Engine {
    /// A monitor's installed state.
    pub fn monitor(&self, id: MonitorId) -> Option<&Monitor> {
        self.place(id).map(|place| &place.monitor)
    }

    /// Every monitor, in the order of numbers.
    pub fn monitors(&self) -> impl Iterator<Item = (MonitorId, &Monitor)> {
        (0..)
            .zip(&self.places)
            .filter_map(|(id, place)| place.as_ref().map(|place| (id, &place.monitor)))
    }

    /// How many monitors there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many differ from their rows.
    pub const fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// How far every stream has been read.
    pub const fn vector(&self) -> &Vector {
        &self.vector
    }

    /// The version of this memory.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Known outages of ours.
    pub const fn outages(&self) -> &Outages {
        &self.outages
    }

    /// The `seq` of the last row read from `stream`; 0 before the first.
    pub fn reached(&self, stream: u32) -> u64 {
        self.vector.get(&stream).map_or(0, |reached| reached.seq)
    }

    fn place(&self, id: MonitorId) -> Option<&Place> {
        self.places.get(id as usize)?.as_ref()
    }

    /// Reads one row of the log. Rows already read are skipped.
    ///
    /// # Errors
    /// [`Gap`] when a row is missing before this one; nothing was changed then.
    pub fn observe(&mut self, row: &Row) -> Result<(), Gap> {
        let reached = self.vector.get(&row.stream).copied();
        let expected = reached.map_or(1, |reached| reached.seq + 1);
        if row.seq < expected {
            return Ok(());
        }
        if row.seq > expected {
            return Err(Gap {
                stream: row.stream,
                expected,
                found: row.seq,
            });
        }
        self.version += 1;
        let put = reached.map_or(row.put, |reached| reached.put.max(row.put));
        let before = reached.map_or_else(|| self.silence_before(row), |reached| reached.silence);
        let mut silence = before;
        if row.stream != CONFIGURATION
            && let Some(outage) = silence.row(row.at, put)
        {
            self.outages.add(outage);
            self.unsaved_outages
                .push((outage, Position::new(row.stream, row.seq)));
        }
        if row.end {
            // Its successor wrote the end marker, which does not prove that anybody can be heard yet: a process that
            // starts and dies again and again leaves nothing but markers.
            silence = before;
        }
        self.vector.insert(
            row.stream,
            Reached {
                seq: row.seq,
                silence,
                put,
                ended: row.end,
            },
        );
        let position = Position::new(row.stream, row.seq);
        for record in &row.records {
            match record {
                Record::Checkin(id, checkin) => {
                    self.feed(*id, position, || Input::Checkin(*checkin, position))
                }
                Record::Command(command) => {
                    if let Some(id) = command.monitor {
                        let command = self.share_settings(command.clone());
                        self.feed(id, position, || Input::Command(command.clone()));
                    }
                }
            }
        }
        self.forget_passed_bases();
        Ok(())
    }

    fn share_settings(&mut self, mut command: Command) -> Command {
        if let Action::Create(settings) | Action::Edit(settings) = &mut command.action {
            *settings = self.shared(settings);
        }
        command
    }

    fn shared(&mut self, settings: &Arc<Settings>) -> Arc<Settings> {
        if let Some(known) = self.settings.get(settings) {
            return Arc::clone(known);
        }
        self.settings.insert(Arc::clone(settings));
        Arc::clone(settings)
    }

    /// Where no stream is open, nobody was heard from the last row of any to the first row of the next.
    fn silence_before(&self, row: &Row) -> Silence {
        self.silence_of_all().unwrap_or(Silence::opened(row.at))
    }

    /// The silence since the last row, where no stream is open.
    fn silence_of_all(&self) -> Option<Silence> {
        let streams = self
            .vector
            .iter()
            .filter(|(stream, _)| **stream != CONFIGURATION);
        if streams.clone().any(|(_, reached)| !reached.ended) {
            return None;
        }
        streams
            .map(|(_, reached)| reached.silence)
            .max_by_key(|silence| silence.at)
    }

    /// Folds one input, or keeps it for the decision when it is news, when it judges a deadline (a miss that only counts
    /// is no news, but it may lie in a hold), when it follows what is kept, or when the monitor is not known yet: another
    /// replica made it, and the record of that has still to be read.
    fn feed(&mut self, id: MonitorId, position: Position, input: impl Fn() -> Input) {
        if !self.is_above_base(id, position) {
            return;
        }
        if let Some(waiting) = self.backlog.get_mut(&id) {
            waiting.push(input());
            return;
        }
        let input = input();
        let mut after = self.place(id).map(|place| place.monitor.clone());
        let mut next = self.next_incident;
        let judges = after
            .as_ref()
            .is_some_and(|monitor| judges(monitor, &input, &self.outages));
        let is_early = after.is_none()
            && id as usize >= self.places.len()
            && matches!(input, Input::Checkin(..));
        let (events, exists) = apply(&mut after, &input, &self.outages, &mut next);
        let deleted = exists && after.is_none();
        if events.is_empty() && !deleted && !judges && !is_early {
            if let Some(monitor) = after {
                self.put(id, monitor, true);
            }
        } else {
            self.backlog.insert(id, vec![input]);
        }
    }

    fn put(&mut self, id: MonitorId, monitor: Monitor, dirty: bool) {
        let index = id as usize;
        if index >= self.places.len() {
            self.places.resize_with(index + 1, || None);
        }
        let earliest = monitor.heartbeat.earliest(&monitor.settings);
        let armed = match &mut self.places[index] {
            Some(place) => {
                place.monitor = monitor;
                if dirty && !place.dirty {
                    place.dirty = true;
                    self.dirty.push(id);
                }
                &mut place.armed
            }
            empty @ None => {
                self.count += 1;
                if dirty {
                    self.dirty.push(id);
                }
                &mut empty
                    .insert(Place {
                        monitor,
                        armed: Time::NEVER,
                        dirty,
                    })
                    .armed
            }
        };
        // Lazy: an entry that surfaces too early is put back; only a deadline that moved forward needs a new one.
        if earliest < *armed {
            *armed = earliest;
            self.timers.push(Reverse((earliest, id)));
        }
    }

    /// From when on deadlines cannot be judged at `now`, because an open stream stands still, or none is open, and we
    /// may be in an outage of ours. The process itself must append before it may judge.
    pub fn held_since(&self, now: Time) -> Option<Time> {
        self.vector
            .iter()
            .filter(|(stream, reached)| **stream != CONFIGURATION && !reached.ended)
            .map(|(_, reached)| reached.silence)
            .chain(self.silence_of_all())
            .filter_map(|silence| silence.held_since(now))
            .min()
    }

    /// When the next timer surfaces; it may turn out to be early.
    pub fn next_timer(&self) -> Option<Time> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Whether there is something to decide at `now`.
    pub fn wants_decision(&mut self, now: Time) -> bool {
        // The first that is due may be one that waits.
        let may_wait = !self.backlog.is_empty();
        !self.ripe(now, 1).is_empty() || may_wait && !self.ripe(now, DECISION_MAX).is_empty()
    }

    /// Up to `limit` monitors that can be decided at `now`, ascending.
    fn ripe(&mut self, now: Time, limit: usize) -> Vec<MonitorId> {
        let held = self.held_since(now);
        // What waits may bear a later stamp than the decider's clock shows: the database's clock has stepped, and no stream has
        // a row yet by which the step is known to be no silence.
        let held_at = |until: Time| {
            if until > now {
                self.held_since(until)
            } else {
                held
            }
        };
        let ready = |(id, inputs): &(&MonitorId, &Vec<Input>)| {
            let until = inputs.iter().map(Input::lapses_until).max();
            held_at(until.unwrap_or(now)).is_none_or(|held| !self.judges_in_hold(**id, held))
        };
        let mut ids: Vec<MonitorId> = self
            .backlog
            .iter()
            .filter(ready)
            .map(|(id, _)| *id)
            .take(limit)
            .collect();
        let due = self.due(now, limit - ids.len());
        ids.extend(due.into_iter().filter(|id| !self.backlog.contains_key(id)));
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Up to `limit` monitors with a deadline at or before `now`; their timers stay armed.
    fn due(&mut self, now: Time, limit: usize) -> Vec<MonitorId> {
        // A timer never surfaces after its deadline, so those after the start of a hold need no look.
        let now = now.min(self.held_since(now).unwrap_or(Time::NEVER));
        let mut due = Vec::new();
        let mut again = Vec::new();
        while let Some(Reverse((at, id))) = self.timers.peek().copied()
            && at <= now
            && due.len() < limit
        {
            self.timers.pop();
            let Some(place) = self.places.get_mut(id as usize).and_then(Option::as_mut) else {
                continue;
            };
            if place.armed != at {
                continue;
            }
            let lapse = place
                .monitor
                .heartbeat
                .next_lapse(&place.monitor.settings, &self.outages);
            if lapse <= now {
                due.push(id);
                again.push((at, id));
            } else {
                place.armed = lapse;
                if lapse != Time::NEVER {
                    again.push((lapse, id));
                }
            }
        }
        self.timers.extend(again.into_iter().map(Reverse));
        due
    }

    /// Decides at `now`, the clock read before the head read whose rows have just been observed.
    ///
    /// Changes nothing in memory but the order of timers; [`Engine::install`] does, after the commit. What waited for the
    /// creation of its monitor is dropped where the head read had none: that monitor was deleted long ago.
    pub fn decide(&mut self, now: Time) -> Option<Decision> {
        let held = self.held_since(now).unwrap_or(Time::NEVER);
        let ids = self.ripe(now, DECISION_MAX);
        if ids.is_empty() {
            return None;
        }
        let mut next = self.next_incident;
        let mut changes = Vec::with_capacity(ids.len());
        for id in ids {
            let change = self.decide_one(id, now.min(held), &mut next);
            if change.after.is_none() && self.place(id).is_none() && change.events.is_empty() {
                self.backlog.remove(&id);
            } else {
                changes.push(change);
            }
        }
        if changes.is_empty() {
            return None;
        }
        Some(Decision {
            cut: self.version + 1,
            now,
            vector: self.vector.clone(),
            changes,
            outages: self.unsaved_outages.clone(),
            next_incident: next,
        })
    }

    /// Whether what waits for this monitor would judge a deadline that lies in a hold: a late check-in proves a silence
    /// only once it is known that the silence was not ours.
    fn judges_in_hold(&self, id: MonitorId, held: Time) -> bool {
        let mut after = self.place(id).map(|place| place.monitor.clone());
        let mut inputs = self.backlog.get(&id).cloned().unwrap_or_default();
        inputs.sort_by_key(Input::order);
        for input in &inputs {
            if let Some(monitor) = &after {
                let mut heartbeat = monitor.heartbeat.clone();
                heartbeat.lapse(&monitor.settings, &self.outages, held);
                if heartbeat.next_lapse(&monitor.settings, &self.outages) <= input.lapses_until() {
                    return true;
                }
            }
            apply(&mut after, input, &self.outages, &mut 0);
        }
        false
    }

    fn decide_one(&self, id: MonitorId, judge_until: Time, next: &mut u64) -> Decided {
        let mut after = self.place(id).map(|place| place.monitor.clone());
        let mut inputs = self.backlog.get(&id).cloned().unwrap_or_default();
        inputs.sort_by_key(Input::order);
        let mut events = Vec::new();
        for input in &inputs {
            events.extend(apply(&mut after, input, &self.outages, next).0);
        }
        if let Some(monitor) = &mut after {
            monitor.lapse(judge_until, &self.outages, next, &mut events);
        }
        Decided { id, after, events }
    }

    /// The decision is durable (or had no news): it becomes the memory.
    pub fn install(&mut self, decision: Decision) {
        let news = decision.is_news();
        self.version = decision.cut;
        self.next_incident = decision.next_incident;
        if news {
            self.unsaved_outages
                .retain(|known| !decision.outages.contains(known));
        }
        for Decided { id, after, .. } in decision.changes {
            self.backlog.remove(&id);
            match after {
                // A row written with the decision is clean; one of a decision without news was not written.
                Some(monitor) => {
                    self.put(id, monitor, !news);
                    if news && let Some(Some(place)) = self.places.get_mut(id as usize) {
                        place.dirty = false;
                    }
                }
                None => self.remove(id),
            }
        }
    }
}
