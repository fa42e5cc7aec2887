//! A replica that does not decide, and how it takes over.
//!
//! A standby observes the log like the decider, persists nothing and lets no deadline lapse. Where a record would be news, or
//! judges a deadline, its monitor is unsettled and its records wait. What the decider persisted is the truth:
//!
//! - A monitor that a new transition names is reloaded: [`Engine::reload`].
//! - Decisions without news (misses below a threshold) write neither row nor transition, and a replica may see news where the
//!   decider, which merged the streams in another order, saw none. Such a monitor stays unsettled until a pass has written its
//!   row. So whenever the checkpoint has moved, what is unsettled is reloaded: [`Engine::checkpoint_moved`]. What waits is
//!   therefore never older than the last two passes of the decider.
//! - On taking over, after the transitions and then the tail were read, what is unsettled is reloaded once more; what is news
//!   still waits for the first deciding transaction: [`Engine::take_over`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::input::Input;
use super::{Engine, Gap, Monitor, MonitorId, Position, Record, Row, Vector};

/// A monitor as it was persisted.
#[derive(Clone, Debug)]
pub struct Persisted {
    /// Its number.
    pub id: MonitorId,
    /// Its row; `None` where it has none: it was deleted, or nothing has written it yet.
    pub monitor: Option<Monitor>,
    /// Up to where the row was folded: the vector of its cut where `log_cut` still has that, else the checkpoint's; without a
    /// row, the checkpoint's.
    pub base: Arc<Vector>,
}

/// What a standby keeps beside its memory.
#[derive(Debug)]
pub(super) struct Standby {
    /// Bases of reloaded monitors that lie ahead of the reader in some stream.
    ahead: BTreeMap<MonitorId, Arc<Vector>>,
    /// The streams of the last checkpoint.
    of_checkpoint: BTreeSet<u32>,
}

impl Standby {
    /// Booted from this checkpoint.
    pub(super) fn since(checkpoint: &Vector) -> Standby {
        Standby {
            ahead: BTreeMap::new(),
            of_checkpoint: checkpoint.keys().copied().collect(),
        }
    }
}

impl Engine {
    /// The monitors that wait for a decision, ascending.
    pub fn unsettled(&self) -> impl Iterator<Item = MonitorId> + '_ {
        self.backlog.keys().copied()
    }

    /// Whether this monitor waits for a decision.
    pub fn is_unsettled(&self, id: MonitorId) -> bool {
        self.backlog.contains_key(&id)
    }

    /// Takes what was persisted of these monitors for their states, and folds what followed.
    ///
    /// `rows` are rows of the log, each stream in its order. They must have every record of these monitors after their bases, up
    /// to [`Engine::vector`]; whatever else they have is passed over. Rows, bases and vectors must come from one snapshot, or
    /// the log be read after the rest. A base that is ahead of the reader is kept, and the reader then skips the monitor's
    /// records up to it.
    ///
    /// A monitor is settled afterwards unless a record after its row is news or judges a deadline. Never while a decision is
    /// under way.
    pub fn reload(&mut self, persisted: Vec<Persisted>, rows: &[Row]) {
        let mut inputs: BTreeMap<MonitorId, Vec<(Position, Input)>> = BTreeMap::new();
        for Persisted { id, monitor, base } in persisted {
            self.backlog.remove(&id);
            self.remove(id);
            if let Some(mut monitor) = monitor {
                monitor.settings = self.shared(&monitor.settings);
                self.put(id, monitor, false);
            }
            // Also where the base of the boot is known: that one is older.
            self.standby.ahead.insert(id, base);
            inputs.insert(id, Vec::new());
        }
        for row in rows {
            if row.seq > self.reached(row.stream) {
                continue;
            }
            let position = Position::new(row.stream, row.seq);
            for record in &row.records {
                let (id, input) = match record {
                    Record::Checkin(id, checkin) => (*id, Input::Checkin(*checkin, position)),
                    Record::Command(command) => {
                        let Some(id) = command.monitor else { continue };
                        (id, Input::Command(self.share_settings(command.clone())))
                    }
                };
                if let Some(inputs) = inputs.get_mut(&id) {
                    inputs.push((position, input));
                }
            }
        }
        for (id, mut inputs) in inputs {
            inputs.sort_by_key(|(_, input)| input.order());
            for (position, input) in inputs {
                self.feed(id, position, || input.clone());
            }
        }
        self.forget_passed_bases();
    }

    /// The checkpoint was read, and after it the log up to its head. Answers the monitors that a standby must reload now: all
    /// that are unsettled.
    ///
    /// Also forgets streams of which nothing is left to read, and outages that the decider has stored by now.
    ///
    /// # Errors
    /// [`Gap`] when rows below the checkpoint were dropped before this reader had read them: it must boot again.
    pub fn checkpoint_moved(&mut self, checkpoint: &Vector) -> Result<Vec<MonitorId>, Gap> {
        let missing = checkpoint
            .iter()
            .find(|(stream, reached)| reached.seq > self.reached(**stream));
        if let Some((stream, reached)) = missing {
            return Err(Gap {
                stream: *stream,
                expected: self.reached(*stream) + 1,
                found: reached.seq,
            });
        }
        let is_below = |position: &Position| {
            checkpoint
                .get(&position.stream())
                .is_some_and(|reached| position.seq() <= reached.seq)
        };
        self.unsaved_outages
            .retain(|(_, position)| !is_below(position));
        let streams: BTreeSet<u32> = checkpoint.keys().copied().collect();
        let before = std::mem::replace(&mut self.standby.of_checkpoint, streams);
        self.vector.retain(|stream, reached| {
            !reached.ended || !before.contains(stream) || checkpoint.contains_key(stream)
        });
        Ok(self.unsettled().collect())
    }

    /// Becomes the decider's memory. To be called after the lease was acquired, and then, in fresh statements, the transitions
    /// and after them the log up to its head were read, and all that either names, or that was unsettled, was reloaded.
    ///
    /// `version` is the highest cut ever written, in `log_cut` or the checkpoint; `next_incident` the next free number. All that
    /// was folded since this memory was booted counts as dirty: nobody else may have written it.
    pub fn take_over(&mut self, version: u64, next_incident: u64) {
        self.version = self.version.max(version) + 1;
        self.next_incident = self.next_incident.max(next_incident);
    }

    /// Decides no longer: another replica does, or the lease could not be renewed, or the outcome of a transaction is not known.
    /// A pass that was under way is given up, and what it had captured is dirty again.
    ///
    /// The monitors of a decision whose outcome is not known must be reloaded before this memory takes over again.
    pub fn step_down(&mut self) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        for id in pass.captured {
            if let Some(Some(place)) = self.places.get_mut(id as usize) {
                place.dirty = true;
            }
            self.dirty.push(id);
        }
        self.dirty.extend(pass.remaining);
        self.dirty.extend(pass.waiting);
    }

    pub(super) fn remove(&mut self, id: MonitorId) {
        let place = self.places.get_mut(id as usize);
        if place.and_then(Option::take).is_some() {
            self.count -= 1;
        }
    }

    /// The base of a monitor that was reloaded, while it is needed.
    pub(super) fn reloaded_base(&self, id: MonitorId) -> Option<&Vector> {
        self.standby.ahead.get(&id).map(AsRef::as_ref)
    }

    pub(super) fn forget_passed_reloads(&mut self) {
        let vector = &self.vector;
        let is_ahead = |base: &Vector| {
            base.iter().any(|(stream, base)| {
                vector
                    .get(stream)
                    .is_none_or(|reached| reached.seq < base.seq)
            })
        };
        self.standby.ahead.retain(|_, base| is_ahead(base));
    }
}
