//! Lists of monitors, and the tokens by which they are found.

use systole_core::engine::{Action, MonitorId};
use systole_core::time::Span;
use systole_store::monitors::{MonitorFields, MonitorFilter, StoredToken};
use systole_store::{DEFAULT_PROJECT, Error};

use crate::Place;
use crate::filled::{Filled, START, monitor};

on_both!(
    a_list_holds_what_its_filter_says,
    a_list_is_read_page_by_page,
    what_is_unique_is_named_where_it_is_taken,
    tokens_are_found_at_the_start,
);

fn labelled(name: &str, labels: &[(&str, &str)]) -> (MonitorFields, StoredToken) {
    let (mut fields, token) = monitor(name);
    fields.labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    (fields, token)
}

async fn a_list_holds_what_its_filter_says(place: Place) {
    let filled = Filled::new(place.open().await).await;
    let store = &filled.store;
    let monitors = [
        labelled("Backup 100%", &[("env", "prod"), ("team", "a\"b")]),
        labelled("backup_1", &[("env", "Prod")]),
        labelled("Übung", &[("env", "prod-2"), ("x", "\"env\":\"prod\"")]),
        labelled("nightly", &[("Env", "prod"), ("team", "%")]),
    ];
    let (ids, _) = store
        .create_monitors(START, "me", DEFAULT_PROJECT, &monitors)
        .await
        .unwrap();
    assert!(ids.is_sorted());
    let text = |text: &str| MonitorFilter {
        text: Some(text.to_owned()),
        ..MonitorFilter::default()
    };
    let labels = |labels: &[(&str, &str)]| MonitorFilter {
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..MonitorFilter::default()
    };
    for (number, (filter, expected)) in [
        (MonitorFilter::default(), &[3, 2, 1, 0][..]),
        (text("BACKUP"), &[1, 0]),
        (text("100%"), &[0]),
        (text("p_1"), &[1]),
        (text("%"), &[0]),
        (text("Übung"), &[2]),
        (text("BUNG"), &[2]),
        (text("\\"), &[]),
        (labels(&[("env", "prod")]), &[0]),
        (labels(&[("env", "Prod")]), &[1]),
        (labels(&[("Env", "prod")]), &[3]),
        (labels(&[("team", "a\"b"), ("env", "prod")]), &[0]),
        (labels(&[("team", "%")]), &[3]),
        (labels(&[("team", "_")]), &[]),
        (
            MonitorFilter {
                names: Some(vec!["BACKUP_1".to_owned()]),
                ..MonitorFilter::default()
            },
            &[],
        ),
        (
            MonitorFilter {
                names: Some(vec!["backup_1".to_owned()]),
                ..MonitorFilter::default()
            },
            &[1],
        ),
        (
            MonitorFilter {
                kind: Some("heartbeat".to_owned()),
                ..text("n")
            },
            &[3, 2],
        ),
        (
            MonitorFilter {
                kind: Some("check".to_owned()),
                ..MonitorFilter::default()
            },
            &[],
        ),
        (
            MonitorFilter {
                ids: Some(vec![ids[3], ids[0], 9_999]),
                ..MonitorFilter::default()
            },
            &[3, 0],
        ),
        (
            MonitorFilter {
                ids: Some(Vec::new()),
                ..MonitorFilter::default()
            },
            &[],
        ),
        (
            MonitorFilter {
                set: Some("set".to_owned()),
                ..MonitorFilter::default()
            },
            &[],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let filter = MonitorFilter {
            limit: 10,
            ..filter
        };
        let found = store.monitors(DEFAULT_PROJECT, &filter).await.unwrap();
        let found: Vec<MonitorId> = found.iter().map(|row| row.id).collect();
        let expected: Vec<MonitorId> = expected.iter().map(|index: &usize| ids[*index]).collect();
        assert_eq!(found, expected, "{number}: {filter:?}");
        let count = store
            .count_monitors(DEFAULT_PROJECT, &filter)
            .await
            .unwrap();
        assert_eq!(
            count,
            i64::try_from(expected.len()).unwrap(),
            "{number}: {filter:?}"
        );
        assert!(
            store.monitors(2, &filter).await.unwrap().is_empty(),
            "of another project"
        );
    }
    let sets = store.label_sets(DEFAULT_PROJECT).await.unwrap();
    assert_eq!(sets.iter().map(|(_, count)| count).sum::<i64>(), 4);
    let named = store
        .named_monitors(DEFAULT_PROJECT, &[ids[1], 9_999])
        .await
        .unwrap();
    assert_eq!(named.len(), 1);
    assert!(named[0].is_name_unique);
}

async fn a_list_is_read_page_by_page(place: Place) {
    let filled = Filled::new(place.open().await).await;
    let store = &filled.store;
    // More than one statement inserts.
    let monitors: Vec<_> = (0..601).map(|n| monitor(&format!("{n:05} job"))).collect();
    let (ids, row) = store
        .create_monitors(START, "me", DEFAULT_PROJECT, &monitors)
        .await
        .unwrap();
    assert_eq!((ids.len(), row.records.len()), (601, 601));
    let mut read = Vec::new();
    let mut before = None;
    loop {
        let filter = MonitorFilter {
            before,
            limit: 250,
            ..MonitorFilter::default()
        };
        let page = store.monitors(DEFAULT_PROJECT, &filter).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        read.extend(page.into_iter().map(|row| (row.id, row.fields.name)));
    }
    let mut expected: Vec<_> = ids
        .into_iter()
        .zip(monitors.into_iter().map(|(fields, _)| fields.name))
        .collect();
    expected.reverse();
    assert_eq!(read, expected);
}

async fn what_is_unique_is_named_where_it_is_taken(place: Place) {
    let filled = Filled::new(place.open().await).await;
    let store = &filled.store;
    let first = monitor("first job");
    store
        .create_monitors(START, "me", DEFAULT_PROJECT, std::slice::from_ref(&first))
        .await
        .unwrap();
    let mut same_name = monitor("other");
    same_name.0.name.clone_from(&first.0.name);
    let mut same_slug = monitor("other");
    same_slug.0.slug.clone_from(&first.0.slug);
    let mut same_token = monitor("other");
    same_token.1.hash.clone_from(&first.1.hash);
    for (given, expected) in [
        (same_name, "name"),
        (same_slug, "slug"),
        (same_token, "token"),
    ] {
        // What came before it in the same transaction is not made either.
        let both = [monitor("fine"), given];
        let taken = store
            .create_monitors(START, "me", DEFAULT_PROJECT, &both)
            .await;
        assert!(
            matches!(taken, Err(Error::Taken { field, what: "monitor" }) if field == expected),
            "{expected}: {taken:?}"
        );
        assert_eq!(
            store
                .monitor_by_slug(DEFAULT_PROJECT, "fine")
                .await
                .unwrap(),
            None
        );
    }
    let found = store
        .monitor_by_slug(DEFAULT_PROJECT, "first-job")
        .await
        .unwrap();
    assert!(found.is_some());
}

async fn tokens_are_found_at_the_start(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    let both = [monitor("one"), monitor("two")];
    let (ids, _) = filled
        .store
        .create_monitors(START, "me", DEFAULT_PROJECT, &both)
        .await
        .unwrap();
    let next = monitor("next").1;
    let until = START + Span::from_seconds(60);
    filled
        .store
        .rotate_token(START, ids[0], &next, until, "somebody")
        .await
        .unwrap();
    let short = |text: &str| {
        let bytes: Vec<u8> = text.bytes().cycle().take(16).collect();
        u128::from_be_bytes(bytes.try_into().unwrap())
    };
    let (mut known, old) = filled.store.tokens_of_monitors(START).await.unwrap();
    known.sort_by_key(|token| token.monitor);
    let found: Vec<_> = known
        .iter()
        .map(|token| (token.monitor, token.hash))
        .collect();
    assert_eq!(found, [(ids[0], short("next")), (ids[1], short("two"))]);
    let found: Vec<_> = old
        .iter()
        .map(|old| (old.token.monitor, old.token.hash, old.until))
        .collect();
    assert_eq!(found, [(ids[0], short("one"), until)]);
    let (_, old) = filled.store.tokens_of_monitors(until).await.unwrap();
    assert!(old.is_empty(), "it is over");
    assert!(
        filled
            .store
            .ping_key(DEFAULT_PROJECT)
            .await
            .unwrap()
            .is_none()
    );
    filled
        .store
        .set_ping_key(DEFAULT_PROJECT, &next)
        .await
        .unwrap();
    let key = filled
        .store
        .ping_key(DEFAULT_PROJECT)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((key.hash, key.cipher), (next.hash, next.cipher));
    filled.command(ids[1], Action::Delete).await;
    let (known, _) = filled.store.tokens_of_monitors(START).await.unwrap();
    assert_eq!(known.len(), 1);
    assert!(
        filled
            .store
            .monitor(DEFAULT_PROJECT, ids[1])
            .await
            .unwrap()
            .is_none()
    );
}
