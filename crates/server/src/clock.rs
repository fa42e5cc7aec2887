//! The process's clock.
//!
//! With the embedded database the process is the only source of time. It counts on the monotonic clock that goes on
//! while the machine sleeps, plus the offset to the wall clock that it took at start; when the two part by more than a
//! second the offset follows the wall clock. A forward step is thereby a hole in the log's stream, hence an outage of
//! ours and harmless; a backward step makes time stand still until it has passed, so alerts may be late by the step
//! and never early.
//!
//! With a shared database time is the database's, and the wall clock is not looked at: the offset comes from asking the
//! database, of which the quickest answer of the last minute is the most exact one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use systole_core::time::{Span, Time};

/// How far the clocks may part.
const TOLERANCE: Span = Span::from_seconds(1);
/// For so long an answer of the database is good.
const SAMPLE_MICROS: i64 = 60_000_000;

/// See the module.
pub struct Clock {
    offset: AtomicI64,
    latest: AtomicI64,
    steps: AtomicI64,
    /// What the database answered last; none with the embedded one.
    samples: Mutex<Vec<Sample>>,
}

/// What the database took for the time between two looks at our own clock.
#[derive(Clone, Copy, Debug)]
struct Sample {
    received: i64,
    offset: i64,
    /// Half of the way there and back.
    error: i64,
}

/// A look at our own clock before the database is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked(i64);

impl Clock {
    /// Takes the offset.
    pub fn start() -> Clock {
        let offset = wall() - boot();
        Clock {
            offset: AtomicI64::new(offset),
            latest: AtomicI64::new(0),
            steps: AtomicI64::new(0),
            samples: Mutex::default(),
        }
    }

    /// The time; never goes back.
    pub fn now(&self) -> Time {
        let now = boot() + self.offset.load(Ordering::Relaxed);
        Time::from_micros(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Time that passes whatever the clocks say, sleep included; its beginning means nothing.
    pub fn uptime() -> Time {
        Time::from_micros(boot())
    }

    /// What the wall clock of this machine shows, whatever is taken for the time.
    pub(crate) fn wall() -> Time {
        Time::from_micros(wall())
    }

    /// Before the database is asked for the time.
    pub fn ask(&self) -> Asked {
        Asked(boot())
    }

    /// The database answered; answers the step that was followed, in microseconds, if any.
    pub fn answered(&self, asked: Asked, database: Time) -> Option<i64> {
        let received = boot();
        self.sampled(asked.0, database.as_micros(), received)
    }

    fn sampled(&self, sent: i64, database: i64, received: i64) -> Option<i64> {
        let new = Sample {
            received,
            offset: database - (sent + received) / 2,
            error: (received - sent) / 2,
        };
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // What a new answer contradicts was before a step of the database's clock.
        let agrees = |old: &Sample| {
            received - old.received < SAMPLE_MICROS
                && (old.offset - new.offset).abs() <= old.error + new.error + TOLERANCE.as_micros()
        };
        let first = samples.is_empty();
        let before = samples.len();
        samples.retain(agrees);
        let stepped = !first && samples.is_empty() && before > 0;
        samples.push(new);
        let best = samples.iter().min_by_key(|sample| sample.error).copied()?;
        let step = best.offset - self.offset.swap(best.offset, Ordering::Relaxed);
        if first {
            // The wall clock at start was a guess: the database's is the first to be believed.
            self.latest.store(0, Ordering::Relaxed);
            return None;
        }
        if !stepped || Span::from_micros(step.abs()) <= TOLERANCE {
            return None;
        }
        self.steps.fetch_add(1, Ordering::Relaxed);
        Some(step)
    }

    /// How far the time may be off the database's at most, by its answers; `None` before the first.
    pub fn error(&self) -> Option<Span> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let best = samples.iter().map(|sample| sample.error).min()?;
        Some(Span::from_micros(best))
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

    #[test]
    fn the_quickest_answer_of_the_database_counts_until_one_contradicts_it() {
        let clock = Clock::start();
        let second = 1_000_000;
        let offset = || clock.offset.load(Ordering::Relaxed);
        // (sent, the database's time, received) -> offset, step
        let answers = [
            ((0, 500 * second, 200_000), 499_900_000, None),
            (
                (second, 501 * second + 100, second + 200),
                500_000_000,
                None,
            ),
            // Slower, so less exact: it changes nothing.
            (
                (2 * second, 502 * second + 300_000, 2 * second + 400_000),
                500_000_000,
                None,
            ),
            // An hour ahead: no round trip explains that.
            (
                (3 * second, 4_103 * second, 3 * second + 200),
                4_099_999_900,
                Some(3_599_999_900),
            ),
            (
                (4 * second, 4_104 * second, 4 * second + 100),
                4_099_999_950,
                None,
            ),
        ];
        for ((sent, database, received), expected, step) in answers {
            assert_eq!(clock.sampled(sent, database, received), step, "at {sent}");
            assert_eq!(offset(), expected, "at {sent}");
        }
        assert_eq!(clock.error(), Some(Span::from_micros(50)));
        assert_eq!(clock.steps(), 1);
    }
}
