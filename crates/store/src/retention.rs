//! What of the log is dropped: rows that neither a start nor history needs any more.
//!
//! People's history is kept elsewhere ([`crate::history`]), so the log need not be old; but a reader that was slow must not
//! have rows cut from under it. Whoever calls this hands in how far all had come an hour ago.

use std::collections::BTreeMap;

use crate::{Error, Store, sql};

/// How far the states' checkpoint and history had come, per stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBounds {
    checkpoint: BTreeMap<u32, u64>,
    history: BTreeMap<i64, i64>,
}

impl Store {
    /// How far the checkpoint and history have come now.
    ///
    /// # Errors
    /// What the database says.
    pub async fn log_bounds(&self) -> Result<LogBounds, Error> {
        let checkpoint = self.checkpoint_vector().await?;
        let rows = sql::query("SELECT stream, seq FROM history_position")
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("read how far history has come"))?;
        Ok(LogBounds {
            checkpoint: checkpoint
                .iter()
                .map(|(stream, reached)| (*stream, reached.seq))
                .collect(),
            history: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
        })
    }

    /// Drops up to `limit` of the log's oldest rows that lie before both bounds. The last row of every open stream stays:
    /// the next start needs it. Answers how many were dropped.
    ///
    /// # Errors
    /// What the database says.
    pub async fn drop_log(&self, bounds: &LogBounds, limit: u32) -> Result<u64, Error> {
        let attempted = || Error::attempted("drop old log rows");
        let rows = sql::query(
            "SELECT l.stream, l.seq FROM log_stream s JOIN json_each($2) h ON CAST(h.key AS BIGINT) = s.stream
             LEFT JOIN json_each($1) c ON CAST(c.key AS BIGINT) = s.stream
             JOIN log l ON l.stream = s.stream AND l.seq <= h.value
             WHERE s.folded = 1 OR (l.seq < h.value AND l.seq < COALESCE(c.value, 0))
             ORDER BY l.stream, l.seq LIMIT $3",
        )
        .bind(object(&bounds.checkpoint))
        .bind(object(&bounds.history))
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(attempted())?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut last: BTreeMap<i64, i64> = BTreeMap::new();
        for row in &rows {
            last.insert(row.get(0), row.get(1));
        }
        let mut session = self.session().await?;
        session.begin().await?;
        let dropped = async {
            let mut count = 0;
            for (stream, seq) in last {
                let deleted = sql::query("DELETE FROM log WHERE stream = $1 AND seq <= $2")
                    .bind(stream)
                    .bind(seq)
                    .execute(session.connection())
                    .await
                    .map_err(attempted())?;
                count += deleted.rows_affected();
            }
            for statement in [
                "DELETE FROM log_stream WHERE folded = 1 AND NOT EXISTS
                 (SELECT 1 FROM log WHERE log.stream = log_stream.stream)",
                "DELETE FROM history_position WHERE stream NOT IN (SELECT stream FROM log_stream)",
            ] {
                sql::query(statement)
                    .execute(session.connection())
                    .await
                    .map_err(attempted())?;
            }
            Ok(count)
        }
        .await;
        session.end(dropped).await
    }
}

fn object<K: std::fmt::Display, V: std::fmt::Display>(map: &BTreeMap<K, V>) -> String {
    let entries: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("\"{key}\":{value}"))
        .collect();
    format!("{{{}}}", entries.join(","))
}
