//! Our own outages, told from holes in the streams of the log.
//!
//! A stream gets a row at least every 3 s while its process lives (a beat when nothing else is written). The interval
//! from one row's `at` (the writer's stamp when the batch was formed) to the next row's `put` (the database's stamp)
//! therefore tells how long nobody can have been heard. A wrong "down" after our own stall is the worst message a
//! monitor can send, so silence inside such a hole does not count against any grace.

use crate::time::{Span, Time};

/// A row is expected at least this often.
pub const BEAT: Span = Span::from_seconds(3);
/// An interval longer than this is slow; adjacent slow intervals join.
pub const SLOW: Span = Span::from_seconds(4);
/// A joined run longer than this is an outage.
pub const HOLE: Span = Span::from_seconds(10);
/// An outage is widened by this on both sides: a row whose reply was lost proves nothing, and senders retry for some
/// seconds.
pub const WIDENED: Span = Span::from_seconds(4);

/// A period in which check-ins may have been lost on our side: `[from, until)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outage {
    /// Its start, already widened.
    pub from: Time,
    /// Its end, already widened.
    pub until: Time,
}

/// What is known of the silence of one stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Silence {
    /// `at` of the last row, or when the stream was opened.
    pub at: Time,
    /// Where the run of adjacent slow intervals that ends at the last row began.
    pub slow_since: Option<Time>,
}

impl Silence {
    /// A stream opened at `opened`, without rows yet.
    pub const fn opened(opened: Time) -> Silence {
        Silence {
            at: opened,
            slow_since: None,
        }
    }

    /// A row with the stamps `at` and `put` follows; says the outage that it ends or lengthens, if any.
    pub fn row(&mut self, at: Time, put: Time) -> Option<Outage> {
        let begin = self.slow_since.unwrap_or(self.at);
        let slow = put.since(self.at) > SLOW;
        self.slow_since = slow.then_some(begin);
        self.at = at.max(self.at);
        (slow && put.since(begin) > HOLE).then(|| Outage {
            from: begin - WIDENED,
            until: put + WIDENED,
        })
    }

    /// From when on nothing can be judged at `now`, because the stream stands still and may be in an outage.
    pub fn held_since(&self, now: Time) -> Option<Time> {
        (now.since(self.at) > SLOW).then(|| self.slow_since.unwrap_or(self.at) - WIDENED)
    }
}

/// All known outages, united and in order.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Outages(Vec<Outage>);

impl Outages {
    /// How many are remembered; older ones cannot matter to a deadline of at most 400 days that was not yet judged
    /// unless there was more than one a day.
    const REMEMBERED: usize = 1_000;

    /// Adds one, uniting it with those that it touches.
    pub fn add(&mut self, outage: Outage) {
        let mut united = outage;
        self.0.retain(|known| {
            let apart = known.until < united.from || united.until < known.from;
            if !apart {
                united = Outage {
                    from: known.from.min(united.from),
                    until: known.until.max(united.until),
                };
            }
            apart
        });
        let place = self.0.partition_point(|known| known.from < united.from);
        self.0.insert(place, united);
        if self.0.len() > Self::REMEMBERED {
            self.0.remove(0);
        }
    }

    /// In order of time.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Outage> + '_ {
        self.0.iter().copied()
    }

    /// Where a deadline at `due + grace` really lies: the grace clock stands still in an outage. Second: the last
    /// outage that moved it.
    pub fn moved(&self, due: Time, grace: Span) -> (Time, Option<Outage>) {
        let mut deadline = due + grace;
        if due == Time::NEVER || self.0.last().is_none_or(|last| last.until <= due) {
            return (deadline, None);
        }
        let mut by = None;
        for outage in &self.0 {
            if due < outage.until && deadline >= outage.from {
                deadline = deadline + outage.until.since(outage.from.max(due));
                by = Some(*outage);
            }
        }
        (deadline, by)
    }

    /// Those that ended in `[from, until]`, newest first, at most three: what an incident by silence says about us.
    pub fn between(&self, from: Time, until: Time) -> Vec<Outage> {
        self.0
            .iter()
            .rev()
            .filter(|o| o.until >= from && o.from <= until)
            .take(3)
            .copied()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: i64) -> Time {
        Time::from_seconds(seconds)
    }

    #[test]
    fn a_steady_stream_is_no_outage() {
        let mut silence = Silence::opened(s(0));
        for at in (3..60).step_by(3) {
            assert_eq!(silence.row(s(at), s(at)), None);
        }
    }

    #[test]
    fn a_hole_is_widened_on_both_sides() {
        let mut silence = Silence::opened(s(0));
        silence.row(s(3), s(3));
        assert_eq!(
            silence.row(s(33), s(33)),
            Some(Outage {
                from: s(-1),
                until: s(37)
            })
        );
    }

    #[test]
    fn adjacent_slow_intervals_join() {
        let mut silence = Silence::opened(s(0));
        assert_eq!(silence.row(s(6), s(6)), None);
        assert_eq!(
            silence.row(s(12), s(12)),
            Some(Outage {
                from: s(-4),
                until: s(16)
            })
        );
    }

    #[test]
    fn a_batch_that_hung_does_not_prove_life() {
        let mut silence = Silence::opened(s(0));
        assert!(
            silence.row(s(1), s(31)).is_some(),
            "formed at 1 s, durable at 31 s"
        );
    }

    #[test]
    fn the_grace_clock_stands_still() {
        let mut outages = Outages::default();
        outages.add(Outage {
            from: s(100),
            until: s(200),
        });
        for (due, grace, expected, why) in [
            (0, 50, 50, "over before it began"),
            (90, 30, 220, "10 s had passed, 20 s remain"),
            (150, 30, 230, "due inside: the whole grace after it"),
            (200, 30, 230, "due at its end"),
            (0, 100, 200, "lapses at its start"),
        ] {
            assert_eq!(
                outages.moved(s(due), Span::from_seconds(grace)).0,
                s(expected),
                "{why}"
            );
        }
    }

    #[test]
    fn outages_that_touch_are_one() {
        let mut outages = Outages::default();
        outages.add(Outage {
            from: s(50),
            until: s(60),
        });
        outages.add(Outage {
            from: s(10),
            until: s(20),
        });
        outages.add(Outage {
            from: s(15),
            until: s(50),
        });
        assert_eq!(
            outages.iter().collect::<Vec<_>>(),
            vec![Outage {
                from: s(10),
                until: s(60)
            }]
        );
    }
}
