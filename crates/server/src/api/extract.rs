//! Bodies, queries and preconditions of requests, read strictly.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use systole_wire::FieldError;
use systole_wire::page::{DEFAULT_LIMIT, MOST};
use systole_wire::strict::{self, Read, shortened, suggestion};

use super::ApiError;

/// No body of this API is larger, but those of many objects.
const BODY_MAX: usize = 1 << 20;
/// A body must have come within this time.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Reads a value as strictly as the body of a request: for forms, whose fields become one.
///
/// # Errors
/// Every wrong field.
pub fn read<T: Read>(value: Value) -> Result<T, ApiError> {
    strict::from_value(value).map_err(ApiError::invalid)
}

/// A body of JSON that must be there, of at most so many bytes.
pub struct Input<T, const MOST: usize = BODY_MAX>(pub T);

impl<T: Read, S: Send + Sync, const MOST: usize> FromRequest<S> for Input<T, MOST> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<Input<T, MOST>, ApiError> {
        let value = body(request, MOST).await?.ok_or_else(|| {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                "the body is empty; JSON is expected",
            )
        })?;
        read(value).map(Input)
    }
}

/// A body of JSON that may be left out, which is the same as `{}`.
pub struct OptionalInput<T>(pub T);

impl<T: Read, S: Send + Sync> FromRequest<S> for OptionalInput<T> {
    type Rejection = ApiError;
    async fn from_request(request: Request, _: &S) -> Result<OptionalInput<T>, ApiError> {
        let value = body(request, BODY_MAX)
            .await?
            .unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        read(value).map(OptionalInput)
    }
}

async fn body(request: Request, most: usize) -> Result<Option<Value>, ApiError> {
    let kind = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let reading = axum::body::to_bytes(request.into_body(), most);
    let bytes = tokio::time::timeout(BODY_TIME, reading)
        .await
        .map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                "the body did not come within 30 s",
            )
        })?;
    let bytes = bytes.map_err(|_| {
        let detail = format!(
            "the body could not be read to its end; it can have {} MiB",
            most >> 20
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    })?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if kind != "application/json" {
        let detail = format!(
            "the body is said to be {:?}; send Content-Type: application/json",
            shortened(&kind)
        );
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not_json",
            detail,
        ));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        let detail = format!("the body is not JSON: {error}");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", detail)
    })
}

/// `If-Match`: the revision that a change is made to; `None` for any.
#[derive(Clone, Copy, Debug)]
pub struct Expected(pub Option<i64>);

impl<S: Send + Sync> FromRequestParts<S> for Expected {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Expected, ApiError> {
        Expected::of(&parts.headers)
    }
}

impl Expected {
    /// Of a request's headers.
    ///
    /// # Errors
    /// 412 for an `If-Match` that is no revision.
    pub fn of(headers: &HeaderMap) -> Result<Expected, ApiError> {
        let Some(header) = headers.get(IF_MATCH) else {
            return Ok(Expected(None));
        };
        let text = header.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Expected(None));
        }
        let quoted = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let rev = quoted.unwrap_or(text).parse().map_err(|_| {
            let detail = "If-Match holds the object's rev in quotes, for example \"3\"";
            ApiError::new(StatusCode::PRECONDITION_FAILED, "changed_meanwhile", detail)
        })?;
        Ok(Expected(Some(rev)))
    }

    /// Refuses an object of another revision.
    ///
    /// # Errors
    /// 412.
    pub fn check(self, rev: i64) -> Result<(), ApiError> {
        match self.0 {
            Some(expected) if expected != rev => Err(ApiError::changed_meanwhile(rev)),
            _ => Ok(()),
        }
    }
}

/// A query's parameters, taken out one by one; [`Query::finish`] complains of those left over.
#[derive(Debug, Default)]
pub struct Query {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, ApiError> {
        Ok(Query::of(parts.uri.query().unwrap_or_default()))
    }
}

impl Query {
    /// Of its text.
    pub fn of(text: &str) -> Query {
        let given = url::form_urlencoded::parse(text.as_bytes())
            .into_owned()
            .collect();
        Query {
            given,
            ..Query::default()
        }
    }

    /// Every value of a parameter that may be repeated.
    pub fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let (taken, left) = std::mem::take(&mut self.given)
            .into_iter()
            .partition(|(given, _)| given == name);
        self.given = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// A parameter; an empty one is the same as none.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        let mut all = self.all(name);
        if all.len() > 1 {
            self.wrong(name, "is given more than once");
        }
        all.pop().filter(|value| !value.is_empty())
    }

    /// A parameter that is one of a few words.
    pub fn word(&mut self, name: &'static str, words: &[&'static str]) -> Option<&'static str> {
        let given = self.text(name)?;
        let known = words.iter().find(|word| **word == given).copied();
        if known.is_none() {
            let close = suggestion(&given, words)
                .map(|word| format!("; did you mean {word}?"))
                .unwrap_or_default();
            self.wrong(
                name,
                format!(
                    "{:?} is none of {}{close}",
                    shortened(&given),
                    words.join(", ")
                ),
            );
        }
        known
    }

    /// A parameter with a form of its own.
    pub fn parsed<T>(
        &mut self,
        name: &'static str,
        form: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let given = self.text(name)?;
        let parsed = parse(&given);
        if parsed.is_none() {
            self.wrong(name, format!("{:?} is not {form}", shortened(&given)));
        }
        parsed
    }

    /// How many items a page may have.
    pub fn limit(&mut self) -> u32 {
        let parse = |text: &str| text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
        self.parsed("limit", "a number from 1 to 500", parse)
            .unwrap_or(DEFAULT_LIMIT)
    }

    /// Where the page begins.
    pub fn cursor<T>(&mut self, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.parsed(
            "cursor",
            "a cursor; take it from `next` of the page before",
            parse,
        )
    }

    /// Says what is wrong.
    pub fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(name, message));
    }

    /// Complains of every parameter that nobody asked for.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn finish(mut self) -> Result<(), ApiError> {
        for (name, _) in std::mem::take(&mut self.given).into_iter().take(20) {
            let message = match suggestion(&name, &self.known) {
                Some(known) => format!("unknown parameter; did you mean {known}?"),
                None if self.known.is_empty() => "unknown parameter; there are none".to_owned(),
                None => format!("unknown parameter; there are {}", self.known.join(", ")),
            };
            self.errors.push(FieldError::new(shortened(&name), message));
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(ApiError::query(self.errors))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_parameter_is_named() {
        let mut query = Query::of("limit=900&stat=up&cursor=x&kind=a&kind=b&state=uup");
        assert_eq!(query.limit(), 50);
        assert_eq!(query.word("state", &["up", "down"]), None);
        assert_eq!(query.cursor(|text| text.parse::<u32>().ok()), None);
        query.text("kind");
        let error = query.finish().unwrap_err();
        let said: Vec<String> = error
            .problem()
            .errors
            .iter()
            .map(ToString::to_string)
            .collect();
        for (i, expected) in [
            "limit: \"900\" is not a number from 1 to 500",
            "state: \"uup\" is none of up, down; did you mean up?",
            "cursor: \"x\" is not a cursor",
            "kind: is given more than once",
            "stat: unknown parameter; did you mean state?",
        ]
        .iter()
        .enumerate()
        {
            assert!(said[i].starts_with(expected), "{said:?}");
        }
    }
}
