//! Writing: from the log, in batches, with the position in the same transaction.
//!
//! What a batch says is read and packed before the writer is asked for, so that check-ins wait for its rows alone. It stands
//! in blocks by group until it is folded ([`super::fold`]).

use std::collections::BTreeMap;

use systole_core::engine::{Action, Command, MonitorId, Position};
use systole_core::time::Time;

use super::FoundCheckin;
use super::block::{group_of, pack, place};
use crate::lease::fence;
use crate::log::{BATCH, COMMANDS};
use crate::record::{CheckinRecord, unpack_checkins, unpack_commands};
use crate::{Error, Session, Store, sql};

/// Rows of each stream that are looked at for one batch.
const ROWS: i64 = 1_000;
/// A batch ends with the row that brings it to so many check-ins or bytes: whoever appends waits for it.
const CHECKINS: usize = 20_000;
const BYTES: usize = 4 << 20;
/// Rows of one statement.
const INSERTED: usize = 500;

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

/// What begins or ends a pause.
#[derive(Clone, Copy)]
enum Said {
    Paused(Time),
    Resumed(Time),
    /// The first one after that.
    Checkin(Time),
}

/// When a monitor was resumed of which nothing was heard since, perhaps more than once.
#[derive(Clone, Copy)]
struct Resumed {
    first: Time,
    last: Time,
}

/// What they say of one group.
struct Block {
    group: i64,
    checkins: usize,
    from: Time,
    body: Vec<u8>,
}

impl Block {
    fn of(group: i64, mut all: Vec<FoundCheckin>) -> Block {
        // Those of one monitor stay as they happened.
        all.sort_by_key(|found| found.record.monitor);
        let times = all.iter().map(|found| found.record.checkin.at);
        Block {
            group,
            checkins: all.len(),
            from: times.min().unwrap_or(Time::NEVER),
            body: pack(group, &all),
        }
    }
}

/// What the next rows of the log say.
struct Batch {
    /// Its number.
    number: i64,
    blocks: Vec<Block>,
    /// In the order in which it happened.
    pauses: Vec<(MonitorId, Said)>,
    deleted: Vec<MonitorId>,
    /// How far it goes, per stream.
    reached: BTreeMap<i64, i64>,
    written: Written,
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
        let mut reading = self.snapshot().await?;
        let read = reading.next_batch().await;
        let batch = reading.end(read).await?;
        drop(reading);
        if batch.reached.is_empty() {
            return Ok(batch.written);
        }
        let mut session = self.session().await?;
        // What a crash takes along is written again: the log still has it.
        session.relaxed().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        let done = session.write_batch(&batch).await;
        session.end(done).await?;
        Ok(batch.written)
    }
}

impl Session<'_> {
    async fn next_batch(&mut self) -> Result<Batch, Error> {
        let (rows, drained) = self.unwritten().await?;
        let bodies = self.bodies(&rows).await?;
        let mut batch = Batch {
            number: self.newest_batch().await? + 1,
            blocks: Vec::new(),
            pauses: Vec::new(),
            deleted: Vec::new(),
            reached: BTreeMap::new(),
            written: Written {
                checkins: 0,
                drained,
            },
        };
        let mut resumed = self.resumed().await?;
        let mut groups: BTreeMap<i64, Vec<FoundCheckin>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            breathe(index).await;
            batch.reached.insert(row.stream, row.seq);
            let body = bodies
                .get(&(row.stream, row.seq))
                .ok_or(Error::Corrupt("a row of the log is missing"))?;
            match row.kind {
                BATCH => {
                    let position = position(row.stream, row.seq);
                    for found in found_in(position, unpack_checkins(body, row.at)?) {
                        let monitor = found.record.monitor;
                        let at = found.record.checkin.at;
                        if let Some(Resumed { first, last }) = resumed.get(&monitor).copied()
                            && first <= at
                        {
                            batch.pauses.push((monitor, Said::Checkin(at)));
                            if last <= at {
                                resumed.remove(&monitor);
                            }
                        }
                        groups.entry(group_of(monitor)).or_default().push(found);
                        batch.written.checkins += 1;
                    }
                }
                COMMANDS => {
                    for command in unpack_commands(body)? {
                        command_says(&command, &mut resumed, &mut batch);
                    }
                }
                _ => {}
            }
        }
        for (index, (group, all)) in groups.into_iter().enumerate() {
            breathe(index).await;
            batch.blocks.push(Block::of(group, all));
        }
        Ok(batch)
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
            }
            bytes += row.bytes;
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

    /// Those that were resumed and have said nothing since, with when that was.
    async fn resumed(&mut self) -> Result<BTreeMap<MonitorId, Resumed>, Error> {
        let rows = sql::query(
            "SELECT monitor_id, MIN(resumed_at), MAX(resumed_at) FROM history_pause WHERE until_at IS NULL AND resumed_at IS NOT NULL
             GROUP BY monitor_id",
        )
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read which monitors were resumed"))?;
        rows.iter()
            .map(|row| {
                let (first, last) = (row.get(1), row.get(2));
                let [first, last] = [first, last].map(Time::from_micros);
                Ok((id(row.get(0))?, Resumed { first, last }))
            })
            .collect()
    }

    async fn write_batch(&mut self, batch: &Batch) -> Result<(), Error> {
        self.count_batch(batch.number).await?;
        self.forget_deleted(&batch.deleted).await?;
        for blocks in batch.blocks.chunks(INSERTED) {
            self.write_blocks(batch.number, blocks).await?;
            self.count_blocks(batch.number, blocks).await?;
        }
        self.pauses(&batch.pauses).await?;
        self.move_position(&batch.reached).await
    }

    /// Whoever has read the same rows meanwhile has written them.
    async fn count_batch(&mut self, number: i64) -> Result<(), Error> {
        let counted = sql::query(
            "INSERT INTO history_batch (id, newest) VALUES (1, $1)
             ON CONFLICT (id) DO UPDATE SET newest = excluded.newest WHERE history_batch.newest = excluded.newest - 1",
        )
        .bind(number)
        .execute(self.connection())
        .await
        .map_err(Error::attempted("count a batch of history"))?;
        if counted.rows_affected() == 1 {
            Ok(())
        } else {
            Err(Error::Fenced)
        }
    }

    async fn write_blocks(&mut self, batch: i64, blocks: &[Block]) -> Result<(), Error> {
        let mut query = sql::Builder::new("INSERT INTO history_block (place, body) ");
        query.push_values(blocks, |values, block| {
            values
                .push_bind(place(batch, block.group))
                .push_bind(&block.body);
        });
        query
            .build()
            .execute(self.connection())
            .await
            .map_err(Error::attempted("write history"))?;
        Ok(())
    }

    async fn count_blocks(&mut self, batch: i64, blocks: &[Block]) -> Result<(), Error> {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let mut query = sql::Builder::new(
            "INSERT INTO history_group (id, folded, folding, next, since, blocks, checkins, bytes, from_at) ",
        );
        query.push_values(blocks, |values, block| {
            values
                .push_bind(block.group)
                .push_bind(0_i64)
                .push_bind(0_i64)
                .push_bind(0_i64)
                .push_bind(batch)
                .push_bind(1_i64)
                .push_bind(number(block.checkins))
                .push_bind(number(block.body.len()))
                .push_bind(block.from.as_micros());
        });
        query.push(
            " ON CONFLICT (id) DO UPDATE SET blocks = history_group.blocks + 1,
             checkins = history_group.checkins + excluded.checkins, bytes = history_group.bytes + excluded.bytes,
             since = CASE WHEN history_group.blocks = 0 THEN excluded.since ELSE history_group.since END,
             from_at = CASE WHEN history_group.blocks = 0 OR excluded.from_at < history_group.from_at
             THEN excluded.from_at ELSE history_group.from_at END",
        );
        query
            .build()
            .execute(self.connection())
            .await
            .map_err(Error::attempted("count history"))?;
        Ok(())
    }

    /// A pause ends with the first check-in after it was resumed: only then somebody can tell again.
    async fn pauses(&mut self, said: &[(MonitorId, Said)]) -> Result<(), Error> {
        for (monitor, said) in said {
            let (statement, at) = match *said {
                Said::Paused(at) => (
                    "INSERT INTO history_pause (monitor_id, from_at) SELECT id, $2 FROM monitor WHERE id = $1 AND NOT EXISTS
                     (SELECT 1 FROM history_pause WHERE monitor_id = $1 AND resumed_at IS NULL AND until_at IS NULL)
                     ON CONFLICT (monitor_id, from_at) DO NOTHING",
                    at,
                ),
                Said::Resumed(at) => (
                    "UPDATE history_pause SET resumed_at = $2 WHERE monitor_id = $1 AND resumed_at IS NULL AND until_at IS NULL",
                    at,
                ),
                Said::Checkin(at) => (
                    "UPDATE history_pause SET until_at = $2 WHERE monitor_id = $1 AND resumed_at <= $2 AND until_at IS NULL",
                    at,
                ),
            };
            sql::query(statement)
                .bind(i64::from(*monitor))
                .bind(at.as_micros())
                .execute(self.connection())
                .await
                .map_err(Error::attempted("write when a monitor was paused"))?;
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

/// Lets whoever waits for the processor have it, now and then: packing twenty thousand check-ins takes some ten milliseconds, and a
/// check-in that comes in meanwhile waits for its answer.
pub(super) async fn breathe(step: usize) {
    if step % 16 == 15 {
        tokio::task::yield_now().await;
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

fn command_says(command: &Command, resumed: &mut BTreeMap<MonitorId, Resumed>, batch: &mut Batch) {
    let (Some(monitor), at) = (command.monitor, command.at) else {
        return;
    };
    match command.action {
        Action::Pause => batch.pauses.push((monitor, Said::Paused(at))),
        Action::Resume => {
            let resumed = resumed.entry(monitor).or_insert(Resumed {
                first: at,
                last: at,
            });
            resumed.last = at;
            batch.pauses.push((monitor, Said::Resumed(at)));
        }
        Action::Delete => batch.deleted.push(monitor),
        _ => {}
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
