//! The cron grammar of Kubernetes: `ParseStandard` of robfig/cron v3, oddities included.
//!
//! What it accepts must be accepted here, since it runs in clusters; so `*-10`, `5,,6` and `*/61` are read as it reads
//! them.

use super::cron::Plan;
use super::error::ScheduleError;
use super::fields::{ALL_DAYS, ALL_HOURS, ALL_MINUTES, ALL_MONTHS, ALL_WEEKDAYS, Days, Fields};

/// Kubernetes has no limit; every value of every field listed takes under 500.
const LONGEST: usize = 1_000;

pub(super) const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
pub(super) const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One of the five fields.
struct Field {
    name: &'static str,
    least: u64,
    most: u64,
    /// Names for `least` and what follows it.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        least: 0,
        most: 59,
        names: &[],
    },
    Field {
        name: "hour",
        least: 0,
        most: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        least: 1,
        most: 31,
        names: &[],
    },
    Field {
        name: "month",
        least: 1,
        most: 12,
        names: &MONTHS,
    },
    Field {
        name: "day of week",
        least: 0,
        most: 6,
        names: &WEEKDAYS,
    },
];

/// The values of a field, and whether a star stands for "not restricted".
#[derive(Clone, Copy, Default)]
struct Values {
    set: u64,
    star: bool,
}

/// Splits `TZ=zone ` or `CRON_TZ=zone ` off. An empty zone is UTC, as in Go.
pub(super) fn split_zone(specification: &str) -> Result<(&str, &str), ScheduleError> {
    let Some(rest) = specification
        .strip_prefix("TZ=")
        .or_else(|| specification.strip_prefix("CRON_TZ="))
    else {
        return Ok(("UTC", specification));
    };
    let Some((zone, rest)) = rest.split_once(' ') else {
        return Err(ScheduleError::in_cron(
            specification,
            specification,
            "after the time zone, a blank and a schedule",
        ));
    };
    Ok((if zone.is_empty() { "UTC" } else { zone }, rest.trim()))
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Plan, ScheduleError> {
    if text.trim().is_empty() {
        return Err(ScheduleError::in_cron(
            text,
            text,
            "the expression is empty: write five fields, for example 0 2 * * *",
        ));
    }
    if text.len() > LONGEST {
        return Err(ScheduleError::new(
            "cron",
            format!("an expression has at most {LONGEST} characters"),
        ));
    }
    if let Some(at) = text.find("TZ") {
        let piece = &text[at..at + 2];
        return Err(ScheduleError::in_cron(
            text,
            piece,
            "Kubernetes takes no TZ or CRON_TZ in a schedule: name the zone in the time zone field",
        ));
    }
    let plan = if text.starts_with('@') {
        descriptor(text)?
    } else {
        Plan::Fields(five_fields(text)?)
    };
    match plan {
        Plan::Fields(fields) if !fields.is_possible() => Ok(Plan::Never),
        plan => Ok(plan),
    }
}

fn descriptor(text: &str) -> Result<Plan, ScheduleError> {
    if let Some(duration) = text.strip_prefix("@every ") {
        let nanoseconds = go_duration(duration).map_err(|why| {
            ScheduleError::in_cron(
                text,
                duration,
                format!("{duration:?} is not a duration: {why}"),
            )
        })?;
        return Ok(Plan::Delay((nanoseconds / 1_000_000_000).max(1)));
    }
    let same = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            return Err(ScheduleError::in_cron(
                text,
                text,
                format!(
                    "{text:?} is not known to Kubernetes: it knows @yearly, @monthly, @weekly, @daily, @hourly and \
                     @every 90m, in small letters and without blanks around"
                ),
            ));
        }
    };
    five_fields(same).map(Plan::Fields)
}

fn five_fields(text: &str) -> Result<Fields, ScheduleError> {
    let mut values = [Values::default(); 5];
    let mut count = 0;
    for piece in text.split_whitespace() {
        if let (Some(field), Some(slot)) = (FIELDS.get(count), values.get_mut(count)) {
            *slot = field.read(text, piece)?;
        }
        count += 1;
    }
    if count != 5 {
        let blame = text.split_whitespace().nth(5).map_or(text, |extra| {
            let start = extra.as_ptr() as usize - text.as_ptr() as usize;
            text[start..].trim_end()
        });
        let hint = if count == 6 {
            "; there is no field for seconds or years"
        } else {
            ""
        };
        return Err(ScheduleError::in_cron(
            text,
            blame,
            format!(
                "an expression has five fields (minute, hour, day of month, month, day of week), this one has \
                 {count}{hint}"
            ),
        ));
    }
    let [minute, hour, day, month, weekday] = values;
    let combine = if day.star || weekday.star {
        Days::Both
    } else {
        Days::Either
    };
    let mut fields = Fields::every_minute(combine);
    fields.minutes = minute.set & ALL_MINUTES;
    fields.hours = (hour.set & u64::from(ALL_HOURS)) as u32;
    fields.days = (day.set & u64::from(ALL_DAYS)) as u32;
    fields.months = (month.set & u64::from(ALL_MONTHS)) as u16;
    fields.weekdays = (weekday.set & u64::from(ALL_WEEKDAYS)) as u8;
    Ok(fields)
}

impl Field {
    fn read(&self, text: &str, piece: &str) -> Result<Values, ScheduleError> {
        let mut all = Values::default();
        for element in piece.split(',').filter(|element| !element.is_empty()) {
            let values = self.element(text, element)?;
            all.set |= values.set;
            all.star |= values.star;
        }
        Ok(all)
    }

    /// `low-high/step` in all its forms.
    fn element(&self, text: &str, element: &str) -> Result<Values, ScheduleError> {
        let wrong =
            |piece: &str, message: String| Err(ScheduleError::in_cron(text, piece, message));
        let (range, step) = match element.split_once('/') {
            None => (element, None),
            Some((_, step)) if step.contains('/') => {
                return wrong(element, format!("{element:?} has more than one step"));
            }
            Some((range, step)) => (range, Some(step)),
        };
        let mut parts = range.split('-');
        let first = parts.next().unwrap_or("");
        let second = parts.next();
        let mut values = Values::default();
        let (low, mut high) = if first == "*" || first == "?" {
            values.star = true;
            (self.least, self.most)
        } else {
            let low = self.value(text, first, element)?;
            if parts.next().is_some() {
                return wrong(element, format!("{element:?} has more than one hyphen"));
            }
            (
                low,
                second.map_or(Ok(low), |high| self.value(text, high, element))?,
            )
        };
        let step = match step {
            None => 1,
            Some(digits) => {
                if second.is_none() {
                    high = self.most;
                }
                let step = self.number(text, digits, element)?;
                if step == 0 {
                    return wrong(
                        element,
                        format!("the step in {element:?} must be 1 or more"),
                    );
                }
                values.star &= step == 1;
                step
            }
        };
        if low < self.least || high > self.most {
            let sunday = if self.most == 6 && high == 7 {
                "; Sunday is 0 in Kubernetes"
            } else {
                ""
            };
            let Field {
                name, least, most, ..
            } = self;
            return wrong(
                element,
                format!("{element:?} is out of range: {name} goes from {least} to {most}{sunday}"),
            );
        }
        if low > high {
            return wrong(
                element,
                format!("{element:?} ends before it begins: write two ranges with a comma between"),
            );
        }
        let mut value = low;
        while value <= high {
            values.set |= 1 << value;
            value = value.saturating_add(step);
        }
        Ok(values)
    }

    fn value(&self, text: &str, piece: &str, element: &str) -> Result<u64, ScheduleError> {
        match self
            .names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(piece))
        {
            Some(index) => Ok(self.least + index as u64),
            None => self.number(text, piece, element),
        }
    }

    /// A number as Go's `Atoi` takes it, not negative.
    fn number(&self, text: &str, piece: &str, element: &str) -> Result<u64, ScheduleError> {
        let read = piece
            .parse::<i64>()
            .ok()
            .and_then(|number| u64::try_from(number).ok());
        read.ok_or_else(|| {
            let name = self.name;
            let blame = if piece.is_empty() { element } else { piece };
            let classic_only = piece
                .bytes()
                .any(|b| matches!(b, b'L' | b'W' | b'#' | b'l' | b'w'))
                && piece
                    .bytes()
                    .all(|b| b.is_ascii_digit() || matches!(b, b'L' | b'W' | b'#' | b'l' | b'w'));
            let message = if classic_only {
                format!("{piece:?} is not known to Kubernetes, which has no L, W or #")
            } else if piece.is_empty() {
                format!("a number is missing in {element:?}")
            } else if self.names.is_empty() {
                format!(
                    "{piece:?} is not a number: {name} goes from {} to {}",
                    self.least, self.most
                )
            } else {
                let (first, last) = (
                    self.names.first().unwrap_or(&""),
                    self.names.last().unwrap_or(&""),
                );
                format!(
                    "{piece:?} is not a {name}: write a number from {} to {}, or {first} to {last}",
                    self.least, self.most
                )
            };
            ScheduleError::in_cron(text, blame, message)
        })
    }
}

/// A duration as Go's `ParseDuration` takes it, in nanoseconds.
fn go_duration(text: &str) -> Result<i64, &'static str> {
    const LIMIT: u64 = 1 << 63;
    const TOO_LONG: &str = "it is too long";
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("it is empty");
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let whole;
        (whole, rest) = digits(rest);
        let mut fraction = "";
        if let Some(after_point) = rest.strip_prefix('.') {
            (fraction, rest) = digits(after_point);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err("a number is missing; write it as 90s, 5m or 1h30m");
        }
        let end = rest
            .find(|c: char| c == '.' || c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (unit, tail) = rest.split_at(end);
        rest = tail;
        let unit: u64 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" => return Err("a unit is missing; write it as 90s, 5m or 1h30m"),
            _ => return Err("the units are h, m, s, ms, us and ns"),
        };
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| TOO_LONG)?
        };
        let part = whole
            .checked_mul(unit)
            .filter(|part| *part <= LIMIT)
            .ok_or(TOO_LONG)?;
        let part = part
            .checked_add(fraction_of(fraction, unit))
            .filter(|part| *part <= LIMIT)
            .ok_or(TOO_LONG)?;
        total = total
            .checked_add(part)
            .filter(|total| *total <= LIMIT)
            .ok_or(TOO_LONG)?;
    }
    if negative {
        return Ok(i64::try_from(total).map_or(i64::MIN, |total| -total));
    }
    i64::try_from(total).map_err(|_| TOO_LONG)
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    )
}

/// `0.fraction` of `unit`. Only whole seconds are kept of the sum, so further digits than these do not matter.
fn fraction_of(fraction: &str, unit: u64) -> u64 {
    let (mut value, mut scale): (u128, u128) = (0, 1);
    for digit in fraction.bytes().take(18) {
        value = value * 10 + u128::from(digit - b'0');
        scale *= 10;
    }
    u64::try_from(value * u128::from(unit) / scale).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("1h30m", Some(5_400)),
            ("1.5h", Some(5_400)),
            (".5m", Some(30)),
            ("5.m", Some(300)),
            ("500ms", Some(1)),
            ("0", Some(1)),
            ("-5m", Some(1)),
            ("+5m", Some(300)),
            ("1m0.999s", Some(60)),
            ("1d", None),
            ("", None),
            (".", None),
            ("5", None),
            ("5 m", None),
            ("1h 5m", None),
            ("-", None),
            ("2562047h", Some(9_223_369_200)),
            ("2562048h", None),
            ("99999999999999999999s", None),
        ] {
            let read = parse(&format!("@every {text}")).ok();
            assert_eq!(read, seconds.map(Plan::Delay), "{text:?}");
        }
    }

    #[test]
    fn an_error_points_at_its_part() {
        for (text, blamed, part) in [
            ("0 24 * * *", "24", "hour goes from 0 to 23"),
            ("0 0 * * 7", "7", "Sunday is 0"),
            ("0 0 * * 1,fri-mon", "fri-mon", "ends before it begins"),
            ("0 0 L * *", "L", "no L, W or #"),
            ("0 0 * january *", "january", "not a month"),
            ("x 0 * * *", "x", "not a number"),
            ("5- 0 * * *", "5-", "missing"),
            ("*/0 0 * * *", "*/0", "1 or more"),
            ("*/2/3 0 * * *", "*/2/3", "more than one step"),
            ("1-2-3 0 * * *", "1-2-3", "more than one hyphen"),
            ("0 0 1 1 * 2026", "2026", "this one has 6"),
            ("TZ=UTC 0 0 * * *", "TZ", "time zone field"),
            ("@reboot", "@reboot", "not known"),
            ("@every 1d", "1d", "units"),
            ("", "", "empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
            assert_eq!(&text[error.at.unwrap()], blamed, "{text}");
        }
    }
}
