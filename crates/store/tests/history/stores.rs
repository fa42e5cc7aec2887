//! Stores of both kinds, and a monitor that says things to them.

use std::fmt;
use std::sync::Arc;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use systole_core::engine::{Action, Command, MonitorId, Position};
use systole_core::heartbeat::{Checkin, RunId, Settings, Signal};
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::log::Batch;
use systole_store::monitors::{MonitorFields, StoredToken};
use systole_store::record::{BatchPacker, CheckinRecord, Method};
use systole_store::{DEFAULT_PROJECT, Store};
use systole_testing::postgres::{Database, database};

/// When everything begins: a midnight.
pub const A: Time = Time::from_seconds(1_800_057_600);
/// Seconds.
pub const HOUR: i64 = 3_600;

/// So long after the beginning.
pub fn minutes(minutes: i64) -> Time {
    A + Span::from_seconds(minutes * 60)
}

/// Where a store is.
pub enum Place {
    Sqlite(tempfile::TempDir),
    Postgres(Database),
}

pub fn both() -> [Place; 2] {
    [
        Place::Sqlite(tempfile::tempdir().unwrap()),
        Place::Postgres(database()),
    ]
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Place::Sqlite(_) => "SQLite",
            Place::Postgres(_) => "PostgreSQL",
        })
    }
}

impl Place {
    async fn store(&self) -> Store {
        match self {
            Place::Sqlite(directory) => Store::open(directory.path()).await,
            Place::Postgres(database) => Store::connect(database.url()).await,
        }
        .unwrap()
    }

    /// The number that a statement answers.
    pub async fn number(&self, statement: &str) -> i64 {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        match self {
            Place::Sqlite(directory) => {
                let file = systole_store::backup::database_file(directory.path());
                let options = SqliteConnectOptions::new().filename(file).read_only(true);
                let mut connection = options.connect().await.unwrap();
                let found = sqlx::query_scalar(statement).fetch_one(&mut connection);
                let found = found.await.unwrap();
                connection.close().await.unwrap();
                found
            }
            Place::Postgres(database) => {
                let mut connection = PgConnection::connect(database.url()).await.unwrap();
                let found = sqlx::query_scalar(statement).fetch_one(&mut connection);
                let found = found.await.unwrap();
                connection.close().await.unwrap();
                found
            }
        }
    }

    /// Runs a statement beside the store, as if the engine had.
    pub async fn execute(&self, statement: &str) {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        match self {
            Place::Sqlite(directory) => {
                let file = systole_store::backup::database_file(directory.path());
                let options = SqliteConnectOptions::new().filename(file);
                let mut connection = options.connect().await.unwrap();
                sqlx::query(statement)
                    .execute(&mut connection)
                    .await
                    .unwrap();
                connection.close().await.unwrap();
            }
            Place::Postgres(database) => {
                let mut connection = PgConnection::connect(database.url()).await.unwrap();
                sqlx::query(statement)
                    .execute(&mut connection)
                    .await
                    .unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// With one monitor, and the lease.
    pub async fn open(&self) -> Told<'_> {
        self.open_with(1).await
    }

    /// With so many monitors, and the lease.
    pub async fn open_with(&self, monitors: u32) -> Told<'_> {
        let store = self.store().await;
        store.install(A, "key", b"check").await.unwrap();
        let schedule = Schedule::every(Span::from_seconds(600)).unwrap();
        let settings = Arc::new(Settings::new(schedule, Span::from_seconds(60)));
        let each = (0..monitors).map(|index| {
            let fields = MonitorFields {
                name: format!("told-{index}"),
                slug: format!("told-{index}"),
                description: String::new(),
                severity: "critical".to_owned(),
                labels: Vec::new(),
                owner: String::new(),
                runbook_url: String::new(),
                channels: None,
                set: None,
                settings: Arc::clone(&settings),
            };
            let mut hash = vec![7; 32];
            hash[..4].copy_from_slice(&index.to_be_bytes());
            let cipher = b"token".to_vec();
            (fields, StoredToken { hash, cipher })
        });
        let made = store
            .create_monitors(A, "test", DEFAULT_PROJECT, &each.collect::<Vec<_>>())
            .await;
        Told::begun(store, self, made.unwrap().0).await
    }
}

/// A store, and monitors that tell it something: one of them, where nothing else is said.
pub struct Told<'p> {
    pub store: Store,
    pub monitor: MonitorId,
    pub monitors: Vec<MonitorId>,
    pub epoch: i64,
    place: &'p Place,
    stream: u32,
    seq: u64,
    events: i64,
}

impl<'p> Told<'p> {
    async fn begun(store: Store, place: &'p Place, monitors: Vec<MonitorId>) -> Told<'p> {
        let stream = store.open_stream("test", A).await.unwrap();
        let epoch = store.take_lease(stream).await.unwrap();
        Told {
            store,
            monitor: monitors[0],
            monitors,
            epoch,
            place,
            stream,
            seq: 0,
            events: 0,
        }
    }

    /// After a crash.
    pub async fn again(self, place: &'p Place) -> Told<'p> {
        let monitors = self.monitors;
        drop(self.store);
        Told::begun(place.store().await, place, monitors).await
    }

    /// A row of the log: seconds after the beginning, what is said, of which run.
    pub async fn row(&mut self, said: &[(i64, Signal, Option<RunId>)]) {
        let monitor = self.monitor;
        let of_one = said
            .iter()
            .map(|(at, signal, run)| (monitor, *at, *signal, *run));
        self.row_of(&of_one.collect::<Vec<_>>()).await;
    }

    /// The same, of several monitors.
    pub async fn row_of(&mut self, said: &[(MonitorId, i64, Signal, Option<RunId>)]) {
        let time = |seconds: i64| A + Span::from_seconds(seconds);
        let at = time(said.last().unwrap().1);
        let mut packer = BatchPacker::new(at);
        for (monitor, seconds, signal, run) in said {
            packer.push(&CheckinRecord {
                monitor: *monitor,
                checkin: Checkin {
                    at: time(*seconds),
                    signal: *signal,
                    run: *run,
                },
                previous: Position::NONE,
                method: Method::Post,
                source: None,
                user_agent: Arc::from("test"),
                message: String::new(),
                body: match signal {
                    Signal::Success => b"said".to_vec(),
                    _ => Vec::new(),
                },
                body_truncated: false,
            });
        }
        self.seq += 1;
        let batch = Batch {
            stream: self.stream,
            seq: self.seq,
            at,
            count: said.len(),
            body: packer.finish(),
        };
        self.store.append(&batch, || at).await.unwrap();
    }

    /// The stream that it appends to.
    pub const fn stream(&self) -> u32 {
        self.stream
    }

    /// Ends the stream of a process that is gone; the embedded database does so at the next start.
    pub async fn close(&self, stream: u32) {
        if self.store.is_shared() {
            assert!(self.store.close_stream(stream, 1).await.unwrap());
        }
    }

    pub async fn write_all(&self) {
        while !self.store.write_history(self.epoch).await.unwrap().drained {}
    }

    /// Rolls up what is over at `now`, and folds what belongs to that.
    pub async fn roll_all(&self, now: Time) {
        while self.store.roll_history(self.epoch, now).await.unwrap() {}
    }

    async fn command(&self, action: Action, seconds: i64) {
        let command = Command {
            at: A + Span::from_seconds(seconds),
            monitor: Some(self.monitor),
            by: "test".to_owned(),
            action,
        };
        self.store.command(command).await.unwrap();
    }

    pub async fn pause(&self, from: i64, until: i64) {
        self.command(Action::Pause, from).await;
        self.command(Action::Resume, until).await;
    }

    pub async fn delete(&self) {
        self.command(Action::Delete, 20).await;
    }

    /// An incident as the engine writes it.
    pub async fn incident(&mut self, number: i64, from: i64, resolved: Option<(i64, &str)>) {
        let micros = |seconds: i64| (A + Span::from_seconds(seconds)).as_micros();
        let monitor = self.monitor;
        let (from, until) = (micros(from), resolved.map(|(until, _)| micros(until)));
        let resolved_at = until.map_or("NULL".to_owned(), |until| until.to_string());
        self.place
            .execute(&format!(
                "INSERT INTO incident (id, project_id, monitor_id, monitor_kind, monitor_name, labels, severity, state, reason,
                 reopened, started_at, detected_at, resolved_at, evidence) VALUES ({number}, 1, {monitor}, 'heartbeat', 'told',
                 '[]', 'critical', 'resolved', 'missed_deadline', 0, {from}, {from}, {resolved_at}, '{{}}')"
            ))
            .await;
        let told = [(from, "triggered", "missed_deadline")]
            .into_iter()
            .chain(resolved.map(|(until, reason)| (micros(until), "resolved", reason)));
        for (at, kind, reason) in told {
            self.events += 1;
            let seq = self.events;
            self.place
                .execute(&format!(
                    "INSERT INTO incident_event (seq, epoch, cut, project_id, monitor_id, incident_id, kind, at, decided_at,
                     reason, reopened, evidence) VALUES ({seq}, 1, 1, 1, {monitor}, {number}, '{kind}', {at}, {at},
                     '{reason}', 0, '{{}}')"
                ))
                .await;
        }
    }

    /// As if the process had ended before it wrote how far rollups had come.
    pub async fn unroll(&self) {
        self.place.execute("DELETE FROM history_rolled").await;
    }
}
