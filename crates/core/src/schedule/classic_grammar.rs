//! The cron grammar of Debian's cron as Healthchecks reads it, with `L`, `LW`, `5L` and `MON#2`.

use super::error::ScheduleError;
use super::fields::{ALL_DAYS, ALL_WEEKDAYS, Days, Fields};
use super::kubernetes_grammar::{MONTHS, WEEKDAYS};

const LONGEST: usize = 100;

/// One of the five fields.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Minute,
    Hour,
    Day,
    Month,
    Weekday,
}

/// What a term of a list names: values, and the names for days that depend on the month.
#[derive(Clone, Copy, Default)]
struct Values {
    set: u64,
    weeks: u64,
    last_weekdays: u8,
    last_day: bool,
    last_workday: bool,
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Fields, ScheduleError> {
    check_whole(text)?;
    let mut pieces = text.split_ascii_whitespace();
    let mut next = |kind: Kind| -> Result<(&str, Values), ScheduleError> {
        let piece = pieces.next().unwrap_or("");
        kind.list(text, piece).map(|values| (piece, values))
    };
    let (minute, minutes) = next(Kind::Minute)?;
    let (hour, hours) = next(Kind::Hour)?;
    let (day, days) = next(Kind::Day)?;
    let (_, months) = next(Kind::Month)?;
    let (weekday, weekdays) = next(Kind::Weekday)?;

    let starred = day.starts_with('*') || weekday.starts_with('*');
    let mut fields = Fields::every_minute(if starred { Days::Both } else { Days::Either });
    fields.minutes = minutes.set;
    fields.hours = hours.set as u32;
    fields.days = (days.set as u32) & ALL_DAYS;
    fields.months = months.set as u16;
    // 7 is Sunday again.
    fields.weekdays = (weekdays.set | weekdays.set >> 7) as u8 & ALL_WEEKDAYS;
    fields.weeks = weekdays.weeks;
    fields.last_weekdays = weekdays.last_weekdays;
    fields.last_day = days.last_day;
    fields.last_workday = days.last_workday;
    fields.wildcard = minute.starts_with('*') || hour.starts_with('*');
    if !fields.is_possible() {
        return Err(ScheduleError::in_cron(
            text,
            day,
            format!("no date fulfils this: day of month {day:?} never comes"),
        ));
    }
    Ok(fields)
}

/// What can be said without looking into the fields.
fn check_whole(text: &str) -> Result<(), ScheduleError> {
    let wrong = |piece: &str, message: String| Err(ScheduleError::in_cron(text, piece, message));
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return wrong(
            text,
            "the expression is empty: write five fields, for example 0 2 * * *".to_owned(),
        );
    }
    if text.len() > LONGEST {
        return Err(ScheduleError::new(
            "cron",
            format!("an expression has at most {LONGEST} characters"),
        ));
    }
    if let Some((at, letter)) = text.char_indices().find(|(_, c)| !c.is_ascii()) {
        let piece = &text[at..at + letter.len_utf8()];
        return wrong(piece, format!("{letter:?} has no place in an expression"));
    }
    if trimmed.starts_with('@') {
        return wrong(trimmed, nickname(trimmed));
    }
    if trimmed.contains("TZ=") {
        return wrong(
            trimmed,
            "an expression takes no TZ: name the zone in the time zone field".to_owned(),
        );
    }
    let count = trimmed.split_ascii_whitespace().count();
    if count == 5 {
        return Ok(());
    }
    let hint = match count {
        6 => "; there is no field for seconds, years or a command",
        7.. => "; leave the command out",
        _ => "",
    };
    let extra = trimmed
        .split_ascii_whitespace()
        .nth(5)
        .map_or(trimmed, |sixth| {
            let start = sixth.as_ptr() as usize - text.as_ptr() as usize;
            text[start..].trim_end()
        });
    wrong(
        extra,
        format!(
            "an expression has five fields (minute, hour, day of month, month, day of week), this one has {count}{hint}"
        ),
    )
}

/// What to write instead of an `@` name.
fn nickname(text: &str) -> String {
    let same = match text.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        "@reboot" => return "@reboot has no expected time".to_owned(),
        name if name.starts_with("@every") => {
            return "for a period use the schedule \"every\", for example every 90m".to_owned();
        }
        _ => return format!("{text:?} is not known: write five fields, for example 0 2 * * *"),
    };
    format!("write {same} instead of {text}")
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Minute => "minute",
            Kind::Hour => "hour",
            Kind::Day => "day of month",
            Kind::Month => "month",
            Kind::Weekday => "day of week",
        }
    }

    fn least(self) -> u64 {
        u64::from(matches!(self, Kind::Day | Kind::Month))
    }

    fn most(self) -> u64 {
        match self {
            Kind::Minute => 59,
            Kind::Hour => 23,
            Kind::Day => 31,
            Kind::Month => 12,
            Kind::Weekday => 7,
        }
    }

    fn list(self, text: &str, piece: &str) -> Result<Values, ScheduleError> {
        let mut all = Values::default();
        for term in piece.split(',') {
            let blame = if term.is_empty() { piece } else { term };
            let values = self.term(term).map_err(|why| {
                ScheduleError::in_cron(text, blame, format!("{}: {why}", self.name()))
            })?;
            all.set |= values.set;
            all.weeks |= values.weeks;
            all.last_weekdays |= values.last_weekdays;
            all.last_day |= values.last_day;
            all.last_workday |= values.last_workday;
        }
        Ok(all)
    }

    fn term(self, term: &str) -> Result<Values, String> {
        if self == Kind::Weekday
            && let Some(day) = term.strip_suffix(['L', 'l'])
        {
            return self.last_weekday(term, day);
        }
        if self == Kind::Weekday
            && let Some((day, week)) = term.split_once('#')
        {
            return self.counted_weekday(term, day, week);
        }
        let (range, step) = match term.split_once('/') {
            Some((range, step)) => (range, Some(self.step(term, step)?)),
            None => (term, None),
        };
        if self == Kind::Day && range.eq_ignore_ascii_case("L") {
            return Ok(Values {
                last_day: true,
                ..Values::default()
            });
        }
        if self == Kind::Day && range.eq_ignore_ascii_case("LW") {
            return Ok(Values {
                last_workday: true,
                ..Values::default()
            });
        }
        let (low, mut high) = if range == "*" {
            (self.least(), self.most())
        } else if let Some((low, high)) = range.split_once('-') {
            (self.value(term, low)?, self.value(term, high)?)
        } else {
            let value = self.value(term, range)?;
            (value, value)
        };
        if low > high {
            return Err(format!(
                "{term:?} ends before it begins; write two ranges with a comma between"
            ));
        }
        if step.is_some() && low == high {
            // "5/15": from 5 on.
            high = self.most();
        }
        let mut values = Values::default();
        let mut value = low;
        while value <= high {
            values.set |= 1 << value;
            value = value.saturating_add(step.unwrap_or(1));
        }
        Ok(values)
    }

    fn last_weekday(self, term: &str, day: &str) -> Result<Values, String> {
        if day.is_empty() || !day.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "{term:?} is not known; the last Friday of the month is 5L"
            ));
        }
        let day = self.value(term, day)? % 7;
        Ok(Values {
            last_weekdays: 1 << day,
            ..Values::default()
        })
    }

    fn counted_weekday(self, term: &str, day: &str, week: &str) -> Result<Values, String> {
        let day = self.value(term, day)? % 7;
        match number(week) {
            Some(week @ 1..=5) => Ok(Values {
                weeks: 1 << (day * 5 + week - 1),
                ..Values::default()
            }),
            _ => Err(format!("{term:?} must end in #1 to #5")),
        }
    }

    fn step(self, term: &str, step: &str) -> Result<u64, String> {
        number(step)
            .filter(|step| *step > 0)
            .ok_or_else(|| format!("the step in {term:?} must be a number from 1 on"))
    }

    /// A name or a number within the bounds.
    fn value(self, term: &str, piece: &str) -> Result<u64, String> {
        let names: &[&str] = match self {
            Kind::Month => &MONTHS,
            Kind::Weekday => &WEEKDAYS,
            _ => &[],
        };
        if let Some(index) = names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(piece))
        {
            return Ok(self.least() + index as u64);
        }
        let (least, most) = (self.least(), self.most());
        match number(piece) {
            Some(value) if (least..=most).contains(&value) => Ok(value),
            Some(_) => Err(format!(
                "{piece} is out of range, it goes from {least} to {most}"
            )),
            None if piece.is_empty() => Err(if term.is_empty() {
                "a value is missing beside a comma".to_owned()
            } else {
                format!("a value is missing in {term:?}")
            }),
            None if piece == "?" => Err("\"?\" is not known; write *".to_owned()),
            None if piece.eq_ignore_ascii_case("h") => {
                Err("\"H\" is Jenkins's; write a number".to_owned())
            }
            None => match (names.first(), names.last()) {
                (Some(first), Some(last)) => Err(format!(
                    "{piece:?} is not known; write {least} to {most} or {first} to {last}"
                )),
                _ => Err(format!("{piece:?} is not a number from {least} to {most}")),
            },
        }
    }
}

/// Digits only; too many of them are a number too, and out of every range.
fn number(piece: &str) -> Option<u64> {
    let digits = !piece.is_empty() && piece.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| piece.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_at_its_part() {
        for (text, blamed, part) in [
            (
                "0 24 * * *",
                "24",
                "hour: 24 is out of range, it goes from 0 to 23",
            ),
            ("0 0 * * 8", "8", "from 0 to 7"),
            ("0 0 * * 1,fri-mon", "fri-mon", "ends before it begins"),
            ("0 0 30 2 *", "30", "no date fulfils"),
            ("0 0 */31 2 1#2", "*/31", "no date fulfils"),
            ("0 0 * january *", "january", "jan to dec"),
            ("? 0 * * *", "?", "write *"),
            ("H 0 * * *", "H", "Jenkins"),
            ("5,,6 0 * * *", "5,,6", "beside a comma"),
            ("5- 0 * * *", "5-", "missing in \"5-\""),
            ("*/0 0 * * *", "*/0", "from 1 on"),
            ("0 0 * * MONL", "MONL", "5L"),
            ("0 0 * * MON#6", "MON#6", "#1 to #5"),
            ("0 0 0 2 * *", "*", "no field for seconds"),
            (
                "0 2 * * * /bin/backup now",
                "/bin/backup now",
                "leave the command out",
            ),
            ("0 2 * *", "0 2 * *", "this one has 4"),
            ("@daily", "@daily", "write 0 0 * * * instead"),
            ("@every 5m", "@every 5m", "schedule \"every\""),
            (
                "CRON_TZ=UTC 0 0 * * *",
                "CRON_TZ=UTC 0 0 * * *",
                "time zone field",
            ),
            ("0 2 * * ü", "ü", "no place"),
            ("  ", "  ", "empty"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.field, "cron");
            assert!(error.message.contains(part), "{text}: {}", error.message);
            assert_eq!(&text[error.at.unwrap()], blamed, "{text}");
        }
        assert!(
            parse(&"1,".repeat(60))
                .unwrap_err()
                .message
                .contains("at most 100")
        );
    }
}
