//! What holds for every recurrence, against a slow, plain model that walks day by day.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::BTreeMap;

use jiff::civil::{Date, DateTime, Weekday, date};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use systole_core::maintenance::{LabelSelector, Occurrence, Recurrence, Selector, When, Window};
use systole_core::time::{Span, Time};

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Monday),
    ("TU", Weekday::Tuesday),
    ("WE", Weekday::Wednesday),
    ("TH", Weekday::Thursday),
    ("FR", Weekday::Friday),
    ("SA", Weekday::Saturday),
    ("SU", Weekday::Sunday),
];

const FREQUENCIES: [&str; 4] = ["DAILY", "WEEKLY", "MONTHLY", "YEARLY"];

/// The days that the model looks at, from the start on.
const DAYS: i32 = 3 * 366;

/// The parts of a rule as values. Empty: left out.
#[derive(Clone, Debug)]
struct Rule {
    frequency: &'static str,
    interval: i32,
    months: Vec<i8>,
    month_days: Vec<i8>,
    weekdays: Vec<(i8, usize)>,
    hours: Vec<i8>,
    minutes: Vec<i8>,
    positions: Vec<i32>,
    week_start: usize,
}

impl Rule {
    fn text(&self) -> String {
        fn list<T: ToString>(name: &str, items: &[T]) -> String {
            if items.is_empty() {
                return String::new();
            }
            let items: Vec<String> = items.iter().map(ToString::to_string).collect();
            format!(";{name}={}", items.join(","))
        }
        let weekdays: Vec<String> = self
            .weekdays
            .iter()
            .map(|(n, weekday)| match n {
                0 => WEEKDAYS[*weekday].0.to_owned(),
                n => format!("{n}{}", WEEKDAYS[*weekday].0),
            })
            .collect();
        format!(
            "FREQ={};INTERVAL={};WKST={}{}{}{}{}{}{}",
            self.frequency,
            self.interval,
            WEEKDAYS[self.week_start].0,
            list("BYMONTH", &self.months),
            list("BYMONTHDAY", &self.month_days),
            list("BYDAY", &weekdays),
            list("BYHOUR", &self.hours),
            list("BYMINUTE", &self.minutes),
            list("BYSETPOS", &self.positions),
        )
    }

    /// Which period a day belongs to, counted from the one of the start.
    fn period(&self, start: Date, day: Date) -> i32 {
        let days = |from: Date, to: Date| from.until(to).unwrap().get_days();
        match self.frequency {
            "DAILY" => days(start, day),
            "WEEKLY" => {
                let back = i64::from(start.weekday().since(WEEKDAYS[self.week_start].1));
                days(start - back.days(), day).div_euclid(7)
            }
            "MONTHLY" => {
                i32::from(day.year() - start.year()) * 12 + i32::from(day.month() - start.month())
            }
            _ => i32::from(day.year() - start.year()),
        }
    }

    fn has_day(&self, start: Date, day: Date) -> bool {
        let is_bare = self.month_days.is_empty() && self.weekdays.is_empty();
        let fits_bare = match self.frequency {
            _ if !is_bare => true,
            "WEEKLY" => day.weekday() == start.weekday(),
            "MONTHLY" => day.day() == start.day(),
            "YEARLY" => {
                day.day() == start.day()
                    && (!self.months.is_empty() || day.month() == start.month())
            }
            _ => true,
        };
        let in_month = self.month_days.is_empty()
            || self
                .month_days
                .iter()
                .any(|n| *n == day.day() || day.days_in_month() + n + 1 == day.day());
        let is_weekday = self.weekdays.is_empty()
            || self.weekdays.iter().any(|(n, weekday)| {
                let weekday = WEEKDAYS[*weekday].1;
                if *n == 0 {
                    return day.weekday() == weekday;
                }
                if self.frequency == "YEARLY" && self.months.is_empty() {
                    let before = date(day.year(), 1, 1) - 1.day();
                    let after = date(day.year(), 12, 31) + 1.day();
                    let from = if *n > 0 { before } else { after };
                    return from.nth_weekday(i32::from(*n), weekday).ok() == Some(day);
                }
                day.nth_weekday_of_month(*n, weekday).ok() == Some(day)
            });
        fits_bare
            && in_month
            && is_weekday
            && (self.months.is_empty() || self.months.contains(&day.month()))
    }

    /// Every occurrence within [`DAYS`], in order.
    fn occurrences(&self, start: DateTime) -> Vec<DateTime> {
        let mut periods: BTreeMap<i32, Vec<DateTime>> = BTreeMap::new();
        // The first period may begin before the start.
        let mut day = date(start.year(), 1, 1) - 7.days();
        let end = start.date() + DAYS.days();
        while day <= end {
            let period = self.period(start.date(), day);
            if period >= 0 && period % self.interval == 0 && self.has_day(start.date(), day) {
                let or = |given: &[i8], own: i8| {
                    if given.is_empty() {
                        vec![own]
                    } else {
                        given.to_vec()
                    }
                };
                for hour in or(&self.hours, start.hour()) {
                    for minute in or(&self.minutes, start.minute()) {
                        periods
                            .entry(period)
                            .or_default()
                            .push(day.at(hour, minute, 0, 0));
                    }
                }
            }
            day = day.tomorrow().unwrap();
        }
        let mut found = Vec::new();
        for (_, mut times) in periods {
            times.sort();
            for (i, time) in times.iter().enumerate() {
                let (front, back) = (
                    i32::try_from(i).unwrap() + 1,
                    i32::try_from(i).unwrap() - i32::try_from(times.len()).unwrap(),
                );
                let is_picked = self.positions.is_empty()
                    || self.positions.contains(&front)
                    || self.positions.contains(&back);
                if is_picked && *time >= start {
                    found.push(*time);
                }
            }
        }
        // The last period may go on after the end, where positions count from.
        let last = self.period(start.date(), end);
        found.retain(|time| self.period(start.date(), time.date()) < last);
        found
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    let few = |least: i8, most: i8, sizes: usize| {
        subsequence((least..=most).collect::<Vec<i8>>(), 0..=sizes)
    };
    let month_days = vec(prop_oneof![1_i8..=31, -31_i8..=-1], 0..3);
    let weekdays = vec(
        (select(&[0_i8, 0, 0, 1, 2, -1, 5, 20][..]), 0..7_usize),
        0..3,
    );
    let positions = vec(select(&[1, 2, 3, -1, -2, 10][..]), 0..3);
    let sets = (
        few(1, 12, 3),
        month_days,
        weekdays,
        few(0, 23, 2),
        few(0, 59, 2),
        positions,
    );
    (select(&FREQUENCIES[..]), 1..5_i32, sets, 0..7_usize).prop_map(
        |(frequency, interval, sets, week_start)| {
            let (months, mut month_days, mut weekdays, hours, minutes, mut positions) = sets;
            if frequency == "WEEKLY" {
                month_days.clear();
            }
            for (n, _) in &mut weekdays {
                // Where a month counts, jiff refuses more than five.
                let is_in_month = frequency == "MONTHLY" || !months.is_empty();
                if matches!(frequency, "DAILY" | "WEEKLY") || (is_in_month && *n > 5) {
                    *n = 0;
                }
            }
            if months.is_empty()
                && month_days.is_empty()
                && weekdays.is_empty()
                && hours.is_empty()
                && minutes.is_empty()
            {
                positions.clear();
            }
            Rule {
                frequency,
                interval,
                months,
                month_days,
                weekdays,
                hours,
                minutes,
                positions,
                week_start,
            }
        },
    )
}

fn start() -> impl Strategy<Value = DateTime> {
    (2019..2031_i16, 0..366_i32, 0..24_i8, 0..60_i8).prop_map(|(year, day, hour, minute)| {
        (date(year, 1, 1) + day.days()).at(hour, minute, 0, 0)
    })
}

fn in_utc(local: DateTime) -> Time {
    Time::from_jiff(local.to_zoned(TimeZone::UTC).unwrap().timestamp())
}

fn window(recurrence: Recurrence) -> Window {
    Window {
        name: "w".to_owned(),
        selector: Selector::default(),
        when: When::Recurring(Box::new(recurrence)),
        ended_at: None,
    }
}

/// The instants of one local occurrence, by jiff: after a gap, the first of two beginnings, the last of two ends.
fn instants(zone: &TimeZone, local: DateTime, length: i64) -> Occurrence {
    let after_gap = |before: jiff::tz::Offset, local: DateTime| {
        let inside = before.to_timestamp(local).unwrap();
        zone.preceding(inside + 1.nanosecond())
            .next()
            .unwrap()
            .timestamp()
    };
    let (start, from) = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => (offset.to_timestamp(local).unwrap(), local),
        AmbiguousOffset::Fold { before, .. } => (before.to_timestamp(local).unwrap(), local),
        AmbiguousOffset::Gap { before, .. } => {
            let at = after_gap(before, local);
            (at, zone.to_datetime(at))
        }
    };
    let end = from + length.seconds();
    let end = match zone.to_ambiguous_timestamp(end).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(end).unwrap(),
        AmbiguousOffset::Fold { after, .. } => after.to_timestamp(end).unwrap(),
        AmbiguousOffset::Gap { before, .. } => after_gap(before, end),
    };
    Occurrence {
        start: Time::from_jiff(start),
        end: Time::from_jiff(end),
    }
}

const ZONES: [&str; 9] = [
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Antarctica/Troll",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rule_names_the_times_that_walking_day_by_day_finds(rule in rule(), start in start(), hours in 1..400_i64, probe in 0..DAYS * 24) {
        let text = rule.text();
        let expected = rule.occurrences(start);
        let length = Span::from_seconds(hours * 3_600);
        match Recurrence::parse(&text, &start.to_string(), length, "UTC") {
            Err(error) => {
                prop_assert!(expected.is_empty(), "{text} from {start}: {}", error.message);
                prop_assert!(error.message.contains("never comes"), "{text} from {start}: {}", error.message);
            }
            Ok(recurrence) => {
                let window = window(recurrence);
                let found: Vec<Time> = window.following(Time::MIN).take(expected.len().min(200)).map(|found| found.start).collect();
                let wanted: Vec<Time> = expected.iter().take(200).map(|local| in_utc(*local)).collect();
                prop_assert_eq!(&found, &wanted, "{} from {}", text, start);
                let at = in_utc(start) + Span::from_seconds(i64::from(probe) * 3_600 + 1_800);
                if expected.last().is_some_and(|last| in_utc(*last) > at) {
                    let open = expected.iter().rev().map(|local| in_utc(*local)).find(|begun| *begun <= at);
                    let open = open.filter(|begun| at < *begun + length);
                    prop_assert_eq!(window.occurrence_at(at).map(|open| open.start), open, "{} from {} at {}", text, start, at);
                }
            }
        }
    }

    #[test]
    fn around_clock_changes_a_window_is_open_when_one_of_its_days_says_so(
        name in select(&ZONES[..]),
        around in 1_293_840_000..1_900_000_000_i64,
        hours in subsequence((0..24_i8).collect::<Vec<_>>(), 1..4),
        minutes in subsequence((0..60_i8).collect::<Vec<_>>(), 1..3),
        length in 1..3_000_i64,
        steps in vec(0..5 * 1_440_i64, 1..20),
    ) {
        let zone = TimeZoneDatabase::bundled().get(name).unwrap();
        let around = Timestamp::from_second(around).unwrap();
        let change = zone.following(around).next().map_or(around, |change| change.timestamp());
        let list = |numbers: &[i8]| numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let text = format!("FREQ=DAILY;BYHOUR={};BYMINUTE={}", list(&hours), list(&minutes));
        let length = length * 60;
        let recurrence = Recurrence::parse(&text, "2010-01-01T00:00", Span::from_seconds(length), name).unwrap();
        let first = zone.to_datetime(change).date() - 6.days();
        let mut all = Vec::new();
        for day in 0..12_i32 {
            for hour in &hours {
                for minute in &minutes {
                    all.push(instants(&zone, (first + day.days()).at(*hour, *minute, 0, 0), length));
                }
            }
        }
        for step in steps {
            let at = Time::from_jiff(change) + Span::from_seconds(step * 60) - Span::from_seconds(2 * 86_400 + 1_800);
            let open = all.iter().filter(|occurrence| occurrence.start <= at && at < occurrence.end).max_by_key(|occurrence| (occurrence.start, occurrence.end));
            prop_assert_eq!(recurrence.occurrence_at(at), open.copied(), "{} {} {}s at {}", name, text, length, at);
            let next = all.iter().filter(|occurrence| occurrence.start > at).min_by_key(|occurrence| (occurrence.start, occurrence.end));
            prop_assert_eq!(recurrence.next_after(at), next.copied(), "{} {} {}s after {}", name, text, length, at);
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic_or_spin(
        rrule in prop_oneof!["\\PC{0,60}", "((FREQ|INTERVAL|COUNT|UNTIL|BY(MONTH|MONTHDAY|DAY|HOUR|MINUTE|SETPOS)|WKST)=[-+0-9A-Z,]{0,12};?){0,6}"],
        start in prop_oneof!["\\PC{0,30}", "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]"],
        seconds in any::<i64>(),
        at in any::<i64>(),
        selector in prop_oneof!["\\PC{0,60}", "[a-z!=(), ]{0,30}"],
    ) {
        for frequency in ["", "FREQ=DAILY;", "FREQ=YEARLY;"] {
            if let Ok(recurrence) = Recurrence::parse(&format!("{frequency}{rrule}"), &start, Span::from_seconds(seconds), "Europe/Berlin") {
                let at = Time::from_micros(at);
                recurrence.occurrence_at(at);
                recurrence.next_after(at);
            }
        }
        if let Ok(read) = LabelSelector::parse(&selector) {
            prop_assert_eq!(LabelSelector::parse(&read.to_string()), Ok(read));
        }
    }
}
