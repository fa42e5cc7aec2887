//! The local times of a rule, period by period.
//!
//! A period is a day, a week, a month or a year, every `interval`-th of which counts. Its times are the days that pass
//! every filter, times the hours and minutes, of which BYSETPOS may pick some. A search goes through periods and is
//! bounded by years, so no rule makes it spin.

use super::rule::{Frequency, Rule};
use crate::schedule::calendar::{DAY, Date, days_in_month, weekday};
use crate::time::Time;

/// A 29 February falls on a given weekday at most 40 years after the last time; what does not come within this does
/// not come.
const HORIZON: i64 = 50 * 366 * DAY;

/// A rule with its beginning, what was left out filled in from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern {
    rule: Rule,
    start: i64,
    /// The last local time at which an occurrence may begin.
    last: i64,
    /// The times of a day, in seconds, in order.
    times: Vec<i64>,
}

impl Pattern {
    /// What the rule leaves out is taken from `start`, a local time.
    pub(super) fn new(mut rule: Rule, start: i64, last: i64) -> Pattern {
        let date = Date::of_day(start.div_euclid(DAY));
        let second = start.rem_euclid(DAY);
        if rule.weekdays.is_empty() && rule.month_days.is_empty() {
            match rule.frequency {
                Frequency::Daily => {}
                Frequency::Weekly => rule.weekdays.push(super::rule::WeekdayPart {
                    ordinal: None,
                    weekday: weekday(start.div_euclid(DAY)),
                }),
                Frequency::Monthly => rule.month_days.push(date.day.into()),
                Frequency::Yearly => {
                    if rule.months.is_empty() {
                        rule.months.push(date.month);
                    }
                    rule.month_days.push(date.day.into());
                }
            }
        }
        let or = |given: &[i64], own: i64| {
            if given.is_empty() {
                vec![own]
            } else {
                given.to_vec()
            }
        };
        let hours = or(&rule.hours, second / 3_600);
        let minutes = or(&rule.minutes, second / 60 % 60);
        let mut times: Vec<i64> = hours
            .iter()
            .flat_map(|hour| {
                minutes
                    .iter()
                    .map(move |minute| hour * 3_600 + minute * 60 + second % 60)
            })
            .collect();
        times.sort_unstable();
        Pattern {
            rule,
            start,
            last,
            times,
        }
    }

    /// Ends after `count` occurrences, as they are counted from the beginning.
    pub(super) fn ending_after(mut self, count: u32) -> Pattern {
        let mut last = self.start - 1;
        let mut counted = 0;
        let mut from = self.start;
        self.last = Time::LAST.as_seconds();
        'counting: while let Some(period) = self.period_with_some(from) {
            for local in self.of_period(period) {
                if local >= from {
                    (last, counted) = (local, counted + 1);
                    if counted == count {
                        break 'counting;
                    }
                }
            }
            from = self.first_day(period + 1) * DAY;
        }
        self.last = last;
        self
    }

    /// The first occurrence at or after a local time.
    pub(super) fn at_or_after(&self, local: i64) -> Option<i64> {
        let period = self.period_with_some(local)?;
        self.of_period(period)
            .into_iter()
            .find(|found| *found >= local)
    }

    /// Occurrences at or before a local time, the latest first; ends at `least`.
    pub(super) fn backwards(&self, local: i64, least: i64) -> impl Iterator<Item = i64> {
        let newest = self.period_of(local.min(self.last));
        let oldest = self.period_of(least.max(self.start)).max(0);
        (oldest..=newest)
            .rev()
            .flat_map(|period| self.of_period(period).into_iter().rev())
            .skip_while(move |found| *found > local)
            .take_while(move |found| *found >= least)
    }

    /// The first period that has an occurrence at or after a local time.
    fn period_with_some(&self, local: i64) -> Option<i64> {
        let local = local.max(self.start);
        let end = local.saturating_add(HORIZON).min(self.last);
        let mut period = self.period_of(local);
        while self.first_day(period) * DAY <= end {
            if self
                .of_period(period)
                .last()
                .is_some_and(|found| *found >= local)
            {
                return Some(period);
            }
            period += 1;
        }
        None
    }

    /// The number of the counting period that a local time falls into, or of the one before it; 0 holds the start.
    fn period_of(&self, local: i64) -> i64 {
        (self.index(local) - self.index(self.start)).div_euclid(self.rule.interval)
    }

    /// Days, weeks, months or years since some beginning.
    fn index(&self, local: i64) -> i64 {
        let day = local.div_euclid(DAY);
        let date = Date::of_day(day);
        match self.rule.frequency {
            Frequency::Daily => day,
            Frequency::Weekly => self.week(day),
            Frequency::Monthly => date.year * 12 + i64::from(date.month) - 1,
            Frequency::Yearly => date.year,
        }
    }

    /// Day 0 was a Thursday, 4.
    fn week(&self, day: i64) -> i64 {
        (day + 4 - i64::from(self.rule.week_start)).div_euclid(7)
    }

    fn first_day(&self, period: i64) -> i64 {
        let index = self.index(self.start) + period * self.rule.interval;
        match self.rule.frequency {
            Frequency::Daily => index,
            Frequency::Weekly => index * 7 - 4 + i64::from(self.rule.week_start),
            Frequency::Monthly => month_start(index),
            Frequency::Yearly => month_start(index * 12),
        }
    }

    fn length(&self, first: i64) -> i64 {
        let date = Date::of_day(first);
        match self.rule.frequency {
            Frequency::Daily => 1,
            Frequency::Weekly => 7,
            Frequency::Monthly => days_in_month(date.year, date.month).into(),
            Frequency::Yearly => month_start((date.year + 1) * 12) - first,
        }
    }

    /// The occurrences of one period, in order.
    fn of_period(&self, period: i64) -> Vec<i64> {
        let first = self.first_day(period);
        let days: Vec<i64> = (first..first + self.length(first))
            .filter(|day| self.has_day(*day))
            .collect();
        let at = |i: usize| {
            let day = days.get(i / self.times.len())?;
            Some(day * DAY + self.times.get(i % self.times.len())?)
        };
        let size = days.len() * self.times.len();
        let mut found: Vec<i64> = if self.rule.positions.is_empty() {
            (0..size).filter_map(at).collect()
        } else {
            let place = |position: &i64| {
                let steps = usize::try_from(position.unsigned_abs()).ok()?;
                if *position > 0 {
                    Some(steps - 1)
                } else {
                    size.checked_sub(steps)
                }
            };
            let mut picked: Vec<usize> = self.rule.positions.iter().filter_map(place).collect();
            picked.sort_unstable();
            picked.dedup();
            picked.into_iter().filter_map(at).collect()
        };
        found.retain(|local| (self.start..=self.last).contains(local));
        found
    }

    fn has_day(&self, day: i64) -> bool {
        let date = Date::of_day(day);
        let length = i64::from(days_in_month(date.year, date.month));
        let in_month = i64::from(date.day);
        let has_month = self.rule.months.is_empty() || self.rule.months.contains(&date.month);
        let has_month_day = self.rule.month_days.is_empty()
            || self.rule.month_days.contains(&in_month)
            || self.rule.month_days.contains(&(in_month - length - 1));
        if !has_month || !has_month_day {
            return false;
        }
        if self.rule.weekdays.is_empty() {
            return true;
        }
        // The n-th weekday counts in the month, or in the year where no month is named.
        let (place, size) =
            if self.rule.frequency == Frequency::Yearly && self.rule.months.is_empty() {
                let year = month_start(date.year * 12);
                (day - year + 1, month_start((date.year + 1) * 12) - year)
            } else {
                (in_month, length)
            };
        let from_start = (place - 1) / 7 + 1;
        let from_end = -((size - place) / 7 + 1);
        self.rule.weekdays.iter().any(|part| {
            part.weekday == weekday(day)
                && part
                    .ordinal
                    .is_none_or(|ordinal| ordinal == from_start || ordinal == from_end)
        })
    }
}

/// The first day of a month counted from the year 0.
fn month_start(index: i64) -> i64 {
    let month = u32::try_from(index.rem_euclid(12) + 1).unwrap_or(1);
    Date {
        year: index.div_euclid(12),
        month,
        day: 1,
    }
    .number()
}
