//! Clocks that are wrong, and a database whose disk is full: nothing that was acknowledged is lost, nobody is told of what did not
//! happen, and no hand is needed.

use serde_json::Value;
use systole_testing::postgres;

use crate::common::{Heartbeat, http::ask};
use crate::overlay::Overlay;
use crate::support::Fake;
use crate::{
    Job, LAPSES, Own, Replica, every, is_down_once, is_ready, is_up_again, said_of, told, wait,
};

/// A wall clock that is as many seconds ahead as a file says.
const WALL_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *found) {
    int (*real)(clockid_t, struct timespec *) = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, found);
    const char *path = getenv("CLOCK_AHEAD");
    if (!failed && clock == CLOCK_REALTIME && path) {
        long ahead = 0;
        FILE *file = fopen(path, "r");
        if (file) {
            if (fscanf(file, "%ld", &ahead) != 1) ahead = 0;
            fclose(file);
        }
        found->tv_sec += ahead;
    }
    return failed;
}
"#;

const HOURS: i64 = 3_600;

/// A heartbeat that must stay as it is, and one that falls silent and recovers, each told as it should be.
struct Watched {
    calm: Heartbeat,
    lapses: Heartbeat,
    fake: Fake,
}

impl Watched {
    fn of(replica: &Replica) -> Watched {
        let fake = Fake::start(|_| (204, String::new()));
        told(replica, &fake);
        let (period, grace) = LAPSES;
        let watched = Watched {
            calm: every(replica, "calm", "1h", "1h"),
            lapses: every(replica, "lapses", period, grace),
            fake,
        };
        assert_eq!(replica.checked_in(&watched.calm, ""), 200);
        watched
    }

    /// What falls silent is told once, and so is its recovery; the other one is left alone.
    fn is_judged_well(&self, replica: &Replica) {
        is_down_once(replica, &self.fake, &self.lapses);
        let job = Job::start(replica, &self.lapses.token);
        is_up_again(replica, &self.fake, &self.lapses);
        job.end();
        assert_eq!(replica.server.state(&self.calm), "up");
        assert_eq!(said_of(&self.fake, &self.calm), Vec::<String>::new());
        assert_eq!(replica.incidents(&self.calm), Vec::<String>::new());
    }
}

#[test]
fn a_wall_clock_that_is_stepped_by_hours_changes_nothing() {
    let database = postgres::database();
    let overlay = Overlay::compile(WALL_CLOCK);
    let ahead = overlay.path("ahead");
    let step = |seconds: i64| {
        // At once, so that no half of a number is read.
        let new = overlay.path("ahead.new");
        std::fs::write(&new, seconds.to_string()).unwrap();
        std::fs::rename(new, &ahead).unwrap();
    };
    step(5 * HOURS);
    // It starts hours ahead, and it is the one that decides.
    let wrong = Replica::start_with(database.url(), |command| {
        command
            .env("LD_PRELOAD", overlay.library())
            .env("CLOCK_AHEAD", &ahead);
    });
    // Its own lines show that its clock is wrong.
    let shown: jiff::Timestamp = wait("it to decide", || {
        let said = wrong.server.said();
        let line = said.lines().find(|line| line.contains("decides now"))?;
        line.split_once(' ')?.0.parse().ok()
    });
    assert!(shown.duration_since(jiff::Timestamp::now()).as_secs() > 4 * HOURS);
    let right = Replica::start(database.url());
    let watched = Watched::of(&wrong);
    for (number, seconds) in [-7 * HOURS, 3 * HOURS].into_iter().enumerate() {
        step(seconds);
        for replica in [&wrong, &right] {
            assert_eq!(replica.checked_in(&watched.calm, ""), 200);
            is_ready(replica);
        }
        wait("both check-ins to be shown", || {
            (right.server.checkins(&watched.calm).len() == 3 + 2 * number).then_some(())
        });
    }
    assert_eq!(right.checked_in(&watched.lapses, ""), 200);
    watched.is_judged_well(&right);
    assert!(wrong.decides() && !right.decides());

    // What is shown was stamped by the database, whoever took it.
    let at = |checkin: &Value| -> jiff::Timestamp {
        checkin["received_at"].as_str().unwrap().parse().unwrap()
    };
    for checkin in right.server.checkins(&watched.calm) {
        let off = jiff::Timestamp::now().duration_since(at(&checkin));
        assert!(off.abs().as_secs() < HOURS, "{checkin} is off by {off:?}");
    }
}

#[test]
fn a_database_whose_clock_is_stepped_tells_nothing_that_did_not_happen() {
    let database = postgres::database();
    let replicas: Vec<Replica> = (0..2).map(|_| Replica::start(database.url())).collect();
    let [one, other] = &replicas[..] else {
        unreachable!()
    };
    let watched = Watched::of(one);
    let mut ahead = 0;
    // Hours forward are a hole in which nobody was heard; seconds back are waited for.
    for step in [5 * HOURS, -5] {
        ahead += step;
        let known: Vec<u64> = replicas
            .iter()
            .map(|replica| replica.server.metric("systole_clock_steps"))
            .collect();
        database
            .carry_out(&format!(
                "CREATE OR REPLACE FUNCTION now_us() RETURNS BIGINT LANGUAGE sql VOLATILE AS
                 $$ SELECT CAST((extract(epoch FROM clock_timestamp()) + {ahead}) * 1000000 AS BIGINT) $$"
            ))
            .unwrap();
        for (replica, known) in replicas.iter().zip(known) {
            assert_eq!(replica.checked_in(&watched.calm, ""), 200);
            wait("the step to be noticed", || {
                (replica.server.metric("systole_clock_steps") > known).then_some(())
            });
            let words = "the database's clock was stepped";
            wait(words, || {
                replica.server.said().contains(words).then_some(())
            });
            is_ready(replica);
        }
    }
    wait("one to decide", || {
        replicas.iter().any(Replica::decides).then_some(())
    });
    assert_eq!(other.checked_in(&watched.lapses, ""), 200);
    watched.is_judged_well(one);
    for replica in &replicas {
        wait("every check-in to be shown", || {
            (replica.server.checkins(&watched.calm).len() == 5).then_some(())
        });
    }
}

/// No table and no index grows as long as a file exists; what has been there may be written.
const FULL: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_full(int fd, off64_t at) {
    const char *flag = getenv("DISK_FULL");
    if (!flag || access(flag, F_OK) != 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    struct stat found;
    if (length < 0 || fstat(fd, &found) != 0) return 0;
    path[length] = 0;
    return strstr(path, "/base/") && at >= found.st_size;
}
#define LAID_OVER(type, name, parameters, arguments, full) \
    type name parameters { \
        if (is_full(fd, at)) { full; } \
        type (*real) parameters = (type (*) parameters) dlsym(RTLD_NEXT, #name); \
        return real arguments; \
    }
#define FAILED errno = ENOSPC; return -1
LAID_OVER(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at), FAILED)
LAID_OVER(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at), (fd, bytes, length, at), FAILED)
LAID_OVER(ssize_t, pwritev, (int fd, const struct iovec *parts, int count, off_t at), (fd, parts, count, at), FAILED)
LAID_OVER(ssize_t, pwritev64, (int fd, const struct iovec *parts, int count, off64_t at), (fd, parts, count, at), FAILED)
LAID_OVER(int, posix_fallocate, (int fd, off_t at, off_t length), (fd, at, length), return ENOSPC)
LAID_OVER(int, posix_fallocate64, (int fd, off64_t at, off64_t length), (fd, at, length), return ENOSPC)
"#;

/// Sends an entry that needs pages of its own; whether it was acknowledged.
fn says(replica: &Replica, heartbeat: &Heartbeat, number: usize) -> bool {
    // Nothing that a database could compress.
    let mut noise = number as u64;
    let noise: String = (0..9_000)
        .map(|_| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            char::from(b'!' + u8::try_from((noise >> 33) % 90).unwrap())
        })
        .collect();
    let body = format!("entry {number} {noise}");
    let target = format!("/ping/{}/log", heartbeat.token);
    let reply = ask(replica.server.address, "POST", &target, "", body.as_bytes());
    match reply.status {
        200 => true,
        503 => false,
        other => panic!("{other}: {}", reply.text()),
    }
}

#[test]
fn a_full_disk_of_the_database_refuses_check_ins_and_needs_no_hand_once_it_has_room() {
    let overlay = Overlay::compile(FULL);
    let (library, full) = (overlay.library(), overlay.path("full"));
    let own = Own::start("full", &[("LD_PRELOAD", &library), ("DISK_FULL", &full)]);
    let replicas: Vec<Replica> = (0..2).map(|_| Replica::start(&own.url)).collect();
    let watched = Watched::of(&replicas[0]);
    let mut acknowledged = Vec::new();
    let mut numbers = 1..;
    let mut send = |replica: &Replica, acknowledged: &mut Vec<usize>| {
        let number = numbers.next().unwrap();
        let taken = says(replica, &watched.calm, number);
        acknowledged.extend(taken.then_some(number));
        taken
    };
    for replica in &replicas {
        assert!(send(replica, &mut acknowledged));
    }

    std::fs::write(&full, "").unwrap();
    for replica in &replicas {
        // Pages that have room take one or another.
        wait("a check-in to be refused", || {
            (!send(replica, &mut acknowledged)).then_some(())
        });
        wait("it not to be ready", || {
            let ready = replica.server.get("/readyz");
            let words = "the log cannot be written";
            (ready.status == 503 && ready.text().contains(words)).then_some(())
        });
        assert_eq!(replica.server.get("/healthz").status, 200);
        assert!(replica.server.metric("systole_log_append_failures_total") > 0);
    }

    std::fs::remove_file(&full).unwrap();
    for replica in &replicas {
        wait("a check-in to be taken", || {
            send(replica, &mut acknowledged).then_some(())
        });
        is_ready(replica);
    }
    assert_eq!(replicas[1].checked_in(&watched.lapses, ""), 200);
    watched.is_judged_well(&replicas[0]);
    for replica in &replicas {
        wait("every acknowledged entry to be shown, once", || {
            let shown = replica.server.checkins(&watched.calm);
            let times = |number: &usize| {
                let entry = format!("entry {number} ");
                let bodies = shown.iter().filter_map(|shown| shown["body"].as_str());
                bodies.filter(|body| body.starts_with(&entry)).count()
            };
            acknowledged
                .iter()
                .all(|number| times(number) == 1)
                .then_some(())
        });
    }
}
