//! Whoever decides may be stopped, killed or held up: another one decides, and each thing is told once.

use systole_testing::postgres;

use crate::common::Heartbeat;
use crate::support::Fake;
use crate::{Job, LAPSES, Replica, every, is_down_once, is_up_again, take_decider, told, wait};

/// A job that checks in again makes it well, once.
fn recovers(replica: &Replica, fake: &Fake, heartbeat: &Heartbeat) {
    let job = Job::start(replica, &heartbeat.token);
    is_up_again(replica, fake, heartbeat);
    job.end();
}

#[test]
fn a_stop_hands_deciding_over_a_crash_is_taken_over_and_each_lapse_is_told_once() {
    let database = postgres::database();
    let mut replicas: Vec<Replica> = (0..3).map(|_| Replica::start(database.url())).collect();
    let (period, grace) = LAPSES;
    let fake = Fake::start(|_| (204, String::new()));
    let stopped = take_decider(&mut replicas);
    told(&stopped, &fake);
    let first = every(&stopped, "first", period, grace);
    assert_eq!(stopped.checked_in(&first, ""), 200);

    let said = stopped.server.stop();
    assert!(said.contains("handed deciding over"), "{said}");
    let mut killed = take_decider(&mut replicas);
    let last = &replicas[0];
    // It is never pinged but through the one that stands by.
    let busy = every(last, "busy", "20s", "20s");
    let job = Job::start(last, &busy.token);
    is_down_once(last, &fake, &first);
    recovers(last, &fake, &first);

    let second = every(last, "second", period, grace);
    assert_eq!(last.checked_in(&second, ""), 200);
    killed.server.process.kill().unwrap();
    killed.server.ended();
    wait("the last one to decide", || last.decides().then_some(()));
    is_down_once(last, &fake, &second);
    recovers(last, &fake, &second);

    assert_eq!(last.server.state(&busy), "up");
    assert_eq!(last.incidents(&busy), Vec::<String>::new());
    job.end();
}

/// Keeps whoever looks at incidents until the log stream of a process that stops is closed.
const HOLD: &str = "
    BEGIN;
    LOCK TABLE incident IN ACCESS EXCLUSIVE MODE;
    DO $$ BEGIN
        FOR turn IN 1..1500 LOOP
            EXIT WHEN EXISTS (SELECT FROM log_stream WHERE ended IS NOT NULL);
            PERFORM pg_sleep(0.02);
        END LOOP;
        ASSERT EXISTS (SELECT FROM log_stream WHERE ended IS NOT NULL), 'no stream was closed';
    END $$;
    COMMIT";
/// The last thing but writing states in a turn of the engine's loop.
const LOOKS_FOR_REMINDERS: &str = "DO $$ BEGIN ASSERT EXISTS (
    SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%c.remind_every%'
); END $$";

#[test]
fn a_stop_in_the_middle_of_a_turn_hands_deciding_over_too() {
    let database = postgres::database();
    let mut replicas: Vec<Replica> = (0..2).map(|_| Replica::start(database.url())).collect();
    let mut stopped = take_decider(&mut replicas);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| database.carry_out(HOLD));
        wait("the engine's loop to be held", || {
            database.carry_out(LOOKS_FOR_REMINDERS).ok()
        });
        stopped.server.signal("TERM");
        held.join().unwrap().unwrap();
    });
    assert_eq!(stopped.server.ended().code(), Some(0));
    let said = stopped.server.said();
    // A database that kept it for longer than it waits for answers has made it give the lease back before.
    let is_handed_over = ["handed deciding over", "cannot decide"]
        .iter()
        .any(|words| said.contains(words));
    assert!(is_handed_over, "{said}");
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
