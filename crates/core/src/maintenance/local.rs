//! The wall clock: reading a local time, and which instants it means. Local times are seconds as if they were UTC.
//!
//! A local time that a clock change skips means the first instant after the gap. One that comes twice means the first
//! for a beginning and the last for an end, so a window is never shorter than it was written.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::schedule::ScheduleError;
use crate::schedule::calendar::{DAY, Date, days_in_month};
use crate::schedule::zone::{self, Meaning, meaning};
use crate::time::{Span, Time};

/// The day's first second; `None` for a date that does not exist or lies outside 1970 to 9000.
pub(super) fn day(year: i64, month: i64, day: i64) -> Option<i64> {
    let (month, day) = (u32::try_from(month).ok()?, u32::try_from(day).ok()?);
    let exists = (1970..=9000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day);
    exists.then(|| Date { year, month, day }.number() * DAY)
}

/// Reads `2026-11-29T02:00`, to whole seconds.
pub(super) fn parse(text: &str) -> Result<i64, ScheduleError> {
    let wrong = |why: &str| {
        let text: String = text.chars().take(60).collect();
        ScheduleError::new(
            "start",
            format!("{text:?} is not a local time: {why}; write it as 2026-11-29T02:00"),
        )
    };
    let clock = text.trim().get(10..).unwrap_or_default();
    if text.len() > 64 || clock.contains(['[', '+', '-', 'Z', 'z']) {
        return Err(wrong("its zone is a field of its own"));
    }
    let read: DateTime = text
        .trim()
        .parse()
        .map_err(|_| wrong("a date, T and a time without an offset are needed"))?;
    if read.subsec_nanosecond() != 0 {
        return Err(wrong("it has fractions of a second"));
    }
    let midnight = day(read.year().into(), read.month().into(), read.day().into())
        .ok_or_else(|| wrong("its year must be 1970 to 9000"))?;
    Ok(midnight
        + i64::from(read.hour()) * 3_600
        + i64::from(read.minute()) * 60
        + i64::from(read.second()))
}

/// As [`parse`] reads it; seconds where there are any.
pub(super) fn text(local: i64) -> String {
    let date = Date::of_day(local.div_euclid(DAY));
    let second = local.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let mut text = format!(
        "{:04}-{:02}-{:02}T{hour:02}:{minute:02}",
        date.year, date.month, date.day
    );
    if second != 0 {
        text.push_str(&format!(":{second:02}"));
    }
    text
}

/// When something begins that begins at `local`.
pub(super) fn beginning(zone: &TimeZone, local: i64) -> Time {
    Time::from_seconds(match meaning(zone, local) {
        Meaning::Once(at) | Meaning::Twice(at, _) | Meaning::Skipped(at) => at,
    })
}

/// When something ends that began at `local` and lasts `duration` by the wall clock. What begins in a gap begins after
/// it and keeps its length.
pub(super) fn ending(zone: &TimeZone, local: i64, duration: Span) -> Time {
    let from = match meaning(zone, local) {
        Meaning::Skipped(at) => at + zone::offset(zone, at),
        Meaning::Once(_) | Meaning::Twice(..) => local,
    };
    Time::from_seconds(match meaning(zone, from + duration.as_seconds()) {
        Meaning::Once(at) | Meaning::Twice(_, at) | Meaning::Skipped(at) => at,
    })
}

/// An instant of a local time that a person wrote with its zone: for a beginning, or for an end.
///
/// # Errors
/// What is wrong with the time, or with the name of the zone.
pub fn instant(text: &str, timezone: &str, is_end: bool) -> Result<Time, ScheduleError> {
    let (zone, local) = (zone::find(timezone)?, parse(text)?);
    Ok(if is_end {
        ending(&zone, local, Span::ZERO)
    } else {
        beginning(&zone, local)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_time_is_read_and_written() {
        for (given, shown) in [
            ("2026-11-29T02:00", "2026-11-29T02:00"),
            ("2026-11-29 02:00:05", "2026-11-29T02:00:05"),
            ("1970-01-01", "1970-01-01T00:00"),
        ] {
            assert_eq!(text(parse(given).unwrap()), shown);
        }
        for wrong in [
            "2026-11-29T02:00Z",
            "2026-11-29T02:00+01:00",
            "2026-11-29T02:00[Europe/Berlin]",
            "2026-02-30T02:00",
            "1969-12-31T00:00",
            "9001-01-01T00:00",
            "2026-11-29T02:00:00.5",
            "tomorrow",
            "",
            &"2".repeat(100),
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(
                error.message.contains("is not a local time"),
                "{wrong}: {error}"
            );
        }
    }
}
