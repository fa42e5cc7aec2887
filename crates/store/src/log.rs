//! The log: rows of streams, appended by one writer each, read by everyone.
//!
//! A row is one group commit. Once sent, `(stream, seq)` belongs to its content for ever: an append whose reply was
//! lost is sent again unchanged and finds its own row. A stream is closed by an end marker under the same primary key
//! as the next append would have, so a process that was taken for dead cannot write behind its back.

use std::collections::BTreeMap;

use systole_core::engine::{CONFIGURATION, Command, Record, Row, Vector};
use systole_core::time::{Span, Time};

use crate::record::{pack_commands, unpack};
use crate::sql::Dialect;
use crate::{Error, Session, Store, sql};

/// Kinds of rows.
pub(crate) const BATCH: i64 = 1;
const BEAT: i64 = 2;
pub(crate) const COMMANDS: i64 = 3;
const END: i64 = 9;

/// One group commit, ready to be written.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The writer's stream.
    pub stream: u32,
    /// The next place in it.
    pub seq: u64,
    /// When the batch was formed.
    pub at: Time,
    /// How many check-ins it holds; 0 is a beat.
    pub count: usize,
    /// [`crate::record::BatchPacker`]'s bytes.
    pub body: Vec<u8>,
}

impl Store {
    /// Closes the streams of former processes and opens one for this process, in one transaction.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open_stream(&self, replica: &str, now: Time) -> Result<u32, Error> {
        let mut session = self.session().await?;
        let attempted = || Error::attempted("open a stream of the log");
        session.begin().await?;
        if self.is_shared() {
            let stream = session.new_stream(replica, now).await?;
            session.commit().await?;
            return Ok(stream);
        }
        let open = sql::query(
            "SELECT s.stream, COALESCE(l.seq, 0), COALESCE(l.put, s.opened) FROM log_stream s LEFT JOIN log l
             ON l.stream = s.stream AND l.seq = (SELECT MAX(seq) FROM log WHERE stream = s.stream)
             WHERE s.ended IS NULL AND s.stream > 0",
        )
        .fetch_all(session.connection())
        .await
        .map_err(attempted())?;
        for row in open {
            let (stream, seq, put): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let at = now.as_micros().max(put);
            sql::query("INSERT INTO log (stream, seq, at, put, kind, n, body) VALUES ($1, $2, $3, $3, $4, 0, $5)")
                .bind(stream)
                .bind(seq + 1)
                .bind(at)
                .bind(END)
                .bind(Vec::new())
                .execute(session.connection())
                .await
                .map_err(attempted())?;
            sql::query("UPDATE log_stream SET ended = $2 WHERE stream = $1")
                .bind(stream)
                .bind(at)
                .execute(session.connection())
                .await
                .map_err(attempted())?;
        }
        let stream = session.new_stream(replica, now).await?;
        session.commit().await?;
        Ok(stream)
    }

    /// Closes streams of the shared database whose last row is older than `silent`: their processes are gone or cannot
    /// reach it. The end marker takes the place that their next append would have, so it is known not to be in the log.
    /// Answers those that were closed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn close_silent_streams(&self, silent: Span) -> Result<Vec<u32>, Error> {
        let attempted = || Error::attempted("close silent streams of the log");
        let rows = sql::query(
            "SELECT s.stream, COALESCE(l.seq, 0) FROM log_stream s LEFT JOIN LATERAL
             (SELECT seq, put FROM log WHERE log.stream = s.stream ORDER BY seq DESC LIMIT 1) l ON TRUE
             WHERE s.ended IS NULL AND s.stream > 0 AND COALESCE(l.put, s.opened) < now_us() - $1",
        )
        .bind(silent.as_micros())
        .fetch_all(self.readers())
        .await
        .map_err(attempted())?;
        let mut closed = Vec::new();
        for row in rows {
            let stream = u32::try_from(row.get::<i64>(0)).unwrap_or_default();
            if self
                .end_stream(stream, row.get::<i64>(1).cast_unsigned())
                .await?
            {
                closed.push(stream);
            }
        }
        Ok(closed)
    }

    /// Appends the end marker of our own stream after its last row, unless no other one is open: then the time until
    /// the next start is to be seen as a hole. Answers whether it was closed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn close_stream(&self, stream: u32, last: u64) -> Result<bool, Error> {
        let others = sql::query(
            "SELECT COUNT(*) FROM log_stream WHERE ended IS NULL AND stream > 0 AND stream <> $1",
        )
        .bind(i64::from(stream))
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("look for other streams"))?;
        if others.get::<i64>(0) == 0 {
            return Ok(false);
        }
        self.end_stream(stream, last).await
    }

    /// Appends the end marker after row `last` of a stream of the shared database, unless a row stands there already or
    /// the stream is closed. Answers whether it did.
    ///
    /// # Errors
    /// What the database says.
    pub async fn end_stream(&self, stream: u32, last: u64) -> Result<bool, Error> {
        let (stream, last) = (i64::from(stream), last.cast_signed());
        let mut session = self.session().await?;
        let ended = sql::query(
            "WITH e AS (INSERT INTO log (stream, seq, at, put, kind, n, body)
             SELECT s.stream, $2, now_us(), now_us(), $3, 0, '' FROM log_stream s WHERE s.stream = $1 AND s.ended IS NULL
             AND $2 = 1 + COALESCE((SELECT MAX(seq) FROM log WHERE log.stream = $1), 0)
             ON CONFLICT DO NOTHING RETURNING stream)
             UPDATE log_stream l SET ended = now_us() FROM e WHERE l.stream = e.stream RETURNING l.stream",
        )
        .bind(stream)
        .bind(last + 1)
        .bind(END)
        .fetch_optional(session.connection())
        .await
        .map_err(Error::attempted("close a stream of the log"))?;
        Ok(ended.is_some())
    }

    /// Appends a batch; answers the database's stamp once it is durable. Sending the same batch again is safe.
    ///
    /// # Errors
    /// [`Error::StreamClosed`] when the stream was closed, so the batch is known not to be in it; anything else leaves
    /// the outcome open: send the same batch again.
    pub async fn append(&self, batch: &Batch, clock: impl Fn() -> Time) -> Result<Time, Error> {
        let mut session = self.appending().await?;
        let kind = if batch.count == 0 { BEAT } else { BATCH };
        let now = clock().max(batch.at);
        let dialect = session.dialect();
        let put = dialect.now("$4");
        // Our own stamp is known, and to return it costs SQLite a table for each append.
        let returning = match dialect {
            Dialect::Sqlite => "",
            Dialect::Postgres => " RETURNING put",
        };
        let insert = sql::query(format!(
            "INSERT INTO log (stream, seq, at, put, kind, n, body)
             SELECT s.stream, $2, $3, {put}, $5, $6, $7 FROM log_stream s WHERE s.stream = $1 AND s.ended IS NULL
             ON CONFLICT (stream, seq) DO NOTHING{returning}"
        ))
        .bind(i64::from(batch.stream))
        .bind(batch.seq.cast_signed())
        .bind(batch.at.as_micros())
        .bind(now.as_micros())
        .bind(kind)
        .bind(i64::try_from(batch.count).unwrap_or(i64::MAX))
        .bind(&batch.body);
        let put = match dialect {
            Dialect::Sqlite => insert
                .execute(session.connection())
                .await
                .map(|done| (done.rows_affected() > 0).then_some(now)),
            Dialect::Postgres => insert
                .fetch_optional(session.connection())
                .await
                .map(|row| row.map(|row| Time::from_micros(row.get(0)))),
        };
        if let Some(put) = put.map_err(Error::attempted("append to the log"))? {
            return Ok(put);
        }
        let found = sql::query("SELECT put, kind, at FROM log WHERE stream = $1 AND seq = $2")
            .bind(i64::from(batch.stream))
            .bind(batch.seq.cast_signed())
            .fetch_optional(session.connection())
            .await
            .map_err(Error::attempted("look for an append of unknown outcome"))?;
        match found {
            Some(row) if row.get::<i64>(1) == kind && row.get::<i64>(2) == batch.at.as_micros() => {
                Ok(Time::from_micros(row.get(0)))
            }
            _ => Err(Error::StreamClosed),
        }
    }

    /// The rows after `vector`, at most `limit` of each stream, in the order of streams and rows.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tail(&self, vector: &Vector, limit: u32) -> Result<Vec<Row>, Error> {
        self.session().await?.tail(vector, limit).await
    }

    /// The bytes of one row, and its stamp.
    ///
    /// # Errors
    /// What the database says.
    pub async fn row_body(&self, stream: u32, seq: u64) -> Result<Option<(Time, Vec<u8>)>, Error> {
        let row = sql::query("SELECT at, body FROM log WHERE stream = $1 AND seq = $2")
            .bind(i64::from(stream))
            .bind(seq.cast_signed())
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read a row of the log"))?;
        Ok(row.map(|row| (Time::from_micros(row.get(0)), row.get(1))))
    }
}

/// Streams with something to read, with where each was read to; positions come as a JSON object. A stream of which nothing is left
/// to read at boot is read on by those who have begun it. `CROSS JOIN` keeps SQLite from reading the whole log first.
const TAIL: &str = "SELECT l.stream, l.seq, l.at, l.put, l.kind, l.body FROM log_stream s
    LEFT JOIN json_each($1) p ON CAST(p.key AS BIGINT) = s.stream
    CROSS JOIN log l WHERE l.stream = s.stream AND l.seq > COALESCE(p.value, 0) AND l.seq <= COALESCE(p.value, 0) + $2
    AND (s.folded = 0 OR p.key IS NOT NULL) ORDER BY l.stream, l.seq";

/// The same for PostgreSQL. Where each stream was read to is known to it only while it reads, so left to itself it reads the
/// whole log and looks then, at every turn; each stream's rows alone it finds by the key.
const TAIL_SHARED: &str = "SELECT l.stream, l.seq, l.at, l.put, l.kind, l.body FROM log_stream s
    LEFT JOIN json_each($1) p ON CAST(p.key AS BIGINT) = s.stream
    CROSS JOIN LATERAL (SELECT stream, seq, at, put, kind, body FROM log
        WHERE log.stream = s.stream AND log.seq > COALESCE(p.value, 0) ORDER BY log.seq LIMIT $2) l
    WHERE s.folded = 0 ORDER BY l.stream, l.seq";

impl Session<'_> {
    async fn new_stream(&mut self, replica: &str, now: Time) -> Result<u32, Error> {
        let row =
            sql::query("INSERT INTO log_stream (replica, opened) VALUES ($1, $2) RETURNING stream")
                .bind(replica)
                .bind(now.as_micros())
                .fetch_one(self.connection())
                .await
                .map_err(Error::attempted("open a stream of the log"))?;
        u32::try_from(row.get::<i64>(0)).map_err(|_| Error::Corrupt("there are too many streams"))
    }

    /// As [`Store::tail`], within this session's transaction where there is one.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tail(&mut self, vector: &Vector, limit: u32) -> Result<Vec<Row>, Error> {
        let positions = vector
            .iter()
            .map(|(stream, reached)| (*stream, reached.seq))
            .collect();
        self.tail_from(&positions, limit).await
    }

    /// As [`Session::tail`], after these rows.
    pub(crate) async fn tail_from(
        &mut self,
        positions: &BTreeMap<u32, u64>,
        limit: u32,
    ) -> Result<Vec<Row>, Error> {
        let positions = positions
            .iter()
            .map(|(stream, seq)| format!("\"{stream}\":{seq}"));
        let positions = format!("{{{}}}", positions.collect::<Vec<_>>().join(","));
        let tail = match self.dialect() {
            Dialect::Sqlite => TAIL,
            Dialect::Postgres => TAIL_SHARED,
        };
        let rows = sql::query(tail)
            .bind(positions)
            .bind(i64::from(limit))
            .fetch_all(self.connection())
            .await
            .map_err(Error::attempted("read the log"))?;
        let rows = rows.iter().map(read_row).collect::<Result<Vec<_>, _>>()?;
        Ok(merged(rows, limit))
    }

    /// Appends commands to the configuration stream, within this session's transaction; answers the row as the engine
    /// reads it. The caller hands it over after the commit.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn append_commands(
        &mut self,
        now: Time,
        commands: Vec<Command>,
    ) -> Result<Row, Error> {
        let attempted = || Error::attempted("append to the configuration stream");
        let seq: i64 =
            sql::query("UPDATE log_stream SET head = head + 1 WHERE stream = 0 RETURNING head")
                .fetch_one(self.connection())
                .await
                .map_err(attempted())?
                .get(0);
        let put = self.dialect().now("$2");
        let put: i64 = sql::query(format!(
            "INSERT INTO log (stream, seq, at, put, kind, n, body) VALUES (0, $1, $2, {put}, $3, $4, $5) RETURNING put"
        ))
        .bind(seq)
        .bind(now.as_micros())
        .bind(COMMANDS)
        .bind(i64::try_from(commands.len()).unwrap_or(i64::MAX))
        .bind(pack_commands(&commands)?)
        .fetch_one(self.connection())
        .await
        .map_err(attempted())?
        .get(0);
        Ok(Row {
            stream: CONFIGURATION,
            seq: seq.cast_unsigned(),
            at: now,
            put: Time::from_micros(put),
            records: commands.into_iter().map(Record::Command).collect(),
            end: false,
        })
    }
}

/// In the order of stamps, each stream in its own. Where a stream has more than was read, later rows of the others
/// wait for it: a command must not be folded before the check-ins that came before it.
fn merged(rows: Vec<Row>, limit: u32) -> Vec<Row> {
    // Stamps of one stream may go back (a command is stamped before it waits for the writer); its order never does.
    let mut read: BTreeMap<u32, (u32, Time)> = BTreeMap::new();
    let mut stamped = Vec::with_capacity(rows.len());
    for row in rows {
        let (count, at) = read.entry(row.stream).or_insert((0, row.at));
        (*count, *at) = (*count + 1, row.at.max(*at));
        stamped.push((*at, row));
    }
    let unfinished = read.values().filter(|(count, _)| *count >= limit);
    let horizon = unfinished.map(|(_, at)| *at).min().unwrap_or(Time::NEVER);
    stamped.retain(|(at, _)| *at <= horizon);
    stamped.sort_by_key(|(at, _)| *at);
    stamped.into_iter().map(|(_, row)| row).collect()
}

fn read_row(row: &sql::Row) -> Result<Row, Error> {
    let at = Time::from_micros(row.get(2));
    let stream: i64 = row.get(0);
    let seq: i64 = row.get(1);
    Ok(Row {
        stream: u32::try_from(stream)
            .map_err(|_| Error::Corrupt("a row has an impossible stream"))?,
        seq: seq.cast_unsigned(),
        at,
        put: Time::from_micros(row.get(3)),
        records: unpack(row.get(5), at)?,
        end: row.get::<i64>(4) == END,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stream: u32, seq: u64, at: i64) -> Row {
        let at = Time::from_seconds(at);
        Row {
            stream,
            seq,
            at,
            put: at,
            records: Vec::new(),
            end: false,
        }
    }

    #[test]
    fn a_stream_keeps_its_order_where_its_stamps_go_back() {
        let rows = vec![row(0, 5, 2), row(0, 6, 1), row(7, 1, 1)];
        let order: Vec<(u32, u64)> = merged(rows, 10)
            .iter()
            .map(|row| (row.stream, row.seq))
            .collect();
        assert_eq!(order, [(7, 1), (0, 5), (0, 6)]);
    }

    #[test]
    fn rows_are_merged_by_stamp_up_to_where_every_stream_was_read() {
        let rows = vec![
            row(0, 1, 5),
            row(0, 2, 50),
            row(7, 1, 1),
            row(7, 2, 9),
            row(7, 3, 20),
        ];
        let order = |limit| -> Vec<(u32, u64)> {
            merged(rows.clone(), limit)
                .iter()
                .map(|row| (row.stream, row.seq))
                .collect()
        };
        assert_eq!(order(10), [(7, 1), (0, 1), (7, 2), (7, 3), (0, 2)]);
        assert_eq!(
            order(3),
            [(7, 1), (0, 1), (7, 2), (7, 3)],
            "stream 7 may have more before 50 s"
        );
    }

    #[tokio::test]
    async fn the_shared_log_is_read_by_its_key_however_little_is_known_of_it() {
        use sqlx::{AssertSqlSafe, Connection as _, Row as _};

        let database = systole_testing::postgres::database();
        Store::connect(database.url()).await.unwrap();
        let mut connection = sqlx::PgConnection::connect(database.url()).await.unwrap();
        let prepare = format!("PREPARE tail (TEXT, BIGINT) AS {TAIL_SHARED}");
        for statement in ["SET plan_cache_mode = force_generic_plan", &prepare] {
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
                .execute(&mut connection)
                .await
                .unwrap();
        }
        let plan: Vec<String> = sqlx::raw_sql("EXPLAIN EXECUTE tail ('{\"0\":0,\"1\":7}', 1000)")
            .fetch_all(&mut connection)
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect();
        let by_key = |line: &String| line.contains("Index Cond: ((stream = s.stream) AND (seq >");
        assert!(plan.iter().any(by_key), "{}", plan.join("\n"));
    }
}
