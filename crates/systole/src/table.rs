//! Tables for people: aligned by what the terminal shows, safe whatever the cells hold.

use unicode_width::UnicodeWidthStr as _;

use crate::out;

/// No cell is wider; what is longer ends in an ellipsis.
const WIDEST: usize = 60;
const GAP: &str = "   ";

/// Rows under headings.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new(headings: &[&'static str]) -> Table {
        Table {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. An empty cell is shown as a dash.
    pub fn row(&mut self, cells: Vec<String>) {
        let cell = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                fitted(&out::shown(&text))
            }
        };
        self.rows.push(cells.into_iter().map(cell).collect());
    }

    /// The whole table, every line ended.
    pub fn render(&self) -> String {
        let mut widths: Vec<usize> = self
            .headings
            .iter()
            .map(|heading| heading.width())
            .collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let headings: Vec<String> = self
            .headings
            .iter()
            .map(|heading| (*heading).to_owned())
            .collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.width())));
                line.push_str(GAP);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn fitted(text: &str) -> String {
    if text.width() <= WIDEST {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        let mut longer = kept.clone();
        longer.push(c);
        if longer.width() >= WIDEST {
            break;
        }
        kept = longer;
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_whatever_the_width_of_the_letters() {
        let mut table = Table::new(&["STATE", "NAME", "NEXT"]);
        table.row(vec!["up".into(), "日本".into(), "in 5 min".into()]);
        table.row(vec![
            "down".into(),
            "invoice\u{1b}[2J".into(),
            String::new(),
        ]);
        let lines: Vec<String> = table.render().lines().map(str::to_owned).collect();
        assert_eq!(
            lines,
            [
                "STATE   NAME               NEXT",
                "up      日本               in 5 min",
                "down    invoice\\u{1b}[2J   -",
            ]
        );
    }

    #[test]
    fn a_long_cell_is_cut_to_fit() {
        for text in ["x".repeat(200), "日".repeat(200)] {
            let cut = fitted(&text);
            assert!(cut.width() <= WIDEST && cut.ends_with('…'), "{cut}");
        }
        assert_eq!(fitted(&"x".repeat(60)), "x".repeat(60));
    }
}
