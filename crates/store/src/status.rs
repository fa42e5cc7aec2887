//! A database as people look at it, beside the servers that use it: what it is, what it holds, who decides. It is only read.

use std::path::Path;

use systole_core::engine::Vector;
use systole_core::time::Time;

use crate::backup::{BackupError, Depth, Identity, database_file, identify};
use crate::deliveries::{OutboxDepths, depths};
use crate::log::BATCH;
use crate::sql::{Pool, Row, query};
use crate::state::unpack_vector;
use crate::{Error, Store, db};

/// A database that is only looked at.
#[derive(Clone, Debug)]
pub struct View {
    pool: Pool,
    place: String,
    is_shared: bool,
}

/// What a database is, and what is in it.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its version, its key and its size; the version is 0 while nothing of ours is in it.
    pub identity: Identity,
    /// The newest version that this program knows.
    pub known: i64,
    /// What it holds; `None` while nothing of ours is in it.
    pub holdings: Option<Holdings>,
    /// Who keeps it; `None` for the embedded one.
    pub server: Option<Server>,
}

/// What a database holds.
#[derive(Clone, Debug)]
pub struct Holdings {
    /// How much.
    pub counts: Counts,
    /// The streams of the log that are open, oldest first: the processes that use it.
    pub streams: Vec<Stream>,
    /// Who decides.
    pub decider: Decider,
    /// The cut of the checkpoint and how far it has read every stream; `None` before the first.
    pub checkpoint: Option<(i64, Vector)>,
    /// What waits to be sent.
    pub outbox: OutboxDepths,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Monitors.
    pub monitors: i64,
    /// Channels.
    pub channels: i64,
    /// Incidents, resolved ones too.
    pub incidents: i64,
    /// Check-ins in the log.
    pub checkins: i64,
}

/// A stream of the log, which is one start of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its number.
    pub number: i64,
    /// The name of the replica.
    pub replica: String,
    /// When it was opened.
    pub opened: Time,
    /// Its last row.
    pub seq: i64,
    /// When that was put: the last sign of life.
    pub last: Option<Time>,
}

/// Who decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decider {
    /// Of the lease; 0 before the first.
    pub epoch: i64,
    /// The stream of the holder.
    pub stream: i64,
    /// The holder's name, while its stream is remembered.
    pub replica: Option<String>,
    /// Until when nobody else may take it; `None` for the embedded database, whose directory only one process holds.
    pub until: Option<Time>,
}

/// Who keeps a shared database, and how safely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The version, as it says it.
    pub version: String,
    /// What it takes for the time.
    pub now: Time,
    /// It only follows another one.
    pub is_standby: bool,
    /// A commit that it acknowledges is on its disk.
    pub is_durable: bool,
    /// Whether commits wait for another machine.
    pub standby: Standby,
}

/// Whether a commit waits for a synchronous standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standby {
    /// None is asked for.
    None,
    /// One is asked for, and our connections do not wait for it.
    NotAwaited,
    /// One is asked for and not there: commits wait for it.
    Missing,
    /// Commits wait for one; whether it is there this user may not see.
    Unseen,
    /// It is there.
    Present,
}

impl View {
    /// The embedded database in a directory; whether a server uses it does not matter.
    ///
    /// # Errors
    /// [`BackupError`], where there is none or this program cannot read it.
    pub async fn embedded(directory: &Path) -> Result<View, BackupError> {
        identify(&database_file(directory), Depth::Glance).await?;
        Ok(View {
            pool: db::look_into(directory),
            place: directory.display().to_string(),
            is_shared: false,
        })
    }

    /// The shared database at `url`. It is not migrated.
    ///
    /// # Errors
    /// As [`Store::connect`].
    pub async fn shared(url: &str) -> Result<View, Error> {
        let (pool, place) = db::look(url).await?;
        Ok(View {
            pool,
            place,
            is_shared: true,
        })
    }

    /// The shared database that a server uses.
    pub fn of(store: &Store) -> Option<View> {
        Some(View {
            pool: store.readers().clone(),
            place: store.place()?.to_owned(),
            is_shared: true,
        })
    }

    /// The directory, or name, host and port.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// The newest version that this program knows.
    pub fn known(&self) -> i64 {
        if self.is_shared {
            db::newest_shared_migration()
        } else {
            db::newest_migration()
        }
    }

    /// Looks.
    ///
    /// # Errors
    /// [`Error::Newer`], or what the database says.
    pub async fn status(&self) -> Result<Status, Error> {
        let known = self.known();
        let version = self.version().await?;
        if version > known {
            return Err(Error::Newer {
                place: self.place.clone(),
                found: version,
                known,
            });
        }
        let is_ours = version > 0;
        Ok(Status {
            identity: Identity {
                version,
                key: if is_ours { self.key().await? } else { None },
                bytes: self.bytes().await?,
            },
            known,
            holdings: if is_ours {
                Some(self.holdings().await?)
            } else {
                None
            },
            server: if self.is_shared {
                Some(self.server().await?)
            } else {
                None
            },
        })
    }

    async fn version(&self) -> Result<i64, Error> {
        if self.is_shared {
            let there = "SELECT to_regclass('_sqlx_migrations') IS NOT NULL";
            if !self.row(there).await?.get::<bool>(0) {
                return Ok(0);
            }
        }
        let row = self
            .row("SELECT COALESCE(MAX(version), 0) FROM _sqlx_migrations WHERE success")
            .await?;
        Ok(row.get(0))
    }

    async fn key(&self) -> Result<Option<(String, Vec<u8>)>, Error> {
        let row = query("SELECT key_id, key_check FROM installation WHERE id = 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(looking())?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    async fn bytes(&self) -> Result<u64, Error> {
        let size = if self.is_shared {
            "SELECT pg_database_size(current_database())"
        } else {
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        };
        Ok(self.row(size).await?.get::<i64>(0).cast_unsigned())
    }

    /// How much there is.
    ///
    /// # Errors
    /// What the database says.
    pub async fn counts(&self) -> Result<Counts, Error> {
        let row = query(
            "SELECT (SELECT COUNT(*) FROM monitor), (SELECT COUNT(*) FROM channel), (SELECT COUNT(*) FROM incident),
             (SELECT CAST(COALESCE(SUM(n), 0) AS BIGINT) FROM log WHERE kind = $1)",
        )
        .bind(BATCH)
        .fetch_one(&self.pool)
        .await
        .map_err(looking())?;
        Ok(Counts {
            monitors: row.get(0),
            channels: row.get(1),
            incidents: row.get(2),
            checkins: row.get(3),
        })
    }

    async fn holdings(&self) -> Result<Holdings, Error> {
        let streams = query(
            "SELECT s.stream, s.replica, s.opened, (SELECT MAX(seq) FROM log WHERE log.stream = s.stream),
             (SELECT put FROM log WHERE log.stream = s.stream ORDER BY seq DESC LIMIT 1)
             FROM log_stream s WHERE s.ended IS NULL AND s.stream > 0 ORDER BY s.stream",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(looking())?;
        let checkpoint = query("SELECT cut, vector FROM checkpoint WHERE id = 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(looking())?;
        let checkpoint = checkpoint
            .map(|row| Ok((row.get(0), unpack_vector(row.get(1))?)))
            .transpose()?;
        Ok(Holdings {
            counts: self.counts().await?,
            streams: streams.iter().map(stream).collect(),
            decider: self.decider().await?,
            checkpoint,
            outbox: depths(&self.pool).await?,
        })
    }

    /// Who decides.
    ///
    /// # Errors
    /// What the database says.
    pub async fn decider(&self) -> Result<Decider, Error> {
        let row = self
            .row(
                "SELECT l.epoch, l.holder, l.expires, s.replica FROM lease l LEFT JOIN log_stream s ON s.stream = l.holder
                 WHERE l.name = 'decider'",
            )
            .await?;
        let until = Time::from_micros(row.get(2));
        Ok(Decider {
            epoch: row.get(0),
            stream: row.get(1),
            replica: row.get(3),
            until: self.is_shared.then_some(until),
        })
    }

    async fn server(&self) -> Result<Server, Error> {
        // Without `now_us()`, which comes with our tables.
        let row = self
            .row(
                "SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('fsync') = 'on',
                 current_setting('synchronous_commit'), current_setting('synchronous_standby_names') <> '',
                 (SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')),
                 pg_has_role('pg_read_all_stats', 'USAGE'),
                 CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)",
            )
            .await?;
        let commit: &str = row.get(3);
        Ok(Server {
            version: row.get(0),
            now: Time::from_micros(row.get(7)),
            is_standby: row.get(1),
            is_durable: row.get::<bool>(2) && commit != "off",
            standby: standby(row.get(4), commit, row.get(5), row.get(6)),
        })
    }

    /// What the shared database takes for the time.
    ///
    /// # Errors
    /// What the database says.
    pub async fn now(&self) -> Result<Time, Error> {
        let row = self
            .row("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")
            .await?;
        Ok(Time::from_micros(row.get(0)))
    }

    /// Commits something that changes nothing: it takes as long as any commit, a synchronous standby's answer included.
    ///
    /// # Errors
    /// What the database says.
    pub async fn commit(&self) -> Result<(), Error> {
        query("SELECT 1 FROM pg_logical_emit_message(TRUE, 'systole', CAST('' AS TEXT))")
            .execute(&self.pool)
            .await
            .map_err(Error::attempted("commit"))?;
        Ok(())
    }

    async fn row(&self, text: &'static str) -> Result<Row, Error> {
        query(text).fetch_one(&self.pool).await.map_err(looking())
    }
}

fn looking() -> impl FnOnce(sqlx::Error) -> Error {
    Error::attempted("look at the database")
}

fn stream(row: &Row) -> Stream {
    Stream {
        number: row.get(0),
        replica: row.get(1),
        opened: Time::from_micros(row.get(2)),
        seq: row.get::<Option<i64>>(3).unwrap_or(0),
        last: row.get::<Option<i64>>(4).map(Time::from_micros),
    }
}

/// What the settings mean, and what is to be seen of others.
fn standby(is_named: bool, commit: &str, present: i64, sees: bool) -> Standby {
    match (is_named, commit) {
        (false, _) => Standby::None,
        (true, "off" | "local") => Standby::NotAwaited,
        _ if present > 0 => Standby::Present,
        _ if sees => Standby::Missing,
        _ => Standby::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_what_the_settings_and_the_connections_say() {
        for (is_named, commit, present, sees, expected) in [
            (false, "on", 0, true, Standby::None),
            (false, "on", 1, true, Standby::None),
            (true, "on", 1, true, Standby::Present),
            (true, "remote_apply", 2, true, Standby::Present),
            (true, "local", 1, true, Standby::NotAwaited),
            (true, "off", 1, true, Standby::NotAwaited),
            (true, "on", 0, true, Standby::Missing),
            (true, "on", 0, false, Standby::Unseen),
        ] {
            assert_eq!(
                standby(is_named, commit, present, sees),
                expected,
                "{is_named} {commit} {present} {sees}"
            );
        }
    }
}
