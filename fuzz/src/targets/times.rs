//! Durations and instants: one text that is read as either.

use systole_core::time::{Span, Time};

use super::is_said;

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Span::parse(text) {
        Ok(span) => duration(text, span),
        Err(why) => is_said(&why, 800),
    }
    match Time::parse(text) {
        Ok(time) => assert_eq!(
            Time::parse(&time.to_string()),
            Ok(time),
            "written and read again"
        ),
        Err(why) => is_said(&why, 800),
    }
}

fn duration(text: &str, span: Span) {
    assert!(span <= Span::LONGEST);
    assert_eq!(
        Span::parse(&span.to_string()),
        Ok(span),
        "written and read again"
    );
    assert_eq!(
        Span::parse(&format!(" {text}\n")),
        Ok(span),
        "blanks around it mean nothing"
    );
    assert_eq!(
        Span::parse(&text.to_ascii_uppercase()),
        Ok(span),
        "nor does the case"
    );
    // A duration is the sum of its parts, wherever it is divided between a unit and a number.
    for (at, _) in text.char_indices().skip(1) {
        let (left, right) = text.split_at(at);
        let divides = left.ends_with(char::is_alphabetic)
            && right.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        if divides {
            let sum = Span::parse(left).unwrap() + Span::parse(right).unwrap();
            assert_eq!(sum, span, "{left:?} and {right:?}");
        }
    }
}
