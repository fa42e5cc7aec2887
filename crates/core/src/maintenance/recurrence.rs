//! A window that comes again: a rule, its first local time, a duration and a zone.

use jiff::tz::TimeZone;

use super::expand::Pattern;
use super::local;
use super::rule::{self, Ends};
use crate::schedule::calendar::DAY;
use crate::schedule::{ScheduleError, zone};
use crate::time::{Span, Time};

/// The shortest window.
pub const SHORTEST: Span = Span::from_seconds(60);
/// The longest window that comes again.
pub const LONGEST: Span = Span::from_seconds(30 * 86_400);

/// One time that a window is open: from the first instant, up to the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occurrence {
    /// The first instant.
    pub start: Time,
    /// The instant from which on it is over.
    pub end: Time,
}

/// A window that comes again. Two are equal when their texts are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recurrence {
    rrule: Box<str>,
    start: i64,
    duration: Span,
    zone: TimeZone,
    pattern: Pattern,
}

impl Recurrence {
    /// Reads a rule (`FREQ=WEEKLY;BYDAY=SU`), its first local time (`2026-11-29T02:00`) and the name of its zone.
    ///
    /// A beginning that the rule does not name is no occurrence; the rule counts from it.
    ///
    /// # Errors
    /// What is wrong, in which text and where; a rule that never comes.
    pub fn parse(
        rrule: &str,
        start: &str,
        duration: Span,
        timezone: &str,
    ) -> Result<Recurrence, ScheduleError> {
        let rule = rule::parse(rrule)?;
        let start = local::parse(start)?;
        let zone = zone::find(timezone)?;
        if duration < SHORTEST || duration > LONGEST {
            let message = format!(
                "a window of {duration} cannot come again: it lasts {SHORTEST} to {LONGEST}"
            );
            return Err(ScheduleError::new("duration", message));
        }
        if duration.as_micros() % 1_000_000 != 0 {
            return Err(ScheduleError::new(
                "duration",
                "a window lasts whole seconds",
            ));
        }
        let ends = rule.ends;
        let last = match ends {
            Ends::Never | Ends::After(_) => i64::MAX,
            Ends::Local(at) => at,
            Ends::Utc(at) => at + zone::offset(&zone, at),
        };
        if last < start {
            return Err(ScheduleError::new("rrule", "UNTIL lies before the start"));
        }
        let mut pattern = Pattern::new(rule, start, last);
        if let Ends::After(count) = ends {
            pattern = pattern.ending_after(count);
        }
        if pattern.at_or_after(start).is_none() {
            let message = format!(
                "the rule never comes: no day from {} on fits all of its parts within 50 years",
                local::text(start)
            );
            return Err(ScheduleError::new("rrule", message));
        }
        Ok(Recurrence {
            rrule: rrule.trim().into(),
            start,
            duration,
            zone,
            pattern,
        })
    }

    /// The rule as it was written.
    pub fn rrule(&self) -> &str {
        &self.rrule
    }

    /// The first local time, from which the rule counts.
    pub fn start(&self) -> String {
        local::text(self.start)
    }

    /// How long it lasts, by the wall clock.
    pub const fn duration(&self) -> Span {
        self.duration
    }

    /// The name of its zone.
    pub fn timezone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The occurrence that is open at an instant: of several the one that began last, which is also the last to end.
    pub fn occurrence_at(&self, at: Time) -> Option<Occurrence> {
        let unix = at.as_seconds();
        // Within a day after a clock change, a local time ahead of the clock may already have been.
        let newest =
            unix + zone::offset(&self.zone, unix).max(zone::offset(&self.zone, unix - DAY));
        let oldest = newest - self.duration.as_seconds() - 2 * DAY;
        let began = self
            .pattern
            .backwards(newest, oldest)
            .map(|local| self.occurrence(local))
            .find(|occurrence| occurrence.start <= at)?;
        (at < began.end).then_some(began)
    }

    /// The first occurrence that begins after an instant; `None` where there is none within 50 years.
    pub fn next_after(&self, after: Time) -> Option<Occurrence> {
        if after >= Time::LAST {
            return None;
        }
        let unix = after.as_seconds();
        let mut local = unix + zone::offset(&self.zone, unix);
        loop {
            local = self.pattern.at_or_after(local)?;
            let occurrence = self.occurrence(local);
            if occurrence.start > after {
                return Some(occurrence).filter(|occurrence| occurrence.end <= Time::LAST);
            }
            local += 1;
        }
    }

    fn occurrence(&self, local: i64) -> Occurrence {
        Occurrence {
            start: local::beginning(&self.zone, local),
            end: local::ending(&self.zone, local, self.duration),
        }
    }
}
