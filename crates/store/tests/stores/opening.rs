//! Databases that do not fit, and directories that are in use.

use systole_store::{Error, Store};

use crate::Place;

on_both!(a_database_of_a_newer_version_is_refused_and_left_alone);

async fn a_database_of_a_newer_version_is_refused_and_left_alone(place: Place) {
    drop(place.open().await);
    place
        .execute(&[
            "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time)
             SELECT 9999, 'of another time', installed_on, success, checksum, 0 FROM _sqlx_migrations WHERE version = 1",
        ])
        .await;

    let error = place.try_open().await.err().expect("it was opened");
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

    place
        .execute(&["DELETE FROM _sqlx_migrations WHERE version = 9999"])
        .await;
    drop(place.open().await);
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
