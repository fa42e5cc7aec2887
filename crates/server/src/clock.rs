//! The process's clock.
//!
//! With the embedded database the process is the only source of time. It counts on the monotonic clock that goes on
//! while the machine sleeps, plus the offset to the wall clock that it took at start; when the two part by more than a
//! second the offset follows the wall clock. A forward step is thereby a hole in the log's stream, hence an outage of
//! ours and harmless; a backward step makes time stand still until it has passed, so alerts may be late by the step
//! and never early.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use systole_core::time::{Span, Time};

/// How far the clocks may part.
const TOLERANCE: Span = Span::from_seconds(1);

/// See the module.
pub struct Clock {
    offset: AtomicI64,
    latest: AtomicI64,
    steps: AtomicI64,
}

impl Clock {
    /// Takes the offset.
    pub fn start() -> Clock {
        let offset = wall() - boot();
        Clock {
            offset: AtomicI64::new(offset),
            latest: AtomicI64::new(0),
            steps: AtomicI64::new(0),
        }
    }

    /// The time; never goes back.
    pub fn now(&self) -> Time {
        let now = boot() + self.offset.load(Ordering::Relaxed);
        Time::from_micros(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Compares with the wall clock; answers the step that was followed, in microseconds, if any.
    pub fn adjust(&self) -> Option<i64> {
        let offset = wall() - boot();
        let step = offset - self.offset.load(Ordering::Relaxed);
        if Span::from_micros(step.abs()) <= TOLERANCE {
            return None;
        }
        self.offset.store(offset, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
        Some(step)
    }

    /// How often the wall clock was stepped since the start.
    pub fn steps(&self) -> i64 {
        self.steps.load(Ordering::Relaxed)
    }
}

/// Microseconds since boot, suspended time included.
fn boot() -> i64 {
    // The kernel knows this clock since 2.6.39: there is nothing to fail.
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map_or(0, |time| time.tv_sec() * 1_000_000 + time.tv_nsec() / 1_000)
}

/// The one place where the wall clock is read.
fn wall() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_follows_a_step() {
        let clock = Clock::start();
        let before = clock.now();
        assert_eq!(clock.adjust(), None);
        clock.offset.fetch_add(3_600_000_000, Ordering::Relaxed);
        assert!(clock.now() > before);
        let ahead = clock.now();
        assert!(clock.adjust().is_some_and(|step| step < -3_500_000_000));
        assert!(
            clock.now() >= ahead,
            "time stands still rather than going back"
        );
        assert_eq!(clock.steps(), 1);
    }
}
