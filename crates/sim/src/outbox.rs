//! The model's outbox: as the store's, with two destinations.

use std::collections::BTreeMap;

use systole_core::delivery::{Prior, plan_resolve};
use systole_core::incident::{Event, Happened};
use systole_core::message::MessageKind;
use systole_core::time::{Span, Time};

/// How long a claim holds.
pub const CLAIM: Span = Span::from_seconds(60);
const DESTINATIONS: u8 = 2;

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
    kind: MessageKind,
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
}

impl Outbox {
    /// The deliveries of events that were just decided; what can go at once is claimed for the decider.
    pub fn decided(&mut self, events: &[(u64, Event)], now: Time) {
        self.fresh.clear();
        let from = self.rows.len();
        for (seq, event) in events {
            let kind = match event.what {
                Happened::Triggered(_) => MessageKind::Triggered,
                Happened::Acknowledged => MessageKind::Acknowledged,
                Happened::Resolved => MessageKind::Resolved,
                Happened::Noted => continue,
            };
            for destination in 1..=DESTINATIONS {
                self.decide_one(destination, event.incident.number, *seq, kind, now);
            }
        }
        self.claim_new(from, now);
    }

    fn decide_one(
        &mut self,
        destination: u8,
        incident: u64,
        seq: u64,
        kind: MessageKind,
        now: Time,
    ) {
        let same = |row: &Delivery| row.destination == destination && row.incident == incident;
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
        if kind != MessageKind::Triggered && priors.is_empty() {
            return;
        }
        if kind == MessageKind::Resolved {
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
        let id = self.rows.len();
        self.rows.push(Delivery {
            destination,
            incident,
            seq,
            kind,
            key: id as u64,
            state: State::Pending,
            claim: 0,
            attempts: 0,
            next_at: now,
            decided_at: now,
        });
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
            if row.state == State::Pending && !self.rows[..id].iter().any(waits) {
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
            let due = row.state == State::Pending && row.next_at <= now && claimed.len() < limit;
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
    pub fn finish(&mut self, id: usize, claim: u32, finish: Finish, fenced: bool) -> bool {
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
        true
    }
}
