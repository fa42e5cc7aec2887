//! Whoever decides may be stopped, killed or held up: another one decides, and each thing is told once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use systole_testing::postgres;

use crate::common::http::ask;
use crate::support::Fake;
use crate::{Replica, every, is_down_once, is_up_again, take_decider, told, wait};

/// Checks in every half second, as long as the value lives; every check-in must be taken.
struct Job {
    goes_on: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Job {
    fn start(replica: &Replica, token: &str) -> Job {
        let goes_on = Arc::new(AtomicBool::new(true));
        let (address, target) = (replica.server.address, format!("/ping/{token}"));
        let still = Arc::clone(&goes_on);
        let thread = std::thread::spawn(move || {
            while still.load(Ordering::Relaxed) {
                assert_eq!(ask(address, "GET", &target, "", b"").status, 200);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Job {
            goes_on,
            thread: Some(thread),
        }
    }

    fn end(mut self) {
        self.goes_on.store(false, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_stop_hands_deciding_over_a_crash_is_taken_over_and_each_lapse_is_told_once() {
    let database = postgres::database();
    let mut replicas: Vec<Replica> = (0..3).map(|_| Replica::start(database.url())).collect();
    let decider = take_decider(&mut replicas);
    let fake = Fake::start(|_| (204, String::new()));
    told(&decider, &fake);
    // Two that stay; which of them decides next nobody knows.
    let busy = every(&replicas[0], "busy", "20s", "20s");
    let jobs: Vec<Job> = replicas
        .iter()
        .map(|replica| Job::start(replica, &busy.token))
        .collect();
    let before = every(&decider, "before the stop", "2s", "1s");
    assert_eq!(decider.checked_in(&before, ""), 200);

    let said = decider.server.stop();
    assert!(said.contains("handed deciding over"), "{said}");
    let mut jobs = jobs.into_iter();
    let (first, second) = (jobs.next().unwrap(), jobs.next().unwrap());
    let was_first = {
        let decider_address = {
            let at = wait("another to decide", || {
                replicas.iter().position(Replica::decides)
            });
            replicas[at].server.address
        };
        replicas[0].server.address == decider_address
    };
    let other = &replicas[usize::from(was_first)];
    is_down_once(other, &fake, &before);
    assert_eq!(other.checked_in(&before, ""), 200);
    // The heartbeat lapses again otherwise, which is another story.
    let (status, _) = other.server.api(
        "PATCH",
        &format!("/monitors/{}", before.id),
        &serde_json::json!({"schedule": {"every": "1h"}}),
    );
    assert_eq!(status, 200);
    is_up_again(other, &fake, &before);

    let (killed_job, lasting_job) = if was_first {
        (first, second)
    } else {
        (second, first)
    };
    killed_job.end();
    let mut killed = take_decider(&mut replicas);
    let last = &replicas[0];
    let after = every(last, "after the crash", "2s", "1s");
    assert_eq!(last.checked_in(&after, ""), 200);
    killed.server.process.kill().unwrap();
    killed.server.ended();
    wait("the last one to decide", || last.decides().then_some(()));
    is_down_once(last, &fake, &after);
    assert_eq!(last.checked_in(&after, "/fail"), 200);
    let target = format!("/monitors/{}", after.id);
    let hourly = serde_json::json!({"schedule": {"every": "1h"}});
    assert_eq!(last.server.api("PATCH", &target, &hourly).0, 200);
    assert_eq!(last.checked_in(&after, ""), 200);
    is_up_again(last, &fake, &after);

    lasting_job.end();
    assert_eq!(last.incidents(&busy), Vec::<String>::new());
    assert_eq!(last.server.state(&busy), "up");
}

#[test]
fn a_replica_held_up_for_longer_than_its_lease_tells_nothing_twice_and_takes_check_ins_again() {
    let database = postgres::database();
    let mut replicas: Vec<Replica> = (0..2).map(|_| Replica::start(database.url())).collect();
    let held_up = take_decider(&mut replicas);
    let other = &replicas[0];
    let fake = Fake::start(|_| (204, String::new()));
    told(&held_up, &fake);
    let lapses = every(&held_up, "lapses", "2s", "1s");
    assert_eq!(held_up.checked_in(&lapses, ""), 200);

    held_up.server.signal("STOP");
    wait("the other to decide", || other.decides().then_some(()));
    is_down_once(other, &fake, &lapses);
    let closed = "closed the log stream of a replica that was silent";
    wait("the silent stream to be closed", || {
        other.server.said().contains(closed).then_some(())
    });

    held_up.server.signal("CONT");
    wait("it to stand by", || (!held_up.decides()).then_some(()));
    let target = format!("/monitors/{}", lapses.id);
    let hourly = serde_json::json!({"schedule": {"every": "1h"}});
    assert_eq!(other.server.api("PATCH", &target, &hourly).0, 200);
    assert_eq!(held_up.checked_in(&lapses, ""), 200);
    assert!(held_up.server.said().contains("beginning a new one"));
    for replica in [other, &held_up] {
        is_up_again(replica, &fake, &lapses);
        assert_eq!(replica.server.checkins(&lapses).len(), 2);
    }
    assert!(other.decides() && !held_up.decides());
}
