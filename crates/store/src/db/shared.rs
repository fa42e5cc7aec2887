//! PostgreSQL: any number of replicas, each with connections of its own.
//!
//! Nothing relies on the state of a session, so that a pooler may stand between: whatever a transaction needs is set
//! within it.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

use crate::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// The oldest major version that the statements are written for.
const OLDEST: i32 = 15;

/// Replicas migrate one after the other; the number is ours alone within a database.
const MIGRATING: &str = "SELECT pg_advisory_xact_lock(7319412266083)";

/// A transaction whose process stands still lets go of its locks after this time: others must be able to decide.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '1s'; SET LOCAL statement_timeout = '5s'";

/// One snapshot for all statements, however long they take.
pub(super) const BEGIN_SNAPSHOT: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0";

pub(super) struct Shared {
    /// For transactions and reading alike.
    pub(super) pool: PgPool,
    /// The writer of the log never waits for a connection.
    pub(super) appending: PgPool,
    place: String,
}

impl Shared {
    pub(super) async fn open(url: &str) -> Result<Shared, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(|source| Error::Url { source })?
            .application_name("systole")
            .disable_statement_logging();
        let place = format!(
            "{} at {}:{}",
            options.get_database().unwrap_or("systole"),
            options.get_host(),
            options.get_port()
        );
        let waits = |pool: PgPoolOptions| {
            pool.acquire_timeout(Duration::from_secs(5))
                .max_lifetime(Duration::from_secs(1_800))
                .test_before_acquire(false)
        };
        let pool = waits(PgPoolOptions::new().max_connections(12));
        let appending = waits(PgPoolOptions::new().max_connections(2).min_connections(1));
        let shared = Shared {
            pool: pool.connect_lazy_with(options.clone()),
            appending: appending.connect_lazy_with(options),
            place,
        };
        shared.migrate().await?;
        Ok(shared)
    }

    /// Brings the schema up, one replica at a time, in one transaction.
    async fn migrate(&self) -> Result<(), Error> {
        let attempted = || Error::attempted("open the database");
        let mut transaction = self.pool.begin().await.map_err(attempted())?;
        sqlx::raw_sql("SET LOCAL client_min_messages = warning")
            .execute(&mut *transaction)
            .await
            .map_err(attempted())?;
        let version: String = sqlx::query_scalar("SHOW server_version_num")
            .fetch_one(&mut *transaction)
            .await
            .map_err(attempted())?;
        let version = version.parse().unwrap_or(0) / 10_000;
        if version < OLDEST {
            return Err(Error::TooOld {
                found: version,
                oldest: OLDEST,
            });
        }
        sqlx::query(MIGRATING)
            .execute(&mut *transaction)
            .await
            .map_err(attempted())?;
        let migrations = Migrator {
            locking: false,
            ..Migrator::DEFAULT
        };
        let migrations = Migrator {
            migrations: MIGRATIONS.migrations.clone(),
            ..migrations
        };
        migrations
            .run(&mut *transaction)
            .await
            .map_err(super::migration_failed(
                self.place.clone(),
                newest_migration(),
            ))?;
        transaction.commit().await.map_err(attempted())
    }

    /// Where it is, for people: no password.
    pub(super) fn place(&self) -> &str {
        &self.place
    }
}

/// The version that a database has once this program has opened it.
fn newest_migration() -> i64 {
    MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0)
}
