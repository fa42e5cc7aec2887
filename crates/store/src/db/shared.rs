//! PostgreSQL: any number of replicas, each with connections of its own.
//!
//! Nothing relies on the state of a session, so that a pooler may stand between: whatever a transaction needs is set
//! within it, and no statement is then kept prepared, which costs each a few ways there and back.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _};

use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::Error;
use crate::sql::{Broken, Lender, Lent, Preparing};

mod address;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The oldest major version that the statements are written for.
const OLDEST: i32 = 15;

/// Replicas migrate one after the other; the number is ours alone within a database.
const MIGRATING: &str = "SELECT pg_advisory_xact_lock(7319412266083)";

/// The migrator prepares statements by names that another process may have left on the same connection of a pooler.
const FORGET: &str = "DEALLOCATE ALL";

/// That the migrator's table is there already is no news.
const QUIET: &str = "SET LOCAL client_min_messages = warning";

/// An append whose process is gone must not wait until its stream is forgotten, and then be carried out. The database's word that
/// it was not comes before our own patience ends.
const APPENDING: (&str, &str) = ("statement_timeout", "9s");

/// Who decides which server a name leads to may have changed their mind after so long.
const LIFETIME: Duration = Duration::from_secs(1_800);

/// How long somebody waits for a connection.
const CONNECTING: Duration = Duration::from_secs(5);

/// A transaction whose process stands still lets go of its locks after this time: others must be able to decide.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '1s'; SET LOCAL statement_timeout = '5s'";

/// A commit is waited for without a limit of the database's: one that waits for a synchronous standby and runs into the limit is
/// said to be done, although the standby does not have it.
pub(super) const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";

/// One snapshot for all statements, however long they take.
pub(super) const BEGIN_SNAPSHOT: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";

pub(super) struct Shared {
    /// For transactions and reading alike.
    pub(super) lender: Lender,
    /// The writer of the log never waits for a connection.
    appending: Lender,
    /// The one that it has: giving it back after every append would cost a way there and back each time.
    kept: Mutex<Option<Kept>>,
    place: String,
}

/// The writer's connection.
struct Kept {
    lent: Lent,
    since: Instant,
}

impl Shared {
    pub(super) async fn open(url: &str) -> Result<Shared, Error> {
        Shared::connect(url, true).await
    }

    /// The same for somebody who only looks: nothing is migrated.
    pub(super) async fn look(url: &str) -> Result<Shared, Error> {
        Shared::connect(url, false).await
    }

    async fn connect(url: &str, is_migrated: bool) -> Result<Shared, Error> {
        let options = address::read(url)?
            .application_name("systole")
            // Poolers know little of what a connection may ask for at its start, and we need none of it.
            .extra_float_digits(None)
            .disable_statement_logging();
        let place = format!(
            "{} at {}",
            options.get_database().unwrap_or(options.get_username()),
            match options.get_socket() {
                Some(socket) => socket.display().to_string(),
                None => format!("{}:{}", options.get_host(), options.get_port()),
            }
        );
        // A pool would try again and again, and say in the end that it has no connection.
        let mut first = connect(&options, &place).await?;
        let is_pooled = is_pooled(&mut first, &options, &place).await?;
        if is_migrated {
            migrate(&mut first, &place).await?;
        }
        first
            .close()
            .await
            .map_err(Error::attempted("open the database"))?;
        // How statements that are no part of a transaction are prepared.
        let preparing = if is_pooled {
            Preparing::InTransaction
        } else {
            Preparing::Once
        };
        // A pooler would not pass it on.
        let bounded = if is_pooled {
            options.clone()
        } else {
            options.clone().options([APPENDING])
        };
        let lender = |pool: PgPoolOptions, options: PgConnectOptions| {
            let broken = Broken::never();
            let asked = broken.clone();
            let pool = pool
                .acquire_timeout(CONNECTING)
                .max_lifetime(LIFETIME)
                .test_before_acquire(false)
                .before_acquire(move |_, connection| {
                    let trusted = asked.trusts(connection.age);
                    Box::pin(async move { Ok(trusted) })
                })
                .connect_lazy_with(options);
            Lender::new(pool, preparing, broken)
        };
        Ok(Shared {
            lender: lender(PgPoolOptions::new().max_connections(12), options),
            appending: lender(
                PgPoolOptions::new().max_connections(2).min_connections(1),
                bounded,
            ),
            kept: Mutex::new(None),
            place,
        })
    }

    /// The writer's connection: a new one where the one before failed, or is old.
    pub(super) async fn appending(&self) -> Result<MappedMutexGuard<'_, Lent>, sqlx::Error> {
        let mut kept = self.kept.lock().await;
        let is_good = |kept: &Kept| !kept.lent.failed() && kept.since.elapsed() < LIFETIME;
        if !kept.as_ref().is_some_and(is_good) {
            *kept = None;
            let lent = self.appending.lend().await?;
            let since = Instant::now();
            *kept = Some(Kept { lent, since });
        }
        MutexGuard::try_map(kept, |kept| kept.as_mut().map(|kept| &mut kept.lent))
            .map_err(|_| sqlx::Error::PoolClosed)
    }

    /// Where it is, for people: no password.
    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

async fn connect(options: &PgConnectOptions, place: &str) -> Result<PgConnection, Error> {
    let connected = tokio::time::timeout(CONNECTING, options.connect());
    let source = match connected.await {
        Ok(Ok(connection)) => return Ok(connection),
        Ok(Err(source)) => source,
        Err(_) => sqlx::Error::Io(std::io::Error::other("no answer within five seconds")),
    };
    let code = source
        .as_database_error()
        .and_then(|error| error.code())
        .unwrap_or_default();
    const CERTIFICATE: &str =
        "look at sslmode and sslrootcert in the URL, and at the certificate of the server";
    let advice = match (&*code, &source) {
        ("3D000", _) => "create it, or name another one in the URL",
        ("28P01" | "28000", _) => {
            "look at user and password in the URL, and at the server's pg_hba.conf"
        }
        ("53300", _) => "the server needs a larger max_connections",
        (_, sqlx::Error::Tls(_)) => CERTIFICATE,
        // That is how a certificate is refused while both sides shake hands.
        (_, sqlx::Error::Io(error)) if error.kind() == ErrorKind::InvalidData => CERTIFICATE,
        _ => "see whether the server runs and can be reached from here",
    };
    Err(Error::Refused {
        place: place.to_owned(),
        advice,
        source,
    })
}

/// Whether somebody stands between us and PostgreSQL who may give every transaction another connection: a connection
/// that has not asked for anything yet is then not one of the database's.
async fn is_pooled(
    first: &mut PgConnection,
    options: &PgConnectOptions,
    place: &str,
) -> Result<bool, Error> {
    let attempted = || Error::attempted("look whether a pooler stands before the database");
    // Statements of the simple protocol: whether others may be kept is the question.
    let name: String = sqlx::raw_sql(
        "SELECT 'systole ' || md5(CAST(random() AS TEXT) || CAST(clock_timestamp() AS TEXT))",
    )
    .fetch_one(&mut *first)
    .await
    .map_err(attempted())?
    .get(0);
    let silent = connect(&options.clone().application_name(&name), place).await?;
    let looked = format!("SELECT 1 FROM pg_stat_activity WHERE application_name = '{name}'");
    let found = sqlx::raw_sql(AssertSqlSafe(looked))
        .fetch_optional(&mut *first)
        .await
        .map_err(attempted())?;
    silent.close().await.map_err(attempted())?;
    Ok(found.is_none())
}

/// Brings the schema up, one replica at a time, in one transaction.
async fn migrate(connection: &mut PgConnection, place: &str) -> Result<(), Error> {
    let attempted = || Error::attempted("open the database");
    let mut transaction = connection.begin().await.map_err(attempted())?;
    let version: String = sqlx::raw_sql("SHOW server_version_num")
        .fetch_one(&mut *transaction)
        .await
        .map_err(attempted())?
        .get(0);
    new_enough(&version)?;
    for statement in [QUIET, MIGRATING, FORGET] {
        sqlx::raw_sql(statement)
            .execute(&mut *transaction)
            .await
            .map_err(attempted())?;
    }
    let migrations = Migrator {
        locking: false,
        ..Migrator::DEFAULT
    };
    let migrations = Migrator {
        migrations: MIGRATIONS.migrations.clone(),
        ..migrations
    };
    migrations
        .run_direct(None, &mut *transaction, false)
        .await
        .map_err(super::migration_failed(
            place.to_owned(),
            newest_migration(),
        ))?;
    sqlx::raw_sql(FORGET)
        .execute(&mut *transaction)
        .await
        .map_err(attempted())?;
    transaction.commit().await.map_err(attempted())
}

/// By the number that PostgreSQL gives its version: 150004 is 15.4.
fn new_enough(version: &str) -> Result<(), Error> {
    let found = version.parse().unwrap_or(0) / 10_000;
    if found < OLDEST {
        return Err(Error::TooOld {
            found,
            oldest: OLDEST,
        });
    }
    Ok(())
}

/// The version that a database has once this program has opened it.
pub(super) fn newest_migration() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_too_old_is_refused_with_what_to_do() {
        for (version, found) in [("140012", 14), ("90624", 9), ("what", 0)] {
            let error = new_enough(version).expect_err(version);
            assert!(
                matches!(error, Error::TooOld { found: said, .. } if said == found),
                "{version}: {error}"
            );
        }
        for version in ["150000", "180001"] {
            assert!(new_enough(version).is_ok(), "{version}");
        }
        assert_eq!(
            new_enough("140012").expect_err("14").to_string(),
            "the database is PostgreSQL 14, Systole needs 15 or newer; upgrade it"
        );
    }
}
