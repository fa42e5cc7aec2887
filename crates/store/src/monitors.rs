//! Monitors as people configure them; their states are the engine's.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systole_core::engine::{Action, Command, MonitorId, Row};
use systole_core::heartbeat::Settings;
use systole_core::time::Time;

use crate::decide::BOOT_IDS;
use crate::error::taken;
use crate::settings::SettingsDocument;
use crate::{Error, Session, Store, sql};

/// What a person can set of a monitor, beside its token.
#[derive(Clone, Debug)]
pub struct MonitorFields {
    /// Unique per project and kind.
    pub name: String,
    /// Unique per project; part of the ping URL by name.
    pub slug: String,
    /// Free text.
    pub description: String,
    /// `critical`, `error`, `warning` or `info`.
    pub severity: String,
    /// In the order of keys.
    pub labels: Vec<(String, String)>,
    /// Whose it is.
    pub owner: String,
    /// What to do.
    pub runbook_url: String,
    /// The channels named; `None` for the default ones.
    pub channels: Option<Vec<i64>>,
    /// The set of documents that owns it.
    pub set: Option<String>,
    /// When it is expected.
    pub settings: Arc<Settings>,
}

/// A monitor's row.
#[derive(Clone, Debug)]
pub struct MonitorRow {
    /// Its number.
    pub id: MonitorId,
    /// Its project.
    pub project: i64,
    /// Raised by every change.
    pub rev: i64,
    /// The kind; `heartbeat` today.
    pub kind: String,
    /// What people set.
    pub fields: MonitorFields,
    /// The encrypted ping token.
    pub token_cipher: Vec<u8>,
    /// When it was made.
    pub created_at: Time,
    /// When it was changed.
    pub updated_at: Time,
}

/// A new monitor's token, as it is kept.
#[derive(Clone, Debug)]
pub struct StoredToken {
    /// Keyed hash, for finding it.
    pub hash: Vec<u8>,
    /// Encrypted, for showing it.
    pub cipher: Vec<u8>,
}

/// Which monitors a list holds.
#[derive(Clone, Debug, Default)]
pub struct MonitorFilter {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only with this text in the name.
    pub text: Option<String>,
    /// Only with one of these exact names.
    pub names: Option<Vec<String>>,
    /// Only with these labels.
    pub labels: Vec<(String, String)>,
    /// Only those that this set of documents owns.
    pub set: Option<String>,
    /// Only these.
    pub ids: Option<Vec<MonitorId>>,
    /// Only numbers below this one.
    pub before: Option<MonitorId>,
    /// At most so many.
    pub limit: u32,
}

/// A token's hash and the monitor it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct KnownToken {
    /// The first 16 bytes of the keyed hash.
    pub hash: u128,
    /// The monitor.
    pub monitor: MonitorId,
}

/// A former token that still works for a while.
#[derive(Clone, Copy, Debug)]
pub struct OldToken {
    /// Until when.
    pub until: Time,
    /// Which.
    pub token: KnownToken,
}

const COLUMNS: &str =
    "SELECT m.id, m.project_id, m.rev, m.kind, m.name, m.slug, m.description, m.severity, m.labels,
    m.owner, m.runbook_url, m.channels, s.body, m.token_cipher, m.created_at, m.updated_at,
    m.set_name FROM monitor m JOIN settings s ON s.id = m.settings_id";

/// Rows of one INSERT.
const CHUNK: usize = 250;

const UNIQUE: &[(&str, &str)] = &[
    ("monitor.slug", "slug"),
    ("monitor.name", "name"),
    ("monitor.token_hash", "token"),
];

/// `id hash`, as [`Store::tokens_of_monitors`] asks for them.
fn known_token(entry: &str) -> Result<KnownToken, Error> {
    let (id, hash) = entry
        .split_once(' ')
        .ok_or(Error::Corrupt("a token's row cannot be read"))?;
    Ok(KnownToken {
        hash: u128::from_str_radix(hash, 16)
            .map_err(|_| Error::Corrupt("a token's hash is short"))?,
        monitor: id
            .parse()
            .map_err(|_| Error::Corrupt("a monitor's number is too large"))?,
    })
}

impl Store {
    /// Makes monitors with the commands that tell the engine, in one transaction; answers their numbers and the row
    /// to hand over.
    ///
    /// # Errors
    /// [`Error::Taken`] for a name, slug or token in use; nothing is made then.
    pub async fn create_monitors(
        &self,
        now: Time,
        by: &str,
        project: i64,
        monitors: &[(MonitorFields, StoredToken)],
    ) -> Result<(Vec<MonitorId>, Row), Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let made = async {
            let settings = monitors.iter().map(|(fields, _)| &fields.settings);
            let settings = session.settings_ids(settings).await?;
            let mut ids = Vec::with_capacity(monitors.len());
            for chunk in monitors.chunks(CHUNK) {
                ids.extend(
                    session
                        .insert_monitors(now, project, chunk, &settings)
                        .await?,
                );
            }
            let command = |(id, (fields, _)): (&MonitorId, &(MonitorFields, StoredToken))| {
                let action = Action::Create(Arc::clone(&fields.settings));
                Command {
                    at: now,
                    monitor: Some(*id),
                    by: by.to_owned(),
                    action,
                }
            };
            let commands = ids.iter().zip(monitors).map(command).collect();
            let row = session.append_commands(now, commands).await?;
            Ok((ids, row))
        }
        .await;
        session.end(made).await
    }

    /// Changes a monitor of revision `rev`.
    ///
    /// # Errors
    /// [`Error::Taken`]; `Ok(None)` when the monitor is not there at that revision.
    pub async fn update_monitor(
        &self,
        now: Time,
        by: &str,
        monitor: &MonitorRow,
        fields: &MonitorFields,
    ) -> Result<Option<Row>, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let changed = async {
            let settings_id = session.settings_id(&fields.settings).await?;
            let updated = sql::query(
                "UPDATE monitor SET rev = rev + 1, name = $3, slug = $4, description = $5, severity = $6, labels = $7,
                 owner = $8, runbook_url = $9, channels = $10, settings_id = $11, updated_at = $12, set_name = $13
                 WHERE id = $1 AND rev = $2",
            )
            .bind(i64::from(monitor.id))
            .bind(monitor.rev)
            .bind(&fields.name)
            .bind(&fields.slug)
            .bind(&fields.description)
            .bind(&fields.severity)
            .bind(labels_text(&fields.labels)?)
            .bind(&fields.owner)
            .bind(&fields.runbook_url)
            .bind(channels_text(fields.channels.as_deref()))
            .bind(settings_id)
            .bind(now.as_micros())
            .bind(&fields.set)
            .execute(session.connection())
            .await
            .map_err(taken("change a monitor", "monitor", UNIQUE))?;
            if updated.rows_affected() == 0 {
                return Ok(None);
            }
            let action = if fields.settings == monitor.fields.settings {
                Action::Configure
            } else {
                Action::Edit(Arc::clone(&fields.settings))
            };
            let command = Command { at: now, monitor: Some(monitor.id), by: by.to_owned(), action };
            session.append_commands(now, vec![command]).await.map(Some)
        }
        .await;
        session.end(changed).await
    }

    /// Gives a monitor a new token; the former one works until `old_until`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rotate_token(
        &self,
        now: Time,
        monitor: MonitorId,
        token: &StoredToken,
        old_until: Time,
        by: &str,
    ) -> Result<Row, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let appended = async {
            sql::query(
            "UPDATE monitor SET old_token_hash = token_hash, old_token_until = $2, token_hash = $3, token_cipher = $4,
             rev = rev + 1, updated_at = $5 WHERE id = $1",
        )
        .bind(i64::from(monitor))
        .bind(old_until.as_micros())
        .bind(&token.hash)
        .bind(&token.cipher)
        .bind(now.as_micros())
        .execute(session.connection())
        .await
        .map_err(taken("give a monitor a new token", "monitor", UNIQUE))?;
            let command = Command {
                at: now,
                monitor: Some(monitor),
                by: by.to_owned(),
                action: Action::Configure,
            };
            session.append_commands(now, vec![command]).await
        }
        .await;
        session.end(appended).await
    }

    /// Appends a person's command; with [`Action::Delete`] the monitor's row goes in the same transaction.
    ///
    /// # Errors
    /// What the database says.
    pub async fn command(&self, command: Command) -> Result<Row, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let appended = async {
            if let (Action::Delete, Some(id)) = (&command.action, command.monitor) {
                sql::query("DELETE FROM monitor WHERE id = $1")
                    .bind(i64::from(id))
                    .execute(session.connection())
                    .await
                    .map_err(Error::attempted("delete a monitor"))?;
            }
            session.append_commands(command.at, vec![command]).await
        }
        .await;
        session.end(appended).await
    }

    /// One monitor of a project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn monitor(&self, project: i64, id: MonitorId) -> Result<Option<MonitorRow>, Error> {
        let filter = MonitorFilter {
            ids: Some(vec![id]),
            limit: 1,
            ..MonitorFilter::default()
        };
        Ok(self.monitors(project, &filter).await?.pop())
    }

    /// Monitors, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn monitors(
        &self,
        project: i64,
        filter: &MonitorFilter,
    ) -> Result<Vec<MonitorRow>, Error> {
        let mut query = sql::Builder::new(COLUMNS);
        filter.push(&mut query, project);
        query
            .push(" ORDER BY m.id DESC LIMIT ")
            .push_bind(i64::from(filter.limit));
        let rows = query
            .build()
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("read monitors"))?;
        rows.iter().map(read_monitor).collect()
    }

    /// How many monitors a filter finds, its limit left aside.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_monitors(&self, project: i64, filter: &MonitorFilter) -> Result<i64, Error> {
        let mut query = sql::Builder::new("SELECT COUNT(*) FROM monitor m");
        filter.push(&mut query, project);
        let row = query
            .build()
            .fetch_one(self.readers())
            .await
            .map_err(Error::attempted("count monitors"))?;
        Ok(row.get(0))
    }

    /// Which of these names monitors of a kind have.
    ///
    /// # Errors
    /// What the database says.
    pub async fn taken_names(
        &self,
        project: i64,
        kind: &str,
        names: impl Iterator<Item = &str>,
    ) -> Result<HashSet<String>, Error> {
        let rows = sql::query(
            "SELECT name FROM monitor
             WHERE project_id = $1 AND kind = $2 AND name IN (SELECT key FROM json_each($3))",
        )
        .bind(project)
        .bind(kind)
        .bind(texts(names))
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("look for names"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Which of these slugs monitors have.
    ///
    /// # Errors
    /// What the database says.
    pub async fn taken_slugs(
        &self,
        project: i64,
        slugs: impl Iterator<Item = &str>,
    ) -> Result<HashSet<String>, Error> {
        let rows = sql::query(
            "SELECT slug FROM monitor
             WHERE project_id = $1 AND slug IN (SELECT key FROM json_each($2))",
        )
        .bind(project)
        .bind(texts(slugs))
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("look for slugs"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The monitor of a slug.
    ///
    /// # Errors
    /// What the database says.
    pub async fn monitor_by_slug(
        &self,
        project: i64,
        slug: &str,
    ) -> Result<Option<MonitorId>, Error> {
        let row = sql::query("SELECT id FROM monitor WHERE project_id = $1 AND slug = $2")
            .bind(project)
            .bind(slug)
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("look for a slug"))?;
        row.map(|row| number(row.get(0))).transpose()
    }

    /// Every token that works: current ones, and former ones not yet over at `now`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tokens_of_monitors(
        &self,
        now: Time,
    ) -> Result<(Vec<KnownToken>, Vec<OldToken>), Error> {
        let attempted = || Error::attempted("read the monitors' tokens");
        let highest: i64 = sql::query("SELECT COALESCE(MAX(id), 0) FROM monitor")
            .fetch_one(self.readers())
            .await
            .map_err(attempted())?
            .get(0);
        let tokens = self.dialect().tokens();
        let mut known = Vec::new();
        for from in (0..=highest).step_by(usize::from(BOOT_IDS)) {
            // A thousand to a row: each row costs more than its content.
            let rows = sql::query(format!(
                "SELECT {tokens} FROM monitor WHERE id >= $1 AND id < $2 GROUP BY id / 1000"
            ))
            .bind(from)
            .bind(from + i64::from(BOOT_IDS))
            .fetch_all(self.readers())
            .await
            .map_err(attempted())?;
            for row in rows {
                for entry in row.get::<&str>(0).split(',') {
                    known.push(known_token(entry)?);
                }
            }
        }
        let rows = sql::query(
            "SELECT id, old_token_hash, old_token_until FROM monitor WHERE old_token_until > $1",
        )
        .bind(now.as_micros())
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read former tokens"))?;
        let mut old = Vec::with_capacity(rows.len());
        for row in rows {
            let token = KnownToken {
                hash: short_hash(row.get(1))?,
                monitor: number(row.get(0))?,
            };
            old.push(OldToken {
                until: Time::from_micros(row.get(2)),
                token,
            });
        }
        Ok((known, old))
    }

    /// The tokens of these monitors, and former ones that still work `now`: another replica has changed them. A monitor
    /// that is not there any more has none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tokens_of(
        &self,
        ids: &[MonitorId],
        now: Time,
    ) -> Result<(Vec<KnownToken>, Vec<OldToken>), Error> {
        let rows = sql::query(
            "SELECT id, token_hash, old_token_hash, old_token_until FROM monitor
             WHERE id IN (SELECT value FROM json_each($1))",
        )
        .bind(ids_text(ids))
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read the tokens of monitors"))?;
        let (mut known, mut old) = (Vec::with_capacity(rows.len()), Vec::new());
        for row in rows {
            let monitor = number(row.get(0))?;
            let token = |hash| {
                Ok::<_, Error>(KnownToken {
                    hash: short_hash(hash)?,
                    monitor,
                })
            };
            known.push(token(row.get(1))?);
            if let (Some(hash), Some(until)) =
                (row.get::<Option<Vec<u8>>>(2), row.get::<Option<i64>>(3))
                && until > now.as_micros()
            {
                old.push(OldToken {
                    until: Time::from_micros(until),
                    token: token(&hash)?,
                });
            }
        }
        Ok((known, old))
    }

    /// The monitor of a token, by its keyed hash: one that another replica has made a moment ago.
    ///
    /// # Errors
    /// What the database says.
    pub async fn monitor_of_token(&self, hash: &[u8]) -> Result<Option<MonitorId>, Error> {
        let row = sql::query("SELECT id FROM monitor WHERE token_hash = $1")
            .bind(hash)
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("look for a token"))?;
        row.map(|row| number(row.get(0))).transpose()
    }

    /// The project's ping key: keyed hash and cipher.
    ///
    /// # Errors
    /// What the database says.
    pub async fn ping_key(&self, project: i64) -> Result<Option<StoredToken>, Error> {
        let row = sql::query(
            "SELECT ping_key_hash, ping_key_cipher FROM project WHERE id = $1 AND ping_key_hash IS NOT NULL",
        )
        .bind(project)
        .fetch_optional(self.readers())
        .await
        .map_err(Error::attempted("read the ping key"))?;
        Ok(row.map(|row| StoredToken {
            hash: row.get(0),
            cipher: row.get(1),
        }))
    }

    /// Sets the project's ping key.
    ///
    /// # Errors
    /// What the database says.
    pub async fn set_ping_key(&self, project: i64, key: &StoredToken) -> Result<(), Error> {
        let mut session = self.session().await?;
        sql::query("UPDATE project SET ping_key_hash = $2, ping_key_cipher = $3 WHERE id = $1")
            .bind(project)
            .bind(&key.hash)
            .bind(&key.cipher)
            .execute(session.connection())
            .await
            .map_err(Error::attempted("set the ping key"))?;
        Ok(())
    }
}

impl MonitorFilter {
    fn push(&self, query: &mut sql::Builder, project: i64) {
        query.push(" WHERE m.project_id = ").push_bind(project);
        if let Some(kind) = &self.kind {
            query.push(" AND m.kind = ").push_bind(kind.clone());
        }
        if let Some(names) = &self.names {
            query
                .push(" AND m.name IN (SELECT key FROM json_each(")
                .push_bind(texts(names.iter().map(String::as_str)))
                .push("))");
        }
        if let Some(set) = &self.set {
            query.push(" AND m.set_name = ").push_bind(set.clone());
        }
        if let Some(text) = &self.text {
            query
                .push(" AND lower(m.name) LIKE ")
                .push_bind(like(&text.to_ascii_lowercase()))
                .push(" ESCAPE '\\'");
        }
        for (key, value) in &self.labels {
            // Whether it holds the text as it is written: what LIKE makes of great and small letters, databases differ on.
            let pair = format!("{}:{}", json_string(key), json_string(value));
            query
                .push(" AND replace(m.labels, ")
                .push_bind(pair)
                .push(", '') <> m.labels");
        }
        if let Some(before) = self.before {
            query.push(" AND m.id < ").push_bind(i64::from(before));
        }
        if let Some(ids) = &self.ids {
            query
                .push(" AND m.id IN (SELECT value FROM json_each(")
                .push_bind(ids_text(ids))
                .push("))");
        }
    }
}

impl Session<'_> {
    /// Commits or rolls back by the outcome.
    pub(crate) async fn end<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match outcome {
            Ok(value) => self.commit().await.map(|()| value),
            Err(error) => {
                self.rollback().await?;
                Err(error)
            }
        }
    }

    /// The number of these settings, made where nobody had them before.
    pub(crate) async fn settings_id(&mut self, settings: &Settings) -> Result<i64, Error> {
        let text = SettingsDocument::of(settings).text()?;
        let attempted = || Error::attempted("store settings");
        sql::query("INSERT INTO settings (body) VALUES ($1) ON CONFLICT (body) DO NOTHING")
            .bind(&text)
            .execute(self.connection())
            .await
            .map_err(attempted())?;
        let row = sql::query("SELECT id FROM settings WHERE body = $1")
            .bind(&text)
            .fetch_one(self.connection())
            .await
            .map_err(attempted())?;
        Ok(row.get(0))
    }

    /// The numbers of the settings of many monitors, in two statements.
    async fn settings_ids<'a>(
        &mut self,
        monitors: impl Iterator<Item = &'a Arc<Settings>>,
    ) -> Result<HashMap<Arc<Settings>, i64>, Error> {
        let attempted = || Error::attempted("store settings");
        let distinct: HashSet<&Arc<Settings>> = monitors.collect();
        let mut bodies = HashMap::with_capacity(distinct.len());
        for settings in distinct {
            bodies.insert(SettingsDocument::of(settings).text()?, settings);
        }
        let text = texts(bodies.keys().map(String::as_str));
        // Without its WHERE the statement's ON would be read as that of a join.
        sql::query(
            "INSERT INTO settings (body) SELECT key FROM json_each($1) WHERE true ON CONFLICT (body) DO NOTHING",
        )
        .bind(&text)
        .execute(self.connection())
        .await
        .map_err(attempted())?;
        let rows = sql::query(
            "SELECT id, body FROM settings WHERE body IN (SELECT key FROM json_each($1))",
        )
        .bind(&text)
        .fetch_all(self.connection())
        .await
        .map_err(attempted())?;
        let found = rows.iter().filter_map(|row| {
            let settings = bodies.get(row.get::<&str>(1))?;
            Some((Arc::clone(settings), row.get(0)))
        });
        Ok(found.collect())
    }

    /// Numbers are given in the order of rows, by one statement.
    async fn insert_monitors(
        &mut self,
        now: Time,
        project: i64,
        monitors: &[(MonitorFields, StoredToken)],
        settings: &HashMap<Arc<Settings>, i64>,
    ) -> Result<Vec<MonitorId>, Error> {
        let mut packed = Vec::with_capacity(monitors.len());
        for (fields, token) in monitors {
            let settings_id = *settings
                .get(&fields.settings)
                .ok_or(Error::Corrupt("settings were stored and are not there"))?;
            packed.push((fields, token, labels_text(&fields.labels)?, settings_id));
        }
        let mut query = sql::Builder::new(
            "INSERT INTO monitor (project_id, rev, kind, name, slug, description, severity, labels, owner, runbook_url,
             channels, settings_id, token_hash, token_cipher, created_at, updated_at, set_name) ",
        );
        query.push_values(packed, |row, (fields, token, labels, settings_id)| {
            row.push_bind(project)
                .push_bind(1_i64)
                .push_bind("heartbeat")
                .push_bind(fields.name.clone())
                .push_bind(fields.slug.clone())
                .push_bind(fields.description.clone())
                .push_bind(fields.severity.clone())
                .push_bind(labels)
                .push_bind(fields.owner.clone())
                .push_bind(fields.runbook_url.clone())
                .push_bind(channels_text(fields.channels.as_deref()))
                .push_bind(settings_id)
                .push_bind(token.hash.clone())
                .push_bind(token.cipher.clone())
                .push_bind(now.as_micros())
                .push_bind(now.as_micros())
                .push_bind(fields.set.clone());
        });
        query.push(" RETURNING id");
        let rows = query
            .build()
            .fetch_all(self.connection())
            .await
            .map_err(taken("make a monitor", "monitor", UNIQUE))?;
        let mut ids = rows
            .iter()
            .map(|row| number(row.get(0)))
            .collect::<Result<Vec<_>, _>>()?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// The rows of these monitors, within this session's transaction.
    pub(crate) async fn monitors_by_id(
        &mut self,
        ids: &[MonitorId],
    ) -> Result<Vec<MonitorRow>, Error> {
        let mut query = sql::Builder::new(COLUMNS);
        query
            .push(" WHERE m.id IN (SELECT value FROM json_each(")
            .push_bind(ids_text(ids))
            .push("))");
        let rows = query
            .build()
            .fetch_all(self.connection())
            .await
            .map_err(Error::attempted("read monitors"))?;
        rows.iter().map(read_monitor).collect()
    }
}

/// `LIKE` pattern that finds `text` anywhere, its own wildcards taken literally.
pub(crate) fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    pattern
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(crate) fn ids_text(ids: &[MonitorId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("[{}]", ids.join(","))
}

/// Texts for `IN (SELECT key FROM json_each(…))`: the keys of an object are texts in every database.
fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let keys: BTreeMap<&str, u8> = texts.map(|text| (text, 0)).collect();
    serde_json::json!(keys).to_string()
}

#[derive(Serialize, Deserialize)]
struct Labels(BTreeMap<String, String>);

pub(crate) fn labels_text(labels: &[(String, String)]) -> Result<String, Error> {
    serde_json::to_string(&Labels(labels.iter().cloned().collect()))
        .map_err(|_| Error::Corrupt("labels cannot be written"))
}

pub(crate) fn read_labels(text: &str) -> Result<Vec<(String, String)>, Error> {
    let labels: Labels =
        serde_json::from_str(text).map_err(|_| Error::Corrupt("labels cannot be read"))?;
    Ok(labels.0.into_iter().collect())
}

fn channels_text(channels: Option<&[i64]>) -> Option<String> {
    channels.map(|ids| serde_json::Value::from(ids.to_vec()).to_string())
}

pub(crate) fn number(id: i64) -> Result<MonitorId, Error> {
    MonitorId::try_from(id).map_err(|_| Error::Corrupt("a monitor's number is too large"))
}

fn short_hash(bytes: &[u8]) -> Result<u128, Error> {
    let first = bytes.get(..16).and_then(|bytes| bytes.try_into().ok());
    first
        .map(u128::from_be_bytes)
        .ok_or(Error::Corrupt("a token's hash is short"))
}

fn read_monitor(row: &sql::Row) -> Result<MonitorRow, Error> {
    let settings: SettingsDocument =
        serde_json::from_str(row.get(12)).map_err(|_| Error::Corrupt("settings cannot be read"))?;
    let channels: Option<String> = row.get(11);
    let channels = channels
        .map(|text| {
            serde_json::from_str(&text)
                .map_err(|_| Error::Corrupt("a monitor's channels cannot be read"))
        })
        .transpose()?;
    Ok(MonitorRow {
        id: number(row.get(0))?,
        project: row.get(1),
        rev: row.get(2),
        kind: row.get(3),
        fields: MonitorFields {
            name: row.get(4),
            slug: row.get(5),
            description: row.get(6),
            severity: row.get(7),
            labels: read_labels(row.get(8))?,
            owner: row.get(9),
            runbook_url: row.get(10),
            channels,
            set: row.get(16),
            settings: Arc::new(settings.settings()?),
        },
        token_cipher: row.get(13),
        created_at: Time::from_micros(row.get(14)),
        updated_at: Time::from_micros(row.get(15)),
    })
}
