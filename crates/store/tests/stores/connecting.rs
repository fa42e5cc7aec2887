//! Getting into a PostgreSQL: several at once, encrypted, through a pooler, and what is said where nobody gets in.

use std::sync::Arc;

use sqlx::Connection as _;
use systole_core::engine::Vector;
use systole_core::time::Time;
use systole_store::log::Batch;
use systole_store::{Error, Store};
use systole_testing::postgres;

use crate::filled::Filled;

const NOW: Time = Time::from_seconds(1_800_000_000);

#[tokio::test]
async fn several_that_start_at_once_find_one_migrated_database() {
    let database = postgres::database();
    let url: Arc<str> = database.url().into();
    let mut starting = Vec::new();
    for _ in 0..8 {
        let url = Arc::clone(&url);
        starting.push(tokio::spawn(async move { Store::connect(&url).await }));
    }
    let mut streams = Vec::new();
    for started in starting {
        let store = started.await.unwrap().unwrap();
        streams.push(store.open_stream("one", NOW).await.unwrap());
    }
    streams.sort_unstable();
    assert_eq!(streams, [1, 2, 3, 4, 5, 6, 7, 8]);
}

/// The URL with one thing changed; where nothing is, the test's own fault.
fn changed(url: &str, from: &str, to: &str) -> String {
    let changed = url.replacen(from, to, 1);
    assert_ne!(changed, url);
    changed
}

#[tokio::test]
async fn who_does_not_get_in_is_told_why_and_what_to_do_in_one_line_without_the_password() {
    let database = postgres::database();
    let url = database.url().to_owned();
    let (before, rest) = url.split_once("://systole:").unwrap();
    let (password, after) = rest.split_once('@').unwrap();
    assert_eq!(before, "postgres");
    let (host, _) = after.split_once('/').unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let name = database.name();
    for (url, expected) in [
        (
            changed(&url, password, "hunter2"),
            vec![
                format!(
                    "cannot open the database {name} at {host}: password authentication failed for user \"systole\""
                ),
                "look at user and password".to_owned(),
            ],
        ),
        (
            changed(&url, name, "elsewhere"),
            vec![
                format!(
                    "cannot open the database elsewhere at {host}: database \"elsewhere\" does not exist"
                ),
                "create it".to_owned(),
            ],
        ),
        (
            changed(&url, host, &closed),
            vec![
                format!("cannot open the database {name} at {closed}: Connection refused"),
                "whether the server runs".to_owned(),
            ],
        ),
        (
            changed(&url, host, "nowhere.invalid"),
            vec![
                format!("cannot open the database {name} at nowhere.invalid:5432: "),
                "whether the server runs".to_owned(),
            ],
        ),
        (
            format!("{url}?sslmode=verify-full"),
            vec![
                format!("cannot open the database {name} at {host}: "),
                "look at sslmode and sslrootcert".to_owned(),
            ],
        ),
        (
            format!("{url}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem"),
            vec![format!("cannot open the database {name} at {host}: ")],
        ),
        (
            changed(&url, "postgres", "mysql"),
            vec![
                "the database's URL cannot be used: it begins with mysql:, not with postgres:"
                    .to_owned(),
            ],
        ),
        (
            format!("{url}?sslmode=yes"),
            vec![
                "the database's URL cannot be used: ".to_owned(),
                "yes".to_owned(),
            ],
        ),
        (
            format!("{url}?pasword=hunter2"),
            vec!["nothing is known of its parameter \"pasword\"".to_owned()],
        ),
        (
            changed(&url, &format!("/{name}"), ""),
            vec!["it names no database".to_owned()],
        ),
        (
            changed(
                &url,
                host,
                &format!("{}:port", host.split_once(':').unwrap().0),
            ),
            vec![
                "the database's URL cannot be used: ".to_owned(),
                "it looks like postgres://".to_owned(),
            ],
        ),
        (
            "systole".to_owned(),
            vec!["the database's URL cannot be used: ".to_owned()],
        ),
    ] {
        let shown = url.replace(password, "***");
        let Err(error) = Store::connect(&url).await else {
            panic!("{shown} was opened");
        };
        let said = error.to_string();
        for part in expected {
            assert!(said.contains(&part), "{shown}: {said}");
        }
        let all = format!("{said} {error:?}");
        assert!(!said.contains('\n'), "{shown}: {said}");
        assert!(
            !all.contains(password) && !all.contains("hunter2"),
            "{shown}: {all}"
        );
    }
}

#[tokio::test]
async fn connections_are_encrypted_where_that_is_asked_for() {
    let database = postgres::database();
    let certificate = postgres::script(&["certificate"]).unwrap();
    for mode in [
        "sslmode=require".to_owned(),
        format!("sslmode=verify-ca&sslrootcert={certificate}"),
        format!("sslmode=verify-full&sslrootcert={certificate}"),
    ] {
        let store = Store::connect(&format!("{}?{mode}", database.url()))
            .await
            .unwrap();
        store.open_stream("one", NOW).await.unwrap();
        let mut looks = sqlx::PgConnection::connect(database.url()).await.unwrap();
        let open: Vec<bool> = sqlx::query_scalar(
            "SELECT s.ssl FROM pg_stat_activity a JOIN pg_stat_ssl s USING (pid)
             WHERE a.datname = current_database() AND a.application_name = 'systole'",
        )
        .fetch_all(&mut looks)
        .await
        .unwrap();
        assert!(
            !open.is_empty() && open.iter().all(|is_encrypted| *is_encrypted),
            "{mode}: {open:?}"
        );
    }
}

#[tokio::test]
async fn a_pooler_that_gives_every_transaction_another_connection_may_stand_between() {
    let database = postgres::database();
    let pooled = database.pooled_url();
    // Two processes at once, whose statements meet on the same connections.
    let one = Store::connect(&pooled).await.unwrap();
    let other = Store::connect(&pooled).await.unwrap();
    let mut filled = Filled::new(one).await;
    filled.fail("first").await;
    let stream = other.open_stream("other", NOW).await.unwrap();
    let from = Vector::new();
    for seq in 1..=20 {
        let batch = Batch {
            stream,
            seq,
            at: NOW,
            count: 0,
            body: Vec::new(),
        };
        let (put, again) =
            tokio::join!(other.append(&batch, || NOW), filled.store.tail(&from, 100));
        put.unwrap();
        again.unwrap();
    }
    filled.fail("second").await;
    let open = other.count_open_incidents(1).await.unwrap();
    assert_eq!(open, 2);
    assert_eq!(other.boot().await.unwrap().boot.monitors.len(), 2);
    assert_eq!(other.acquire_lease(stream).await.unwrap(), None);
    let fenced = other.begin_decision(0).await;
    assert!(matches!(fenced, Err(Error::Fenced)), "{:?}", fenced.err());
    assert_eq!(other.claim(Time::NEVER, 10, &[]).await.unwrap().len(), 2);
    // A third one finds its own connection used by others before it.
    let third = Store::connect(&pooled).await.unwrap();
    assert_eq!(third.count_open_incidents(1).await.unwrap(), 2);
}
