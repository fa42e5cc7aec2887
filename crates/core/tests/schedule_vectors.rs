//! The schedules against what the programs they stand for answer.
//!
//! Each line of `data/*.tsv` is: expression, start, `OK` or `ERR`, and the next times (the first three to six) or the
//! error. `NEVER` ends a chain. `kubernetes-cron-*.tsv` was printed by robfig/cron v3.0.1; how `classic-cron.tsv` came
//! about stands at its top.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use jiff::tz::TimeZone;
use systole_core::schedule::{Dialect, Schedule, ScheduleError};
use systole_core::time::Time;

/// The schedule of a vector, read by the time zone database that the vectors were printed with: zones' rules change.
fn as_printed(specification: &str) -> Result<Schedule, ScheduleError> {
    let schedule = Schedule::from_robfig_specification(specification)?;
    let zone = specification
        .split_once("TZ=")
        .and_then(|(_, rest)| rest.split_once(' '))
        .map(|(zone, _)| zone)
        // robfig reads an empty name as UTC.
        .filter(|zone| !zone.is_empty());
    let Some(zone) = zone else {
        return Ok(schedule);
    };
    let rules =
        tzdb_data::find_raw(zone.as_bytes()).unwrap_or_else(|| panic!("{zone:?} is unknown"));
    Ok(schedule.in_zone(TimeZone::tzif(zone, rules).unwrap()))
}

/// Runs every line and lists the disagreements.
fn disagreements(
    file: &str,
    text: &str,
    parse: impl Fn(&str) -> Result<Schedule, ScheduleError>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut lines = 0;
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.starts_with("# "))
    {
        lines += 1;
        let columns: Vec<&str> = line.split('\t').collect();
        let [specification, start, verdict, expected] = columns[..] else {
            panic!("{file}:{}: four columns expected: {line}", number + 1);
        };
        let found = match parse(specification) {
            Err(error) if verdict == "ERR" => {
                assert!(!error.message.is_empty());
                continue;
            }
            Err(error) => format!("error: {}", error.message),
            Ok(schedule) if verdict == "ERR" => format!("accepted: {}", schedule.describe()),
            Ok(schedule) => chain(&schedule, start, expected.split(',').count()),
        };
        if verdict == "ERR" || found != expected {
            wrong.push(format!(
                "{file}:{}: {specification} from {start}\n  expected {expected}\n  found    {found}",
                number + 1
            ));
        }
    }
    assert!(lines > 100, "{file} has {lines} lines only");
    wrong
}

fn chain(schedule: &Schedule, start: &str, count: usize) -> String {
    let mut after = Time::parse(start).unwrap();
    let mut found = Vec::new();
    for _ in 0..count {
        match schedule.next_after(after) {
            None => {
                found.push("NEVER".to_owned());
                break;
            }
            Some(next) => {
                found.push(next.to_string());
                after = next;
            }
        }
    }
    found.join(",")
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} disagreements:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_vectors_are_read_with_the_database_that_they_were_printed_with() {
    assert_eq!(tzdb_data::VERSION, "2025b");
}

#[test]
fn the_kubernetes_dialect_agrees_with_the_curated_vectors() {
    let text = include_str!("data/kubernetes-cron-curated.tsv");
    assert_none(&disagreements(
        "kubernetes-cron-curated.tsv",
        text,
        as_printed,
    ));
}

#[test]
fn the_kubernetes_dialect_agrees_at_clock_changes() {
    let text = include_str!("data/kubernetes-cron-dst.tsv");
    assert_none(&disagreements("kubernetes-cron-dst.tsv", text, as_printed));
}

#[test]
fn the_classic_dialect_agrees_with_cronsim() {
    let text = include_str!("data/classic-cron.tsv");
    let parse = |specification: &str| {
        let (zone, expression) = specification
            .strip_prefix("TZ=")
            .unwrap()
            .split_once(' ')
            .unwrap();
        Schedule::cron(expression, zone, Dialect::Classic)
    };
    assert_none(&disagreements("classic-cron.tsv", text, parse));
}

#[test]
fn the_dialects_differ_where_the_programs_do() {
    let riga = "Europe/Riga";
    for (expression, zone, start, classic, kubernetes) in [
        (
            "0 3 * * *",
            riga,
            "2021-03-27T12:00:00Z",
            "2021-03-28T01:00:00Z",
            "2021-03-29T00:00:00Z",
        ),
        (
            "0 3 * * *",
            riga,
            "2021-10-31T00:00:00Z",
            "2021-11-01T01:00:00Z",
            "2021-10-31T01:00:00Z",
        ),
        (
            "0 1-5 * * *",
            riga,
            "2021-10-31T00:00:00Z",
            "2021-10-31T02:00:00Z",
            "2021-10-31T01:00:00Z",
        ),
        (
            "1 1 1-7 * */7",
            "UTC",
            "2020-01-01T00:00:00Z",
            "2020-01-05T01:01:00Z",
            "2020-01-01T01:01:00Z",
        ),
        (
            "0 0 */2 * 1",
            "UTC",
            "2020-01-01T00:00:00Z",
            "2020-01-13T00:00:00Z",
            "2020-01-03T00:00:00Z",
        ),
    ] {
        let next = |dialect| {
            let schedule = Schedule::cron(expression, zone, dialect).unwrap();
            schedule
                .next_after(Time::parse(start).unwrap())
                .unwrap()
                .to_string()
        };
        assert_eq!(
            next(Dialect::Classic),
            classic,
            "classic {expression} from {start}"
        );
        assert_eq!(
            next(Dialect::Kubernetes),
            kubernetes,
            "kubernetes {expression} from {start}"
        );
    }
    for (expression, classic, kubernetes) in [
        ("* * * * 7", true, false),
        ("0 0 L * *", true, false),
        ("0 0 * * MON#2", true, false),
        ("@daily", false, true),
        ("@every 90m", false, true),
        ("? * * * *", false, true),
        ("0 0 30 2 *", false, true),
        ("CRON_TZ=UTC 0 0 * * *", false, false),
    ] {
        assert_eq!(
            Schedule::cron(expression, "UTC", Dialect::Classic).is_ok(),
            classic,
            "{expression}"
        );
        assert_eq!(
            Schedule::cron(expression, "UTC", Dialect::Kubernetes).is_ok(),
            kubernetes,
            "{expression}"
        );
    }
}

#[test]
fn a_day_that_a_zone_left_out_does_not_hold_up_the_search() {
    // Apia had no 30 December 2011; the original goes round for ever.
    let schedule = Schedule::cron("0 9 30 12 *", "Pacific/Apia", Dialect::Kubernetes).unwrap();
    assert_eq!(
        schedule.next_after(Time::parse("2011-12-01T00:00:00Z").unwrap()),
        None
    );
    let schedule = Schedule::cron("0 9 30 12 *", "Pacific/Apia", Dialect::Classic).unwrap();
    let next = schedule.next_after(Time::parse("2011-12-01T00:00:00Z").unwrap());
    assert_eq!(
        next,
        Time::parse("2011-12-30T10:00:00Z").ok(),
        "made up for when the next day begins"
    );
}

#[test]
fn a_run_is_never_before_the_question() {
    // In Chatham the clock goes from 03:45 back to 02:45. Asked at the second 02:45, the original answers with the
    // 03:00 of 13:15Z, in the past. The chain from there has 03:36 (13:51Z) and then the second 02:48.
    let schedule = Schedule::cron("*/12 3 * * *", "Pacific/Chatham", Dialect::Kubernetes).unwrap();
    let next = schedule.next_after(Time::parse("2024-04-06T14:00:00Z").unwrap());
    assert_eq!(next, Time::parse("2024-04-06T14:03:00Z").ok());
    let next = schedule.next_after(Time::parse("2024-04-06T13:51:00Z").unwrap());
    assert_eq!(next, Time::parse("2024-04-06T14:03:00Z").ok());
}
