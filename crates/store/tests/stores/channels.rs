//! Channels, and monitors that nobody would be told of.

use systole_core::time::Span;
use systole_store::channels::ChannelFields;
use systole_store::deliveries::DeliveryFilter;
use systole_store::{DEFAULT_PROJECT, Error};

use crate::Place;
use crate::filled::{Filled, START, channel, monitor};

on_both!(
    a_channel_is_read_as_it_was_written_and_changed_at_its_revision,
    what_waits_for_a_channel_that_is_deleted_is_given_up,
    monitors_that_resolve_to_no_channel_are_found,
);

async fn a_channel_is_read_as_it_was_written_and_changed_at_its_revision(place: Place) {
    let filled = Filled::new(place.open().await).await;
    let store = &filled.store;
    let given = ChannelFields {
        default: false,
        system: true,
        digest: true,
        remind_every: 7,
        set: Some("set".to_owned()),
        ..channel("Zwei")
    };
    let id = store
        .create_channel(START, DEFAULT_PROJECT, &given)
        .await
        .unwrap();
    let row = store.channel(DEFAULT_PROJECT, id).await.unwrap().unwrap();
    let flags = |fields: &ChannelFields| (fields.default, fields.system, fields.digest);
    assert_eq!(flags(&row.fields), (false, true, true));
    assert_eq!((row.rev, row.fields.remind_every), (1, 7));
    assert_eq!(row.fields.config_cipher, [0, 1, 255]);
    assert_eq!(row.fields.set.as_deref(), Some("set"));
    let later = START + Span::from_seconds(1);
    let changed = ChannelFields {
        unsubscribed_cipher: Some(vec![0, 9]),
        ..channel("zwei")
    };
    assert!(store.update_channel(later, id, 1, &changed).await.unwrap());
    assert!(
        !store.update_channel(later, id, 1, &given).await.unwrap(),
        "it is at another revision"
    );
    let taken = store.update_channel(later, id, 2, &channel("people")).await;
    assert!(
        matches!(
            taken,
            Err(Error::Taken {
                field: "name",
                what: "channel"
            })
        ),
        "{taken:?}"
    );
    let taken = store
        .create_channel(START, DEFAULT_PROJECT, &channel("zwei"))
        .await;
    assert!(
        matches!(taken, Err(Error::Taken { field: "name", .. })),
        "{taken:?}"
    );
    let rows = store.channels(DEFAULT_PROJECT).await.unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.fields.name.as_str()).collect();
    assert_eq!(names, ["zwei", "people"]);
    assert_eq!(
        (rows[0].created_at, rows[0].updated_at, rows[0].rev),
        (START, later, 2)
    );
    assert_eq!(flags(&rows[0].fields), (true, false, false));
    assert_eq!(
        rows[0].fields.unsubscribed_cipher.as_deref(),
        Some(&[0, 9][..])
    );
    assert!(
        store.channel(2, id).await.unwrap().is_none(),
        "of another project"
    );
}

async fn what_waits_for_a_channel_that_is_deleted_is_given_up(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    filled.fail("job").await;
    let store = &filled.store;
    assert!(store.delete_channel(START, filled.channel).await.unwrap());
    assert!(!store.delete_channel(START, filled.channel).await.unwrap());
    let filter = DeliveryFilter {
        limit: 9,
        ..DeliveryFilter::default()
    };
    let left = store.deliveries(DEFAULT_PROJECT, &filter).await.unwrap();
    let said: Vec<_> = left
        .iter()
        .map(|row| (row.state, row.detail.as_deref(), row.channel_name.as_str()))
        .collect();
    assert_eq!(said, [("dead", Some("the channel was deleted"), "")]);
}

async fn monitors_that_resolve_to_no_channel_are_found(place: Place) {
    let filled = Filled::new(place.open().await).await;
    let store = &filled.store;
    let with = |name: &str, channels: Option<Vec<i64>>| {
        let (mut fields, token) = monitor(name);
        fields.channels = channels;
        (fields, token)
    };
    let monitors = [
        with("default", None),
        with("none", Some(Vec::new())),
        with("gone", Some(vec![77, 78])),
        with("one is there", Some(vec![77, filled.channel])),
    ];
    store
        .create_monitors(START, "me", DEFAULT_PROJECT, &monitors)
        .await
        .unwrap();
    let names = async |limit| -> Vec<String> {
        let found = store.without_channel(DEFAULT_PROJECT, limit).await.unwrap();
        found.into_iter().map(|(_, name)| name).collect()
    };
    assert_eq!(names(9).await, ["none", "gone"]);
    assert_eq!(names(1).await, ["none"]);
    assert_eq!(
        store.count_without_channel(DEFAULT_PROJECT).await.unwrap(),
        2
    );
    let no_default = ChannelFields {
        default: false,
        ..channel("people")
    };
    assert!(
        store
            .update_channel(START, filled.channel, 1, &no_default)
            .await
            .unwrap()
    );
    assert_eq!(names(9).await, ["default", "none", "gone"]);
}
