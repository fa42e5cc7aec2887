//! Copies of the database: made while it is used, looked at, and put back.
//!
//! A copy is one file, made by SQLite from one snapshot on a connection of its own that only reads: the server goes on
//! writing beside it. It is what a crash at that moment would have left, so starting with it needs no code of its own.

mod error;

use std::fs::File;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use systole_core::time::Time;

pub use error::BackupError;
use error::{failed, refused};

use crate::db::{FILE, lock, newest_migration};
use crate::log::BATCH;

/// The migrations from which on history stands in tables of its own, and in blocks first.
const HISTORY: i64 = 7;
const BLOCKS: i64 = 8;

/// How thoroughly a database is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only what it is.
    Glance,
    /// Pages and rows, not whether indexes agree with them.
    Quick,
    /// Everything; takes as long as reading the file.
    Full,
}

/// What a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The newest migration that was run on it.
    pub version: i64,
    /// Id and check value of the key that its secrets are encrypted with; `None` before its first start.
    pub key: Option<(String, Vec<u8>)>,
    /// Size of the file, its write-ahead log included.
    pub bytes: u64,
}

/// What a database holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// What it is.
    pub identity: Identity,
    /// Monitors.
    pub monitors: i64,
    /// Channels.
    pub channels: i64,
    /// Incidents, resolved ones too.
    pub incidents: i64,
    /// Check-ins in history and in the log.
    pub checkins: i64,
    /// The last sign of life in it.
    pub last: Option<Time>,
}

/// The database file of a data directory.
pub fn database_file(directory: &Path) -> PathBuf {
    directory.join(FILE)
}

/// Copies the database of `directory` to `file`, which must not be there, and looks at the copy. The copy is on the disk
/// when this returns; where it fails, nothing is left of it.
///
/// # Errors
/// [`BackupError`].
pub async fn back_up(directory: &Path, file: &Path) -> Result<Contents, BackupError> {
    if file.exists() {
        return Err(BackupError::Exists {
            path: file.to_owned(),
            advice: "a backup is never overwritten: name a file that is not there",
        });
    }
    let partial = Partial::make(companion(file, ".partial"))?;
    let source = database_file(directory);
    let mut connection = open(&source).await?;
    let target = partial.path.to_str().ok_or_else(|| {
        let source = std::io::Error::other("its name is no UTF-8, which SQLite needs");
        refused("write", file)(source)
    })?;
    sqlx::query("VACUUM INTO $1")
        .bind(target)
        .execute(&mut connection)
        .await
        .map_err(failed("copy", &source))?;
    connection.close().await.map_err(failed("close", &source))?;
    // SQLite leaves it to us when such a copy reaches the disk.
    synced(&partial.path)?;
    let contents = inspect(&partial.path).await?;
    partial.rename(file)?;
    Ok(contents)
}

/// Looks at a database as thoroughly as `depth` says, without changing it; a server may be using it.
///
/// # Errors
/// [`BackupError`], where it is not one, is damaged, or is newer than this program.
pub async fn identify(file: &Path, depth: Depth) -> Result<Identity, BackupError> {
    let mut connection = open(file).await?;
    let looked = identity(&mut connection, file, depth).await;
    connection.close().await.map_err(failed("close", file))?;
    looked
}

/// The same with all depth, and counts what is in it.
///
/// # Errors
/// As [`identify`].
pub async fn inspect(file: &Path) -> Result<Contents, BackupError> {
    let mut connection = open(file).await?;
    let looked = match identity(&mut connection, file, Depth::Full).await {
        Ok(identity) => contents(&mut connection, file, identity).await,
        Err(error) => Err(error),
    };
    connection.close().await.map_err(failed("close", file))?;
    looked
}

async fn identity(
    connection: &mut SqliteConnection,
    file: &Path,
    depth: Depth,
) -> Result<Identity, BackupError> {
    let version = version(connection, file).await?;
    let known = newest_migration();
    if version > known {
        return Err(BackupError::Newer {
            path: file.to_owned(),
            found: version,
            known,
        });
    }
    sound(connection, file, depth).await?;
    let key = sqlx::query("SELECT key_id, key_check FROM installation WHERE id = 1")
        .fetch_optional(connection)
        .await
        .map_err(failed("read", file))?;
    Ok(Identity {
        version,
        key: key.map(|row| (row.get(0), row.get(1))),
        bytes: size(file) + size(&companion(file, "-wal")),
    })
}

async fn version(connection: &mut SqliteConnection, file: &Path) -> Result<i64, BackupError> {
    let row = sqlx::query("SELECT MAX(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(connection)
        .await
        .map_err(failed("read", file))?;
    row.get::<Option<i64>, _>(0)
        .ok_or_else(|| BackupError::Foreign {
            path: file.to_owned(),
        })
}

async fn sound(
    connection: &mut SqliteConnection,
    file: &Path,
    depth: Depth,
) -> Result<(), BackupError> {
    let damaged = |found: String| {
        let first = found.lines().next().unwrap_or_default();
        BackupError::Damaged {
            path: file.to_owned(),
            found: first.chars().take(200).collect(),
        }
    };
    let pragma = match depth {
        Depth::Glance => return Ok(()),
        Depth::Quick => "PRAGMA quick_check(1)",
        Depth::Full => "PRAGMA integrity_check(1)",
    };
    let found: String = sqlx::query(pragma)
        .fetch_one(&mut *connection)
        .await
        .map_err(failed("check", file))?
        .get(0);
    if found != "ok" {
        return Err(damaged(found));
    }
    if depth == Depth::Full {
        let stray = sqlx::query("PRAGMA foreign_key_check")
            .fetch_optional(connection)
            .await
            .map_err(failed("check", file))?;
        if let Some(row) = stray {
            let table: String = row.get(0);
            return Err(damaged(format!(
                "a row of {table} names one that is not there"
            )));
        }
    }
    Ok(())
}

async fn contents(
    connection: &mut SqliteConnection,
    file: &Path,
    identity: Identity,
) -> Result<Contents, BackupError> {
    // One that an older version made is looked at as it is.
    let unfolded = if identity.version >= BLOCKS {
        "(SELECT COALESCE(SUM(checkins), 0) FROM history_group)"
    } else {
        "0"
    };
    let checkins = if identity.version >= HISTORY {
        "(SELECT COALESCE(SUM(n), 0) FROM history_chunk) + (SELECT COALESCE(SUM(l.n), 0) FROM log l
         LEFT JOIN history_position p ON p.stream = l.stream WHERE l.kind = $1 AND l.seq > COALESCE(p.seq, 0))"
    } else {
        "(SELECT COALESCE(SUM(n), 0) FROM log WHERE kind = $1)"
    };
    let counts = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT (SELECT COUNT(*) FROM monitor), (SELECT COUNT(*) FROM channel), (SELECT COUNT(*) FROM incident),
         {checkins} + {unfolded}, (SELECT MAX(put) FROM log)"
    )))
    .bind(BATCH)
    .fetch_one(connection)
    .await
    .map_err(failed("count what is in", file))?;
    Ok(Contents {
        identity,
        monitors: counts.get(0),
        channels: counts.get(1),
        incidents: counts.get(2),
        checkins: counts.get(3),
        last: counts.get::<Option<i64>, _>(4).map(Time::from_micros),
    })
}

/// A copy that lies in the data directory and is not in use yet. Dropped, it is gone.
pub struct Staged {
    partial: Partial,
    directory: PathBuf,
    /// What it holds.
    pub contents: Contents,
    /// As long as this lives no server uses the directory.
    _lock: File,
}

/// Copies `file` into `directory`, whose server must be stopped, and looks at it there. A database that is there is
/// refused unless it is to be replaced; until [`Staged::install`] it stays as it is.
///
/// # Errors
/// [`BackupError`].
pub async fn stage(directory: &Path, file: &Path, replace: bool) -> Result<Staged, BackupError> {
    let lock = lock(directory)?;
    let target = database_file(directory);
    if present(directory).next().is_some() && !replace {
        return Err(BackupError::Exists {
            path: target,
            advice: "give --force to replace it: it is kept in a directory beside it",
        });
    }
    let partial = Partial::make(companion(&target, ".partial"))?;
    let copied = File::open(file).and_then(|mut from| {
        let mut to = File::options().write(true).open(&partial.path)?;
        std::io::copy(&mut from, &mut to)?;
        to.sync_all()
    });
    copied.map_err(refused("copy", file))?;
    let contents = inspect(&partial.path)
        .await
        .map_err(|error| error.about(file))?;
    Ok(Staged {
        partial,
        directory: directory.to_owned(),
        contents,
        _lock: lock,
    })
}

impl Staged {
    /// Puts it into use. A database that was there is moved into the directory `aside` within the data directory, whose
    /// path is answered.
    ///
    /// # Errors
    /// [`BackupError`]; what was there is then there or in `aside`.
    pub fn install(self, aside: &str) -> Result<Option<PathBuf>, BackupError> {
        let target = database_file(&self.directory);
        let mut kept = None;
        let mut former = present(&self.directory).peekable();
        if former.peek().is_some() {
            let aside = self.directory.join(aside);
            std::fs::DirBuilder::new()
                .mode(0o700)
                .create(&aside)
                .map_err(refused("make the directory", &aside))?;
            for name in former {
                let from = self.directory.join(&name);
                std::fs::rename(&from, aside.join(&name)).map_err(refused("move", &from))?;
            }
            own_as(&self.directory, &aside)?;
            kept = Some(aside);
        }
        own_as(&self.directory, &self.partial.path)?;
        self.partial.rename(&target)?;
        Ok(kept)
    }
}

/// The files of a database that are in a directory. Its write-ahead log alone is one too: it would be taken for that of a
/// database that is put beside it.
fn present(directory: &Path) -> impl Iterator<Item = String> {
    let names = [
        FILE.to_owned(),
        format!("{FILE}-wal"),
        format!("{FILE}-shm"),
    ];
    let directory = directory.to_owned();
    names
        .into_iter()
        .filter(move |name| directory.join(name).exists())
}

/// Made by root, it is to be used by whoever owns the directory.
fn own_as(directory: &Path, path: &Path) -> Result<(), BackupError> {
    let changed = std::fs::metadata(directory).and_then(|wanted| {
        let found = std::fs::metadata(path)?;
        if found.uid() == wanted.uid() {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(wanted.uid()), Some(wanted.gid()))
    });
    changed.map_err(refused("give to the owner of the data directory", path))
}

/// A file that is being written; dropped before it has got its name, it is gone.
struct Partial {
    path: PathBuf,
}

impl Partial {
    /// An empty file that only this user can read.
    fn make(path: PathBuf) -> Result<Partial, BackupError> {
        let made = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match made {
            Ok(_) => Ok(Partial { path }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(BackupError::Exists {
                    path,
                    advice: "another command is writing it, or one was interrupted: if none is running, delete it",
                })
            }
            Err(error) => Err(refused("write", &path)(error)),
        }
    }

    fn rename(self, name: &Path) -> Result<(), BackupError> {
        std::fs::rename(&self.path, name).map_err(refused("name the finished file", name))?;
        let directory = name
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        synced(directory.unwrap_or(Path::new(".")))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the renaming there is nothing of this name.
        _ = std::fs::remove_file(&self.path);
        for ending in ["-journal", "-wal", "-shm"] {
            _ = std::fs::remove_file(companion(&self.path, ending));
        }
    }
}

fn companion(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

fn synced(path: &Path) -> Result<(), BackupError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(refused("write to the disk", path))
}

async fn open(file: &Path) -> Result<SqliteConnection, BackupError> {
    // SQLite itself would only say that it cannot.
    File::open(file).map_err(refused("read", file))?;
    SqliteConnectOptions::new()
        .filename(file)
        .read_only(true)
        .create_if_missing(false)
        .busy_timeout(Duration::from_secs(10))
        .disable_statement_logging()
        .connect()
        .await
        .map_err(failed("open", file))
}
