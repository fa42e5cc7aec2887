//! Opening the database: directory, lock, settings, migrations; one writer, a pool of readers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection, SqlitePool};
use systole_core::time::Time;
use tokio::sync::{Mutex, MutexGuard};

use crate::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The database file within the data directory.
pub(crate) const FILE: &str = "systole.db";

/// The embedded database. Cheap to share behind an `Arc`.
pub struct Store {
    writer: Mutex<Writer>,
    readers: SqlitePool,
    directory: PathBuf,
    /// Held as long as the store lives: one process per directory.
    _lock: File,
}

struct Writer {
    connection: SqliteConnection,
    /// A transaction was begun and its end has not been seen: its future may have been dropped.
    open: bool,
    /// The session before made its commits relaxed.
    relaxed: bool,
}

/// The writer's connection, for as long as it is held. Everything that writes goes through one at a time; waiting is
/// in order of arrival.
pub struct Session<'a> {
    writer: MutexGuard<'a, Writer>,
}

impl Store {
    /// Opens the database in `directory`, making both where they are missing.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Newer`], or what the disk says.
    pub async fn open(directory: &Path) -> Result<Store, Error> {
        let lock = lock(directory)?;
        let file = directory.join(FILE);
        private_file(&file).map_err(|source| Error::Directory {
            path: directory.to_owned(),
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(&file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true)
            // The server's housekeeper checkpoints on its own connection, so that no check-in waits for it.
            .pragma("wal_autocheckpoint", "0")
            .pragma("journal_size_limit", "67108864")
            .pragma("cache_size", "-32768")
            .statement_cache_capacity(200)
            .disable_statement_logging();
        let mut connection = options
            .connect()
            .await
            .map_err(Error::attempted("open the database"))?;
        migrate(&mut connection, directory).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .min_connections(0)
            .connect_lazy_with(options.read_only(true).create_if_missing(false));
        let writer = Mutex::new(Writer {
            connection,
            open: false,
            relaxed: false,
        });
        Ok(Store {
            writer,
            readers,
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// For reading what was committed.
    pub(crate) const fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Waits for the writer's turn.
    ///
    /// # Errors
    /// When a transaction that was left open cannot be rolled back.
    pub async fn session(&self) -> Result<Session<'_>, Error> {
        let mut session = Session {
            writer: self.writer.lock().await,
        };
        if session.writer.open {
            session.rollback().await?;
        }
        if session.writer.relaxed {
            session.durable().await?;
        }
        Ok(session)
    }

    /// Moves the write-ahead log into the database file, without the writer; with `restart` the short rest with it, so
    /// that the file can begin anew (while check-ins keep coming it would grow for ever).
    ///
    /// # Errors
    /// What the disk says.
    pub async fn checkpoint_wal(&self, restart: bool) -> Result<(), Error> {
        let attempted = || Error::attempted("move the write-ahead log into the database file");
        let options = SqliteConnectOptions::new()
            .filename(self.directory.join(FILE))
            .disable_statement_logging();
        let mut other = options.connect().await.map_err(attempted())?;
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(&mut other)
            .await
            .map_err(attempted())?;
        other.close().await.map_err(attempted())?;
        if !restart {
            return Ok(());
        }
        let mut session = self.session().await?;
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(session.connection())
            .await
            .map_err(attempted())?;
        Ok(())
    }

    /// Bytes of the write-ahead log.
    pub fn wal_bytes(&self) -> u64 {
        std::fs::metadata(self.directory.join(format!("{FILE}-wal")))
            .map_or(0, |metadata| metadata.len())
    }

    /// Bytes of the database file.
    pub fn database_bytes(&self) -> u64 {
        std::fs::metadata(self.directory.join(FILE)).map_or(0, |metadata| metadata.len())
    }

    /// The check value of the key that this database was made with: `(key id, check value)`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn key_check(&self) -> Result<Option<(String, Vec<u8>)>, Error> {
        let row = sqlx::query("SELECT key_id, key_check FROM installation WHERE id = 1")
            .fetch_optional(&self.readers)
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
        sqlx::query(
            "INSERT INTO installation (id, created_at, key_id, key_check) VALUES (1, $1, $2, $3)",
        )
        .bind(now.as_micros())
        .bind(key_id)
        .bind(check)
        .execute(session.connection())
        .await
        .map_err(Error::attempted("set up the database"))?;
        sqlx::query("INSERT INTO project (id, name) VALUES ($1, 'default')")
            .bind(crate::DEFAULT_PROJECT)
            .execute(session.connection())
            .await
            .map_err(Error::attempted("make the default project"))?;
        session.commit().await
    }
}

impl Session<'_> {
    /// The connection itself.
    pub(crate) fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.writer.connection
    }

    /// Begins a transaction. One that is neither committed nor rolled back is rolled back before the next session.
    pub(crate) async fn begin(&mut self) -> Result<(), Error> {
        self.writer.open = true;
        sqlx::query("BEGIN IMMEDIATE")
            .execute(self.connection())
            .await
            .map_err(Error::attempted("begin a transaction"))?;
        Ok(())
    }

    /// Commits from here on need not be on the disk at once (until [`Session::durable`]): the next durable commit takes
    /// them along, and a crash loses them only together with everything after them. For what can be done again.
    pub(crate) async fn relaxed(&mut self) -> Result<(), Error> {
        self.writer.relaxed = true;
        self.synchronous("PRAGMA synchronous = NORMAL").await
    }

    /// Commits are on the disk when they return.
    async fn durable(&mut self) -> Result<(), Error> {
        self.synchronous("PRAGMA synchronous = FULL").await?;
        self.writer.relaxed = false;
        Ok(())
    }

    async fn synchronous(&mut self, pragma: &'static str) -> Result<(), Error> {
        sqlx::query(pragma)
            .execute(self.connection())
            .await
            .map_err(Error::attempted("set how commits reach the disk"))?;
        Ok(())
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Error> {
        sqlx::query("COMMIT")
            .execute(self.connection())
            .await
            .map_err(Error::attempted("commit"))?;
        self.writer.open = false;
        Ok(())
    }

    /// Gives a transaction up.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rollback(&mut self) -> Result<(), Error> {
        match sqlx::query("ROLLBACK").execute(self.connection()).await {
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
        self.writer.open = false;
        Ok(())
    }
}

/// The directory's lock, which is made with it where they are missing.
pub(crate) fn lock(directory: &Path) -> Result<File, Error> {
    let refused = |source| Error::Directory {
        path: directory.to_owned(),
        source,
    };
    let existed = directory.exists();
    std::fs::create_dir_all(directory).map_err(refused)?;
    if !existed {
        private(directory).map_err(refused)?;
    }
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(directory.join("lock"))
        .map_err(refused)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse {
            path: directory.to_owned(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(refused(source)),
    }
}

/// The database holds what jobs print: nobody else reads it. Its companion files take over its mode.
#[cfg(unix)]
fn private_file(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(file)
        .map(drop)
}

#[cfg(unix)]
fn private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

/// The version that a database has once this program has opened it.
pub(crate) fn newest_migration() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

async fn migrate(connection: &mut SqliteConnection, directory: &Path) -> Result<(), Error> {
    match MIGRATIONS.run(connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) => {
            let known = newest_migration();
            Err(Error::Newer {
                path: directory.to_owned(),
                found,
                known,
            })
        }
        Err(MigrateError::Execute(source)) => Err(Error::Database {
            attempted: "migrate the database",
            source,
        }),
        Err(other) => Err(Error::Database {
            attempted: "migrate the database",
            source: sqlx::Error::Migrate(Box::new(other)),
        }),
    }
}
