//! How far a long command is, on a line of its own: only where somebody looks, and only when it takes long.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// What is over sooner says nothing.
const PATIENCE: Duration = Duration::from_secs(1);
/// The line is not written more often.
const EVERY: Duration = Duration::from_millis(200);

/// The line. Whoever writes to the same terminal clears it before.
pub struct Progress {
    is_shown: bool,
    begun: Instant,
    line: Line,
}

impl Progress {
    /// On stderr, where that is a terminal and `wanted`.
    pub fn new(wanted: bool) -> Progress {
        Progress {
            is_shown: wanted && std::io::stderr().is_terminal(),
            begun: Instant::now(),
            line: Line::default(),
        }
    }

    /// So many of all are done.
    pub fn at(&mut self, what: &str, done: usize, all: usize) {
        if self.is_shown {
            let text = self.line.at(self.begun.elapsed(), what, done, all);
            write(text);
        }
    }

    /// Takes the line away.
    pub fn clear(&mut self) {
        write(self.line.clear());
    }
}

/// A terminal that cannot be written to is no reason to stop the work.
fn write(text: Option<String>) {
    if let Some(text) = text {
        let mut stderr = std::io::stderr().lock();
        _ = stderr
            .write_all(text.as_bytes())
            .and_then(|()| stderr.flush());
    }
}

/// What is to be written; the time is told.
#[derive(Default)]
struct Line {
    written: Option<Duration>,
    width: usize,
}

impl Line {
    fn at(&mut self, now: Duration, what: &str, done: usize, all: usize) -> Option<String> {
        let is_due = match self.written {
            None => now >= PATIENCE,
            Some(written) => now >= written + EVERY,
        };
        if !is_due {
            return None;
        }
        self.written = Some(now);
        let text = format!("{done} of {all} {what}");
        let before = std::mem::replace(&mut self.width, text.len());
        Some(format!("\r{text:before$}"))
    }

    fn clear(&mut self) -> Option<String> {
        let width = std::mem::take(&mut self.width);
        (width > 0).then(|| format!("\r{:width$}\r", ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_work_says_how_far_it_is_and_short_work_says_nothing() {
        let mut line = Line::default();
        assert_eq!(line.clear(), None, "nothing is there to be cleared");
        for (millis, done, expected) in [
            (0, 0, None),
            (999, 10, None),
            (1_000, 11, Some("\r11 of 99 done")),
            (1_199, 12, None),
            (1_200, 13, Some("\r13 of 99 done")),
            (1_500, 9, Some("\r9 of 99 done ")),
        ] {
            let said = line.at(Duration::from_millis(millis), "done", done, 99);
            assert_eq!(said.as_deref(), expected, "{millis}");
        }
        assert_eq!(line.clear().as_deref(), Some("\r            \r"));
        assert_eq!(line.clear(), None);
    }
}
