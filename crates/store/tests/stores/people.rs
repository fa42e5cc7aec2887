//! Tokens, people, their sessions, set-up codes.

use systole_core::time::{Span, Time};
use systole_store::people::TokenRow;
use systole_store::{DEFAULT_PROJECT, Error, Store};

use crate::Place;
use crate::filled::START;

on_both!(
    tokens_are_listed_newest_first_and_have_names_of_their_own,
    a_set_up_code_makes_one_administrator_in_its_time,
    a_session_lasts_as_long_as_it_is_used,
);

const IDLE: Span = Span::from_seconds(3_600);

async fn store(place: &Place) -> Store {
    let store = place.open().await;
    store.install(START, "key", b"check").await.unwrap();
    assert_eq!(
        store.key_check().await.unwrap(),
        Some(("key".to_owned(), b"check".to_vec()))
    );
    store
}

fn after(seconds: i64) -> Time {
    START + Span::from_seconds(seconds)
}

async fn tokens_are_listed_newest_first_and_have_names_of_their_own(place: Place) {
    let store = store(&place).await;
    let token = |name: &str| TokenRow {
        id: 0,
        project: DEFAULT_PROJECT,
        name: name.to_owned(),
        role: "probe".to_owned(),
        region: Some("eu".to_owned()),
        cluster: None,
        created_at: START,
    };
    let first = store.create_token(&token("a"), &[0; 32]).await.unwrap();
    let second = store.create_token(&token("b"), &[255; 32]).await.unwrap();
    let taken = store.create_token(&token("a"), &[1; 32]).await;
    assert!(
        matches!(
            taken,
            Err(Error::Taken {
                field: "name",
                what: "token"
            })
        ),
        "{taken:?}"
    );
    let other = store.create_token(&token("c"), &[0; 32]).await;
    assert!(matches!(other, Err(Error::Database { .. })), "{other:?}");
    let found = store.tokens(DEFAULT_PROJECT).await.unwrap();
    let ids: Vec<i64> = found.iter().map(|(row, _)| row.id).collect();
    assert_eq!(ids, [second, first]);
    let (row, hash) = &found[1];
    assert_eq!((row.name.as_str(), row.role.as_str()), ("a", "probe"));
    assert_eq!(
        (row.region.as_deref(), row.cluster.as_deref()),
        (Some("eu"), None)
    );
    assert_eq!((row.created_at, hash.as_slice()), (START, &[0; 32][..]));
    assert!(
        !store.delete_token(2, first).await.unwrap(),
        "of another project"
    );
    assert!(store.delete_token(DEFAULT_PROJECT, first).await.unwrap());
    assert!(!store.delete_token(DEFAULT_PROJECT, first).await.unwrap());
}

async fn a_set_up_code_makes_one_administrator_in_its_time(place: Place) {
    let store = store(&place).await;
    assert!(!store.has_people().await.unwrap());
    store.set_setup_code(b"former", after(600)).await.unwrap();
    store.set_setup_code(b"code", after(600)).await.unwrap();
    for (code, at, email, made) in [
        (&b"former"[..], 10, "a@example.org", false),
        (b"code", 600, "a@example.org", false),
        (b"code", 599, "Ä@example.org", true),
        (b"code", 599, "b@example.org", false),
    ] {
        let done = store.set_up(after(at), code, email, "hash").await.unwrap();
        assert_eq!(done, made, "{code:?} after {at} s");
    }
    assert!(store.has_people().await.unwrap());
    let person = store.person("Ä@example.org").await.unwrap().unwrap();
    assert_eq!(
        (person.role.as_str(), person.password_hash.as_str()),
        ("admin", "hash")
    );
    for unknown in [
        "ä@example.org",
        "b@example.org",
        "Ä@example.org\0",
        "\0",
        "",
    ] {
        assert!(
            store.person(unknown).await.unwrap().is_none(),
            "{unknown:?}"
        );
    }
    store.set_setup_code(b"next", after(600)).await.unwrap();
    let taken = store
        .set_up(after(1), b"next", "Ä@example.org", "hash")
        .await;
    assert!(
        matches!(taken, Err(Error::Taken { field: "email", .. })),
        "{taken:?}"
    );
    // The code is not used up by that.
    assert!(
        store
            .set_up(after(1), b"next", "c@example.org", "hash")
            .await
            .unwrap()
    );
}

async fn a_session_lasts_as_long_as_it_is_used(place: Place) {
    let store = store(&place).await;
    store.set_setup_code(b"code", after(600)).await.unwrap();
    assert!(
        store
            .set_up(START, b"code", "a@example.org", "hash")
            .await
            .unwrap()
    );
    let person = store.person("a@example.org").await.unwrap().unwrap().id;
    store
        .begin_session(START, b"one", Some(person), IDLE)
        .await
        .unwrap();
    store
        .begin_session(START, b"two", None, IDLE)
        .await
        .unwrap();
    let of = async |at: i64, hash: &'static [u8]| {
        store
            .session_of(after(at), hash, IDLE)
            .await
            .unwrap()
            .map(|(who, role)| format!("{who}, {role}"))
    };
    let person = Some("a@example.org, admin".to_owned());
    assert_eq!(of(3_000, b"one").await, person);
    assert_eq!(
        of(3_000, b"two").await.as_deref(),
        Some("administrator's token, admin")
    );
    assert_eq!(of(3_000, b"three").await, None);
    assert_eq!(of(6_600, b"one").await, person, "it was used in between");
    assert_eq!(
        of(10_201, b"one").await,
        None,
        "nobody has used it for an hour"
    );
    store.end_sessions_of_tokens().await.unwrap();
    assert_eq!(of(3_001, b"two").await, None);
    // Whoever begins one sweeps out what is over.
    store
        .begin_session(after(20_000), b"three", None, IDLE)
        .await
        .unwrap();
    assert_eq!(of(6_601, b"one").await, None);
    assert!(of(20_001, b"three").await.is_some());
    store.end_session(b"three").await.unwrap();
    assert_eq!(of(20_001, b"three").await, None);
}
