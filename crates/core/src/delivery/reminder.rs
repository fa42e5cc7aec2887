//! Reminders: an incident that is open and that nobody has acknowledged is said again.
//!
//! A channel's reminders leave together: whoever is reminded of one incident is reminded of the others that would follow
//! within a tenth of the interval, at most ten minutes. So a night with three hundred open incidents is one message per
//! interval.

use crate::time::{Span, Time};

/// How far reminders are brought forward, at most, so that they leave with others.
const TOGETHER_MOST: Span = Span::from_seconds(600);

/// What a channel was last told of an open, unacknowledged incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The channel.
    pub channel: i64,
    /// The incident.
    pub incident: u64,
    /// When it was last told of it.
    pub last: Time,
    /// How often it has been reminded.
    pub reminders: u32,
    /// The channel's interval; zero: never.
    pub every: Span,
}

impl Told {
    /// When it is said again.
    pub fn due(&self) -> Time {
        if self.every <= Span::ZERO {
            return Time::NEVER;
        }
        self.last + self.every
    }

    fn together(&self) -> Span {
        self.every.divided_by(10).min(TOGETHER_MOST)
    }
}

/// Which are said again `now`, in the order given.
pub fn due(told: &[Told], now: Time) -> Vec<Told> {
    let mut channels: Vec<i64> = told
        .iter()
        .filter(|one| one.due() <= now)
        .map(|one| one.channel)
        .collect();
    channels.sort_unstable();
    channels.dedup();
    told.iter()
        .filter(|one| {
            one.every > Span::ZERO
                && channels.binary_search(&one.channel).is_ok()
                && one.due() <= now + one.together()
        })
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Time = Time::from_seconds(1_800_000_000);
    const HOUR: i64 = 3_600;

    fn told(channel: i64, incident: u64, last: i64, every: i64) -> Told {
        Told {
            channel,
            incident,
            last: T0 + Span::from_seconds(last),
            reminders: 0,
            every: Span::from_seconds(every),
        }
    }

    #[test]
    fn a_channel_is_reminded_of_all_that_is_nearly_due() {
        let all = [
            told(1, 10, 0, 4 * HOUR),
            told(1, 11, 9, 4 * HOUR),
            told(1, 12, 599, 4 * HOUR),
            told(1, 13, 601, 4 * HOUR),
            told(2, 10, 9, 4 * HOUR),
            told(3, 10, 0, 0),
        ];
        for (after, expected) in [
            (4 * HOUR - 1, vec![]),
            (4 * HOUR, vec![(1, 10), (1, 11), (1, 12)]),
            (
                4 * HOUR + 9,
                vec![(1, 10), (1, 11), (1, 12), (1, 13), (2, 10)],
            ),
        ] {
            let due: Vec<(i64, u64)> = due(&all, T0 + Span::from_seconds(after))
                .iter()
                .map(|one| (one.channel, one.incident))
                .collect();
            assert_eq!(due, expected, "after {after} s");
        }
    }

    #[test]
    fn a_short_interval_gathers_only_a_tenth_of_it() {
        let all = [told(1, 10, 0, 60), told(1, 11, 6, 60), told(1, 12, 7, 60)];
        let due = due(&all, T0 + Span::from_seconds(60));
        assert_eq!(due.len(), 2);
    }
}
