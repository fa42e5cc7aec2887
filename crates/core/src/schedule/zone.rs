//! Time zones by name, and offsets as whole seconds.

use std::sync::LazyLock;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::calendar::DAY;
use super::error::ScheduleError;

/// The database inside the binary: the host's is of unknown age and may be missing.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

const LONGEST_NAME: usize = 64;

/// Finds the zone called exactly `name`.
pub(crate) fn find(name: &str) -> Result<TimeZone, ScheduleError> {
    let wrong = |message: String| {
        Err(ScheduleError {
            field: "timezone",
            message,
            at: Some(0..name.len()),
        })
    };
    if name.is_empty() {
        return wrong(
            "a time zone is missing: write UTC or a name such as Europe/Berlin".to_owned(),
        );
    }
    if name.eq_ignore_ascii_case("local") {
        return wrong(
            "\"Local\" depends on the machine: name the time zone, for example Europe/Berlin"
                .to_owned(),
        );
    }
    if name.len() > LONGEST_NAME {
        return wrong(format!(
            "a time zone's name has at most {LONGEST_NAME} characters"
        ));
    }
    // jiff ignores case; Kubernetes and most other software do not.
    let found = DATABASE.get(name).ok().filter(|zone| !zone.is_unknown());
    match found {
        Some(zone) if zone.iana_name() == Some(name) => Ok(zone),
        Some(zone) => wrong(format!(
            "unknown time zone {name:?}: did you mean {}?",
            zone.iana_name().unwrap_or("UTC")
        )),
        None => wrong(match nearest(name) {
            Some(near) => format!("unknown time zone {name:?}: did you mean {near}?"),
            None => format!(
                "unknown time zone {name:?}: write UTC or an IANA name such as Europe/Berlin"
            ),
        }),
    }
}

/// The name that was probably meant: the same city, or a few letters off.
fn nearest(name: &str) -> Option<String> {
    let wanted = name.trim().replace(' ', "_").to_ascii_lowercase();
    if wanted.len() < 4 {
        return None;
    }
    let city_only = !wanted.contains('/');
    let mut best: Option<(usize, String)> = None;
    for candidate in DATABASE.available() {
        let lower = candidate.as_str().to_ascii_lowercase();
        let city = lower.rsplit('/').next().unwrap_or(&lower);
        let distance = edits(&wanted, if city_only { city } else { &lower });
        if distance <= wanted.chars().count() / 4
            && best.as_ref().is_none_or(|(least, _)| distance < *least)
        {
            best = Some((distance, candidate.as_str().to_owned()));
        }
    }
    best.map(|(_, name)| name)
}

/// How many letters must be added, removed or changed to make one text of the other.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(l != *r);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

fn timestamp(unix: i64) -> Timestamp {
    Timestamp::from_second(unix).unwrap_or(if unix < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// The offset from UTC in seconds at an instant.
pub(crate) fn offset(zone: &TimeZone, unix: i64) -> i64 {
    i64::from(zone.to_offset(timestamp(unix)).seconds())
}

/// The first instant after `unix` at which the zone's rules change.
pub(crate) fn next_change(zone: &TimeZone, unix: i64) -> Option<i64> {
    zone.following(timestamp(unix))
        .next()
        .map(|change| change.timestamp().as_second())
}

/// What a local time, in seconds as if it were UTC, means in the zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// One instant.
    Once(i64),
    /// Two instants, the earlier first.
    Twice(i64, i64),
    /// None: the clock jumped over it at this instant.
    Skipped(i64),
}

/// Two changes of one zone lie days apart (a test looks), so a day to either side shows the offsets around a local time.
pub(crate) fn meaning(zone: &TimeZone, local: i64) -> Meaning {
    let (before, after) = (offset(zone, local - DAY), offset(zone, local + DAY));
    if before == after {
        return Meaning::Once(local - before);
    }
    let (early, late) = (local - before.max(after), local - before.min(after));
    match (
        offset(zone, early) == local - early,
        offset(zone, late) == local - late,
    ) {
        (true, true) => Meaning::Twice(early, late),
        (true, false) => Meaning::Once(early),
        (false, true) => Meaning::Once(late),
        (false, false) => Meaning::Skipped(next_change(zone, early).unwrap_or(late)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_is_answered_with_the_right_one() {
        for (name, part) in [
            ("europe/rome", "did you mean Europe/Rome?"),
            ("Europe/Belrin", "did you mean Europe/Berlin?"),
            ("Berlin", "did you mean Europe/Berlin?"),
            ("New York", "did you mean America/New_York?"),
            ("utc", "did you mean UTC?"),
            ("", "is missing"),
            ("Local", "name the time zone"),
            ("LOCAL", "name the time zone"),
            ("Etc/Unknown", "unknown time zone"),
            ("Qqqqqqqqqqqq/Xxxxx", "write UTC or an IANA name"),
            ("Zürich", "unknown time zone"),
            ("../../etc/passwd", "unknown time zone"),
            ("\u{0}", "unknown time zone"),
        ] {
            let error = find(name).unwrap_err();
            assert_eq!(error.field, "timezone");
            assert!(error.message.contains(part), "{name:?}: {}", error.message);
        }
        assert!(
            find(&"x".repeat(10_000))
                .unwrap_err()
                .message
                .contains("at most 64")
        );
    }

    #[test]
    fn every_name_of_the_database_is_found_as_itself() {
        for name in DATABASE.available() {
            let name = name.as_str();
            if name != "Etc/Unknown" {
                assert_eq!(find(name).unwrap().iana_name(), Some(name));
            }
        }
    }

    /// [`meaning`] and the jumps of the Kubernetes evaluation rest on this.
    #[test]
    fn no_zone_changes_its_offset_twice_within_four_days() {
        for name in DATABASE.available() {
            let zone = DATABASE.get(name.as_str()).unwrap();
            let mut previous = i64::MIN / 2;
            let mut at = 0;
            while let Some(change) = next_change(&zone, at).filter(|change| *change < 4_000_000_000)
            {
                assert!(change - previous > 4 * DAY, "{} at {change}", name.as_str());
                (previous, at) = (change, change);
            }
        }
    }

    #[test]
    fn a_local_time_means_what_jiff_says() {
        for name in [
            "Europe/Berlin",
            "Australia/Lord_Howe",
            "Pacific/Apia",
            "America/Havana",
            "Africa/Cairo",
            "UTC",
        ] {
            let zone = find(name).unwrap();
            for local in (1_300_000_000_i64..1_800_000_000).step_by(1_800) {
                let civil = timestamp(local).to_zoned(TimeZone::UTC).datetime();
                let ambiguous = zone.to_ambiguous_timestamp(civil);
                let (early, late) = (
                    ambiguous.earlier().unwrap().as_second(),
                    ambiguous.later().unwrap().as_second(),
                );
                match meaning(&zone, local) {
                    Meaning::Once(at) => assert!(at == early && at == late, "{name} {civil}"),
                    Meaning::Twice(a, b) => {
                        assert!(a == early && b == late && a != b, "{name} {civil}")
                    }
                    Meaning::Skipped(at) => assert!(
                        early < at && at <= late,
                        "{name} {civil} {early} {at} {late}"
                    ),
                }
            }
        }
    }
}
