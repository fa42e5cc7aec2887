//! What can go wrong with the store, said so that the person who must act knows what to do.

use std::path::PathBuf;

/// A failure of the store. `Display` names what was attempted; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made or opened.
    #[error(
        "cannot use the data directory {path}: {source}; make it writable for this user or name another with --data-dir"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process holds the directory.
    #[error(
        "the data directory {path} is in use by another Systole; stop that one or name another with --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database was made by a newer version.
    #[error(
        "the database in {place} was migrated to version {found} by a newer Systole, this one knows {known}; run the newer version"
    )]
    Newer {
        /// The directory, or name and host.
        place: String,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The address of the shared database.
    #[error(
        "the database's URL cannot be used: {why}; it looks like postgres://user:password@host:5432/name?sslmode=verify-full"
    )]
    Url {
        /// What is wrong with it; nothing of its secrets.
        why: String,
    },
    /// The shared database does not let us in.
    #[error("cannot open the database {place}: {}; {advice}", plainly(.source))]
    Refused {
        /// Name, host and port.
        place: String,
        /// What to do.
        advice: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// The shared database is too old.
    #[error("the database is PostgreSQL {found}, Systole needs {oldest} or newer; upgrade it")]
    TooOld {
        /// Its major version.
        found: i32,
        /// The oldest that is known to work.
        oldest: i32,
    },
    /// A copy into a shared database.
    #[error("the database was not copied: {0}")]
    NotCopied(String),
    /// The database refuses.
    #[error("cannot {attempted}: {source}")]
    Database {
        /// What was attempted.
        attempted: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// Stored bytes are not what they should be.
    #[error("the database is damaged: {0}; restore a backup")]
    Corrupt(&'static str),
    /// A name is taken, or another rule between rows does not hold.
    #[error("{field} is taken by another {what}")]
    Taken {
        /// The field.
        field: &'static str,
        /// Of what.
        what: &'static str,
    },
    /// The decider's lease has moved on: another process decides.
    #[error("another process has taken over deciding; this one must start again")]
    Fenced,
    /// The stream has been closed by another process.
    #[error("the log stream was closed by another process")]
    StreamClosed,
}

impl Error {
    /// For `map_err`: what was attempted.
    pub(crate) fn attempted(attempted: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        move |source| Error::Database { attempted, source }
    }
}

/// In one line, and without naming what every reader knows: that a database said it.
fn plainly(error: &sqlx::Error) -> String {
    let text = match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    text.replace('\n', " ")
}

/// A violated UNIQUE rule as [`Error::Taken`], by the columns that the database names.
pub(crate) fn taken(
    attempted: &'static str,
    what: &'static str,
    columns: &'static [(&'static str, &'static str)],
) -> impl FnOnce(sqlx::Error) -> Error {
    move |source| {
        let text = source
            .as_database_error()
            .filter(|error| error.is_unique_violation())
            .map(|error| match error.constraint() {
                // `table_project_id_column_key` stands for the columns that SQLite would name.
                Some(constraint) => constraint.replacen('_', ".", 1),
                None => error.message().to_owned(),
            });
        let names = |text: &str, column: &str| match column.split_once('.') {
            Some((table, name)) if text.starts_with(table) => text.contains(name),
            _ => text.contains(column),
        };
        let field = text.and_then(|text| columns.iter().find(|(column, _)| names(&text, column)));
        match field {
            Some((_, field)) => Error::Taken { field, what },
            None => Error::Database { attempted, source },
        }
    }
}
