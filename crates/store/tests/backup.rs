//! A copy put back is what was there, and the time since is an outage of ours.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::sync::Arc;

use systole_core::engine::{Engine, Position};
use systole_core::heartbeat::{Checkin, Settings, Shown, Signal};
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::backup::{Depth, back_up, identify, stage};
use systole_store::log::Batch;
use systole_store::monitors::{MonitorFields, StoredToken};
use systole_store::record::{BatchPacker, CheckinRecord, Method};
use systole_store::{DEFAULT_PROJECT, Store};

/// When the monitor was heard of, right before the copy.
const HEARD: Time = Time::from_seconds(100);
/// How late the monitor may be.
const GRACE: Span = Span::from_seconds(5);
/// When the copy is started with.
const STARTED: Time = Time::from_seconds(3_700);

/// A store with one heartbeat of a minute that was just heard of.
async fn filled(directory: &Path) -> Store {
    let store = Store::open(directory).await.unwrap();
    store
        .install(Time::from_seconds(1), "key", b"check")
        .await
        .unwrap();
    let stream = store
        .open_stream("first", Time::from_seconds(95))
        .await
        .unwrap();
    let schedule = Schedule::Every(Span::from_seconds(60));
    let fields = MonitorFields {
        name: "job".to_owned(),
        slug: "job".to_owned(),
        description: String::new(),
        severity: "critical".to_owned(),
        labels: Vec::new(),
        owner: String::new(),
        runbook_url: String::new(),
        channels: None,
        set: None,
        settings: Arc::new(Settings::new(schedule, GRACE)),
    };
    let token = StoredToken {
        hash: vec![7; 32],
        cipher: Vec::new(),
    };
    let now = Time::from_seconds(96);
    let (ids, _) = store
        .create_monitors(now, "somebody", DEFAULT_PROJECT, &[(fields, token)])
        .await
        .unwrap();
    let mut packer = BatchPacker::new(HEARD);
    packer.push(&CheckinRecord {
        monitor: ids[0],
        checkin: Checkin {
            at: HEARD,
            signal: Signal::Success,
            run: None,
        },
        previous: Position::NONE,
        method: Method::Get,
        source: None,
        user_agent: Arc::from("test"),
        message: String::new(),
        body: Vec::new(),
        body_truncated: false,
    });
    let batch = Batch {
        stream,
        seq: 1,
        at: HEARD,
        count: 1,
        body: packer.finish(),
    };
    store.append(&batch, || HEARD).await.unwrap();
    store
}

#[tokio::test]
async fn a_copy_made_beside_a_writer_is_started_with_as_after_a_crash() {
    let (used, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = filled(used.path()).await;
    let file = used.path().join("copy");
    let contents = back_up(used.path(), &file).await.unwrap();
    assert_eq!((contents.monitors, contents.checkins), (1, 1));
    assert_eq!(contents.last, Some(HEARD));
    let (id, check) = contents.identity.key.clone().unwrap();
    assert_eq!((id.as_str(), check.as_slice()), ("key", &b"check"[..]));
    drop(store);

    let staged = stage(fresh.path(), &file, false).await.unwrap();
    assert_eq!(staged.contents.monitors, 1);
    assert_eq!(staged.install("former").unwrap(), None);
    let store = Store::open(fresh.path()).await.unwrap();
    let stream = store.open_stream("second", STARTED).await.unwrap();
    // The first sign of life of the process that starts with it ends the outage.
    for seq in 1..=2 {
        let at = STARTED + Span::from_seconds(3 * i64::try_from(seq).unwrap());
        let beat = Batch {
            stream,
            seq,
            at,
            count: 0,
            body: Vec::new(),
        };
        store.append(&beat, || at).await.unwrap();
    }
    let mut engine = Engine::boot(store.boot().await.unwrap().boot);
    for row in store.tail(engine.vector(), 100).await.unwrap() {
        engine.observe(&row).unwrap();
    }
    let (_, monitor) = engine.monitors().next().unwrap();
    assert_eq!(monitor.last_checkin, HEARD);
    assert_eq!(monitor.heartbeat.shown(HEARD), Shown::Up);
    let outages = engine.outages().between(HEARD, STARTED);
    assert_eq!(outages.len(), 1, "{outages:?}");
    assert!(outages[0].until > STARTED, "{outages:?}");
    // Its deadline was in the outage: it has its grace after it once more, and nothing is decided before.
    let deadline = outages[0].until + GRACE;
    assert!(!engine.wants_decision(STARTED));
    assert_eq!(engine.next_timer(), Some(deadline));
}

#[tokio::test]
async fn a_staged_copy_that_is_not_installed_leaves_everything_as_it_was() {
    let (used, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = other.path().join("copy");
    let store = filled(used.path()).await;
    back_up(used.path(), &file).await.unwrap();
    drop(store);
    // Its connections are closed by threads of their own; the last one takes the write-ahead log with it.
    while used.path().join("systole.db-wal").exists() {
        tokio::task::yield_now().await;
    }
    let before = identify(&used.path().join("systole.db"), Depth::Full)
        .await
        .unwrap();
    drop(stage(used.path(), &file, true).await.unwrap());
    let after = identify(&used.path().join("systole.db"), Depth::Full)
        .await
        .unwrap();
    assert_eq!(before, after);
    assert!(!used.path().join("systole.db.partial").exists());
    drop(Store::open(used.path()).await.unwrap());
}
