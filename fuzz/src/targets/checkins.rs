//! Check-ins: path, query, user agent, a line for each.

use systole_core::heartbeat::Signal;
use systole_server::ping::{self, Refusal, Target};

use super::{headers_of, parts};

pub fn run(input: &[u8]) {
    let Some([path, query, agent]) = parts(input) else {
        return;
    };
    if let Ok(path) = std::str::from_utf8(path) {
        check_path(path);
    }
    if let Ok(query) = std::str::from_utf8(query) {
        check_query(query);
    }
    let headers = headers_of(&[b"user-agent: ", agent].concat());
    let kept = ping::Remembered::default().user_agent(&headers);
    assert!(
        kept.len() <= 600,
        "a user agent of {} bytes is kept",
        kept.len()
    );
}

fn check_path(path: &str) {
    let Some(target) = ping::route(path) else {
        return;
    };
    if let Some(token) = target.token() {
        assert!((1..=64).contains(&token.len()) && !token.contains('/') && path.contains(token));
    }
    if let Some((key, slug)) = target.by_name() {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(!key.is_empty() && (1..=100).contains(&slug.len()) && slug.chars().all(is_plain));
    }
    // An exit status is what the path ends with.
    let by_token = target.token().map(|_| target.signal());
    let by_name = target.by_name().map(|_| target.signal_by_name());
    for signal in [by_token, by_name] {
        if let Some(Ok(Signal::Exit(status))) = signal {
            let digits = path.rsplit('/').find(|part| !part.is_empty());
            assert_eq!(
                digits.and_then(|digits| digits.parse().ok()),
                Some(status),
                "{path}"
            );
        }
    }
    // What the hosted form means, the longer one means too.
    let is_hosted = !["/ping/", "/api/hb/", "/heartbeat/", "/v1/heartbeat/"]
        .iter()
        .any(|prefix| path.starts_with(prefix));
    if is_hosted {
        let native = format!("/ping{path}");
        let native = ping::route(&native).unwrap_or_else(|| panic!("{native} is no check-in"));
        assert_eq!(said(&target), said(&native), "{path}");
    }
}

fn said(target: &Target<'_>) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {}",
        target.token(),
        target.by_name(),
        target.signal(),
        target.signal_by_name(),
        target.takes_message()
    )
}

fn check_query(query: &str) {
    for name in ["rid", "msg", "create"] {
        assert_eq!(
            ping::parameter(query, name),
            slowly(query, name),
            "{name} of {query:?}"
        );
    }
    let hyphens = |text: &str| {
        [8, 13, 18, 23]
            .iter()
            .all(|at| text.as_bytes().get(*at) == Some(&b'-'))
    };
    match (ping::run_id(query), slowly(query, "rid")) {
        (Ok(None), None) => {}
        (Ok(Some(run)), Some(given)) => {
            assert!(given.len() == 36 && hyphens(&given), "{given:?} is no run");
            assert_eq!(format!("{run:032x}"), given.replace('-', "").to_lowercase());
        }
        (Err(Refusal::Malformed(_)), Some(_)) => {}
        (found, given) => panic!("{given:?} is {found:?}"),
    }
}

/// The first value of a parameter, by the letter of the form's encoding.
fn slowly(query: &str, name: &str) -> Option<String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key) == name).then(|| decoded(value))
        })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = tail;
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap());
                rest = &tail[2..];
            }
            (b'+', ..) => bytes.push(b' '),
            (other, ..) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
