//! Times as people say them.

use systole_core::time::{Span, Time};

/// What the clock shows; the binary is where it may be asked.
pub fn now() -> Time {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Time::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// A length of time in its two largest units: `3 h 12 min`, `45 s`, `2 d`.
pub fn length(span: Span) -> String {
    const UNITS: [(&str, i64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let seconds = span.as_seconds();
    let Some(largest) = UNITS.iter().position(|(_, size)| seconds >= *size) else {
        return "0 s".to_owned();
    };
    let (unit, size) = UNITS[largest];
    let mut said = format!("{} {unit}", seconds / size);
    if let Some((next_unit, next_size)) = UNITS.get(largest + 1) {
        let rest = seconds % size / next_size;
        if rest > 0 {
            said.push_str(&format!(" {rest} {next_unit}"));
        }
    }
    said
}

/// A time as seen from now: `in 3 h 12 min`, `45 s ago`, `now`.
pub fn relative(time: Time, now: Time) -> String {
    if time.since(now).as_seconds() > 0 {
        format!("in {}", length(time.since(now)))
    } else if now.since(time).as_seconds() > 0 {
        format!("{} ago", length(now.since(time)))
    } else {
        "now".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_said_in_two_units_at_most() {
        for (seconds, expected) in [
            (0, "0 s"),
            (45, "45 s"),
            (60, "1 min"),
            (90, "1 min 30 s"),
            (3_600, "1 h"),
            (11_520, "3 h 12 min"),
            (86_400, "1 d"),
            (90_061, "1 d 1 h"),
            (86_460, "1 d"),
        ] {
            assert_eq!(length(Span::from_seconds(seconds)), expected);
        }
    }

    #[test]
    fn a_time_is_seen_from_now() {
        let now = Time::from_seconds(1_000_000);
        for (seconds, expected) in [
            (1_011_520, "in 3 h 12 min"),
            (999_955, "45 s ago"),
            (1_000_000, "now"),
        ] {
            assert_eq!(relative(Time::from_seconds(seconds), now), expected);
        }
    }
}
