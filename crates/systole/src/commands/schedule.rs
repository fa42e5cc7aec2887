//! `systole schedule`: what a schedule means.

use jiff::tz::TimeZone;
use systole_core::schedule::{Dialect, Schedule, ScheduleError};
use systole_core::time::{Span, Time};

use crate::cli::ScheduleArgs;
use crate::failure::Failure;
use crate::table::Table;
use crate::{out, times};

/// Prints the schedule in words, then its next slots.
///
/// # Errors
/// What is wrong with the schedule, pointing at it.
pub fn run(args: &ScheduleArgs) -> Result<(), Failure> {
    Ok(out::print(&answer(args, times::now())?)?)
}

fn answer(args: &ScheduleArgs, now: Time) -> Result<String, Failure> {
    let after = match &args.after {
        // Nobody asks for the fractions of the second in which they ask.
        None => Time::from_seconds(now.as_seconds()),
        Some(text) => {
            Time::parse(text).map_err(|error| Failure::Usage(format!("--after: {error}")))?
        }
    };
    let schedule = read(args)?;
    let timezone = TimeZone::get(&args.timezone).map_err(|_| {
        Failure::Usage(format!(
            "--timezone: {:?} is not a time zone",
            out::shown(&args.timezone)
        ))
    })?;
    let mut said = format!("{}\n", out::shown(&schedule.describe()));
    for warning in schedule.warnings_after(after) {
        said.push_str(&format!("warning: {}\n", out::shown(&warning)));
    }
    said.push('\n');
    let mut table = Table::new(&["LOCAL TIME", "UTC", "FROM NOW"]);
    let mut last = after;
    let mut found = false;
    for _ in 0..args.count {
        let Some(next) = schedule.next_after(last) else {
            break;
        };
        found = true;
        let local = next.to_jiff().to_zoned(timezone.clone());
        table.row(vec![
            local.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string(),
            next.to_string(),
            times::relative(next, now),
        ]);
        last = next;
    }
    if found {
        said.push_str(&table.render());
    } else {
        said.push_str("It never comes again.\n");
    }
    Ok(said)
}

/// A period is what reads as a duration with a unit, or says `every`; all else is cron's.
fn read(args: &ScheduleArgs) -> Result<Schedule, Failure> {
    let text = args.expression.trim();
    let period = text.strip_prefix("every ").map(str::trim);
    let looks_like_period = !text.contains(' ') && text.starts_with(|c: char| c.is_ascii_digit())
        || Span::parse(text).is_ok();
    if let Some(period) = period.or(looks_like_period.then_some(text)) {
        let span = Span::parse(period).map_err(Failure::Usage)?;
        return Schedule::every(span).map_err(|error| Failure::Usage(error.to_string()));
    }
    let dialect: Dialect = args
        .dialect
        .parse()
        .map_err(|error| Failure::Usage(format!("--dialect: {error}")))?;
    Schedule::cron(text, &args.timezone, dialect)
        .map_err(|error| Failure::Usage(pointed(&error, text, &args.timezone)))
}

fn pointed(error: &ScheduleError, expression: &str, timezone: &str) -> String {
    match error.field {
        "timezone" => format!("--timezone: {}", error.pointed(timezone)),
        _ => error.pointed(expression),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(expression: &str, timezone: &str, dialect: &str) -> Result<String, Failure> {
        let args = ScheduleArgs {
            expression: expression.to_owned(),
            dialect: dialect.to_owned(),
            timezone: timezone.to_owned(),
            after: None,
            count: 2,
        };
        answer(&args, Time::parse("2026-11-21T22:48:00Z").unwrap())
    }

    #[test]
    fn slots_are_shown_in_both_times_and_from_now() {
        let said = ask("0 2 * * *", "Europe/Oslo", "classic").unwrap();
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("2026-11-2"))
            .collect();
        assert_eq!(
            lines,
            [
                "Sun 2026-11-22 02:00:00 +01:00   2026-11-22T01:00:00Z   in 2 h 12 min",
                "Mon 2026-11-23 02:00:00 +01:00   2026-11-23T01:00:00Z   in 1 d 2 h",
            ]
        );
    }

    #[test]
    fn a_period_is_read_with_and_without_every() {
        for text in ["6h", "every 6h", "every 6 hours", "6 hours"] {
            let said = ask(text, "UTC", "classic").unwrap();
            assert!(
                said.contains("2026-11-22T04:48:00Z   in 6 h\n"),
                "{text}: {said}"
            );
        }
    }

    #[test]
    fn a_wrong_schedule_is_a_wrong_usage() {
        for (expression, timezone, dialect, part) in [
            ("0 25 * * *", "UTC", "classic", "^"),
            ("0 2 * * *", "Mars/Base", "classic", "--timezone"),
            ("0 2 * * *", "UTC", "robfig", "--dialect"),
            ("every now", "UTC", "classic", "duration"),
            ("5x", "UTC", "classic", "unit"),
        ] {
            match ask(expression, timezone, dialect) {
                Err(Failure::Usage(message)) => {
                    assert!(message.contains(part), "{expression}: {message}")
                }
                other => panic!("{expression}: {other:?}"),
            }
        }
    }
}
