//! The drawings: recent outcomes as a row of strokes, runs as bars on a time axis.
//!
//! They hold numbers and words of ours only. Styles are not allowed inline, so geometry is in attributes and colour in classes;
//! an outcome differs in shape too: a failure has a flag above its bar, a missed run is a dashed outline.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;
use systole_core::time::{Span, Time};

use super::text::{absolute, count, took, words};
use super::views::{Outcome, Run};

/// A finished SVG element.
#[derive(Clone, Debug)]
pub struct Svg(String);

impl HtmlSafe for Svg {}

impl Svg {
    /// An element that holds nothing of others.
    pub(super) const fn finished(svg: String) -> Svg {
        Svg(svg)
    }
}

impl fmt::Display for Svg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const OUTCOMES: [(Outcome, &str, &str); 5] = [
    (Outcome::Success, "ok", "succeeded"),
    (Outcome::Failure, "bad", "failed"),
    (Outcome::Overran, "over", "overran"),
    (Outcome::Missed, "gone", "missed"),
    (Outcome::Running, "open", "running"),
];

fn class(outcome: Outcome) -> &'static str {
    OUTCOMES
        .iter()
        .find(|(o, ..)| *o == outcome)
        .map_or("", |(_, class, _)| class)
}

fn word(outcome: Outcome) -> &'static str {
    OUTCOMES
        .iter()
        .find(|(o, ..)| *o == outcome)
        .map_or("", |(.., word)| word)
}

/// `17 succeeded, 2 failed, 1 missed`.
pub fn tally(outcomes: &[Outcome]) -> String {
    let parts: Vec<String> = OUTCOMES
        .iter()
        .map(|(outcome, _, word)| (outcomes.iter().filter(|o| *o == outcome).count(), word))
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    parts.join(", ")
}

/// The last runs as strokes, newest right; nothing where there are none.
///
/// A stretch of equal outcomes is one thick dashed line: the style sheet cuts it into strokes, and long lists stay small.
pub fn beats(outcomes: &[Outcome]) -> Svg {
    const PLACES: usize = 20;
    let outcomes = &outcomes[outcomes.len().saturating_sub(PLACES)..];
    if outcomes.is_empty() {
        return Svg(String::new());
    }
    let mut svg = format!(
        r#"<svg class="beats" width="100" height="20" role="img" aria-label="Last {}: {}">"#,
        if outcomes.len() == 1 {
            "run".to_owned()
        } else {
            count(outcomes.len(), "run")
        },
        tally(outcomes),
    );
    for (outcome, class, _) in OUTCOMES {
        let y = match outcome {
            Outcome::Success => 14,
            Outcome::Running => 18,
            Outcome::Failure | Outcome::Overran | Outcome::Missed => 10,
        };
        let mut path = String::new();
        let mut place = PLACES - outcomes.len();
        for same in outcomes.chunk_by(|a, b| a == b) {
            if same[0] == outcome {
                let _ = write!(path, "M{} {y}H{}", 5 * place, 5 * (place + same.len()) - 1);
            }
            place += same.len();
        }
        if !path.is_empty() {
            let _ = write!(svg, r#"<path class="{class}" d="{path}"/>"#);
        }
    }
    svg.push_str("</svg>");
    Svg(svg)
}

/// Runs on a time axis.
#[derive(Clone, Debug)]
pub struct RunChart {
    /// The scale at its left, which keeps its size.
    pub scale: Svg,
    /// The bars, which stretch to the width there is.
    pub plot: Svg,
    /// Where the axis begins.
    pub start: Time,
    /// Where it ends.
    pub end: Time,
    /// The same in words.
    pub summary: String,
    /// Said below it where the limit is far above all runs, and so is not drawn.
    pub limit_above: Option<String>,
}

const WIDTH: i64 = 720;
const BASE: i64 = 124;
const TALLEST: i64 = 110;

/// The chart of `runs` (oldest first); nothing where there are none.
pub fn run_chart(runs: &[Run], slots: &[Time], limit: Option<Span>, now: Time) -> Option<RunChart> {
    let start = runs
        .iter()
        .map(|run| run.at)
        .chain(slots.iter().copied())
        .min()?;
    runs.first()?;
    let end = runs
        .iter()
        .map(|run| run.at + run.duration.unwrap_or_default())
        .chain(slots.iter().copied())
        .fold(now, Time::max);
    let longest = runs.iter().filter_map(|run| run.duration).max();
    let drawn_limit = limit.filter(|limit| {
        longest.is_some_and(|longest| limit.as_micros() / 3 <= longest.as_micros())
    });
    let top = longest
        .into_iter()
        .chain(drawn_limit)
        .max()
        .unwrap_or_default();
    let axis = Axis {
        start,
        length: end.since(start).as_micros().max(1),
        top: top.as_micros().max(1),
    };
    let outcomes: Vec<Outcome> = runs.iter().map(|run| run.outcome).collect();
    let mut summary = format!("{}: {}", count(runs.len(), "run"), tally(&outcomes));
    if let Some(longest) = longest {
        // One that is running has taken nothing yet.
        let ended = runs
            .iter()
            .filter(|run| run.outcome != Outcome::Running)
            .filter_map(|run| run.duration);
        if ended.max() == Some(longest) {
            let _ = write!(summary, "; the longest took {}", took(longest));
        }
    }
    if let Some(limit) = limit {
        let _ = write!(summary, "; limit {}", took(limit));
    }
    Some(RunChart {
        scale: axis.scale(longest, drawn_limit),
        plot: axis.plot(runs, slots, drawn_limit, &summary),
        start,
        end,
        summary,
        limit_above: limit
            .filter(|_| drawn_limit.is_none() && longest.is_some())
            .map(took),
    })
}

struct Axis {
    start: Time,
    length: i64,
    top: i64,
}

impl Axis {
    fn x(&self, time: Time) -> i64 {
        part(WIDTH - 8, time.since(self.start).as_micros(), self.length) + 4
    }

    fn height(&self, duration: Span) -> i64 {
        part(TALLEST, duration.as_micros(), self.top).max(3)
    }

    fn scale(&self, longest: Option<Span>, limit: Option<Span>) -> Svg {
        let mut svg =
            String::from(r#"<svg class="scale" width="64" height="140" aria-hidden="true">"#);
        let mut text = |y: i64, class: &str, text: &str| {
            let _ = write!(
                svg,
                r#"<text x="60" y="{}" text-anchor="end" class="{class}">{text}</text>"#,
                y + 4
            );
        };
        text(BASE, "", "0");
        let limit_at = limit.map(|limit| BASE - self.height(limit));
        if let (Some(limit), Some(at)) = (limit, limit_at) {
            text(at, "limit", &rough(limit));
        }
        if let Some(longest) = longest {
            let at = BASE - self.height(longest);
            if limit_at.is_none_or(|limit_at| (limit_at - at).abs() >= 14) {
                text(at, "", &rough(longest));
            }
        }
        svg.push_str("</svg>");
        Svg(svg)
    }

    fn plot(&self, runs: &[Run], slots: &[Time], limit: Option<Span>, summary: &str) -> Svg {
        let mut svg = format!(
            r#"<svg class="plot" viewBox="0 0 {WIDTH} 140" preserveAspectRatio="none" role="img" aria-label="{summary}"><path class="axis" d="M0 {BASE}.5H{WIDTH}"/>"#
        );
        let width =
            (WIDTH * 6 / 10 / i64::try_from(runs.len()).unwrap_or(WIDTH).max(1)).clamp(2, 16);
        for run in runs {
            self.bar(run, width, &mut svg);
        }
        let ticks = slots
            .iter()
            .take(120)
            .fold(String::new(), |mut ticks, slot| {
                let _ = write!(ticks, "M{} 128v8", self.x(*slot));
                ticks
            });
        if !ticks.is_empty() {
            let _ = write!(svg, r#"<path class="slot" d="{ticks}"/>"#);
        }
        if let Some(limit) = limit {
            let _ = write!(
                svg,
                r#"<path class="limit" d="M0 {}H{WIDTH}"/>"#,
                BASE - self.height(limit)
            );
        }
        svg.push_str("</svg>");
        Svg(svg)
    }

    fn bar(&self, run: &Run, width: i64, svg: &mut String) {
        let stub = if self.top > 1 { 6 } else { 48 };
        let height = match (run.outcome, run.duration) {
            (Outcome::Missed, _) => TALLEST,
            (_, Some(duration)) => self.height(duration),
            (_, None) => stub,
        };
        let x = (self.x(run.at) - width / 2).clamp(0, WIDTH - width);
        let class = class(run.outcome);
        let y = BASE - height;
        let rect = format!(r#"<rect class="{class}" x="{x}" width="{width}""#);
        let _ = write!(
            svg,
            r#"{rect} y="{y}" height="{height}"><title>{}: {}"#,
            absolute(run.at),
            word(run.outcome)
        );
        if let Some(duration) = run.duration {
            let _ = write!(svg, ", {}", took(duration));
        }
        svg.push_str("</title></rect>");
        if matches!(run.outcome, Outcome::Failure | Outcome::Overran) {
            let _ = write!(svg, r#"{rect} y="{}" height="5"/>"#, y - 8);
        }
    }
}

/// A length that fits beside the axis.
fn rough(span: Span) -> String {
    if span.as_seconds() < 60 {
        took(span)
    } else {
        words(span)
    }
}

/// `whole * share / of`, without overflow.
fn part(whole: i64, share: i64, of: i64) -> i64 {
    i64::try_from(i128::from(whole) * i128::from(share) / i128::from(of.max(1))).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_seconds(1_800_000_000);

    fn run(hours_ago: i64, seconds: Option<i64>, outcome: Outcome) -> Run {
        Run {
            at: NOW - Span::from_seconds(hours_ago * 3600),
            duration: seconds.map(Span::from_seconds),
            outcome,
        }
    }

    #[test]
    fn the_newest_beat_is_at_the_right_and_each_outcome_has_its_shape() {
        let svg = beats(&[Outcome::Success, Outcome::Missed]).to_string();
        assert!(svg.contains(r#"aria-label="Last 2 runs: 1 succeeded, 1 missed""#));
        assert!(
            svg.contains(r#"class="ok" d="M90 14H94""#)
                && svg.contains(r#"class="gone" d="M95 10H99""#),
            "{svg}"
        );
        assert!(beats(&[]).to_string().is_empty());
    }

    #[test]
    fn bars_stay_inside_and_the_limit_is_drawn_where_it_can_be_seen() {
        let runs = [
            run(5, Some(60), Outcome::Success),
            run(3, Some(200), Outcome::Overran),
            run(1, None, Outcome::Missed),
        ];
        let chart = run_chart(&runs, &[NOW], Some(Span::from_seconds(180)), NOW).unwrap();
        assert_eq!(
            chart.summary,
            "3 runs: 1 succeeded, 1 overran, 1 missed; the longest took 3 min 20 s; limit 3 min"
        );
        assert!(
            chart
                .plot
                .to_string()
                .contains(r#"class="limit" d="M0 25H720""#),
            "{}",
            chart.plot
        );
        assert!(
            !chart.plot.to_string().contains("=\"-"),
            "nothing is left of or above the drawing: {}",
            chart.plot
        );

        let far = run_chart(&runs, &[], Some(Span::from_seconds(86_400)), NOW).unwrap();
        assert_eq!(far.limit_above.as_deref(), Some("1 d"));
        assert!(!far.plot.to_string().contains("class=\"limit\""));
    }

    #[test]
    fn no_runs_make_no_chart() {
        assert!(run_chart(&[], &[NOW], None, NOW).is_none());
        assert!(run_chart(&[run(0, None, Outcome::Success)], &[], None, NOW).is_some());
    }
}
