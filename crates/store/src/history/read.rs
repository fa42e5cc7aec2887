//! Reading a monitor's check-ins: its chunks, what is not folded into them yet, and what of the log is not written yet; all as
//! of one moment, so there is no gap and no double.

use systole_core::engine::MonitorId;
use systole_core::history::OpenRuns;
use systole_core::time::Time;

use super::block::{group_of, unpack as unpack_block};
use super::chunk::{unpack, unpack_open};
use super::write::{found_in, position};
use super::{FoundCheckin, Place};
use crate::log::BATCH;
use crate::record::unpack_checkins;
use crate::{Error, Session, Store, sql};

/// Chunks that are read at once.
const CHUNKS: i64 = 3;
/// Batches whose blocks are read at once.
const BATCHES: i64 = 500;
/// Rows of the log that are read at once.
const ROWS: i64 = 500;

/// How far history is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Rows of the log that are not written.
    pub rows: i64,
    /// When the oldest of them was stored.
    pub oldest: Option<Time>,
}

impl Store {
    /// A monitor's check-ins before `before`, or the newest ones, newest first, at most `limit`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn checkins(
        &self,
        monitor: MonitorId,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Vec<FoundCheckin>, Error> {
        let mut session = self.snapshot().await?;
        let found = session.checkins(monitor, before, limit).await;
        session.end(found).await
    }

    /// How many check-ins of the log are not in history yet. It reads all their rows.
    ///
    /// # Errors
    /// What the database says.
    pub async fn unwritten_checkins(&self) -> Result<i64, Error> {
        let row = sql::query(
            "SELECT CAST(COALESCE(SUM(l.n), 0) AS BIGINT) FROM log_stream s LEFT JOIN history_position p ON p.stream = s.stream
             CROSS JOIN log l WHERE l.stream = s.stream AND l.seq > COALESCE(p.seq, 0)",
        )
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("count what is not in history"))?;
        Ok(row.get(0))
    }

    /// How far history is behind the log. Rows of a stream have no gaps, so their first and last one say how many there are.
    ///
    /// # Errors
    /// What the database says.
    pub async fn history_lag(&self) -> Result<Lag, Error> {
        let row = sql::query(
            "SELECT CAST(COALESCE(SUM(u.newest - u.oldest + 1), 0) AS BIGINT), MIN(l.put) FROM
             (SELECT s.stream AS stream,
              (SELECT MIN(f.seq) FROM log f WHERE f.stream = s.stream AND f.seq > COALESCE(p.seq, 0)) AS oldest,
              (SELECT MAX(f.seq) FROM log f WHERE f.stream = s.stream) AS newest
              FROM log_stream s LEFT JOIN history_position p ON p.stream = s.stream) u
             CROSS JOIN log l WHERE l.stream = u.stream AND l.seq = u.oldest",
        )
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("see how far history is behind"))?;
        Ok(Lag {
            rows: row.get(0),
            oldest: row.get::<Option<i64>>(1).map(Time::from_micros),
        })
    }
}

impl Session<'_> {
    async fn checkins(
        &mut self,
        monitor: MonitorId,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Vec<FoundCheckin>, Error> {
        let is_wanted = |found: &FoundCheckin| before.is_none_or(|before| found.place() < before);
        let mut found = self.unfolded(monitor).await?;
        found.retain(is_wanted);
        let mut next = i64::MAX;
        loop {
            let rows = sql::query(
                "SELECT first, until_at, body FROM history_chunk WHERE monitor_id = $1 AND first < $2 AND from_at <= $3
                 ORDER BY first DESC LIMIT $4",
            )
            .bind(i64::from(monitor))
            .bind(next)
            .bind(before.map_or(Time::NEVER, |before| before.at).as_micros())
            .bind(CHUNKS)
            .fetch_all(self.connection())
            .await
            .map_err(Error::attempted("read history"))?;
            let Some(oldest) = rows.last() else {
                break;
            };
            let (first, until) = (oldest.get::<i64>(0), Time::from_micros(oldest.get(1)));
            for row in &rows {
                let chunk = unpack(monitor, row.get(2))?;
                found.extend(chunk.into_iter().filter(is_wanted));
            }
            next = first;
            found.sort_unstable_by_key(|found| std::cmp::Reverse(found.place()));
            // No older chunk reaches further than this one.
            if limit
                .checked_sub(1)
                .is_none_or(|last| found.get(last).is_some_and(|last| last.place().at > until))
            {
                break;
            }
        }
        found.sort_unstable_by_key(|found| std::cmp::Reverse(found.place()));
        found.truncate(limit);
        Ok(found)
    }

    /// Those that are not in its chunks yet, in the order in which they go there: from blocks, then from the log.
    pub(super) async fn unfolded(
        &mut self,
        monitor: MonitorId,
    ) -> Result<Vec<FoundCheckin>, Error> {
        let mut found = self.in_blocks(monitor).await?;
        let mut unwritten = self.in_log(monitor).await?;
        unwritten.sort_by_key(FoundCheckin::place);
        found.extend(unwritten);
        if found.is_empty() {
            return Ok(found);
        }
        // How long runs took follows from those that were open when the last chunk was written.
        let newest = sql::query(
            "SELECT open_runs FROM history_chunk WHERE monitor_id = $1 ORDER BY first DESC LIMIT 1",
        )
        .bind(i64::from(monitor))
        .fetch_optional(self.connection())
        .await
        .map_err(Error::attempted("read which runs are open"))?;
        let mut runs = match &newest {
            Some(row) => unpack_open(row.get(0))?,
            None => OpenRuns::default(),
        };
        for found in &mut found {
            let checkin = found.record.checkin;
            found.duration = runs
                .checkin(checkin)
                .map(|started| checkin.at.since(started));
        }
        Ok(found)
    }

    async fn in_blocks(&mut self, monitor: MonitorId) -> Result<Vec<FoundCheckin>, Error> {
        let id = group_of(monitor);
        let Some(group) = self.group(id).await? else {
            return Ok(Vec::new());
        };
        if group.blocks == 0 {
            return Ok(Vec::new());
        }
        let mut from = group.since.max(group.folded_for(monitor) + 1);
        let newest = self.newest_batch().await?;
        let mut found = Vec::new();
        while from <= newest {
            let until = newest.min(from + BATCHES - 1);
            for body in self.blocks(id, from, until).await? {
                found.extend(unpack_block(id, &body, &(monitor..=monitor))?);
            }
            from = until + 1;
        }
        Ok(found)
    }

    async fn in_log(&mut self, monitor: MonitorId) -> Result<Vec<FoundCheckin>, Error> {
        let attempted = || Error::attempted("read check-ins from the log");
        let streams = sql::query(
            "SELECT s.stream, COALESCE(p.seq, 0) FROM log_stream s LEFT JOIN history_position p ON p.stream = s.stream
             WHERE s.stream > 0 AND (SELECT MAX(l.seq) FROM log l WHERE l.stream = s.stream) > COALESCE(p.seq, 0)",
        )
        .fetch_all(self.connection())
        .await
        .map_err(attempted())?;
        let mut found: Vec<FoundCheckin> = Vec::new();
        for row in streams {
            let (stream, mut reached): (i64, i64) = (row.get(0), row.get(1));
            loop {
                let rows = sql::query(
                    "SELECT seq, at, body FROM log WHERE stream = $1 AND seq > $2 AND kind = $3 ORDER BY seq LIMIT $4",
                )
                .bind(stream)
                .bind(reached)
                .bind(BATCH)
                .bind(ROWS)
                .fetch_all(self.connection())
                .await
                .map_err(attempted())?;
                for row in &rows {
                    reached = row.get(0);
                    let records = unpack_checkins(row.get(2), Time::from_micros(row.get(1)))?;
                    let of = found_in(position(stream, reached), records);
                    found.extend(
                        of.into_iter()
                            .filter(|found| found.record.monitor == monitor),
                    );
                }
                if rows.len() < usize::try_from(ROWS).unwrap_or(usize::MAX) {
                    break;
                }
            }
        }
        Ok(found)
    }
}
