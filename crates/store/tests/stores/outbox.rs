//! What channels are told of incidents.

use systole_core::engine::{Action, Engine};
use systole_core::heartbeat::Signal;
use systole_core::message::{MessageKind, Occasion};
use systole_core::time::Span;
use systole_store::DEFAULT_PROJECT;
use systole_store::channels::ChannelFields;
use systole_store::decide::FollowedUp;
use systole_store::deliveries::{CLAIM, DeliveryFilter, DeliveryRow, Finish, Finished};

use crate::Place;
use crate::filled::{Filled, attempt, channel};

on_both!(
    what_is_claimed_is_sent_by_one_and_finished_under_its_claim,
    what_was_not_sent_before_it_was_over_is_superseded,
    what_is_dead_may_be_sent_again,
    what_died_is_told_on_the_system_channel_and_what_is_open_is_said_again,
    a_start_finds_what_was_decided_and_swept,
);

async fn list(filled: &Filled, filter: DeliveryFilter) -> Vec<DeliveryRow> {
    let filter = DeliveryFilter {
        limit: 100,
        ..filter
    };
    filled
        .store
        .deliveries(DEFAULT_PROJECT, &filter)
        .await
        .unwrap()
}

async fn states(filled: &Filled) -> Vec<&'static str> {
    let rows = list(filled, DeliveryFilter::default()).await;
    rows.iter().rev().map(|row| row.state).collect()
}

async fn what_is_claimed_is_sent_by_one_and_finished_under_its_claim(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    let (monitor, outgoing) = filled.fail("job").await;
    let [one] = outgoing.as_slice() else {
        panic!("{outgoing:?}")
    };
    assert_eq!(
        (one.kind, one.claim, one.incident.monitor),
        (MessageKind::Triggered, 1, monitor)
    );
    assert_eq!(
        filled.store.next_delivery_at().await.unwrap(),
        Some(filled.now + CLAIM)
    );
    // What comes after waits for it.
    let outgoing = filled.report(monitor, Signal::Success, "").await;
    assert!(outgoing.is_empty(), "{outgoing:?}");
    let store = &filled.store;
    assert!(store.claim(filled.now, 10, &[]).await.unwrap().is_empty());
    let over = filled.now + CLAIM;
    assert!(
        store
            .claim(over, 10, &[filled.channel])
            .await
            .unwrap()
            .is_empty(),
        "its channel must wait"
    );
    let again = store.claim(over, 10, &[]).await.unwrap();
    let [second] = again.as_slice() else {
        panic!("{again:?}")
    };
    assert_eq!(
        (second.id, second.claim, second.attempts, &second.key),
        (one.id, 2, 2, &one.key)
    );
    let late = store
        .finish(
            over,
            &[(one.id, 1)],
            &attempt("delivered"),
            Finish::Delivered,
        )
        .await;
    assert_eq!(late.unwrap(), 0, "it is another's by now");
    store.put_back(&[(one.id, 1)], over).await.unwrap();
    assert_eq!(states(&filled).await, ["pending", "pending"]);
    store.put_back(&[(one.id, 2)], over).await.unwrap();
    let third = store.claim(over, 10, &[]).await.unwrap();
    assert_eq!((third.len(), third[0].claim, third[0].attempts), (1, 3, 2));
    let retry = Finished {
        claims: vec![(one.id, 3)],
        attempt: attempt("http\0error"),
        finish: Finish::RetryAt(over + Span::from_seconds(5)),
    };
    assert_eq!(store.finish_all(over, &[retry]).await.unwrap(), 1);
    assert!(store.claim(over, 10, &[]).await.unwrap().is_empty());
    let over = over + Span::from_seconds(5);
    let fourth = store.claim(over, 10, &[]).await.unwrap();
    assert_eq!(fourth[0].claim, 4);
    let sent = store
        .finish(
            over,
            &[(one.id, 4)],
            &attempt("delivered"),
            Finish::Delivered,
        )
        .await;
    assert_eq!(sent.unwrap(), 1);
    let next = store.claim(over, 10, &[]).await.unwrap();
    assert_eq!((next.len(), next[0].kind), (1, MessageKind::Resolved));
    assert_eq!(next[0].incident.state, "resolved");
    let attempts = store.attempts(one.id).await.unwrap();
    let outcomes: Vec<&str> = attempts
        .iter()
        .map(|attempt| attempt.outcome.as_str())
        .collect();
    assert_eq!(outcomes, ["delivered", "http\u{fffd}error", "delivered"]);
    assert_eq!(
        (attempts[0].status, attempts[0].latency),
        (Some(503), Span::from_millis(12))
    );
    let depths = store.outbox_depths().await.unwrap();
    assert_eq!((depths.pending, depths.dead), (1, 0));
    assert!(depths.oldest.is_some());
    for (filter, expected) in [
        (
            DeliveryFilter {
                state: Some("delivered".to_owned()),
                ..DeliveryFilter::default()
            },
            1,
        ),
        (
            DeliveryFilter {
                state: Some("unknown".to_owned()),
                ..DeliveryFilter::default()
            },
            0,
        ),
        (
            DeliveryFilter {
                incident: Some(1),
                channel: Some(filled.channel),
                ..DeliveryFilter::default()
            },
            2,
        ),
        (
            DeliveryFilter {
                seq: Some(2),
                ..DeliveryFilter::default()
            },
            1,
        ),
        (
            DeliveryFilter {
                before: Some(next[0].id),
                ..DeliveryFilter::default()
            },
            1,
        ),
        (
            DeliveryFilter {
                after: Some(one.id),
                ..DeliveryFilter::default()
            },
            1,
        ),
        (
            DeliveryFilter {
                id: Some(one.id),
                ..DeliveryFilter::default()
            },
            1,
        ),
    ] {
        assert_eq!(
            list(&filled, filter.clone()).await.len(),
            expected,
            "{filter:?}"
        );
    }
}

async fn what_was_not_sent_before_it_was_over_is_superseded(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    let (monitor, first) = filled.fail("job").await;
    let done = filled
        .store
        .finish(
            filled.now,
            &[(first[0].id, 1)],
            &attempt("delivered"),
            Finish::Delivered,
        )
        .await;
    assert_eq!(done.unwrap(), 1);
    // The acknowledgement is claimed at once, the reopening waits behind it, and the end makes both needless to say.
    filled
        .command(
            monitor,
            Action::Acknowledge {
                incident: 1,
                note: None,
            },
        )
        .await;
    filled.report(monitor, Signal::Success, "").await;
    let rows = list(&filled, DeliveryFilter::default()).await;
    let kinds: Vec<_> = rows
        .iter()
        .rev()
        .map(|row| (row.kind.as_str(), row.state))
        .collect();
    assert_eq!(
        kinds,
        [
            ("incident.triggered", "delivered"),
            ("incident.acknowledged", "pending"),
            ("incident.resolved", "pending")
        ]
    );
    // A second incident is over before anybody could claim what waits.
    let (other, outgoing) = filled.fail("other").await;
    filled
        .command(
            other,
            Action::Acknowledge {
                incident: 2,
                note: None,
            },
        )
        .await;
    filled.report(other, Signal::Success, "").await;
    let rows = list(
        &filled,
        DeliveryFilter {
            incident: Some(2),
            ..DeliveryFilter::default()
        },
    )
    .await;
    let kinds: Vec<_> = rows
        .iter()
        .rev()
        .map(|row| (row.kind.as_str(), row.state))
        .collect();
    assert_eq!(outgoing.len(), 1);
    assert_eq!(
        kinds,
        [
            ("incident.triggered", "pending"),
            ("incident.acknowledged", "superseded"),
            ("incident.resolved", "pending")
        ]
    );
    assert_eq!(rows[1].detail.as_deref(), Some("over before it was sent"));
}

async fn what_is_dead_may_be_sent_again(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    let (_, outgoing) = filled.fail("job").await;
    let id = outgoing[0].id;
    let store = &filled.store;
    assert!(
        !store.replay(filled.now, DEFAULT_PROJECT, id).await.unwrap(),
        "it is not dead"
    );
    store
        .finish(filled.now, &[(id, 1)], &attempt("refused"), Finish::Dead)
        .await
        .unwrap();
    assert_eq!(states(&filled).await, ["dead"]);
    assert_eq!(store.outbox_depths().await.unwrap().dead, 1);
    assert!(
        !store.replay(filled.now, 2, id).await.unwrap(),
        "of another project"
    );
    assert!(store.replay(filled.now, DEFAULT_PROJECT, id).await.unwrap());
    let again = store.claim(filled.now, 10, &[]).await.unwrap();
    assert_eq!((again[0].id, again[0].claim, again[0].attempts), (id, 2, 1));
    store
        .finish(
            filled.now,
            &[(id, 2)],
            &attempt("no such message"),
            Finish::NotSent,
        )
        .await
        .unwrap();
    assert_eq!(states(&filled).await, ["superseded"]);
}

async fn what_died_is_told_on_the_system_channel_and_what_is_open_is_said_again(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    let system = ChannelFields {
        default: false,
        system: true,
        ..channel("system")
    };
    let system = filled
        .store
        .create_channel(filled.now, DEFAULT_PROJECT, &system)
        .await
        .unwrap();
    let reminding = ChannelFields {
        remind_every: Span::from_seconds(600).as_micros(),
        ..channel("people")
    };
    let changed = filled
        .store
        .update_channel(filled.now, filled.channel, 1, &reminding)
        .await;
    assert!(changed.unwrap());
    let (_, outgoing) = filled.fail("dies").await;
    filled
        .store
        .finish(
            filled.now,
            &[(outgoing[0].id, 1)],
            &attempt("refused"),
            Finish::Dead,
        )
        .await
        .unwrap();
    let (_, outgoing) = filled.fail("stays open").await;
    filled
        .store
        .finish(
            filled.now,
            &[(outgoing[0].id, 1)],
            &attempt("delivered"),
            Finish::Delivered,
        )
        .await
        .unwrap();
    assert!(
        filled
            .store
            .wants_follow_up(filled.now, false)
            .await
            .unwrap()
    );
    let followed = filled.follow_up().await;
    let expected = FollowedUp {
        deaths: 1,
        ..FollowedUp::default()
    };
    assert_eq!(followed, expected);
    assert!(
        !filled
            .store
            .wants_follow_up(filled.now, false)
            .await
            .unwrap()
    );
    let told = filled.store.claim(filled.now, 10, &[]).await.unwrap();
    let [one] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (one.channel, one.kind, one.incident.number),
        (system, MessageKind::Updated, 1)
    );
    let detail = "what the other side said".to_owned();
    assert_eq!(
        one.occasion,
        Occasion::DeliveryDead {
            channel: "people".to_owned(),
            detail
        }
    );
    let events = filled.store.events(1).await.unwrap();
    assert_eq!(events[1].kind, "undelivered");
    assert_eq!(
        events[1].note.as_deref(),
        Some("To people: what the other side said")
    );
    filled
        .store
        .finish(
            filled.now,
            &[(one.id, 1)],
            &attempt("delivered"),
            Finish::Delivered,
        )
        .await
        .unwrap();

    filled.now = filled.now + Span::from_seconds(601);
    assert!(
        filled
            .store
            .wants_follow_up(filled.now, false)
            .await
            .unwrap()
    );
    let followed = filled.follow_up().await;
    assert_eq!((followed.reminders, followed.deaths), (2, 0));
    let reminded = filled.store.claim(filled.now, 10, &[]).await.unwrap();
    let mut said: Vec<_> = reminded
        .iter()
        .map(|one| (one.incident.number, &one.occasion))
        .collect();
    said.sort_by_key(|(number, _)| *number);
    let first = Occasion::Reminder { number: 1 };
    assert_eq!(said, [(1, &first), (2, &first)]);
    assert!(
        !filled
            .store
            .wants_follow_up(filled.now, false)
            .await
            .unwrap()
    );
}

async fn a_start_finds_what_was_decided_and_swept(place: Place) {
    let mut filled = Filled::new(place.open().await).await;
    let (first, _) = filled.fail("first").await;
    filled.sweep().await;
    let (second, _) = filled.fail("second").await;
    filled.report(first, Signal::Success, "").await;
    let vector = filled.store.checkpoint_vector().await.unwrap();
    assert!(!vector.is_empty());
    let mut engine = Engine::boot(filled.store.boot().await.unwrap().boot);
    for row in filled.store.tail(engine.vector(), 100).await.unwrap() {
        engine.observe(&row).unwrap();
    }
    assert!(engine.decide(filled.now).is_none(), "all of it was decided");
    for monitor in [first, second] {
        let (one, other) = (
            engine.monitor(monitor).unwrap(),
            filled.engine.monitor(monitor).unwrap(),
        );
        assert_eq!(
            (one.last, one.last_failing),
            (other.last, other.last_failing)
        );
        assert_eq!(one.open_incident(), other.open_incident());
        assert_eq!(
            one.heartbeat.shown(filled.now),
            other.heartbeat.shown(filled.now)
        );
    }
    assert!(filled.store.database_bytes().await.unwrap() > 0);
}
