//! A cron expression that has been read.

use std::fmt;
use std::hash::{Hash, Hasher};

use jiff::tz::TimeZone;

use super::error::ScheduleError;
use super::fields::Fields;
use super::{Dialect, classic_grammar, classic_next, kubernetes_grammar, kubernetes_next, zone};
use crate::time::Time;

/// Instants before the year 1 are treated as its beginning: nothing is due then, and the calendar stays in range.
const EARLIEST: i64 = -62_135_596_800;

/// A cron expression with its time zone and dialect.
///
/// Two are equal when these three texts are, whatever the expression means.
#[derive(Clone)]
pub struct Cron {
    expression: Box<str>,
    zone: TimeZone,
    dialect: Dialect,
    plan: Plan,
}

/// What an expression asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Plan {
    /// Times of the wall clock.
    Fields(Fields),
    /// `@every`: so many seconds after the last.
    Delay(i64),
    /// Fields that no date fulfils. Kubernetes accepts them.
    Never,
}

impl Cron {
    /// The expression as it was written.
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// The name of the time zone.
    pub fn timezone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// Whose reading of the expression this is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    pub(super) fn parse(
        expression: &str,
        timezone: &str,
        dialect: Dialect,
    ) -> Result<Cron, ScheduleError> {
        let plan = match dialect {
            Dialect::Classic => Plan::Fields(classic_grammar::parse(expression)?),
            Dialect::Kubernetes => kubernetes_grammar::parse(expression)?,
        };
        Ok(Cron {
            expression: expression.into(),
            zone: zone::find(timezone)?,
            dialect,
            plan,
        })
    }

    pub(super) fn parse_with_zone_prefix(specification: &str) -> Result<Cron, ScheduleError> {
        let (timezone, expression) = kubernetes_grammar::split_zone(specification)?;
        Cron::parse(expression, timezone, Dialect::Kubernetes)
    }

    pub(super) fn in_zone(self, zone: TimeZone) -> Cron {
        Cron { zone, ..self }
    }

    pub(super) fn next_after(&self, after: Time) -> Option<Time> {
        if after >= Time::LAST {
            return None;
        }
        let after = after.as_seconds().max(EARLIEST);
        let next = match (&self.plan, self.dialect) {
            (Plan::Never, _) => None,
            (Plan::Delay(seconds), _) => Some(after.saturating_add(*seconds)),
            (Plan::Fields(fields), Dialect::Classic) => {
                classic_next::next(fields, &self.zone, after)
            }
            (Plan::Fields(fields), Dialect::Kubernetes) => {
                kubernetes_next::next(fields, &self.zone, after)
            }
        };
        next.map(Time::from_seconds)
            .filter(|next| *next <= Time::LAST)
    }

    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    fn identity(&self) -> (&str, &str, Dialect) {
        (&self.expression, self.timezone(), self.dialect)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Cron) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Cron {}

impl Hash for Cron {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Cron({:?}, {}, {})",
            self.expression,
            self.timezone(),
            self.dialect
        )
    }
}
