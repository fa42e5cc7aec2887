//! Databases of a real PostgreSQL, one for each test that wants one.
//!
//! The server is the one of `SYSTOLE_TEST_POSTGRES`, a URL; without it, `ci/postgres` starts one. A server that cannot be had is a
//! failure of the test, with the words of the one who failed.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::runtime::RuntimeFlavor;
use url::Url;
use uuid::Uuid;

/// What the names of all such databases begin with.
const PREFIX: &str = "systole_test_";

/// An empty database, which goes with this value, whoever is still connected; soon after it, where the value is dropped by the only
/// thread of a runtime.
pub struct Database {
    url: Url,
    /// Closed to say that the database is not needed any more.
    needed: Option<Sender<()>>,
    keeper: Option<JoinHandle<Result<(), String>>>,
}

/// Makes an empty database. It blocks until that is done, in a runtime or outside.
pub fn database() -> Database {
    let server = server();
    let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
    let mut url = server.clone();
    url.set_path(&name);
    let (made, is_made) = channel();
    let (needed, until) = channel();
    // It has a runtime of its own: a value may be dropped within one, where nothing may wait for a future.
    let keeper = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime for the keeper of a database: {error}"))?
            .block_on(keep(server, &name, made, until))
            .map_err(|error| said(server, &error))
    });
    if is_made.recv().is_err() {
        panic!("no database for the test: {}", words(keeper));
    }
    Database {
        url,
        needed: Some(needed),
        keeper: Some(keeper),
    }
}

impl Database {
    /// Where it is.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Where it is behind a pooler that gives a session away after every transaction; started if need be.
    pub fn pooled_url(&self) -> String {
        static POOLER: OnceLock<Result<Url, String>> = OnceLock::new();
        let pooler = POOLER.get_or_init(|| {
            script(&["pooler", "start"])
                .and_then(|url| parsed(&url, "the answer of ci/postgres pooler start"))
        });
        let mut url = pooler
            .clone()
            .unwrap_or_else(|error| panic!("no pooler for the tests: {error}"));
        url.set_path(self.name());
        url.into()
    }

    /// Its name in the server.
    pub fn name(&self) -> &str {
        self.url.path().trim_start_matches('/')
    }
}

/// What the server has counted for a database since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Rows that were updated.
    pub updates: i64,
    /// Of these, those that stayed on their page and left the indexes alone.
    pub hot_updates: i64,
    /// Bytes of the write-ahead log, of the whole server.
    pub wal_bytes: i64,
}

impl Database {
    /// What was counted until now. Sessions report what they did with a delay of a second or so, while they are idle.
    ///
    /// # Errors
    /// What the server says.
    pub fn counters(&self) -> Result<Counters, String> {
        self.ask(async |connection| {
            let (updates, hot_updates, wal_bytes) = sqlx::query_as(
                "SELECT CAST(COALESCE(SUM(n_tup_upd), 0) AS BIGINT), CAST(COALESCE(SUM(n_tup_hot_upd), 0) AS BIGINT),
                 CAST(pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS BIGINT) FROM pg_stat_user_tables",
            )
            .fetch_one(connection)
            .await?;
            Ok(Counters { updates, hot_updates, wal_bytes })
        })
    }

    /// Lets the server look at its tables, as it would by itself some time after many rows were added.
    ///
    /// # Errors
    /// What the server says.
    pub fn analyze(&self) -> Result<(), String> {
        self.ask(async |connection| connection.execute("VACUUM ANALYZE").await.map(drop))
    }

    /// Carries statements out, as the owner of its tables.
    ///
    /// # Errors
    /// What the server says.
    pub fn carry_out(&self, statements: &str) -> Result<(), String> {
        let statements = AssertSqlSafe(statements.to_owned());
        self.ask(async |connection| connection.execute(statements).await.map(drop))
    }

    fn ask<T>(
        &self,
        ask: impl AsyncFnOnce(&mut PgConnection) -> sqlx::Result<T>,
    ) -> Result<T, String> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("no runtime: {error}"))?
            .block_on(async {
                let mut connection = PgConnection::connect(self.url()).await?;
                ask(&mut connection).await
            })
            .map_err(|error| said(&self.url, &error))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.needed.take());
        if is_only_thread_of_a_runtime() {
            // Connections of this runtime may be half open, and the server drops nothing until they answer. Where the process ends
            // before the keeper, the next that wants a database drops this one, too.
            return;
        }
        let words = self.keeper.take().map(words).unwrap_or_default();
        // While a test fails already, its own words matter more.
        if !words.is_empty() && !std::thread::panicking() {
            panic!("the database of a test could not be dropped: {words}");
        }
    }
}

/// Whether nothing else of this runtime goes on while this thread waits.
fn is_only_thread_of_a_runtime() -> bool {
    let runtime = tokio::runtime::Handle::try_current();
    runtime.is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::CurrentThread)
}

/// Waits for the end of a keeper; what went wrong, if anything.
fn words(keeper: JoinHandle<Result<(), String>>) -> String {
    match keeper.join() {
        Ok(Ok(())) => String::new(),
        Ok(Err(words)) => words,
        Err(_) => "its keeper panicked".to_owned(),
    }
}

/// Makes a database, and drops it when `until` closes. Its session holds a lock on the name: by that others see that it is in use, and a
/// process that is killed lets go of it.
async fn keep(server: &Url, name: &str, made: Sender<()>, until: Receiver<()>) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server.as_str()).await?;
    clear(&mut connection).await?;
    // Nobody else has it, as the name is new.
    try_lock(&mut connection, name).await?;
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    connection.execute(AssertSqlSafe(create)).await?;
    let _ = made.send(());
    let _ = until.recv();
    if drop_database(&mut connection, name).await.is_err() {
        // The test may have restarted the server.
        let mut again = PgConnection::connect(server.as_str()).await?;
        drop_database(&mut again, name).await?;
    }
    Ok(())
}

/// The server's own vacuum may be at work in it. Only a superuser may end that by force, and we are none; but without force the server ends
/// it by itself, and waits some seconds for others.
async fn drop_database(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    const VACUUM_MAY_NOT_BE_ENDED: &str = "42501";
    const OTHERS_ARE_THERE: &str = "55006";
    let gently = format!("DROP DATABASE IF EXISTS {name}");
    let by_force = format!("{gently} WITH (FORCE)");
    let mut attempts = [
        (&by_force, VACUUM_MAY_NOT_BE_ENDED),
        (&gently, OTHERS_ARE_THERE),
    ]
    .repeat(5)
    .into_iter();
    loop {
        let (statement, passing) = attempts.next().unwrap_or((&by_force, ""));
        match connection.execute(AssertSqlSafe(statement.clone())).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(passing) => {}
            other => return other.map(drop),
        }
    }
}

/// Takes the lock that stands for a name, until the session ends; whether nobody had it.
async fn try_lock(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(name)
        .fetch_one(connection)
        .await
}

/// Drops what killed tests left: databases whose lock nobody holds.
async fn clear(connection: &mut PgConnection) -> sqlx::Result<()> {
    let names: Vec<String> =
        sqlx::query_scalar("SELECT datname FROM pg_database WHERE starts_with(datname, $1)")
            .bind(PREFIX)
            .fetch_all(&mut *connection)
            .await?;
    for name in names {
        if try_lock(connection, &name).await? {
            drop_database(connection, &name).await?;
        }
    }
    Ok(())
}

/// Where the server is; started if need be. The first who asks waits for that, and all others with it.
fn server() -> &'static Url {
    static SERVER: OnceLock<Result<Url, String>> = OnceLock::new();
    let server = SERVER.get_or_init(|| match std::env::var("SYSTOLE_TEST_POSTGRES") {
        Ok(url) => parsed(&url, "SYSTOLE_TEST_POSTGRES"),
        Err(_) => {
            script(&["start"]).and_then(|url| parsed(&url, "the answer of ci/postgres start"))
        }
    });
    match server {
        Ok(url) => url,
        Err(error) => panic!("no PostgreSQL for the tests: {error}"),
    }
}

/// Calls `ci/postgres`; what it prints, or what it complains of.
pub fn script(arguments: &[&str]) -> Result<String, String> {
    script_with(arguments, &[])
}

/// The same with these variables, which a server that it starts has, too.
pub fn script_with(arguments: &[&str], variables: &[(&str, &Path)]) -> Result<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/testing is two below the root");
    let output = Command::new(root.join("ci/postgres"))
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .map_err(|error| format!("ci/postgres cannot be called: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!(
            "ci/postgres {} failed:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

fn parsed(url: &str, what: &str) -> Result<Url, String> {
    Url::parse(url).map_err(|error| format!("{what} is no URL: {error}"))
}

/// Without the password, which may be somebody's.
fn said(server: &Url, error: &sqlx::Error) -> String {
    let (host, port) = (
        server.host_str().unwrap_or_default(),
        server.port().unwrap_or(5432),
    );
    format!("the PostgreSQL of the tests, {host}:{port}, says: {error}")
}
