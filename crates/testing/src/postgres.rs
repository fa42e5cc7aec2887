//! Databases of a real PostgreSQL, one for each test that wants one.
//!
//! The server is the one of `SYSTOLE_TEST_POSTGRES`, a URL; without it, `ci/postgres` starts one. A server that cannot be had is a
//! failure of the test, with the words of the one who failed.
#![expect(clippy::expect_used, reason = "a test that has no database has failed")]

use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use url::Url;
use uuid::Uuid;

/// What the names of all such databases begin with.
const PREFIX: &str = "systole_test_";

/// An empty database, which goes with this value, whoever is still connected.
pub struct Database {
    url: Url,
    /// Closed to say that the database is not needed any more.
    needed: Option<Sender<()>>,
    keeper: Option<JoinHandle<()>>,
}

/// Makes an empty database. It blocks for some tens of milliseconds, in a runtime or outside.
pub fn database() -> Database {
    let server = server();
    let name = format!("{PREFIX}{}", Uuid::new_v4().simple());
    let mut url = server.clone();
    url.set_path(&name);
    let (made, is_made) = channel();
    let (needed, until) = channel();
    // It has a runtime of its own, as a value may be dropped in a runtime, where nothing may wait for another future.
    let keeper = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime for the database's keeper")
            .block_on(keep(server, &name, made, until));
    });
    let database = Database {
        url,
        needed: Some(needed),
        keeper: Some(keeper),
    };
    is_made
        .recv()
        .expect("the database could not be made; its keeper said why");
    database
}

impl Database {
    /// Where it is.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Its name in the server.
    pub fn name(&self) -> &str {
        self.url.path().trim_start_matches('/')
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        drop(self.needed.take());
        let ended = self.keeper.take().map(JoinHandle::join);
        // While a test fails already, its own words matter more.
        if matches!(ended, Some(Err(_))) && !std::thread::panicking() {
            panic!("the database {} could not be dropped", self.name());
        }
    }
}

/// Makes a database, and drops it when `until` closes. Its session holds a lock on the name: by that others see that it is in use, and a
/// process that is killed lets go of it.
async fn keep(server: &Url, name: &str, made: Sender<()>, until: Receiver<()>) {
    let mut connection = connect(server).await;
    clear(&mut connection).await;
    lock(&mut connection, name).await;
    let create = format!("CREATE DATABASE {name} TEMPLATE template0");
    connection
        .execute(AssertSqlSafe(create))
        .await
        .unwrap_or_else(|error| panic!("{}", wrong(server, "make a database", &error)));
    let _ = made.send(());
    let _ = until.recv();
    if drop_database(&mut connection, name).await.is_err() {
        // The test may have restarted the server.
        let mut again = connect(server).await;
        drop_database(&mut again, name)
            .await
            .unwrap_or_else(|error| panic!("{}", wrong(server, "drop a database", &error)));
    }
}

async fn connect(server: &Url) -> PgConnection {
    PgConnection::connect(server.as_str())
        .await
        .unwrap_or_else(|error| panic!("{}", wrong(server, "connect", &error)))
}

async fn drop_database(connection: &mut PgConnection, name: &str) -> sqlx::Result<()> {
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

/// Takes the lock that stands for a name; nobody else has it, as the name is new.
async fn lock(connection: &mut PgConnection, name: &str) {
    sqlx::query("SELECT pg_advisory_lock(hashtextextended($1, 0))")
        .bind(name)
        .execute(connection)
        .await
        .expect("a lock that nobody else wants");
}

/// Drops what killed tests left: databases whose lock nobody holds.
async fn clear(connection: &mut PgConnection) {
    let left = sqlx::query("SELECT datname FROM pg_database WHERE starts_with(datname, $1)")
        .bind(PREFIX)
        .fetch_all(&mut *connection)
        .await
        .expect("the list of databases");
    for row in left {
        let name: String = row.get(0);
        let is_left: bool = sqlx::query("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
            .bind(&name)
            .fetch_one(&mut *connection)
            .await
            .expect("an answer whether a database is in use")
            .get(0);
        if is_left {
            drop_database(connection, &name)
                .await
                .expect("to drop the database of a killed test");
        }
    }
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
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("crates/testing is two below the root");
    let output = Command::new(root.join("ci/postgres"))
        .args(arguments)
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
fn wrong(server: &Url, what: &str, error: &dyn Display) -> String {
    let (host, port) = (
        server.host_str().unwrap_or_default(),
        server.port().unwrap_or(5432),
    );
    format!("cannot {what} at the PostgreSQL of the tests, {host}:{port}: {error}")
}
