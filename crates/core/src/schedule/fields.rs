//! The fields of a cron expression as bit sets, and the search for a local time that matches them.

use super::calendar::{Date, days_in_month, weekday};

pub(super) const ALL_MINUTES: u64 = (1 << 60) - 1;
pub(super) const ALL_HOURS: u32 = (1 << 24) - 1;
pub(super) const ALL_DAYS: u32 = 0xFFFF_FFFE;
pub(super) const ALL_MONTHS: u16 = 0x1FFE;
pub(super) const ALL_WEEKDAYS: u8 = 0x7F;

/// Years that hold every possible combination of date and weekday: a 29 February falls on a given weekday at most 40
/// years after the last time.
const HORIZON_YEARS: i64 = 60;

/// How the two day fields combine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Days {
    /// Both must match.
    Both,
    /// One is enough.
    Either,
}

/// Bit n of a set stands for the value n. Weekday 0 is Sunday.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fields {
    pub(super) minutes: u64,
    pub(super) hours: u32,
    pub(super) days: u32,
    pub(super) months: u16,
    pub(super) weekdays: u8,
    /// `MON#2`: five bits for each weekday, Sunday's lowest, the first week's lowest among them.
    pub(super) weeks: u64,
    /// `5L`: the last such weekday of the month.
    pub(super) last_weekdays: u8,
    /// `L`: the last day of the month.
    pub(super) last_day: bool,
    /// `LW`: the last day of the month from Monday to Friday.
    pub(super) last_workday: bool,
    pub(super) combine: Days,
    /// Minute or hour was written with a star in front: Debian's cron treats such jobs differently at clock changes.
    pub(super) wildcard: bool,
}

impl Fields {
    /// Everything, combined by `combine`.
    pub(super) fn every_minute(combine: Days) -> Fields {
        Fields {
            minutes: ALL_MINUTES,
            hours: ALL_HOURS,
            days: ALL_DAYS,
            months: ALL_MONTHS,
            weekdays: ALL_WEEKDAYS,
            weeks: 0,
            last_weekdays: 0,
            last_day: false,
            last_workday: false,
            combine,
            wildcard: false,
        }
    }

    /// Whether the day of month field leaves any day out.
    pub(super) fn restricts_days(&self) -> bool {
        self.days != ALL_DAYS
    }

    /// Whether the day of week field leaves any day out.
    pub(super) fn restricts_weekdays(&self) -> bool {
        self.weekdays != ALL_WEEKDAYS
    }

    /// The days of this month that match, bit n for the n-th. The month field is not looked at.
    pub(super) fn days_of(&self, year: i64, month: u32) -> u32 {
        let length = days_in_month(year, month);
        let valid = (ALL_DAYS << (31 - length)) >> (31 - length) & ALL_DAYS;
        let first = weekday(
            Date {
                year,
                month,
                day: 1,
            }
            .number(),
        );

        let mut by_date = self.days;
        if self.last_day {
            by_date |= 1 << length;
        }
        if self.last_workday {
            by_date |= 1
                << match (first + length - 1) % 7 {
                    0 => length - 2,
                    6 => length - 1,
                    _ => length,
                };
        }

        let week = u64::from(self.weekdays);
        let from_first = (week >> first) | (week << (7 - first)) & u64::from(ALL_WEEKDAYS);
        let repeated = from_first * 0x1020_4081;
        let mut by_weekday = ((repeated & 0x7FFF_FFFF) << 1) as u32;
        if self.weeks != 0 || self.last_weekdays != 0 {
            by_weekday |= self.counted_weekdays(first, length);
        }

        valid
            & match self.combine {
                Days::Both => by_date & by_weekday,
                Days::Either => by_date | by_weekday,
            }
    }

    /// The days that `MON#2` and `5L` stand for in a month that begins on weekday `first`.
    fn counted_weekdays(&self, first: u32, length: u32) -> u32 {
        let mut days = 0;
        for day in 0..7 {
            let earliest = 1 + (day + 7 - first) % 7;
            for week in 0..5 {
                if self.weeks >> (day * 5 + week) & 1 == 1 {
                    days |= 1_u32.checked_shl(earliest + 7 * week).unwrap_or(0);
                }
            }
            if self.last_weekdays >> day & 1 == 1 {
                days |= 1 << (earliest + 7 * ((length - earliest) / 7));
            }
        }
        days
    }

    /// Whether there is any local time at all that matches.
    pub(super) fn is_possible(&self) -> bool {
        // The calendar repeats after 400 years.
        self.minutes != 0
            && self.hours != 0
            && (2000..2400).any(|year| {
                (1..=12)
                    .any(|month| self.months >> month & 1 == 1 && self.days_of(year, month) != 0)
            })
    }

    /// The first matching local minute at or after `from`; both are counted from 1970-01-01 00:00 local time.
    pub(super) fn first_match(&self, from: i64) -> Option<i64> {
        let start = from.div_euclid(1_440);
        let Date {
            mut year,
            mut month,
            day,
        } = Date::of_day(start);
        let last_year = year + HORIZON_YEARS;

        // The day of `from` itself may be half over.
        if self.months >> month & 1 == 1
            && self.days_of(year, month) >> day & 1 == 1
            && let Some(minute) = self.first_time(u32::try_from(from.rem_euclid(1_440)).ok()?)
        {
            return Some(start * 1_440 + i64::from(minute));
        }

        let mut first_day = day + 1;
        while year <= last_year {
            if self.months >> month & 1 == 1 {
                let later = self
                    .days_of(year, month)
                    .checked_shr(first_day)
                    .unwrap_or(0);
                if later != 0 {
                    let date = Date {
                        year,
                        month,
                        day: first_day + later.trailing_zeros(),
                    };
                    return Some(date.number() * 1_440 + i64::from(self.first_time(0)?));
                }
            }
            first_day = 1;
            month += 1;
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        None
    }

    /// The first matching minute of a day at or after its `minute`-th.
    fn first_time(&self, minute: u32) -> Option<u32> {
        let (hour, minute) = (minute / 60, minute % 60);
        let this_hour = self.minutes >> minute;
        if self.hours >> hour & 1 == 1 && this_hour != 0 {
            return Some(hour * 60 + minute + this_hour.trailing_zeros());
        }
        let later = self.hours & !((2 << hour) - 1);
        (later != 0 && self.minutes != 0)
            .then(|| later.trailing_zeros() * 60 + self.minutes.trailing_zeros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monthly(edit: impl Fn(&mut Fields)) -> Fields {
        let mut fields = Fields::every_minute(Days::Both);
        edit(&mut fields);
        fields
    }

    fn days(fields: &Fields, year: i64, month: u32) -> Vec<u32> {
        (0..32)
            .filter(|day| fields.days_of(year, month) >> day & 1 == 1)
            .collect()
    }

    #[test]
    fn every_day_of_a_month_matches_a_star() {
        let all = Fields::every_minute(Days::Both);
        for (year, month, length) in [(2026, 2, 28), (2028, 2, 29), (2026, 4, 30), (2026, 12, 31)] {
            assert_eq!(
                days(&all, year, month),
                (1..=length).collect::<Vec<_>>(),
                "{year}-{month}"
            );
        }
    }

    #[test]
    fn weekdays_fall_on_their_dates() {
        // November 2026 begins on a Sunday, December on a Tuesday.
        let sundays = monthly(|f| f.weekdays = 1);
        assert_eq!(days(&sundays, 2026, 11), [1, 8, 15, 22, 29]);
        assert_eq!(days(&sundays, 2026, 12), [6, 13, 20, 27]);
    }

    #[test]
    fn counted_weekdays_and_last_days_fall_on_their_dates() {
        let second_and_fifth_monday = monthly(|f| (f.weekdays, f.weeks) = (0, 0b10010 << 5));
        assert_eq!(days(&second_and_fifth_monday, 2026, 11), [9, 30]);
        assert_eq!(days(&second_and_fifth_monday, 2026, 12), [14]);
        let last_friday = monthly(|f| (f.weekdays, f.last_weekdays) = (0, 1 << 5));
        assert_eq!(days(&last_friday, 2026, 11), [27]);
        assert_eq!(days(&last_friday, 2026, 2), [27]);
        let last_workday = monthly(|f| (f.days, f.last_workday) = (0, true));
        assert_eq!(days(&last_workday, 2026, 10), [30]); // the 31st is a Saturday
        assert_eq!(days(&last_workday, 2026, 5), [29]); // the 31st is a Sunday
        assert_eq!(days(&last_workday, 2026, 11), [30]);
    }
}
