//! What is set up wrongly with a database that replicas share.

use systole_core::time::{Span, Time};
use systole_store::Error;
use systole_store::status::{Decider, Server, Standby, Status, View};
use systole_wire::Finding;

use super::{Place, key, size};
use crate::clock::Clock;

/// Clocks may be apart by this much beside what the measurement leaves open.
const APART: Span = Span::from_seconds(2);
const FAR_APART: Span = Span::from_seconds(30);
/// A commit that takes longer makes every check-in wait.
const SLOW: Span = Span::from_millis(100);
/// A renewal of the lease that takes longer has failed.
const TOO_SLOW: Span = Span::from_seconds(1);
/// So many commits are measured; the one in the middle counts.
const MEASURED: usize = 5;

/// Looks at it.
pub(super) async fn findings(place: &Place, view: &View) -> Vec<Finding> {
    let status = match view.status().await {
        Ok(status) => status,
        Err(error) => return vec![unreachable(&error), key(place, None)],
    };
    let mut findings = vec![connection(view.place(), &status)];
    if let Some(server) = &status.server {
        let before = Clock::wall();
        findings.push(match view.now().await {
            Ok(now) => clock(now, before, Clock::wall()),
            Err(error) => unreachable(&error),
        });
        findings.push(durability(server));
        if !server.is_standby {
            findings.push(match commit_time(view).await {
                Ok(taken) => commit(taken),
                Err(error) => Finding::problem(
                    "commit",
                    crate::chain(&error),
                    "look at the log of PostgreSQL: check-ins cannot be stored either",
                ),
            });
        }
        findings.push(standby(server.standby));
        if let Some(holdings) = &status.holdings {
            findings.push(lease(&holdings.decider, server.now));
        }
    }
    findings.push(key(place, Some(&status.identity)));
    findings
}

pub(super) fn unreachable(error: &Error) -> Finding {
    Finding::problem(
        "database",
        crate::chain(error),
        "see whether PostgreSQL runs and --database-url names it; while it is away check-ins are refused",
    )
}

fn connection(place: &str, status: &Status) -> Finding {
    let version = status.identity.version;
    let server = status.server.as_ref();
    let said = format!(
        "{place}, PostgreSQL {}, schema version {version} of {}, {}",
        server.map_or("", |server| &server.version),
        status.known,
        size(status.identity.bytes)
    );
    if server.is_some_and(|server| server.is_standby) {
        Finding::problem(
            "database",
            format!("{said}; it is a standby, which takes no writes"),
            "name the primary in --database-url, or promote this one",
        )
    } else if version == 0 {
        Finding::warning(
            "database",
            format!("{place} can be reached, and no server has used it yet"),
            "start systole serve with it, or copy a database into it with systole db copy",
        )
    } else if version < status.known {
        Finding::warning(
            "database",
            said,
            "start systole serve of this version: it migrates it",
        )
    } else {
        Finding::ok("database", said)
    }
}

/// Between the looks at our own clock the database looked at its own.
fn clock(database: Time, before: Time, after: Time) -> Finding {
    let (ahead, behind) = (database.since(after), before.since(database));
    let (apart, direction) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    let said = format!(
        "the database's clock, by which everything is decided, is {:.1} s {direction} that of this machine",
        apart.as_seconds_f64()
    );
    let advice = "look whether NTP runs on both: by a wrong clock of the database deadlines are judged wrongly";
    if apart > FAR_APART {
        Finding::problem("database clock", said, advice)
    } else if apart > APART {
        Finding::warning("database clock", said, advice)
    } else {
        Finding::ok(
            "database clock",
            "the database's clock and that of this machine agree",
        )
    }
}

async fn commit_time(view: &View) -> Result<Span, Error> {
    let mut taken = Vec::new();
    for _ in 0..MEASURED {
        let begun = Clock::uptime();
        view.commit().await?;
        taken.push(Clock::uptime().since(begun));
    }
    taken.sort_unstable();
    Ok(taken.get(MEASURED / 2).copied().unwrap_or(Span::ZERO))
}

fn commit(taken: Span) -> Finding {
    let said = format!(
        "a commit takes {:.1} ms from here",
        taken.as_seconds_f64() * 1_000.0
    );
    let advice = "look at the disk of PostgreSQL, its synchronous standby and the way to both: every check-in waits so long";
    if taken > TOO_SLOW {
        Finding::problem(
            "commit",
            format!("{said}: no replica can keep the lease"),
            advice,
        )
    } else if taken > SLOW {
        Finding::warning("commit", said, advice)
    } else {
        Finding::ok("commit", said)
    }
}

fn durability(server: &Server) -> Finding {
    if server.is_durable {
        Finding::ok("durability", "what PostgreSQL acknowledges is on its disk")
    } else {
        Finding::problem(
            "durability",
            "PostgreSQL acknowledges what is not on its disk yet: a crash loses check-ins that were answered with OK",
            "set fsync and synchronous_commit to on in postgresql.conf",
        )
    }
}

fn standby(standby: Standby) -> Finding {
    let check = "standby";
    match standby {
        Standby::Present => Finding::ok(
            check,
            "commits wait for a synchronous standby, which is there",
        ),
        Standby::Unseen => Finding::warning(
            check,
            "commits wait for a synchronous standby; this user may not see whether it is there",
            "GRANT pg_read_all_stats to the user of --database-url",
        ),
        Standby::Missing => Finding::problem(
            check,
            "commits wait for a synchronous standby that is not there: check-ins are not acknowledged",
            "start the standby, or take it out of synchronous_standby_names",
        ),
        Standby::NotAwaited => Finding::warning(
            check,
            "a synchronous standby is named, and synchronous_commit says not to wait for it",
            "set synchronous_commit to on for the user of --database-url",
        ),
        Standby::None => Finding::warning(
            check,
            "there is no synchronous standby: with the machine of the database goes what it has not passed on",
            "where that must not be, name a standby in synchronous_standby_names",
        ),
    }
}

fn lease(decider: &Decider, now: Time) -> Finding {
    let advice = "start systole serve with this database; of one that runs the log and /readyz say why it does not decide";
    if decider.epoch == 0 {
        return Finding::problem("lease", "no replica has decided anything yet", advice);
    }
    let name = decider.replica.as_deref().unwrap_or("a replica");
    match decider.until {
        Some(until) if until < now => Finding::problem(
            "lease",
            format!(
                "nobody decides: the lease of {name}, epoch {}, has run out",
                decider.epoch
            ),
            advice,
        ),
        _ => Finding::ok("lease", format!("{name} decides, epoch {}", decider.epoch)),
    }
}

#[cfg(test)]
mod tests {
    use systole_wire::Level;

    use super::*;

    #[test]
    fn findings_of_a_shared_database_are_as_bad_as_what_they_mean() {
        let at = Time::from_seconds;
        let server = |is_durable| Server {
            version: "17.2".to_owned(),
            now: at(100),
            is_standby: false,
            is_durable,
            standby: Standby::None,
        };
        let decider = |epoch, until| Decider {
            epoch,
            stream: 1,
            replica: Some("a-1".to_owned()),
            until: Some(at(until)),
        };
        for (finding, level, part) in [
            (clock(at(100), at(100), at(101)), Level::Ok, "agree"),
            (
                clock(at(105), at(100), at(101)),
                Level::Warning,
                "4.0 s ahead of",
            ),
            (
                clock(at(60), at(100), at(101)),
                Level::Problem,
                "40.0 s behind",
            ),
            (commit(Span::from_millis(2)), Level::Ok, "2.0 ms"),
            (commit(Span::from_millis(150)), Level::Warning, "150.0 ms"),
            (
                commit(Span::from_millis(1_500)),
                Level::Problem,
                "keep the lease",
            ),
            (durability(&server(true)), Level::Ok, "on its disk"),
            (durability(&server(false)), Level::Problem, "a crash loses"),
            (standby(Standby::Present), Level::Ok, "which is there"),
            (standby(Standby::Unseen), Level::Warning, "may not see"),
            (
                standby(Standby::Missing),
                Level::Problem,
                "not acknowledged",
            ),
            (standby(Standby::NotAwaited), Level::Warning, "not to wait"),
            (
                standby(Standby::None),
                Level::Warning,
                "no synchronous standby",
            ),
            (lease(&decider(0, 0), at(100)), Level::Problem, "no replica"),
            (
                lease(&decider(3, 99), at(100)),
                Level::Problem,
                "lease of a-1, epoch 3, has run out",
            ),
            (
                lease(&decider(3, 101), at(100)),
                Level::Ok,
                "a-1 decides, epoch 3",
            ),
        ] {
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.message.contains(part), "{part:?}: {finding:?}");
            assert_eq!(finding.advice.is_none(), level == Level::Ok, "{finding:?}");
        }
    }
}
