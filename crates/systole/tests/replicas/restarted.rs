//! The database is stopped and started again, and nobody has to lend a hand.

use systole_testing::postgres::script;

use crate::{Own, Replica, every, is_ready, wait};

#[test]
fn a_database_that_stops_and_comes_back_costs_no_acknowledged_check_in_and_no_hand() {
    let own = Own::start("restarted", &[]);
    let replicas: Vec<Replica> = (0..2).map(|_| Replica::start(&own.url)).collect();
    let heartbeat = every(&replicas[0], "nightly", "1h", "1h");
    let mut acknowledged = 0;
    for replica in &replicas {
        for _ in 0..5 {
            assert_eq!(replica.checked_in(&heartbeat, ""), 200);
            acknowledged += 1;
        }
        is_ready(replica);
    }

    script(&["stop", own.name, "--now"]).unwrap();
    for replica in &replicas {
        wait("it not to be ready", || {
            let ready = replica.server.get("/readyz");
            (ready.status == 503 && ready.text().contains("writer: the log cannot be written"))
                .then_some(())
        });
        assert_eq!(replica.checked_in(&heartbeat, ""), 503);
        assert_eq!(replica.server.get("/healthz").status, 200);
    }

    assert_eq!(script(&["start", own.name]).unwrap(), own.url);
    for replica in &replicas {
        is_ready(replica);
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
