//! Digests: after a few messages within a few seconds the rest go as one.
//!
//! The rule: a channel gets [`DIGEST_AFTER`] messages within [`DIGEST_WITHIN`] at once. What comes while that many are
//! fresh is gathered for [`DIGEST_WITHIN`] and goes as one message; whatever is decided meanwhile joins it, so that
//! nothing newer overtakes it.

use crate::time::{Span, Time};

/// So many messages go one by one.
pub const DIGEST_AFTER: u32 = 5;

/// Within so long; and so long the rest is gathered.
pub const DIGEST_WITHIN: Span = Span::from_seconds(10);

/// What a channel was told of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Messages that were decided less than [`DIGEST_WITHIN`] ago. What goes as one counts as one.
    pub messages: u32,
    /// A digest is being gathered, and leaves then.
    pub gathering: Option<Time>,
}

/// How a message leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// By itself, at once.
    AtOnce,
    /// In the digest that leaves then.
    Gathered(Time),
}

impl Recent {
    /// Places one more message that is decided `now`, and counts it.
    pub fn place(&mut self, now: Time) -> Place {
        if let Some(until) = self.gathering {
            return Place::Gathered(until);
        }
        self.messages = self.messages.saturating_add(1);
        if self.messages <= DIGEST_AFTER {
            return Place::AtOnce;
        }
        let until = now + DIGEST_WITHIN;
        self.gathering = Some(until);
        Place::Gathered(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Time = Time::from_seconds(1_800_000_000);

    /// Places messages at these milliseconds; answers when each of the sent messages leaves.
    fn leave(at: &[i64]) -> Vec<i64> {
        let mut sent: Vec<(i64, i64)> = Vec::new(); // decided, leaves
        for &ms in at {
            let now = T0 + Span::from_millis(ms);
            let mut recent = Recent {
                messages: 0,
                gathering: None,
            };
            for &(decided, leaves) in &sent {
                recent.messages += u32::from(ms - decided < DIGEST_WITHIN.as_micros() / 1_000);
                if leaves > ms {
                    recent.gathering = Some(T0 + Span::from_millis(leaves));
                }
            }
            match recent.place(now) {
                Place::AtOnce => sent.push((ms, ms)),
                Place::Gathered(until) => {
                    let leaves = until.since(T0).as_micros() / 1_000;
                    if !sent.iter().any(|&(_, l)| l == leaves) {
                        sent.push((ms, leaves));
                    }
                }
            }
        }
        sent.into_iter().map(|(_, leaves)| leaves).collect()
    }

    #[test]
    fn five_go_at_once_and_the_rest_as_one() {
        let storm: Vec<i64> = (0..300).map(|n| n * 33).collect();
        assert_eq!(leave(&storm), [0, 33, 66, 99, 132, 10_165]);
    }

    #[test]
    fn a_storm_that_lasts_exactly_ten_seconds_is_six_messages() {
        let storm: Vec<i64> = (0..=300).map(|n| n * 10_000 / 300).collect();
        assert_eq!(leave(&storm).len(), 6);
    }

    #[test]
    fn what_comes_slowly_is_never_gathered() {
        let slowly: Vec<i64> = (0..50).map(|n| n * 2_000).collect();
        assert_eq!(leave(&slowly), slowly);
    }

    #[test]
    fn a_minute_of_storm_is_a_digest_every_ten_seconds() {
        let storm: Vec<i64> = (0..600).map(|n| n * 100).collect();
        let leaves = leave(&storm);
        assert_eq!(leaves[..6], [0, 100, 200, 300, 400, 10_500]);
        assert!(leaves.len() <= 5 + 5 * 6 + 6, "{} messages", leaves.len());
    }
}
