//! Failed sign-ins: 5 a minute per account and per address, then 429.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use systole_core::time::{Span, Time};

const FAILURES: u32 = 5;
const PERIOD: Span = Span::from_seconds(60);
/// Accounts and addresses remembered; beyond it those whose minute is over are forgotten, then all.
const REMEMBERED_MAX: usize = 10_000;

/// What is counted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Of {
    /// An e-mail address, known or not; its hash, so that long ones take no more memory.
    Account(blake3::Hash),
    /// Where it came from: of IPv6 the network of 64 bits, which one sender has to itself.
    Address(IpAddr),
}

/// See the module.
#[derive(Default)]
pub(super) struct Attempts {
    counts: Mutex<HashMap<Of, (Time, u32)>>,
}

impl Attempts {
    /// Counts an attempt before it is looked at, so that many at once cannot slip through; answers how long to wait
    /// where there were too many. One that succeeds is taken back with [`Attempts::succeeded`].
    pub(super) fn begin(&self, account: &str, address: IpAddr, now: Time) -> Result<(), Span> {
        let mut counts = self.lock();
        if counts.len() >= REMEMBERED_MAX {
            counts.retain(|_, (since, _)| now.since(*since) < PERIOD);
            if counts.len() >= REMEMBERED_MAX {
                counts.clear();
            }
        }
        let both = of(account, address);
        for key in &both {
            let (since, count) = counts.entry(key.clone()).or_insert((now, 0));
            if now.since(*since) >= PERIOD {
                (*since, *count) = (now, 0);
            }
            if *count >= FAILURES {
                return Err((*since + PERIOD).since(now));
            }
        }
        for key in &both {
            if let Some((_, count)) = counts.get_mut(key) {
                *count += 1;
            }
        }
        Ok(())
    }

    /// It was no failure.
    pub(super) fn succeeded(&self, account: &str, address: IpAddr) {
        let mut counts = self.lock();
        for key in of(account, address) {
            if let Some((_, count)) = counts.get_mut(&key) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Of, (Time, u32)>> {
        self.counts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn of(account: &str, address: IpAddr) -> [Of; 2] {
    let network = match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 @ IpAddr::V4(_) => v4,
    };
    [
        Of::Account(blake3::hash(account.as_bytes())),
        Of::Address(network),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(i64) -> Time = Time::from_seconds;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_sixth_failure_of_a_minute_must_wait_for_the_account_from_anywhere() {
        let attempts = Attempts::default();
        for n in 1..=5 {
            assert_eq!(attempts.begin("a@example.org", address(n), AT(100)), Ok(()));
        }
        assert_eq!(
            attempts.begin("a@example.org", address(9), AT(110)),
            Err(Span::from_seconds(50))
        );
        assert_eq!(
            attempts.begin("b@example.org", address(9), AT(110)),
            Ok(()),
            "another account"
        );
        assert_eq!(
            attempts.begin("a@example.org", address(9), AT(160)),
            Ok(()),
            "the next minute"
        );
    }

    #[test]
    fn the_sixth_failure_of_a_minute_must_wait_for_the_address_whatever_the_account() {
        let attempts = Attempts::default();
        for name in ["a", "b", "c", "d", "e"] {
            assert_eq!(attempts.begin(name, address(1), AT(100)), Ok(()));
        }
        assert!(attempts.begin("f", address(1), AT(100)).is_err());
        let neighbours = ["2001:db8::1", "2001:db8::2"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(
            of("a", neighbours[0]),
            of("a", neighbours[1]),
            "one network of IPv6"
        );
    }

    #[test]
    fn a_sign_in_that_succeeds_is_not_counted() {
        let attempts = Attempts::default();
        for _ in 0..20 {
            assert_eq!(attempts.begin("a", address(1), AT(100)), Ok(()));
            attempts.succeeded("a", address(1));
        }
    }
}
