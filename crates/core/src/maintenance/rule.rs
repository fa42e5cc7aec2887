//! Reading a recurrence rule: the RRULE of RFC 5545, as far as windows of hours and days need it.

use crate::schedule::ScheduleError;

/// Longer rules are not written by people.
const LONGEST_TEXT: usize = 500;
/// The most occurrences that COUNT may ask for; they are counted once, when the rule is read.
const MOST_OCCURRENCES: u32 = 1_000;
/// The longest step between two periods.
const LONGEST_INTERVAL: i64 = 1_000;

const READ: &str = "read are FREQ, INTERVAL, COUNT, UNTIL, BYMONTH, BYMONTHDAY, BYDAY, BYHOUR, BYMINUTE, BYSETPOS and WKST";

/// Weekdays in the order of their numbers: Sunday is 0.
pub(super) const WEEKDAYS: [&str; 7] = ["SU", "MO", "TU", "WE", "TH", "FR", "SA"];

/// The period that a rule counts in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// When a rule ends by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ends {
    Never,
    /// After so many occurrences.
    After(u32),
    /// The last instant at which one may begin, in seconds of the wall clock.
    Local(i64),
    /// The same in seconds since the epoch.
    Utc(i64),
}

/// A weekday, maybe the n-th of its month or year; counted from the end where n is negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct WeekdayPart {
    pub(super) ordinal: Option<i64>,
    pub(super) weekday: u32,
}

/// A rule as it was written. Empty lists were left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Rule {
    pub(super) frequency: Frequency,
    pub(super) interval: i64,
    pub(super) ends: Ends,
    pub(super) months: Vec<u32>,
    pub(super) month_days: Vec<i64>,
    pub(super) weekdays: Vec<WeekdayPart>,
    pub(super) hours: Vec<i64>,
    pub(super) minutes: Vec<i64>,
    pub(super) positions: Vec<i64>,
    pub(super) week_start: u32,
}

/// Reads a rule, with or without `RRULE:` in front.
pub(super) fn parse(text: &str) -> Result<Rule, ScheduleError> {
    let whole = |message: String| Err(ScheduleError::new("rrule", message));
    if text.len() > LONGEST_TEXT {
        return whole(format!("a rule has at most {LONGEST_TEXT} characters"));
    }
    let rule = text.trim();
    let rule = match rule.get(..6) {
        Some(prefix) if prefix.eq_ignore_ascii_case("RRULE:") => &rule[6..],
        _ => rule,
    };
    if rule.is_empty() {
        return whole("a rule is missing, for example FREQ=WEEKLY;BYDAY=SU".to_owned());
    }
    let mut parts = Parts {
        text,
        seen: Vec::new(),
    };
    let mut frequency = None;
    let mut read = Rule {
        frequency: Frequency::Daily,
        interval: 1,
        ends: Ends::Never,
        months: Vec::new(),
        month_days: Vec::new(),
        weekdays: Vec::new(),
        hours: Vec::new(),
        minutes: Vec::new(),
        positions: Vec::new(),
        week_start: 1,
    };
    for part in rule.split(';') {
        let (name, value) = parts.open(part)?;
        match name.as_str() {
            "FREQ" => frequency = Some(parts.frequency(value)?),
            "INTERVAL" => read.interval = parts.number(value, 1, LONGEST_INTERVAL)?,
            "COUNT" | "UNTIL" if read.ends != Ends::Never => {
                return Err(parts.wrong(part, "COUNT and UNTIL exclude each other"));
            }
            "COUNT" => read.ends = Ends::After(parts.count(value)?),
            "UNTIL" => read.ends = parts.until(value)?,
            "BYMONTH" => read.months = parts.list(value, |parts, item| parts.month(item))?,
            "BYMONTHDAY" => {
                read.month_days = parts.list(value, |parts, item| parts.signed(item, 31))?
            }
            "BYDAY" => read.weekdays = parts.list(value, |parts, item| parts.weekday(item))?,
            "BYHOUR" => read.hours = parts.list(value, |parts, item| parts.number(item, 0, 23))?,
            "BYMINUTE" => {
                read.minutes = parts.list(value, |parts, item| parts.number(item, 0, 59))?
            }
            "BYSETPOS" => {
                read.positions = parts.list(value, |parts, item| parts.signed(item, 366))?
            }
            "WKST" => read.week_start = parts.plain_weekday(value)?,
            "BYSECOND" | "BYWEEKNO" | "BYYEARDAY" => {
                return Err(parts.wrong(part, format!("{name} is not read here; {READ}")));
            }
            _ => return Err(parts.wrong(part, format!("{name:?} is not a part of a rule; {READ}"))),
        }
    }
    read.frequency = match frequency {
        Some(frequency) => frequency,
        None => {
            return whole(
                "FREQ is missing: write FREQ=DAILY, WEEKLY, MONTHLY or YEARLY".to_owned(),
            );
        }
    };
    parts.together(&read)?;
    Ok(read)
}

/// The text and what was read of it.
struct Parts<'t> {
    text: &'t str,
    seen: Vec<String>,
}

impl<'t> Parts<'t> {
    fn wrong(&self, piece: &str, message: impl Into<String>) -> ScheduleError {
        ScheduleError::within("rrule", self.text, piece, message)
    }

    /// Splits `NAME=VALUE`.
    fn open(&mut self, part: &'t str) -> Result<(String, &'t str), ScheduleError> {
        if part.contains(['\n', '\r']) {
            return Err(self.wrong(
                part,
                "one rule alone: DTSTART, EXDATE and further rules have no place in it",
            ));
        }
        let Some((name, value)) = part.split_once('=') else {
            return Err(self.wrong(
                part,
                "a part of a rule is NAME=VALUE; parts are separated by semicolons",
            ));
        };
        let name = name.trim().to_ascii_uppercase();
        let value = value.trim();
        if value.is_empty() {
            return Err(self.wrong(part, format!("{name} has no value")));
        }
        if self.seen.contains(&name) {
            return Err(self.wrong(part, format!("{name} is given twice")));
        }
        self.seen.push(name.clone());
        Ok((name, value))
    }

    fn frequency(&self, value: &str) -> Result<Frequency, ScheduleError> {
        match value.to_ascii_uppercase().as_str() {
            "DAILY" => Ok(Frequency::Daily),
            "WEEKLY" => Ok(Frequency::Weekly),
            "MONTHLY" => Ok(Frequency::Monthly),
            "YEARLY" => Ok(Frequency::Yearly),
            "HOURLY" => Err(self.wrong(
                value,
                "HOURLY is not read here: write FREQ=DAILY with BYHOUR",
            )),
            _ => Err(self.wrong(value, "a frequency is DAILY, WEEKLY, MONTHLY or YEARLY")),
        }
    }

    fn list<T: PartialEq>(
        &self,
        value: &'t str,
        read: impl Fn(&Self, &'t str) -> Result<T, ScheduleError>,
    ) -> Result<Vec<T>, ScheduleError> {
        let mut items = Vec::new();
        for item in value.split(',') {
            let read = read(self, item.trim())?;
            if !items.contains(&read) {
                items.push(read);
            }
        }
        Ok(items)
    }

    fn number(&self, item: &str, least: i64, most: i64) -> Result<i64, ScheduleError> {
        let digits = !item.is_empty() && item.bytes().all(|byte| byte.is_ascii_digit());
        let number = item.parse().ok().filter(|_| digits);
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| self.wrong(item, format!("must be a number from {least} to {most}")))
    }

    /// A number from 1 to `most`, or from -1 to -`most`.
    fn signed(&self, item: &str, most: i64) -> Result<i64, ScheduleError> {
        let (sign, digits) = match item.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, item.strip_prefix('+').unwrap_or(item)),
        };
        let number = self.number(digits, 1, most);
        number.map(|number| sign * number).map_err(|_| {
            self.wrong(
                item,
                format!("must be 1 to {most}, or -1 to -{most} counted from the end"),
            )
        })
    }

    fn month(&self, item: &str) -> Result<u32, ScheduleError> {
        let month = self.number(item, 1, 12)?;
        Ok(u32::try_from(month).unwrap_or(1))
    }

    fn count(&self, value: &str) -> Result<u32, ScheduleError> {
        let count = self.number(value, 1, MOST_OCCURRENCES.into())?;
        Ok(u32::try_from(count).unwrap_or(MOST_OCCURRENCES))
    }

    fn plain_weekday(&self, item: &str) -> Result<u32, ScheduleError> {
        (0..)
            .zip(WEEKDAYS)
            .find(|(_, name)| name.eq_ignore_ascii_case(item))
            .map(|(number, _)| number)
            .ok_or_else(|| self.wrong(item, "a weekday is MO, TU, WE, TH, FR, SA or SU"))
    }

    fn weekday(&self, item: &'t str) -> Result<WeekdayPart, ScheduleError> {
        let letters = item
            .find(|c: char| c.is_alphabetic())
            .ok_or_else(|| self.wrong(item, "a weekday is MO, TU, WE, TH, FR, SA or SU, with a number such as 1MO or -1FR for the n-th"))?;
        let (ordinal, name) = item.split_at(letters);
        let ordinal = match ordinal {
            "" => None,
            number => Some(self.signed(number, 53)?),
        };
        Ok(WeekdayPart {
            ordinal,
            weekday: self.plain_weekday(name)?,
        })
    }

    fn until(&self, value: &str) -> Result<Ends, ScheduleError> {
        let wrong = || {
            self.wrong(value, "must be a day such as 20271231, a local time such as 20271231T235959, or one in UTC with Z")
        };
        let field = |from: usize, to: usize| {
            let digits = value.get(from..to)?;
            digits
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| digits.parse::<i64>().ok())?
        };
        let day = || super::local::day(field(0, 4)?, field(4, 6)?, field(6, 8)?);
        let time = || {
            let (hour, minute, second) = (field(9, 11)?, field(11, 13)?, field(13, 15)?);
            (value.get(8..9)?.eq_ignore_ascii_case("T") && hour < 24 && minute < 60 && second < 60)
                .then_some(hour * 3_600 + minute * 60 + second)
        };
        let midnight = day().ok_or_else(wrong)?;
        match value.len() {
            // The whole day is meant.
            8 => Ok(Ends::Local(midnight + 86_399)),
            15 => time()
                .map(|time| Ends::Local(midnight + time))
                .ok_or_else(wrong),
            16 if value.ends_with(['Z', 'z']) => time()
                .map(|time| Ends::Utc(midnight + time))
                .ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }

    /// What the parts say of one another.
    fn together(&self, rule: &Rule) -> Result<(), ScheduleError> {
        let whole = |message: &str| Err(ScheduleError::new("rrule", message));
        let counts_weekdays = rule.weekdays.iter().any(|part| part.ordinal.is_some());
        match rule.frequency {
            Frequency::Daily | Frequency::Weekly if counts_weekdays => {
                return whole(
                    "the n-th weekday, such as 1MO, needs FREQ=MONTHLY or YEARLY to count in",
                );
            }
            Frequency::Weekly if !rule.month_days.is_empty() => {
                return whole(
                    "BYMONTHDAY does not go with FREQ=WEEKLY: a week has no days of a month; use MONTHLY or DAILY",
                );
            }
            _ => {}
        }
        let is_set_empty = rule.months.is_empty()
            && rule.month_days.is_empty()
            && rule.weekdays.is_empty()
            && rule.hours.is_empty()
            && rule.minutes.is_empty();
        if !rule.positions.is_empty() && is_set_empty {
            return whole(
                "BYSETPOS picks from what another BY part lists: add one, for example BYDAY=MO,TU,WE,TH,FR",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_part_by_part() {
        let rule =
            parse(" rrule:FREQ=monthly;INTERVAL=2;BYDAY=-1fr,2MO; BYHOUR=3,4;WKST=SU;COUNT=7")
                .unwrap();
        assert_eq!(rule.frequency, Frequency::Monthly);
        assert_eq!(
            (rule.interval, rule.week_start, rule.ends),
            (2, 0, Ends::After(7))
        );
        let part = |ordinal, weekday| WeekdayPart {
            ordinal: Some(ordinal),
            weekday,
        };
        assert_eq!(rule.weekdays, [part(-1, 5), part(2, 1)]);
        assert_eq!(rule.hours, [3, 4]);
        for (until, ends) in [
            ("19700102", Ends::Local(2 * 86_400 - 1)),
            ("19700102T000001", Ends::Local(86_401)),
            ("19700102t000001z", Ends::Utc(86_401)),
        ] {
            assert_eq!(
                parse(&format!("FREQ=DAILY;UNTIL={until}")).unwrap().ends,
                ends,
                "{until}"
            );
        }
    }

    #[test]
    fn what_is_not_read_is_refused_and_pointed_at() {
        for (text, part, carets) in [
            ("", "is missing", None),
            ("BYDAY=MO", "FREQ is missing", None),
            ("FREQ=FORTNIGHTLY", "a frequency is", Some("FORTNIGHTLY")),
            ("FREQ=HOURLY", "DAILY with BYHOUR", Some("HOURLY")),
            ("FREQ=SECONDLY", "a frequency is", Some("SECONDLY")),
            (
                "FREQ=DAILY;BYSECOND=3",
                "BYSECOND is not read here; read are FREQ",
                Some("BYSECOND=3"),
            ),
            (
                "FREQ=YEARLY;BYWEEKNO=20",
                "not read here",
                Some("BYWEEKNO=20"),
            ),
            (
                "FREQ=DAILY;COLOR=RED",
                "not a part of a rule",
                Some("COLOR=RED"),
            ),
            ("FREQ=DAILY;", "NAME=VALUE", Some("")),
            ("FREQ=DAILY;INTERVAL=0", "from 1 to 1000", Some("0")),
            ("FREQ=DAILY;INTERVAL=+2", "from 1 to 1000", Some("+2")),
            ("FREQ=DAILY;COUNT=1001", "from 1 to 1000", Some("1001")),
            (
                "FREQ=DAILY;COUNT=2;UNTIL=20270101",
                "exclude each other",
                Some("UNTIL=20270101"),
            ),
            ("FREQ=DAILY;FREQ=DAILY", "given twice", Some("FREQ=DAILY")),
            ("FREQ=DAILY;BYHOUR=24", "from 0 to 23", Some("24")),
            ("FREQ=DAILY;BYHOUR=", "has no value", Some("BYHOUR=")),
            ("FREQ=MONTHLY;BYMONTHDAY=0", "1 to 31", Some("0")),
            ("FREQ=MONTHLY;BYMONTHDAY=-32", "1 to 31", Some("-32")),
            ("FREQ=MONTHLY;BYDAY=1XX", "a weekday is", Some("XX")),
            ("FREQ=MONTHLY;BYDAY=9", "a weekday is", Some("9")),
            ("FREQ=WEEKLY;BYDAY=1MO", "needs FREQ=MONTHLY", None),
            (
                "FREQ=WEEKLY;BYMONTHDAY=1",
                "does not go with FREQ=WEEKLY",
                None,
            ),
            ("FREQ=MONTHLY;BYSETPOS=1", "picks from", None),
            (
                "FREQ=DAILY;UNTIL=20270230",
                "must be a day",
                Some("20270230"),
            ),
            (
                "FREQ=DAILY;UNTIL=20270101T2500000",
                "must be a day",
                Some("20270101T2500000"),
            ),
            (
                "FREQ=DAILY\nEXDATE=20270101",
                "one rule alone",
                Some("FREQ=DAILY\nEXDATE=20270101"),
            ),
            ("FREQ=DAILY;BYDAY=ß", "a weekday is", Some("ß")),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(part), "{text}: {}", error.message);
            assert_eq!(error.at.clone().map(|at| &text[at]), carets, "{text}");
            assert_eq!(error.field, "rrule");
        }
        assert!(
            parse(&"FREQ=DAILY;".repeat(60))
                .unwrap_err()
                .message
                .contains("500 characters")
        );
    }
}
