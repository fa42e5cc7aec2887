//! The last days as a row of bars.
//!
//! As in [`super::draw`], colour is in classes, and shapes differ too: a day that was well is a whole bar, one with an
//! incident has a part cut off from above, one of which nothing is known is a small frame at the foot.

use std::fmt::Write;

use systole_core::time::{Span, Time};

use super::draw::Svg;
use super::text::{count, took};
use super::views::Day;

const STEP: i64 = 8;
const WIDE: i64 = 6;
const TALL: i64 = 32;
/// What is drawn of a day that was down, however short that was.
const LEAST: i64 = 9;
const FRAME: i64 = 6;

/// A row of days.
#[derive(Clone, Debug)]
pub struct DayChart {
    /// The bars, which stretch to the width there is.
    pub plot: Svg,
    /// The first day.
    pub start: Time,
    /// What part of the last 7, 30 and 90 days it was well, said shortly.
    pub uptime: String,
    /// The same in words.
    pub summary: String,
}

/// Days, the oldest first; nothing where nothing is known of any.
pub fn day_chart(days: &[Day]) -> Option<DayChart> {
    let start = days.first()?.start;
    days.iter().find(|day| day.is_known())?;
    let summary = summary(days);
    Some(DayChart {
        plot: plot(days, &summary),
        start,
        uptime: uptimes(days),
        summary,
    })
}

fn uptimes(days: &[Day]) -> String {
    let mut said = Vec::new();
    for last in [7, 30, 90] {
        let of = &days[days.len().saturating_sub(last)..];
        if let Some(percent) = percent(of) {
            said.push(format!("{last} d: {percent}"));
        }
        // More days would say the same again.
        if days.len() <= last {
            break;
        }
    }
    said.join(", ")
}

/// `99.95 %` of the time that is known, rounded down: 100 % means that nothing was wrong.
fn percent(days: &[Day]) -> Option<String> {
    let sum = |of: fn(&Day) -> Span| -> i64 { days.iter().map(|day| of(day).as_micros()).sum() };
    let (up, down) = (sum(|day| day.up), sum(|day| day.down));
    let hundredths = i128::from(up) * 10_000 / i128::from((up + down).max(1));
    (up + down > 0).then(|| {
        if down == 0 {
            "100 %".to_owned()
        } else {
            format!("{}.{:02} %", hundredths / 100, hundredths % 100)
        }
    })
}

fn date(time: Time) -> String {
    time.to_jiff().strftime("%-d %b").to_string()
}

fn summary(days: &[Day]) -> String {
    let mut text = format!(
        "Last {}: up {} of the time that is known",
        count(days.len(), "day"),
        percent(days).unwrap_or_default(),
    );
    let down: Vec<&Day> = days.iter().filter(|day| day.down > Span::ZERO).collect();
    match down.as_slice() {
        [] => text.push_str("; never down"),
        [one] => _ = write!(text, "; down on {}", date(one.start)),
        [.., last] => {
            _ = write!(
                text,
                "; down on {}, the last {}",
                count(down.len(), "day"),
                date(last.start)
            );
        }
    }
    let unknown = days.iter().filter(|day| !day.is_known()).count();
    if unknown > 0 {
        _ = write!(text, "; nothing is known of {}", count(unknown, "day"));
    }
    text
}

fn plot(days: &[Day], summary: &str) -> Svg {
    let width = STEP * i64::try_from(days.len()).unwrap_or(1);
    let mut svg = format!(
        r#"<svg class="days" viewBox="0 0 {width} {TALL}" preserveAspectRatio="none" role="img" aria-label="{summary}">"#
    );
    let (mut well, mut unknown, mut bad) = (String::new(), String::new(), String::new());
    let mut x = 1;
    for day in days {
        if !day.is_known() {
            let y = TALL - FRAME - 1;
            _ = write!(unknown, "M{x} {y}h{WIDE}v{FRAME}h-{WIDE}z");
        } else if day.down == Span::ZERO {
            _ = write!(well, "M{x} 0h{WIDE}v{TALL}h-{WIDE}z");
        } else {
            let known = day.up.as_micros() + day.down.as_micros();
            let part = i128::from(TALL) * i128::from(day.down.as_micros()) / i128::from(known);
            let part = i64::try_from(part).unwrap_or(TALL).clamp(LEAST, TALL);
            _ = write!(
                bad,
                r#"<path class="bad" d="M{x} 0h{WIDE}v{part}h-{WIDE}z"><title>{}: down {}</title></path>"#,
                date(day.start),
                took(day.down),
            );
            // A gap between the two says the same without colour.
            let rest = TALL - part - 2;
            if rest > 0 {
                _ = write!(well, "M{x} {TALL}h{WIDE}v-{rest}h-{WIDE}z");
            }
        }
        x += STEP;
    }
    for (class, path) in [("ok", well), ("unknown", unknown)] {
        if !path.is_empty() {
            _ = write!(svg, r#"<path class="{class}" d="{path}"/>"#);
        }
    }
    svg.push_str(&bad);
    svg.push_str("</svg>");
    Svg::finished(svg)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hours up and down of days in a row.
    fn days(of: &[(i64, i64)]) -> Vec<Day> {
        let hours = |n: i64| Span::from_seconds(n * 3_600);
        (0..)
            .zip(of)
            .map(|(index, (up, down))| Day {
                start: Time::from_seconds(1_799_971_200 + index * 86_400),
                up: hours(*up),
                down: hours(*down),
            })
            .collect()
    }

    #[test]
    fn the_words_say_what_the_drawing_shows() {
        for (given, expected, uptime) in [
            (
                &[(24, 0), (24, 0)][..],
                "Last 2 days: up 100 % of the time that is known; never down",
                "7 d: 100 %",
            ),
            (
                &[(0, 0), (18, 6), (24, 0)],
                "Last 3 days: up 87.50 % of the time that is known; down on 16 Jan; nothing is known of 1 day",
                "7 d: 87.50 %",
            ),
            (
                &[(0, 24), (0, 0), (0, 24)],
                "Last 3 days: up 0.00 % of the time that is known; down on 2 days, the last 17 Jan; nothing is known of 1 day",
                "7 d: 0.00 %",
            ),
        ] {
            let chart = day_chart(&days(given)).unwrap();
            assert_eq!(
                (&*chart.summary, &*chart.uptime),
                (expected, uptime),
                "{given:?}"
            );
            assert!(chart.plot.to_string().contains(expected));
        }
    }

    #[test]
    fn each_kind_of_day_has_its_shape() {
        let svg = day_chart(&days(&[(0, 0), (24, 0), (23, 1)]))
            .unwrap()
            .plot
            .to_string();
        for shape in [
            r#"class="unknown" d="M1 25h6v6h-6z""#,
            r#"class="ok" d="M9 0h6v32h-6zM17 32h6v-21h-6z""#,
            r#"class="bad" d="M17 0h6v9h-6z"><title>17 Jan: down 1 h"#,
        ] {
            assert!(svg.contains(shape), "{shape} in {svg}");
        }
        assert!(day_chart(&days(&[(0, 0)])).is_none(), "nothing is known");
        assert!(day_chart(&[]).is_none());
    }

    #[test]
    fn longer_spans_are_said_where_there_are_so_many_days() {
        let many = vec![(24, 0); 90];
        let chart = day_chart(&days(&many)).unwrap();
        assert_eq!(chart.uptime, "7 d: 100 %, 30 d: 100 %, 90 d: 100 %");
    }
}
