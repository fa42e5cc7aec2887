//! Databases that do not fit.

use sqlx::{Connection as _, SqliteConnection};
use systole_store::{Error, Store};

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(Store::open(directory.path()).await.unwrap());
    let url = format!("sqlite://{}", directory.path().join("systole.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
         VALUES (9999, 'of another time', CURRENT_TIMESTAMP, TRUE, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();

    let error = Store::open(directory.path())
        .await
        .err()
        .expect("it was opened");
    assert!(
        matches!(error, Error::Newer { found: 9_999, .. }),
        "{error}"
    );
    let said = error.to_string();
    assert!(
        said.contains("migrated to version 9999 by a newer Systole"),
        "{said}"
    );
    assert!(
        said.ends_with("run the newer version") && !said.contains('\n'),
        "{said}"
    );

    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 9999")
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    drop(Store::open(directory.path()).await.unwrap());
}

#[tokio::test]
async fn one_store_at_a_time_uses_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Store::open(directory.path()).await.unwrap();
    assert!(matches!(
        Store::open(directory.path()).await,
        Err(Error::InUse { .. })
    ));
    drop(first);
    drop(Store::open(directory.path()).await.unwrap());
}
