//! Schedules: when something is expected.
//!
//! A [`Schedule`] is a value with one question, [`Schedule::next_after`]. It is asked on the path of every check-in, so
//! it allocates nothing, remembers nothing and looks ahead only so far. Two cron dialects exist because the two programs
//! that run people's jobs disagree: [`Dialect::Classic`] is Debian's cron (as Healthchecks evaluates it),
//! [`Dialect::Kubernetes`] is what kube-controller-manager does, its faults at clock changes included.
//!
//! ```
//! use systole_core::schedule::{Dialect, Schedule};
//! use systole_core::time::Time;
//!
//! let nightly = Schedule::cron("0 2 * * *", "Europe/Berlin", Dialect::Classic).unwrap();
//! let next = nightly.next_after(Time::parse("2026-11-21T12:00:00Z").unwrap());
//! assert_eq!(next, Time::parse("2026-11-22T01:00:00Z").ok());
//! assert_eq!(nightly.describe(), "at 02:00 every day, Europe/Berlin");
//! ```

pub(crate) mod calendar;
mod classic_grammar;
mod classic_next;
mod cron;
mod describe;
mod error;
mod fields;
mod kubernetes_grammar;
mod kubernetes_next;
mod warnings;
pub(crate) mod zone;

use std::fmt;
use std::str::FromStr;

pub use cron::Cron;
pub use error::ScheduleError;

use crate::time::{Span, Time};

/// Whose reading of a cron expression.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Dialect {
    /// Debian's cron, with `L`, `LW`, `5L` and `MON#2`.
    #[default]
    Classic,
    /// robfig/cron v3, which the controller of Kubernetes's `CronJob`s uses.
    Kubernetes,
}

/// When something is expected, again and again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Schedule {
    /// A period after whatever came last.
    Every(Span),
    /// Wall-clock times in a time zone.
    Cron(Box<Cron>),
}

impl Schedule {
    /// A schedule that repeats `period` after the last success.
    ///
    /// # Errors
    /// A period under one second or over [`Span::LONGEST`].
    pub fn every(period: Span) -> Result<Schedule, ScheduleError> {
        if period < Span::from_seconds(1) {
            return Err(ScheduleError::new(
                "every",
                format!("a period of {period} is too short: at least 1s"),
            ));
        }
        if period > Span::LONGEST {
            return Err(ScheduleError::new(
                "every",
                format!("a period of {period} is too long: at most 400d"),
            ));
        }
        Ok(Schedule::Every(period))
    }

    /// A cron expression of five fields, read in `timezone` (an IANA name in its exact spelling) by the rules of `dialect`.
    ///
    /// # Errors
    /// What is wrong, in which of the two texts and where.
    pub fn cron(
        expression: &str,
        timezone: &str,
        dialect: Dialect,
    ) -> Result<Schedule, ScheduleError> {
        Cron::parse(expression, timezone, dialect).map(|cron| Schedule::Cron(Box::new(cron)))
    }

    /// A specification as robfig/cron itself takes it, with an optional `TZ=` or `CRON_TZ=` in front. Kubernetes refuses
    /// that prefix; it is here so that the library's own vectors can be checked.
    #[doc(hidden)]
    pub fn from_robfig_specification(specification: &str) -> Result<Schedule, ScheduleError> {
        Cron::parse_with_zone_prefix(specification).map(|cron| Schedule::Cron(Box::new(cron)))
    }

    /// The same by the rules of `zone`, which may be of another age than the database in the program: vectors are as old
    /// as the rules that they were printed with.
    #[doc(hidden)]
    #[must_use]
    pub fn in_zone(self, zone: jiff::tz::TimeZone) -> Schedule {
        match self {
            Schedule::Every(period) => Schedule::Every(period),
            Schedule::Cron(cron) => Schedule::Cron(Box::new(cron.in_zone(zone))),
        }
    }

    /// The first slot strictly after `after`; `None` where there is none any more.
    ///
    /// For the Kubernetes dialect the slots depend on where one starts, as they do in the controller: follow the chain
    /// from the last slot rather than ask from arbitrary instants.
    pub fn next_after(&self, after: Time) -> Option<Time> {
        match self {
            Schedule::Every(period) => {
                Some(after + *period).filter(|next| *next > after && *next <= Time::LAST)
            }
            Schedule::Cron(cron) => cron.next_after(after),
        }
    }

    /// The schedule in words.
    pub fn describe(&self) -> String {
        match self {
            Schedule::Every(period) => format!("every {}", describe::period(*period)),
            Schedule::Cron(cron) => describe::cron(cron),
        }
    }

    /// What may surprise: days without or with two runs because of clock changes, and how the two day fields combine.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Schedule::Every(_) => Vec::new(),
            Schedule::Cron(cron) => warnings::of(cron, None),
        }
    }

    /// As [`Schedule::warnings`], with the dates of the clock changes in the 400 days after `from`.
    pub fn warnings_after(&self, from: Time) -> Vec<String> {
        match self {
            Schedule::Every(_) => Vec::new(),
            Schedule::Cron(cron) => warnings::of(cron, Some(from)),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Dialect::Classic => "classic",
            Dialect::Kubernetes => "kubernetes",
        })
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Dialect, String> {
        match text {
            "classic" => Ok(Dialect::Classic),
            "kubernetes" => Ok(Dialect::Kubernetes),
            other => Err(format!(
                "{other:?} is not a cron dialect: write classic or kubernetes"
            )),
        }
    }
}
