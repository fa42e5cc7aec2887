//! The state machine of a heartbeat: check-ins and deadlines in, changes out.
//!
//! Pure: [`Heartbeat::checkin`], [`Heartbeat::lapse`] and the commands take the time and the outages as arguments and
//! return what changed. `late` is not stored: it follows from the state and the time ([`Heartbeat::shown`]).
//!
//! The rules are those of the project's design page, section 4:
//! - A run belongs to the latest slot at or before its start + early window. A check-in that belongs to a slot takes
//!   it: from then on the next one is awaited. A started run has a deadline of its own, start + `max_runtime`.
//! - For `every` the next slot is the end of the last run + period; while a run is open no slot is awaited.
//! - Each missed slot, overrun and failed run counts one towards `fail_threshold`.

use crate::outage::{Outage, Outages};
use crate::reason::Reason;
use crate::schedule::Schedule;
use crate::time::{Span, Time};

/// A success stamped up to this long after its deadline still meets it: clock skew and photo finishes. Nothing waits
/// for it.
pub const SLACK: Span = Span::from_seconds(1);

/// A start that a server which stood still records after the end of its own run comes so long after it at most. Later it is
/// another run: some senders use one id for all.
const LATE_START: Span = Span::from_seconds(10);

/// An end whose answer was lost is sent again for so long at most.
const SENT_AGAIN: Span = Span::from_seconds(600);

/// Open runs that one heartbeat may have; beyond it the oldest is forgotten (a job that starts runs and never ends
/// them is down long before).
pub const OPEN_RUNS_MAX: usize = 100;

/// What a person sets. Equal settings are shared between monitors.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// When a run is expected.
    pub schedule: Schedule,
    /// How late a success may be.
    pub grace: Span,
    /// How late a start may be, where starts are expected.
    pub start_grace: Option<Span>,
    /// How long a run may take; the grace where not set.
    pub max_runtime: Option<Span>,
    /// How early a run may start and still belong to its slot (cron only).
    pub early_window: Option<Span>,
    /// Failures in a row that make it down; at least 1.
    pub fail_threshold: u16,
    /// Successes in a row that make it up again; at least 1.
    pub recovery_threshold: u16,
}

impl Settings {
    /// With defaults for all that need not be named.
    pub const fn new(schedule: Schedule, grace: Span) -> Settings {
        Settings {
            schedule,
            grace,
            start_grace: None,
            max_runtime: None,
            early_window: None,
            fail_threshold: 1,
            recovery_threshold: 1,
        }
    }

    fn max_runtime(&self) -> Span {
        self.max_runtime.unwrap_or(self.grace)
    }

    /// The slot awaited once a run that starts at `start` has taken its own.
    ///
    /// For cron: the first slot after `start` that this run does not take. The default early window is a tenth of the
    /// period, at most five minutes.
    fn slot_after(&self, start: Time) -> Time {
        let next = |after: Time| self.schedule.next_after(after).unwrap_or(Time::NEVER);
        let first = next(start);
        if matches!(self.schedule, Schedule::Every(_)) || first == Time::NEVER {
            return first;
        }
        let longest = self.early_window.unwrap_or(EARLY_WINDOW_MAX);
        if first.since(start) > longest {
            return first;
        }
        if self.early_window.is_some() {
            return next(start + longest);
        }
        let second = next(first);
        let window = longest.min(second.since(first).divided_by(10));
        if first.since(start) <= window {
            second
        } else {
            first
        }
    }

    /// Whether a run that starts at `start` belongs to a later slot than one that started at `before` and never ended.
    ///
    /// For `every` the slots are counted from `first`, the last end; the first lasts two periods.
    fn is_later_slot(&self, before: Time, start: Time, first: Time) -> bool {
        match &self.schedule {
            Schedule::Every(period) => {
                let slot =
                    |at: Time| (at.since(first).as_micros() / period.as_micros().max(1)).max(1);
                slot(start) > slot(before)
            }
            Schedule::Cron(_) => self.slot_after(start) > self.slot_after(before),
        }
    }
}

const EARLY_WINDOW_MAX: Span = Span::from_seconds(300);

/// The id of a run: any UUID that its sender chose.
pub type RunId = u128;

/// What a check-in says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// A run began.
    Start,
    /// A run ended well.
    Success,
    /// A run failed.
    Fail,
    /// Something to keep; changes nothing.
    Log,
    /// A run ended with this status; 0 is a success.
    Exit(u8),
}

/// One check-in as far as decisions need it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checkin {
    /// When it was received.
    pub at: Time,
    /// What it says.
    pub signal: Signal,
    /// Pairs a start with its end.
    pub run: Option<RunId>,
}

impl Checkin {
    /// Deadlines up to here have lapsed when it arrives: it meets those of the last second yet.
    pub(crate) const fn lapses_until(&self) -> Time {
        Time::from_micros(self.at.as_micros().saturating_sub(SLACK.as_micros() + 1))
    }
}

/// The stored part of a heartbeat's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing yet.
    New,
    /// Reporting as expected, or late.
    Up,
    /// Enough failures.
    Down,
    /// Not watched until resumed, or until it reports.
    Paused,
}

/// What people see.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// Nothing yet.
    New,
    /// As expected.
    Up,
    /// In grace, or failures below the threshold.
    Late,
    /// Enough failures.
    Down,
    /// Not watched.
    Paused,
}

impl Shown {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Shown::New => "new",
            Shown::Up => "up",
            Shown::Late => "late",
            Shown::Down => "down",
            Shown::Paused => "paused",
        }
    }
}

/// A run that has started and not ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Its id, where the sender gave one.
    pub id: Option<RunId>,
    /// When its start was received.
    pub started: Time,
}

/// A run that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Its id.
    pub id: RunId,
    /// How.
    pub failed: bool,
    /// The stamp of the end that was counted; one that was sent again does not move it.
    pub at: Time,
}

/// A heartbeat's state. Small: there may be a million of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heartbeat {
    /// The stored state.
    pub state: State,
    /// Failures in a row.
    pub failures: u16,
    /// Successes in a row while down.
    pub successes: u16,
    /// Since when it is in this state: for `Down` when the thing went wrong.
    pub since: Time,
    /// The stamp of the newest success or failure; `Time::MIN` before the first.
    pub last_end: Time,
    /// The slot awaited; `Time::NEVER` where none is.
    pub awaited: Time,
    /// Open runs and what else few monitors have.
    pub rare: Option<Box<Rare>>,
}

/// What few heartbeats need at a given moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rare {
    /// Open runs, oldest first.
    pub runs: Vec<Run>,
    /// The run that ended last, where it had an id; a start of that id that is taken afterwards forgets it.
    pub ended: Option<Ended>,
    /// Settings were changed at this time: a deadline that lay before it counts from here.
    pub edited: Time,
}

/// A deadline that nothing has met yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Deadline {
    due: Time,
    limit: Span,
    kind: Missed,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Missed {
    Success,
    Start,
    End(Run),
}

/// A change that is news: it opens, resolves or closes an incident.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It went down.
    Down(Cause),
    /// It is up again.
    Recovered {
        /// The stamp of the success.
        at: Time,
        /// Why.
        reason: Reason,
    },
}

/// Why it went down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cause {
    /// The kind of failure.
    pub reason: Reason,
    /// When the thing went wrong: the deadline, or the failed run's report.
    pub at: Time,
    /// When it had been expected.
    pub expected: Option<Time>,
    /// The exit status reported.
    pub exit_status: Option<u8>,
    /// The outage of ours that moved the deadline.
    pub outage: Option<Outage>,
}

impl Heartbeat {
    /// Made at `at`, nothing heard yet.
    pub const fn new(at: Time) -> Heartbeat {
        Heartbeat {
            state: State::New,
            failures: 0,
            successes: 0,
            since: at,
            last_end: Time::MIN,
            awaited: Time::NEVER,
            rare: None,
        }
    }

    /// The state for people at `now`.
    pub fn shown(&self, now: Time) -> Shown {
        match self.state {
            State::New => Shown::New,
            State::Down => Shown::Down,
            State::Paused => Shown::Paused,
            State::Up if self.failures > 0 || self.awaited <= now => Shown::Late,
            State::Up => Shown::Up,
        }
    }

    /// Since when it is in the state that [`Heartbeat::shown`] says.
    pub fn shown_since(&self, now: Time) -> Time {
        match self.shown(now) {
            Shown::Late if self.awaited <= now => self.awaited,
            Shown::Late => self.last_end.max(self.since),
            _ => self.since,
        }
    }

    /// Open runs, oldest first.
    pub fn runs(&self) -> &[Run] {
        self.rare.as_ref().map_or(&[], |rare| &rare.runs)
    }

    /// The earliest instant at which something may lapse, outages left aside; `Time::NEVER` where nothing can.
    pub fn earliest(&self, settings: &Settings) -> Time {
        self.deadlines(settings)
            .map(|d| d.due + d.limit)
            .min()
            .unwrap_or(Time::NEVER)
    }

    /// The earliest instant at which something lapses, with our outages taken into account.
    pub fn next_lapse(&self, settings: &Settings, outages: &Outages) -> Time {
        self.first_deadline(settings, outages)
            .map_or(Time::NEVER, |(at, ..)| at)
    }

    fn deadlines<'a>(&'a self, settings: &'a Settings) -> impl Iterator<Item = Deadline> + 'a {
        let edited = self.rare.as_ref().map_or(Time::MIN, |rare| rare.edited);
        let deadline = move |due: Time, limit: Span, kind: Missed| {
            let due = if due + limit <= edited { edited } else { due };
            Deadline { due, limit, kind }
        };
        let slot = (self.state == State::Up && self.awaited != Time::NEVER).then_some(self.awaited);
        let success = slot.map(|due| deadline(due, settings.grace, Missed::Success));
        let start = slot
            .zip(settings.start_grace)
            .map(|(due, limit)| deadline(due, limit, Missed::Start));
        let runs = if self.state == State::Down {
            &[]
        } else {
            self.runs()
        };
        let ends = runs
            .iter()
            .map(move |run| deadline(run.started, settings.max_runtime(), Missed::End(*run)));
        // A start that is missed at the very instant of the success is said as the missed success.
        success.into_iter().chain(start).chain(ends)
    }

    fn first_deadline(
        &self,
        settings: &Settings,
        outages: &Outages,
    ) -> Option<(Time, Deadline, Option<Outage>)> {
        self.deadlines(settings)
            .map(|deadline| {
                let (at, outage) = outages.moved(deadline.due, deadline.limit);
                (at, deadline, outage)
            })
            .min_by_key(|(at, ..)| *at)
            .filter(|(at, ..)| *at != Time::NEVER)
    }

    /// Judges every deadline at or before `until`; the caller has read all that was acknowledged.
    ///
    /// Each step takes a slot or a run away and counts one failure; once down, nothing is left to lapse. So there are
    /// at most `fail_threshold` steps.
    pub fn lapse(&mut self, settings: &Settings, outages: &Outages, until: Time) -> Option<Change> {
        while let Some((at, deadline, outage)) = self.first_deadline(settings, outages)
            && at <= until
        {
            let reason = match (outage, deadline.kind) {
                (Some(_), _) => Reason::UnheardSinceOutage,
                (None, Missed::Success) => Reason::MissedDeadline,
                (None, Missed::Start) => Reason::MissedStart,
                (None, Missed::End(_)) => Reason::Overran,
            };
            let cause = Cause {
                reason,
                at,
                expected: Some(deadline.due),
                exit_status: None,
                outage,
            };
            let change = self.failed(settings, cause);
            match deadline.kind {
                // After an edit the slots before it count as one: nobody had expected them.
                Missed::Success | Missed::Start => {
                    self.awaited = settings
                        .schedule
                        .next_after(deadline.due)
                        .unwrap_or(Time::NEVER);
                }
                Missed::End(run) if change.is_none() => self.forget_run(run, at, settings),
                // It is kept while that makes it down, so that an edit can judge it anew; the recovery forgets it.
                Missed::End(_) => {}
            }
            if change.is_some() {
                return change;
            }
        }
        None
    }

    /// An overrun run is counted and forgotten; for `every` the next slot counts from its start, though a slot that
    /// passed while it was open is not missed in retrospect.
    fn forget_run(&mut self, run: Run, lapsed: Time, settings: &Settings) {
        if let Some(rare) = &mut self.rare {
            rare.runs.retain(|open| *open != run);
        }
        if self.state == State::Up && self.awaited == Time::NEVER && self.runs().is_empty() {
            self.awaited = settings.slot_after(run.started).max(lapsed);
        }
    }

    fn failed(&mut self, settings: &Settings, cause: Cause) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        self.successes = 0;
        if self.state == State::Down || self.failures < settings.fail_threshold.max(1) {
            return None;
        }
        self.state = State::Down;
        self.since = cause.at;
        Some(Change::Down(cause))
    }

    /// Folds one check-in. Deadlines that lapsed before it are judged first, so a success read by a late decider
    /// opens and resolves with true times.
    ///
    /// Returns at most two changes, in order.
    pub fn checkin(
        &mut self,
        settings: &Settings,
        outages: &Outages,
        checkin: Checkin,
    ) -> [Option<Change>; 2] {
        // What was received before the pause does not end it, in whatever order the streams were read.
        if self.state == State::Paused && checkin.at < self.since {
            return [None, None];
        }
        let lapsed = self.lapse(settings, outages, checkin.lapses_until());
        let changed = match checkin.signal {
            Signal::Log => None,
            Signal::Start => {
                self.started(settings, checkin);
                None
            }
            Signal::Success | Signal::Exit(0) => self.succeeded(settings, checkin),
            Signal::Fail => self.run_failed(settings, checkin, Reason::ReportedFailure, None),
            Signal::Exit(status) => {
                self.run_failed(settings, checkin, Reason::ExitStatus, Some(status))
            }
        };
        [lapsed, changed]
    }

    fn started(&mut self, settings: &Settings, checkin: Checkin) {
        // A start that is read after its own end, through another replica or from a stalled one, opens nothing.
        if self.is_of_ended(checkin, LATE_START) {
            return;
        }
        let run = Run {
            id: checkin.run,
            started: checkin.at,
        };
        // Said again it is the same run, but a bare start in a later slot is another: else a job that dies silently
        // after each start would put its deadline off for ever.
        let first = if self.last_end == Time::MIN {
            self.since
        } else {
            self.last_end
        };
        let is_another = |open: &Run| {
            run.id.is_none() && settings.is_later_slot(open.started, run.started, first)
        };
        let rare = self.rare_mut();
        // An id that is used again: what ends next under it is another run.
        rare.ended = rare.ended.filter(|ended| Some(ended.id) != run.id);
        rare.runs
            .retain(|open| open.id != run.id || is_another(open));
        if rare.runs.len() >= OPEN_RUNS_MAX {
            rare.runs.remove(0);
        }
        rare.runs.push(run);
        if self.state == State::Up {
            self.awaited = match settings.schedule {
                Schedule::Every(_) => Time::NEVER,
                Schedule::Cron(_) => self.awaited.max(settings.slot_after(checkin.at)),
            };
        }
    }

    /// Whether a check-in is about the run that ended last, and so late or sent again, not about another.
    ///
    /// A bare one is when it was stamped before the end. With an id it may come `within` this time after it, since every run has
    /// an id of its own; but never later than half of the way to the slot awaited, so that a sender that uses one id for
    /// all its runs is heard every time.
    fn is_of_ended(&self, checkin: Checkin, within: Span) -> bool {
        let ended = self.rare.as_ref().and_then(|rare| rare.ended);
        let half = self.awaited.since(self.last_end).divided_by(2);
        let until = ended.map_or(self.last_end, |ended| {
            self.last_end.max(ended.at + within.min(half))
        });
        ended.map(|ended| ended.id) == checkin.run && checkin.at <= until
    }

    /// Whether an end was taken already: it was sent again because its answer was lost. It counts for nothing, and is otherwise
    /// taken like any other, so that the order in which the two are read makes no difference.
    fn is_sent_again(&self, checkin: Checkin, failed: bool) -> bool {
        let ended = self.rare.as_ref().and_then(|rare| rare.ended);
        ended.is_some_and(|ended| ended.failed == failed) && self.is_of_ended(checkin, SENT_AGAIN)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                runs: Vec::new(),
                ended: None,
                edited: Time::MIN,
            })
        })
    }

    /// Takes the open run that this end belongs to: the one of its id; without an id all without id, else the latest
    /// (as Healthchecks has it, where a bare end clears the timer). Answers when the (latest such) run started.
    fn end_run(&mut self, checkin: Checkin, failed: bool) -> Time {
        let again = self.is_sent_again(checkin, failed);
        if checkin.run.is_none() && self.rare.is_none() {
            return checkin.at;
        }
        let rare = self.rare_mut();
        if !again {
            let at = checkin.at;
            rare.ended = checkin.run.map(|id| Ended { id, failed, at });
        }
        // A bare end that is read late must not end a run that began after it.
        let could = |run: &Run| checkin.run.is_some() || run.started <= checkin.at + SLACK;
        let place = rare
            .runs
            .iter()
            .rposition(|run| run.id == checkin.run && could(run));
        let place = place.or_else(|| {
            checkin
                .run
                .is_none()
                .then(|| rare.runs.iter().rposition(could))
                .flatten()
        });
        let Some(place) = place else {
            return checkin.at;
        };
        let ended = rare.runs.remove(place);
        if ended.id.is_none() {
            rare.runs.retain(|run| run.id.is_some() || !could(run));
        }
        ended.started
    }

    /// The slot awaited after a run that began at `started` and has ended.
    fn await_next(&mut self, settings: &Settings, started: Time) {
        self.awaited = match settings.schedule {
            Schedule::Every(_) => settings.slot_after(self.last_end),
            Schedule::Cron(_) => {
                let next = settings.slot_after(started);
                if self.awaited == Time::NEVER {
                    next
                } else {
                    self.awaited.max(next)
                }
            }
        };
    }

    /// Slots whose deadline passed while nothing was awaited, or while it was down, are not missed in retrospect.
    fn skip_passed_slots(&mut self, settings: &Settings, now: Time) {
        let limit = settings
            .start_grace
            .map_or(settings.grace, |limit| limit.min(settings.grace));
        if self.awaited + limit <= now {
            self.awaited = settings.slot_after(now);
        }
    }

    /// An end that is older than one already folded changes nothing but history.
    fn is_stale(&self, checkin: Checkin) -> bool {
        checkin.at + SLACK < self.last_end
    }

    fn succeeded(&mut self, settings: &Settings, checkin: Checkin) -> Option<Change> {
        let again = self.successes > 0 && self.is_sent_again(checkin, false);
        let started = self.end_run(checkin, false);
        if self.is_stale(checkin) {
            return None;
        }
        // In a row means: no awaited slot of its own was missed since the success before.
        let in_time =
            self.last_end == Time::MIN || checkin.at <= self.awaited + settings.grace + SLACK;
        let was = self.state;
        self.last_end = self.last_end.max(checkin.at);
        self.successes = if in_time {
            self.successes.saturating_add(u16::from(!again))
        } else {
            1
        };
        self.await_next(settings, started);
        if was == State::Down && self.successes < settings.recovery_threshold.max(1) {
            return None;
        }
        self.failures = 0;
        self.successes = 0;
        if was == State::Up {
            self.tidy();
            return None;
        }
        let reason = if checkin.at <= self.since {
            Reason::RecordedLate
        } else {
            Reason::Success
        };
        // A success that was recorded late does not bring back the run that was found to overrun meanwhile.
        let said_until = self.since.max(checkin.at);
        self.state = State::Up;
        self.since = checkin.at;
        self.skip_passed_slots(settings, checkin.at);
        if was == State::Down {
            self.drop_overrun_runs(settings, said_until);
        }
        self.tidy();
        (was == State::Down).then_some(Change::Recovered {
            at: checkin.at,
            reason,
        })
    }

    /// Runs whose limit passed while it was down were part of that; they are no news after the recovery.
    fn drop_overrun_runs(&mut self, settings: &Settings, now: Time) {
        let limit = settings.max_runtime();
        if let Some(rare) = &mut self.rare {
            rare.runs.retain(|run| run.started + limit > now);
        }
    }

    fn tidy(&mut self) {
        let idle = |rare: &Rare| {
            rare.runs.is_empty() && rare.ended.is_none() && rare.edited <= self.last_end
        };
        if self.rare.as_deref().is_some_and(idle) {
            self.rare = None;
        }
    }

    fn run_failed(
        &mut self,
        settings: &Settings,
        checkin: Checkin,
        reason: Reason,
        exit_status: Option<u8>,
    ) -> Option<Change> {
        let again = self.is_sent_again(checkin, true);
        let started = self.end_run(checkin, true);
        if self.is_stale(checkin) {
            return None;
        }
        self.last_end = self.last_end.max(checkin.at);
        self.await_next(settings, started);
        if matches!(self.state, State::New | State::Paused) {
            self.state = State::Up;
            self.since = checkin.at;
            self.skip_passed_slots(settings, checkin.at);
        }
        if again {
            return None;
        }
        self.failed(
            settings,
            Cause {
                reason,
                at: checkin.at,
                expected: None,
                exit_status,
                outage: None,
            },
        )
    }

    /// A person pauses it: nothing is expected until it is resumed or reports.
    pub fn pause(&mut self, at: Time) {
        if self.state != State::Paused {
            *self = Heartbeat {
                state: State::Paused,
                last_end: self.last_end,
                ..Heartbeat::new(at)
            };
        }
    }

    /// A person resumes it: as new, until it reports.
    pub fn resume(&mut self, at: Time) {
        if self.state == State::Paused {
            *self = Heartbeat::new(at);
        }
    }

    /// Its settings were changed at `at`: judged anew from the last check-in; a deadline that the change put into the
    /// past counts from the change.
    ///
    /// Never goes down by itself. A monitor that was down by silence and is not overdue by the new settings is up
    /// again; one that failed stays down until it reports.
    pub fn edit(
        &mut self,
        settings: &Settings,
        outages: &Outages,
        at: Time,
        down_by_silence: bool,
    ) -> Option<Change> {
        let was = self.state;
        let newest_run = self.runs().last().map_or(Time::MIN, |run| run.started);
        if matches!(was, State::Up | State::Down) {
            self.successes = 0;
            self.awaited = match settings.schedule {
                Schedule::Every(_) if newest_run >= self.last_end => Time::NEVER,
                // A run that is open has taken its slot.
                _ => settings.slot_after(self.last_end.max(newest_run)),
            };
        }
        if was == State::Down {
            self.state = State::Up;
            if !down_by_silence || self.next_lapse(settings, outages) <= at {
                self.state = State::Down;
                return None;
            }
            self.since = at;
            self.failures = 0;
        }
        if self.state == State::Up || newest_run != Time::MIN {
            self.rare_mut().edited = at;
        }
        (was == State::Down).then_some(Change::Recovered {
            at,
            reason: Reason::Edited,
        })
    }
}

#[cfg(test)]
mod tests;
