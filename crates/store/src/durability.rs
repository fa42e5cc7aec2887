//! What an acknowledged row survives, by the settings of the shared database.

use crate::{Error, Store, sql};

/// What a row survives whose commit was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The loss of the database's server: a standby has it, too.
    Standby,
    /// A crash of the database, but not a fail-over: no standby is waited for.
    Alone,
    /// Not even a crash of the database: this setting is off.
    Unsafe(&'static str),
}

impl Durability {
    /// A sentence where somebody should know; `None` where nothing acknowledged can be lost.
    pub const fn warning(self) -> Option<&'static str> {
        match self {
            Durability::Standby => None,
            Durability::Alone => Some(
                "the database waits for no synchronous standby: a fail-over may lose acknowledged check-ins",
            ),
            Durability::Unsafe(_) => Some(
                "the database does not wait for its disk: a crash of it loses acknowledged check-ins",
            ),
        }
    }
}

impl Store {
    /// What an acknowledged row survives in the shared database; `None` for the embedded one, which always waits for the disk.
    ///
    /// # Errors
    /// What the database says.
    pub async fn durability(&self) -> Result<Option<Durability>, Error> {
        if !self.is_shared() {
            return Ok(None);
        }
        // Whether the standby is there need not be asked: without it no commit would be answered.
        let row = sql::query(
            "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('synchronous_standby_names')",
        )
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("ask what a commit waits for"))?;
        Ok(Some(judge(
            &row.get::<String>(0),
            &row.get::<String>(1),
            &row.get::<String>(2),
        )))
    }
}

fn judge(fsync: &str, synchronous_commit: &str, standby_names: &str) -> Durability {
    match (fsync, synchronous_commit) {
        ("off", _) => Durability::Unsafe("fsync"),
        (_, "off") => Durability::Unsafe("synchronous_commit"),
        (_, "local") => Durability::Alone,
        _ if standby_names.trim().is_empty() => Durability::Alone,
        _ => Durability::Standby,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_what_its_commit_waited_for() {
        for (fsync, commit, names, expected) in [
            ("on", "on", "b", Durability::Standby),
            ("on", "remote_apply", "ANY 1 (b, c)", Durability::Standby),
            ("on", "on", "", Durability::Alone),
            ("on", "local", "b", Durability::Alone),
            ("on", "off", "b", Durability::Unsafe("synchronous_commit")),
            ("off", "on", "b", Durability::Unsafe("fsync")),
        ] {
            assert_eq!(
                judge(fsync, commit, names),
                expected,
                "{fsync} {commit} {names}"
            );
        }
    }
}
