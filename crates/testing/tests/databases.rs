//! Databases for tests are empty, independent, and gone afterwards.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use systole_testing::postgres::{Database, database, script};

async fn connect(database: &Database) -> PgConnection {
    PgConnection::connect(database.url()).await.unwrap()
}

async fn exists(connection: &mut PgConnection, name: &str) -> bool {
    sqlx::query("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
        .bind(name)
        .fetch_one(connection)
        .await
        .unwrap()
        .get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_databases_know_nothing_of_each_other_and_go_with_their_values() {
    let (one, other) = (database(), database());
    assert_ne!(one.name(), other.name());
    let mut in_one = connect(&one).await;
    let mut in_other = connect(&other).await;
    // The same table in both: the second would fail in a shared database.
    for connection in [&mut in_one, &mut in_other] {
        connection
            .execute("CREATE TABLE kept (value BIGINT)")
            .await
            .unwrap();
    }
    in_one.execute("INSERT INTO kept VALUES (1)").await.unwrap();
    let rows = in_other.fetch_all("SELECT value FROM kept").await.unwrap();
    assert!(rows.is_empty(), "what is written in one shows in the other");

    let name = one.name().to_owned();
    assert!(exists(&mut in_other, &name).await);
    // Somebody is still connected to it.
    drop(one);
    assert!(!exists(&mut in_other, &name).await, "{name} is still there");
    assert!(in_one.execute("SELECT 1").await.is_err());
}

#[test]
fn what_a_killed_test_left_is_dropped_by_the_next_that_wants_a_database() {
    // Outside of any runtime, as tests of commands are.
    let first = database();
    let left = format!("systole_test_left_{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut connection = runtime.block_on(connect(&first));
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {left} TEMPLATE template0"));
    runtime.block_on(connection.execute(create)).unwrap();
    let second = database();
    assert!(!runtime.block_on(exists(&mut connection, &left)));
    for in_use in [&first, &second] {
        assert!(runtime.block_on(exists(&mut connection, in_use.name())));
    }
}

#[tokio::test]
async fn behind_the_pooler_a_session_lasts_a_transaction() {
    let database = database();
    // PgBouncer refuses this parameter unless its settings say otherwise.
    let options = PgConnectOptions::from_str(&database.pooled_url())
        .unwrap()
        .extra_float_digits(None);
    let mut first = PgConnection::connect_with(&options).await.unwrap();
    let mut second = PgConnection::connect_with(&options).await.unwrap();
    let mut had = Vec::new();
    for connection in [&mut first, &mut second] {
        let mut transaction = connection.begin().await.unwrap();
        let session: (i32, String) =
            sqlx::query_as("SELECT pg_backend_pid(), current_database()::TEXT")
                // A statement with a name would stay with a session that others get.
                .persistent(false)
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
        transaction.commit().await.unwrap();
        had.push(session);
    }
    assert_eq!(had[0], had[1], "both had the same session, in turn");
    assert_eq!(had[0].1, database.name());
}

#[tokio::test]
async fn the_server_proves_who_it_is_to_those_who_have_its_certificate() {
    let database = database();
    let certificate = script(&["certificate"]).unwrap();
    for (mode, is_encrypted) in [
        ("sslmode=disable".to_owned(), false),
        ("sslmode=require".to_owned(), true),
        (
            format!("sslmode=verify-full&sslrootcert={certificate}"),
            true,
        ),
    ] {
        let url = format!("{}?{mode}", database.url());
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let encrypted: bool =
            sqlx::query_scalar("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        assert_eq!(encrypted, is_encrypted, "{mode}");
    }
    let url = format!("{}?sslmode=verify-full", database.url());
    assert!(
        PgConnection::connect(&url).await.is_err(),
        "nobody trusts it unasked"
    );
}
