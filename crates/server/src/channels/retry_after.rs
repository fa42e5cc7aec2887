//! The `Retry-After` header.

use systole_core::time::{Span, Time};

/// Reads a `Retry-After`: whole seconds, or the date of RFC 9110. Anything else counts as absent.
pub fn parse(text: &str, now: Time) -> Option<Span> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean "very long"; the policy caps it.
        return Some(Span::from_seconds(text.parse().unwrap_or(i64::MAX)));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Time::from_jiff(date.timestamp()).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nonsense_is_absent() {
        let now = Time::parse("2026-11-21T02:10:00Z").unwrap();
        let seconds = |n| Some(Span::from_seconds(n));
        for (text, expected) in [
            ("120", seconds(120)),
            (" 0 ", seconds(0)),
            ("Sat, 21 Nov 2026 02:11:30 GMT", seconds(90)),
            ("Sat, 21 Nov 2026 02:00:00 GMT", seconds(0)),
            ("", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(parse(text, now), expected, "{text:?}");
        }
        assert!(parse("99999999999999999999999", now) > seconds(1_000_000));
    }
}
