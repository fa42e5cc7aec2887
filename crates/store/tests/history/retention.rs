//! What of the log is dropped, and what a start or history still needs.

use crate::stores::{A, Told, both, minutes};
use systole_core::engine::Engine;
use systole_core::heartbeat::Signal;
use systole_store::retention::LogBounds;

/// Folds the log and stores the states: rows before that are not needed by a start.
async fn swept(told: &Told<'_>) {
    let booted = told.store.boot().await.unwrap();
    let (mut engine, mut settings) = (Engine::boot(booted.boot), booted.settings);
    loop {
        let rows = told.store.tail(engine.vector(), 1_000).await.unwrap();
        if rows.is_empty() {
            break;
        }
        for row in &rows {
            engine.observe(row).unwrap();
        }
    }
    engine.begin_pass();
    while let Some(chunk) = engine.sweep(100) {
        told.store
            .sweep(told.epoch, &chunk, &mut settings)
            .await
            .unwrap();
        engine.swept(&chunk);
    }
}

async fn rows(told: &Told<'_>) -> Vec<u64> {
    let mut found = Vec::new();
    for seq in 1..=8 {
        if told
            .store
            .row_body(told.stream(), seq)
            .await
            .unwrap()
            .is_some()
        {
            found.push(seq);
        }
    }
    found
}

#[tokio::test]
async fn rows_go_once_neither_a_start_nor_history_needs_them() {
    for place in both() {
        let mut told = place.open().await;
        for five in 0..4 {
            told.row(&[(five * 300, Signal::Success, None)]).await;
        }
        let drop = async |told: &Told<'_>, bounds: &LogBounds| {
            told.store.drop_log(bounds, 100).await.unwrap()
        };
        let seen = told.store.log_bounds().await.unwrap();
        assert_eq!(drop(&told, &seen).await, 0, "{place}: nothing is stored");
        swept(&told).await;
        let seen = told.store.log_bounds().await.unwrap();
        assert_eq!(drop(&told, &seen).await, 0, "{place}: not in history");
        told.write_all().await;
        let seen = told.store.log_bounds().await.unwrap();
        told.row(&[(4 * 300, Signal::Success, None)]).await;
        told.write_all().await;
        swept(&told).await;
        assert!(drop(&told, &seen).await >= 3, "{place}");
        assert_eq!(
            rows(&told).await,
            [4, 5],
            "{place}: as far as was seen, but for the last row"
        );
        assert_eq!(
            drop(&told, &seen).await,
            0,
            "{place}: nothing is left to do"
        );
        let found = told.store.checkins(told.monitor, None, 9).await.unwrap();
        assert_eq!(found.len(), 5, "{place}: history has them");
    }
}

#[tokio::test]
async fn a_stream_that_has_ended_goes_as_a_whole_after_history_has_read_it() {
    for place in both() {
        let mut told = place.open().await;
        told.row(&[(0, Signal::Success, None)]).await;
        let former = told.stream();
        // The next process closes it and folds it, history comes later.
        let mut told = told.again(&place).await;
        told.close(former).await;
        told.row(&[(60, Signal::Success, None)]).await;
        swept(&told).await;
        swept(&told).await;
        let seen = told.store.log_bounds().await.unwrap();
        told.store.drop_log(&seen, 100).await.unwrap();
        assert!(
            told.store.row_body(former, 1).await.unwrap().is_some(),
            "{place}: history has not read it"
        );
        told.write_all().await;
        let seen = told.store.log_bounds().await.unwrap();
        told.store.drop_log(&seen, 100).await.unwrap();
        assert!(
            told.store.row_body(former, 1).await.unwrap().is_none(),
            "{place}"
        );
        assert!(
            told.store
                .row_body(told.stream(), 1)
                .await
                .unwrap()
                .is_some(),
            "{place}: the open one has its last row"
        );
        let found = told.store.checkins(told.monitor, None, 9).await.unwrap();
        assert_eq!(found.len(), 2, "{place}");
        told.row(&[(120, Signal::Success, None)]).await;
        told.write_all().await;
        let found = told.store.checkins(told.monitor, None, 9).await.unwrap();
        assert_eq!(found[0].record.checkin.at, minutes(2), "{place}: {A}");
    }
}
