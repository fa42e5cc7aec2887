//! Sparing a destination that fails: one probe at a time, at growing intervals.

use crate::time::{Span, Time};

/// Failures in a row after which a destination is spared.
pub const BREAKER_FAILURES: u32 = 5;

/// Seconds between probes, growing; the last one repeats. Short, because what waits behind the probe are pages.
const INTERVALS: [i64; 5] = [5, 15, 30, 60, 120];

/// A probe whose result is not heard of within this long is taken as lost with its sender; a claim lives as long.
const PROBE_LOST_AFTER: Span = Span::from_seconds(60);

/// What an attempt says about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes messages.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the attempt failed for a reason of ours.
    Unknown,
}

/// Whether a message may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaySend {
    /// Yes; report the result to [`Breaker::record`].
    Permit,
    /// Not before then; ask again.
    WaitUntil(Time),
}

/// The breaker of one destination. It delays and never drops.
///
/// `Closed` → (five failures in a row) → `Open` → (a success) → `Closed`. While open, one message at a time goes through as
/// a probe; each failed probe makes the next wait longer. Kept in memory: after a restart five failures teach it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Everything may be sent.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// One probe at a time.
    Open {
        /// When the next probe may go; while one is under way, when it is taken as lost.
        until: Time,
        /// Probes that have failed.
        failed_probes: u32,
        /// A probe is under way.
        probing: bool,
    },
}

impl Default for Breaker {
    fn default() -> Breaker {
        Breaker::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Asks for leave to send one message. A permit of an open breaker is its one probe, so ask only when about to send.
    pub fn may_send(&mut self, now: Time) -> MaySend {
        match self {
            Breaker::Closed { .. } => MaySend::Permit,
            Breaker::Open { until, .. } if now < *until => MaySend::WaitUntil(*until),
            Breaker::Open { until, probing, .. } => {
                *probing = true;
                *until = now + PROBE_LOST_AFTER;
                MaySend::Permit
            }
        }
    }

    /// Takes in what an attempt said. Attempts that were under way when the breaker opened may report late; their failures
    /// do not count as the probe's.
    pub fn record(&mut self, health: Health, now: Time) {
        *self = match (*self, health) {
            (_, Health::Success) => Breaker::Closed { failures: 0 },
            (Breaker::Closed { failures }, Health::Failure) => {
                let failures = failures.saturating_add(1);
                if failures < BREAKER_FAILURES {
                    Breaker::Closed { failures }
                } else {
                    Breaker::Open {
                        until: now + interval(0),
                        failed_probes: 0,
                        probing: false,
                    }
                }
            }
            (
                Breaker::Open {
                    failed_probes,
                    probing: true,
                    ..
                },
                Health::Failure,
            ) => {
                let failed_probes = failed_probes.saturating_add(1);
                Breaker::Open {
                    until: now + interval(failed_probes),
                    failed_probes,
                    probing: false,
                }
            }
            // The probe told nothing: the next message may be it.
            (
                Breaker::Open {
                    failed_probes,
                    probing: true,
                    ..
                },
                Health::Unknown,
            ) => Breaker::Open {
                until: now,
                failed_probes,
                probing: false,
            },
            (same, _) => same,
        };
    }

    /// Whether the destination is being spared, for pages and metrics.
    pub const fn is_open(self) -> bool {
        matches!(self, Breaker::Open { .. })
    }
}

fn interval(failed_probes: u32) -> Span {
    let index = usize::try_from(failed_probes).unwrap_or(usize::MAX);
    Span::from_seconds(INTERVALS[index.min(INTERVALS.len() - 1)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T0: Time = Time::from_seconds(1_800_000_000);

    fn at(seconds: i64) -> Time {
        T0 + Span::from_seconds(seconds)
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..BREAKER_FAILURES {
            assert_eq!(breaker.may_send(T0), MaySend::Permit);
            breaker.record(Health::Failure, T0);
        }
        breaker
    }

    #[test]
    fn it_opens_after_five_failures_in_a_row() {
        let mut breaker = Breaker::default();
        for health in [Health::Failure; 4] {
            breaker.record(health, T0);
        }
        breaker.record(Health::Success, T0);
        for _ in 0..4 {
            breaker.record(Health::Failure, T0);
            assert!(!breaker.is_open());
        }
        breaker.record(Health::Unknown, T0);
        assert!(!breaker.is_open(), "an unknown neither counts nor resets");
        breaker.record(Health::Failure, T0);
        assert!(breaker.is_open());
        assert_eq!(breaker.may_send(T0), MaySend::WaitUntil(at(5)));
    }

    #[test]
    fn probes_go_one_at_a_time_at_growing_intervals() {
        let mut breaker = opened();
        let mut now = 5;
        for wait in [15, 30, 60, 120, 120, 120] {
            assert_eq!(
                breaker.may_send(at(now)),
                MaySend::Permit,
                "the probe at {now}"
            );
            assert_eq!(
                breaker.may_send(at(now)),
                MaySend::WaitUntil(at(now + 60)),
                "only one"
            );
            breaker.record(Health::Failure, at(now));
            assert_eq!(
                breaker.may_send(at(now)),
                MaySend::WaitUntil(at(now + wait))
            );
            now += wait;
        }
        assert_eq!(breaker.may_send(at(now)), MaySend::Permit);
        breaker.record(Health::Success, at(now));
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn late_failures_of_earlier_attempts_do_not_lengthen_the_wait() {
        let mut breaker = opened();
        let before = breaker;
        breaker.record(Health::Failure, at(3));
        assert_eq!(breaker, before);
    }

    #[test]
    fn a_lost_probe_is_replaced_and_a_mute_one_at_once() {
        let mut breaker = opened();
        assert_eq!(breaker.may_send(at(5)), MaySend::Permit);
        assert_eq!(breaker.may_send(at(64)), MaySend::WaitUntil(at(65)));
        assert_eq!(
            breaker.may_send(at(65)),
            MaySend::Permit,
            "the first was lost"
        );
        breaker.record(Health::Unknown, at(66));
        assert_eq!(breaker.may_send(at(66)), MaySend::Permit, "it said nothing");
    }

    proptest! {
        #[test]
        fn nobody_waits_longer_than_two_minutes(
            steps in proptest::collection::vec((0..300_i64, 0..4_u8), 0..200)
        ) {
            let (mut breaker, mut now) = (Breaker::default(), T0);
            for (passed, what) in steps {
                now = now + Span::from_seconds(passed);
                match what {
                    0 => breaker.record(Health::Success, now),
                    1 => breaker.record(Health::Failure, now),
                    2 => breaker.record(Health::Unknown, now),
                    _ => if let MaySend::WaitUntil(until) = breaker.may_send(now) {
                        prop_assert!(until > now && until <= now + Span::from_seconds(120));
                        let mut then = breaker;
                        prop_assert_eq!(then.may_send(until), MaySend::Permit);
                    }
                }
            }
        }
    }
}
