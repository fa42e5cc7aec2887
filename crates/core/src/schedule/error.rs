//! What is wrong with a schedule, and where.

use std::fmt::Write as _;
use std::ops::Range;

/// Why a schedule cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ScheduleError {
    /// The input at fault: `every`, `cron` or `timezone`; of a recurrence also `rrule`, `start` or `duration`.
    pub field: &'static str,
    /// What is wrong and what to write instead.
    pub message: String,
    /// The bytes of that input which are to blame, where it is a part of it.
    pub at: Option<Range<usize>>,
}

impl ScheduleError {
    /// An error that concerns the whole input.
    pub(crate) fn new(field: &'static str, message: impl Into<String>) -> ScheduleError {
        ScheduleError {
            field,
            message: message.into(),
            at: None,
        }
    }

    /// An error in `piece`, which is a part of `text`, the cron expression.
    pub(super) fn in_cron(text: &str, piece: &str, message: impl Into<String>) -> ScheduleError {
        ScheduleError::within("cron", text, piece, message)
    }

    /// An error in `piece`, which is a part of `text`, the input `field`.
    pub(crate) fn within(
        field: &'static str,
        text: &str,
        piece: &str,
        message: impl Into<String>,
    ) -> ScheduleError {
        ScheduleError {
            field,
            message: message.into(),
            at: Some(position(text, piece)),
        }
    }

    /// The message, the text and a line of carets under the part to blame.
    pub fn pointed(&self, text: &str) -> String {
        let shown: String = text
            .chars()
            .map(|c| if hides(c) { ' ' } else { c })
            .collect();
        let mut out = format!("{}\n  {shown}", self.message);
        if let Some(at) = &self.at {
            let columns = |bytes: Option<&str>| bytes.map_or(0, |part| part.chars().count());
            let before = columns(text.get(..at.start));
            let width = columns(text.get(at.clone())).max(1);
            let _ = write!(out, "\n  {:before$}{:^<width$}", "", "");
        }
        out
    }
}

/// Commands a terminal, has no width or turns the line around: one column, like any other letter.
fn hides(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Where `piece`, a slice of `text`, lies in it.
fn position(text: &str, piece: &str) -> Range<usize> {
    let start = (piece.as_ptr() as usize)
        .saturating_sub(text.as_ptr() as usize)
        .min(text.len());
    start..(start + piece.len()).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_carets_stand_under_the_part_to_blame() {
        let text = "0 25 * * *";
        let error = ScheduleError::in_cron(text, &text[2..4], "no such hour");
        assert_eq!(error.pointed(text), "no such hour\n  0 25 * * *\n    ^^");
    }

    #[test]
    fn nothing_of_the_text_moves_the_cursor_or_turns_the_line() {
        let text = "\u{202e}0 25\u{1b}[2J";
        let error = ScheduleError::in_cron(text, &text[5..7], "no");
        assert_eq!(error.pointed(text), "no\n   0 25 [2J\n     ^^");
    }

    #[test]
    fn letters_of_several_bytes_take_one_column() {
        let text = "é ü * * *";
        let error = ScheduleError::in_cron(text, &text[3..5], "no");
        assert_eq!(error.pointed(text), "no\n  é ü * * *\n    ^");
    }

    #[test]
    fn a_text_other_than_the_one_parsed_does_not_break_it() {
        let error = ScheduleError {
            field: "cron",
            message: "no".to_owned(),
            at: Some(7..90),
        };
        assert_eq!(error.pointed("é"), "no\n  é\n  ^");
    }
}
