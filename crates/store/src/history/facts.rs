//! What is known of monitors in a period, gathered for rollups.

use std::collections::BTreeMap;

use systole_core::engine::MonitorId;
use systole_core::heartbeat::Signal;
use systole_core::history::{Facts, Heard, Reach};
use systole_core::reason::Reason;
use systole_core::time::Time;

use super::FoundCheckin;
use super::chunk::unpack;
use super::write::{id, list};
use crate::{Error, Session, sql};

/// Where an incident stands while its events are read.
struct Story {
    incident: i64,
    down_since: Option<Time>,
}

pub(super) fn heard(found: &FoundCheckin) -> Heard {
    Heard {
        at: found.record.checkin.at,
        signal: found.record.checkin.signal,
        took: found.duration,
    }
}

impl Session<'_> {
    /// What is known about `monitors` in `period`: from their chunks, and from `unfolded`, which are not in these yet.
    pub(super) async fn facts(
        &mut self,
        monitors: &[MonitorId],
        period: Reach,
        unfolded: &[FoundCheckin],
    ) -> Result<BTreeMap<MonitorId, Facts>, Error> {
        let mut facts: BTreeMap<MonitorId, Facts> = monitors
            .iter()
            .map(|monitor| (*monitor, Facts::default()))
            .collect();
        for found in unfolded {
            if let Some(facts) = facts.get_mut(&found.record.monitor) {
                facts.heard.push(heard(found));
            }
        }
        let ids = list(monitors.iter().copied());
        self.heard(&ids, period, &mut facts).await?;
        self.paused(&ids, period, &mut facts).await?;
        self.told(&ids, period, &mut facts).await?;
        let outages = self.outages_in(period).await?;
        for facts in facts.values_mut() {
            facts.unknown.extend(&outages);
        }
        Ok(facts)
    }

    /// Check-ins, with those of the chunk before, and the time before the very first.
    async fn heard(
        &mut self,
        ids: &str,
        period: Reach,
        facts: &mut BTreeMap<MonitorId, Facts>,
    ) -> Result<(), Error> {
        let rows = sql::query(
            "SELECT c.monitor_id, c.first, c.body FROM json_each($1) m JOIN history_chunk c ON c.monitor_id = m.value
             AND c.first >= COALESCE((SELECT MAX(h.first) FROM history_chunk h WHERE h.monitor_id = m.value
             AND h.until_at < $2), 0) AND c.from_at < $3 ORDER BY c.monitor_id, c.first DESC",
        )
        .bind(ids)
        .bind(period.from.as_micros())
        .bind(period.until.as_micros())
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read history to roll it up"))?;
        let mut oldest: BTreeMap<MonitorId, i64> = BTreeMap::new();
        for row in &rows {
            let monitor = id(row.get(0))?;
            oldest.insert(monitor, row.get(1));
            if let Some(facts) = facts.get_mut(&monitor) {
                let chunk = unpack(monitor, row.get(2))?;
                facts.heard.extend(chunk.iter().map(heard));
            }
        }
        for (monitor, facts) in facts {
            // Older check-ins than the first chunk were dropped, or there are none.
            if oldest.get(monitor).is_some_and(|first| *first > 1) {
                continue;
            }
            let first = facts.heard.iter().map(|heard| heard.at).min();
            facts.unknown.push(Reach {
                from: Time::MIN,
                until: first.unwrap_or(Time::NEVER),
            });
        }
        Ok(())
    }

    async fn paused(
        &mut self,
        ids: &str,
        period: Reach,
        facts: &mut BTreeMap<MonitorId, Facts>,
    ) -> Result<(), Error> {
        let rows = sql::query(
            "SELECT monitor_id, from_at, resumed_at, until_at FROM history_pause WHERE monitor_id IN
             (SELECT value FROM json_each($1)) AND from_at < $3 AND (until_at IS NULL OR until_at > $2)",
        )
        .bind(ids)
        .bind(period.from.as_micros())
        .bind(period.until.as_micros())
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read when monitors were paused"))?;
        for row in &rows {
            let time = |index| row.get::<Option<i64>>(index).map(Time::from_micros);
            let Some(facts) = facts.get_mut(&id(row.get(0))?) else {
                continue;
            };
            // The check-in that ends it may not be written yet.
            let heard_again = || {
                let resumed = time(2)?;
                let after = facts.heard.iter().map(|heard| heard.at);
                after.filter(|at| *at >= resumed).min()
            };
            let until = time(3).or_else(heard_again).unwrap_or(Time::NEVER);
            facts.unknown.push(Reach {
                from: Time::from_micros(row.get(1)),
                until,
            });
        }
        Ok(())
    }

    /// What incidents tell: while one is open it is down.
    async fn told(
        &mut self,
        ids: &str,
        period: Reach,
        facts: &mut BTreeMap<MonitorId, Facts>,
    ) -> Result<(), Error> {
        // Of one that was resolved by hand it is not known whether it is well: the last one counts, however old it is.
        let rows = sql::query(
            "SELECT i.monitor_id, i.id, e.kind, e.at, e.reason FROM incident i JOIN incident_event e ON e.incident_id = i.id
             WHERE i.monitor_id IN (SELECT value FROM json_each($1)) AND e.kind IN ('triggered', 'resolved')
             AND (i.resolved_at IS NULL OR i.resolved_at > $2
             OR i.id = (SELECT MAX(j.id) FROM incident j WHERE j.monitor_id = i.monitor_id)) ORDER BY e.seq",
        )
        .bind(ids)
        .bind(period.from.as_micros())
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read incidents to roll them up"))?;
        let mut stories: BTreeMap<MonitorId, Story> = BTreeMap::new();
        let mut by_hand: Vec<(MonitorId, Time)> = Vec::new();
        for row in &rows {
            let monitor = id(row.get(0))?;
            let (incident, at) = (row.get(1), Time::from_micros(row.get(3)));
            let (kind, reason): (&str, &str) = (row.get(2), row.get(4));
            let Some(facts) = facts.get_mut(&monitor) else {
                continue;
            };
            let story = stories.entry(monitor).or_insert(Story {
                incident,
                down_since: None,
            });
            if story.incident != incident {
                (story.incident, story.down_since) = (incident, None);
            }
            if kind == "triggered" {
                story.down_since = Some(at);
                count(facts, at, reason);
                by_hand.retain(|(of, since)| *of != monitor || *since > at);
            } else if let Some(from) = story.down_since.take() {
                facts.down.push(Reach { from, until: at });
                if reason == Reason::ByHand.word() {
                    by_hand.push((monitor, at));
                }
            }
        }
        for (monitor, story) in stories {
            if let (Some(from), Some(facts)) = (story.down_since, facts.get_mut(&monitor)) {
                facts.down.push(Reach {
                    from,
                    until: Time::NEVER,
                });
            }
        }
        for (monitor, from) in by_hand {
            if let Some(facts) = facts.get_mut(&monitor) {
                let well = facts.heard.iter().filter(|heard| {
                    heard.at >= from && matches!(heard.signal, Signal::Success | Signal::Exit(0))
                });
                let until = well.map(|heard| heard.at).min().unwrap_or(Time::NEVER);
                facts.unknown.push(Reach { from, until });
            }
        }
        Ok(())
    }

    async fn outages_in(&mut self, period: Reach) -> Result<Vec<Reach>, Error> {
        let rows = sql::query("SELECT g0, g1 FROM outage WHERE g1 > $1 AND g0 < $2")
            .bind(period.from.as_micros())
            .bind(period.until.as_micros())
            .fetch_all(self.connection())
            .await
            .map_err(Error::attempted("read outages to roll them up"))?;
        let reach = |row: &sql::Row| Reach {
            from: Time::from_micros(row.get(0)),
            until: Time::from_micros(row.get(1)),
        };
        Ok(rows.iter().map(reach).collect())
    }
}

fn count(facts: &mut Facts, at: Time, reason: &str) {
    let silence = [
        Reason::MissedDeadline,
        Reason::MissedStart,
        Reason::UnheardSinceOutage,
    ];
    if silence.iter().any(|silence| silence.word() == reason) {
        facts.missed.push(at);
    } else if reason == Reason::Overran.word() {
        facts.overran.push(at);
    }
}
