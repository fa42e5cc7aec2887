//! How far the monitors of each group are folded, and how much waits for that.

use systole_core::engine::MonitorId;
use systole_core::time::Time;

use super::block::{batch_at, place};
use crate::{Error, Session, sql};

/// A row of `history_group`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) id: i64,
    /// The last batch that is folded, for all of its monitors.
    pub(super) folded: i64,
    /// The same for the monitors before `next`.
    pub(super) folding: i64,
    /// The first monitor that is not folded up to `folding`; 0 while none is.
    pub(super) next: i64,
    /// The oldest batch that is not folded.
    pub(super) since: i64,
    /// How many blocks are not.
    pub(super) blocks: i64,
}

/// What a group may hold at most before it is folded.
pub(super) struct Limits {
    pub(super) blocks: i64,
    pub(super) checkins: i64,
    pub(super) bytes: i64,
    pub(super) batches: i64,
}

impl Group {
    const COLUMNS: &str = "id, folded, folding, next, since, blocks";

    fn of(row: &sql::Row) -> Group {
        Group {
            id: row.get(0),
            folded: row.get(1),
            folding: row.get(2),
            next: row.get(3),
            since: row.get(4),
            blocks: row.get(5),
        }
    }

    /// The last batch that is folded, for this monitor.
    pub(super) fn folded_for(&self, monitor: MonitorId) -> i64 {
        if i64::from(monitor) < self.next {
            self.folding
        } else {
            self.folded
        }
    }
}

impl Session<'_> {
    /// The newest batch; 0 before the first.
    pub(super) async fn newest_batch(&mut self) -> Result<i64, Error> {
        let row = sql::query("SELECT newest FROM history_batch WHERE id = 1")
            .fetch_optional(self.connection())
            .await
            .map_err(Error::attempted("look for the newest batch of history"))?;
        Ok(row.map_or(0, |row| row.get(0)))
    }

    /// One group, if anything was ever said of it.
    pub(super) async fn group(&mut self, id: i64) -> Result<Option<Group>, Error> {
        self.one_group("id = $1", &[id]).await
    }

    /// Of the groups that hold so many blocks, check-ins or bytes, or something that is so many batches old, the one that has waited
    /// longest.
    pub(super) async fn full_group(&mut self, limits: &Limits) -> Result<Option<Group>, Error> {
        let newest = self.newest_batch().await?;
        self.one_group(
            "blocks >= $1 OR checkins >= $2 OR bytes >= $3 OR (blocks > 0 AND since <= $4) ORDER BY since, id LIMIT 1",
            &[
                limits.blocks,
                limits.checkins,
                limits.bytes,
                newest - limits.batches,
            ],
        )
        .await
    }

    /// One in which something waits that is older than that.
    pub(super) async fn group_before(&mut self, at: Time) -> Result<Option<Group>, Error> {
        self.one_group(
            "blocks > 0 AND from_at < $1 ORDER BY id LIMIT 1",
            &[at.as_micros()],
        )
        .await
    }

    async fn one_group(&mut self, which: &str, values: &[i64]) -> Result<Option<Group>, Error> {
        let text = format!("SELECT {} FROM history_group WHERE {which}", Group::COLUMNS);
        let query = values.iter().fold(sql::query(text), sql::Query::bind);
        let row = query
            .fetch_optional(self.connection())
            .await
            .map_err(Error::attempted("see what of history is to be folded"))?;
        Ok(row.as_ref().map(Group::of))
    }

    /// The blocks of a group from one batch to another, the oldest first.
    pub(super) async fn blocks(
        &mut self,
        group: i64,
        from: i64,
        until: i64,
    ) -> Result<Vec<Vec<u8>>, Error> {
        let rows = sql::query(
            "SELECT body FROM history_block WHERE place IN (SELECT value FROM json_each($1)) ORDER BY place",
        )
        .bind(places(group, from, until))
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read blocks of history"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The last batch, up to `until`, with which the blocks of a group from `from` on come to so many bytes.
    pub(super) async fn batch_with(
        &mut self,
        group: i64,
        from: i64,
        until: i64,
        bytes: i64,
    ) -> Result<i64, Error> {
        let rows = sql::query(
            "SELECT place, CAST(length(body) AS BIGINT) FROM history_block
             WHERE place IN (SELECT value FROM json_each($1)) ORDER BY place",
        )
        .bind(places(group, from, until))
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("measure blocks of history"))?;
        let mut left = bytes;
        for row in &rows {
            left -= row.get::<i64>(1);
            if left <= 0 {
                return Ok(batch_at(row.get(0)));
            }
        }
        Ok(until)
    }
}

/// Where the blocks of a group stand, as a JSON list.
fn places(group: i64, from: i64, until: i64) -> String {
    let places: Vec<String> = (from..=until)
        .map(|batch| place(batch, group).to_string())
        .collect();
    format!("[{}]", places.join(","))
}
