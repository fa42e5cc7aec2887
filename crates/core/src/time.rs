//! Instants and durations, in whole microseconds.
//!
//! One resolution everywhere (memory, log, both databases), so that a time read back equals the time written.

use std::fmt;
use std::ops::{Add, Sub};

/// An instant: signed microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

/// A length of time in microseconds, never negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl Time {
    /// Later than every deadline: "never".
    pub const NEVER: Time = Time(i64::MAX);
    /// Before everything.
    pub const MIN: Time = Time(i64::MIN);
    /// The latest instant that has an RFC 3339 form here: the end of the year 9998.
    pub const LAST: Time = Time(253_370_764_799_000_000);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Time {
        Time(micros)
    }

    /// From whole seconds since the epoch; saturates.
    pub const fn from_seconds(seconds: i64) -> Time {
        Time(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time since `earlier`, or zero where `earlier` is later.
    pub const fn since(self, earlier: Time) -> Span {
        let micros = self.0.saturating_sub(earlier.0);
        Span(if micros < 0 { 0 } else { micros })
    }

    /// As jiff's type; instants outside its range are clamped to it.
    pub fn to_jiff(self) -> jiff::Timestamp {
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        })
    }

    /// From jiff's type, sub-microsecond part dropped.
    pub fn from_jiff(timestamp: jiff::Timestamp) -> Time {
        Time(timestamp.as_microsecond())
    }

    /// Reads RFC 3339, for example `2026-11-21T02:10:00Z`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Time, String> {
        text.parse::<jiff::Timestamp>()
            .map(Time::from_jiff)
            .map_err(|_| {
                format!(
                    "{:?} is not an RFC 3339 time such as 2026-11-21T02:10:00Z",
                    shortened(text)
                )
            })
    }
}

/// At most 60 characters of what was given, for messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl Sub<Span> for Time {
    type Output = Time;
    fn sub(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }
}

/// RFC 3339 in UTC, with fractions only where there are any.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Time::NEVER {
            f.write_str("never")
        } else {
            self.to_jiff().fmt(f)
        }
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// The longest period, grace or limit that anything here takes: 400 days.
    pub const LONGEST: Span = Span::from_seconds(400 * 86_400);

    /// From microseconds; a negative number is taken as zero.
    pub const fn from_micros(micros: i64) -> Span {
        Span(if micros < 0 { 0 } else { micros })
    }

    /// From milliseconds.
    pub const fn from_millis(millis: i64) -> Span {
        Span::from_micros(millis.saturating_mul(1_000))
    }

    /// From seconds.
    pub const fn from_seconds(seconds: i64) -> Span {
        Span::from_micros(seconds.saturating_mul(1_000_000))
    }

    /// In microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// In whole seconds, rounded down.
    pub const fn as_seconds(self) -> i64 {
        self.0 / 1_000_000
    }

    /// In seconds with fractions, for people and metrics.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a figure for people; 53 bits of microseconds are 285 years"
    )]
    pub fn as_seconds_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// For waiting.
    pub const fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0.unsigned_abs())
    }

    /// `self / n`; `n` of zero gives zero.
    pub const fn divided_by(self, n: i64) -> Span {
        if n <= 0 { Span::ZERO } else { Span(self.0 / n) }
    }

    /// Reads a duration as people write it: `90s`, `5m`, `1h30m`, `1d`, `30 minutes`; a bare number is seconds.
    ///
    /// A day is 24 hours. Fractions are read (`1.5h`). Nothing longer than [`Span::LONGEST`].
    ///
    /// # Errors
    /// A sentence that names the text and the rule.
    pub fn parse(text: &str) -> Result<Span, String> {
        let wrong = |why: &str| {
            let shown = shortened(text);
            format!("{shown:?} is not a duration: {why}; write it as 90s, 5m, 1h30m or 1d")
        };
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(wrong("it is empty"));
        }
        if trimmed.starts_with('-') {
            return Err(wrong("it is negative"));
        }
        if trimmed.len() > 64 {
            return Err("a duration has at most 64 characters".to_owned());
        }
        let mut rest = trimmed;
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            if number.is_empty() {
                return Err(wrong("a number is missing"));
            }
            let tail = tail.trim_start();
            let letters = tail
                .find(|c: char| !c.is_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let unit_micros = match unit.to_ascii_lowercase().as_str() {
                "" if rest == trimmed && tail.is_empty() => 1_000_000,
                "us" | "µs" => 1,
                "ms" => 1_000,
                "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000,
                "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000,
                "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000,
                "d" | "day" | "days" => 86_400_000_000,
                "w" | "week" | "weeks" => 7 * 86_400_000_000,
                "" => return Err(wrong("a unit is missing")),
                other => return Err(wrong(&format!("{other:?} is not a unit"))),
            };
            let part =
                scaled(number, unit_micros).ok_or_else(|| wrong("the number cannot be read"))?;
            total = total
                .checked_add(part)
                .ok_or_else(|| wrong("it is too long"))?;
            rest = tail.trim_start();
        }
        let span = Span(total);
        if span > Span::LONGEST {
            return Err(wrong("it is longer than 400 days"));
        }
        Ok(span)
    }
}

/// `number` (digits with at most one point) times `unit`, exactly, in integers.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 9 {
        return None;
    }
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut value = whole.checked_mul(unit)?;
    if !fraction.is_empty() {
        let digits: i128 = fraction.parse::<i64>().ok()?.into();
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        value = value.checked_add(i64::try_from(digits * i128::from(unit) / scale).ok()?)?;
    }
    Some(value)
}

/// The canonical form on the wire: `1d`, `1h30m`, `90s` is `1m30s`; fractions of a second as `ms` or `us`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, micros) in [
            ("d", 86_400_000_000),
            ("h", 3_600_000_000),
            ("m", 60_000_000),
            ("s", 1_000_000),
            ("ms", 1_000),
            ("us", 1),
        ] {
            let n = rest / micros;
            if n > 0 {
                write!(f, "{n}{unit}")?;
                rest -= n * micros;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5400),
            ("1d", 86_400),
            ("30 minutes", 1800),
            ("45", 45),
            ("1.5h", 5400),
            ("1h 30m", 5400),
            ("0s", 0),
            ("2w", 1_209_600),
        ] {
            assert_eq!(Span::parse(text), Ok(Span::from_seconds(seconds)), "{text}");
        }
        assert_eq!(Span::parse("1500ms"), Ok(Span::from_millis(1500)));
    }

    #[test]
    fn a_wrong_duration_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("-5m", "negative"),
            ("5x", "not a unit"),
            ("m", "number is missing"),
            ("1h30", "unit is missing"),
            ("9999d", "longer than 400 days"),
            ("1..5h", "cannot be read"),
            ("99999999999999999999s", "cannot be read"),
        ] {
            let error = Span::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn what_was_given_is_repeated_shortened() {
        for text in [" ".repeat(100_000), "\u{7}".repeat(100_000)] {
            for error in [
                Span::parse(&text).unwrap_err(),
                Time::parse(&text).unwrap_err(),
            ] {
                assert!(error.len() < 600, "{} bytes", error.len());
            }
        }
    }

    #[test]
    fn a_duration_written_is_read_back() {
        for micros in [
            0,
            1,
            999,
            1_000,
            1_500_000,
            90_000_000,
            5_400_000_000,
            86_400_000_000 * 3 + 1,
        ] {
            let span = Span::from_micros(micros);
            assert_eq!(Span::parse(&span.to_string()), Ok(span));
        }
    }
}
