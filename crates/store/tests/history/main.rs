//! History behind the log, on both databases: written once, read without gap or double, rolled up, and forgotten in time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod folding;
mod retention;
mod stores;

use std::collections::BTreeSet;

use stores::{A, HOUR, Told, both, minutes};
use systole_core::engine::Position;
use systole_core::heartbeat::Signal;
use systole_core::history::Rollup;
use systole_core::time::{Span, Time};
use systole_store::Error;
use systole_store::history::FoundCheckin;
use systole_store::history::forget::{Keep, KeptBytes};
use systole_store::history::rolled::Resolution;

/// The seconds since the beginning.
fn second(found: &FoundCheckin) -> (i64, Option<i64>) {
    let at = found.record.checkin.at.since(A).as_seconds();
    (at, found.duration.map(Span::as_seconds))
}

/// Says where two lists part, not all of them.
fn assert_same<T: PartialEq + std::fmt::Debug>(found: &[T], expected: &[T], what: &str) {
    let apart = (0..found.len().max(expected.len())).find(|n| found.get(*n) != expected.get(*n));
    if let Some(n) = apart {
        panic!(
            "{what}: {} and {} items; the one at {n} is {:?} instead of {:?}",
            found.len(),
            expected.len(),
            found.get(n),
            expected.get(n)
        );
    }
}

/// What was said, newest first, and how long the run took that it ended.
async fn said(told: &Told<'_>, limit: usize) -> Vec<(i64, Option<i64>)> {
    let found = told
        .store
        .checkins(told.monitor, None, limit)
        .await
        .unwrap();
    found.iter().map(second).collect()
}

#[tokio::test]
async fn reading_is_the_same_before_between_and_after_writing() {
    for place in both() {
        let mut told = place.open().await;
        let mut expected = Vec::new();
        // Enough for several chunks; each third row a run of 40 s.
        for minute in 0..900_u32 {
            let at = i64::from(minute) * 60;
            if minute % 3 == 0 {
                told.row(&[(at, Signal::Start, Some(minute.into()))]).await;
                told.row(&[
                    (at + 40, Signal::Exit(0), Some(minute.into())),
                    (at + 41, Signal::Log, None),
                ])
                .await;
                expected.extend([(at, None), (at + 40, Some(40)), (at + 41, None)]);
            } else {
                told.row(&[(at, Signal::Success, None)]).await;
                expected.push((at, None));
            }
            if minute % 200 == 137 {
                // Part of it is written, the rest is read from the log.
                told.store.write_history(told.epoch).await.unwrap();
            }
        }
        expected.reverse();
        assert_same(
            &said(&told, 10_000).await,
            &expected,
            &format!("{place}: part of it is written"),
        );
        assert!(told.store.history_lag().await.unwrap().rows > 0, "{place}");
        told.write_all().await;
        assert_same(
            &said(&told, 10_000).await,
            &expected,
            &format!("{place}: all of it is written"),
        );
        assert_same(
            &said(&told, 50).await,
            &expected[..50],
            &format!("{place}: the last fifty"),
        );
        assert_eq!(told.store.history_lag().await.unwrap().rows, 0, "{place}");
        told.roll_all(minutes(900)).await;
        assert_same(
            &said(&told, 10_000).await,
            &expected,
            &format!("{place}: most of it is folded"),
        );

        // Page by page, from the place of the last one.
        let (mut paged, mut before) = (Vec::new(), None);
        loop {
            let page = told.store.checkins(told.monitor, before, 77).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Some(last.place());
            paged.extend(page.iter().map(second));
        }
        assert_same(&paged, &expected, &format!("{place}: page by page"));
    }
}

#[tokio::test]
async fn what_a_record_holds_is_kept_and_its_place_is_its_own() {
    for place in both() {
        let mut told = place.open().await;
        told.row(&[(10, Signal::Fail, Some(7)), (10, Signal::Success, None)])
            .await;
        let log = told.store.checkins(told.monitor, None, 9).await.unwrap();
        told.write_all().await;
        let written = told.store.checkins(told.monitor, None, 9).await.unwrap();
        assert_eq!(log, written, "{place}");
        assert_eq!(written[0].record.body, b"said", "{place}");
        let places: BTreeSet<(Position, u32)> = written
            .iter()
            .map(|found| (found.position, found.index))
            .collect();
        assert_eq!(places.len(), 2, "{place}");
    }
}

#[tokio::test]
async fn only_the_holder_of_the_lease_writes_and_who_comes_after_goes_on() {
    for place in both() {
        let mut told = place.open().await;
        told.row(&[(10, Signal::Success, None)]).await;
        let former = told.epoch;
        told.epoch = told.store.take_lease(9).await.unwrap();
        let refused = told.store.write_history(former).await;
        assert!(
            matches!(refused, Err(Error::Fenced)),
            "{place}: {refused:?}"
        );
        told.write_all().await;
        told.row(&[(20, Signal::Success, None)]).await;
        told.write_all().await;
        assert_eq!(said(&told, 9).await, [(20, None), (10, None)], "{place}");
        let rolled = told.store.roll_history(former, minutes(10_000)).await;
        assert!(matches!(rolled, Err(Error::Fenced)), "{place}: {rolled:?}");
    }
}

#[tokio::test]
async fn a_crash_between_two_batches_loses_nothing_and_doubles_nothing() {
    for place in both() {
        let mut told = place.open().await;
        for minute in 0..1_500 {
            told.row(&[(minute * 60, Signal::Success, None)]).await;
        }
        let first = told.store.write_history(told.epoch).await.unwrap();
        assert!(!first.drained && first.checkins > 0, "{place}: {first:?}");
        let mut told = told.again(&place).await;
        told.row(&[(1_500 * 60, Signal::Success, None)]).await;
        told.write_all().await;
        let expected: Vec<(i64, Option<i64>)> = (0..=1_500)
            .rev()
            .map(|minute| (minute * 60, None))
            .collect();
        assert_same(&said(&told, 10_000).await, &expected, &format!("{place}"));
    }
}

#[tokio::test]
async fn a_deleted_monitors_history_goes_with_it() {
    for place in both() {
        let mut told = place.open().await;
        told.row(&[(10, Signal::Success, None)]).await;
        told.write_all().await;
        told.delete().await;
        // One that was on its way.
        told.row(&[(30, Signal::Success, None)]).await;
        told.write_all().await;
        told.roll_all(minutes(120)).await;
        assert_eq!(said(&told, 9).await, [], "{place}");
    }
}

fn parts(rollup: &Rollup) -> (u64, i64, i64, i64) {
    (
        rollup.checkins,
        rollup.up.as_seconds(),
        rollup.down.as_seconds(),
        rollup.unknown.as_seconds(),
    )
}

#[tokio::test]
async fn hours_and_days_say_what_is_known_and_no_more() {
    for place in both() {
        let mut told = place.open().await;
        // From 00:10 to 02:40 every ten minutes; down from 01:30 to 02:00; paused from 02:20, resumed at 02:30.
        for ten in 1..15 {
            told.row(&[(ten * 600, Signal::Success, None)]).await;
        }
        told.incident(1, 90 * 60, Some((120 * 60, "success"))).await;
        told.pause(140 * 60, 150 * 60).await;
        told.row(&[(160 * 60, Signal::Success, None)]).await;
        told.write_all().await;
        let expected = [
            (5, 3_000, 0, 600),
            (6, 1_800, 1_800, 0),
            (4, 2_400, 0, 1_200),
            (0, 1_800, 0, 0),
        ];
        let hours = async |told: &Told<'_>| -> Vec<_> {
            let periods = told
                .store
                .rollups(told.monitor, Resolution::Hour, A, minutes(210))
                .await
                .unwrap();
            periods.iter().map(|period| parts(&period.rollup)).collect()
        };
        assert_eq!(
            hours(&told).await,
            expected,
            "{place}: nothing is rolled up"
        );
        let day = async |told: &Told<'_>, from: Time| -> Vec<_> {
            let periods = told
                .store
                .rollups(told.monitor, Resolution::Day, from, minutes(210))
                .await
                .unwrap();
            periods.iter().map(|period| parts(&period.rollup)).collect()
        };
        let two_days = [(0, 0, 0, 86_400), (15, 9_000, 1_800, 1_800)];
        let yesterday = A - Span::from_seconds(60);
        assert_eq!(
            day(&told, yesterday).await,
            two_days,
            "{place}: nothing is rolled up"
        );
        // Step by step: what is read stays the same.
        while told
            .store
            .roll_history(told.epoch, minutes(195))
            .await
            .unwrap()
        {
            assert_eq!(hours(&told).await, expected, "{place}: some are rolled up");
        }
        assert_eq!(hours(&told).await, expected, "{place}: three are rolled up");
        assert_eq!(
            day(&told, yesterday).await,
            two_days,
            "{place}: three are rolled up"
        );
        // What is decided late about an hour that was rolled up changes it with the next one.
        told.incident(2, 20 * 60, Some((30 * 60, "success"))).await;
        told.roll_all(minutes(250)).await;
        let first = hours(&told).await[0];
        assert_eq!(first, (5, 2_400, 600, 600), "{place}: decided late");
    }
}

#[tokio::test]
async fn a_whole_day_is_its_hours_and_rolling_again_changes_nothing() {
    for place in both() {
        let mut told = place.open().await;
        for hour in 0..30 {
            told.row(&[(hour * HOUR, Signal::Success, None)]).await;
        }
        told.write_all().await;
        let now = minutes(30 * 60);
        told.roll_all(now).await;
        let read = async |resolution| {
            told.store
                .rollups(told.monitor, resolution, A, now)
                .await
                .unwrap()
        };
        let (hours, days) = (read(Resolution::Hour).await, read(Resolution::Day).await);
        assert_eq!((hours.len(), days.len()), (30, 2), "{place}");
        let day = hours[..24]
            .iter()
            .map(|hour| hour.rollup)
            .reduce(Rollup::joined)
            .unwrap();
        assert_eq!(days[0].rollup, day, "{place}");
        assert_eq!(
            (day.checkins, day.uptime()),
            (24, Some(1_000_000)),
            "{place}"
        );
        told.unroll().await;
        told.roll_all(now).await;
        assert_eq!(read(Resolution::Hour).await, hours, "{place}: again");
        assert_eq!(read(Resolution::Day).await, days, "{place}: again");
    }
}

#[tokio::test]
async fn what_was_resolved_by_hand_is_unknown_until_it_succeeds() {
    for place in both() {
        let mut told = place.open().await;
        told.row(&[(0, Signal::Success, None)]).await;
        told.incident(1, 600, Some((1_200, "by_hand"))).await;
        told.row(&[(1_500, Signal::Start, None), (1_800, Signal::Success, None)])
            .await;
        told.write_all().await;
        let periods = told
            .store
            .rollups(told.monitor, Resolution::Hour, A, minutes(60))
            .await
            .unwrap();
        assert_eq!(parts(&periods[0].rollup), (3, 2_400, 600, 600), "{place}");
    }
}

#[tokio::test]
async fn old_history_goes_and_the_newest_and_the_last_failure_stay() {
    for place in both() {
        let mut told = place.open().await;
        told.row(&[(0, Signal::Fail, None)]).await;
        for minute in 1..2_000 {
            told.row(&[(minute * 60, Signal::Success, None)]).await;
        }
        told.write_all().await;
        let now = minutes(2_000);
        told.roll_all(now).await;
        let long = Span::from_seconds(400 * 86_400);
        let all = Keep {
            age: long,
            checkins: 10_000,
            bytes: u64::MAX,
            hours: long,
            days: long,
        };
        let forget = async |keep: Keep| {
            let mut after = None;
            let mut kept = KeptBytes::default();
            loop {
                after = told
                    .store
                    .forget_history(told.epoch, &keep, None, after, now, &mut kept)
                    .await
                    .unwrap();
                if after.is_none() {
                    return kept;
                }
            }
        };
        let kept = forget(all).await;
        assert_eq!(kept.too_old(100_000), None, "{place}");
        let half = kept.too_old(10_000).unwrap();
        assert!(half > minutes(300) && half < now, "{place}: {half}");
        assert_eq!(
            said(&told, 10_000).await.len(),
            2_000,
            "{place}: all of it is kept"
        );
        forget(Keep {
            checkins: 500,
            ..all
        })
        .await;
        let left = said(&told, 10_000).await;
        assert!(
            (501..1_000).contains(&left.len()),
            "{place}: {} are left",
            left.len()
        );
        assert_eq!(left.last(), Some(&(0, None)), "{place}: the last failure");
        forget(Keep {
            age: Span::from_seconds(1),
            hours: Span::from_seconds(1),
            ..all
        })
        .await;
        let left = said(&told, 10_000).await;
        assert_eq!(
            left.first(),
            Some(&(1_999 * 60, None)),
            "{place}: the newest"
        );
        assert_eq!(left.last(), Some(&(0, None)), "{place}: the last failure");
        // Days are kept longer than hours.
        let days = told
            .store
            .rollups(told.monitor, Resolution::Day, A, now)
            .await
            .unwrap();
        assert_eq!(days[0].rollup.checkins, 1_440, "{place}");
        // What is decided late about an hour whose check-ins are gone does not take what was made of them.
        told.incident(1, 3 * HOUR, Some((3 * HOUR + 600, "success")))
            .await;
        told.roll_all(minutes(2_200)).await;
        let days = told
            .store
            .rollups(told.monitor, Resolution::Day, A, now)
            .await
            .unwrap();
        assert_eq!(days[0].rollup.checkins, 1_440, "{place}: decided late");
    }
}
