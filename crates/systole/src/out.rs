//! What goes to stdout, and how text of others is made safe to show.

use std::io::{self, Write as _};

/// Writes to stdout; a reader that has gone away is an error like any other.
///
/// # Errors
/// As the operating system says.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes one line to stdout.
///
/// # Errors
/// As the operating system says.
pub fn line(text: &str) -> io::Result<()> {
    print(&format!("{text}\n"))
}

/// Text as it can be shown on a terminal: whatever is not printable is escaped, so that nothing that came from
/// elsewhere moves the cursor, colours the screen or turns the line around.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            c if systole_wire::rules::is_printable(c) => shown.push(c),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// The same for text of several lines: the line ends stay.
pub fn shown_lines(text: &str) -> String {
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_shown_escaped() {
        for (given, expected) in [
            ("plain ☂", "plain ☂"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\nb\tc\r", "a\\nb\\tc\\r"),
            ("a\u{9b}b\u{202e}c", "a\\u{9b}b\\u{202e}c"),
            ("\0", "\\u{0}"),
        ] {
            assert_eq!(shown(given), expected);
        }
        assert_eq!(shown_lines("a\u{7}\nb"), "a\\u{7}\nb");
    }
}
