//! One room for each target, and how an input is taken apart.

pub mod addresses;
pub mod answers;
pub mod channels;
pub mod checkins;
pub mod documents;
pub mod forms;
pub mod headers;
pub mod letters;
pub mod queries;
pub mod records;
pub mod replies;
pub mod requests;
pub mod schedules;
pub mod settings;
pub mod shown;
pub mod signatures;
pub mod times;

use http::{HeaderMap, HeaderName, HeaderValue};
use systole_core::time::Time;

/// 2026-11-21T12:00:00Z: a time for whoever must be told one.
pub const NOW: Time = Time::from_seconds(1_795_262_400);

/// The first `N - 1` lines of an input and all that follows; `None` where one of them is missing.
pub fn parts<const N: usize>(input: &[u8]) -> Option<[&[u8]; N]> {
    let parts: Vec<&[u8]> = input.splitn(N, |byte| *byte == b'\n').collect();
    parts.try_into().ok()
}

/// The same of an input that is text.
pub fn texts<const N: usize>(input: &[u8]) -> Option<[&str; N]> {
    let text = std::str::from_utf8(input).ok()?;
    let parts: Vec<&str> = text.splitn(N, '\n').collect();
    parts.try_into().ok()
}

/// Headers, a line for each; a line that is none is left out, as hyper would refuse it.
pub fn headers_of(input: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
            continue;
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

/// Asserts that a message is for people: something, on few screens.
pub fn is_said(message: &str, longest: usize) {
    assert!(!message.is_empty(), "nothing is said");
    assert!(
        message.len() <= longest,
        "{} bytes are said: {message}",
        message.len()
    );
}

/// Whether a secret is told apart from the words that a message has anyway: long, and without a space.
pub fn is_told_apart(secret: &str) -> bool {
    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_".contains(&byte);
    secret.len() >= 24 && secret.bytes().all(is_base64)
}
