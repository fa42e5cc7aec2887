//! Opening the database, and taking turns on it.
//!
//! A store lies either in a directory of its own ([`embedded`]: SQLite, one process, one writing connection) or in a
//! PostgreSQL that any number of replicas share ([`shared`]). What differs beyond that is asked of [`Dialect`].

use std::path::Path;

use sqlx::migrate::MigrateError;
use sqlx::{Sqlite, Transaction};
use systole_core::time::Time;
use tokio::sync::{MappedMutexGuard, MutexGuard};

use crate::sql::{Connection, Dialect, Lender, Lent, Pool};
use crate::{Error, sql};

mod embedded;
mod shared;

use embedded::{Embedded, Writer};
use shared::Shared;

pub(crate) use embedded::{FILE, lock, newest_migration};

/// A shared database for somebody who only looks, with its name, host and port for people.
pub(crate) async fn look(url: &str) -> Result<(Pool, String), Error> {
    let shared = Shared::look(url).await?;
    let pool = Pool::Postgres(shared.lender.clone());
    Ok((pool, shared.place().to_owned()))
}

/// The embedded database of a directory for somebody who only looks.
pub(crate) fn look_into(directory: &Path) -> Pool {
    Pool::Sqlite(embedded::look(directory))
}

/// The newest version of a shared database that this program knows.
pub(crate) fn newest_shared_migration() -> i64 {
    shared::newest_migration()
}

/// The database. Cheap to share behind an `Arc`.
pub struct Store {
    database: Database,
    readers: Pool,
}

enum Database {
    Embedded(Embedded),
    Shared(Shared),
}

/// A connection for statements that belong together. On SQLite it is the writer's, and everything that writes goes
/// through one at a time, in order of arrival.
pub struct Session<'a> {
    held: Held<'a>,
}

enum Held<'a> {
    Embedded(MutexGuard<'a, Writer>),
    Shared(Lent),
    Appending(MappedMutexGuard<'a, Lent>),
    /// A snapshot beside the writer: it ends by itself.
    Reading(Transaction<'static, Sqlite>),
}

impl Store {
    /// Opens the embedded database in `directory`, making both where they are missing.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Newer`], or what the disk says.
    pub async fn open(directory: &Path) -> Result<Store, Error> {
        let embedded = Embedded::open(directory).await?;
        Ok(Store {
            readers: Pool::Sqlite(embedded.readers.clone()),
            database: Database::Embedded(embedded),
        })
    }

    /// Opens the shared database at `url` (`postgres://user@host/name`), and makes its tables where they are missing.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Refused`], [`Error::TooOld`], [`Error::Newer`], or what the database says.
    pub async fn connect(url: &str) -> Result<Store, Error> {
        let shared = Shared::open(url).await?;
        Ok(Store {
            readers: Pool::Postgres(shared.lender.clone()),
            database: Database::Shared(shared),
        })
    }

    /// Whether other replicas may share it.
    pub const fn is_shared(&self) -> bool {
        matches!(self.database, Database::Shared(_))
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match self.database {
            Database::Embedded(_) => Dialect::Sqlite,
            Database::Shared(_) => Dialect::Postgres,
        }
    }

    /// Name, host and port of a shared database, for people.
    pub fn place(&self) -> Option<&str> {
        match &self.database {
            Database::Embedded(_) => None,
            Database::Shared(shared) => Some(shared.place()),
        }
    }

    /// For reading what was committed.
    pub(crate) const fn readers(&self) -> &Pool {
        &self.readers
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// When there is no connection, or a transaction that was left open cannot be rolled back.
    pub async fn session(&self) -> Result<Session<'_>, Error> {
        let embedded = match &self.database {
            Database::Embedded(embedded) => embedded,
            Database::Shared(shared) => return lend(&shared.lender).await,
        };
        let writer = embedded.writer.lock().await;
        let (open, relaxed) = (writer.open, writer.relaxed);
        let mut session = Session {
            held: Held::Embedded(writer),
        };
        if open {
            session.rollback().await?;
        }
        if relaxed {
            session.durable().await?;
        }
        Ok(session)
    }

    /// As [`Store::session`], for the writer of the log: it waits for no other session.
    pub(crate) async fn appending(&self) -> Result<Session<'_>, Error> {
        match &self.database {
            Database::Embedded(_) => self.session().await,
            Database::Shared(shared) => Ok(Session {
                held: Held::Appending(
                    shared
                        .appending()
                        .await
                        .map_err(Error::attempted("reach the database"))?,
                ),
            }),
        }
    }

    /// A session that reads as of one moment, beside whoever writes. To be ended by [`Session::end`].
    pub(crate) async fn snapshot(&self) -> Result<Session<'_>, Error> {
        match self.readers() {
            Pool::Sqlite(pool) => Ok(Session {
                held: Held::Reading(
                    pool.begin()
                        .await
                        .map_err(Error::attempted("begin to read"))?,
                ),
            }),
            Pool::Postgres(lender) => {
                let mut session = lend(lender).await?;
                session.begin_snapshot().await?;
                Ok(session)
            }
        }
    }

    /// What the shared database takes for the time.
    ///
    /// # Errors
    /// What the database says.
    pub async fn database_now(&self) -> Result<Time, Error> {
        let row = sql::query("SELECT now_us()")
            .fetch_one(self.readers())
            .await
            .map_err(Error::attempted("ask the database for the time"))?;
        Ok(Time::from_micros(row.get(0)))
    }

    /// Moves the write-ahead log into the database file, without the writer; with `restart` the short rest with it, so
    /// that the file can begin anew (while check-ins keep coming it would grow for ever). PostgreSQL does such things
    /// by itself.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn checkpoint_wal(&self, restart: bool) -> Result<(), Error> {
        let Database::Embedded(embedded) = &self.database else {
            return Ok(());
        };
        embedded.checkpoint_wal().await?;
        if !restart {
            return Ok(());
        }
        let mut session = self.session().await?;
        sql::query("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(session.connection())
            .await
            .map_err(Error::attempted(
                "move the write-ahead log into the database file",
            ))?;
        Ok(())
    }

    /// Bytes of the embedded database's write-ahead log.
    pub fn wal_bytes(&self) -> u64 {
        match &self.database {
            Database::Embedded(embedded) => embedded.wal_bytes(),
            Database::Shared(_) => 0,
        }
    }

    /// Bytes of the database.
    ///
    /// # Errors
    /// What the database says.
    pub async fn database_bytes(&self) -> Result<u64, Error> {
        if let Database::Embedded(embedded) = &self.database {
            return Ok(embedded.database_bytes());
        }
        let row = sql::query("SELECT pg_database_size(current_database())")
            .fetch_one(self.readers())
            .await
            .map_err(Error::attempted("measure the database"))?;
        Ok(row.get::<i64>(0).cast_unsigned())
    }

    /// The check value of the key that this database was made with: `(key id, check value)`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn key_check(&self) -> Result<Option<(String, Vec<u8>)>, Error> {
        let row = sql::query("SELECT key_id, key_check FROM installation WHERE id = 1")
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read the installation"))?;
        Ok(row.map(|row| (row.get(0), row.get(1))))
    }

    /// Marks the database as made with this key, and makes the default project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn install(&self, now: Time, key_id: &str, check: &[u8]) -> Result<(), Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        // Of replicas that start together the first one marks it; each looks afterwards whose key that was.
        sql::query(
            "INSERT INTO installation (id, created_at, key_id, key_check) VALUES (1, $1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(now.as_micros())
        .bind(key_id)
        .bind(check)
        .execute(session.connection())
        .await
        .map_err(Error::attempted("set up the database"))?;
        sql::query("INSERT INTO project (id, name) VALUES ($1, 'default') ON CONFLICT DO NOTHING")
            .bind(crate::DEFAULT_PROJECT)
            .execute(session.connection())
            .await
            .map_err(Error::attempted("make the default project"))?;
        session.commit().await
    }
}

async fn lend<'a>(lender: &Lender) -> Result<Session<'a>, Error> {
    let lent = lender
        .lend()
        .await
        .map_err(Error::attempted("reach the database"))?;
    Ok(Session {
        held: Held::Shared(lent),
    })
}

/// For `map_err` of a migration that was run on `place`.
fn migration_failed(place: String, known: i64) -> impl FnOnce(MigrateError) -> Error {
    let attempted = "migrate the database";
    move |error| match error {
        MigrateError::VersionMissing(found) => Error::Newer {
            place,
            found,
            known,
        },
        MigrateError::Execute(source) => Error::Database { attempted, source },
        other => Error::Database {
            attempted,
            source: sqlx::Error::Migrate(Box::new(other)),
        },
    }
}

impl Session<'_> {
    /// The connection itself.
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match &mut self.held {
            Held::Embedded(writer) => Connection::Sqlite(&mut writer.connection),
            Held::Shared(lent) => Connection::Postgres(lent),
            Held::Appending(lent) => Connection::Postgres(lent),
            Held::Reading(transaction) => Connection::Sqlite(transaction),
        }
    }

    pub(crate) const fn dialect(&self) -> Dialect {
        match self.held {
            Held::Embedded(_) | Held::Reading(_) => Dialect::Sqlite,
            Held::Shared(_) | Held::Appending(_) => Dialect::Postgres,
        }
    }

    fn is_open(&mut self, open: bool) {
        match &mut self.held {
            Held::Embedded(writer) => writer.open = open,
            Held::Shared(lent) => lent.in_transaction = open,
            Held::Appending(lent) => lent.in_transaction = open,
            Held::Reading(_) => {}
        }
    }

    /// Begins a transaction. One that is neither committed nor rolled back is rolled back before the connection is used again.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        self.is_open(true);
        match self.connection() {
            Connection::Postgres(lent) => lent.simple(shared::BEGIN).await,
            sqlite @ Connection::Sqlite(_) => sql::query("BEGIN IMMEDIATE")
                .execute(sqlite)
                .await
                .map(drop),
        }
        .map_err(Error::attempted("begin a transaction"))
    }

    /// Begins a transaction that only reads, and reads as of one moment.
    pub(crate) async fn begin_snapshot(&mut self) -> Result<(), Error> {
        self.is_open(true);
        match self.connection() {
            Connection::Postgres(lent) => lent.simple(shared::BEGIN_SNAPSHOT).await,
            sqlite @ Connection::Sqlite(_) => sql::query("BEGIN").execute(sqlite).await.map(drop),
        }
        .map_err(Error::attempted("begin to read"))
    }

    /// Commits from here on need not be on the disk at once (until [`Session::durable`]): the next durable commit takes
    /// them along, and a crash loses them only together with everything after them. For what can be done again.
    /// To be called before [`Session::begin`]; the shared database commits as ever, its replicas rely on what they read.
    pub(crate) async fn relaxed(&mut self) -> Result<(), Error> {
        let Held::Embedded(writer) = &mut self.held else {
            return Ok(());
        };
        writer.relaxed = true;
        self.synchronous("PRAGMA synchronous = NORMAL").await
    }

    /// Commits are on the disk when they return.
    async fn durable(&mut self) -> Result<(), Error> {
        self.synchronous("PRAGMA synchronous = FULL").await?;
        if let Held::Embedded(writer) = &mut self.held {
            writer.relaxed = false;
        }
        Ok(())
    }

    async fn synchronous(&mut self, pragma: &'static str) -> Result<(), Error> {
        sql::query(pragma)
            .execute(self.connection())
            .await
            .map_err(Error::attempted("set how commits reach the disk"))?;
        Ok(())
    }

    /// Nothing was changed that could be kept or given up.
    const fn only_reads(&self) -> bool {
        matches!(self.held, Held::Reading(_))
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        if self.only_reads() {
            return Ok(());
        }
        match self.connection() {
            Connection::Postgres(lent) => lent.simple(shared::COMMIT).await,
            sqlite @ Connection::Sqlite(_) => sql::query("COMMIT").execute(sqlite).await.map(drop),
        }
        .map_err(Error::attempted("commit"))?;
        self.is_open(false);
        Ok(())
    }

    /// Gives a transaction up.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rollback(&mut self) -> Result<(), Error> {
        if self.only_reads() {
            return Ok(());
        }
        match sql::query("ROLLBACK").execute(self.connection()).await {
            Ok(_) => {}
            // SQLite rolls some failures back by itself; then there is nothing left to give up.
            Err(sqlx::Error::Database(error))
                if error.message().contains("no transaction is active") => {}
            Err(source) => {
                return Err(Error::Database {
                    attempted: "roll back",
                    source,
                });
            }
        }
        self.is_open(false);
        Ok(())
    }
}
