//! The database is stopped and started again, and nobody has to lend a hand.

use systole_testing::postgres::script;

use crate::{Replica, every, wait};

/// A PostgreSQL of this test's own, which may be stopped.
struct Own;

impl Own {
    const NAME: &str = "restarted";

    fn start() -> (Own, String) {
        // One that a killed test left may have anything in it.
        script(&["remove", Own::NAME]).unwrap();
        let url = script(&["start", Own::NAME]).unwrap();
        (Own, url)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        _ = script(&["remove", Own::NAME]);
    }
}

#[test]
fn a_database_that_stops_and_comes_back_costs_no_acknowledged_check_in_and_no_hand() {
    let (_own, url) = Own::start();
    let replicas: Vec<Replica> = (0..2).map(|_| Replica::start(&url)).collect();
    let heartbeat = every(&replicas[0], "nightly", "1h", "1h");
    let mut acknowledged = 0;
    for replica in &replicas {
        for _ in 0..5 {
            assert_eq!(replica.checked_in(&heartbeat, ""), 200);
            acknowledged += 1;
        }
        wait("it to be ready", || {
            (replica.server.get("/readyz").status == 200).then_some(())
        });
    }

    script(&["stop", Own::NAME, "--now"]).unwrap();
    for replica in &replicas {
        wait("it not to be ready", || {
            let ready = replica.server.get("/readyz");
            (ready.status == 503 && ready.text().contains("writer: the log cannot be written"))
                .then_some(())
        });
        assert_eq!(replica.checked_in(&heartbeat, ""), 503);
        assert_eq!(replica.server.get("/healthz").status, 200);
    }

    assert_eq!(script(&["start", Own::NAME]).unwrap(), url);
    for replica in &replicas {
        wait("it to be ready again", || {
            (replica.server.get("/readyz").status == 200).then_some(())
        });
        assert_eq!(replica.checked_in(&heartbeat, ""), 200);
        acknowledged += 1;
    }
    wait("one to decide", || {
        replicas.iter().any(Replica::decides).then_some(())
    });
    assert!(!replicas.iter().all(Replica::decides), "both decide");
    for replica in &replicas {
        // A check-in that got 503 may have been written all the same: none is lost is what was promised.
        wait("every check-in to be shown", || {
            (replica.server.checkins(&heartbeat).len() >= acknowledged).then_some(())
        });
        assert_eq!(replica.incidents(&heartbeat), Vec::<String>::new());
    }
}
