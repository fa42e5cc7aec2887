//! Whoever decides may be stopped, killed or held up: another one decides, and each thing is told once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use systole_testing::postgres;

use crate::common::Heartbeat;
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

/// How long a heartbeat of these tests may be silent: a check-in each half second keeps it up on a machine with other work.
const LAPSES: (&str, &str) = ("6s", "4s");

/// A job that checks in again makes it well, once.
fn recovers(replica: &Replica, fake: &Fake, heartbeat: &Heartbeat) {
    let job = Job::start(replica, &heartbeat.token);
    is_up_again(replica, fake, heartbeat);
    job.end();
}

#[test]
fn a_replica_held_up_for_longer_than_its_lease_tells_nothing_twice_and_takes_check_ins_again() {
    let database = postgres::database();
    let mut replicas: Vec<Replica> = (0..2).map(|_| Replica::start(database.url())).collect();
    let (period, grace) = LAPSES;
    let fake = Fake::start(|_| (204, String::new()));
    let held_up = take_decider(&mut replicas);
    let other = &replicas[0];
    told(&held_up, &fake);
    let lapses = every(&held_up, "lapses", period, grace);
    assert_eq!(held_up.checked_in(&lapses, ""), 200);

    held_up.server.signal("STOP");
    wait("the other to decide", || other.decides().then_some(()));
    is_down_once(other, &fake, &lapses);
    let says = |replica: &Replica, words: &str| {
        wait(words, || {
            replica.server.said().contains(words).then_some(())
        });
    };
    says(other, "closed the log stream of a replica that was silent");

    held_up.server.signal("CONT");
    wait("it to stand by", || (!held_up.decides()).then_some(()));
    assert_eq!(held_up.checked_in(&lapses, ""), 200);
    says(&held_up, "beginning a new one");
    for replica in [other, &held_up] {
        wait("the check-in to be shown", || {
            (replica.server.checkins(&lapses).len() == 2).then_some(())
        });
    }
    recovers(&held_up, &fake, &lapses);
    assert!(other.decides() && !held_up.decides());
}
