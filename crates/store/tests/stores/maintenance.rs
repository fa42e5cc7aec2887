//! Windows as they are stored, read back and handed to a decision.

use systole_core::engine::{Action, CONFIGURATION, Record};
use systole_core::maintenance::{LabelSelector, Recurrence, Selector, When, Window, Windows};
use systole_core::time::{Span, Time};
use systole_store::maintenance::MaintenanceFields;
use systole_store::{DEFAULT_PROJECT, Error, Store};

use crate::Place;

on_both!(
    what_is_stored_is_read_back_and_every_change_is_a_log_entry,
    a_decision_reads_the_windows_that_are_not_over,
);

const NOW: Time = Time::from_seconds(1_000_000);

fn fields(name: &str, when: When) -> MaintenanceFields {
    let labels = LabelSelector::parse("team=billing,env in (prod,staging)").unwrap();
    MaintenanceFields {
        set: None,
        description: "why".to_owned(),
        window: Window {
            name: name.to_owned(),
            selector: Selector {
                all: false,
                labels,
                monitors: vec![7, 12],
            },
            when,
            ended_at: None,
        },
    }
}

fn once(from: i64, to: i64) -> When {
    When::once(NOW + Span::from_seconds(from), NOW + Span::from_seconds(to)).unwrap()
}

fn sundays() -> When {
    let rule = Recurrence::parse(
        "FREQ=WEEKLY;BYDAY=SU",
        "2026-11-29T02:00",
        Span::from_seconds(5_400),
        "Europe/Berlin",
    );
    When::Recurring(Box::new(rule.unwrap()))
}

async fn store(place: &Place) -> Store {
    let store = place.open().await;
    store.install(NOW, "key", b"check").await.unwrap();
    store
}

async fn what_is_stored_is_read_back_and_every_change_is_a_log_entry(place: Place) {
    let store = store(&place).await;
    for (i, when) in [once(0, 3_600), sundays()].into_iter().enumerate() {
        let given = fields(&format!("window {i}"), when);
        let (id, row) = store
            .create_maintenance(NOW, "me", DEFAULT_PROJECT, &given)
            .await
            .unwrap();
        let [Record::Command(command)] = row.records.as_slice() else {
            panic!("{row:?}")
        };
        assert_eq!(
            (row.stream, command.by.as_str(), &command.action),
            (CONFIGURATION, "me", &Action::Configure)
        );
        let read = store
            .maintenance(DEFAULT_PROJECT, id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((read.rev, &read.fields), (1, &given));
        let mut changed = given.clone();
        changed.window.selector.all = true;
        changed.window.ended_at = Some(NOW);
        let second = store
            .update_maintenance(NOW, "me", &read, &changed)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(second.seq, row.seq + 1);
        let again = store
            .maintenance(DEFAULT_PROJECT, id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!((again.rev, again.fields), (2, changed.clone()));
        assert!(
            store
                .update_maintenance(NOW, "me", &read, &changed)
                .await
                .unwrap()
                .is_none(),
            "it is at another revision"
        );
    }
    let taken = store
        .create_maintenance(NOW, "me", DEFAULT_PROJECT, &fields("window 0", once(0, 60)))
        .await;
    assert!(
        matches!(taken, Err(Error::Taken { field: "name", .. })),
        "{taken:?}"
    );
    assert_eq!(store.maintenances(DEFAULT_PROJECT).await.unwrap().len(), 2);
    assert_eq!(
        store.maintenances(2).await.unwrap().len(),
        0,
        "another project has none"
    );
    assert!(
        store
            .delete_maintenance(NOW, "me", 2, 1)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        store
            .delete_maintenance(NOW, "me", DEFAULT_PROJECT, 1)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        store
            .delete_maintenance(NOW, "me", DEFAULT_PROJECT, 1)
            .await
            .unwrap()
            .is_none()
    );
}

async fn a_decision_reads_the_windows_that_are_not_over(place: Place) {
    let store = store(&place).await;
    let mut ended = fields("ended", once(0, 3_600));
    ended.window.ended_at = Some(NOW + Span::from_seconds(60));
    let all = [
        fields("short", once(0, 1_800)),
        fields("long", once(600, 3_600)),
        ended,
        fields("sundays", sundays()),
    ];
    for given in &all {
        store
            .create_maintenance(NOW, "me", DEFAULT_PROJECT, given)
            .await
            .unwrap();
    }
    for (seconds, left, cover) in [
        (30, &[0, 1, 2, 3][..], Some(3_600)),
        (700, &[0, 1, 3], Some(3_600)),
        (2_000, &[1, 3], Some(3_600)),
        (4_000, &[3], None),
    ] {
        let at = NOW + Span::from_seconds(seconds);
        let mut session = store.session().await.unwrap();
        let windows = session
            .maintenance_windows(DEFAULT_PROJECT, at)
            .await
            .unwrap();
        let expected = left.iter().map(|i: &usize| all[*i].window.clone());
        assert_eq!(
            windows,
            Windows::new(expected.collect()),
            "after {seconds} s"
        );
        let found = windows
            .cover(&[], 7, at)
            .map(|cover| cover.until.since(NOW).as_seconds());
        assert_eq!(found, cover, "after {seconds} s");
        assert!(windows.cover(&[], 8, at).is_none());
    }
}
