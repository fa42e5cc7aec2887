//! One period of a monitor in a few numbers.

use crate::heartbeat::Signal;
use crate::time::{Span, Time};

/// An hour.
pub const HOUR: Span = Span::from_seconds(3_600);
/// A day, in UTC.
pub const DAY: Span = Span::from_seconds(86_400);

/// A check-in, as far as a rollup needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// When it was received.
    pub at: Time,
    /// What it says.
    pub signal: Signal,
    /// How long the run took that it ended.
    pub took: Option<Span>,
}

/// From one moment up to another, which is no part of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reach {
    /// Its first moment.
    pub from: Time,
    /// The first moment after it.
    pub until: Time,
}

/// What happened, in and around the period that is asked about. More than belongs to it does no harm.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Check-ins, in any order.
    pub heard: Vec<Heard>,
    /// When expected beats turned out to be missing.
    pub missed: Vec<Time>,
    /// When runs passed their limit.
    pub overran: Vec<Time>,
    /// While an incident was open.
    pub down: Vec<Reach>,
    /// While nobody could tell: before the first check-in, paused, in an outage of ours. It wins over `down`.
    pub unknown: Vec<Reach>,
}

/// A period in numbers. `up`, `down` and `unknown` add up to its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rollup {
    /// Check-ins of every kind.
    pub checkins: u64,
    /// Those that said success, or exit status 0.
    pub successes: u64,
    /// Those that said failure, or another exit status.
    pub failures: u64,
    /// Expected beats that were missing and so made it down.
    pub missed: u64,
    /// Runs that passed their limit and so made it down.
    pub overran: u64,
    /// How long it was known to be well.
    pub up: Span,
    /// How long it was down.
    pub down: Span,
    /// How long nobody could tell.
    pub unknown: Span,
    /// Runs that ended and were measured.
    pub runs: u64,
    /// The shortest of them; zero where there is none.
    pub shortest: Span,
    /// The longest of them.
    pub longest: Span,
    /// What they took together.
    pub total: Span,
}

impl Rollup {
    /// Of a period of which nothing is known.
    pub fn unknown(length: Span) -> Rollup {
        Rollup {
            unknown: length,
            ..Rollup::default()
        }
    }

    /// Two periods as one.
    pub fn joined(self, other: Rollup) -> Rollup {
        let shortest = match (self.runs, other.runs) {
            (0, _) => other.shortest,
            (_, 0) => self.shortest,
            _ => self.shortest.min(other.shortest),
        };
        Rollup {
            checkins: self.checkins + other.checkins,
            successes: self.successes + other.successes,
            failures: self.failures + other.failures,
            missed: self.missed + other.missed,
            overran: self.overran + other.overran,
            up: self.up + other.up,
            down: self.down + other.down,
            unknown: self.unknown + other.unknown,
            runs: self.runs + other.runs,
            shortest,
            longest: self.longest.max(other.longest),
            total: self.total + other.total,
        }
    }

    /// Its length.
    pub fn length(&self) -> Span {
        self.up + self.down + self.unknown
    }

    /// What part of the known time it was well, in millionths; nothing where nothing is known.
    pub fn uptime(&self) -> Option<u32> {
        let known = i128::from((self.up + self.down).as_micros());
        (known > 0)
            .then(|| i128::from(self.up.as_micros()) * 1_000_000 / known)
            .and_then(|part| u32::try_from(part).ok())
    }

    /// What a run took on average.
    pub fn average(&self) -> Option<Span> {
        let runs = i64::try_from(self.runs).ok().filter(|runs| *runs > 0)?;
        Some(self.total.divided_by(runs))
    }

    fn hear(&mut self, heard: &Heard) {
        self.checkins += 1;
        match heard.signal {
            Signal::Success | Signal::Exit(0) => self.successes += 1,
            Signal::Fail | Signal::Exit(_) => self.failures += 1,
            Signal::Start | Signal::Log => {}
        }
        if let Some(took) = heard.took {
            self.shortest = if self.runs == 0 {
                took
            } else {
                self.shortest.min(took)
            };
            self.longest = self.longest.max(took);
            self.total = self.total + took;
            self.runs += 1;
        }
    }
}

/// The rollup of `period`.
pub fn rollup(period: Reach, facts: &Facts) -> Rollup {
    let mut rollup = Rollup::default();
    let within = |at: &Time| (period.from..period.until).contains(at);
    for heard in facts.heard.iter().filter(|heard| within(&heard.at)) {
        rollup.hear(heard);
    }
    let count = |times: &[Time]| times.iter().filter(|at| within(at)).count() as u64;
    rollup.missed = count(&facts.missed);
    rollup.overran = count(&facts.overran);
    let unknown = clipped(&facts.unknown, period);
    let either: Vec<Reach> = unknown
        .iter()
        .copied()
        .chain(clipped(&facts.down, period))
        .collect();
    rollup.unknown = covered(unknown);
    let either = covered(either);
    rollup.down = Span::from_micros(either.as_micros() - rollup.unknown.as_micros());
    let length = period.until.since(period.from);
    rollup.up = Span::from_micros(length.as_micros() - either.as_micros());
    rollup
}

fn clipped(reaches: &[Reach], period: Reach) -> Vec<Reach> {
    reaches
        .iter()
        .map(|reach| Reach {
            from: reach.from.max(period.from),
            until: reach.until.min(period.until),
        })
        .filter(|reach| reach.from < reach.until)
        .collect()
}

/// How much time lies in any of them.
fn covered(mut reaches: Vec<Reach>) -> Span {
    reaches.sort_by_key(|reach| reach.from);
    let mut sum = Span::ZERO;
    let mut reached = Time::MIN;
    for reach in reaches {
        sum = sum + reach.until.since(reach.from.max(reached));
        reached = reached.max(reach.until);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(from: i64, until: i64) -> Reach {
        Reach {
            from: Time::from_seconds(from),
            until: Time::from_seconds(until),
        }
    }

    #[test]
    fn time_is_up_down_or_unknown_and_unknown_wins() {
        for (down, unknown, expected, why) in [
            (vec![], vec![], (100, 0, 0), "nothing is wrong"),
            (
                vec![reach(50, 500)],
                vec![],
                (50, 50, 0),
                "down beyond the end",
            ),
            (vec![reach(0, 20)], vec![], (100, 0, 0), "before it"),
            (
                vec![],
                vec![reach(0, 150)],
                (50, 0, 50),
                "not heard of before",
            ),
            (
                vec![reach(110, 160)],
                vec![reach(140, 150)],
                (50, 40, 10),
                "an outage of ours while it was down",
            ),
            (
                vec![reach(110, 130), reach(120, 140)],
                vec![reach(0, 105), reach(190, 300), reach(195, 196)],
                (55, 30, 15),
                "what overlaps counts once",
            ),
        ] {
            // The first two cases are about the hundred seconds from 0 and from 100.
            let period = if why == "down beyond the end" {
                reach(0, 100)
            } else {
                reach(100, 200)
            };
            let facts = Facts {
                down,
                unknown,
                ..Facts::default()
            };
            let rollup = rollup(period, &facts);
            let seconds = (
                rollup.up.as_seconds(),
                rollup.down.as_seconds(),
                rollup.unknown.as_seconds(),
            );
            assert_eq!(seconds, expected, "{why}");
        }
    }

    #[test]
    fn check_ins_are_counted_and_runs_measured() {
        let heard = |at, signal, took: Option<i64>| Heard {
            at: Time::from_seconds(at),
            signal,
            took: took.map(Span::from_seconds),
        };
        let facts = Facts {
            heard: vec![
                heard(99, Signal::Success, Some(1)),
                heard(100, Signal::Start, None),
                heard(110, Signal::Success, Some(10)),
                heard(120, Signal::Exit(0), Some(4)),
                heard(130, Signal::Exit(3), Some(7)),
                heard(140, Signal::Fail, None),
                heard(150, Signal::Log, None),
                heard(200, Signal::Success, Some(100)),
            ],
            missed: vec![Time::from_seconds(160), Time::from_seconds(200)],
            overran: vec![Time::from_seconds(100)],
            ..Facts::default()
        };
        let found = rollup(reach(100, 200), &facts);
        assert_eq!((found.checkins, found.successes, found.failures), (6, 2, 2));
        assert_eq!((found.missed, found.overran), (1, 1));
        assert_eq!((found.runs, found.shortest.as_seconds()), (3, 4));
        assert_eq!(
            (found.longest.as_seconds(), found.total.as_seconds()),
            (10, 21)
        );
        assert_eq!(found.average(), Some(Span::from_seconds(7)));
        assert_eq!(found.uptime(), Some(1_000_000));
        assert_eq!(Rollup::unknown(HOUR).uptime(), None, "nothing is known");
    }
}
