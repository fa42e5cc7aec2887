//! Schedules in words.

use super::cron::{Cron, Plan};
use super::fields::{ALL_HOURS, ALL_MINUTES, ALL_MONTHS, ALL_WEEKDAYS, Days, Fields};
use crate::time::Span;

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const COUNTED: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
/// More times of day than this are put as hours and minutes.
const MOST_TIMES: usize = 6;

/// A period: `6 hours`, `hour`, `1 hour 30 minutes`.
pub(super) fn period(period: Span) -> String {
    let mut rest = period.as_micros();
    let mut parts = Vec::new();
    for (name, micros) in [
        ("day", 86_400_000_000),
        ("hour", 3_600_000_000),
        ("minute", 60_000_000),
        ("second", 1_000_000),
        ("millisecond", 1_000),
        ("microsecond", 1),
    ] {
        let count = rest / micros;
        rest %= micros;
        match count {
            0 => {}
            1 => parts.push(format!("1 {name}")),
            _ => parts.push(format!("{count} {name}s")),
        }
    }
    match parts.as_slice() {
        [only] => only.strip_prefix("1 ").unwrap_or(only).to_owned(),
        _ => parts.join(" "),
    }
}

/// A cron expression.
pub(super) fn cron(cron: &Cron) -> String {
    match cron.plan() {
        Plan::Delay(seconds) => format!("every {}", period(Span::from_seconds(*seconds))),
        Plan::Never => "never: no date fulfils the expression".to_owned(),
        Plan::Fields(fields) => {
            let (times, daily) = times(fields);
            let mut parts = vec![times];
            match days(fields) {
                Some(days) => parts.push(days),
                None if fields.months != ALL_MONTHS => parts.push("every day".to_owned()),
                None if daily => parts[0].push_str(" every day"),
                None => {}
            }
            if fields.months != ALL_MONTHS {
                let names = runs(u64::from(fields.months) >> 1, 12, |month| {
                    MONTHS[month as usize].to_owned()
                });
                let last = parts.len() - 1;
                parts[last].push_str(&format!(" in {}", and(&names)));
            }
            parts.push(cron.timezone().to_owned());
            parts.join(", ")
        }
    }
}

/// The times of day, and whether `every day` must follow when no day is named.
fn times(fields: &Fields) -> (String, bool) {
    let minutes = members(fields.minutes);
    let hours = members(u64::from(fields.hours));
    let clock = |hour: u32, minute: u32| format!("{hour:02}:{minute:02}");
    let (first_minute, last_minute) = ends(&minutes);
    let (first_hour, last_hour) = ends(&hours);

    if hours.len() > 1
        && minutes.len() == 1
        && fields.hours != ALL_HOURS
        && hours.len() > MOST_TIMES / 2
    {
        let whole_day = step(&hours, 24).filter(|step| *step > 1);
        if let Some(step) = whole_day {
            return (
                format!(
                    "every {step} hours from {}",
                    clock(first_hour, first_minute)
                ),
                false,
            );
        }
        if contiguous(&hours) {
            let (from, to) = (
                clock(first_hour, first_minute),
                clock(last_hour, first_minute),
            );
            return (format!("every hour from {from} to {to}"), false);
        }
    }
    if minutes.len() * hours.len() <= MOST_TIMES {
        let all: Vec<String> = hours
            .iter()
            .flat_map(|hour| minutes.iter().map(|minute| clock(*hour, *minute)))
            .collect();
        return (format!("at {}", and(&all)), true);
    }

    let within = if fields.minutes == ALL_MINUTES {
        "every minute".to_owned()
    } else if let Some(step) = step(&minutes, 60).filter(|_| minutes.len() > 1) {
        match first_minute {
            0 => format!("every {step} minutes"),
            offset => format!("every {step} minutes from minute {offset}"),
        }
    } else if minutes.len() == 1 && fields.hours == ALL_HOURS {
        return match first_minute {
            0 => ("every hour".to_owned(), false),
            1 => ("at 1 minute past every hour".to_owned(), false),
            minute => (format!("at {minute} minutes past every hour"), false),
        };
    } else if contiguous(&minutes) {
        format!("every minute from minute {first_minute} to {last_minute}")
    } else {
        let names: Vec<String> = minutes.iter().map(u32::to_string).collect();
        format!(
            "at {} {}",
            if names.len() == 1 {
                "minute"
            } else {
                "minutes"
            },
            and(&names)
        )
    };
    let between = if fields.hours == ALL_HOURS {
        if within.starts_with("at ") || within.contains("from") {
            " of every hour".to_owned()
        } else {
            String::new()
        }
    } else if contiguous(&hours) {
        if step(&minutes, 60).is_some_and(|_| first_minute == 0) {
            format!(" from {} to {}", clock(first_hour, 0), clock(last_hour, 59))
        } else {
            format!(" of the hours {first_hour} to {last_hour}")
        }
    } else {
        let names = runs(u64::from(fields.hours), 24, |hour| hour.to_string());
        format!(" of the hours {}", and(&names))
    };
    (within + &between, false)
}

/// The days, or nothing where every day matches.
fn days(fields: &Fields) -> Option<String> {
    let by_date = fields.restricts_days().then(|| dates(fields));
    let by_weekday = fields.restricts_weekdays().then(|| weekdays(fields));
    match (by_date, by_weekday, fields.combine) {
        (None, None, _) | (None, _, Days::Either) | (_, None, Days::Either) => None,
        (Some(dates), None, Days::Both) => Some(format!("on {dates}")),
        (None, Some((days, range)), Days::Both) => {
            Some(if range { days } else { format!("on {days}") })
        }
        (Some(dates), Some((days, _)), Days::Either) => Some(format!("on {dates} or {days}")),
        (Some(dates), Some((days, _)), Days::Both) => Some(format!("on {dates} if it is {days}")),
    }
}

fn dates(fields: &Fields) -> String {
    let mut names = runs(u64::from(fields.days) >> 1, 31, |day| ordinal(day + 1));
    let numbered = !names.is_empty();
    if fields.last_day {
        names.push("the last day of the month".to_owned());
    }
    if fields.last_workday {
        names.push("the last weekday (Monday to Friday) of the month".to_owned());
    }
    if numbered {
        format!("the {}", and(&names))
    } else {
        and(&names)
    }
}

/// The weekdays, and whether they are one range.
fn weekdays(fields: &Fields) -> (String, bool) {
    // The week begins on Monday here, so that a weekend stays together.
    let monday_first = u64::from((fields.weekdays >> 1) | (fields.weekdays << 6) & ALL_WEEKDAYS);
    let mut names = runs(monday_first, 7, |day| {
        WEEKDAYS[(day as usize + 1) % 7].to_owned()
    });
    let range = names.len() == 1
        && monday_first.count_ones() > 2
        && fields.weeks == 0
        && fields.last_weekdays == 0;
    for (day, name) in WEEKDAYS.iter().enumerate() {
        for (week, counted) in COUNTED.iter().enumerate() {
            if fields.weeks >> (day * 5 + week) & 1 == 1 {
                names.push(format!("the {counted} {name} of the month"));
            }
        }
        if fields.last_weekdays >> day & 1 == 1 {
            names.push(format!("the last {name} of the month"));
        }
    }
    (and(&names), range)
}

fn members(set: u64) -> Vec<u32> {
    (0..64).filter(|value| set >> value & 1 == 1).collect()
}

fn ends(values: &[u32]) -> (u32, u32) {
    (
        values.first().copied().unwrap_or(0),
        values.last().copied().unwrap_or(0),
    )
}

fn contiguous(values: &[u32]) -> bool {
    values.windows(2).all(|pair| pair[1] == pair[0] + 1)
}

/// The step by which these values go round the whole of `size` evenly.
fn step(values: &[u32], size: u32) -> Option<u32> {
    let count = u32::try_from(values.len())
        .ok()
        .filter(|count| *count > 0)?;
    let step = size / count;
    (size.is_multiple_of(count) && values.windows(2).all(|pair| pair[1] == pair[0] + step))
        .then_some(step)
}

/// The members by name, three or more in a row as a range.
fn runs(set: u64, size: u32, name: impl Fn(u32) -> String) -> Vec<String> {
    let mut names = Vec::new();
    let mut value = 0;
    while value < size {
        let length = (set >> value).trailing_ones();
        match length {
            0 => {}
            1 | 2 => names.extend((value..value + length).map(&name)),
            _ => names.push(format!("{} to {}", name(value), name(value + length - 1))),
        }
        value += length.max(1);
    }
    names
}

/// `a`, `a and b`, `a, b and c`.
fn and(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn ordinal(number: u32) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}

#[cfg(test)]
mod tests {
    use crate::schedule::{Dialect, Schedule};
    use crate::time::Span;

    #[test]
    fn a_cron_expression_is_put_in_words() {
        for (expression, words) in [
            ("* * * * *", "every minute"),
            ("*/15 * * * *", "every 15 minutes"),
            (
                "5/15 * * * *",
                "every 15 minutes from minute 5 of every hour",
            ),
            (
                "*/7 * * * *",
                "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour",
            ),
            ("0 * * * *", "every hour"),
            ("5 * * * *", "at 5 minutes past every hour"),
            ("0,30 * * * *", "every 30 minutes"),
            (
                "10-20 * * * *",
                "every minute from minute 10 to 20 of every hour",
            ),
            ("0 2 * * *", "at 02:00 every day"),
            ("15 2,14 * * *", "at 02:15 and 14:15 every day"),
            ("30 */6 * * *", "every 6 hours from 00:30"),
            (
                "0 */5 * * *",
                "at 00:00, 05:00, 10:00, 15:00 and 20:00 every day",
            ),
            ("0 9-17 * * *", "every hour from 09:00 to 17:00"),
            (
                "*/15 8-17 * * 1-5",
                "every 15 minutes from 08:00 to 17:59, Monday to Friday",
            ),
            ("* 9 * * *", "every minute from 09:00 to 09:59"),
            ("1,4 8-17 * * *", "at minutes 1 and 4 of the hours 8 to 17"),
            (
                "*/10 1,3,8-11 * * *",
                "every 10 minutes of the hours 1, 3 and 8 to 11",
            ),
            ("0 9 * * 0", "at 09:00, on Sunday"),
            ("0 9 * * 6,7", "at 09:00, on Saturday and Sunday"),
            ("0 9 1 * *", "at 09:00, on the 1st"),
            ("0 9 1,15 * *", "at 09:00, on the 1st and 15th"),
            ("0 9 1 jan *", "at 09:00, on the 1st in January"),
            ("0 9 * 6-8 *", "at 09:00, every day in June to August"),
            ("0 9 13 * 5", "at 09:00, on the 13th or Friday"),
            (
                "0 9 */2 * 1-5",
                "at 09:00, on the 1st, 3rd, 5th, 7th, 9th, 11th, 13th, 15th, 17th, 19th, 21st, 23rd, 25th, \
                              27th, 29th and 31st if it is Monday to Friday",
            ),
            ("0 9 L * *", "at 09:00, on the last day of the month"),
            (
                "0 9 LW * *",
                "at 09:00, on the last weekday (Monday to Friday) of the month",
            ),
            ("0 9 * * 5L", "at 09:00, on the last Friday of the month"),
            (
                "0 9 * * MON#2",
                "at 09:00, on the second Monday of the month",
            ),
        ] {
            let schedule = Schedule::cron(expression, "Europe/Berlin", Dialect::Classic).unwrap();
            assert_eq!(
                schedule.describe(),
                format!("{words}, Europe/Berlin"),
                "{expression}"
            );
        }
    }

    #[test]
    fn the_kubernetes_dialect_has_its_own_words() {
        for (expression, words) in [
            ("@every 90m", "every 1 hour 30 minutes"),
            ("@daily", "at 00:00 every day, UTC"),
            ("0 0 1-31 * 1", "at 00:00 every day, UTC"),
            ("0 0 31 2 *", "never: no date fulfils the expression"),
        ] {
            let schedule = Schedule::cron(expression, "UTC", Dialect::Kubernetes).unwrap();
            assert_eq!(schedule.describe(), words, "{expression}");
        }
    }

    #[test]
    fn a_period_is_put_in_words() {
        for (seconds, words) in [
            (3_600, "every hour"),
            (21_600, "every 6 hours"),
            (5_400, "every 1 hour 30 minutes"),
            (86_400, "every day"),
            (45, "every 45 seconds"),
        ] {
            assert_eq!(
                Schedule::every(Span::from_seconds(seconds))
                    .unwrap()
                    .describe(),
                words
            );
        }
    }
}
