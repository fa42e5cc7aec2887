//! Channels: where deliveries go.

use systole_core::engine::MonitorId;
use systole_core::time::Time;

use crate::error::taken;
use crate::{Error, Store, sql};

/// What a person can set of a channel.
#[derive(Clone, Debug)]
pub struct ChannelFields {
    /// Unique per project.
    pub name: String,
    /// One of the table of kinds.
    pub kind: String,
    /// The kind's own configuration, encrypted as a whole: its URL is a secret too.
    pub config_cipher: Vec<u8>,
    /// Used by monitors that name no channels.
    pub default: bool,
    /// Receives what concerns Systole itself.
    pub system: bool,
    /// An open, unacknowledged incident is said again after this many microseconds; 0 never.
    pub remind_every: i64,
    /// Many messages at once go as one.
    pub digest: bool,
    /// The set of documents that owns it.
    pub set: Option<String>,
    /// Whom their own link took off it, encrypted; none where nobody is.
    pub unsubscribed_cipher: Option<Vec<u8>>,
}

/// A channel's row.
#[derive(Clone, Debug)]
pub struct ChannelRow {
    /// Its number.
    pub id: i64,
    /// Its project.
    pub project: i64,
    /// Raised by every change.
    pub rev: i64,
    /// What people set.
    pub fields: ChannelFields,
    /// When it was made.
    pub created_at: Time,
    /// When it was changed.
    pub updated_at: Time,
}

const COLUMNS: &str =
    "SELECT id, project_id, rev, name, kind, config_cipher, is_default, is_system, remind_every,
    digest, created_at, updated_at, set_name, unsubscribed_cipher FROM channel";

const UNIQUE: &[(&str, &str)] = &[("channel.name", "name")];

/// The lists of channels that monitors of a project name and of whose channels none is left, and NULL if a monitor that names none is told
/// to nobody. Each list is looked for behind the one before: there are few, whatever the number of monitors.
const LEADING_NOWHERE: &str = "WITH RECURSIVE list (channels) AS (
    SELECT MIN(channels) FROM monitor WHERE project_id = $1
    UNION ALL
    SELECT (SELECT MIN(m.channels) FROM monitor m WHERE m.project_id = $1 AND m.channels > list.channels)
    FROM list WHERE list.channels IS NOT NULL)
    SELECT channels FROM list WHERE channels IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM channel c JOIN json_each(list.channels) n ON n.value = c.id)
    UNION ALL
    SELECT NULL WHERE NOT EXISTS (SELECT 1 FROM channel WHERE project_id = $1 AND is_default = 1)";

impl Store {
    /// Makes a channel.
    ///
    /// # Errors
    /// [`Error::Taken`] for a name in use.
    pub async fn create_channel(
        &self,
        now: Time,
        project: i64,
        fields: &ChannelFields,
    ) -> Result<i64, Error> {
        let mut session = self.session().await?;
        let row = sql::query(
            "INSERT INTO channel (project_id, rev, name, kind, config_cipher, is_default, is_system, remind_every,
             digest, created_at, updated_at, set_name) VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10) RETURNING id",
        )
        .bind(project)
        .bind(&fields.name)
        .bind(&fields.kind)
        .bind(&fields.config_cipher)
        .bind(fields.default)
        .bind(fields.system)
        .bind(fields.remind_every)
        .bind(fields.digest)
        .bind(now.as_micros())
        .bind(&fields.set)
        .fetch_one(session.connection())
        .await
        .map_err(taken("make a channel", "channel", UNIQUE))?;
        Ok(row.get(0))
    }

    /// Changes a channel of revision `rev`; `false` when it is not there at that revision.
    ///
    /// # Errors
    /// [`Error::Taken`] for a name in use.
    pub async fn update_channel(
        &self,
        now: Time,
        id: i64,
        rev: i64,
        fields: &ChannelFields,
    ) -> Result<bool, Error> {
        let mut session = self.session().await?;
        let updated = sql::query(
            "UPDATE channel SET rev = rev + 1, name = $3, config_cipher = $4, is_default = $5, is_system = $6,
             remind_every = $7, digest = $8, updated_at = $9, set_name = $10, unsubscribed_cipher = $11
             WHERE id = $1 AND rev = $2",
        )
        .bind(id)
        .bind(rev)
        .bind(&fields.name)
        .bind(&fields.config_cipher)
        .bind(fields.default)
        .bind(fields.system)
        .bind(fields.remind_every)
        .bind(fields.digest)
        .bind(now.as_micros())
        .bind(&fields.set)
        .bind(&fields.unsubscribed_cipher)
        .execute(session.connection())
        .await
        .map_err(taken("change a channel", "channel", UNIQUE))?;
        Ok(updated.rows_affected() == 1)
    }

    /// Deletes a channel; what still waits for it is given up, visibly.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_channel(&self, now: Time, id: i64) -> Result<bool, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let deleted = async {
            sql::query(
                "UPDATE delivery SET state = 3, finished_at = $2, detail = 'the channel was deleted'
                 WHERE channel_id = $1 AND state = 0",
            )
            .bind(id)
            .bind(now.as_micros())
            .execute(session.connection())
            .await
            .map_err(Error::attempted("give up a channel's deliveries"))?;
            let deleted = sql::query("DELETE FROM channel WHERE id = $1")
                .bind(id)
                .execute(session.connection())
                .await
                .map_err(Error::attempted("delete a channel"))?;
            Ok(deleted.rows_affected() == 1)
        }
        .await;
        session.end(deleted).await
    }

    /// Every channel of a project, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn channels(&self, project: i64) -> Result<Vec<ChannelRow>, Error> {
        let rows = sql::query(format!("{COLUMNS} WHERE project_id = $1 ORDER BY id DESC"))
            .bind(project)
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("read channels"))?;
        Ok(rows.iter().map(read_channel).collect())
    }

    /// How many monitors resolve to no channel: nobody would be told of them.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_without_channel(&self, project: i64) -> Result<i64, Error> {
        let mut count = 0;
        for list in self.leading_nowhere(project).await? {
            let of_list = match &list {
                Some(list) => sql::query(
                    "SELECT COUNT(*) FROM monitor WHERE project_id = $1 AND channels = $2",
                )
                .bind(project)
                .bind(list),
                None => sql::query(
                    "SELECT COUNT(*) FROM monitor WHERE project_id = $1 AND channels IS NULL",
                )
                .bind(project),
            };
            let row = of_list
                .fetch_one(self.readers())
                .await
                .map_err(Error::attempted("count monitors without a channel"))?;
            count += row.get::<i64>(0);
        }
        Ok(count)
    }

    /// The first of them: number and name.
    ///
    /// # Errors
    /// What the database says.
    pub async fn without_channel(
        &self,
        project: i64,
        limit: u32,
    ) -> Result<Vec<(MonitorId, String)>, Error> {
        let mut first: Vec<(MonitorId, String)> = Vec::new();
        for list in self.leading_nowhere(project).await? {
            let of_list = match &list {
                Some(list) => sql::query(
                    "SELECT id, name FROM monitor WHERE project_id = $1 AND channels = $3 ORDER BY id LIMIT $2",
                )
                .bind(project)
                .bind(i64::from(limit))
                .bind(list),
                None => sql::query(
                    "SELECT id, name FROM monitor WHERE project_id = $1 AND channels IS NULL ORDER BY id LIMIT $2",
                )
                .bind(project)
                .bind(i64::from(limit)),
            };
            let rows = of_list
                .fetch_all(self.readers())
                .await
                .map_err(Error::attempted("read monitors without a channel"))?;
            first.extend(rows.iter().map(|row| {
                let id = row.get::<i64>(0);
                (u32::try_from(id).unwrap_or(0), row.get(1))
            }));
        }
        first.sort_unstable();
        first.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(first)
    }

    async fn leading_nowhere(&self, project: i64) -> Result<Vec<Option<String>>, Error> {
        let rows = sql::query(LEADING_NOWHERE)
            .bind(project)
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("look for monitors without a channel"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// One channel of a project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn channel(&self, project: i64, id: i64) -> Result<Option<ChannelRow>, Error> {
        let row = sql::query(format!("{COLUMNS} WHERE project_id = $1 AND id = $2"))
            .bind(project)
            .bind(id)
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read a channel"))?;
        Ok(row.as_ref().map(read_channel))
    }
}

fn read_channel(row: &sql::Row) -> ChannelRow {
    ChannelRow {
        id: row.get(0),
        project: row.get(1),
        rev: row.get(2),
        fields: ChannelFields {
            name: row.get(3),
            kind: row.get(4),
            config_cipher: row.get(5),
            default: row.get(6),
            system: row.get(7),
            remind_every: row.get(8),
            digest: row.get(9),
            set: row.get(12),
            unsubscribed_cipher: row.get(13),
        },
        created_at: Time::from_micros(row.get(10)),
        updated_at: Time::from_micros(row.get(11)),
    }
}
