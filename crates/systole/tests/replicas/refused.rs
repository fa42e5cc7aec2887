//! A replica that cannot start says why in one line, without the password.

use std::net::TcpListener;

use systole_testing::postgres;

use crate::common::{directory, serve};
use crate::support::ended;
use crate::{KEY, Replica, command};

#[test]
fn a_replica_that_cannot_start_says_why_in_one_line_without_the_password() {
    let database = postgres::database();
    let url = database.url();
    let password = url
        .split_once("://systole:")
        .and_then(|(_, rest)| rest.split_once('@'))
        .unwrap()
        .0;
    // Marks the database with the key that is right.
    Replica::start(url).server.stop();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let unreachable = format!("postgres://systole:{password}@{closed}/systole");
    let other_key = "YW5vdGhlciBrZXkgdGhhbiB0aGUgb3RoZXJzIHVzZSE=";
    for (url, key, expected) in [
        (
            url,
            None,
            "--database-url needs a key that every replica is given",
        ),
        (url, Some(other_key), "key"),
        (unreachable.as_str(), Some(KEY), "Connection refused"),
    ] {
        let data = directory();
        let mut starting = command(data.path(), url);
        match key {
            Some(key) => starting.env("SYSTOLE_KEY", key),
            None => starting.env_remove("SYSTOLE_KEY"),
        };
        let (status, out, said) = ended(&starting.output().unwrap());
        assert_eq!((status, out.as_str()), (1, ""), "{said}");
        assert!(
            said.starts_with("systole: ") && said.contains(expected),
            "{said}"
        );
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains(password), "{said}");
    }
    let data = directory();
    let mut starting = serve(data.path(), &["--database-url", "mysql://u:hunter2@db/x"]);
    let (status, _, said) = ended(&starting.output().unwrap());
    assert_eq!(status, 2, "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
