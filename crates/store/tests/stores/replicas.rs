//! Several processes on one PostgreSQL: who waits for whom, and what then holds. Nothing here goes by time: a test waits
//! until the database says that somebody waits.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use systole_core::engine::Vector;
use systole_core::time::{Span, Time};
use systole_store::deliveries::{Attempt, Finish};
use systole_store::log::Batch;
use systole_store::{Error, Store};
use systole_testing::postgres::{self, Database};

const NOW: Time = Time::from_seconds(1_800_000_000);

/// After so long a test that waits for a state has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// A database with a store in it, and somebody who looks on and interferes.
struct Shared {
    store: Arc<Store>,
    other: PgConnection,
    database: Database,
}

impl Shared {
    async fn new() -> Shared {
        let database = postgres::database();
        let store = Arc::new(Store::connect(database.url()).await.unwrap());
        let other = PgConnection::connect(database.url()).await.unwrap();
        Shared {
            store,
            other,
            database,
        }
    }

    async fn run(&mut self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut self.other)
            .await
            .unwrap();
    }

    async fn count(&mut self, of: &str) -> i64 {
        let statement = format!("SELECT count(*) FROM {of}");
        sqlx::query(AssertSqlSafe(statement))
            .fetch_one(&mut self.other)
            .await
            .unwrap()
            .get(0)
    }

    /// Until so many wait for a lock. Meanwhile `alive` keeps whoever must not fall asleep awake.
    async fn until_waiting<F: Future<Output = ()>>(
        &mut self,
        number: i64,
        mut alive: impl FnMut() -> F,
    ) {
        let waiting =
            "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        // The view is as of the transaction's beginning: a look from outside sees it anew.
        let mut looks = PgConnection::connect(self.database.url()).await.unwrap();
        let until = async {
            loop {
                let found: i64 =
                    sqlx::query(AssertSqlSafe(format!("SELECT count(*) FROM {waiting}")))
                        .fetch_one(&mut looks)
                        .await
                        .unwrap()
                        .get(0);
                if found == number {
                    return;
                }
                alive().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, until).await;
        assert!(waited.is_ok(), "there are never {number} who wait");
    }
}

async fn nobody() {}

fn batch(stream: u32, seq: u64) -> Batch {
    Batch {
        stream,
        seq,
        at: NOW,
        count: 0,
        body: Vec::new(),
    }
}

/// The statement of an append or of an end marker, as another connection of ours sends it.
fn row(stream: u32, seq: u64, kind: i64) -> String {
    format!(
        "BEGIN; INSERT INTO log (stream, seq, at, put, kind, n, body) VALUES ({stream}, {seq}, {}, 77, {kind}, 0, '')",
        NOW.as_micros()
    )
}

const BEAT: i64 = 2;
const END: i64 = 9;

#[tokio::test]
async fn an_append_waits_for_its_twin_that_is_not_committed_yet() {
    let mut shared = Shared::new().await;
    let stream = shared.store.open_stream("one", NOW).await.unwrap();
    for (seq, end, is_twins) in [(1, "COMMIT", true), (2, "ROLLBACK", false)] {
        shared.run(&row(stream, seq, BEAT)).await;
        let store = Arc::clone(&shared.store);
        let again = tokio::spawn(async move { store.append(&batch(stream, seq), || NOW).await });
        shared.until_waiting(1, nobody).await;
        shared.run(end).await;
        let put = again.await.unwrap().unwrap();
        assert_eq!(put == Time::from_micros(77), is_twins, "{end}: {put:?}");
        assert_eq!(
            shared
                .count(&format!("log WHERE stream = {stream} AND seq = {seq}"))
                .await,
            1,
            "{end}"
        );
    }
}

#[tokio::test]
async fn an_append_does_not_wait_for_ever_and_may_be_sent_again() {
    let mut shared = Shared::new().await;
    let stream = shared.store.open_stream("one", NOW).await.unwrap();
    shared.run(&row(stream, 1, BEAT)).await;
    let unknown = shared.store.append(&batch(stream, 1), || NOW).await;
    let Err(error @ Error::Database { .. }) = unknown else {
        panic!("{unknown:?}")
    };
    // On a machine with other work our own patience may end before the database's answer is here.
    let bounds = ["statement timeout", "the database does not answer"];
    let said = error.to_string();
    assert!(bounds.iter().any(|bound| said.contains(bound)), "{said}");
    shared.run("COMMIT").await;
    let again = shared.store.append(&batch(stream, 1), || NOW).await;
    assert_eq!(again.unwrap(), Time::from_micros(77));
}

#[tokio::test]
async fn an_append_that_an_end_marker_came_before_is_known_not_to_be_in_the_log() {
    for (end, closed) in [("COMMIT", true), ("ROLLBACK", false)] {
        let mut shared = Shared::new().await;
        let stream = shared.store.open_stream("one", NOW).await.unwrap();
        let marker = format!(
            "{}; UPDATE log_stream SET ended = 77 WHERE stream = {stream}",
            row(stream, 1, END)
        );
        shared.run(&marker).await;
        let store = Arc::clone(&shared.store);
        let append = tokio::spawn(async move { store.append(&batch(stream, 1), || NOW).await });
        shared.until_waiting(1, nobody).await;
        shared.run(end).await;
        let appended = append.await.unwrap();
        assert_eq!(
            matches!(appended, Err(Error::StreamClosed)),
            closed,
            "{appended:?}"
        );
        assert_eq!(appended.is_ok(), !closed, "{appended:?}");
        let next = shared.store.append(&batch(stream, 2), || NOW).await;
        assert_eq!(matches!(next, Err(Error::StreamClosed)), closed, "{next:?}");
    }
}

#[tokio::test]
async fn a_stream_whose_append_came_first_is_not_closed() {
    for (end, closed) in [("COMMIT", false), ("ROLLBACK", true)] {
        let mut shared = Shared::new().await;
        let stream = shared
            .store
            .open_stream("one", Time::from_seconds(0))
            .await
            .unwrap();
        shared.run(&row(stream, 1, BEAT)).await;
        let store = Arc::clone(&shared.store);
        let closing =
            tokio::spawn(async move { store.close_silent_streams(Span::from_seconds(15)).await });
        shared.until_waiting(1, nobody).await;
        shared.run(end).await;
        let expected = if closed { vec![stream] } else { Vec::new() };
        assert_eq!(closing.await.unwrap().unwrap(), expected, "{end}");
        let next = shared.store.append(&batch(stream, 2), || NOW).await;
        assert_eq!(next.is_ok(), !closed, "{end}: {next:?}");
    }
}

#[tokio::test]
async fn of_many_standbys_at_once_one_gets_the_lease() {
    let shared = Shared::new().await;
    let mut epochs = Vec::new();
    for round in 1..=3 {
        let mut standbys = Vec::new();
        for holder in 0..24 {
            let store = Arc::clone(&shared.store);
            standbys.push(tokio::spawn(
                async move { store.acquire_lease(holder).await },
            ));
        }
        let mut taken = Vec::new();
        for standby in standbys {
            taken.extend(standby.await.unwrap().unwrap());
        }
        assert_eq!(taken.len(), 1, "round {round}: {taken:?}");
        epochs.push(taken[0]);
        shared.store.release_lease(taken[0]).await.unwrap();
    }
    assert!(
        epochs.is_sorted_by(|one, next| one + 1 == *next),
        "{epochs:?}"
    );
}

#[tokio::test]
async fn a_lease_is_held_by_its_epoch_and_its_holder() {
    let shared = Shared::new().await;
    let store = &shared.store;
    let first = store.open_stream("first", NOW).await.unwrap();
    let second = store.open_stream("second", NOW).await.unwrap();
    let epoch = store.acquire_lease(first).await.unwrap().unwrap();
    assert_eq!(store.acquire_lease(second).await.unwrap(), None);
    assert_eq!(
        store.lease_holder().await.unwrap(),
        (epoch, first, Some("first".to_owned()))
    );
    assert!(store.renew_lease(epoch, first).await.unwrap());
    assert!(!store.renew_lease(epoch, second).await.unwrap());
    assert!(!store.renew_lease(epoch - 1, first).await.unwrap());
    store.release_lease(epoch).await.unwrap();
    let next = store.acquire_lease(second).await.unwrap();
    assert_eq!(next, Some(epoch + 1));
    assert!(!store.renew_lease(epoch, first).await.unwrap());
    // The former holder's late hand-over takes nothing away.
    store.release_lease(epoch).await.unwrap();
    assert_eq!(store.acquire_lease(first).await.unwrap(), None);
}

#[tokio::test]
async fn who_wants_the_lease_waits_for_the_open_decision_and_then_no_other_of_that_epoch_begins() {
    let mut shared = Shared::new().await;
    let store = Arc::clone(&shared.store);
    let epoch = store.acquire_lease(1).await.unwrap().unwrap();
    // It has run out, and nobody has noticed yet.
    store.release_lease(epoch).await.unwrap();
    let deciding = store.begin_decision(epoch).await.unwrap();
    let standby = Arc::clone(&store);
    let acquiring = tokio::spawn(async move { standby.acquire_lease(2).await });
    let deciding = tokio::sync::Mutex::new(deciding);
    shared
        .until_waiting(1, async || {
            let nothing = deciding.lock().await.tail(&Vector::new(), 1).await.unwrap();
            assert!(nothing.is_empty());
        })
        .await;
    assert!(!acquiring.is_finished());
    deciding.into_inner().commit().await.unwrap();
    assert_eq!(acquiring.await.unwrap().unwrap(), Some(epoch + 1));
    let fenced = store.begin_decision(epoch).await;
    assert!(matches!(fenced, Err(Error::Fenced)), "{:?}", fenced.err());
    store
        .begin_decision(epoch + 1)
        .await
        .unwrap()
        .commit()
        .await
        .unwrap();
}

#[tokio::test]
async fn a_decider_that_stands_still_within_its_transaction_is_freed_of_it() {
    let shared = Shared::new().await;
    let store = &shared.store;
    let epoch = store.acquire_lease(1).await.unwrap().unwrap();
    store.release_lease(epoch).await.unwrap();
    let deciding = store.begin_decision(epoch).await.unwrap();
    assert_eq!(store.acquire_lease(2).await.unwrap(), Some(epoch + 1));
    assert!(deciding.commit().await.is_err(), "it is too late");
    let fenced = store.begin_decision(epoch).await;
    assert!(matches!(fenced, Err(Error::Fenced)), "{:?}", fenced.err());
}

#[tokio::test]
async fn a_transaction_whose_future_is_dropped_does_not_stay_open() {
    let mut shared = Shared::new().await;
    shared.run("BEGIN; LOCK TABLE settings").await;
    let store = Arc::clone(&shared.store);
    // It has no time limit, so nothing else would end it.
    let reading = tokio::spawn(async move { store.boot().await.map(drop) });
    shared.until_waiting(1, nobody).await;
    reading.abort();
    assert!(reading.await.unwrap_err().is_cancelled());
    shared.run("ROLLBACK").await;
    let open = "pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL";
    let closed = async { while shared.count(open).await > 0 {} };
    let waited = tokio::time::timeout(PATIENCE, closed).await;
    assert!(waited.is_ok(), "a transaction is left open");
    shared.store.boot().await.unwrap();
}

const SENT: &str = "INSERT INTO incident (id, project_id, monitor_id, monitor_kind, monitor_name, labels, severity, state, reason,
     reopened, started_at, detected_at, evidence)
     SELECT i, 1, i, 'heartbeat', 'job ' || i, '{}', 'critical', 'triggered', 'missed', 0, 0, 0, '{}'
     FROM generate_series(1, 100) i;
     INSERT INTO incident_event (seq, epoch, cut, project_id, monitor_id, incident_id, kind, at, decided_at, reason, reopened, evidence)
     SELECT n * 100 + i, 1, 1, 1, i, i, 'triggered', 0, 0, 'missed', 0, '{}'
     FROM generate_series(1, 100) i, generate_series(1, 6) n;
     INSERT INTO delivery (key, project_id, channel_id, incident_id, seq, kind, state, claim, attempts, next_at, decided_at)
     SELECT 'key ' || seq, 1, 1, incident_id, seq, 'incident.triggered', 0, 0, 0, 0, 0 FROM incident_event ORDER BY seq";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_who_claim_at_once_get_every_delivery_once_and_each_incidents_in_order() {
    let mut shared = Shared::new().await;
    shared.store.install(NOW, "key", b"check").await.unwrap();
    shared.run(SENT).await;
    let taken = Arc::new(Mutex::new(Vec::new()));
    let mut claimers = Vec::new();
    for _ in 0..6 {
        // Each is a process of its own.
        let store = Store::connect(shared.database.url()).await.unwrap();
        let taken = Arc::clone(&taken);
        claimers.push(tokio::spawn(async move {
            let attempt = Attempt {
                at: NOW,
                latency: Span::ZERO,
                outcome: "delivered".to_owned(),
                status: Some(200),
                detail: String::new(),
            };
            while store.next_delivery_at().await.unwrap().is_some() {
                for one in store.claim(NOW, 7, &[]).await.unwrap() {
                    taken.lock().unwrap().push((one.incident.number, one.id));
                    let finished = store
                        .finish(NOW, &[(one.id, one.claim)], &attempt, Finish::Delivered)
                        .await
                        .unwrap();
                    assert_eq!(finished, 1);
                }
            }
        }));
    }
    for claimer in claimers {
        claimer.await.unwrap();
    }
    let taken = taken.lock().unwrap();
    let different: BTreeSet<i64> = taken.iter().map(|(_, id)| *id).collect();
    assert_eq!((taken.len(), different.len()), (600, 600));
    let mut orders: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for (incident, id) in taken.iter() {
        orders.entry(*incident).or_default().push(*id);
    }
    for (incident, order) in orders {
        assert!(
            order.len() == 6 && order.is_sorted(),
            "{incident}: {order:?}"
        );
    }
}

#[tokio::test]
async fn a_group_is_not_torn_apart_by_several_who_claim() {
    let mut shared = Shared::new().await;
    shared.store.install(NOW, "key", b"check").await.unwrap();
    shared.run(SENT).await;
    shared
        .run("DELETE FROM delivery WHERE seq > 200; UPDATE delivery SET grouped = 'digest 0'")
        .await;
    // Somebody is at it already, and has not come far.
    shared
        .run("BEGIN; SELECT pg_advisory_xact_lock(7319412266084)")
        .await;
    let mut claimers = Vec::new();
    for _ in 0..6 {
        let store = Arc::clone(&shared.store);
        claimers.push(tokio::spawn(async move { store.claim(NOW, 7, &[]).await }));
    }
    shared.until_waiting(6, nobody).await;
    shared.run("COMMIT").await;
    let mut claimed = Vec::new();
    for claimer in claimers {
        claimed.push(claimer.await.unwrap().unwrap().len());
    }
    claimed.sort_unstable();
    assert_eq!(claimed, [0, 0, 0, 0, 0, 100]);
}

#[tokio::test]
async fn a_claim_passes_over_what_a_decision_is_about_to_supersede() {
    let mut shared = Shared::new().await;
    shared.store.install(NOW, "key", b"check").await.unwrap();
    shared.run(SENT).await;
    shared
        .run("DELETE FROM delivery WHERE seq > 200; BEGIN; UPDATE delivery SET state = 2 WHERE incident_id <= 90")
        .await;
    let claimed = shared.store.claim(NOW, 100, &[]).await.unwrap();
    let incidents: BTreeSet<u64> = claimed.iter().map(|one| one.incident.number).collect();
    assert_eq!(incidents, (91..=100).collect());
    shared.run("COMMIT").await;
    assert!(shared.store.claim(NOW, 100, &[]).await.unwrap().is_empty());
}
