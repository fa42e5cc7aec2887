//! Hours and days: rolled up once they are over, and counted as they stand until then.

use std::collections::BTreeMap;

use systole_core::engine::MonitorId;
use systole_core::history::{DAY, Facts, HOUR, Reach, Rollup, rollup};
use systole_core::time::{Span, Time};

use super::rollups::{Rollups, pack, unpack};
use super::write::{id, list};
use crate::lease::fence;
use crate::{Error, Session, Store, sql};

/// Monitors of one transaction.
const MONITORS: i64 = 200;
/// An hour is rolled up so long after its end. What is decided later about it is found by its event.
const SETTLED: Span = Span::from_seconds(600);

/// Days of one row.
pub(super) const DAYS: i64 = 32;

/// How long the periods of an answer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// Hours.
    Hour,
    /// Days, in UTC.
    Day,
}

impl Resolution {
    /// How long one is.
    pub const fn length(self) -> Span {
        match self {
            Resolution::Hour => HOUR,
            Resolution::Day => DAY,
        }
    }
}

/// A period of a monitor; the last one is not over yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    /// When it begins.
    pub start: Time,
    /// What is known of it.
    pub rollup: Rollup,
}

/// How far rollups have come.
#[derive(Clone, Copy)]
struct Rolled {
    /// The hours before that are rolled up.
    until: Time,
    /// As the events up to this one tell them.
    event: i64,
    /// Of the next hour the monitors up to this one are; `None` where it is not begun, or was begun for another one.
    monitor: Option<i64>,
}

/// The beginning of the period of `length` that `at` lies in.
pub const fn floor(at: Time, length: Span) -> Time {
    Time::from_micros(at.as_micros().div_euclid(length.as_micros()) * length.as_micros())
}

pub(super) const fn day_number(at: Time) -> i64 {
    at.as_seconds().div_euclid(86_400)
}

const fn hour_of(at: Time) -> u8 {
    (at.as_seconds().div_euclid(3_600).rem_euclid(24)) as u8
}

/// The row of a day, and its place in that.
fn row_of(day: i64) -> (i64, u8) {
    let place = u8::try_from(day.rem_euclid(DAYS)).unwrap_or_default();
    (day.div_euclid(DAYS), place)
}

impl Store {
    /// Goes one step on with the next hour that is over at `read`, up to which the log was written into history, as the holder of
    /// `epoch`: folds what waits of it, then makes hours anew of which something was decided since, then rolls up some monitors.
    /// Answers whether there is more to do.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken over. Done again it makes the same.
    pub async fn roll_history(&self, epoch: i64, read: Time) -> Result<bool, Error> {
        let Some(rolled) = self.rolled_from_the_start().await? else {
            return Ok(false);
        };
        let next = rolled.until + HOUR;
        if next + SETTLED > read {
            return Ok(false);
        }
        if self.fold_before(epoch, next).await? {
            return Ok(true);
        }
        let Some(after) = rolled.monitor else {
            self.begin_hour(epoch, rolled).await?;
            return Ok(true);
        };
        let monitors = self.monitors_after(after).await?;
        let Some(last) = monitors.last() else {
            let event = rolled.event;
            let whole = Rolled {
                until: next,
                event,
                monitor: None,
            };
            self.set_rolled(epoch, whole).await?;
            return Ok(next + HOUR + SETTLED <= read);
        };
        let reached = Rolled {
            monitor: Some(i64::from(*last)),
            ..rolled
        };
        self.roll_hour(epoch, &monitors, reached).await?;
        Ok(true)
    }

    /// What was decided late first: an event after this is found by the next hour.
    async fn begin_hour(&self, epoch: i64, rolled: Rolled) -> Result<(), Error> {
        let event = self.newest_event().await?;
        for (monitor, since) in self.decided_late(rolled, event).await? {
            let mut session = self.session().await?;
            session.relaxed().await?;
            session.begin().await?;
            fence(&mut session, epoch).await?;
            let of_one = BTreeMap::from([(monitor, since)]);
            let done = session.roll_again(&of_one, rolled.until.since(since)).await;
            session.end(done).await?;
        }
        let begun = Rolled {
            event,
            monitor: Some(0),
            ..rolled
        };
        self.set_rolled(epoch, begun).await
    }

    async fn rolled(&self) -> Result<Option<Rolled>, Error> {
        let mut session = self.snapshot().await?;
        let rolled = session.rolled().await;
        session.end(rolled).await
    }

    /// Up to when hours are rolled up.
    pub(super) async fn rolled_until(&self) -> Result<Option<Time>, Error> {
        Ok(self.rolled().await?.map(|rolled| rolled.until))
    }

    /// Where nothing is rolled up yet, from the first check-in on.
    async fn rolled_from_the_start(&self) -> Result<Option<Rolled>, Error> {
        if let Some(rolled) = self.rolled().await? {
            return Ok(Some(rolled));
        }
        let row = sql::query(
            "SELECT (SELECT MIN(from_at) FROM history_chunk), (SELECT MIN(from_at) FROM history_group WHERE blocks > 0)",
        )
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("look for the first check-in"))?;
        let first = [row.get::<Option<i64>>(0), row.get(1)];
        Ok(first.into_iter().flatten().min().map(|first| Rolled {
            until: floor(Time::from_micros(first), HOUR),
            event: 0,
            monitor: None,
        }))
    }

    async fn set_rolled(&self, epoch: i64, rolled: Rolled) -> Result<(), Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        let done = session.set_rolled(rolled).await;
        session.end(done).await
    }

    async fn newest_event(&self) -> Result<i64, Error> {
        let row = sql::query("SELECT COALESCE(MAX(seq), 0) FROM incident_event")
            .fetch_one(self.readers())
            .await
            .map_err(Error::attempted("look for the newest event"))?;
        Ok(row.get(0))
    }

    /// Monitors of which something was decided that reaches back into hours that are rolled up, with since when.
    async fn decided_late(
        &self,
        rolled: Rolled,
        event: i64,
    ) -> Result<Vec<(MonitorId, Time)>, Error> {
        let rows = sql::query(
            "SELECT monitor_id, MIN(at) FROM incident_event WHERE seq > $1 AND seq <= $2 AND at < $3
             AND monitor_id IN (SELECT id FROM monitor) GROUP BY monitor_id ORDER BY monitor_id",
        )
        .bind(rolled.event)
        .bind(event)
        .bind(rolled.until.as_micros())
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("look for what was decided late"))?;
        rows.iter()
            .map(|row| Ok((id(row.get(0))?, Time::from_micros(row.get(1)))))
            .collect()
    }

    pub(super) async fn monitors_after(&self, after: i64) -> Result<Vec<MonitorId>, Error> {
        let rows = sql::query("SELECT id FROM monitor WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(MONITORS)
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("list monitors"))?;
        rows.iter().map(|row| id(row.get(0))).collect()
    }

    /// The next hour of these monitors, and with it how far rollups have come.
    async fn roll_hour(
        &self,
        epoch: i64,
        monitors: &[MonitorId],
        reached: Rolled,
    ) -> Result<(), Error> {
        let hour = reached.until;
        let mut session = self.snapshot().await?;
        let rolled = session.rolled_up(monitors, hour).await;
        let rolled = session.end(rolled).await?;
        drop(session);
        let mut session = self.session().await?;
        session.relaxed().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        let done = async {
            session.write_rollups(hour, &rolled).await?;
            session.set_rolled(reached).await
        }
        .await;
        session.end(done).await
    }

    /// A monitor's periods from `from` to `now`, oldest first. What nothing is known of is unknown.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rollups(
        &self,
        monitor: MonitorId,
        resolution: Resolution,
        from: Time,
        now: Time,
    ) -> Result<Vec<Period>, Error> {
        let length = resolution.length();
        let from = floor(from, length);
        let rolled = self.rolled_until().await?.unwrap_or(Time::MIN).min(now);
        // Days that are not rolled up as a whole are made of their hours.
        let begun = floor(rolled.max(from), length);
        let mut known = match resolution {
            Resolution::Hour => BTreeMap::new(),
            Resolution::Day => self.days(monitor, from, begun).await?,
        };
        let hours_from = match resolution {
            Resolution::Hour => from,
            Resolution::Day => begun,
        };
        let mut hours = self.hours(monitor, hours_from, rolled).await?;
        let live = rolled.max(from);
        let reach = Reach {
            from: live,
            until: now,
        };
        let mut session = self.snapshot().await?;
        let facts = session.facts_until_now(monitor, reach).await;
        let facts = session.end(facts).await?;
        let facts = facts.get(&monitor).cloned().unwrap_or_default();
        let mut start = live;
        while start < now {
            let until = (floor(start, HOUR) + HOUR).min(now);
            hours.insert(start, rollup(Reach { from: start, until }, &facts));
            start = until;
        }
        let mut start = hours_from;
        while start < now {
            let until = (start + HOUR).min(now);
            let hour = hours
                .remove(&start)
                .unwrap_or_else(|| Rollup::unknown(until.since(start)));
            let period = known
                .entry(floor(start, length))
                .or_insert(Rollup::default());
            *period = period.joined(hour);
            start = until;
        }
        let mut periods = Vec::new();
        let mut start = from;
        while start < now {
            let until = (start + length).min(now);
            let rollup = known.remove(&start);
            periods.push(Period {
                start,
                rollup: rollup.unwrap_or_else(|| Rollup::unknown(until.since(start))),
            });
            start = start + length;
        }
        Ok(periods)
    }

    async fn hours(
        &self,
        monitor: MonitorId,
        from: Time,
        until: Time,
    ) -> Result<BTreeMap<Time, Rollup>, Error> {
        let rows = sql::query(
            "SELECT day, body FROM history_hours WHERE monitor_id = $1 AND day >= $2 AND day <= $3",
        )
        .bind(i64::from(monitor))
        .bind(day_number(from))
        .bind(day_number(until))
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read rolled up hours"))?;
        let mut hours = BTreeMap::new();
        for row in &rows {
            let day = Time::from_seconds(row.get::<i64>(0) * 86_400);
            for (index, rollup) in unpack(row.get(1), HOUR)? {
                let start = day + Span::from_seconds(i64::from(index) * 3_600);
                if start >= from && start < until {
                    hours.insert(start, rollup);
                }
            }
        }
        Ok(hours)
    }

    async fn days(
        &self,
        monitor: MonitorId,
        from: Time,
        until: Time,
    ) -> Result<BTreeMap<Time, Rollup>, Error> {
        let rows = sql::query(
            "SELECT days, body FROM history_days WHERE monitor_id = $1 AND days >= $2 AND days <= $3",
        )
        .bind(i64::from(monitor))
        .bind(row_of(day_number(from)).0)
        .bind(row_of(day_number(until)).0)
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read rolled up days"))?;
        let mut blocks: BTreeMap<i64, Rollups> = BTreeMap::new();
        for row in &rows {
            blocks.insert(row.get(0), unpack(row.get(1), DAY)?);
        }
        let mut days = BTreeMap::new();
        let mut start = from;
        while start < until {
            let (block, index) = row_of(day_number(start));
            let found = blocks.get(&block).and_then(|block| block.get(&index));
            if let Some(rollup) = found {
                days.insert(start, *rollup);
            }
            start = start + DAY;
        }
        Ok(days)
    }
}

impl Session<'_> {
    async fn facts_until_now(
        &mut self,
        monitor: MonitorId,
        reach: Reach,
    ) -> Result<BTreeMap<MonitorId, Facts>, Error> {
        let unfolded = self.unfolded(monitor).await?;
        self.facts(&[monitor], reach, &unfolded).await
    }

    async fn rolled(&mut self) -> Result<Option<Rolled>, Error> {
        let row = sql::query(
            "SELECT until_at, event, CASE WHEN hour = until_at THEN monitor END FROM history_rolled WHERE id = 1",
        )
        .fetch_optional(self.connection())
        .await
        .map_err(Error::attempted("read how far rollups have come"))?;
        Ok(row.map(|row| Rolled {
            until: Time::from_micros(row.get(0)),
            event: row.get(1),
            monitor: row.get(2),
        }))
    }

    /// Makes hours anew that were rolled up before something was known that is about them: of these monitors, since when it is about them,
    /// but not of what is older than `limit`.
    pub(super) async fn roll_again(
        &mut self,
        since: &BTreeMap<MonitorId, Time>,
        limit: Span,
    ) -> Result<(), Error> {
        let Some(rolled) = self.rolled().await? else {
            return Ok(());
        };
        let is_rolled = |monitor: MonitorId, hour: Time| {
            let in_progress = rolled
                .monitor
                .is_some_and(|last| i64::from(monitor) <= last);
            hour < rolled.until || (hour == rolled.until && in_progress)
        };
        let mut hours: BTreeMap<Time, Vec<MonitorId>> = BTreeMap::new();
        for (monitor, since) in since {
            let mut hour = floor((*since).max(rolled.until - limit), HOUR);
            while is_rolled(*monitor, hour) {
                hours.entry(hour).or_default().push(*monitor);
                hour = hour + HOUR;
            }
        }
        if hours.is_empty() {
            return Ok(());
        }
        let known = self.known_since(since.keys().copied()).await?;
        for (hour, mut monitors) in hours {
            // Where the check-ins of an hour were forgotten, what was made of them is all that there is.
            monitors.retain(|monitor| known.get(monitor).is_none_or(|since| *since <= hour));
            let again = self.rolled_up(&monitors, hour).await?;
            self.write_rollups(hour, &again).await?;
        }
        Ok(())
    }

    /// Since when all check-ins are kept of monitors of which some were forgotten.
    async fn known_since(
        &mut self,
        ids: impl Iterator<Item = MonitorId>,
    ) -> Result<BTreeMap<MonitorId, Time>, Error> {
        let rows = sql::query(
            "SELECT c.monitor_id, c.first, c.n, c.from_at FROM json_each($1) m JOIN history_chunk c ON c.monitor_id = m.value
             ORDER BY c.monitor_id, c.first",
        )
        .bind(list(ids))
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("look for the oldest check-ins"))?;
        let mut since = BTreeMap::new();
        let mut before = (0, 1);
        for row in &rows {
            let (monitor, first): (i64, i64) = (row.get(0), row.get(1));
            let follows = if monitor == before.0 { before.1 } else { 1 };
            if first != follows {
                since.insert(id(monitor)?, Time::from_micros(row.get(3)));
            }
            before = (monitor, first + row.get::<i64>(2));
        }
        Ok(since)
    }

    /// What an hour was like, as it stands in the chunks of these monitors.
    async fn rolled_up(
        &mut self,
        monitors: &[MonitorId],
        hour: Time,
    ) -> Result<BTreeMap<MonitorId, Rollup>, Error> {
        let period = Reach {
            from: hour,
            until: hour + HOUR,
        };
        let facts = self.facts(monitors, period, &[]).await?;
        let rolled = facts
            .iter()
            .map(|(monitor, facts)| (*monitor, rollup(period, facts)));
        Ok(rolled.collect())
    }

    async fn set_rolled(&mut self, rolled: Rolled) -> Result<(), Error> {
        sql::query(
            "INSERT INTO history_rolled (id, until_at, event, hour, monitor) VALUES (1, $1, $2, $1, $3)
             ON CONFLICT (id) DO UPDATE SET until_at = excluded.until_at, event = excluded.event, hour = excluded.hour,
             monitor = excluded.monitor",
        )
        .bind(rolled.until.as_micros())
        .bind(rolled.event)
        .bind(rolled.monitor)
        .execute(self.connection())
        .await
        .map_err(Error::attempted("write how far rollups have come"))?;
        Ok(())
    }

    /// An hour of these monitors, and with it their day.
    async fn write_rollups(
        &mut self,
        hour: Time,
        rolled: &BTreeMap<MonitorId, Rollup>,
    ) -> Result<(), Error> {
        let day = day_number(hour);
        let (block, place) = row_of(day);
        let mut hours = self
            .packed("history_hours", "day", rolled, day, HOUR)
            .await?;
        let mut days = self
            .packed("history_days", "days", rolled, block, DAY)
            .await?;
        for (monitor, rollup) in rolled {
            let of_day = hours.entry(*monitor).or_default();
            put(of_day, hour_of(hour), *rollup);
            let whole = (0..24)
                .map(|hour| of_day.get(&hour).copied())
                .map(|hour| hour.unwrap_or_else(|| Rollup::unknown(HOUR)))
                .fold(Rollup::default(), Rollup::joined);
            put(days.entry(*monitor).or_default(), place, whole);
        }
        self.write_packed("history_hours", "day", day, &hours)
            .await?;
        self.write_packed("history_days", "days", block, &days)
            .await
    }

    async fn packed(
        &mut self,
        table: &str,
        column: &str,
        of: &BTreeMap<MonitorId, Rollup>,
        number: i64,
        length: Span,
    ) -> Result<BTreeMap<MonitorId, Rollups>, Error> {
        let rows = sql::query(format!(
            "SELECT monitor_id, body FROM {table} WHERE {column} = $2 AND monitor_id IN (SELECT value FROM json_each($1))"
        ))
        .bind(list(of.keys().copied()))
        .bind(number)
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read rollups"))?;
        rows.iter()
            .map(|row| Ok((id(row.get(0))?, unpack(row.get(1), length)?)))
            .collect()
    }

    async fn write_packed(
        &mut self,
        table: &str,
        column: &str,
        number: i64,
        rollups: &BTreeMap<MonitorId, Rollups>,
    ) -> Result<(), Error> {
        // Where nothing was ever known there is nothing to keep.
        let rows: Vec<_> = rollups.iter().filter(|(_, all)| !all.is_empty()).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut query =
            sql::Builder::new(format!("INSERT INTO {table} (monitor_id, {column}, body) "));
        query.push_values(rows, |values, (monitor, all)| {
            values
                .push_bind(i64::from(*monitor))
                .push_bind(number)
                .push_bind(pack(all));
        });
        query.push(&format!(
            " ON CONFLICT (monitor_id, {column}) DO UPDATE SET body = excluded.body"
        ));
        query
            .build()
            .execute(self.connection())
            .await
            .map_err(Error::attempted("write rollups"))?;
        Ok(())
    }
}

/// A period of which nothing is known, and in which nothing happened, takes no place.
fn put(rollups: &mut Rollups, index: u8, rollup: Rollup) {
    if rollup == Rollup::unknown(rollup.length()) {
        rollups.remove(&index);
    } else {
        rollups.insert(index, rollup);
    }
}
