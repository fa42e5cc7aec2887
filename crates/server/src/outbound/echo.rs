//! What an answer may not bring back. Receivers that refuse a request like to quote it, and what they say is kept in the record of
//! the attempt, where viewers read it; paths, queries and headers of a request are credentials as often as not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::channels::HttpRequest;

/// What stands in the place of a credential.
const HIDDEN: &str = "(secret)";
/// Shorter parts of a path and words of a header are names more often than credentials.
const WORD_LEAST: usize = 8;
/// Shorter texts would be found in every other word.
const VALUE_LEAST: usize = 4;

/// The pieces of a request that may be credentials, the longest first. It has no `Debug`.
pub(super) struct Echo(Vec<String>);

impl Echo {
    /// Those of a request: of its URL and of the headers that a person has set.
    pub(super) fn of(request: &HttpRequest) -> Echo {
        let url = &request.url;
        let mut pieces: Vec<String> = Vec::new();
        let mut add = |piece: &str, least: usize| {
            let decoded = decoded(piece);
            for piece in [piece, &decoded] {
                if piece.len() >= least {
                    pieces.push(piece.to_owned());
                }
            }
        };
        add(url.username(), VALUE_LEAST);
        add(url.password().unwrap_or_default(), VALUE_LEAST);
        for part in url.path().split(['/', ';', ',', '=', ':']) {
            add(part, WORD_LEAST);
        }
        if let Some(query) = url.query() {
            add(query, VALUE_LEAST);
            for pair in query.split('&') {
                let (_, value) = pair.split_once('=').unwrap_or(("", pair));
                add(value, VALUE_LEAST);
                add(&value.replace('+', " "), VALUE_LEAST);
            }
        }
        for (name, value) in &request.headers {
            if name == "content-type" || name.starts_with("webhook-") {
                continue;
            }
            add(value, VALUE_LEAST);
            for word in value.split_ascii_whitespace() {
                add(word, WORD_LEAST);
                let basic = STANDARD.decode(word).ok();
                if let Some(text) = basic.and_then(|bytes| String::from_utf8(bytes).ok())
                    && let Some((_, password)) = text.split_once(':')
                {
                    add(&text, VALUE_LEAST);
                    add(password, VALUE_LEAST);
                }
            }
        }
        pieces.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        pieces.dedup();
        Echo(pieces)
    }

    /// An answer's beginning without them. Of one that was cut, the end is dropped, where half a credential may stand.
    pub(super) fn hidden(&self, begin: &[u8], is_cut: bool) -> String {
        let longest = self.0.first().map_or(0, String::len);
        let most = if is_cut {
            begin.len().saturating_sub(longest)
        } else {
            begin.len()
        };
        let mut text = String::from_utf8_lossy(&begin[..most]).into_owned();
        for piece in &self.0 {
            if text.contains(piece.as_str()) {
                text = text.replace(piece.as_str(), HIDDEN);
            }
        }
        text
    }
}

/// Without percent signs.
fn decoded(piece: &str) -> String {
    let form = piece.replace('+', "%2B").replace('&', "%26");
    let pair = url::form_urlencoded::parse(form.as_bytes()).next();
    pair.map_or_else(String::new, |(name, value)| {
        if value.is_empty() {
            name.into_owned()
        } else {
            format!("{name}={value}")
        }
    })
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn echo(url: &str, headers: &[(&str, &str)]) -> Echo {
        Echo::of(&HttpRequest {
            method: http::Method::POST,
            url: Url::parse(url).unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: Vec::new(),
        })
    }

    #[test]
    fn what_was_sent_and_may_be_a_credential_is_not_brought_back() {
        let echo = echo(
            "https://user:pass%21word@a.example/hook/T0123456/x%20y-hidden?key=hid%2Fden&n=1",
            &[
                ("content-type", "application/json"),
                ("authorization", "Bearer hidden-token"),
                ("x-basic", "Basic dXNlcjpoaWRkZW4gcGFzcw=="),
                ("x-key", "hide"),
                ("x-short", "abc"),
            ],
        );
        for (said, expected) in [
            (
                "no hook at /hook/T0123456/x%20y-hidden?key=hid%2Fden&n=1",
                "no hook at /hook/(secret)/(secret)?(secret)",
            ),
            (
                r#"{"path":"\/hook\/T0123456"}"#,
                r#"{"path":"\/hook\/(secret)"}"#,
            ),
            ("x y-hidden, hid/den", "(secret), (secret)"),
            (
                "pass%21word and pass!word of user",
                "(secret) and (secret) of (secret)",
            ),
            (
                "Authorization: Bearer hidden-token",
                "Authorization: (secret)",
            ),
            ("hidden-token is unknown", "(secret) is unknown"),
            ("wrong password hidden pass", "wrong password (secret)"),
            ("dXNlcjpoaWRkZW4gcGFzcw==", "(secret)"),
            ("x-key: hide", "x-key: (secret)"),
            (
                "application/json is fine, abc too",
                "application/json is fine, abc too",
            ),
        ] {
            assert_eq!(echo.hidden(said.as_bytes(), false), expected);
        }
    }

    #[test]
    fn half_a_credential_at_the_end_of_what_was_read_is_dropped() {
        let echo = echo("https://a.example/0123456789", &[]);
        let text = echo.hidden(b"said at length 01234567", true);
        assert_eq!(text, "said at lengt");
        assert_eq!(echo.hidden(b"said", true), "");
        assert_eq!(echo.hidden(b"\xff 0123456789", false), "\u{fffd} (secret)");
    }
}
