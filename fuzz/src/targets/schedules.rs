//! Schedules: an expression, a time zone, and the microseconds to start from, a line for each.

use systole_core::schedule::{Dialect, Schedule, ScheduleError};
use systole_core::time::Time;

use super::{is_said, texts};

/// Zones with changes at midnight, by half an hour, by a day; the evaluation meets them whatever the input's zone is.
const ZONES: [&str; 8] = [
    "UTC",
    "Europe/Berlin",
    "America/Havana",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Antarctica/Troll",
];

pub fn run(input: &[u8]) {
    let Some([expression, zone, start]) = texts(input) else {
        return;
    };
    let start = Time::from_micros(start.trim().parse().unwrap_or_default());
    for dialect in [Dialect::Classic, Dialect::Kubernetes] {
        match Schedule::cron(expression, zone, dialect) {
            Ok(schedule) => check(&schedule, dialect, start),
            Err(error) => refused(&error, expression, zone),
        }
        if let Ok(schedule) = Schedule::cron(expression, ZONES[zone.len() % ZONES.len()], dialect) {
            check(&schedule, dialect, start);
        }
    }
    if let Err(error) = Schedule::from_robfig_specification(expression) {
        is_said(&error.message, 3_000);
    }
}

fn refused(error: &ScheduleError, expression: &str, zone: &str) {
    let blamed = match error.field {
        "cron" => expression,
        "timezone" => zone,
        other => panic!("{other} is not a field of a cron schedule"),
    };
    is_said(&error.message, 3_000);
    if let Some(at) = &error.at {
        assert!(
            blamed.get(at.clone()).is_some(),
            "{at:?} is not a part of {blamed:?}"
        );
    }
    assert!(error.pointed(blamed).starts_with(&error.message));
}

fn check(schedule: &Schedule, dialect: Dialect, start: Time) {
    let mut after = start;
    for _ in 0..12 {
        let Some(next) = schedule.next_after(after) else {
            break;
        };
        assert!(next > after && next <= Time::LAST, "{next} follows {after}");
        assert_eq!(
            schedule.next_after(after),
            Some(next),
            "the same question has the same answer"
        );
        // Debian's slots are a set of instants, so whoever asks between two gets the same next one. The slots of
        // Kubernetes depend on where one starts.
        if dialect == Dialect::Classic {
            let between = i128::midpoint(after.as_micros().into(), next.as_micros().into());
            for at in [
                Time::from_micros(between.try_into().unwrap()),
                Time::from_micros(next.as_micros() - 1),
            ] {
                assert_eq!(
                    schedule.next_after(at),
                    Some(next),
                    "asked at {at}, after {after}"
                );
            }
        }
        after = next;
    }
    let described = schedule.describe();
    is_said(&described, 4_000);
    assert!(
        !described.contains(['\n', '\r']),
        "{described:?} has one line"
    );
    for warning in schedule
        .warnings()
        .iter()
        .chain(&schedule.warnings_after(start))
    {
        is_said(warning, 4_000);
    }
    let Schedule::Cron(cron) = schedule else {
        panic!("a cron expression is a cron schedule");
    };
    let again = Schedule::cron(cron.expression(), cron.timezone(), cron.dialect());
    assert_eq!(again.as_ref(), Ok(schedule), "written and read again");
}
