//! Folding: from blocks of a group into the chunks of its monitors, once there is enough for that.
//!
//! A monitor's newest chunk is a page of the database for each time that it is written anew. So it is done for many check-ins at
//! once; and for all before an hour is rolled up, which reads chunks alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use systole_core::engine::MonitorId;
use systole_core::heartbeat::Signal;
use systole_core::history::OpenRuns;
use systole_core::time::{Span, Time};

use super::FoundCheckin;
use super::block::{batch_at, members, place, unpack as unpack_block};
use super::chunk::{ChunkPacker, FULL, pack_open, unpack, unpack_open};
use super::groups::{Group, Limits};
use super::write::{breathe, id, list};
use crate::lease::fence;
use crate::{Error, Session, Store, sql};

/// When a group is folded: with sixteen check-ins for each of its monitors, if there are so many; or before whoever reads has too
/// much to look through.
const FULL_GROUP: Limits = Limits {
    blocks: 1_000,
    checkins: 16 * 1_024,
    bytes: 8 << 20,
    batches: 2_000,
};
/// So much of it is folded at once: it is in memory meanwhile. One batch more may come on top.
const BYTES: i64 = 2 << 20;
/// Monitors of one transaction: whoever appends waits for it.
const MONITORS: usize = 128;
/// Chunks of one statement.
const INSERTED: usize = 500;
/// Batches that one transaction drops.
const DROPPED: i64 = 4;
/// Of hours that were rolled up those are rolled up anew for what comes later that are no older than that.
const LATE: Span = Span::from_seconds(24 * 3_600);

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

/// Monitors that are folded together.
struct Part {
    /// The first monitor that is not among them.
    next: i64,
    checkins: i64,
    chunks: Vec<ChunkRow>,
    /// When the first of each monitor's check-ins was received.
    first: BTreeMap<MonitorId, Time>,
}

/// What folding a group makes of it.
struct Folded {
    group: Group,
    /// The last batch that is folded then.
    until: i64,
    blocks: i64,
    bytes: i64,
    parts: Vec<Part>,
}

impl Store {
    /// Folds what there is of a group, if one holds enough, as the holder of `epoch`. Answers whether it did.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken over; after anything else the next call goes on where it ended.
    pub async fn fold_history(&self, epoch: i64) -> Result<bool, Error> {
        let mut session = self.snapshot().await?;
        let found = session.full_group(&FULL_GROUP).await;
        let group = session.end(found).await?;
        drop(session);
        match group {
            Some(group) => self.fold(epoch, group).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Folds a group of which something waits that is older than `at`. Answers whether there was one.
    pub(super) async fn fold_before(&self, epoch: i64, at: Time) -> Result<bool, Error> {
        let mut session = self.snapshot().await?;
        let found = session.group_before(at).await;
        let group = session.end(found).await?;
        drop(session);
        match group {
            Some(group) => self.fold(epoch, group).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// In several transactions, between which others have the writer.
    async fn fold(&self, epoch: i64, group: Group) -> Result<(), Error> {
        let mut session = self.snapshot().await?;
        let read = session.folded(group).await;
        let mut folded = session.end(read).await?;
        drop(session);
        let parts = std::mem::take(&mut folded.parts);
        let last = parts.len().saturating_sub(1);
        for (index, part) in parts.iter().enumerate() {
            let mut session = self.session().await?;
            session.relaxed().await?;
            session.begin().await?;
            fence(&mut session, epoch).await?;
            let done = session.write_part(&mut folded, part, index == last).await;
            session.end(done).await?;
        }
        Ok(())
    }

    /// Drops the oldest batches of which every block is folded, as the holder of `epoch`. Answers whether there were any.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken over, or what the database says.
    pub async fn drop_folded(&self, epoch: i64) -> Result<bool, Error> {
        let attempted = || Error::attempted("drop blocks of history that are folded");
        let row = sql::query(
            "SELECT (SELECT MIN(place) FROM history_block), (SELECT newest FROM history_batch WHERE id = 1),
             (SELECT MIN(since) FROM history_group WHERE blocks > 0)",
        )
        .fetch_one(self.readers())
        .await
        .map_err(attempted())?;
        let (Some(oldest), Some(newest)) = (row.get::<Option<i64>>(0), row.get::<Option<i64>>(1))
        else {
            return Ok(false);
        };
        let needed = row.get::<Option<i64>>(2).unwrap_or(newest + 1);
        let oldest = batch_at(oldest);
        if oldest >= needed {
            return Ok(false);
        }
        let mut session = self.session().await?;
        session.relaxed().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        let dropped = sql::query("DELETE FROM history_block WHERE place < $1")
            .bind(place(needed.min(oldest + DROPPED), 0))
            .execute(session.connection())
            .await
            .map_err(attempted());
        session.end(dropped).await.map(|_| true)
    }
}

impl Session<'_> {
    /// Reads what there is to fold, and makes chunks of it.
    async fn folded(&mut self, group: Group) -> Result<Folded, Error> {
        let members = members(group.id);
        let (until, first) = if group.next > 0 {
            (group.folding, group.next)
        } else {
            (self.newest_batch().await?, (*members.start()).into())
        };
        let left = id(first)?..=*members.end();
        let until = if group.next > 0 {
            until
        } else {
            self.batch_with(group.id, group.since, until, BYTES).await?
        };
        let bodies = self.blocks(group.id, group.since, until).await?;
        let mut new: BTreeMap<MonitorId, Vec<FoundCheckin>> = BTreeMap::new();
        for (index, body) in bodies.iter().enumerate() {
            breathe(index).await;
            for found in unpack_block(group.id, body, &left)? {
                new.entry(found.record.monitor).or_default().push(found);
            }
        }
        let known = self.known_monitors(&left).await?;
        let mut open = self.open_chunks(new.keys().copied()).await?;
        let mut parts = Vec::new();
        let mut new = new.into_iter().peekable();
        loop {
            let mut part = Part {
                next: i64::from(*members.end()) + 1,
                checkins: 0,
                chunks: Vec::new(),
                first: BTreeMap::new(),
            };
            for (index, (monitor, all)) in new.by_ref().take(MONITORS).enumerate() {
                breathe(index).await;
                part.checkins += i64::try_from(all.len()).unwrap_or(i64::MAX);
                // One that was deleted since has no history to go to.
                if known.contains(&monitor) {
                    let times = all.iter().map(|found| found.record.checkin.at);
                    part.first.extend(times.min().map(|at| (monitor, at)));
                    append(monitor, open.remove(&monitor), all, &mut part.chunks);
                }
            }
            if let Some((next, _)) = new.peek() {
                part.next = (*next).into();
                parts.push(part);
            } else {
                parts.push(part);
                break;
            }
        }
        Ok(Folded {
            group,
            until,
            blocks: i64::try_from(bodies.len()).unwrap_or(i64::MAX),
            bytes: bodies
                .iter()
                .map(|body| i64::try_from(body.len()).unwrap_or(i64::MAX))
                .sum(),
            parts,
        })
    }

    /// Writes a part, with how far the group is folded by that.
    async fn write_part(
        &mut self,
        folded: &mut Folded,
        part: &Part,
        is_last: bool,
    ) -> Result<(), Error> {
        let before = folded.group;
        let mut group = before;
        let (mut blocks, mut bytes) = (0, 0);
        (group.folding, group.next) = (folded.until, part.next);
        if is_last {
            (group.folded, group.next, group.since) = (folded.until, 0, folded.until + 1);
            (blocks, bytes) = (folded.blocks, folded.bytes);
        }
        let moved = sql::query(
            "UPDATE history_group SET folded = $1, folding = $2, next = $3, since = $4, blocks = blocks - $5,
             checkins = checkins - $6, bytes = bytes - $7 WHERE id = $8 AND folded = $9 AND next = $10",
        )
        .bind(group.folded)
        .bind(group.folding)
        .bind(group.next)
        .bind(group.since)
        .bind(blocks)
        .bind(part.checkins)
        .bind(bytes)
        .bind(group.id)
        .bind(before.folded)
        .bind(before.next)
        .execute(self.connection())
        .await
        .map_err(Error::attempted("note how far history is folded"))?;
        if moved.rows_affected() != 1 {
            // Somebody else has folded it meanwhile.
            return Err(Error::Fenced);
        }
        folded.group = group;
        self.write_chunks(&part.chunks).await?;
        self.roll_again(&part.first, LATE).await
    }

    async fn known_monitors(
        &mut self,
        of: &RangeInclusive<MonitorId>,
    ) -> Result<BTreeSet<MonitorId>, Error> {
        let rows = sql::query("SELECT id FROM monitor WHERE id >= $1 AND id <= $2")
            .bind(i64::from(*of.start()))
            .bind(i64::from(*of.end()))
            .fetch_all(self.connection())
            .await
            .map_err(Error::attempted("look for the monitors of check-ins"))?;
        rows.iter().map(|row| id(row.get(0))).collect()
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

    async fn write_chunks(&mut self, rows: &[ChunkRow]) -> Result<(), Error> {
        for rows in rows.chunks(INSERTED) {
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
}

/// Puts new check-ins behind those of the newest chunk, and makes further ones where that is full.
fn append(
    monitor: MonitorId,
    open: Option<Open>,
    new: Vec<FoundCheckin>,
    rows: &mut Vec<ChunkRow>,
) {
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
