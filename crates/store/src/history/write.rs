//! Writing: from the log, in batches, with the position in the same transaction.

use std::collections::{BTreeMap, BTreeSet};

use systole_core::engine::{Action, Command, MonitorId, Position};
use systole_core::heartbeat::Signal;
use systole_core::history::OpenRuns;
use systole_core::time::Time;

use super::FoundCheckin;
use super::chunk::{ChunkPacker, FULL, pack_open, unpack, unpack_open};
use crate::lease::fence;
use crate::log::{BATCH, COMMANDS};
use crate::record::{CheckinRecord, unpack_checkins, unpack_commands};
use crate::{Error, Session, Store, sql};

/// Rows of each stream that one transaction reads.
const ROWS: i64 = 200;
/// A transaction ends with the row that brings it to so many check-ins or bytes: whoever appends waits for it.
const CHECKINS: usize = 1_000;
const BYTES: usize = 1 << 20;
/// Chunks of one statement.
const CHUNKS: usize = 500;

/// What one transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Check-ins that went into history.
    pub checkins: usize,
    /// Whether nothing was left in the log.
    pub drained: bool,
}

/// A row of the log, as history reads it before it knows how many it takes.
struct Row {
    stream: i64,
    seq: i64,
    at: Time,
    kind: i64,
    checkins: usize,
    bytes: usize,
}

/// What a batch of rows says of one monitor, in the order in which it happened.
enum Said {
    Checkin(FoundCheckin),
    Paused(Time),
    Resumed(Time),
}

/// The newest chunk of a monitor, and what it becomes.
struct Open {
    first: i64,
    n: i64,
    until: Time,
    runs: OpenRuns,
    /// None where it is full.
    checkins: Option<Vec<FoundCheckin>>,
}

/// A row of `history_chunk`.
struct ChunkRow {
    monitor: MonitorId,
    first: i64,
    n: i64,
    failures: i64,
    from: Time,
    until: Time,
    open_runs: Vec<u8>,
    body: Vec<u8>,
}

/// From the row after what is written, at most `$1` of each stream.
///
/// Without their bodies, of which most would be read in vain. `CROSS JOIN` keeps SQLite from reading the whole log first.
const UNWRITTEN: &str =
    "SELECT l.stream, l.seq, l.at, l.kind, l.n, CAST(length(l.body) AS BIGINT) FROM log_stream s
    LEFT JOIN history_position p ON p.stream = s.stream
    CROSS JOIN log l WHERE l.stream = s.stream AND l.seq > COALESCE(p.seq, 0) AND l.seq < $1 +
    (SELECT MIN(f.seq) FROM log f WHERE f.stream = s.stream AND f.seq > COALESCE(p.seq, 0))
    ORDER BY l.stream, l.seq";

impl Store {
    /// Writes the next batch of the log into history, as the holder of `epoch`. The position goes with it.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken over; after anything else the batch is written by the next call, once.
    pub async fn write_history(&self, epoch: i64) -> Result<Written, Error> {
        let mut session = self.session().await?;
        // What a crash takes along is written again: the log still has it.
        session.relaxed().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        let written = session.write_history().await;
        session.end(written).await
    }
}

impl Session<'_> {
    async fn write_history(&mut self) -> Result<Written, Error> {
        let (rows, drained) = self.unwritten().await?;
        let mut said: BTreeMap<MonitorId, Vec<Said>> = BTreeMap::new();
        let mut deleted = Vec::new();
        let mut reached: BTreeMap<i64, i64> = BTreeMap::new();
        let mut checkins = 0;
        let bodies = self.bodies(&rows).await?;
        for row in &rows {
            reached.insert(row.stream, row.seq);
            let body = bodies
                .get(&(row.stream, row.seq))
                .ok_or(Error::Corrupt("a row of the log is missing"))?;
            match row.kind {
                BATCH => {
                    let position = position(row.stream, row.seq);
                    for found in found_in(position, unpack_checkins(body, row.at)?) {
                        let of = said.entry(found.record.monitor).or_default();
                        of.push(Said::Checkin(found));
                        checkins += 1;
                    }
                }
                COMMANDS => {
                    for command in unpack_commands(body)? {
                        command_says(command, &mut said, &mut deleted);
                    }
                }
                _ => {}
            }
        }
        self.forget_deleted(&deleted).await?;
        let known = self.known_monitors(said.keys().copied()).await?;
        // One that was deleted since has no history to go to.
        said.retain(|monitor, _| known.contains(monitor));
        let open = self.open_chunks(said.keys().copied()).await?;
        self.pauses(&said).await?;
        self.write_chunks(said, open).await?;
        self.move_position(&reached).await?;
        Ok(Written { checkins, drained })
    }

    /// The rows of the next batch, in the order in which they happened, and whether nothing comes after them.
    async fn unwritten(&mut self) -> Result<(Vec<Row>, bool), Error> {
        let rows = sql::query(UNWRITTEN)
            .bind(ROWS)
            .fetch_all(self.connection())
            .await
            .map_err(Error::attempted("read the log for history"))?;
        let mut rows: Vec<Row> = rows
            .iter()
            .map(|row| Row {
                stream: row.get(0),
                seq: row.get(1),
                at: Time::from_micros(row.get(2)),
                kind: row.get(3),
                checkins: usize::try_from(row.get::<i64>(4)).unwrap_or(0),
                bytes: usize::try_from(row.get::<i64>(5)).unwrap_or(0),
            })
            .collect();
        let mut drained = merge(&mut rows);
        let (mut checkins, mut bytes) = (0, 0);
        let mut enough = rows.len();
        for (index, row) in rows.iter().enumerate() {
            if row.kind == BATCH {
                checkins += row.checkins;
                bytes += row.bytes;
            }
            if (checkins >= CHECKINS || bytes >= BYTES) && index + 1 < rows.len() {
                (enough, drained) = (index + 1, false);
                break;
            }
        }
        rows.truncate(enough);
        Ok((rows, drained))
    }

    /// The bodies of rows that follow each other in their streams, by stream and row.
    async fn bodies(&mut self, rows: &[Row]) -> Result<BTreeMap<(i64, i64), Vec<u8>>, Error> {
        let mut ranges: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        for row in rows {
            let (_, last) = ranges.entry(row.stream).or_insert((row.seq, row.seq));
            *last = row.seq;
        }
        let mut bodies = BTreeMap::new();
        for (stream, (first, last)) in ranges {
            let found = sql::query(
                "SELECT seq, body FROM log WHERE stream = $1 AND seq >= $2 AND seq <= $3",
            )
            .bind(stream)
            .bind(first)
            .bind(last)
            .fetch_all(self.connection())
            .await
            .map_err(Error::attempted("read the log for history"))?;
            bodies.extend(
                found
                    .iter()
                    .map(|row| ((stream, row.get(0)), row.get::<Vec<u8>>(1))),
            );
        }
        Ok(bodies)
    }

    async fn known_monitors(
        &mut self,
        ids: impl Iterator<Item = MonitorId>,
    ) -> Result<BTreeSet<MonitorId>, Error> {
        let rows =
            sql::query("SELECT id FROM monitor WHERE id IN (SELECT value FROM json_each($1))")
                .bind(list(ids))
                .fetch_all(self.connection())
                .await
                .map_err(Error::attempted("look for the monitors of check-ins"))?;
        let id = |row: &sql::Row| u32::try_from(row.get::<i64>(0)).ok();
        Ok(rows.iter().filter_map(id).collect())
    }

    async fn open_chunks(
        &mut self,
        ids: impl Iterator<Item = MonitorId>,
    ) -> Result<BTreeMap<MonitorId, Open>, Error> {
        let rows = sql::query(
            "SELECT c.monitor_id, c.first, c.n, c.until_at, c.open_runs, c.body FROM json_each($1) m
             JOIN history_chunk c ON c.monitor_id = m.value
             AND c.first = (SELECT MAX(h.first) FROM history_chunk h WHERE h.monitor_id = m.value)",
        )
        .bind(list(ids))
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read the newest history"))?;
        let mut chunks = BTreeMap::new();
        for row in &rows {
            let monitor = id(row.get(0))?;
            let body: &[u8] = row.get(5);
            let checkins = if body.len() < FULL {
                Some(unpack(monitor, body)?)
            } else {
                None
            };
            let open = Open {
                first: row.get(1),
                n: row.get(2),
                until: Time::from_micros(row.get(3)),
                runs: unpack_open(row.get(4))?,
                checkins,
            };
            chunks.insert(monitor, open);
        }
        Ok(chunks)
    }

    async fn write_chunks(
        &mut self,
        said: BTreeMap<MonitorId, Vec<Said>>,
        mut open: BTreeMap<MonitorId, Open>,
    ) -> Result<(), Error> {
        let mut rows = Vec::new();
        for (monitor, said) in said {
            let checkins = said.into_iter().filter_map(|said| match said {
                Said::Checkin(found) => Some(found),
                Said::Paused(_) | Said::Resumed(_) => None,
            });
            append(
                monitor,
                open.remove(&monitor),
                checkins.collect(),
                &mut rows,
            );
        }
        for rows in rows.chunks(CHUNKS) {
            let mut query = sql::Builder::new(
                "INSERT INTO history_chunk (monitor_id, first, n, failures, from_at, until_at, open_runs, body) ",
            );
            query.push_values(rows, |values, row| {
                values
                    .push_bind(i64::from(row.monitor))
                    .push_bind(row.first)
                    .push_bind(row.n)
                    .push_bind(row.failures)
                    .push_bind(row.from.as_micros())
                    .push_bind(row.until.as_micros())
                    .push_bind(&row.open_runs)
                    .push_bind(&row.body);
            });
            query.push(
                " ON CONFLICT (monitor_id, first) DO UPDATE SET n = excluded.n, failures = excluded.failures,
                 from_at = excluded.from_at, until_at = excluded.until_at, open_runs = excluded.open_runs, body = excluded.body",
            );
            query
                .build()
                .execute(self.connection())
                .await
                .map_err(Error::attempted("write history"))?;
        }
        Ok(())
    }

    /// A pause ends with the first check-in after it was resumed: only then somebody can tell again.
    async fn pauses(&mut self, said: &BTreeMap<MonitorId, Vec<Said>>) -> Result<(), Error> {
        let attempted = || Error::attempted("write when a monitor was paused");
        let paused = sql::query(
            "SELECT monitor_id FROM history_pause WHERE until_at IS NULL
             AND monitor_id IN (SELECT value FROM json_each($1))",
        )
        .bind(list(said.keys().copied()))
        .fetch_all(self.connection())
        .await
        .map_err(attempted())?;
        let paused: BTreeSet<i64> = paused.iter().map(|row| row.get(0)).collect();
        for (monitor, said) in said {
            let monitor = i64::from(*monitor);
            let says_so = |said: &Said| !matches!(said, Said::Checkin(_));
            if !paused.contains(&monitor) && !said.iter().any(says_so) {
                continue;
            }
            for said in said {
                let (statement, at) = match said {
                    Said::Paused(at) => (
                        "INSERT INTO history_pause (monitor_id, from_at) SELECT $1, $2 WHERE NOT EXISTS
                         (SELECT 1 FROM history_pause WHERE monitor_id = $1 AND resumed_at IS NULL AND until_at IS NULL)
                         ON CONFLICT (monitor_id, from_at) DO NOTHING",
                        *at,
                    ),
                    Said::Resumed(at) => (
                        "UPDATE history_pause SET resumed_at = $2 WHERE monitor_id = $1 AND resumed_at IS NULL AND until_at IS NULL",
                        *at,
                    ),
                    Said::Checkin(found) => (
                        "UPDATE history_pause SET until_at = $2 WHERE monitor_id = $1 AND resumed_at <= $2 AND until_at IS NULL",
                        found.record.checkin.at,
                    ),
                };
                sql::query(statement)
                    .bind(monitor)
                    .bind(at.as_micros())
                    .execute(self.connection())
                    .await
                    .map_err(attempted())?;
            }
        }
        Ok(())
    }

    async fn forget_deleted(&mut self, ids: &[MonitorId]) -> Result<(), Error> {
        if ids.is_empty() {
            return Ok(());
        }
        for statement in [
            "DELETE FROM history_chunk WHERE monitor_id IN (SELECT value FROM json_each($1))",
            "DELETE FROM history_pause WHERE monitor_id IN (SELECT value FROM json_each($1))",
            "DELETE FROM history_hours WHERE monitor_id IN (SELECT value FROM json_each($1))",
            "DELETE FROM history_days WHERE monitor_id IN (SELECT value FROM json_each($1))",
        ] {
            sql::query(statement)
                .bind(list(ids.iter().copied()))
                .execute(self.connection())
                .await
                .map_err(Error::attempted("forget a deleted monitor's history"))?;
        }
        Ok(())
    }

    async fn move_position(&mut self, reached: &BTreeMap<i64, i64>) -> Result<(), Error> {
        if reached.is_empty() {
            return Ok(());
        }
        let mut query = sql::Builder::new("INSERT INTO history_position (stream, seq) ");
        query.push_values(reached, |values, (stream, seq)| {
            values.push_bind(stream).push_bind(seq);
        });
        query.push(" ON CONFLICT (stream) DO UPDATE SET seq = excluded.seq");
        query
            .build()
            .execute(self.connection())
            .await
            .map_err(Error::attempted("write how far history has come"))?;
        Ok(())
    }
}

/// By stamp, each stream in its order; where one has more than was read, later rows of the others wait for it. Answers
/// whether nothing waits.
fn merge(rows: &mut Vec<Row>) -> bool {
    let mut read: BTreeMap<i64, (i64, Time)> = BTreeMap::new();
    let mut stamped: Vec<(Time, Row)> = Vec::with_capacity(rows.len());
    for row in rows.drain(..) {
        let (count, at) = read.entry(row.stream).or_insert((0, row.at));
        (*count, *at) = (*count + 1, row.at.max(*at));
        stamped.push((*at, row));
    }
    let unfinished = read.values().filter(|(count, _)| *count >= ROWS);
    let horizon = unfinished.map(|(_, at)| *at).min();
    if let Some(horizon) = horizon {
        stamped.retain(|(at, _)| *at <= horizon);
    }
    stamped.sort_by_key(|(at, _)| *at);
    rows.extend(stamped.into_iter().map(|(_, row)| row));
    horizon.is_none()
}

/// The check-ins of a row with their places in it.
pub(super) fn found_in(position: Position, records: Vec<CheckinRecord>) -> Vec<FoundCheckin> {
    let mut seen: BTreeMap<MonitorId, u32> = BTreeMap::new();
    records
        .into_iter()
        .map(|record| {
            let next = seen.entry(record.monitor).or_default();
            let index = *next;
            *next += 1;
            FoundCheckin {
                position,
                index,
                record: CheckinRecord {
                    previous: Position::NONE,
                    ..record
                },
                duration: None,
            }
        })
        .collect()
}

fn command_says(
    command: Command,
    said: &mut BTreeMap<MonitorId, Vec<Said>>,
    deleted: &mut Vec<MonitorId>,
) {
    let Some(monitor) = command.monitor else {
        return;
    };
    match command.action {
        Action::Pause => said
            .entry(monitor)
            .or_default()
            .push(Said::Paused(command.at)),
        Action::Resume => said
            .entry(monitor)
            .or_default()
            .push(Said::Resumed(command.at)),
        Action::Delete => deleted.push(monitor),
        _ => {}
    }
}

/// Puts new check-ins behind those of the newest chunk, and makes further ones where that is full.
fn append(
    monitor: MonitorId,
    open: Option<Open>,
    new: Vec<FoundCheckin>,
    rows: &mut Vec<ChunkRow>,
) {
    if new.is_empty() {
        return;
    }
    let (mut first, mut until, mut runs, mut all) = match open {
        None => (1, Time::MIN, OpenRuns::default(), Vec::new()),
        Some(open) => match open.checkins {
            Some(checkins) => (open.first, open.until, open.runs, checkins),
            None => (open.first + open.n, open.until, open.runs, Vec::new()),
        },
    };
    for mut found in new {
        let checkin = found.record.checkin;
        found.duration = runs
            .checkin(checkin)
            .map(|started| checkin.at.since(started));
        all.push(found);
    }
    // A row of another replica may come a moment after later ones.
    all.sort_by_key(FoundCheckin::place);
    let open_runs = pack_open(&runs);
    let mut packer = ChunkPacker::new();
    let (mut n, mut failures, mut from) = (0, 0, Time::NEVER);
    let mut left = all.iter().peekable();
    while let Some(found) = left.next() {
        let checkin = found.record.checkin;
        packer.push(found);
        n += 1;
        failures += i64::from(matches!(checkin.signal, Signal::Fail | Signal::Exit(1..)));
        from = from.min(checkin.at);
        until = until.max(checkin.at);
        if packer.is_full() || left.peek().is_none() {
            let full = std::mem::replace(&mut packer, ChunkPacker::new());
            rows.push(ChunkRow {
                monitor,
                first,
                n,
                failures,
                from,
                until,
                // Those of the newest count.
                open_runs: open_runs.clone(),
                body: full.finish(),
            });
            first += n;
            (n, failures, from) = (0, 0, Time::NEVER);
        }
    }
}

pub(super) fn position(stream: i64, seq: i64) -> Position {
    Position::new(
        u32::try_from(stream).unwrap_or_default(),
        seq.cast_unsigned(),
    )
}

pub(super) fn id(id: i64) -> Result<MonitorId, Error> {
    u32::try_from(id).map_err(|_| Error::Corrupt("a monitor's number is too large"))
}

/// Numbers as a JSON list.
pub(super) fn list(ids: impl Iterator<Item = MonitorId>) -> String {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    format!("[{}]", ids.join(","))
}
