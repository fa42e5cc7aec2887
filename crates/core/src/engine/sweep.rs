//! Writing states back, so that the log need not be read from its beginning.
//!
//! A pass notes where the log stood at its beginning, writes every monitor that was dirty then, in the order of
//! numbers and in small chunks, and moves the checkpoint to the noted place with its last chunk. Moving it to where
//! the log stands at the *end* would lose what was folded meanwhile into monitors already written.

use super::{CONFIGURATION, Engine, Monitor, MonitorId, Position, Vector};
use crate::outage::Outage;

/// A chunk of a pass: one short transaction.
#[derive(Clone, PartialEq, Debug)]
pub struct Sweep {
    /// The version of the memory from which the rows were taken.
    pub cut: u64,
    /// How far the log had been read then.
    pub vector: Vector,
    /// The rows, in the order of numbers.
    pub rows: Vec<(MonitorId, Monitor)>,
    /// Outages not stored yet, with the row that ended each.
    pub outages: Vec<(Outage, Position)>,
    /// With the last chunk: the new checkpoint.
    pub end: Option<SweepEnd>,
}

/// Where the next boot starts to read.
#[derive(Clone, PartialEq, Debug)]
pub struct SweepEnd {
    /// The version of the memory when the pass began; older cuts are needed no longer.
    pub cut: u64,
    /// How far the log had been read then.
    pub vector: Vector,
    /// Streams of which nothing is left to read after this checkpoint; each is named once. They stay in the checkpoint's vector
    /// for some passes more.
    pub finished: Vec<u32>,
}

/// How many passes a finished stream stays in the checkpoint: long enough for every standby to see by it what it has missed of
/// a stream that was short-lived. A standby that has not read for longer boots again.
const FINISHED_KEPT: u8 = 20;

#[derive(Debug)]
pub(super) struct Pass {
    cut: u64,
    vector: Vector,
    /// Descending, taken from the end.
    pub(super) remaining: Vec<MonitorId>,
    /// Unsettled when their turn came.
    pub(super) waiting: Vec<MonitorId>,
    /// Already in a chunk, which may never become durable.
    pub(super) captured: Vec<MonitorId>,
}

impl Engine {
    /// Begins a pass unless one is under way or nothing has happened since the last.
    pub fn begin_pass(&mut self) {
        if self.pass.is_some() {
            return;
        }
        let mut remaining = std::mem::take(&mut self.dirty);
        remaining.extend(self.backlog.keys());
        remaining.sort_unstable_by(|a, b| b.cmp(a));
        remaining.dedup();
        self.pass = Some(Pass {
            cut: self.version,
            vector: self.vector.clone(),
            remaining,
            waiting: Vec::new(),
            captured: Vec::new(),
        });
    }

    /// Whether a pass is under way.
    pub const fn is_in_pass(&self) -> bool {
        self.pass.is_some()
    }

    /// The next chunk of at most `limit` rows; `None` where no pass is under way or it waits for a decision.
    ///
    /// Only settled states are captured: one whose news is not committed yet would outlive a crash that the news does
    /// not. Captured rows count as clean from here on; a chunk that fails means booting again.
    pub fn sweep(&mut self, limit: usize) -> Option<Sweep> {
        let mut pass = self.pass.take()?;
        if pass.remaining.is_empty() {
            let backlog = &self.backlog;
            let (waiting, settled) = pass
                .waiting
                .drain(..)
                .partition(|id| backlog.contains_key(id));
            pass.waiting = waiting;
            pass.remaining = settled;
            pass.remaining.sort_unstable_by(|a, b| b.cmp(a));
        }
        let mut rows = Vec::with_capacity(limit.min(pass.remaining.len()));
        while rows.len() < limit
            && let Some(id) = pass.remaining.pop()
        {
            if self.backlog.contains_key(&id) {
                pass.waiting.push(id);
            } else if let Some(Some(place)) = self.places.get_mut(id as usize)
                && place.dirty
            {
                place.dirty = false;
                pass.captured.push(id);
                rows.push((id, place.monitor.clone()));
            }
        }
        let done = pass.remaining.is_empty() && pass.waiting.is_empty();
        let end = done.then(|| {
            let mut finished = finished(&pass.vector);
            let mut vector = pass.vector.clone();
            let is_old = |stream: &u32| {
                self.finished
                    .get(stream)
                    .is_some_and(|passes| *passes >= FINISHED_KEPT)
            };
            vector.retain(|stream, _| !is_old(stream));
            finished.retain(|stream| !self.finished.contains_key(stream));
            SweepEnd {
                cut: pass.cut,
                vector,
                finished,
            }
        });
        self.pass = Some(pass);
        if rows.is_empty() && end.is_none() {
            return None;
        }
        let outages = self.unsaved_outages.clone();
        Some(Sweep {
            cut: self.version,
            vector: self.vector.clone(),
            rows,
            outages,
            end,
        })
    }

    /// The chunk is durable.
    pub fn swept(&mut self, sweep: &Sweep) {
        self.unsaved_outages
            .retain(|known| !sweep.outages.contains(known));
        if let Some(end) = &sweep.end {
            self.pass = None;
            self.finished.retain(|stream, passes| {
                *passes = passes.saturating_add(1);
                let is_kept = end.vector.contains_key(stream);
                if !is_kept {
                    self.vector.remove(stream);
                }
                is_kept
            });
            self.finished
                .extend(end.finished.iter().map(|stream| (*stream, 0)));
        }
    }
}

/// Streams that have ended and are wholly below the checkpoint. The one that ended last stays as long as no other is
/// open: the silence after it is counted from its end.
fn finished(vector: &Vector) -> Vec<u32> {
    let open = vector
        .iter()
        .any(|(stream, reached)| *stream != CONFIGURATION && !reached.ended);
    vector
        .iter()
        .filter(|(stream, reached)| open && **stream != CONFIGURATION && reached.ended)
        .map(|(s, _)| *s)
        .collect()
}
