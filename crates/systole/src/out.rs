//! What goes to stdout, and how text of others is made safe to show.

use std::io::{self, Write as _};

use serde_json::Value;
use systole_wire::rules::is_printable;

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
            c if is_printable(c) => shown.push(c),
            c => shown.extend(c.escape_unicode()),
        }
    }
    shown
}

/// The same for text of several lines: the line ends stay.
pub fn shown_lines(text: &str) -> String {
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// As a shell reads it back.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// JSON over several lines, in which whatever is not printable is escaped.
pub fn json(value: &Value) -> String {
    escaped(&format!("{value:#}"))
}

/// JSON's own escapes in the place of what it lets through: beyond texts there is nothing but line ends.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c == '\n' || is_printable(c) {
            text.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

/// YAML; what holds text that is not printable stands in it as JSON, which is YAML too.
///
/// # Errors
/// What cannot be written.
pub fn yaml(value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    let text = serde_saphyr::to_string(value)?;
    Ok(if is_plain(&text) {
        text
    } else {
        json(value) + "\n"
    })
}

/// The same of one field of an object.
///
/// # Errors
/// As [`yaml`].
pub fn yaml_field(name: &str, value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    let text = serde_saphyr::to_string(&serde_json::json!({name: value}))?;
    Ok(if is_plain(&text) {
        text
    } else {
        escaped(&format!("{}: {value}\n", Value::from(name)))
    })
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || is_printable(c))
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

    #[test]
    fn json_and_yaml_are_read_back_as_they_were_and_move_no_cursor() {
        for text in [
            "plain ☂",
            "a\n\tb",
            "\u{1b}[2J",
            "\u{9b}1m \u{7f}",
            "\u{202e}a: \u{2028}b",
            "\u{e0041}",
        ] {
            let value = serde_json::json!({"a": {"text": text}, "b": [text]});
            let field = format!("c: 1\n{}", yaml_field("text", &Value::from(text)).unwrap());
            for written in [json(&value), yaml(&value).unwrap(), field.clone()] {
                assert!(is_plain(&written), "{written:?}");
            }
            assert_eq!(serde_json::from_str::<Value>(&json(&value)).unwrap(), value);
            let read: Value = serde_saphyr::from_str(&yaml(&value).unwrap()).unwrap();
            assert_eq!(read, value);
            let read: Value = serde_saphyr::from_str(&field).unwrap();
            assert_eq!(read, serde_json::json!({"c": 1, "text": text}), "{field}");
        }
    }
}
