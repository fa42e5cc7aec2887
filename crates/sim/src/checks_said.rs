//! What is said, checked: no storms, no forgetting, nothing during a maintenance.

use std::collections::BTreeSet;

use systole_core::delivery::digest::{DIGEST_AFTER, DIGEST_WITHIN};
use systole_core::engine::MonitorId;
use systole_core::incident::{Happened, Phase};
use systole_core::message::MessageKind;
use systole_core::time::{Span, Time};

use crate::follow_up::{REMIND_EVERY, told};
use crate::outbox::{Delivery, GATHERS, PLAIN, State};
use crate::world::World;

/// So late may a process be that looks every second or so, after all its troubles.
const PATIENCE: Span = Span::from_seconds(30);

impl World {
    /// After a transaction, before which there were so many rows, of which so many had been placed: nothing that a window
    /// covers was let out, no storm went one by one, and only what is open and not acknowledged was said again, not too
    /// early.
    pub fn check_said(&mut self, rows: usize, placed: usize) {
        let made = self.db.outbox.rows.iter().enumerate().filter(|(id, row)| {
            (*id >= rows || row.placed >= placed) && !row.held && row.state != State::Superseded
        });
        let wrong = made
            .filter_map(|(id, row)| Some((row, self.wrong_with(id, row)?)))
            .next();
        let Some((row, what)) = wrong else {
            return;
        };
        let what = format!(
            "event {} of incident {} for destination {}: {what}",
            row.seq, row.incident, row.destination
        );
        self.broke(3, what);
    }

    fn wrong_with(&self, id: usize, row: &Delivery) -> Option<String> {
        let monitor = self.monitor_of(row.incident);
        let is_death = row.kind == MessageKind::Updated && row.reminder.is_none();
        if !is_death && self.is_covered(monitor, row.decided_at) {
            return Some("it is let out during a maintenance".to_owned());
        }
        if row.destination == GATHERS && row.grouped.is_none() && row.kind != MessageKind::Updated {
            let before = self.db.outbox.rows.iter().filter(|other| {
                other.destination == GATHERS
                    && !other.held
                    && other.grouped.is_none()
                    && other.state != State::Superseded
                    && other.kind != MessageKind::Updated
                    && other.placed < row.placed
                    && other.decided_at > row.decided_at - DIGEST_WITHIN
            });
            let before = before.count();
            if before >= DIGEST_AFTER as usize {
                return Some(format!(
                    "it goes by itself after {before} others in ten seconds"
                ));
            }
        }
        row.reminder?;
        let incident = self.db.incidents.get(&row.incident)?;
        if incident.phase != Phase::Triggered {
            return Some(format!("it is said again while it is {:?}", incident.phase));
        }
        let last = self.db.outbox.rows[..id]
            .iter()
            .filter(|other| {
                other.destination == row.destination
                    && other.incident == row.incident
                    && other.state != State::Superseded
            })
            .map(|other| other.decided_at)
            .max()?;
        let early = Span::from_micros(REMIND_EVERY.as_micros() * 9 / 10 - 1_000_000);
        let since = row.decided_at.since(last);
        (since < early).then(|| format!("it is said again after {since} already"))
    }

    fn monitor_of(&self, incident: u64) -> MonitorId {
        self.db
            .incidents
            .get(&incident)
            .map_or(0, |row| row.monitor)
    }

    fn is_covered(&self, monitor: MonitorId, at: Time) -> bool {
        self.windows.iter().any(|window| {
            window.selector.selects(&[], monitor) && window.occurrence_at(at).is_some()
        })
    }

    /// Covered at any time within the last [`PATIENCE`].
    fn was_covered(&self, monitor: MonitorId, now: Time) -> bool {
        (0..=PATIENCE.as_seconds())
            .any(|seconds| self.is_covered(monitor, now - Span::from_seconds(seconds)))
    }

    /// After time enough without trouble: everything that is open was told, or is on its way; what nobody has
    /// acknowledged was said again; nothing is held back for nothing; deaths are told.
    pub fn check_nothing_is_forgotten(&mut self) {
        let now = self.database_now();
        if let Some(what) = self.forgotten(now) {
            self.broke(3, what);
        }
    }

    fn forgotten(&self, now: Time) -> Option<String> {
        let rows = &self.db.outbox.rows;
        let held = rows.iter().find(|row| {
            row.held
                && row.state == State::Pending
                && !self.was_covered(self.monitor_of(row.incident), now)
        });
        if let Some(row) = held {
            return Some(format!(
                "event {} of incident {} is held back by no window",
                row.seq, row.incident
            ));
        }
        let unsaid = told(rows, &self.db.incidents).into_iter().find(|one| {
            one.due() < now - PATIENCE && !self.was_covered(self.monitor_of(one.incident), now)
        });
        if let Some(one) = unsaid {
            return Some(format!(
                "incident {} was last told at {} and is not said again",
                one.incident, one.last
            ));
        }
        let dead = rows.iter().find(|row| {
            row.destination != PLAIN
                && row.state == State::Dead
                && !row.death_told
                && row.finished_at.is_some_and(|at| at < now - PATIENCE)
        });
        if let Some(row) = dead {
            return Some(format!(
                "event {} of incident {} was given up and nobody was told",
                row.seq, row.incident
            ));
        }
        self.untold(now)
    }

    fn untold(&self, now: Time) -> Option<String> {
        let open: BTreeSet<u64> = self
            .db
            .incidents
            .iter()
            .filter(|(_, incident)| incident.phase == Phase::Triggered)
            .map(|(number, _)| *number)
            .collect();
        for row in self.db.events.iter().rev() {
            let number = row.event.incident.number;
            let is_old = row.event.at < now - PATIENCE;
            if !matches!(row.event.what, Happened::Triggered(_))
                || !open.contains(&number)
                || !is_old
                || self.was_covered(row.monitor, now)
            {
                continue;
            }
            for destination in [PLAIN, GATHERS] {
                let told = self.db.outbox.rows.iter().any(|row| {
                    row.destination == destination
                        && row.incident == number
                        && row.kind == MessageKind::Triggered
                        && row.state != State::Superseded
                });
                if !told {
                    return Some(format!(
                        "incident {number} is open and destination {destination} was never told"
                    ));
                }
            }
        }
        None
    }

    /// Digests that were made: a run without storms shows nothing.
    pub fn count_digests(&mut self) {
        let digests: BTreeSet<Time> = self
            .db
            .outbox
            .rows
            .iter()
            .filter_map(|row| row.grouped)
            .collect();
        self.stats.digests += digests.len() as u64;
    }
}
