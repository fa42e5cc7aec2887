//! The Gregorian calendar in integers. Days are counted from 1970-01-01; weekdays from Sunday, 0.

pub(crate) const DAY: i64 = 86_400;

/// A date of the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: u32,
    pub(crate) day: u32,
}

impl Date {
    /// The date of a day number.
    ///
    /// Years are counted from March, so that the leap day is the last of its year and months need no table.
    pub(crate) fn of_day(number: i64) -> Date {
        let shifted = number + 719_468;
        let era = shifted.div_euclid(146_097);
        let in_era = shifted.rem_euclid(146_097);
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * in_year + 2) / 153;
        let day = in_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 {
            march_month + 3
        } else {
            march_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Date {
            year,
            month: small(month),
            day: small(day),
        }
    }

    /// The day number of this date; a day beyond its month counts on into the next.
    pub(crate) fn number(self) -> i64 {
        let month = i64::from(self.month);
        let year = if month <= 2 { self.year - 1 } else { self.year };
        let march_month = if month > 2 { month - 3 } else { month + 9 };
        let in_year = (153 * march_month + 2) / 5 + i64::from(self.day) - 1;
        let year_of_era = year.rem_euclid(400);
        let in_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + in_year;
        year.div_euclid(400) * 146_097 + in_era - 719_468
    }
}

/// The weekday of a day number.
pub(crate) fn weekday(number: i64) -> u32 {
    small((number + 4).rem_euclid(7))
}

/// How many days the month has.
pub(crate) fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Narrows a number known to be small and not negative.
fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_day_numbers_are_each_others_inverse() {
        let mut previous = Date::of_day(-800_001);
        for number in -800_000..800_000 {
            let date = Date::of_day(number);
            assert_eq!(date.number(), number);
            let follows = date
                == Date {
                    day: previous.day + 1,
                    ..previous
                }
                || (date.day == 1 && previous.day == days_in_month(previous.year, previous.month));
            assert!(follows, "{previous:?} {date:?}");
            previous = date;
        }
    }

    #[test]
    fn known_days_have_their_weekday() {
        for (year, month, day, expected) in [
            (1970, 1, 1, 4),
            (2026, 11, 21, 6),
            (2000, 2, 29, 2),
            (1900, 1, 1, 1),
        ] {
            assert_eq!(
                weekday(Date { year, month, day }.number()),
                expected,
                "{year}-{month}-{day}"
            );
        }
    }
}
