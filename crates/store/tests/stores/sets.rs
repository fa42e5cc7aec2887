//! Which set of documents owns what, and databases from before there were sets.

use std::sync::Arc;

use systole_core::heartbeat::Settings;
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::monitors::{MonitorFields, MonitorFilter, StoredToken};
use systole_store::{DEFAULT_PROJECT, Store};

use crate::Place;

on_both!(
    monitors_of_one_set_are_found_and_a_change_may_move_them,
    what_was_made_before_there_were_sets_belongs_to_none,
);

fn monitor(name: &str, set: Option<&str>) -> (MonitorFields, StoredToken) {
    let schedule = Schedule::Every(Span::from_seconds(3_600));
    let fields = MonitorFields {
        name: name.to_owned(),
        slug: name.to_owned(),
        description: String::new(),
        severity: "critical".to_owned(),
        labels: Vec::new(),
        owner: String::new(),
        runbook_url: String::new(),
        channels: None,
        set: set.map(str::to_owned),
        settings: Arc::new(Settings::new(schedule, Span::from_seconds(60))),
    };
    let token = StoredToken {
        hash: name.bytes().cycle().take(32).collect(),
        cipher: Vec::new(),
    };
    (fields, token)
}

async fn names(store: &Store, set: Option<&str>) -> Vec<String> {
    let filter = MonitorFilter {
        set: set.map(str::to_owned),
        limit: 10,
        ..MonitorFilter::default()
    };
    let rows = store.monitors(DEFAULT_PROJECT, &filter).await.unwrap();
    rows.into_iter().map(|row| row.fields.name).collect()
}

async fn monitors_of_one_set_are_found_and_a_change_may_move_them(place: Place) {
    let store = place.open().await;
    let now = Time::from_seconds(1);
    store.install(now, "key", b"check").await.unwrap();
    let monitors = [
        monitor("a", Some("one")),
        monitor("b", None),
        monitor("c", Some("two")),
    ];
    let (ids, _) = store
        .create_monitors(now, "somebody", DEFAULT_PROJECT, &monitors)
        .await
        .unwrap();
    assert_eq!(names(&store, Some("one")).await, ["a"]);
    assert_eq!(names(&store, None).await, ["c", "b", "a"]);
    let row = store
        .monitor(DEFAULT_PROJECT, ids[2])
        .await
        .unwrap()
        .unwrap();
    let mut fields = row.fields.clone();
    fields.set = Some("one".to_owned());
    store
        .update_monitor(now, "somebody", &row, &fields)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(names(&store, Some("one")).await, ["c", "a"]);
    assert!(names(&store, Some("two")).await.is_empty());
}

async fn what_was_made_before_there_were_sets_belongs_to_none(place: Place) {
    let store = place.open().await;
    let now = Time::from_seconds(1);
    store.install(now, "key", b"check").await.unwrap();
    store
        .create_monitors(now, "somebody", DEFAULT_PROJECT, &[monitor("a", None)])
        .await
        .unwrap();
    drop(store);
    // The database as the migration found it.
    place
        .execute(&[
            "ALTER TABLE monitor DROP COLUMN set_name",
            "ALTER TABLE channel DROP COLUMN set_name",
            "ALTER TABLE maintenance DROP COLUMN set_name",
            "DELETE FROM _sqlx_migrations WHERE version IN (2, 5)",
        ])
        .await;
    let store = place.open().await;
    assert_eq!(names(&store, None).await, ["a"]);
    assert!(names(&store, Some("default")).await.is_empty());
}
