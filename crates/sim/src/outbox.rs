//! The model's outbox: as the store's, with two destinations. The first gets every message by itself and is told what
//! the other could not be; the second gathers, and is reminded.

use std::collections::BTreeMap;

use systole_core::delivery::digest::{DIGEST_WITHIN, Place, Recent};
use systole_core::delivery::{Prior, plan_resolve};
use systole_core::engine::MonitorId;
use systole_core::incident::{Event, Happened};
use systole_core::maintenance::Windows;
use systole_core::message::MessageKind;
use systole_core::time::{Span, Time};

/// How long a claim holds.
pub const CLAIM: Span = Span::from_seconds(60);
/// Gets every message by itself, and what concerns us.
pub const PLAIN: u8 = 1;
/// Gets digests and reminders.
pub const GATHERS: u8 = 2;
const DESTINATIONS: [u8; 2] = [PLAIN, GATHERS];

/// Where a delivery stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Waiting or being sent.
    Pending,
    /// It arrived.
    Delivered,
    /// Taken back before it left.
    Superseded,
    /// Given up, visibly.
    Dead,
}

/// A delivery's row.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where to.
    pub destination: u8,
    /// About what.
    pub incident: u64,
    /// Its place.
    pub seq: u64,
    /// What it says.
    pub kind: MessageKind,
    /// The idempotency key.
    pub key: u64,
    /// Where it stands.
    pub state: State,
    /// The number of its last claim.
    pub claim: u32,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Time,
    /// When it was decided.
    pub decided_at: Time,
    /// When it was over.
    pub finished_at: Option<Time>,
    /// The digest that it leaves in.
    pub grouped: Option<Time>,
    /// A maintenance window holds it back.
    pub held: bool,
    /// A reminder, the how manieth.
    pub reminder: Option<u32>,
    /// Its death was told, or is not to be.
    pub death_told: bool,
    /// How many messages had been placed before it: the order in which they were counted.
    pub placed: usize,
}

/// A claimed delivery, on its way.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its place in the outbox.
    pub id: usize,
    /// The row as it was claimed.
    pub delivery: Delivery,
}

/// What a sender says about an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// It arrived.
    Delivered,
    /// Try again then.
    RetryAt(Time),
    /// Given up.
    Dead,
}

/// Deliveries, in order of their numbers.
#[derive(Default)]
pub struct Outbox {
    /// The rows.
    pub rows: Vec<Delivery>,
    fresh: Vec<usize>,
    placed: usize,
}

/// How new deliveries are placed.
#[derive(Clone, Copy)]
pub struct Placing<'a> {
    /// The time of the transaction.
    pub now: Time,
    /// Maintenance windows.
    pub windows: &'a Windows,
    /// Storms are gathered.
    pub gathers: bool,
}

impl Outbox {
    /// The deliveries of events that were just decided; what can go at once is claimed for the decider.
    pub fn decided(&mut self, events: &[(u64, MonitorId, Event)], placing: Placing<'_>) {
        self.fresh.clear();
        let from = self.rows.len();
        for (seq, monitor, event) in events {
            let kind = match event.what {
                Happened::Triggered(_) => MessageKind::Triggered,
                Happened::Acknowledged => MessageKind::Acknowledged,
                Happened::Resolved => MessageKind::Resolved,
                Happened::Noted => continue,
            };
            let held = placing.windows.cover(&[], *monitor, placing.now);
            for destination in DESTINATIONS {
                let row = self.row(destination, event.incident.number, *seq, kind, placing.now);
                let row = match held {
                    Some(cover) => Delivery {
                        held: true,
                        next_at: cover.until,
                        ..row
                    },
                    None => row,
                };
                self.decide_one(row, placing);
            }
        }
        self.claim_new(from, placing.now);
    }

    fn row(
        &self,
        destination: u8,
        incident: u64,
        seq: u64,
        kind: MessageKind,
        now: Time,
    ) -> Delivery {
        Delivery {
            destination,
            incident,
            seq,
            kind,
            key: self.rows.len() as u64,
            state: State::Pending,
            claim: 0,
            attempts: 0,
            next_at: now,
            decided_at: now,
            finished_at: None,
            grouped: None,
            held: false,
            reminder: None,
            death_told: false,
            placed: 0,
        }
    }

    fn decide_one(&mut self, row: Delivery, placing: Placing<'_>) {
        let same = |other: &Delivery| {
            other.destination == row.destination && other.incident == row.incident
        };
        let priors: Vec<Prior> = self
            .rows
            .iter()
            .filter(|row| same(row) && row.state != State::Superseded)
            .map(|row| Prior {
                seq: row.seq.cast_signed(),
                kind: row.kind,
                claimed: row.claim > 0,
                delivered: row.state != State::Pending,
            })
            .collect();
        if row.kind != MessageKind::Triggered && priors.is_empty() {
            return;
        }
        if row.kind == MessageKind::Resolved {
            let plan = plan_resolve(&priors);
            for row in self.rows.iter_mut().filter(|row| same(row)) {
                if plan.superseded.contains(&row.seq.cast_signed())
                    && row.claim == 0
                    && row.state == State::Pending
                {
                    row.state = State::Superseded;
                }
            }
            if !plan.send {
                return;
            }
        }
        self.place(row, placing);
    }

    /// Adds a row; one that is not held back may have to leave with others.
    fn place(&mut self, mut row: Delivery, placing: Placing<'_>) {
        row.key = self.rows.len() as u64;
        if !row.held {
            self.settle(&mut row, placing);
        }
        self.rows.push(row);
    }

    fn settle(&mut self, row: &mut Delivery, placing: Placing<'_>) {
        row.placed = self.placed;
        self.placed += 1;
        if row.destination != GATHERS || !placing.gathers {
            return;
        }
        let mut recent = Recent::default();
        let mut digests = Vec::new();
        for other in self.rows.iter().filter(|other| {
            other.destination == row.destination
                && other.state != State::Superseded
                && !other.held
                && other.decided_at > placing.now - DIGEST_WITHIN
        }) {
            match other.grouped {
                Some(leaves) if digests.contains(&leaves) => {}
                Some(leaves) => {
                    digests.push(leaves);
                    recent.messages += 1;
                }
                None => recent.messages += 1,
            }
            if other.state == State::Pending && other.claim == 0 && other.next_at > placing.now {
                recent.gathering = other.grouped.max(recent.gathering);
            }
        }
        if let Place::Gathered(until) = recent.place(placing.now) {
            row.grouped = Some(until);
            row.next_at = until;
        }
    }

    /// How many rows there are, and how many were placed.
    pub const fn made(&self) -> (usize, usize) {
        (self.rows.len(), self.placed)
    }

    /// What a window held back goes after all, or is not needed any more.
    pub fn let_go(&mut self, id: usize, is_dropped: bool, placing: Placing<'_>) {
        let Some(mut row) = self.rows.get(id).cloned() else {
            return;
        };
        row.held = false;
        if is_dropped {
            row.state = State::Superseded;
            row.finished_at = Some(placing.now);
        } else {
            row.decided_at = placing.now;
            row.next_at = placing.now;
            self.settle(&mut row, placing);
        }
        self.rows[id] = row;
    }

    /// Adds a message that is not the engine's own news.
    pub fn say(
        &mut self,
        destination: u8,
        incident: u64,
        seq: u64,
        reminder: Option<u32>,
        now: Time,
    ) {
        let row = self.row(destination, incident, seq, MessageKind::Updated, now);
        self.rows.push(Delivery { reminder, ..row });
    }

    /// The first of what was just decided is claimed for the decider, where nothing older waits.
    fn claim_new(&mut self, from: usize, now: Time) {
        for id in from..self.rows.len() {
            let row = &self.rows[id];
            let waits = |other: &Delivery| {
                other.destination == row.destination
                    && other.incident == row.incident
                    && other.state == State::Pending
            };
            let at_once = row.state == State::Pending && !row.held && row.grouped.is_none();
            if at_once && !self.rows[..id].iter().any(waits) {
                let row = &mut self.rows[id];
                row.claim = 1;
                row.attempts = 1;
                row.next_at = now + CLAIM;
                self.fresh.push(id);
            }
        }
    }

    /// What the last decision claimed for its own process.
    pub fn take_fresh(&mut self) -> Vec<Outgoing> {
        let fresh = std::mem::take(&mut self.fresh);
        fresh
            .into_iter()
            .filter_map(|id| {
                Some(Outgoing {
                    id,
                    delivery: self.rows.get(id)?.clone(),
                })
            })
            .collect()
    }

    /// Claims what is due; per destination and incident only the oldest that is pending, unless order is left out.
    pub fn claim(&mut self, now: Time, limit: usize, ordered: bool) -> Vec<Outgoing> {
        let mut first: BTreeMap<(u8, u64), u64> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.state == State::Pending) {
            let seq = first
                .entry((row.destination, row.incident))
                .or_insert(row.seq);
            *seq = row.seq.min(*seq);
        }
        let mut claimed = Vec::new();
        for (id, row) in self.rows.iter_mut().enumerate() {
            let due = row.state == State::Pending
                && !row.held
                && row.next_at <= now
                && claimed.len() < limit;
            if due && (!ordered || first.get(&(row.destination, row.incident)) == Some(&row.seq)) {
                row.claim += 1;
                row.attempts += 1;
                row.next_at = now + CLAIM;
                claimed.push(Outgoing {
                    id,
                    delivery: row.clone(),
                });
            }
        }
        claimed
    }

    /// Records what became of an attempt, unless its claim has moved on.
    pub fn finish(
        &mut self,
        id: usize,
        claim: u32,
        finish: Finish,
        fenced: bool,
        now: Time,
    ) -> bool {
        let Some(row) = self.rows.get_mut(id) else {
            return false;
        };
        if row.state != State::Pending || (fenced && row.claim != claim) {
            return false;
        }
        match finish {
            Finish::Delivered => row.state = State::Delivered,
            Finish::Dead => row.state = State::Dead,
            Finish::RetryAt(at) => row.next_at = at,
        }
        if row.state != State::Pending {
            row.finished_at = Some(now);
        }
        true
    }
}
