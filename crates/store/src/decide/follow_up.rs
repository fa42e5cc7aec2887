//! What is said beside the engine's news: reminders, deliveries that died, and what a maintenance window held back.
//!
//! Nothing here is planned ahead: it follows from what was persisted, so a crash forgets nothing and an edited channel is
//! obeyed at once. It is written in a deciding transaction, under the fence, so that nothing is said twice.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use systole_core::delivery::digest::Place;
use systole_core::delivery::reminder::{self, Told};
use systole_core::maintenance::Windows;
use systole_core::message::{MessageKind, Occasion};
use systole_core::reason::Reason;
use systole_core::time::{Span, Time};

use super::outbox::{Destination, Held};
use super::recent::digest_name;
use super::{CHUNK, Deciding};
use crate::deliveries::{PENDING, SUPERSEDED};
use crate::monitors::{number, read_labels};
use crate::occasion::{occasion_text, read_occasion};
use crate::{Error, Store, sql};

/// Deaths that are told by one transaction; the rest is told by the next.
const DEATHS_MAX: i64 = 1_000;

/// How many entries were added to timelines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowedUp {
    /// Incidents that were said again.
    pub reminders: usize,
    /// Dead deliveries that were told, or for which no system channel is there.
    pub deaths: usize,
    /// Messages that a maintenance window held back and that go now, or need not go any more.
    pub released: usize,
    /// Messages that another window holds back further.
    pub held_on: usize,
}

/// A delivery that was given up and not yet told.
struct Death {
    id: i64,
    incident: i64,
    project: i64,
    channel: i64,
    channel_name: String,
    detail: String,
    /// It told of a death itself: telling its own would go on for ever.
    is_echo: bool,
}

/// An entry of a timeline, and whom it is said to.
struct Line {
    incident: i64,
    kind: &'static str,
    reason: Reason,
    note: Option<String>,
    silence: Option<&'static str>,
    to: Vec<Said>,
}

/// One delivery of an entry.
struct Said {
    channel: i64,
    occasion: Occasion,
    /// The name of the message that it goes in with others.
    grouped: Option<String>,
    next_at: Time,
}

impl Store {
    /// Whether [`Deciding::follow_up`] may have anything to do `now`. Where `windows_changed`, whatever is held back is
    /// looked at again.
    ///
    /// # Errors
    /// What the database says.
    pub async fn wants_follow_up(&self, now: Time, windows_changed: bool) -> Result<bool, Error> {
        let held_until = if windows_changed { Time::NEVER } else { now };
        let held = sql::query(
            "SELECT 1 FROM delivery WHERE state = 0 AND held = 1 AND next_at <= $1 LIMIT 1",
        )
        .bind(held_until.as_micros())
        .fetch_optional(self.readers())
        .await
        .map_err(Error::attempted("look for what is held back"))?;
        Ok(held.is_some()
            || !reminder::due(&told(self.readers()).await?, now).is_empty()
            || !deaths(self.readers()).await?.is_empty())
    }
}

/// What channels were last told of open incidents that nobody has acknowledged. What still waits to be sent needs no
/// reminder yet.
async fn told<'c>(target: impl Into<sql::Target<'c>>) -> Result<Vec<Told>, Error> {
    let rows = sql::query(
        "SELECT d.channel_id, d.incident_id, MAX(COALESCE(d.finished_at, d.decided_at)),
         COUNT(CASE WHEN d.occasion LIKE '{\"reminder\"%' THEN 1 END), c.remind_every
         FROM incident i JOIN delivery d ON d.incident_id = i.id JOIN channel c ON c.id = d.channel_id
         WHERE i.resolved_at IS NULL AND i.state = 'triggered' AND c.remind_every > 0 AND d.state <> 2
         GROUP BY d.channel_id, d.incident_id, c.remind_every
         HAVING COUNT(CASE WHEN d.state = 0 THEN 1 END) = 0 ORDER BY d.channel_id, d.incident_id",
    )
    .fetch_all(target)
    .await
    .map_err(Error::attempted("read what channels were told"))?;
    let read = |row: &sql::Row| Told {
        channel: row.get(0),
        incident: row.get::<i64>(1).cast_unsigned(),
        last: Time::from_micros(row.get(2)),
        reminders: u32::try_from(row.get::<i64>(3)).unwrap_or(u32::MAX),
        every: Span::from_micros(row.get(4)),
    };
    Ok(rows.iter().map(read).collect())
}

async fn deaths<'c>(target: impl Into<sql::Target<'c>>) -> Result<Vec<Death>, Error> {
    let rows = sql::query(
        "SELECT d.id, d.incident_id, d.project_id, d.channel_id, COALESCE(c.name, 'a deleted channel'),
         COALESCE(d.detail, ''), d.occasion FROM delivery d LEFT JOIN channel c ON c.id = d.channel_id
         WHERE d.state = 3 AND d.death_told = 0 ORDER BY d.id LIMIT $1",
    )
    .bind(DEATHS_MAX)
    .fetch_all(target)
    .await
    .map_err(Error::attempted("read dead deliveries"))?;
    let read = |row: &sql::Row| {
        let occasion = read_occasion(row.get(6))?;
        Ok(Death {
            id: row.get(0),
            incident: row.get(1),
            project: row.get(2),
            channel: row.get(3),
            channel_name: row.get(4),
            detail: row.get(5),
            is_echo: matches!(occasion, Occasion::DeliveryDead { .. }),
        })
    };
    rows.iter().map(read).collect()
}

impl Deciding<'_> {
    /// Writes what is to be said `now` beside the engine's news, under the engine's version `cut`. `key` makes
    /// idempotency keys. The deliverer finds the rows in the outbox.
    ///
    /// # Errors
    /// What the database says; nothing is then written.
    pub async fn follow_up(
        &mut self,
        now: Time,
        cut: u64,
        mut key: impl FnMut() -> String,
    ) -> Result<FollowedUp, Error> {
        let channels = self.destinations().await?;
        let (released, held_on) = self.release(&channels, now).await?;
        let told = told(self.session.connection()).await?;
        let deaths = deaths(self.session.connection()).await?;
        let due = self.uncovered(reminder::due(&told, now), now).await?;
        let mut entries = reminders(&due, &channels, now);
        let followed = FollowedUp {
            reminders: entries.len(),
            deaths: deaths.len(),
            released,
            held_on,
        };
        entries.extend(self.obituaries(&deaths, &channels, now).await?);
        self.write_entries(&entries, now, cut, &mut key).await?;
        self.mark_told(&deaths).await?;
        Ok(followed)
    }

    /// Lets go what no window covers any more, and moves on what another still does. Whoever was never told of an
    /// incident that somebody has acknowledged meanwhile need not be.
    async fn release(
        &mut self,
        channels: &[Destination],
        now: Time,
    ) -> Result<(usize, usize), Error> {
        let rows = sql::query(
            "SELECT d.id, d.channel_id, i.project_id, i.monitor_id, i.labels, i.state, EXISTS
             (SELECT 1 FROM delivery e WHERE e.channel_id = d.channel_id AND e.incident_id = d.incident_id
              AND e.held = 0 AND e.state <> 2)
             FROM delivery d JOIN incident i ON i.id = d.incident_id WHERE d.state = 0 AND d.held = 1 ORDER BY d.id",
        )
        .fetch_all(self.session.connection())
        .await
        .map_err(Error::attempted("read what is held back"))?;
        if rows.is_empty() {
            return Ok((0, 0));
        }
        let gathering = channels
            .iter()
            .filter(|channel| channel.digest)
            .map(|channel| channel.id)
            .collect();
        let mut recents = self.recents(now, &gathering).await?;
        let mut windows = HashMap::new();
        let (mut released, mut held_on) = (0, 0);
        for row in rows {
            let (id, channel, project): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let monitor = number(row.get(3))?;
            let labels = read_labels(row.get(4))?;
            if let Entry::Vacant(unread) = windows.entry(project) {
                unread.insert(self.session.maintenance_windows(project, now).await?);
            }
            let cover = windows
                .get(&project)
                .and_then(|windows: &Windows| windows.cover(&labels, monitor, now));
            if let Some(cover) = cover {
                let held = Held {
                    window: cover.name.to_owned(),
                    until: cover.until,
                };
                self.hold_on(id, &held).await?;
                held_on += 1;
                continue;
            }
            released += 1;
            let is_taken = row.get::<&str>(5) == "acknowledged" && !row.get::<bool>(6);
            if is_taken {
                self.drop_taken(id, now).await?;
                continue;
            }
            let (grouped, next_at) = match recents.place(channel, now) {
                Place::AtOnce => (None, now),
                Place::Gathered(until) => (Some(digest_name(until)), until),
            };
            sql::query(
                "UPDATE delivery SET held = 0, decided_at = $2, next_at = $3, grouped = $4, detail = NULL WHERE id = $1",
            )
            .bind(id)
            .bind(now.as_micros())
            .bind(next_at.as_micros())
            .bind(grouped)
            .execute(self.session.connection())
            .await
            .map_err(Error::attempted("let a delivery go"))?;
        }
        Ok((released, held_on))
    }

    async fn hold_on(&mut self, id: i64, held: &Held) -> Result<(), Error> {
        let occasion = occasion_text(&Occasion::MaintenanceOver {
            window: held.window.clone(),
        })?;
        sql::query("UPDATE delivery SET next_at = $2, detail = $3, occasion = $4 WHERE id = $1")
            .bind(id)
            .bind(held.until.as_micros())
            .bind(held.sentence())
            .bind(occasion)
            .execute(self.session.connection())
            .await
            .map_err(Error::attempted("hold a delivery on"))?;
        Ok(())
    }

    async fn drop_taken(&mut self, id: i64, now: Time) -> Result<(), Error> {
        sql::query(
            "UPDATE delivery SET state = $2, held = 0, finished_at = $3,
             detail = 'somebody acknowledged the incident while the maintenance lasted' WHERE id = $1",
        )
        .bind(id)
        .bind(SUPERSEDED)
        .bind(now.as_micros())
        .execute(self.session.connection())
        .await
        .map_err(Error::attempted("drop a delivery"))?;
        Ok(())
    }

    /// Those of the reminders whose monitors no maintenance window covers.
    async fn uncovered(&mut self, due: Vec<Told>, now: Time) -> Result<Vec<Told>, Error> {
        if due.is_empty() {
            return Ok(due);
        }
        let ids: Vec<u64> = due.iter().map(|one| one.incident).collect();
        let rows = sql::query(
            "SELECT id, project_id, monitor_id, labels FROM incident WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(serde_json::Value::from(ids).to_string())
        .fetch_all(self.session.connection())
        .await
        .map_err(Error::attempted("read incidents"))?;
        let mut windows = HashMap::new();
        let mut covered = BTreeSet::new();
        for row in rows {
            let (project, labels) = (row.get(1), read_labels(row.get(3))?);
            if let Entry::Vacant(unread) = windows.entry(project) {
                unread.insert(self.session.maintenance_windows(project, now).await?);
            }
            let cover = windows.get(&project).and_then(|windows: &Windows| {
                windows.cover(&labels, number(row.get(2)).ok()?, now)
            });
            if cover.is_some() {
                covered.insert(row.get::<i64>(0).cast_unsigned());
            }
        }
        Ok(due
            .into_iter()
            .filter(|one| !covered.contains(&one.incident))
            .collect())
    }

    /// Each death on its incident's timeline, and on every system channel but the one that failed.
    async fn obituaries(
        &mut self,
        deaths: &[Death],
        channels: &[Destination],
        now: Time,
    ) -> Result<Vec<Line>, Error> {
        let system: BTreeSet<i64> = channels
            .iter()
            .filter(|channel| channel.system && channel.digest)
            .map(|channel| channel.id)
            .collect();
        let mut recents = self.recents(now, &system).await?;
        let mut entries = Vec::new();
        for death in deaths {
            let mut to = Vec::new();
            for channel in channels {
                let tells = channel.system
                    && channel.project == death.project
                    && channel.id != death.channel;
                if !tells || death.is_echo {
                    continue;
                }
                let (grouped, next_at) = match recents.place(channel.id, now) {
                    Place::AtOnce => (None, now),
                    Place::Gathered(until) => (Some(digest_name(until)), until),
                };
                to.push(Said {
                    channel: channel.id,
                    occasion: Occasion::DeliveryDead {
                        channel: death.channel_name.clone(),
                        detail: death.detail.clone(),
                    },
                    grouped,
                    next_at,
                });
            }
            let silence = match (death.is_echo, to.is_empty()) {
                (true, _) => Some("it was itself about a message that could not be delivered"),
                (false, true) => Some("no other channel is marked as a system channel"),
                (false, false) => None,
            };
            entries.push(Line {
                incident: death.incident,
                kind: "undelivered",
                reason: Reason::DeliveryDead,
                note: Some(format!("To {}: {}", death.channel_name, death.detail)),
                silence,
                to,
            });
        }
        Ok(entries)
    }

    async fn write_entries(
        &mut self,
        entries: &[Line],
        now: Time,
        cut: u64,
        key: &mut impl FnMut() -> String,
    ) -> Result<(), Error> {
        let first: i64 = sql::query("SELECT COALESCE(MAX(seq), 0) + 1 FROM incident_event")
            .fetch_one(self.session.connection())
            .await
            .map_err(Error::attempted("number events"))?
            .get(0);
        let epoch = self.epoch;
        let numbered: Vec<(i64, &Line)> = (first..).zip(entries).collect();
        for (seq, entry) in &numbered {
            // The evidence stays the opening's.
            sql::query(
                "INSERT INTO incident_event (seq, epoch, cut, project_id, monitor_id, incident_id, kind, at,
                 decided_at, reason, reopened, note, evidence, silence)
                 SELECT $1, $2, $3, project_id, monitor_id, id, $4, $5, $5, $6, reopened, $7, evidence, $8
                 FROM incident WHERE id = $9",
            )
            .bind(seq)
            .bind(epoch)
            .bind(cut.cast_signed())
            .bind(entry.kind)
            .bind(now.as_micros())
            .bind(entry.reason.word())
            .bind(&entry.note)
            .bind(entry.silence)
            .bind(entry.incident)
            .execute(self.session.connection())
            .await
            .map_err(Error::attempted("store what is said again"))?;
        }
        let said: Vec<(i64, &Line, &Said)> = numbered
            .iter()
            .flat_map(|(seq, entry)| entry.to.iter().map(|said| (*seq, *entry, said)))
            .collect();
        let projects = self.projects_of(entries).await?;
        for chunk in said.chunks(CHUNK) {
            let mut rows = Vec::with_capacity(chunk.len());
            for (seq, entry, said) in chunk {
                rows.push((*seq, *entry, *said, key(), occasion_text(&said.occasion)?));
            }
            let mut query = sql::Builder::new(
                "INSERT INTO delivery (key, project_id, channel_id, incident_id, seq, kind, state, claim, attempts,
                 next_at, decided_at, grouped, occasion) ",
            );
            query.push_values(rows, |row, (seq, entry, said, key, occasion)| {
                row.push_bind(key)
                    .push_bind(projects.get(&entry.incident).copied().unwrap_or(0))
                    .push_bind(said.channel)
                    .push_bind(entry.incident)
                    .push_bind(seq)
                    .push_bind(MessageKind::Updated.as_str())
                    .push_bind(PENDING)
                    .push_bind(0)
                    .push_bind(0)
                    .push_bind(said.next_at.as_micros())
                    .push_bind(now.as_micros())
                    .push_bind(said.grouped.clone())
                    .push_bind(occasion);
            });
            query
                .build()
                .execute(self.session.connection())
                .await
                .map_err(Error::attempted("store deliveries"))?;
        }
        Ok(())
    }

    async fn projects_of(&mut self, entries: &[Line]) -> Result<HashMap<i64, i64>, Error> {
        let ids: BTreeSet<i64> = entries.iter().map(|entry| entry.incident).collect();
        let text = serde_json::Value::from(ids.into_iter().collect::<Vec<_>>()).to_string();
        let rows = sql::query(
            "SELECT id, project_id FROM incident WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(text)
        .fetch_all(self.session.connection())
        .await
        .map_err(Error::attempted("read incidents"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    async fn mark_told(&mut self, deaths: &[Death]) -> Result<(), Error> {
        let ids: Vec<i64> = deaths.iter().map(|death| death.id).collect();
        sql::query(
            "UPDATE delivery SET death_told = 1 WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(serde_json::Value::from(ids).to_string())
        .execute(self.session.connection())
        .await
        .map_err(Error::attempted("note that a death was told"))?;
        Ok(())
    }
}

/// One entry per incident, said to every channel that is due; a channel's reminders go as one message where it gathers.
fn reminders(due: &[Told], channels: &[Destination], now: Time) -> Vec<Line> {
    let gathers = |id: i64| {
        channels
            .iter()
            .any(|channel| channel.id == id && channel.digest)
            && due.iter().filter(|one| one.channel == id).count() > 1
    };
    let mut entries: BTreeMap<u64, Line> = BTreeMap::new();
    for one in due {
        let number = one.reminders.saturating_add(1);
        let entry = entries.entry(one.incident).or_insert_with(|| Line {
            incident: one.incident.cast_signed(),
            kind: "reminded",
            reason: Reason::StillOpen,
            note: None,
            silence: None,
            to: Vec::new(),
        });
        entry.to.push(Said {
            channel: one.channel,
            occasion: Occasion::Reminder { number },
            grouped: gathers(one.channel).then(|| format!("reminders {}", now.as_micros())),
            next_at: now,
        });
    }
    entries.into_values().collect()
}
