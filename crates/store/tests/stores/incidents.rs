//! Incidents and their timelines, as they are listed.

use systole_core::engine::Action;
use systole_core::heartbeat::Signal;
use systole_store::DEFAULT_PROJECT;
use systole_store::incidents::IncidentFilter;

use crate::Place;
use crate::filled::Filled;

on_both!(incidents_and_their_timelines_are_listed);

async fn incidents_and_their_timelines_are_listed(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    let (first, _) = filled.fail("first").await;
    let (second, _) = filled.fail("second").await;
    let note = Some("it is being\0looked at".to_owned());
    filled
        .command(second, Action::Acknowledge { incident: 2, note })
        .await;
    filled
        .command(
            second,
            Action::Note {
                incident: 2,
                note: "noted".to_owned(),
            },
        )
        .await;
    filled.report(first, Signal::Success, "").await;
    let store = &filled.store;
    for (number, (filter, expected)) in [
        (IncidentFilter::default(), &[2, 1][..]),
        (
            IncidentFilter {
                open: Some(true),
                ..IncidentFilter::default()
            },
            &[2],
        ),
        (
            IncidentFilter {
                open: Some(false),
                ..IncidentFilter::default()
            },
            &[1],
        ),
        (
            IncidentFilter {
                monitor: Some(first),
                ..IncidentFilter::default()
            },
            &[1],
        ),
        (
            IncidentFilter {
                before: Some(2),
                ..IncidentFilter::default()
            },
            &[1],
        ),
        (
            IncidentFilter {
                open: Some(true),
                monitor: Some(first),
                ..IncidentFilter::default()
            },
            &[],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let filter = IncidentFilter {
            limit: 10,
            ..filter
        };
        let found = store.incidents(DEFAULT_PROJECT, &filter).await.unwrap();
        let found: Vec<u64> = found.iter().map(|row| row.number).collect();
        assert_eq!(found, expected, "{number}");
    }
    assert_eq!(
        store.count_open_incidents(DEFAULT_PROJECT).await.unwrap(),
        1
    );
    assert!(
        store.incident(2, 1).await.unwrap().is_none(),
        "of another project"
    );
    let incident = store.incident(DEFAULT_PROJECT, 2).await.unwrap().unwrap();
    assert_eq!(
        (incident.state.as_str(), incident.monitor_name.as_str()),
        ("acknowledged", "second")
    );
    assert_eq!(incident.evidence.message.as_deref(), Some("it broke\0here"));
    assert!(incident.acknowledged_at.is_some() && incident.resolved_at.is_none());
    let events = store.events(2).await.unwrap();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.kind.as_str(),
                event.by.as_deref(),
                event.note.as_deref(),
            )
        })
        .collect();
    let said = "it is being\u{fffd}looked at";
    assert_eq!(
        kinds,
        [
            ("triggered", None, None),
            ("acknowledged", Some("me"), Some(said)),
            ("noted", Some("me"), Some("noted"))
        ]
    );
    let newest = store.events_of_monitor(second, i64::MAX, 2).await.unwrap();
    let seqs: Vec<i64> = newest.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, [events[2].seq, events[1].seq]);
    let before = store.events_of_monitor(second, seqs[1], 2).await.unwrap();
    assert_eq!(before.len(), 1);
}
