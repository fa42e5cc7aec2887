//! From blocks into chunks, and what of blocks is dropped.

use std::collections::BTreeMap;
use std::pin::pin;

use systole_core::engine::MonitorId;
use systole_core::heartbeat::Signal;
use systole_store::Error;
use systole_store::history::rolled::Resolution;

use crate::stores::{A, Place, Told, both, minutes};
use crate::{assert_same, second};

/// Enough for two groups and more than one transaction of folding.
const MONITORS: u32 = 1_300;

/// What every monitor is known to have said, newest first, with how long the run took.
type Expected = BTreeMap<MonitorId, Vec<(i64, Option<i64>)>>;

/// Each round every monitor starts a run, which ends with the next round; so batches lie between start and end.
async fn rounds(told: &mut Told<'_>, expected: &mut Expected, rounds: std::ops::Range<i64>) {
    for round in rounds {
        let at = round * 60;
        let signal = if round % 2 == 0 {
            Signal::Start
        } else {
            Signal::Exit(0)
        };
        let took = (round % 2 == 1).then_some(60);
        for some in told.monitors.clone().chunks(500) {
            let said: Vec<_> = some
                .iter()
                .map(|monitor| (*monitor, at, signal, None))
                .collect();
            told.row_of(&said).await;
            for monitor in some {
                expected.entry(*monitor).or_default().insert(0, (at, took));
            }
        }
        told.write_all().await;
    }
}

async fn assert_reads(told: &Told<'_>, expected: &Expected, what: &str) {
    for monitor in told.monitors.iter().step_by(97) {
        let found = told.store.checkins(*monitor, None, 1_000).await.unwrap();
        let found: Vec<_> = found.iter().map(second).collect();
        assert_same(
            &found,
            &expected[monitor],
            &format!("{what}, monitor {monitor}"),
        );
    }
}

async fn waiting(place: &Place) -> i64 {
    let all = "SELECT CAST(COALESCE(SUM(checkins), 0) AS BIGINT) FROM history_group";
    place.number(all).await
}

#[tokio::test]
async fn reading_is_the_same_while_groups_are_folded_one_by_one() {
    for place in both() {
        let mut told = place.open_with(MONITORS).await;
        let mut expected = Expected::new();
        rounds(&mut told, &mut expected, 0..7).await;
        assert!(
            !told.store.fold_history(told.epoch).await.unwrap(),
            "{place}: not enough for that"
        );
        assert_reads(&told, &expected, &format!("{place}: in blocks")).await;
        rounds(&mut told, &mut expected, 7..17).await;
        assert_eq!(waiting(&place).await, 17 * i64::from(MONITORS), "{place}");
        assert!(
            told.store.fold_history(told.epoch).await.unwrap(),
            "{place}: the full group"
        );
        assert!(
            !told.store.fold_history(told.epoch).await.unwrap(),
            "{place}: the other one has too little"
        );
        assert!(waiting(&place).await < 17 * 300, "{place}");
        assert_reads(&told, &expected, &format!("{place}: one group is folded")).await;
        rounds(&mut told, &mut expected, 17..20).await;
        assert_reads(&told, &expected, &format!("{place}: blocks after chunks")).await;
        told.roll_all(minutes(200)).await;
        assert_eq!(
            waiting(&place).await,
            0,
            "{place}: all is folded before it is rolled up"
        );
        assert_reads(&told, &expected, &format!("{place}: in chunks")).await;
    }
}

#[tokio::test]
async fn folding_that_was_broken_off_anywhere_goes_on_and_doubles_nothing() {
    for place in both() {
        let mut told = place.open_with(MONITORS).await;
        let mut expected = Expected::new();
        rounds(&mut told, &mut expected, 0..17).await;
        for cut in 0.. {
            // More comes in meanwhile.
            if cut == 9 {
                rounds(&mut told, &mut expected, 17..19).await;
            }
            let mut looks = 0;
            let done = {
                let mut fold = pin!(told.store.roll_history(told.epoch, minutes(131)));
                std::future::poll_fn(|context| match fold.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
                    std::task::Poll::Pending if looks >= cut => std::task::Poll::Ready(None),
                    std::task::Poll::Pending => {
                        looks += 1;
                        std::task::Poll::Pending
                    }
                })
                .await
            };
            if cut % 5 == 0 {
                assert_reads(&told, &expected, &format!("{place}: after {cut} looks")).await;
            }
            if cut > 9 && matches!(done, Some(Ok(false))) {
                break;
            }
        }
        told.roll_all(minutes(200)).await;
        assert_eq!(waiting(&place).await, 0, "{place}");
        assert_reads(&told, &expected, &format!("{place}: in the end")).await;
    }
}

#[tokio::test]
async fn blocks_go_once_every_group_of_their_batch_is_folded() {
    for place in both() {
        let mut told = place.open_with(MONITORS).await;
        let mut expected = Expected::new();
        rounds(&mut told, &mut expected, 0..17).await;
        let blocks = "SELECT COUNT(*) FROM history_block";
        assert!(
            told.store.fold_history(told.epoch).await.unwrap(),
            "{place}"
        );
        assert!(
            !told.store.drop_folded(told.epoch).await.unwrap(),
            "{place}: the other group still needs its blocks"
        );
        told.roll_all(minutes(80)).await;
        assert_eq!(place.number(blocks).await, 34, "{place}");
        while told.store.drop_folded(told.epoch).await.unwrap() {}
        assert_eq!(place.number(blocks).await, 0, "{place}");
        assert_reads(&told, &expected, &format!("{place}: without blocks")).await;
        rounds(&mut told, &mut expected, 17..18).await;
        assert_reads(
            &told,
            &expected,
            &format!("{place}: batches are counted on"),
        )
        .await;
    }
}

#[tokio::test]
async fn only_the_holder_of_the_lease_folds_and_drops() {
    for place in both() {
        let mut told = place.open_with(MONITORS).await;
        let mut expected = Expected::new();
        rounds(&mut told, &mut expected, 0..17).await;
        let former = told.epoch;
        told.epoch = told.store.take_lease(9).await.unwrap();
        let folded = told.store.fold_history(former).await;
        assert!(matches!(folded, Err(Error::Fenced)), "{place}: {folded:?}");
        told.roll_all(minutes(80)).await;
        let dropped = told.store.drop_folded(former).await;
        assert!(
            matches!(dropped, Err(Error::Fenced)),
            "{place}: {dropped:?}"
        );
        assert_reads(&told, &expected, &format!("{place}")).await;
    }
}

#[tokio::test]
async fn hours_that_were_rolled_up_without_what_is_folded_later_are_rolled_up_again() {
    for (until, hour, why) in [
        (
            120,
            60,
            "an older version rolled them up, which knows no blocks",
        ),
        (60, 60, "the hour is in progress"),
        (0, 0, "the first hour is"),
    ] {
        for place in both() {
            let mut told = place.open().await;
            told.row(&[(600, Signal::Success, None)]).await;
            told.row(&[(4_000, Signal::Success, None)]).await;
            told.write_all().await;
            let [until, hour] = [until, hour].map(|at| minutes(at).as_micros());
            place
                .execute(&format!(
                    "INSERT INTO history_rolled (id, until_at, event, hour, monitor) VALUES (1, {until}, 0, {hour}, 1)"
                ))
                .await;
            told.roll_all(minutes(200)).await;
            let hours = told
                .store
                .rollups(told.monitor, Resolution::Hour, A, minutes(200))
                .await
                .unwrap();
            let checkins: Vec<u64> = hours.iter().map(|hour| hour.rollup.checkins).collect();
            assert_eq!(checkins, [1, 1, 0, 0], "{place}: {why}");
        }
    }
}
