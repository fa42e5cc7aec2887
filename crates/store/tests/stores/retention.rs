//! What is forgotten, and what of it stays readable.

use std::sync::Arc;

use systole_core::engine::{MonitorId, Position, Reached, Vector};
use systole_core::heartbeat::{Checkin, Signal};
use systole_core::outage::Silence;
use systole_core::time::{Span, Time};
use systole_store::Store;
use systole_store::log::Batch;
use systole_store::record::{BatchPacker, CheckinRecord, Method};

use crate::Place;

on_both!(
    old_rows_go_and_each_last_and_last_failing_check_in_stays_readable,
    what_a_start_needs_and_what_is_young_is_not_dropped,
);

const ONE: MonitorId = 1;
const TWO: MonitorId = 2;

/// One row: who says what, and which of their rows came before.
type Said = (MonitorId, Signal, &'static str, u64);

const ROWS: [(i64, &[Said]); 5] = [
    (
        100,
        &[
            (ONE, Signal::Fail, "first failure", 0),
            (TWO, Signal::Fail, "forgotten", 0),
        ],
    ),
    (200, &[(ONE, Signal::Exit(3), "last failure", 1)]),
    (
        300,
        &[
            (ONE, Signal::Success, "between", 2),
            (TWO, Signal::Success, "last of two", 1),
        ],
    ),
    (400, &[(ONE, Signal::Success, "last of one", 3)]),
    (500, &[]),
];

async fn filled(place: &Place) -> (Store, u32) {
    let store = place.open().await;
    let stream = store
        .open_stream("test", Time::from_seconds(0))
        .await
        .unwrap();
    for (index, (seconds, said)) in ROWS.iter().enumerate() {
        let at = Time::from_seconds(*seconds);
        let mut packer = BatchPacker::new(at);
        for (monitor, signal, body, before) in *said {
            packer.push(&CheckinRecord {
                monitor: *monitor,
                checkin: Checkin {
                    at,
                    signal: *signal,
                    run: None,
                },
                previous: if *before == 0 {
                    Position::NONE
                } else {
                    Position::new(stream, *before)
                },
                method: Method::Post,
                source: None,
                user_agent: Arc::from("test"),
                message: String::new(),
                body: body.as_bytes().to_vec(),
                body_truncated: false,
            });
        }
        let body = if said.is_empty() {
            Vec::new()
        } else {
            packer.finish()
        };
        let batch = Batch {
            stream,
            seq: index as u64 + 1,
            at,
            count: said.len(),
            body,
        };
        store.append(&batch, || at).await.unwrap();
    }
    // PostgreSQL has stamped them by its own clock.
    place.execute(&["UPDATE log SET put = at"]).await;
    (store, stream)
}

/// The state is stored up to this row, so that what is before it is needed no more.
fn stored_up_to(stream: u32, seq: u64) -> Vector {
    let at = Time::from_seconds(0);
    [(
        stream,
        Reached {
            seq,
            silence: Silence::opened(at),
            put: at,
            ended: false,
        },
    )]
    .into()
}

/// The last check-in of each, and the last failing one of the first.
fn kept(stream: u32) -> impl Fn(MonitorId, Position) -> bool {
    move |monitor, position| {
        [(ONE, 4), (ONE, 2), (TWO, 3)].contains(&(monitor, position.seq()))
            && position.stream() == stream
    }
}

async fn bodies(store: &Store, monitor: MonitorId, newest: Position) -> Vec<String> {
    let found = store.checkins(monitor, newest, 100).await.unwrap();
    found
        .into_iter()
        .map(|found| String::from_utf8(found.record.body).unwrap())
        .collect()
}

async fn old_rows_go_and_each_last_and_last_failing_check_in_stays_readable(place: Place) {
    let (store, stream) = filled(&place).await;
    let (one, two) = (Position::new(stream, 4), Position::new(stream, 3));
    let all = ["last of one", "between", "last failure", "first failure"];
    assert_eq!(bodies(&store, ONE, one).await, all);

    let dropped = store
        .drop_log(
            Some(Time::from_seconds(350)),
            &stored_up_to(stream, 5),
            100,
            kept(stream),
        )
        .await;
    assert_eq!(dropped.unwrap(), 3);
    assert_eq!(
        bodies(&store, ONE, one).await,
        ["last of one", "last failure"]
    );
    assert_eq!(bodies(&store, TWO, two).await, ["last of two"]);

    // Everything of it is there, not the text alone.
    let found = store.checkins(ONE, one, 100).await.unwrap();
    assert_eq!(found[1].position, Position::new(stream, 2));
    let record = &found[1].record;
    assert_eq!(
        record.checkin,
        Checkin {
            at: Time::from_seconds(200),
            signal: Signal::Exit(3),
            run: None
        }
    );
    assert_eq!((record.method, &*record.user_agent), (Method::Post, "test"));

    // The newest row is the last of its stream; the first one's last check-in goes with the log and is kept.
    let dropped = store
        .drop_log(None, &stored_up_to(stream, 5), 100, kept(stream))
        .await;
    assert_eq!(dropped.unwrap(), 1);
    assert_eq!(
        bodies(&store, ONE, one).await,
        ["last of one", "last failure"]
    );
    drop(store);

    let store = place.open().await;
    assert_eq!(
        bodies(&store, ONE, one).await,
        ["last of one", "last failure"],
        "after a restart"
    );
    // A newer failure takes the place of the former.
    store
        .drop_kept(|monitor, position| (monitor, position) == (ONE, one))
        .await
        .unwrap();
    assert_eq!(bodies(&store, ONE, one).await, ["last of one"]);
    assert_eq!(bodies(&store, TWO, two).await, [""; 0]);
}

async fn what_a_start_needs_and_what_is_young_is_not_dropped(place: Place) {
    let (store, stream) = filled(&place).await;
    let old = Some(Time::from_seconds(1_000));
    for (older_than, below, limit, expected) in [
        (
            Some(Time::from_seconds(100)),
            stored_up_to(stream, 5),
            100,
            0,
        ),
        (old, Vector::new(), 100, 0),
        (old, stored_up_to(stream + 1, 5), 100, 0),
        (old, stored_up_to(stream, 1), 100, 0),
        (old, stored_up_to(stream, 2), 100, 1),
        (old, stored_up_to(stream, 5), 1, 1),
        (old, stored_up_to(stream, 5), 100, 2),
        (old, stored_up_to(stream, 5), 100, 0),
    ] {
        let dropped = store
            .drop_log(older_than, &below, limit, kept(stream))
            .await
            .unwrap();
        assert_eq!(dropped, expected, "{older_than:?} {below:?} {limit}");
    }
    // Who closes the stream, at the next start or among other replicas, does so behind its last row.
    drop(store);
    let store = place.open().await;
    let next = store
        .open_stream("next", Time::from_seconds(2_000))
        .await
        .unwrap();
    assert!(next > stream);
    if store.is_shared() {
        let silent = Span::from_seconds(15);
        let closed = store.close_silent_streams(silent).await.unwrap();
        assert!(closed.contains(&stream), "{closed:?}");
    }
    assert!(
        store.row_body(stream, 6).await.unwrap().is_some(),
        "the end marker stands after the last row"
    );
}
