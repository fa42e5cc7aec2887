//! What about a schedule may surprise: clock changes and the two day fields.

use super::calendar::{DAY, Date};
use super::cron::{Cron, Plan};
use super::fields::{ALL_HOURS, Days, Fields};
use super::zone;
use super::{Dialect, kubernetes_next};
use crate::time::Time;

/// Clock changes this far ahead are looked at: each of a year's, wherever one begins.
const AHEAD: i64 = 400 * DAY;
/// More changes than a zone has in that time.
const MOST_CHANGES: usize = 12;
/// Where no date is given and none is printed: the rules of the zone as of 2026.
const REFERENCE: i64 = 1_767_225_600;
/// How far the controller's walk is followed to see whether it loses a day.
const MOST_SLOTS: usize = 500;

/// A change of the wall clock.
struct Change {
    at: i64,
    before: i64,
    after: i64,
}

/// All warnings; with dates where `from` is given.
pub(super) fn of(cron: &Cron, from: Option<Time>) -> Vec<String> {
    let fields = match cron.plan() {
        Plan::Never => return vec!["no date fulfils the expression: it never runs".to_owned()],
        Plan::Delay(_) => return Vec::new(),
        Plan::Fields(fields) => fields,
    };
    let mut warnings = Vec::new();
    warnings.extend(both_day_fields(cron, fields));
    let start = from.map_or(REFERENCE, |from| {
        from.as_seconds().clamp(0, Time::LAST.as_seconds())
    });
    for change in changes(cron, start) {
        let text = if change.after > change.before {
            skipped(cron, fields, &change, from.is_some())
        } else {
            repeated(cron, fields, &change, from.is_some())
        };
        let text = text.or_else(|| lost_day(cron, fields, &change, from.is_some()));
        warnings.extend(text.filter(|text| !warnings.contains(text)));
    }
    warnings
}

fn both_day_fields(cron: &Cron, fields: &Fields) -> Option<String> {
    if !fields.restricts_days() || !fields.restricts_weekdays() {
        return None;
    }
    Some(match (fields.combine, cron.dialect()) {
        (Days::Either, Dialect::Classic) => {
            "day of month and day of week are both set: it runs on days that match either".to_owned()
        }
        (Days::Either, Dialect::Kubernetes) => {
            "day of month and day of week are both set: Kubernetes runs it on days that match either".to_owned()
        }
        (Days::Both, _) => {
            "one of the day fields begins with a star: it runs only on days that match both".to_owned()
        }
    })
}

fn changes(cron: &Cron, start: i64) -> Vec<Change> {
    let zone = cron.zone();
    let mut found = Vec::new();
    let mut at = start;
    for _ in 0..MOST_CHANGES {
        match zone::next_change(zone, at).filter(|next| *next <= start + AHEAD) {
            None => break,
            Some(next) => at = next,
        }
        let (before, after) = (zone::offset(zone, at - 1), zone::offset(zone, at));
        if before != after {
            found.push(Change { at, before, after });
        }
    }
    found
}

/// The first matching local second from `start` to before `end`.
fn first_within(fields: &Fields, start: i64, end: i64) -> Option<i64> {
    fields
        .first_match((start + 59).div_euclid(60))
        .map(|minute| minute * 60)
        .filter(|local| *local < end)
}

/// Whether the job runs in every hour of its days, so that an hour more or less is no news.
fn hourly(fields: &Fields) -> bool {
    fields.hours == ALL_HOURS
}

fn skipped(cron: &Cron, fields: &Fields, change: &Change, dated: bool) -> Option<String> {
    let (start, end) = (change.at + change.before, change.at + change.after);
    let local = first_within(fields, start, end).filter(|_| !hourly(fields))?;
    let consequence = if cron.dialect() == Dialect::Classic && !fields.wildcard {
        format!("it runs at {} instead", clock(end))
    } else {
        "the run is skipped that day".to_owned()
    };
    let when = if dated {
        format!("on {}", date(local))
    } else {
        "when the clocks go forward".to_owned()
    };
    Some(format!(
        "{} does not exist {when} in {}: {consequence}",
        clock(local),
        cron.timezone()
    ))
}

fn repeated(cron: &Cron, fields: &Fields, change: &Change, dated: bool) -> Option<String> {
    let (start, end) = (change.at + change.after, change.at + change.before);
    let local = first_within(fields, start, end).filter(|_| !hourly(fields))?;
    let consequence = if cron.dialect() == Dialect::Classic && !fields.wildcard {
        "it runs once, the first time"
    } else {
        "it runs both times"
    };
    let when = if dated {
        format!("on {}", date(local))
    } else {
        "when the clocks go back".to_owned()
    };
    Some(format!(
        "{} happens twice {when} in {}: {consequence}",
        clock(local),
        cron.timezone()
    ))
}

/// The controller's walk loses runs that do exist where midnight does not, or where the change is not of whole hours.
fn lost_day(cron: &Cron, fields: &Fields, change: &Change, dated: bool) -> Option<String> {
    if cron.dialect() != Dialect::Kubernetes {
        return None;
    }
    let resumed = change.at + change.after;
    let midnight = resumed - resumed.rem_euclid(DAY);
    let local = first_within(fields, resumed, midnight + DAY)?;
    let expected = local - change.after;
    let mut slot = change.at - 8 * DAY;
    for _ in 0..MOST_SLOTS {
        slot = kubernetes_next::next(fields, cron.zone(), slot)?;
        if slot >= expected {
            break;
        }
    }
    let when = if dated {
        format!("on {}", date(local))
    } else {
        "on the day the clocks change".to_owned()
    };
    (slot > expected).then(|| {
        format!(
            "the run at {} {when} in {} is lost: the Kubernetes controller misses it because of the clock change",
            clock(local),
            cron.timezone()
        )
    })
}

fn clock(local: i64) -> String {
    let minute = local.rem_euclid(DAY) / 60;
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

fn date(local: i64) -> String {
    let Date { year, month, day } = Date::of_day(local.div_euclid(DAY));
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Schedule;

    fn dated(expression: &str, zone: &str, dialect: Dialect) -> Vec<String> {
        let schedule = Schedule::cron(expression, zone, dialect).unwrap();
        schedule.warnings_after(Time::parse("2026-01-01T00:00:00Z").unwrap())
    }

    #[test]
    fn a_time_that_is_skipped_or_repeated_is_pointed_out() {
        use Dialect::{Classic, Kubernetes};
        for (expression, dialect, expected) in [
            (
                "30 2 * * *",
                Kubernetes,
                &[
                    "02:30 does not exist on 2026-03-29 in Europe/Berlin: the run is skipped that day",
                    "02:30 happens twice on 2026-10-25 in Europe/Berlin: it runs both times",
                ][..],
            ),
            (
                "30 2 * * *",
                Classic,
                &[
                    "02:30 does not exist on 2026-03-29 in Europe/Berlin: it runs at 03:00 instead",
                    "02:30 happens twice on 2026-10-25 in Europe/Berlin: it runs once, the first time",
                ],
            ),
            ("0 3 * * *", Classic, &[]),
            ("0 * * * *", Kubernetes, &[]),
            ("30 2 * * 1-5", Kubernetes, &[]),
        ] {
            assert_eq!(
                dated(expression, "Europe/Berlin", dialect),
                expected,
                "{expression} {dialect}"
            );
        }
        assert!(dated("30 2 * * *", "UTC", Kubernetes).is_empty());
    }

    #[test]
    fn without_a_date_the_change_is_named() {
        let schedule = Schedule::cron("30 2 * * *", "Europe/Berlin", Dialect::Classic).unwrap();
        assert_eq!(
            schedule.warnings(),
            [
                "02:30 does not exist when the clocks go forward in Europe/Berlin: it runs at 03:00 instead",
                "02:30 happens twice when the clocks go back in Europe/Berlin: it runs once, the first time",
            ]
        );
    }

    #[test]
    fn a_run_that_only_the_controller_loses_is_pointed_out() {
        let lost = dated("0 5 * * *", "Australia/Lord_Howe", Dialect::Kubernetes);
        assert_eq!(lost.len(), 2, "{lost:?}");
        assert!(
            lost[0].starts_with("the run at 05:00 on 2026-04-05 in Australia/Lord_Howe is lost"),
            "{lost:?}"
        );
        let lost = dated("0 9 * * 5", "Africa/Cairo", Dialect::Kubernetes);
        assert!(
            lost[0].starts_with("the run at 09:00 on 2026-04-24"),
            "{lost:?}"
        );
        assert!(dated("0 9 * * 5", "Africa/Cairo", Dialect::Classic).is_empty());
    }

    #[test]
    fn two_day_fields_are_explained_as_the_dialect_combines_them() {
        for (expression, dialect, part) in [
            ("0 0 13 * 5", Dialect::Classic, "match either"),
            ("0 0 */2 * 5", Dialect::Classic, "match both"),
            ("0 0 */2 * 5", Dialect::Kubernetes, "match either"),
            ("0 0 31 2 *", Dialect::Kubernetes, "never runs"),
        ] {
            let warnings = dated(expression, "UTC", dialect);
            assert!(
                warnings.len() == 1 && warnings[0].contains(part),
                "{expression} {dialect}: {warnings:?}"
            );
        }
    }
}
