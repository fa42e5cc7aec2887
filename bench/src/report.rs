//! What is printed: each figure with its goal beside it.

use std::io::Write;

/// One line to standard output; a closed pipe is not an error worth a word.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Which side of a goal is good.
#[derive(Clone, Copy, Debug)]
pub enum Better {
    Lower,
    Higher,
}

/// What a figure has to reach, and what it would like to.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    pub better: Better,
    pub must: Option<f64>,
    pub aim: Option<f64>,
}

impl Goal {
    pub const NONE: Goal = Goal {
        better: Better::Lower,
        must: None,
        aim: None,
    };

    pub const fn at_most(must: Option<f64>, aim: Option<f64>) -> Goal {
        Goal {
            better: Better::Lower,
            must,
            aim,
        }
    }

    pub const fn at_least(must: Option<f64>, aim: Option<f64>) -> Goal {
        Goal {
            better: Better::Higher,
            must,
            aim,
        }
    }

    fn holds(&self, value: f64, limit: f64) -> bool {
        match self.better {
            Better::Lower => value <= limit,
            Better::Higher => value >= limit,
        }
    }

    fn sign(self) -> &'static str {
        match self.better {
            Better::Lower => "<=",
            Better::Higher => ">=",
        }
    }
}

/// Lower quartile, median, upper quartile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    pub q1: f64,
    pub median: f64,
    pub q3: f64,
}

/// `None` of no values.
pub fn quartiles(values: &[f64]) -> Option<Quartiles> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |quarter: usize| {
        let position = (sorted.len() - 1) * quarter;
        let (index, part) = (position / 4, position % 4);
        let next = sorted[(index + 1).min(sorted.len() - 1)];
        let part = part as f64 / 4.0;
        sorted[index] + (next - sorted[index]) * part
    };
    (!sorted.is_empty()).then(|| Quartiles {
        q1: at(1),
        median: at(2),
        q3: at(3),
    })
}

struct Row {
    figure: String,
    measured: String,
    goal: String,
    verdict: &'static str,
    missed: bool,
}

/// The table of a run.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Report {
    /// A figure that was measured once.
    pub fn figure(&mut self, figure: impl Into<String>, value: f64, unit: &str, goal: Goal) {
        self.push(figure.into(), value, number(value, unit), unit, goal);
    }

    /// A figure that was measured several times: judged by its median.
    pub fn figures(&mut self, figure: impl Into<String>, values: &[f64], unit: &str, goal: Goal) {
        let Some(found) = quartiles(values) else {
            return self.absent(figure, "no run gave it", goal);
        };
        let measured = format!(
            "{} [{} {}]",
            number(found.median, unit),
            plain(found.q1),
            plain(found.q3)
        );
        self.push(figure.into(), found.median, measured, unit, goal);
    }

    /// A figure that could not be measured here, and why.
    pub fn absent(&mut self, figure: impl Into<String>, why: &str, goal: Goal) {
        self.rows.push(Row {
            figure: figure.into(),
            measured: format!("not measured: {why}"),
            goal: goal_text(goal, ""),
            verdict: "unknown",
            missed: false,
        });
    }

    /// A sentence under the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn push(&mut self, figure: String, value: f64, measured: String, unit: &str, goal: Goal) {
        let must = goal.must.map(|limit| goal.holds(value, limit));
        let aim = goal.aim.map(|limit| goal.holds(value, limit));
        let verdict = match (must, aim) {
            (Some(false), _) => "MISSES",
            (Some(true), Some(false)) => "holds, aim missed",
            (Some(true), None) => "holds",
            (_, Some(true)) => "holds, aim too",
            (None, Some(false)) => "aim missed",
            (None, None) => "",
        };
        let verdict = if must.is_none() && aim == Some(true) {
            "aim holds"
        } else {
            verdict
        };
        self.rows.push(Row {
            figure,
            measured,
            goal: goal_text(goal, unit),
            verdict,
            missed: must == Some(false),
        });
    }

    /// Prints the table; whether every figure that must hold does.
    pub fn print(&self) -> bool {
        let header = ["figure", "measured (median [quartiles])", "goal", "verdict"];
        let cells: Vec<[&str; 4]> = std::iter::once(header)
            .chain(
                self.rows
                    .iter()
                    .map(|row| [&*row.figure, &*row.measured, &*row.goal, row.verdict]),
            )
            .collect();
        let width = |column: usize| {
            cells
                .iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let [a, b, c] = [width(0), width(1), width(2)];
        for [figure, measured, goal, verdict] in &cells {
            say(format!("{figure:a$}  {measured:b$}  {goal:c$}  {verdict}").trim_end());
        }
        for note in &self.notes {
            say(&format!("* {note}"));
        }
        !self.rows.iter().any(|row| row.missed)
    }
}

fn goal_text(goal: Goal, unit: &str) -> String {
    let limit = |value: Option<f64>, word: &str| {
        value.map(|value| format!("{word} {} {}", goal.sign(), number(value, unit)))
    };
    [limit(goal.must, "must"), limit(goal.aim, "aim")]
        .into_iter()
        .flatten()
        .collect::<Vec<String>>()
        .join(", ")
}

fn number(value: f64, unit: &str) -> String {
    if unit.is_empty() {
        plain(value)
    } else {
        format!("{} {unit}", plain(value))
    }
}

/// Three significant digits, thousands apart.
fn plain(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 1_000.0 => return grouped(value),
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 || size == 0.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

fn grouped(value: f64) -> String {
    let text = format!("{value:.0}");
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", &*text), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_sorted_values() {
        assert_eq!(quartiles(&[]), None);
        assert_eq!(
            quartiles(&[3.0]),
            Some(Quartiles {
                q1: 3.0,
                median: 3.0,
                q3: 3.0
            })
        );
        assert_eq!(
            quartiles(&[4.0, 1.0, 2.0, 3.0]),
            Some(Quartiles {
                q1: 1.75,
                median: 2.5,
                q3: 3.25
            })
        );
        assert_eq!(
            quartiles(&[5.0, 4.0, 3.0, 2.0, 1.0]),
            Some(Quartiles {
                q1: 2.0,
                median: 3.0,
                q3: 4.0
            })
        );
    }

    #[test]
    fn a_figure_is_judged_by_both_its_goals() {
        let lower = |must, aim| Goal::at_most(must, aim);
        for (value, goal, verdict, all_hold) in [
            (1.4, lower(Some(2.0), Some(1.5)), "holds, aim too", true),
            (1.5, lower(Some(2.0), Some(1.5)), "holds, aim too", true),
            (1.9, lower(Some(2.0), Some(1.5)), "holds, aim missed", true),
            (2.1, lower(Some(2.0), Some(1.5)), "MISSES", false),
            (1.9, lower(Some(2.0), None), "holds", true),
            (1.9, lower(None, Some(2.0)), "aim holds", true),
            (2.1, lower(None, Some(2.0)), "aim missed", true),
            (0.8, Goal::at_least(None, Some(0.75)), "aim holds", true),
            (0.7, Goal::at_least(None, Some(0.75)), "aim missed", true),
            (0.7, Goal::NONE, "", true),
        ] {
            let mut report = Report::default();
            report.figure("x", value, "", goal);
            assert_eq!(report.rows[0].verdict, verdict, "{value} for {goal:?}");
            assert_eq!(!report.rows[0].missed, all_hold);
        }
    }

    #[test]
    fn numbers_are_short_and_readable() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (1.45, "1.45"),
            (14.04, "14"),
            (735.4, "735"),
            (0.0123, "0.0123"),
            (236_120.0, "236 120"),
            (-1_234.0, "-1 234"),
        ] {
            assert_eq!(plain(value), text);
        }
    }
}
