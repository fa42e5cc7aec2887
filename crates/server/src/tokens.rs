//! Ping tokens in memory: from the keyed hash to the monitor's number, for a million of them.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};

use hashbrown::HashTable;
use systole_core::engine::MonitorId;
use systole_core::time::Time;
use systole_store::monitors::{KnownToken, OldToken};

/// See the module.
pub struct PingTokens {
    table: RwLock<Table>,
}

struct Table {
    index: HashTable<MonitorId>,
    /// By monitor number; 0 where there is none.
    hashes: Vec<u128>,
    old: Vec<OldToken>,
    limits: Vec<AtomicU32>,
}

/// What a token leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A monitor that may take it.
    Monitor(MonitorId),
    /// The monitor's rate is used up.
    Limited,
}

/// A token may come this often in a row...
const BURST_TICKS: u32 = 1_000;
/// ... and 100 times a second: one tick is 10 ms.
const TICK_MICROS: i64 = 10_000;
/// How far apart the looks at the clock of two requests under way may be: ten minutes.
const SKEW_TICKS: u32 = 60_000;

impl PingTokens {
    /// Of these tokens.
    pub fn new(known: &[KnownToken], old: Vec<OldToken>) -> PingTokens {
        let highest = known
            .iter()
            .map(|token| token.monitor as usize + 1)
            .max()
            .unwrap_or(0);
        let mut table = Table {
            index: HashTable::with_capacity(known.len()),
            hashes: vec![0; highest],
            old,
            limits: Vec::new(),
        };
        table.limits.resize_with(highest, || AtomicU32::new(0));
        for token in known {
            table.insert(*token);
        }
        PingTokens {
            table: RwLock::new(table),
        }
    }

    /// Whose token this is, counting it against its rate at `now`.
    pub fn find(&self, hash: u128, now: Time) -> Option<Found> {
        let table = self.read();
        let id = table.find(hash).or_else(|| table.find_old(hash, now))?;
        Some(if table.within_rate(id, now) {
            Found::Monitor(id)
        } else {
            Found::Limited
        })
    }

    /// Counts a check-in that named its monitor otherwise.
    pub fn admit(&self, monitor: MonitorId, now: Time) -> Found {
        if self.read().within_rate(monitor, now) {
            Found::Monitor(monitor)
        } else {
            Found::Limited
        }
    }

    /// A monitor was made, or has a new token.
    pub fn insert(&self, token: KnownToken) {
        self.write().insert(token);
    }

    /// Monitors were made.
    pub fn insert_all(&self, tokens: impl Iterator<Item = KnownToken>) {
        let mut table = self.write();
        for token in tokens {
            table.insert(token);
        }
    }

    /// A monitor was deleted.
    pub fn remove(&self, monitor: MonitorId) {
        let mut table = self.write();
        table.remove(monitor);
        table.old.retain(|old| old.token.monitor != monitor);
    }

    /// A monitor's token was replaced; the former one works until `until`.
    pub fn rotate(&self, token: KnownToken, until: Time, now: Time) {
        let mut table = self.write();
        let former = table
            .hashes
            .get(token.monitor as usize)
            .copied()
            .filter(|hash| *hash != 0);
        table.remove(token.monitor);
        table
            .old
            .retain(|old| old.until > now && old.token.monitor != token.monitor);
        if let Some(hash) = former
            && until > now
        {
            table.old.push(OldToken {
                until,
                token: KnownToken {
                    hash,
                    monitor: token.monitor,
                },
            });
        }
        table.insert(token);
    }

    /// Another replica has changed these monitors: `known` and `old` are their tokens now.
    pub fn change(&self, monitors: &[MonitorId], known: &[KnownToken], old: &[OldToken]) {
        let mut table = self.write();
        for monitor in monitors {
            table.remove(*monitor);
        }
        table
            .old
            .retain(|former| monitors.binary_search(&former.token.monitor).is_err());
        table.old.extend_from_slice(old);
        for token in known {
            table.insert(*token);
        }
    }

    /// All of them anew.
    pub fn replace(&self, known: &[KnownToken], old: Vec<OldToken>) {
        let new = PingTokens::new(known, old);
        *self.write() = new
            .table
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Table> {
        self.table
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The hash is keyed and random already; its low half places it.
#[expect(clippy::cast_possible_truncation, reason = "64 bits place it")]
const fn place(hash: u128) -> u64 {
    hash as u64
}

impl Table {
    fn find(&self, hash: u128) -> Option<MonitorId> {
        self.index
            .find(place(hash), |id| self.hashes[*id as usize] == hash)
            .copied()
    }

    fn find_old(&self, hash: u128, now: Time) -> Option<MonitorId> {
        let old = self
            .old
            .iter()
            .find(|old| old.token.hash == hash && old.until > now)?;
        Some(old.token.monitor)
    }

    fn insert(&mut self, token: KnownToken) {
        let index = token.monitor as usize;
        if index >= self.hashes.len() {
            self.hashes.resize(index + 1, 0);
            self.limits.resize_with(index + 1, || AtomicU32::new(0));
        }
        self.hashes[index] = token.hash;
        let hashes = &self.hashes;
        self.index
            .insert_unique(place(token.hash), token.monitor, |id| {
                place(hashes[*id as usize])
            });
    }

    fn remove(&mut self, monitor: MonitorId) {
        let Some(hash) = self.hashes.get(monitor as usize).copied() else {
            return;
        };
        if let Ok(entry) = self.index.find_entry(place(hash), |id| *id == monitor) {
            entry.remove();
        }
        self.hashes[monitor as usize] = 0;
    }

    /// The generic cell rate algorithm in four bytes a monitor: the tick at which its allowance would be full again.
    fn within_rate(&self, monitor: MonitorId, now: Time) -> bool {
        let Some(full_at) = self.limits.get(monitor as usize) else {
            return true;
        };
        let tick = u32::try_from(now.as_micros() / TICK_MICROS % i64::from(u32::MAX)).unwrap_or(0);
        let mut allowed = true;
        _ = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |stored| {
            let ahead = stored.wrapping_sub(tick);
            // Far ahead means long behind: a silence of months, and the counter has wrapped. A little more than the
            // burst is another thread's request, whose look at the clock was later.
            let base = if ahead <= BURST_TICKS + SKEW_TICKS {
                stored
            } else {
                tick
            };
            allowed = base.wrapping_sub(tick) < BURST_TICKS;
            allowed.then(|| base.wrapping_add(1))
        });
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(monitor: MonitorId, hash: u128) -> KnownToken {
        KnownToken { hash, monitor }
    }

    #[test]
    fn a_token_is_found_until_it_is_removed() {
        let now = Time::from_seconds(1_000);
        let tokens = PingTokens::new(&[token(1, 11), token(2, 22)], Vec::new());
        tokens.insert(token(700, 77));
        for (hash, found) in [(11, Some(1)), (22, Some(2)), (77, Some(700)), (33, None)] {
            assert_eq!(tokens.find(hash, now), found.map(Found::Monitor));
        }
        tokens.remove(2);
        assert_eq!(tokens.find(22, now), None);
    }

    #[test]
    fn a_rotated_token_works_for_its_overlap() {
        let (now, later) = (Time::from_seconds(1_000), Time::from_seconds(2_000));
        let tokens = PingTokens::new(&[token(1, 11)], Vec::new());
        tokens.rotate(token(1, 12), Time::from_seconds(1_500), now);
        assert_eq!(tokens.find(11, now), Some(Found::Monitor(1)));
        assert_eq!(tokens.find(12, now), Some(Found::Monitor(1)));
        assert_eq!(tokens.find(11, later), None);
    }

    #[test]
    fn a_token_comes_a_thousand_times_at_once_and_a_hundred_times_a_second() {
        let tokens = PingTokens::new(&[token(1, 11)], Vec::new());
        let at = |millis: i64| Time::from_micros(1_000_000_000 + millis * 1_000);
        let taken = |millis, tries: usize| {
            (0..tries)
                .filter(|_| tokens.find(11, at(millis)) == Some(Found::Monitor(1)))
                .count()
        };
        assert_eq!(taken(0, 1_500), 1_000);
        assert_eq!(taken(1_000, 500), 100);
        assert_eq!(
            taken(500, 10),
            0,
            "a request that looked at the clock before the others"
        );
        assert_eq!(taken(400 * 86_400_000, 10), 10, "a year of silence");
    }
}
