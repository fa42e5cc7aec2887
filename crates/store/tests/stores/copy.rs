//! An embedded database becomes a shared one.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use systole_core::engine::{Action, Engine};
use systole_core::heartbeat::Signal;
use systole_core::maintenance::{Selector, When, Window};
use systole_core::time::Span;
use systole_store::copy::Progress;
use systole_store::maintenance::MaintenanceFields;
use systole_store::people::TokenRow;
use systole_store::{DEFAULT_PROJECT, Error, Store};
use systole_testing::postgres;

use crate::filled::{Filled, START, attempt, channel, monitor};

/// A store with something in every table.
async fn full(directory: &std::path::Path) -> Filled {
    let mut filled = Filled::new(Store::open(directory).await.unwrap()).await;
    let (first, outgoing) = filled.fail("first").await;
    let claims = [(outgoing[0].id, 1)];
    let finish = systole_store::deliveries::Finish::Delivered;
    let finished = filled
        .store
        .finish(filled.now, &claims, &attempt("delivered"), finish)
        .await;
    assert_eq!(finished.unwrap(), 1);
    filled.sweep().await;
    // More than one statement carries.
    let many: Vec<_> = (0..450).map(|n| monitor(&format!("{n:04} job"))).collect();
    let (ids, _) = filled
        .store
        .create_monitors(START, "me", DEFAULT_PROJECT, &many)
        .await
        .unwrap();
    // A number that is gone must not come again.
    filled.command(*ids.last().unwrap(), Action::Delete).await;
    filled.report(first, Signal::Success, "").await;
    let store = &filled.store;
    let token = TokenRow {
        id: 0,
        project: DEFAULT_PROJECT,
        name: "token".to_owned(),
        role: "viewer".to_owned(),
        region: None,
        cluster: None,
        created_at: START,
    };
    store.create_token(&token, &[7; 32]).await.unwrap();
    let later = START + Span::from_seconds(60);
    store.set_setup_code(b"code", later).await.unwrap();
    store
        .set_up(START, b"code", "me@example.org", "hash")
        .await
        .unwrap();
    store.set_setup_code(b"next", later).await.unwrap();
    store
        .begin_session(START, b"session", Some(1), Span::from_seconds(60))
        .await
        .unwrap();
    let fields = MaintenanceFields {
        description: String::new(),
        set: None,
        window: Window {
            name: "window".to_owned(),
            selector: Selector::default(),
            when: When::once(START, later).unwrap(),
            ended_at: None,
        },
    };
    store
        .create_maintenance(START, "me", DEFAULT_PROJECT, &fields)
        .await
        .unwrap();
    filled
}

/// Every row of every table of the target, and of the source, as text.
async fn contents(directory: &std::path::Path, url: &str) -> [BTreeMap<String, Vec<String>>; 2] {
    let file = directory.join("systole.db");
    let mut from = SqliteConnection::connect(&format!("sqlite://{}", file.display()))
        .await
        .unwrap();
    let mut to = PgConnection::connect(url).await.unwrap();
    let (mut there, mut here) = (BTreeMap::new(), BTreeMap::new());
    let tables = sqlx::query(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> '_sqlx_migrations'",
    )
    .fetch_all(&mut from)
    .await
    .unwrap();
    for row in tables {
        let table: String = row.get(0);
        let columns: Vec<(String, String)> =
            sqlx::query_as("SELECT name, type FROM pragma_table_xinfo($1)")
                .bind(&table)
                .fetch_all(&mut from)
                .await
                .unwrap();
        let select = |hex: fn(&str) -> String| {
            let columns: Vec<String> = columns
                .iter()
                .map(|(name, kind)| {
                    let text = if kind == "BLOB" {
                        hex(name)
                    } else {
                        format!("CAST({name} AS TEXT)")
                    };
                    format!("COALESCE({text}, 'NULL')")
                })
                .collect();
            format!("SELECT {} FROM {table}", columns.join(" || ' ' || "))
        };
        let mut rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(select(|name| {
            format!("CASE WHEN {name} IS NOT NULL THEN lower(hex({name})) END")
        })))
        .fetch_all(&mut from)
        .await
        .unwrap();
        rows.sort_unstable();
        here.insert(table.clone(), rows);
        let mut rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(select(|name| {
            format!("encode({name}, 'hex')")
        })))
        .fetch_all(&mut to)
        .await
        .unwrap();
        rows.sort_unstable();
        there.insert(table, rows);
    }
    [here, there]
}

#[tokio::test]
async fn all_of_it_is_copied_and_goes_on_from_there() {
    let directory = tempfile::tempdir().unwrap();
    let database = postgres::database();
    let filled = full(directory.path()).await;
    let target = Store::connect(database.url()).await.unwrap();
    let mut steps: Vec<Progress> = Vec::new();
    let (epoch, ..) = filled.store.lease_holder().await.unwrap();
    filled.store.write_history(epoch).await.unwrap();
    let later = filled.now + Span::from_seconds(3 * 3_600);
    while filled.store.roll_history(epoch, later).await.unwrap() {}
    let copied = filled
        .store
        .copy_to(&target, |progress| steps.push(progress.clone()))
        .await
        .unwrap();
    let [here, there] = contents(directory.path(), database.url()).await;
    for (table, rows) in &here {
        // Outages and pauses need time to come about.
        let may_be_empty = ["outage", "history_pause"].contains(&table.as_str());
        assert!(may_be_empty || !rows.is_empty(), "{table} is empty");
        assert_eq!(there.get(table), Some(rows), "{table}");
        let count = rows.len() as u64;
        let done = Progress {
            table: table.clone(),
            copied: count,
            of: count,
        };
        assert!(copied.contains(&done), "{copied:?}");
        assert!(steps.contains(&done), "{table}");
    }
    assert_eq!(copied.len(), here.len());
    assert!(steps.iter().filter(|step| step.table == "monitor").count() > 2);

    // Whoever starts with it finds the same, and gives numbers that nobody had.
    let newest = filled
        .store
        .tokens_of_monitors(START)
        .await
        .unwrap()
        .0
        .len();
    let (ids, _) = target
        .create_monitors(START, "me", DEFAULT_PROJECT, &[monitor("new")])
        .await
        .unwrap();
    assert_eq!(ids, [452], "451 was deleted, after {newest}");
    let id = target
        .create_channel(START, DEFAULT_PROJECT, &channel("new"))
        .await
        .unwrap();
    assert_eq!(id, 2);
    let stream = target.open_stream("new", filled.now).await.unwrap();
    assert_eq!(stream, 2);
    let mut engine = Engine::boot(target.boot().await.unwrap().boot);
    for row in target.tail(engine.vector(), 1_000).await.unwrap() {
        engine.observe(&row).unwrap();
    }
    assert_eq!(
        engine.monitor(1).unwrap().last,
        filled.engine.monitor(1).unwrap().last
    );
    assert_eq!(
        target.acquire_lease(stream).await.unwrap(),
        Some(filled.epoch + 1)
    );
}

#[tokio::test]
async fn a_database_that_is_in_use_is_not_copied_into_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let database = postgres::database();
    let filled = Filled::new(Store::open(directory.path()).await.unwrap()).await;
    let target = Store::connect(database.url()).await.unwrap();
    target.install(START, "other", b"check").await.unwrap();
    let refused = filled.store.copy_to(&target, |_| {}).await;
    let Err(error @ Error::NotCopied(_)) = refused else {
        panic!("{refused:?}")
    };
    let said = error.to_string();
    assert!(
        said.contains("in use already") && said.contains("name one that is empty"),
        "{said}"
    );
    let (key, _) = target.key_check().await.unwrap().unwrap();
    assert_eq!(key, "other");
    for refused in [
        target.copy_to(&filled.store, |_| {}).await,
        target.copy_to(&target, |_| {}).await,
        filled.store.copy_to(&filled.store, |_| {}).await,
    ] {
        assert!(matches!(refused, Err(Error::NotCopied(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_table_that_only_one_of_them_has_is_not_left_out_in_silence() {
    let directory = tempfile::tempdir().unwrap();
    let filled = Filled::new(Store::open(directory.path()).await.unwrap()).await;
    for change in [
        "ALTER TABLE monitor ADD COLUMN forgotten TEXT",
        "CREATE TABLE forgotten (id BIGINT PRIMARY KEY)",
        "DROP TABLE setup_code",
    ] {
        let database = postgres::database();
        let target = Store::connect(database.url()).await.unwrap();
        let mut other = PgConnection::connect(database.url()).await.unwrap();
        sqlx::query(change).execute(&mut other).await.unwrap();
        let refused = filled.store.copy_to(&target, |_| {}).await;
        let Err(Error::NotCopied(why)) = refused else {
            panic!("{change}: {refused:?}")
        };
        assert!(
            why.contains("only one of the databases has"),
            "{change}: {why}"
        );
        assert!(target.key_check().await.unwrap().is_none(), "{change}");
    }
}
