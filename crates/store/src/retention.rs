//! What is forgotten, and what of it is kept.

use systole_core::engine::{MonitorId, Position, Vector};
use systole_core::time::Time;

use crate::record::{CheckinRecord, pack_one, unpack_checkins, unpack_one};
use crate::sql::Dialect;
use crate::{Error, Store, sql};

/// A check-in that is found, with its row.
#[derive(Clone, Debug)]
pub struct FoundCheckin {
    /// Its row.
    pub position: Position,
    /// What it holds.
    pub record: CheckinRecord,
}

impl Store {
    /// A monitor's check-ins from the row `from` back, newest first, at most `limit`.
    ///
    /// Follows the chain of rows; it ends where retention has dropped a row, with what was kept beyond.
    ///
    /// # Errors
    /// What the database says.
    pub async fn checkins(
        &self,
        monitor: MonitorId,
        from: Position,
        limit: usize,
    ) -> Result<Vec<FoundCheckin>, Error> {
        let mut found: Vec<FoundCheckin> = Vec::new();
        let mut next = from;
        while next != Position::NONE && found.len() < limit {
            let Some((at, body)) = self.row_body(next.stream(), next.seq()).await? else {
                break;
            };
            let mut previous = Position::NONE;
            let mine: Vec<CheckinRecord> = unpack_checkins(&body, at)?
                .into_iter()
                .filter(|record| record.monitor == monitor)
                .collect();
            if let Some(first) = mine.first() {
                previous = first.previous;
            }
            found.extend(mine.into_iter().rev().map(|record| FoundCheckin {
                position: next,
                record,
            }));
            next = previous;
        }
        if found.len() < limit {
            let kept = self.kept_checkins(monitor).await?;
            found.extend(
                kept.into_iter()
                    .filter(|kept| kept.position <= next || next == Position::NONE),
            );
            found.dedup_by(|later, earlier| {
                later.position == earlier.position && later.record == earlier.record
            });
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn kept_checkins(&self, monitor: MonitorId) -> Result<Vec<FoundCheckin>, Error> {
        let rows =
            sql::query("SELECT position, record FROM kept_checkin WHERE monitor_id = $1 ORDER BY position DESC")
                .bind(i64::from(monitor))
                .fetch_all(self.readers())
                .await
                .map_err(Error::attempted("read kept check-ins"))?;
        rows.iter()
            .map(|row| {
                let position = Position::from_u64(row.get::<i64>(0).cast_unsigned());
                Ok(FoundCheckin {
                    position,
                    record: unpack_one(row.get(1))?,
                })
            })
            .collect()
    }

    /// Drops up to `limit` of the oldest log rows that were written before `older_than`, or, where the log is larger
    /// than it may be, regardless of age. Rows not yet below the checkpoint stay, and the last row of every open
    /// stream: the next start needs it. Answers how many were dropped.
    ///
    /// `is_kept` says whether a monitor's last, or last failing, check-in stands in this row; such are copied first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn drop_log(
        &self,
        older_than: Option<Time>,
        below: &Vector,
        limit: u32,
        is_kept: impl Fn(MonitorId, Position) -> bool,
    ) -> Result<u64, Error> {
        let attempted = || Error::attempted("drop old log rows");
        let bounds = below
            .iter()
            .map(|(stream, reached)| format!("\"{stream}\":{}", reached.seq));
        let bounds = format!("{{{}}}", bounds.collect::<Vec<_>>().join(","));
        let rows = sql::query(
            "SELECT l.stream, l.seq, l.at, l.body FROM log l JOIN log_stream s ON s.stream = l.stream
             LEFT JOIN json_each($1) b ON CAST(b.key AS BIGINT) = l.stream
             WHERE (s.folded = 1 OR l.seq < COALESCE(b.value, 0)) AND l.put < $2 ORDER BY l.stream, l.seq LIMIT $3",
        )
        .bind(bounds)
        .bind(older_than.unwrap_or(Time::NEVER).as_micros())
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(attempted())?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut session = self.session().await?;
        session.begin().await?;
        let dropped = async {
            let mut count = 0;
            for row in &rows {
                let (stream, seq): (i64, i64) = (row.get(0), row.get(1));
                let position = Position::new(u32::try_from(stream).unwrap_or(0), seq.cast_unsigned());
                for record in unpack_checkins(row.get(3), Time::from_micros(row.get(2)))? {
                    if is_kept(record.monitor, position) {
                        sql::query(
                            "INSERT INTO kept_checkin (monitor_id, position, record) VALUES ($1, $2, $3)
                             ON CONFLICT (monitor_id, position) DO UPDATE SET record = excluded.record",
                        )
                        .bind(i64::from(record.monitor))
                        .bind(position.as_u64().cast_signed())
                        .bind(pack_one(&record))
                        .execute(session.connection())
                        .await
                        .map_err(attempted())?;
                    }
                }
                let deleted = sql::query("DELETE FROM log WHERE stream = $1 AND seq = $2")
                    .bind(stream)
                    .bind(seq)
                    .execute(session.connection())
                    .await
                    .map_err(attempted())?;
                count += deleted.rows_affected();
            }
            sql::query(
                "DELETE FROM log_stream WHERE folded = 1 AND NOT EXISTS
                 (SELECT 1 FROM log WHERE log.stream = log_stream.stream)",
            )
            .execute(session.connection())
            .await
            .map_err(attempted())?;
            Ok(count)
        }
        .await;
        session.end(dropped).await
    }

    /// Forgets kept check-ins that are neither a monitor's last nor its last failing one any more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn drop_kept(
        &self,
        is_kept: impl Fn(MonitorId, Position) -> bool,
    ) -> Result<(), Error> {
        let attempted = || Error::attempted("drop kept check-ins");
        let rows = sql::query("SELECT monitor_id, position FROM kept_checkin")
            .fetch_all(self.readers())
            .await
            .map_err(attempted())?;
        for row in rows {
            let (monitor, position): (i64, i64) = (row.get(0), row.get(1));
            let id = u32::try_from(monitor).unwrap_or(0);
            if is_kept(id, Position::from_u64(position.cast_unsigned())) {
                continue;
            }
            let mut session = self.session().await?;
            sql::query("DELETE FROM kept_checkin WHERE monitor_id = $1 AND position = $2")
                .bind(monitor)
                .bind(position)
                .execute(session.connection())
                .await
                .map_err(attempted())?;
        }
        Ok(())
    }

    /// Bytes that rows of the log take, roughly: their bodies and a fixed part each.
    ///
    /// # Errors
    /// What the database says.
    pub async fn log_bytes(&self) -> Result<u64, Error> {
        let row = sql::query(match self.dialect() {
            Dialect::Sqlite => "SELECT COALESCE(SUM(pgsize), 0) FROM dbstat WHERE name = 'log' AND aggregate = TRUE",
            Dialect::Postgres => "SELECT pg_total_relation_size('log')",
        })
        .fetch_one(self.readers())
        .await;
        match row {
            Ok(row) => Ok(row.get::<i64>(0).cast_unsigned()),
            // The dbstat table is not compiled in: the whole file is a safe upper bound.
            Err(_) => self.database_bytes().await,
        }
    }
}
