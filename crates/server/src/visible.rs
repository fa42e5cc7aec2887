//! Text that somebody else chose, made safe to show: what is invisible becomes visible.
//!
//! Control characters could command a terminal or end a header; characters that change the reading direction, or have no
//! width, could make one name look like another. Nothing is taken out, so a person sees what was sent.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// `text` on one line with its invisible characters made visible.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hidden) {
        Cow::Owned(shown(text, |_| false))
    } else {
        Cow::Borrowed(text)
    }
}

/// The same of a text of several lines: lines and tabs stay.
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    let stays = |c| matches!(c, '\n' | '\t');
    if text.chars().any(|c| is_hidden(c) && !stays(c)) {
        // What Windows ends its lines with is no oddity.
        Cow::Owned(shown(&text.replace("\r\n", "\n"), stays))
    } else {
        Cow::Borrowed(text)
    }
}

fn shown(text: &str, stays: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if stays(c) {
            out.push(c);
        } else {
            // Writing to a string does not fail.
            _ = visible_char(c, &mut out);
        }
    }
    out
}

/// Writes one character, visibly.
pub(crate) fn visible_char(c: char, out: &mut impl Write) -> fmt::Result {
    match c {
        '\0'..='\x1f' => {
            out.write_char(char::from_u32(0x2400 + u32::from(c)).unwrap_or('\u{fffd}'))
        }
        '\x7f' => out.write_char('\u{2421}'),
        c if is_hidden(c) => write!(out, "‹U+{:04X}›", u32::from(c)),
        c => out.write_char(c),
    }
}

/// Characters that show nothing or reorder what stands around them.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_shown() {
        for (text, shown) in [
            ("plain näme ✓", "plain näme ✓"),
            ("a\0b\x1b[31m\x7f", "a␀b␛[31m␡"),
            ("two\nlines", "two␊lines"),
            ("cod\u{202e}txt.exe", "cod‹U+202E›txt.exe"),
            ("zero\u{200b}width\u{feff}", "zero‹U+200B›width‹U+FEFF›"),
            ("\u{85}", "‹U+0085›"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(
            visible_lines("one\r\n\ttwo\x1b[2J\u{202e}\rthree"),
            "one\n\ttwo␛[2J‹U+202E›␍three"
        );
    }
}
