//! Refused requests per source address: 20 a minute, then 429.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use systole_core::time::{Span, Time};

const REFUSALS: u32 = 20;
const PERIOD: Span = Span::from_seconds(60);
/// Addresses remembered; beyond it those whose minute is over are forgotten, then all.
const ADDRESSES_MAX: usize = 10_000;

/// See the module.
#[derive(Default)]
pub struct RefusedLimit {
    counts: Mutex<HashMap<IpAddr, (Time, u32)>>,
}

impl RefusedLimit {
    /// Counts one refused request; answers how long the sender must wait once there were too many.
    pub fn refuse(&self, source: IpAddr, now: Time) -> Option<Span> {
        let mut counts = self
            .counts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if counts.len() >= ADDRESSES_MAX && !counts.contains_key(&source) {
            counts.retain(|_, (since, _)| now.since(*since) < PERIOD);
            if counts.len() >= ADDRESSES_MAX {
                counts.clear();
            }
        }
        let (since, count) = counts.entry(source).or_insert((now, 0));
        if now.since(*since) >= PERIOD {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        (*count > REFUSALS).then(|| (*since + PERIOD).since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_twenty_first_refusal_of_a_minute_is_told_to_wait() {
        let limit = RefusedLimit::default();
        let source = IpAddr::from([192, 0, 2, 7]);
        let at = Time::from_seconds;
        for _ in 0..20 {
            assert_eq!(limit.refuse(source, at(100)), None);
        }
        assert_eq!(limit.refuse(source, at(110)), Some(Span::from_seconds(50)));
        assert_eq!(
            limit.refuse(IpAddr::from([192, 0, 2, 8]), at(110)),
            None,
            "another address"
        );
        assert_eq!(limit.refuse(source, at(160)), None, "the next minute");
    }
}
