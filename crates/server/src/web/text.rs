//! Words for times, and safe forms of text that somebody else chose.
//!
//! `systole.js` has the same words for times, since it keeps them current in the browser; change both together.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use systole_core::time::{Span, Time};

use super::views::{Due, State};
use crate::visible::visible_char;

/// A small value that templates hand over by reference, or by reference to a reference.
pub trait Plain<T> {
    /// The value.
    fn plain(&self) -> T;
}

macro_rules! plain {
    ($($type:ty),*) => {$(
        impl Plain<$type> for $type {
            fn plain(&self) -> $type {
                *self
            }
        }

        impl<P: Plain<$type> + ?Sized> Plain<$type> for &P {
            fn plain(&self) -> $type {
                (**self).plain()
            }
        }
    )*};
}

plain!(Time, Span, usize, State, Due);

/// A length of time in two units at most: `45 s`, `14 min`, `2 h 5 min`, `3 d 4 h`, `26 d`.
pub fn words(span: impl Plain<Span>) -> String {
    let seconds = span.plain().as_seconds();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: i64, big_unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{big} {big_unit}")
        } else {
            format!("{big} {big_unit} {small} {small_unit}")
        }
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => two(hours, "h", minutes % 60, "min"),
        86_400..864_000 => two(days, "d", hours % 24, "h"),
        _ => format!("{days} d"),
    }
}

/// As [`words`], with seconds for anything under an hour: what a countdown shows.
pub fn countdown(span: Span) -> String {
    let seconds = span.as_seconds();
    if (60..3600).contains(&seconds) {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        words(span)
    }
}

/// How long something took, with fractions where they matter: `84 ms`, `1.4 s`, `12 s`, `12 min 05 s`.
pub fn took(span: impl Plain<Span>) -> String {
    let span = span.plain();
    let micros = span.as_micros();
    match micros {
        0..1_000_000 => format!("{} ms", micros / 1000),
        1_000_000..10_000_000 => {
            format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000)
        }
        _ if micros % 60_000_000 < 1_000_000 => words(span),
        _ => countdown(span),
    }
}

/// A number and its noun: `1 monitor`, `3 monitors`.
pub fn count(n: impl Plain<usize>, noun: &str) -> String {
    let n = n.plain();
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

/// `2026-11-21 02:14:07 UTC`.
pub fn absolute(time: Time) -> String {
    time.to_jiff().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `2026-11-21T02:14:07Z`, whole seconds: machines and the script read it.
pub fn iso(time: Time) -> String {
    time.to_jiff().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `02:14:07`, with the date before it where that is not today (both in UTC): the page or the title names the zone.
pub fn short(time: Time, now: Time) -> String {
    let (time, now) = (time.to_jiff(), now.to_jiff());
    if time.strftime("%F").to_string() == now.strftime("%F").to_string() {
        time.strftime("%H:%M:%S").to_string()
    } else if time.strftime("%Y").to_string() == now.strftime("%Y").to_string() {
        time.strftime("%-d %b %H:%M").to_string()
    } else {
        time.strftime("%-d %b %Y").to_string()
    }
}

/// The page's `now`, which writes times as `<time>` elements that the script keeps current.
#[derive(Clone, Copy, Debug)]
pub struct Clock(pub Time);

impl Clock {
    /// The page's own time, for the script to set its clock by.
    pub fn now(self) -> String {
        iso(self.0)
    }

    /// Digits that tell one time from another, for an element's id.
    pub fn stamp(self, time: impl Plain<Time>) -> i64 {
        let time = time.plain();
        time.as_micros()
    }

    /// `14 min ago`.
    pub fn ago(self, time: impl Plain<Time>) -> TimeTag {
        let time = time.plain();
        TimeTag::new(time, "ago", format!("{} ago", words(self.0.since(time))))
    }

    /// `14 min`: how long something has lasted.
    pub fn age(self, time: impl Plain<Time>) -> TimeTag {
        let time = time.plain();
        TimeTag::new(time, "age", words(self.0.since(time)))
    }

    /// `in 12 min 05 s`, and `14 min overdue` once it has passed.
    pub fn due(self, time: impl Plain<Time>) -> TimeTag {
        let time = time.plain();
        let text = if time > self.0 {
            format!("in {}", countdown(time.since(self.0)))
        } else {
            format!("{} overdue", words(self.0.since(time)))
        };
        TimeTag::new(time, "due", text)
    }

    /// `5 min 02 s left`, and `none left` once it has passed.
    pub fn left(self, time: impl Plain<Time>) -> TimeTag {
        let time = time.plain();
        let text = if time > self.0 {
            format!("{} left", countdown(time.since(self.0)))
        } else {
            "none left".to_owned()
        };
        TimeTag::new(time, "left", text)
    }

    /// `Sun 29 Nov 02:00 UTC`, which the script says by the reader's clock.
    pub fn there(self, time: impl Plain<Time>) -> TimeTag {
        let time = time.plain();
        let text = time.to_jiff().strftime("%a %-d %b %H:%M UTC").to_string();
        TimeTag::new(time, "", text).by_reader()
    }

    /// `02:14:07`, which does not change.
    pub fn at(self, time: impl Plain<Time>) -> TimeTag {
        let time = time.plain();
        TimeTag::new(time, "", short(time, self.0))
    }
}

/// A `<time>` element. It holds digits and words of ours only, so it needs no escaping.
#[derive(Clone, Debug)]
pub struct TimeTag {
    time: Time,
    relation: &'static str,
    text: String,
    by_reader: bool,
}

impl TimeTag {
    fn new(time: Time, relation: &'static str, text: String) -> TimeTag {
        TimeTag {
            time,
            relation,
            text,
            by_reader: false,
        }
    }

    fn by_reader(self) -> TimeTag {
        TimeTag {
            by_reader: true,
            ..self
        }
    }
}

impl HtmlSafe for TimeTag {}

impl fmt::Display for TimeTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r#"<time datetime="{}" title="{}""#,
            iso(self.time),
            absolute(self.time)
        )?;
        if !self.relation.is_empty() {
            write!(f, r#" data-rel="{}""#, self.relation)?;
        }
        if self.by_reader {
            f.write_str(" data-reader")?;
        }
        write!(f, ">{}</time>", self.text)
    }
}

/// Text that somebody else chose: a name, a message, a label. It prints with control characters and characters that
/// change the reading direction made visible, on one line; templates escape the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Untrusted(String);

impl Untrusted {
    /// As it came, for form fields that are sent back, and for comparing.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// At most `characters` of it, so that one long name does not make a long page.
    pub fn short(&self, characters: usize) -> Untrusted {
        match self.0.char_indices().nth(characters) {
            None => self.clone(),
            Some((end, _)) => Untrusted(format!("{}…", &self.0[..end])),
        }
    }
}

impl<T: Into<String>> From<T> for Untrusted {
    fn from(text: T) -> Untrusted {
        Untrusted(text.into())
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| visible_char(c, f))
    }
}

/// At most `budget` bytes of a page for a body of any bytes: lines and tabs stay, other control characters and bytes that
/// are not UTF-8 become visible. The second value says whether some was left out.
pub fn visible_body(bytes: &[u8], budget: usize) -> (String, bool) {
    let mut out = String::new();
    let mut spent = 0;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let before = out.len();
            let written = if matches!(c, '\n' | '\t') {
                out.write_char(c)
            } else {
                visible_char(c, &mut out)
            };
            // Escaping by the template makes these five bytes long.
            spent += if matches!(c, '<' | '>' | '&' | '"' | '\'') {
                5
            } else {
                out.len() - before
            };
            if written.is_err() || spent > budget {
                out.truncate(before);
                return (out, true);
            }
        }
        for byte in chunk.invalid() {
            spent += 4;
            if spent > budget || write!(out, "\\x{byte:02x}").is_err() {
                return (out, true);
            }
        }
    }
    (out, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_seconds(1_800_000_000);

    #[test]
    fn a_length_of_time_has_two_units_at_most() {
        for (seconds, text, down) in [
            (0, "0 s", "0 s"),
            (59, "59 s", "59 s"),
            (60, "1 min", "1 min 00 s"),
            (725, "12 min", "12 min 05 s"),
            (3600, "1 h", "1 h"),
            (7505, "2 h 5 min", "2 h 5 min"),
            (90_000, "1 d 1 h", "1 d 1 h"),
            (864_000, "10 d", "10 d"),
        ] {
            assert_eq!(words(Span::from_seconds(seconds)), text);
            assert_eq!(countdown(Span::from_seconds(seconds)), down);
        }
        for (millis, text) in [
            (84, "84 ms"),
            (1_450, "1.4 s"),
            (12_900, "12 s"),
            (725_000, "12 min 05 s"),
            (1_500_000, "25 min"),
        ] {
            assert_eq!(took(Span::from_millis(millis)), text);
        }
    }

    #[test]
    fn what_was_due_becomes_overdue() {
        let clock = Clock(NOW);
        let later = NOW + Span::from_seconds(125);
        assert!(
            clock
                .due(later)
                .to_string()
                .ends_with(">in 2 min 05 s</time>")
        );
        assert!(
            Clock(later + Span::from_seconds(60))
                .due(later)
                .to_string()
                .ends_with(">1 min overdue</time>")
        );
        assert!(clock.left(NOW).to_string().contains("none left"));
    }

    #[test]
    fn an_absolute_time_names_its_zone() {
        assert_eq!(
            Clock(NOW).ago(NOW).to_string(),
            r#"<time datetime="2027-01-15T08:00:00Z" title="2027-01-15 08:00:00 UTC" data-rel="ago">0 s ago</time>"#
        );
    }

    #[test]
    fn a_body_of_any_bytes_is_shown_within_its_budget() {
        assert_eq!(
            visible_body(b"a\tb\r\nc\xff\xfe<", 100),
            ("a\tb␍\nc\\xff\\xfe<".to_owned(), false)
        );
        assert_eq!(visible_body(b"abcdef", 3), ("abc".to_owned(), true));
        assert_eq!(visible_body(b"<<<", 12), ("<<".to_owned(), true));
        assert_eq!(visible_body(b"", 3), (String::new(), false));
    }

    #[test]
    fn a_long_name_is_cut_at_a_character() {
        assert_eq!(Untrusted::from("äöüß").short(2), Untrusted::from("äö…"));
        assert_eq!(Untrusted::from("äö").short(2), Untrusted::from("äö"));
    }
}
