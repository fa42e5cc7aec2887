//! The model of what is said beside the engine's news: reminders, deaths, and what a maintenance window held back.

use std::collections::BTreeMap;

use systole_core::delivery::reminder::{self, Told};
use systole_core::engine::MonitorId;
use systole_core::incident::Phase;
use systole_core::time::{Span, Time};

use crate::database::{Database, IncidentRow};
use crate::outbox::{Delivery, GATHERS, PLAIN, Placing, State};
use crate::rules::Rule;

/// How often the second destination is reminded. Real intervals are hours; the rule is the same.
pub const REMIND_EVERY: Span = Span::from_seconds(60);

/// What the second destination was last told of incidents that are open and not acknowledged.
pub fn told(rows: &[Delivery], incidents: &BTreeMap<u64, IncidentRow>) -> Vec<Told> {
    let mut told: BTreeMap<u64, (Time, u32, bool)> = BTreeMap::new();
    let mine = |row: &&Delivery| row.destination == GATHERS && row.state != State::Superseded;
    for row in rows.iter().filter(mine) {
        if incidents
            .get(&row.incident)
            .is_none_or(|incident| incident.phase != Phase::Triggered)
        {
            continue;
        }
        let (last, reminders, waits) = told.entry(row.incident).or_insert((Time::MIN, 0, false));
        *last = row.finished_at.unwrap_or(row.decided_at).max(*last);
        *reminders += u32::from(row.reminder.is_some());
        *waits |= row.state == State::Pending;
    }
    told.into_iter()
        .filter(|(_, (.., waits))| !waits)
        .map(|(incident, (last, reminders, _))| Told {
            channel: i64::from(GATHERS),
            incident,
            last,
            reminders,
            every: REMIND_EVERY,
        })
        .collect()
}

impl Database {
    /// The transaction: all of it, or nothing. Answers how many messages it made.
    pub fn follow_up(&mut self, now: Time) -> u64 {
        let before = self.outbox.rows.len();
        if self.rules.hold(Rule::Release) {
            self.release(now);
        }
        if self.rules.hold(Rule::Reminders) {
            self.remind(now);
        }
        if self.rules.hold(Rule::Deaths) {
            self.tell_deaths(now);
        }
        (self.outbox.rows.len() - before) as u64
    }

    fn monitor_of(&self, incident: u64) -> MonitorId {
        self.incidents.get(&incident).map_or(0, |row| row.monitor)
    }

    fn release(&mut self, now: Time) {
        for id in 0..self.outbox.rows.len() {
            let row = &self.outbox.rows[id];
            if !row.held || row.state != State::Pending {
                continue;
            }
            let cover = self.windows.cover(&[], self.monitor_of(row.incident), now);
            if let Some(until) = cover.map(|cover| cover.until) {
                self.outbox.rows[id].next_at = until;
                continue;
            }
            let knows = self.outbox.rows.iter().any(|other| {
                other.destination == row.destination
                    && other.incident == row.incident
                    && !other.held
                    && other.state != State::Superseded
            });
            let is_taken = self
                .incidents
                .get(&row.incident)
                .is_some_and(|incident| incident.phase == Phase::Acknowledged);
            let placing = Placing {
                now,
                windows: &self.windows,
                gathers: self.rules.hold(Rule::Digest),
            };
            self.outbox.let_go(id, is_taken && !knows, placing);
        }
    }

    fn remind(&mut self, now: Time) {
        let told = told(&self.outbox.rows, &self.incidents);
        let due = reminder::due(&told, now);
        for one in due {
            if self
                .windows
                .cover(&[], self.monitor_of(one.incident), now)
                .is_some()
            {
                continue;
            }
            self.seq += 1;
            let number = Some(one.reminders + 1);
            self.outbox
                .say(GATHERS, one.incident, self.seq, number, now);
        }
    }

    /// Told to the first destination, once; a death of its own is nobody's news.
    fn tell_deaths(&mut self, now: Time) {
        for id in 0..self.outbox.rows.len() {
            let row = &mut self.outbox.rows[id];
            if row.state != State::Dead || row.death_told {
                continue;
            }
            row.death_told = true;
            let (destination, incident) = (row.destination, row.incident);
            if destination == PLAIN {
                continue;
            }
            self.seq += 1;
            self.outbox.say(PLAIN, incident, self.seq, None, now);
        }
    }
}
