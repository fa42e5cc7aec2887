//! What holds for every schedule, whatever is thrown at it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan as _};
use proptest::collection::btree_set;
use proptest::prelude::*;
use proptest::sample::select;
use systole_core::schedule::{Dialect, Schedule};
use systole_core::time::{Span, Time};

const ZONES: [&str; 14] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/Sao_Paulo",
    "America/Santiago",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

/// Those whose clocks have gone forward at midnight, or by or at other than whole hours.
const UNEVEN_GAPS: [&str; 9] = [
    "America/Havana",
    "America/Sao_Paulo",
    "America/Santiago",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Pacific/Apia",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
];

fn zone(name: &str) -> TimeZone {
    TimeZoneDatabase::bundled().get(name).unwrap()
}

/// A field as its values and as text: a star, a star with a step, or a list.
fn field(least: u32, most: u32) -> impl Strategy<Value = (Vec<u32>, String)> {
    let all = move |step: usize| (least..=most).step_by(step).collect::<Vec<u32>>();
    prop_oneof![
        Just((all(1), "*".to_owned())),
        (2..20_usize).prop_map(move |step| (all(step), format!("*/{step}"))),
        btree_set(least..=most, 1..4).prop_map(|values| {
            let text = values
                .iter()
                .map(u32::to_string)
                .collect::<Vec<_>>()
                .join(",");
            (values.into_iter().collect(), text)
        }),
        (least..=most, least..=most).prop_map(|(a, b)| {
            let (low, high) = (a.min(b), a.max(b));
            ((low..=high).collect(), format!("{low}-{high}"))
        }),
    ]
}

/// An expression with what its fields mean, minute first.
#[derive(Debug, Clone)]
struct Expression {
    text: String,
    values: [Vec<u32>; 5],
    day_is_starred: bool,
    fixed: bool,
}

impl Expression {
    fn matches(&self, dialect: Dialect, local: jiff::civil::DateTime) -> bool {
        let has =
            |field: usize, value: i8| self.values[field].contains(&u32::from(value.unsigned_abs()));
        let day = has(2, local.day());
        let weekday = has(4, local.weekday().to_sunday_zero_offset());
        let starred = match dialect {
            Dialect::Classic => self.day_is_starred,
            Dialect::Kubernetes => self.plain_day_star(),
        };
        let days = if starred {
            day && weekday
        } else {
            day || weekday
        };
        has(0, local.minute()) && has(1, local.hour()) && has(3, local.month()) && days
    }

    /// A star without a step: only that is a star to Kubernetes.
    fn plain_day_star(&self) -> bool {
        let fields: Vec<&str> = self.text.split(' ').collect();
        fields[2] == "*" || fields[4] == "*"
    }
}

fn expression() -> impl Strategy<Value = Expression> {
    (
        field(0, 59),
        field(0, 23),
        field(1, 31),
        field(1, 12),
        field(0, 6),
    )
        .prop_map(|(minute, hour, day, month, weekday)| Expression {
            day_is_starred: day.1.starts_with('*') || weekday.1.starts_with('*'),
            fixed: !minute.1.starts_with('*') && !hour.1.starts_with('*'),
            text: format!(
                "{} {} {} {} {}",
                minute.1, hour.1, day.1, month.1, weekday.1
            ),
            values: [minute.0, hour.0, day.0, month.0, weekday.0],
        })
}

/// From 2005 to 2045, to the microsecond.
fn instant() -> impl Strategy<Value = Time> {
    (1_104_537_600_000_000_i64..2_366_841_600_000_000).prop_map(Time::from_micros)
}

/// Within three days before or a day after a clock change of the zone.
fn near_a_change() -> impl Strategy<Value = (&'static str, Time)> {
    (select(&ZONES[..]), instant(), -3 * 86_400..86_400_i64).prop_map(|(name, around, by)| {
        let zone = zone(name);
        let change = zone
            .following(around.to_jiff())
            .next()
            .map_or(around.to_jiff(), |change| change.timestamp());
        (name, Time::from_seconds(change.as_second() + by))
    })
}

/// The first run in the three days after `after` by Debian's rules, minute by minute.
fn classic_by_hand(expression: &Expression, zone: &TimeZone, after: Time) -> Option<Time> {
    let minutes = |from: i64| (0..3 * 1_440).map(move |minute| from + minute * 60);
    if !expression.fixed {
        let start = after.as_seconds().div_euclid(60) * 60 + 60;
        return minutes(start)
            .find(|unix| expression.matches(Dialect::Classic, local(zone, *unix)))
            .map(Time::from_seconds);
    }
    // Every wall-clock minute, those that do not exist included: each runs at its first instant, or right after the gap.
    let start = local(zone, after.as_seconds())
        .to_zoned(TimeZone::UTC)
        .unwrap()
        .timestamp()
        .as_second();
    minutes(start.div_euclid(60) * 60 - 4 * 3_600)
        .filter_map(|as_utc| {
            let civil = Timestamp::from_second(as_utc)
                .unwrap()
                .to_zoned(TimeZone::UTC)
                .datetime();
            if !expression.matches(Dialect::Classic, civil) {
                return None;
            }
            let ambiguous = zone.to_ambiguous_timestamp(civil);
            let early = ambiguous.earlier().unwrap();
            let exists = zone.to_datetime(early) == civil;
            let at = if exists {
                early
            } else {
                zone.following(early).next()?.timestamp()
            };
            Some(Time::from_jiff(at))
        })
        .find(|at| *at > after)
}

fn local(zone: &TimeZone, unix: i64) -> jiff::civil::DateTime {
    zone.to_datetime(Timestamp::from_second(unix).unwrap())
}

/// A text that resembles an expression more often than not.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9*/,?LW#@A-Za-z -]{0,40}",
        "\\PC{0,30}",
        any::<String>(),
        "([0-9*?,/LW#-]{1,6}[ \t]){4}[0-9*?,/LW#-]{1,6}",
        "@every [0-9.hmsu\u{b5}+-]{0,12}",
        "(CRON_)?TZ=[A-Za-z/]{0,12} ?[0-9* ]{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn slots_follow_one_another_and_match_their_fields(
        expression in expression(),
        dialect in select(&[Dialect::Classic, Dialect::Kubernetes][..]),
        (name, start) in near_a_change(),
    ) {
        let Ok(schedule) = Schedule::cron(&expression.text, name, dialect) else {
            // Only a date that never comes is refused, and only by the classic dialect.
            prop_assert_eq!(dialect, Dialect::Classic);
            return Ok(());
        };
        // Over such a gap robfig goes into the next hour, day or month without looking at the higher fields again.
        let exact = dialect == Dialect::Classic || !UNEVEN_GAPS.contains(&name);
        let zone = zone(name);
        let mut after = start;
        for _ in 0..10 {
            let Some(next) = schedule.next_after(after) else { break };
            prop_assert!(next > after);
            prop_assert_eq!(schedule.next_after(after), Some(next), "the same question has the same answer");
            let wall = local(&zone, next.as_seconds());
            let after_a_gap = || {
                let before = local(&zone, next.as_seconds() - 1);
                dialect == Dialect::Classic && expression.fixed && wall != before.checked_add(1.second()).unwrap()
            };
            prop_assert!(!exact || expression.matches(dialect, wall) || after_a_gap(), "{} at {}", expression.text, wall);
            after = next;
        }
    }

    #[test]
    fn the_classic_dialect_runs_in_every_minute_that_debians_rules_name(
        expression in expression(),
        (name, start) in near_a_change(),
    ) {
        let Ok(schedule) = Schedule::cron(&expression.text, name, Dialect::Classic) else { return Ok(()) };
        if let Some(expected) = classic_by_hand(&expression, &zone(name), start) {
            prop_assert_eq!(schedule.next_after(start), Some(expected), "{} in {} from {}", expression.text, name, start);
        }
    }

    #[test]
    fn no_text_breaks_the_reader_or_the_search(text in any_text(), zone in any_text(), start in any::<i64>()) {
        let start = Time::from_micros(start);
        for dialect in [Dialect::Classic, Dialect::Kubernetes] {
            for zone in [zone.as_str(), "Europe/Berlin", "Pacific/Apia"] {
                match Schedule::cron(&text, zone, dialect) {
                    Ok(schedule) => {
                        prop_assert!(schedule.next_after(start).is_none_or(|next| next > start));
                        prop_assert!(!schedule.describe().is_empty());
                        schedule.warnings();
                        schedule.warnings_after(start);
                    }
                    Err(error) => {
                        let blamed = if error.field == "cron" { &text } else { zone };
                        prop_assert!(error.at.clone().is_none_or(|at| blamed.get(at).is_some()), "{:?}", error);
                        prop_assert!(error.pointed(blamed).starts_with(&error.message));
                    }
                }
            }
        }
        let _ = Schedule::from_robfig_specification(&text);
    }

    #[test]
    fn an_expression_read_again_is_the_same_schedule(
        expression in expression(),
        dialect in select(&[Dialect::Classic, Dialect::Kubernetes][..]),
        name in select(&ZONES[..]),
    ) {
        let Ok(schedule) = Schedule::cron(&expression.text, name, dialect) else { return Ok(()) };
        let Schedule::Cron(cron) = &schedule else { panic!("a cron expression is a cron schedule") };
        let again = Schedule::cron(cron.expression(), cron.timezone(), cron.dialect()).unwrap();
        prop_assert_eq!(&again, &schedule);
        prop_assert_eq!(cron.expression(), &expression.text);
        let other = if dialect == Dialect::Classic { Dialect::Kubernetes } else { Dialect::Classic };
        if let Ok(other) = Schedule::cron(&expression.text, name, other) {
            prop_assert_ne!(other, schedule);
        }
    }

    #[test]
    fn a_period_is_added_exactly(start in instant(), micros in 1_000_000..=Span::LONGEST.as_micros()) {
        let period = Span::from_micros(micros);
        let next = Schedule::every(period).unwrap().next_after(start);
        prop_assert_eq!(next.map(Time::as_micros), Some(start.as_micros() + micros));
    }
}

#[test]
fn a_period_has_bounds() {
    assert_eq!(
        Schedule::every(Span::from_millis(999)).unwrap_err().field,
        "every"
    );
    assert_eq!(
        Schedule::every(Span::LONGEST + Span::from_micros(1))
            .unwrap_err()
            .field,
        "every"
    );
    assert!(Schedule::every(Span::from_seconds(1)).is_ok());
    assert!(Schedule::every(Span::LONGEST).is_ok());
}

#[test]
fn the_ends_of_time_are_no_trouble() {
    let schedules = [
        Schedule::every(Span::LONGEST).unwrap(),
        Schedule::cron("0 0 29 2 *", "America/New_York", Dialect::Classic).unwrap(),
        Schedule::cron("* * * * *", "Pacific/Apia", Dialect::Classic).unwrap(),
        Schedule::cron("0 0 29 2 *", "Pacific/Kiritimati", Dialect::Kubernetes).unwrap(),
        Schedule::cron("@every 2562047h", "UTC", Dialect::Kubernetes).unwrap(),
    ];
    for schedule in schedules {
        for start in [
            Time::NEVER,
            Time::MIN,
            Time::LAST,
            Time::LAST - Span::from_micros(1),
            Time::from_seconds(0),
        ] {
            assert!(
                schedule
                    .next_after(start)
                    .is_none_or(|next| next > start && next <= Time::LAST)
            );
        }
        assert_eq!(schedule.next_after(Time::NEVER), None);
    }
}

#[test]
fn a_dialect_written_is_read_back() {
    for dialect in [Dialect::Classic, Dialect::Kubernetes] {
        assert_eq!(dialect.to_string().parse(), Ok(dialect));
    }
    assert!(
        "quartz"
            .parse::<Dialect>()
            .unwrap_err()
            .contains("classic or kubernetes")
    );
}
