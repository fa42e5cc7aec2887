//! Databases for tests are empty, independent, and gone afterwards.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use systole_testing::postgres::{Database, database};

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

#[tokio::test]
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
