//! SQLite in a directory of its own: one process, one writing connection, a pool of readers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;

use crate::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The database file within the data directory.
pub(crate) const FILE: &str = "systole.db";

pub(super) struct Embedded {
    pub(super) writer: Mutex<Writer>,
    pub(super) readers: SqlitePool,
    directory: PathBuf,
    /// Held as long as the store lives: one process per directory.
    _lock: File,
}

/// The one connection that writes.
pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    /// A transaction was begun and its end has not been seen: its future may have been dropped.
    pub(super) open: bool,
    /// The session before made its commits relaxed.
    pub(super) relaxed: bool,
}

impl Embedded {
    pub(super) async fn open(directory: &Path) -> Result<Embedded, Error> {
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
        // What they read again the kernel has in memory, once for all of them.
        let reading = options
            .read_only(true)
            .create_if_missing(false)
            .pragma("cache_size", "-4096");
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .min_connections(0)
            .connect_lazy_with(reading);
        let writer = Mutex::new(Writer {
            connection,
            open: false,
            relaxed: false,
        });
        Ok(Embedded {
            writer,
            readers,
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// Moves the write-ahead log into the database file on a connection of its own.
    pub(super) async fn checkpoint_wal(&self) -> Result<(), Error> {
        let attempted = || Error::attempted("move the write-ahead log into the database file");
        let options = SqliteConnectOptions::new()
            .filename(self.directory.join(FILE))
            .disable_statement_logging();
        let mut other = options.connect().await.map_err(attempted())?;
        sqlx::query("PRAGMA wal_checkpoint(PASSIVE)")
            .fetch_one(&mut other)
            .await
            .map_err(attempted())?;
        other.close().await.map_err(attempted())
    }

    /// Bytes of the write-ahead log.
    pub(super) fn wal_bytes(&self) -> u64 {
        std::fs::metadata(self.directory.join(format!("{FILE}-wal")))
            .map_or(0, |metadata| metadata.len())
    }

    /// Bytes of the database file.
    pub(super) fn database_bytes(&self) -> u64 {
        std::fs::metadata(self.directory.join(FILE)).map_or(0, |metadata| metadata.len())
    }
}

/// For somebody who only looks, without the directory's lock.
pub(super) fn look(directory: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(directory.join(FILE))
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options)
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
    MIGRATIONS
        .run(connection)
        .await
        .map_err(super::migration_failed(
            directory.display().to_string(),
            newest_migration(),
        ))
}
