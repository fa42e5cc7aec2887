//! Idle connections, kept for the next request to the same target.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::{Connection, Target};
use super::guard::{Lists, judge_address};

/// How long a connection is kept without use.
const IDLE_MOST: Duration = Duration::from_secs(60);
/// How long one is used at all: a name that has moved is followed within this.
const AGE_MOST: Duration = Duration::from_secs(300);
/// Idle connections to one target.
const PER_TARGET_MOST: usize = 32;
/// Idle connections in all.
const TOTAL_MOST: usize = 256;

#[derive(Default)]
pub(super) struct Pool {
    idle: Mutex<HashMap<Target, Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_usable(&self, now: Instant) -> bool {
        !self.connection.sender.is_closed()
            && now.duration_since(self.since) < IDLE_MOST
            && now.duration_since(self.connection.opened) < AGE_MOST
    }
}

impl Pool {
    /// The most recently used connection to `target` whose address the lists still allow.
    pub(super) fn take(&self, target: &Target, lists: &Lists, now: Instant) -> Option<Connection> {
        let mut idle = self.lock();
        let kept = idle.get_mut(target)?;
        kept.retain(|one| one.is_usable(now) && judge_address(one.connection.peer, lists).is_ok());
        let taken = kept.pop();
        if kept.is_empty() {
            idle.remove(target);
        }
        taken.map(|one| one.connection)
    }

    /// Keeps a connection, unless there are enough.
    pub(super) fn put(&self, target: &Target, connection: Connection, now: Instant) {
        let mut idle = self.lock();
        // Here, where the map grows, targets that nobody asks for any more are cleared away too.
        idle.retain(|_, kept| {
            kept.retain(|one| one.is_usable(now));
            !kept.is_empty()
        });
        let total: usize = idle.values().map(Vec::len).sum();
        let here = idle.get(target).map_or(0, Vec::len);
        if total < TOTAL_MOST && here < PER_TARGET_MOST {
            idle.entry(target.clone()).or_default().push(Idle {
                connection,
                since: now,
            });
        }
    }

    /// Drops what is kept for a target: one connection that died silently is seldom alone.
    pub(super) fn forget(&self, target: &Target) {
        self.lock().remove(target);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Target, Vec<Idle>>> {
        // No code that can panic leaves the map half changed, so a poisoned one is sound.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
