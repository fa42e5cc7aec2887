//! What can go wrong with copies of the database.

use std::path::{Path, PathBuf};

/// Why a copy was not made, or is not one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The data directory.
    #[error(transparent)]
    Store(#[from] crate::Error),
    /// A file refuses.
    #[error("cannot {attempted} {path}: {source}")]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It would be overwritten.
    #[error("{path} is there already; {advice}")]
    Exists {
        /// The file.
        path: PathBuf,
        /// What to do.
        advice: &'static str,
    },
    /// Another kind of file.
    #[error("{path} is not a database of Systole")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Something in it is wrong.
    #[error("{path} is damaged: {found}; use another backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the database says, shortened.
        found: String,
    },
    /// It was made by a newer version.
    #[error(
        "{path} was migrated to version {found} by a newer Systole, this one knows {known}; use the newer version"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The database refuses.
    #[error("cannot {attempted} {path}: {source}")]
    Database {
        /// What was attempted.
        attempted: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
}

/// For `map_err`: what was attempted with which file.
pub(super) fn refused(
    attempted: &'static str,
    path: &Path,
) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File {
        attempted,
        path,
        source,
    }
}

/// The same for what the database says; it has words of its own for a file of another kind, and for one of which parts are
/// missing.
pub(super) fn failed(
    attempted: &'static str,
    path: &Path,
) -> impl FnOnce(sqlx::Error) -> BackupError {
    const NOT_A_DATABASE: &str = "26";
    const CORRUPT: &str = "11";
    let path = path.to_owned();
    move |source| {
        let database = source.as_database_error();
        let code = database.and_then(|error| error.code());
        let message = database.map(|error| error.message().to_owned());
        match (code.as_deref(), message) {
            (Some(NOT_A_DATABASE), _) => BackupError::Foreign { path },
            (_, Some(message)) if message.contains("no such table: _sqlx_migrations") => {
                BackupError::Foreign { path }
            }
            (Some(code), Some(found)) if code == CORRUPT || found.contains("malformed") => {
                BackupError::Damaged { path, found }
            }
            _ => BackupError::Database {
                attempted,
                path,
                source,
            },
        }
    }
}

impl BackupError {
    /// The same about the file that a person named.
    pub(super) fn about(mut self, file: &Path) -> BackupError {
        match &mut self {
            BackupError::Foreign { path }
            | BackupError::Damaged { path, .. }
            | BackupError::Newer { path, .. }
            | BackupError::Database { path, .. } => file.clone_into(path),
            BackupError::Store(_) | BackupError::File { .. } | BackupError::Exists { .. } => {}
        }
        self
    }
}
