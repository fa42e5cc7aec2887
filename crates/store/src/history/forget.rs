//! What of history is forgotten, by age, by number and by size. Of each monitor the newest check-ins stay, and those among
//! which its last failure is.

use std::collections::{BTreeMap, BTreeSet};

use systole_core::engine::MonitorId;
use systole_core::time::{Span, Time};

use super::rolled::{DAYS, day_number, floor};
use super::write::{id, list};
use crate::lease::fence;
use crate::sql::Dialect;
use crate::{Error, Store, sql};

/// How much of history is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How long check-ins are.
    pub age: Span,
    /// How many of each monitor, give or take a chunk of them.
    pub checkins: i64,
    /// How many bytes all of them may take, what is not folded yet aside.
    pub bytes: u64,
    /// How long hours are.
    pub hours: Span,
    /// How long days are.
    pub days: Span,
}

/// How large history is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryBytes {
    /// Check-ins, those that are not folded yet included.
    pub checkins: u64,
    /// Hours.
    pub hours: u64,
    /// Days.
    pub days: u64,
}

/// A chunk, as far as forgetting needs it.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    monitor: MonitorId,
    first: i64,
    n: i64,
    failures: i64,
    until: Time,
    bytes: u64,
}

/// What a chunk takes beside its check-ins, about: its row, its key, its place in the index.
const ROW: u64 = 80;
/// Bytes are counted by the hour.
const COUNTED: Span = Span::from_seconds(3_600);

/// How many bytes are kept.
#[derive(Clone, Debug, Default)]
pub struct KeptBytes {
    /// Of what may go, by when the newest check-in in it was received.
    by_hour: BTreeMap<Time, u64>,
    /// Of what stays in any case.
    staying: u64,
}

impl KeptBytes {
    fn may_go(&mut self, chunk: &Chunk) {
        *self.by_hour.entry(floor(chunk.until, COUNTED)).or_default() += chunk.bytes;
    }

    fn stays(&mut self, chunk: &Chunk) {
        self.staying += chunk.bytes;
    }

    /// Where it is more than `bytes`: what is older than this is to go so that the rest is no more.
    pub fn too_old(&self, bytes: u64) -> Option<Time> {
        let mut left: u64 = self.staying + self.by_hour.values().sum::<u64>();
        let mut too_old = None;
        for (hour, of_hour) in &self.by_hour {
            if left <= bytes {
                break;
            }
            left -= of_hour;
            too_old = Some(*hour + COUNTED);
        }
        too_old
    }
}

/// What limits check-ins.
#[derive(Clone, Copy, Debug)]
struct Limits {
    older_than: Time,
    checkins: i64,
    /// What is not rolled up yet stays.
    rolled: Time,
}

/// Of one monitor's chunks, the oldest first, those that go.
fn forgotten(chunks: &[Chunk], limits: Limits) -> Vec<Chunk> {
    let Some((newest, others)) = chunks.split_last() else {
        return Vec::new();
    };
    let last_failing = chunks.iter().rfind(|chunk| chunk.failures > 0);
    let count = newest.first + newest.n;
    others
        .iter()
        .copied()
        .filter(|chunk| {
            let is_old = chunk.until < limits.older_than;
            let is_much = chunk.first + chunk.n <= count - limits.checkins;
            (is_old || is_much)
                && chunk.until < limits.rolled
                && last_failing.is_none_or(|last| last.first != chunk.first)
        })
        .collect()
}

/// Counts what is left of `chunks` once those are gone.
fn count(chunks: &[Chunk], gone: &[Chunk], limits: Limits, kept: &mut KeptBytes) {
    let names = |chunks: &[Chunk]| -> BTreeSet<(MonitorId, i64)> {
        let names = chunks.iter().map(|chunk| (chunk.monitor, chunk.first));
        names.collect()
    };
    let all = Limits {
        older_than: Time::NEVER,
        ..limits
    };
    let may_go: Vec<Chunk> = chunks
        .chunk_by(|a, b| a.monitor == b.monitor)
        .flat_map(|chunks| forgotten(chunks, all))
        .collect();
    let (gone, may_go) = (names(gone), names(&may_go));
    for chunk in chunks {
        let name = (chunk.monitor, chunk.first);
        if may_go.contains(&name) && !gone.contains(&name) {
            kept.may_go(chunk);
        } else if !gone.contains(&name) {
            kept.stays(chunk);
        }
    }
}

impl Store {
    /// Forgets what is older, or more, than `keep` says, of the next monitors after `after`, as the holder of `epoch`.
    /// `older_than` goes in any case. What stays is added to `kept`. Answers the last of them, or `None` after the last of all.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken over, or what the database says.
    pub async fn forget_history(
        &self,
        epoch: i64,
        keep: &Keep,
        older_than: Option<Time>,
        after: Option<MonitorId>,
        now: Time,
        kept: &mut KeptBytes,
    ) -> Result<Option<MonitorId>, Error> {
        let monitors = self.monitors_after(after.map_or(0, i64::from)).await?;
        let (Some(last), Some(rolled)) = (monitors.last().copied(), self.rolled_until().await?)
        else {
            return Ok(None);
        };
        let ids = list(monitors.iter().copied());
        let rows = sql::query(
            "SELECT monitor_id, first, n, failures, until_at, CAST(length(open_runs) + length(body) AS BIGINT) FROM history_chunk
             WHERE monitor_id IN (SELECT value FROM json_each($1)) ORDER BY monitor_id, first",
        )
        .bind(&ids)
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("look for old history"))?;
        let mut chunks = Vec::with_capacity(rows.len());
        for row in &rows {
            chunks.push(Chunk {
                monitor: id(row.get(0))?,
                first: row.get(1),
                n: row.get(2),
                failures: row.get(3),
                until: Time::from_micros(row.get(4)),
                bytes: row.get::<i64>(5).cast_unsigned() + ROW,
            });
        }
        let limits = Limits {
            older_than: (now - keep.age).max(older_than.unwrap_or(Time::MIN)),
            checkins: keep.checkins,
            rolled,
        };
        let gone: Vec<Chunk> = chunks
            .chunk_by(|a, b| a.monitor == b.monitor)
            .flat_map(|chunks| forgotten(chunks, limits))
            .collect();
        count(&chunks, &gone, limits, kept);
        let day = |keep: Span| day_number(now - keep);
        let mut session = self.session().await?;
        session.relaxed().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        let done = async {
            for chunk in &gone {
                sql::query("DELETE FROM history_chunk WHERE monitor_id = $1 AND first = $2")
                    .bind(i64::from(chunk.monitor))
                    .bind(chunk.first)
                    .execute(session.connection())
                    .await
                    .map_err(Error::attempted("forget old history"))?;
            }
            for (statement, before) in [
                (
                    "DELETE FROM history_hours WHERE monitor_id IN (SELECT value FROM json_each($1)) AND day < $2",
                    day(keep.hours),
                ),
                (
                    "DELETE FROM history_days WHERE monitor_id IN (SELECT value FROM json_each($1)) AND days < $2",
                    day(keep.days).div_euclid(DAYS),
                ),
                (
                    "DELETE FROM history_pause WHERE monitor_id IN (SELECT value FROM json_each($1)) AND until_at < $2",
                    (now - keep.age).min(rolled).as_micros(),
                ),
            ] {
                sql::query(statement)
                    .bind(&ids)
                    .bind(before)
                    .execute(session.connection())
                    .await
                    .map_err(Error::attempted("forget old rollups"))?;
            }
            Ok(())
        }
        .await;
        session.end(done).await?;
        Ok(Some(last))
    }

    /// Bytes that history takes on the disk.
    ///
    /// # Errors
    /// What the database says.
    pub async fn history_bytes(&self) -> Result<HistoryBytes, Error> {
        let mut bytes = [0; 4];
        for (bytes, table) in bytes.iter_mut().zip([
            "history_chunk",
            "history_block",
            "history_hours",
            "history_days",
        ]) {
            let row = sql::query(match self.dialect() {
                Dialect::Sqlite => format!(
                    "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat WHERE aggregate = TRUE
                     AND name IN (SELECT name FROM sqlite_schema WHERE tbl_name = '{table}')"
                ),
                Dialect::Postgres => format!("SELECT pg_total_relation_size('{table}')"),
            })
            .fetch_one(self.readers())
            .await
            .map_err(Error::attempted("measure history"))?;
            *bytes = row.get::<i64>(0).cast_unsigned();
        }
        let [folded, blocks, hours, days] = bytes;
        let checkins = folded + blocks;
        Ok(HistoryBytes {
            checkins,
            hours,
            days,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten check-ins each, ending at 10 s, 20 s …; those of `failing` hold a failure.
    fn kept(failing: &[usize], older_than: i64, checkins: i64, rolled: i64) -> Vec<i64> {
        let chunks: Vec<Chunk> = (0..5)
            .map(|index| Chunk {
                monitor: 1,
                first: index * 10 + 1,
                n: 10,
                failures: i64::from(failing.iter().any(|failing| *failing as i64 == index)),
                until: Time::from_seconds((index + 1) * 10),
                bytes: 0,
            })
            .collect();
        let limits = Limits {
            older_than: Time::from_seconds(older_than),
            checkins,
            rolled: Time::from_seconds(rolled),
        };
        let gone: Vec<i64> = forgotten(&chunks, limits)
            .iter()
            .map(|gone| gone.first)
            .collect();
        let all = chunks.iter().map(|chunk| chunk.first);
        all.filter(|first| !gone.contains(first)).collect()
    }

    #[test]
    fn where_it_takes_too_much_the_oldest_hours_go_and_no_more() {
        let mut kept = KeptBytes::default();
        for (hour, bytes) in [(1, 100), (2, 50), (2, 50), (5, 300)] {
            kept.may_go(&Chunk {
                monitor: 1,
                first: 1,
                n: 1,
                failures: 0,
                until: Time::from_seconds(hour * 3_600 + 5),
                bytes,
            });
        }
        for (bytes, expected) in [
            (500, None),
            (499, Some(2)),
            (400, Some(2)),
            (399, Some(3)),
            (300, Some(3)),
            (299, Some(6)),
            (0, Some(6)),
        ] {
            let expected = expected.map(|hour| Time::from_seconds(hour * 3_600));
            assert_eq!(kept.too_old(bytes), expected, "{bytes} bytes");
        }
        assert_eq!(KeptBytes::default().too_old(0), None);
        let chunk = Chunk {
            monitor: 1,
            first: 1,
            n: 1,
            failures: 0,
            until: Time::from_seconds(0),
            bytes: 100,
        };
        kept.stays(&chunk);
        let expected = Time::from_seconds(2 * 3_600);
        assert_eq!(kept.too_old(599), Some(expected), "what stays is counted");
    }

    #[test]
    fn what_is_old_or_too_much_goes_but_not_the_newest_nor_the_last_failure() {
        for (failing, older_than, checkins, rolled, expected, why) in [
            (
                &[][..],
                0,
                100,
                100,
                &[1, 11, 21, 31, 41][..],
                "nothing is old",
            ),
            (&[], 25, 100, 100, &[21, 31, 41], "by age"),
            (&[], 0, 20, 100, &[31, 41], "by number"),
            (&[], 0, 25, 100, &[21, 31, 41], "never fewer than that"),
            (&[], 1_000, 1, 100, &[41], "the newest stays"),
            (
                &[0, 2],
                1_000,
                1,
                100,
                &[21, 41],
                "so does the last failure",
            ),
            (
                &[],
                1_000,
                1,
                25,
                &[21, 31, 41],
                "so does what is not rolled up",
            ),
        ] {
            assert_eq!(
                kept(failing, older_than, checkins, rolled),
                expected,
                "{why}"
            );
        }
        assert!(
            forgotten(
                &[],
                Limits {
                    older_than: Time::NEVER,
                    checkins: 1,
                    rolled: Time::NEVER
                }
            )
            .is_empty()
        );
    }
}
