//! What is said beside the engine's news: reminders, and deliveries that died.
//!
//! Nothing here is planned ahead: it follows from what was persisted, so a crash forgets nothing and an edited channel is
//! obeyed at once. It is written in a deciding transaction, under the fence, so that nothing is said twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite, SqliteConnection};
use systole_core::delivery::digest::Place;
use systole_core::delivery::reminder::{self, Told};
use systole_core::message::{MessageKind, Occasion};
use systole_core::reason::Reason;
use systole_core::time::{Span, Time};

use super::outbox::Destination;
use super::recent::digest_name;
use super::{CHUNK, Deciding};
use crate::deliveries::PENDING;
use crate::occasion::{occasion_text, read_occasion};
use crate::{Error, Store};

/// Deaths that are told by one transaction; the rest is told by the next.
const DEATHS_MAX: i64 = 1_000;

/// How many entries were added to timelines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowedUp {
    /// Incidents that were said again.
    pub reminders: usize,
    /// Dead deliveries that were told, or for which no system channel is there.
    pub deaths: usize,
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
struct Entry {
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
    /// Whether [`Deciding::follow_up`] has anything to do `now`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn wants_follow_up(&self, now: Time) -> Result<bool, Error> {
        let mut reader = self
            .readers()
            .acquire()
            .await
            .map_err(Error::attempted("look for what is to be said again"))?;
        Ok(!reminder::due(&told(&mut reader).await?, now).is_empty()
            || !deaths(&mut reader).await?.is_empty())
    }
}

/// What channels were last told of open incidents that nobody has acknowledged. What still waits to be sent needs no
/// reminder yet.
async fn told(connection: &mut SqliteConnection) -> Result<Vec<Told>, Error> {
    let rows = sqlx::query(
        "SELECT d.channel_id, d.incident_id, MAX(COALESCE(d.finished_at, d.decided_at)),
         SUM(COALESCE(d.occasion, '') LIKE '{\"reminder\"%'), c.remind_every
         FROM incident i JOIN delivery d ON d.incident_id = i.id JOIN channel c ON c.id = d.channel_id
         WHERE i.resolved_at IS NULL AND i.state = 'triggered' AND c.remind_every > 0 AND d.state <> 2
         GROUP BY d.channel_id, d.incident_id HAVING SUM(d.state = 0) = 0 ORDER BY d.channel_id, d.incident_id",
    )
    .fetch_all(connection)
    .await
    .map_err(Error::attempted("read what channels were told"))?;
    let read = |row: &SqliteRow| Told {
        channel: row.get(0),
        incident: row.get::<i64, _>(1).cast_unsigned(),
        last: Time::from_micros(row.get(2)),
        reminders: u32::try_from(row.get::<i64, _>(3)).unwrap_or(u32::MAX),
        every: Span::from_micros(row.get(4)),
    };
    Ok(rows.iter().map(read).collect())
}

async fn deaths(connection: &mut SqliteConnection) -> Result<Vec<Death>, Error> {
    let rows = sqlx::query(
        "SELECT d.id, d.incident_id, d.project_id, d.channel_id, COALESCE(c.name, 'a deleted channel'),
         COALESCE(d.detail, ''), d.occasion FROM delivery d LEFT JOIN channel c ON c.id = d.channel_id
         WHERE d.state = 3 AND d.death_told = 0 ORDER BY d.id LIMIT $1",
    )
    .bind(DEATHS_MAX)
    .fetch_all(connection)
    .await
    .map_err(Error::attempted("read dead deliveries"))?;
    let read = |row: &SqliteRow| {
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
        let told = told(self.session.connection()).await?;
        let deaths = deaths(self.session.connection()).await?;
        let due = reminder::due(&told, now);
        if due.is_empty() && deaths.is_empty() {
            return Ok(FollowedUp::default());
        }
        let channels = self.destinations().await?;
        let mut entries = reminders(&due, &channels, now);
        let followed = FollowedUp {
            reminders: entries.len(),
            deaths: deaths.len(),
        };
        entries.extend(self.obituaries(&deaths, &channels, now).await?);
        self.write_entries(&entries, now, cut, &mut key).await?;
        self.mark_told(&deaths).await?;
        Ok(followed)
    }

    /// Each death on its incident's timeline, and on every system channel but the one that failed.
    async fn obituaries(
        &mut self,
        deaths: &[Death],
        channels: &[Destination],
        now: Time,
    ) -> Result<Vec<Entry>, Error> {
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
            entries.push(Entry {
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
        entries: &[Entry],
        now: Time,
        cut: u64,
        key: &mut impl FnMut() -> String,
    ) -> Result<(), Error> {
        let first: i64 = sqlx::query("SELECT COALESCE(MAX(seq), 0) + 1 FROM incident_event")
            .fetch_one(self.session.connection())
            .await
            .map_err(Error::attempted("number events"))?
            .get(0);
        let epoch = self.epoch;
        let numbered: Vec<(i64, &Entry)> = (first..).zip(entries).collect();
        for (seq, entry) in &numbered {
            // The evidence stays the opening's.
            sqlx::query(
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
        let said: Vec<(i64, &Entry, &Said)> = numbered
            .iter()
            .flat_map(|(seq, entry)| entry.to.iter().map(|said| (*seq, *entry, said)))
            .collect();
        let projects = self.projects_of(entries).await?;
        for chunk in said.chunks(CHUNK) {
            let mut rows = Vec::with_capacity(chunk.len());
            for (seq, entry, said) in chunk {
                rows.push((*seq, *entry, *said, key(), occasion_text(&said.occasion)?));
            }
            let mut query = QueryBuilder::<Sqlite>::new(
                "INSERT INTO delivery (key, project_id, channel_id, incident_id, seq, kind, state, claim, attempts,
                 next_at, decided_at, grouped, occasion) ",
            );
            query.push_values(rows, |mut row, (seq, entry, said, key, occasion)| {
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

    async fn projects_of(&mut self, entries: &[Entry]) -> Result<HashMap<i64, i64>, Error> {
        let ids: BTreeSet<i64> = entries.iter().map(|entry| entry.incident).collect();
        let text = serde_json::Value::from(ids.into_iter().collect::<Vec<_>>()).to_string();
        let rows = sqlx::query(
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
        sqlx::query(
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
fn reminders(due: &[Told], channels: &[Destination], now: Time) -> Vec<Entry> {
    let gathers = |id: i64| {
        channels
            .iter()
            .any(|channel| channel.id == id && channel.digest)
            && due.iter().filter(|one| one.channel == id).count() > 1
    };
    let mut entries: BTreeMap<u64, Entry> = BTreeMap::new();
    for one in due {
        let number = one.reminders.saturating_add(1);
        let entry = entries.entry(one.incident).or_insert_with(|| Entry {
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
