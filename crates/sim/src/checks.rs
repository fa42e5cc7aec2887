//! The promises, checked against what truly happened.

use systole_core::engine::{Engine, MonitorId};
use systole_core::heartbeat::{Settings, Signal, State};
use systole_core::incident::{Event as IncidentEvent, Happened};
use systole_core::outage::{HOLE, Outages};
use systole_core::reason::Reason;
use systole_core::time::{Span, Time};

use crate::outbox;
use crate::reference::{self, Reference};
use crate::senders::{COUNTER, FLAPPER};
use crate::truth::View;
use crate::world::{Event, S, World};

/// A clock may be so far off, and a decider so late.
const SKEW: Span = Span::from_seconds(1);
const PATIENCE: Span = Span::from_seconds(30);
const CALM: i64 = 45 * S;

impl World {
    /// The events that a deciding transaction has just written, from place `from` on; made on what
    /// `view` says, with our outages as its process knows them.
    pub fn check_decision(&mut self, view: View<'_>, known: &Outages, from: usize) {
        for index in from..self.db.events.len() {
            let row = &self.db.events[index];
            let (id, event) = (row.monitor, row.event.clone());
            self.say(|| {
                format!(
                    "decided: monitor {id} {:?} {} at {}",
                    event.what, event.reason, event.at
                )
            });
            if let Err((promise, what)) = self.check_event(index, id, &event, view, known) {
                self.broke(
                    promise,
                    format!("monitor {id}, incident {}: {what}", event.incident.number),
                );
            }
        }
        for id in 1..=u32::try_from(self.senders.len()).unwrap_or(0) {
            let open: Vec<u64> = self.db.open_incidents(id).collect();
            if open.len() > 1 {
                self.broke(2, format!("monitor {id} has two open incidents: {open:?}"));
            }
        }
    }

    fn check_event(
        &mut self,
        index: usize,
        id: MonitorId,
        event: &IncidentEvent,
        view: View<'_>,
        known: &Outages,
    ) -> Result<(), (u8, String)> {
        match event.what {
            Happened::Triggered(cause) => {
                let before = || {
                    self.db.events[..index]
                        .iter()
                        .filter(|row| row.monitor == id)
                        .rev()
                };
                let last = before().find(|row| {
                    !matches!(row.event.what, Happened::Acknowledged | Happened::Noted)
                });
                if last.is_some_and(|row| matches!(row.event.what, Happened::Triggered(_))) {
                    return Err((2, "opened while another incident is open".to_owned()));
                }
                let again = before().any(
                    // Two runs that our outage held up lapse at one instant, each for itself.
                    |row| {
                        matches!(row.event.what, Happened::Triggered(old)
                        if old.at == cause.at && old.expected == cause.expected)
                    },
                );
                if again {
                    return Err((
                        4,
                        format!("what went wrong at {} is decided twice", cause.at),
                    ));
                }
                self.stats.incidents += u64::from(event.incident.reopened == 0);
                self.stats.reopened += u64::from(event.incident.reopened > 0);
                if event.incident.by_silence {
                    let due = cause.expected.unwrap_or(cause.at);
                    self.check_silence(id, event, due, view, known)
                } else {
                    self.check_failure(id, cause.at, view)
                }
            }
            Happened::Resolved => {
                let open = self.db.events[..index].iter().rev().find(|row| {
                    row.event.incident.number == event.incident.number
                        && !matches!(row.event.what, Happened::Acknowledged | Happened::Noted)
                });
                if open.is_some_and(|row| matches!(row.event.what, Happened::Resolved)) {
                    return Err((4, "resolved twice".to_owned()));
                }
                let good = |signal| matches!(signal, Signal::Success | Signal::Exit(0));
                let by_success = matches!(event.reason, Reason::Success | Reason::RecordedLate);
                let mut said = self.truth.checkins(id, view);
                if by_success && !said.any(|checkin| checkin.at == event.at && good(checkin.signal))
                {
                    return Err((
                        2,
                        format!("resolved by a success at {} that nobody sent", event.at),
                    ));
                }
                Ok(())
            }
            Happened::Acknowledged | Happened::Noted => Ok(()),
        }
    }

    fn check_failure(&self, id: MonitorId, at: Time, view: View<'_>) -> Result<(), (u8, String)> {
        let bad = |signal| matches!(signal, Signal::Fail | Signal::Exit(1..));
        let said = self
            .truth
            .checkins(id, view)
            .any(|checkin| checkin.at == at && bad(checkin.signal));
        if said {
            Ok(())
        } else {
            Err((
                2,
                format!("opened by a failure at {at} that nobody reported"),
            ))
        }
    }

    /// An incident by silence: due, not before its time, not by our own outage, and unexplained by what was read.
    fn check_silence(
        &mut self,
        id: MonitorId,
        event: &IncidentEvent,
        due: Time,
        view: View<'_>,
        known: &Outages,
    ) -> Result<(), (u8, String)> {
        self.stats.by_silence += 1;
        let deadline = event.at;
        if deadline > self.database_now() + SKEW {
            return Err((
                2,
                format!("deadline {deadline} was judged at {}", self.database_now()),
            ));
        }
        if self.truth.is_unclear(id) {
            self.stats.unclear += 1;
            return Ok(());
        }
        let reference = self.truth.reference(id, view, deadline);
        let Some(reference) = reference else {
            return Err((2, "there is no such monitor".to_owned()));
        };
        self.stats.explained += 1;
        let Some(settings) = self.truth.settings(id, view, deadline) else {
            return Ok(());
        };
        let limit = least_limit(&settings);
        let unreachable = self.truth.unreachable_within(due, deadline, view.now);
        let heard = Span::from_micros(deadline.since(due).as_micros() - unreachable.as_micros());
        if heard < limit {
            return Err((
                5,
                format!(
                    "due {due}, judged to be late at {deadline}, but for {unreachable} of that nobody could reach us"
                ),
            ));
        }
        let before = event.last_checkin.max(due - Span::from_seconds(3_600));
        let silent = self.truth.unreachable_within(before, deadline, view.now);
        if silent > Span::ZERO && event.outages.is_empty() {
            return Err((
                5,
                format!("an outage of ours of {silent} before it is not said"),
            ));
        }
        // Where the first row of a stream and the last of another are stamped alike, either may be read first, and an
        // outage ends a little sooner or later; what was persisted is the truth.
        let seen = self.truth.outages(view);
        let persisted = self.db.outages();
        // A miss below the threshold that met a photo finish counts where it was known, and does not where a crash took it.
        let explains = |(outages, with_counted): &(&Outages, bool)| {
            self.truth
                .reference_with(id, view, deadline, outages, *with_counted)
                .is_some_and(|it| it.downs.contains(&deadline))
        };
        // So it is where several replicas read the rows of several streams: each may find another end of the same outage.
        let mut right = vec![&seen, &persisted];
        if is_alike(known, &seen) {
            right.push(known);
        }
        let with = |with_counted| right.iter().map(move |outages| (*outages, with_counted));
        if let Some((outages, with_counted)) = with(false).chain(with(true)).find(explains) {
            let outages = outages.clone();
            self.truth
                .was_judged(id, deadline, outages, view, with_counted);
        } else {
            if self.is_photo_finish(id, view, &reference) {
                self.stats.unclear += 1;
                return Ok(());
            }
            return Err((
                2,
                format!(
                    "down at {deadline} is explained by nothing that was committed before the decision: {:?} since {}, \
                 {} failures, awaited {}",
                    reference.heartbeat.state,
                    reference.heartbeat.since,
                    reference.heartbeat.failures,
                    reference.heartbeat.awaited
                ),
            ));
        }
        Ok(())
    }

    /// A cold recovery at this instant has the incidents that were persisted, and every check-in once.
    pub fn check_recovery(&mut self) {
        self.stats.recoveries += 1;
        let found = match self.db.recover() {
            Err(gap) => Err((1, format!("a recovery cannot read the log: {gap}"))),
            Ok(mut engine) => self
                .check_incidents(&engine)
                .and_then(|()| self.check_counts(&mut engine)),
        };
        if let Err((promise, what)) = found {
            self.broke(promise, what);
        }
    }

    fn check_incidents(&self, engine: &Engine) -> Result<(), (u8, String)> {
        for (id, monitor) in engine.monitors() {
            if !self.db.settings.contains_key(&id) {
                continue;
            }
            let persisted = self.db.open_incidents(id).next();
            let recovered = monitor.open_incident().map(|incident| incident.number);
            if persisted != recovered {
                return Err((
                    6,
                    format!(
                        "a recovery has incident {recovered:?} of monitor {id} open, persisted is {persisted:?}"
                    ),
                ));
            }
        }
        for id in self.db.settings.keys() {
            if engine.monitor(*id).is_none()
                && let Some(number) = self.db.open_incidents(*id).next()
            {
                return Err((
                    6,
                    format!("a recovery has no monitor {id}, whose incident {number} is open"),
                ));
            }
        }
        Ok(())
    }

    fn check_counts(&self, engine: &mut Engine) -> Result<(), (u8, String)> {
        let view = self.truth.now();
        if let Some(monitor) = engine
            .monitor(COUNTER)
            .filter(|_| !self.truth.is_unclear(COUNTER))
        {
            let counted = reference::count(self.truth.checkins(COUNTER, view), &monitor.settings);
            if monitor.heartbeat.failures != counted.failures {
                return Err((
                    1,
                    format!(
                        "a recovery has folded {} check-ins of monitor {COUNTER}, {} were committed",
                        monitor.heartbeat.failures, counted.failures
                    ),
                ));
            }
        }
        let decision = engine.decide(self.database_now());
        let changes = decision
            .as_ref()
            .map_or(&[][..], |decision| &decision.changes);
        for (id, _) in engine.monitors() {
            let goes = changes
                .iter()
                .any(|change| change.id == id && change.after.is_none());
            // In a hold its deletion may have to wait, behind a deadline that cannot be judged yet.
            let waits = engine.unsettled().any(|unsettled| unsettled == id);
            if !self.db.settings.contains_key(&id) && !goes && !waits {
                return Err((
                    6,
                    format!("a recovery brings monitor {id} back, which was deleted"),
                ));
            }
        }
        let Some(monitor) = engine
            .monitor(FLAPPER)
            .filter(|_| !self.truth.is_unclear(FLAPPER))
        else {
            return Ok(());
        };
        let counted = reference::count(self.truth.checkins(FLAPPER, view), &monitor.settings);
        let change = changes.iter().find(|change| change.id == FLAPPER);
        let persisted = self
            .db
            .events
            .iter()
            .filter(|row| row.monitor == FLAPPER)
            .map(|row| &row.event);
        let next = change.iter().flat_map(|change| &change.events);
        let events: Vec<(bool, Time)> = persisted
            .chain(next)
            .map(|event| (matches!(event.what, Happened::Triggered(_)), event.at))
            .collect();
        if let Some(index) = (0..events.len().max(counted.events.len()))
            .find(|i| events.get(*i) != counted.events.get(*i))
        {
            let promise = if events.len() > counted.events.len() {
                4
            } else {
                1
            };
            return Err((
                promise,
                format!(
                    "monitor {FLAPPER}: event {index} is {:?}, by its check-ins it is {:?}",
                    events.get(index),
                    counted.events.get(index)
                ),
            ));
        }
        let after = change
            .and_then(|change| change.after.as_ref())
            .unwrap_or(monitor);
        if after.heartbeat.failures != counted.failures
            || (after.heartbeat.state == State::Down) != counted.down
        {
            return Err((
                1,
                format!(
                    "a recovery counts {} failures of monitor {FLAPPER}, it reported {}",
                    after.heartbeat.failures, counted.failures
                ),
            ));
        }
        Ok(())
    }

    /// Whether everything that should have happened by now did.
    pub fn check(&mut self) {
        self.after(15 * S, Event::Check);
        if self.now > self.trouble_until + CALM {
            self.check_complete();
            self.check_nothing_is_forgotten();
            self.check_standbys();
        }
    }

    fn check_complete(&mut self) {
        let view = self.truth.now();
        let now = self.database_now();
        let monitors: Vec<MonitorId> = self
            .truth
            .monitors()
            .filter(|id| self.db.settings.contains_key(id))
            .collect();
        for id in monitors {
            if self.truth.is_unclear(id) {
                continue;
            }
            // A miss below the threshold that was only counted may have been forgotten by a crash, or not: both are right.
            let outages = self.truth.outages(view);
            let then = |with_counted| {
                self.truth
                    .reference_with(id, view, now - PATIENCE, &outages, with_counted)
            };
            let Some((then, counted)) = then(false).zip(then(true)) else {
                continue;
            };
            let open = self.db.open_incidents(id).next();
            let since = then.heartbeat.since;
            let is_down = |it: &Reference| {
                it.heartbeat.state == State::Down && it.open && it.heartbeat.since < now - PATIENCE
            };
            let down = is_down(&then) && is_down(&counted);
            // An outage that is found after a deadline was judged moves it no more; a person may have resolved since.
            let last = self.db.events.iter().rev().find(|row| row.monitor == id);
            let by_hand = last.is_some_and(|row| row.event.reason == Reason::ByHand);
            if down && open.is_none() && !by_hand && !self.is_photo_finish(id, view, &then) {
                self.broke(
                    2,
                    format!("monitor {id} is down since {since} and has no incident"),
                );
            }
            let last = self.truth.checkins(id, view).last();
            let good =
                last.is_some_and(|last| last.signal == Signal::Success && last.at < now - PATIENCE);
            let quiet = self
                .truth
                .told(id)
                .iter()
                .all(|told| told.input.at() < now - PATIENCE);
            let is_up = |it: &Reference| {
                it.heartbeat.state == State::Up && it.heartbeat.failures == 0 && !it.open
            };
            let up = quiet && is_up(&then) && is_up(&counted);
            // The decider's clock may be ahead, and a deadline have passed by it that has not passed here.
            let still = self
                .truth
                .reference(id, view, now + SKEW)
                .is_some_and(|now| now.heartbeat.state == State::Up);
            let opened = self
                .db
                .events
                .iter()
                .rev()
                .find(|row| row.monitor == id)
                .map(|row| row.event.at);
            let close = last
                .zip(opened)
                .is_some_and(|(last, opened)| last.at >= opened && last.at <= opened + SKEW);
            if good
                && !close
                && up
                && still
                && then.settings.recovery_threshold == 1
                && open.is_some()
            {
                self.broke(
                    2,
                    format!("monitor {id} is up and its incident {open:?} is still open"),
                );
            }
        }
    }

    /// A success of another run just after a deadline may be folded before it or after it, and then resolves it or not.
    fn is_photo_finish(&self, id: MonitorId, view: View<'_>, reference: &Reference) -> bool {
        let near = |at: Time| {
            reference
                .downs
                .iter()
                .any(|down| at > *down && at <= *down + SKEW)
        };
        self.truth
            .checkins(id, view)
            .any(|checkin| near(checkin.at))
    }

    /// After the last fault, and time enough.
    pub fn final_check(&mut self) {
        self.check_recovery();
        self.check_complete();
        self.check_nothing_is_forgotten();
        self.count_digests();
        let monitors = self.truth.monitors();
        for id in monitors {
            self.stats.monitors += 1;
            self.stats.unclear_monitors += u64::from(self.truth.is_unclear(id));
        }
        let now = self.database_now();
        let lost = self.truth.nothing_is_lost(now - Span::from_seconds(5));
        self.found(lost);
        let stuck = self.db.outbox.rows.iter().find(|row| {
            row.state == outbox::State::Pending && row.decided_at < now - Span::from_seconds(100)
        });
        if let Some(row) = stuck {
            let what = format!(
                "event {} of incident {} was not delivered to destination {} and is not dead",
                row.seq, row.incident, row.destination
            );
            self.broke(3, what);
        }
    }
}

/// Whether two readers found the same outages but for a few seconds.
fn is_alike(one: &Outages, other: &Outages) -> bool {
    let length = |outages: &Outages| -> i64 {
        let spans = outages.iter().map(|outage| outage.until.since(outage.from));
        spans.map(Span::as_micros).sum()
    };
    let mut both = one.clone();
    other.iter().for_each(|outage| both.add(outage));
    2 * length(&both) - length(one) - length(other) <= HOLE.as_micros()
}

/// The shortest limit that a deadline of these settings may have.
fn least_limit(settings: &Settings) -> Span {
    let limits = [
        Some(settings.grace),
        settings.start_grace,
        settings.max_runtime,
    ];
    limits.into_iter().flatten().min().unwrap_or(settings.grace)
}
