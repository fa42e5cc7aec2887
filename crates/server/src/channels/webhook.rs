//! Webhooks: JSON by POST to any URL, signed as Standard Webhooks.

use std::fmt;

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};
use systole_core::delivery::{ErrorClass, Outcome};
use systole_core::message::Message;
use systole_core::time::Time;
use systole_wire::strict::shortened;
use url::{Host, Url};

use super::{
    Field, FieldError, HttpRequest, Input, Kind, payload, redacted, retry_after, signature,
};

/// The row of this kind.
pub const KIND: Kind = Kind {
    name: "webhook",
    title: "Webhook",
    about: "Posts JSON, signed, for every incident that opens, is acknowledged or is resolved.",
    fields: &[
        Field {
            name: "url",
            label: "URL",
            help: "where the messages are posted, with http:// or https://",
            required: true,
            secret: false,
            destination: &[],
            input: Input::Url,
            check: |value| read_url(value).map(drop),
        },
        Field {
            name: "secret",
            label: "Signing secret",
            help: "what the messages are signed with, whsec_ and base64; made when left out",
            required: false,
            secret: true,
            destination: &[],
            input: Input::Secret,
            check: |value| read_secret(value).map(drop),
        },
        Field {
            name: "format",
            label: "Format",
            help: "standard (the default), or vigilmon for that product's flat payload",
            required: false,
            secret: false,
            destination: &[],
            input: Input::Choice(&["standard", "vigilmon"]),
            check: |value| Format::read(value).map(drop),
        },
        Field {
            name: "headers",
            label: "Headers",
            help: "more headers to send, as an object of names and values",
            required: false,
            secret: true,
            destination: &["url"],
            input: Input::Absent,
            check: |value| read_headers(value).map(drop),
        },
    ],
};

const URL_MOST: usize = 2_048;
const HEADERS_MOST: usize = 20;
const HEADER_VALUE_MOST: usize = 4_096;

/// Headers that are the sender's or the protocol's business; so is everything that begins with `webhook-` or `proxy-`.
const RESERVED_HEADERS: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];

/// What the body looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `type`, `timestamp`, `data`.
    #[default]
    Standard,
    /// Vigilmon's six flat fields; it tells of `down` and `up` alone.
    Vigilmon,
}

impl Format {
    fn read(value: &Value) -> Result<Format, String> {
        match value.as_str() {
            Some("standard") => Ok(Format::Standard),
            Some("vigilmon") => Ok(Format::Vigilmon),
            _ => Err(format!(
                "{} is not a format; it is \"standard\" or \"vigilmon\"",
                shortened(&value.to_string())
            )),
        }
    }
}

/// A webhook's configuration, validated. Its `Debug` shows no path, no secret and no header's value.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    url: Url,
    secret: signature::Secret,
    format: Format,
    headers: Vec<(String, String)>,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Config")
            .field("url", &redacted(&self.url))
            .field("secret", &self.secret)
            .field("format", &self.format)
            .field("headers", &names)
            .finish()
    }
}

impl Config {
    /// Reads fields that [`KIND`] knows; the secret must be there by now ([`super::complete`]).
    pub(super) fn from_checked(fields: &Map<String, Value>) -> Result<Config, Vec<FieldError>> {
        let given = |name: &str| fields.get(name).unwrap_or(&Value::Null);
        let wrong =
            |name: &str, detail: String| vec![FieldError::new(format!("config.{name}"), detail)];
        let url = read_url(given("url")).map_err(|detail| wrong("url", detail))?;
        let secret = read_secret(given("secret")).map_err(|detail| wrong("secret", detail))?;
        let format = match given("format") {
            Value::Null => Format::default(),
            value => Format::read(value).map_err(|detail| wrong("format", detail))?,
        };
        let headers = match given("headers") {
            Value::Null => Vec::new(),
            value => read_headers(value).map_err(|detail| wrong("headers", detail))?,
        };
        Ok(Config {
            url,
            secret,
            format,
            headers,
        })
    }

    /// What the body looks like.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Where it goes, as it may be shown.
    pub fn target(&self) -> String {
        redacted(&self.url)
    }
}

/// The signed request for a message, or `None` where the format has no word for it.
pub fn request(
    config: &Config,
    message: &Message,
    delivery_id: &str,
    now: Time,
) -> Option<HttpRequest> {
    let body = match config.format {
        Format::Standard => payload::standard(message),
        Format::Vigilmon => payload::vigilmon(message)?,
    };
    let timestamp = now.as_seconds();
    let signed = config.secret.sign(delivery_id, timestamp, &body);
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        (
            "user-agent".to_owned(),
            concat!("Systole/", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
        (signature::ID.to_owned(), delivery_id.to_owned()),
        (signature::TIMESTAMP.to_owned(), timestamp.to_string()),
        (signature::SIGNATURE.to_owned(), signed),
    ];
    headers.extend(config.headers.iter().cloned());
    Some(HttpRequest {
        method: Method::POST,
        url: config.url.clone(),
        headers,
        body,
    })
}

/// What an answer means. The body decides nothing: any 2xx is a receipt.
pub fn judge(status: u16, retry_after: Option<&str>, now: Time) -> Outcome {
    let retry = |class| Outcome::Retry {
        class,
        retry_after: retry_after.and_then(|text| retry_after::parse(text, now)),
    };
    let reject = |class| Outcome::Reject { class };
    match status {
        200..=299 => Outcome::Delivered { status },
        300..=399 => reject(ErrorClass::Redirect),
        401 | 403 => reject(ErrorClass::Auth),
        408 => retry(ErrorClass::Timeout),
        410 => reject(ErrorClass::Gone),
        413 | 415 | 422 => reject(ErrorClass::InvalidPayload),
        425 => retry(ErrorClass::Http4xx),
        429 => retry(ErrorClass::RateLimited),
        400..=499 => reject(ErrorClass::Http4xx),
        500..=599 => retry(ErrorClass::Http5xx),
        _ => retry(ErrorClass::InvalidResponse),
    }
}

fn read_url(value: &Value) -> Result<Url, String> {
    let advice = "give them in headers, as {\"Authorization\": \"Basic …\"}";
    let url = read_any_url(value, advice)?;
    if let Some(Host::Domain(name)) = url.host() {
        refuse_slack(name.trim_end_matches('.'))?;
    }
    Ok(url)
}

/// A URL of http or https that can be sent to. The errors repeat nothing of the text beyond its scheme and host: the rest may
/// be a credential. `userinfo_advice` says where a user name belongs instead.
pub(super) fn read_any_url(value: &Value, userinfo_advice: &str) -> Result<Url, String> {
    let advice = "enter it as https://host/path";
    let text = value
        .as_str()
        .ok_or_else(|| format!("it must be a string; {advice}"))?;
    if text.len() > URL_MOST {
        return Err(format!(
            "it has {} bytes, at most {URL_MOST} are taken",
            text.len()
        ));
    }
    let url = Url::parse(text).map_err(|error| format!("it is not a URL ({error}); {advice}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "its scheme is {}, only http and https are spoken; {advice}",
            url.scheme()
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "it holds a user name or password; {userinfo_advice}"
        ));
    }
    if url.fragment().is_some() {
        return Err("it has a fragment (#…), which is never sent; leave that out".to_owned());
    }
    if url.port() == Some(0) {
        return Err("its port is 0; enter the real one".to_owned());
    }
    if url.host().is_none() {
        return Err(format!("it has no host; {advice}"));
    }
    Ok(url)
}

/// Slack's hooks answer any body but their own form with an error, so every message would die.
fn refuse_slack(host: &str) -> Result<(), String> {
    if matches!(host, "hooks.slack.com" | "hooks.slack-gov.com") {
        return Err(format!(
            "{host} takes only Slack's own format, which a webhook does not send; make a channel of \
             kind slack with this URL"
        ));
    }
    Ok(())
}

fn read_secret(value: &Value) -> Result<signature::Secret, String> {
    let text = value
        .as_str()
        .ok_or("it must be a string that begins with whsec_")?;
    signature::Secret::parse(text)
}

/// Errors name a header, never its value.
fn read_headers(value: &Value) -> Result<Vec<(String, String)>, String> {
    let fields = value
        .as_object()
        .ok_or(r#"it must be an object, such as {"Authorization": "Bearer …"}"#)?;
    if fields.len() > HEADERS_MOST {
        return Err(format!(
            "it has {} headers, at most {HEADERS_MOST} are taken",
            fields.len()
        ));
    }
    fields
        .iter()
        .map(|(name, value)| read_header(name, value))
        .collect()
}

fn read_header(name: &str, value: &Value) -> Result<(String, String), String> {
    let shown = shortened(name);
    let read = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("{shown:?} is not the name of a header"))?;
    let lower = read.as_str();
    let reserved = RESERVED_HEADERS.contains(&lower)
        || lower.starts_with("webhook-")
        || lower.starts_with("proxy-");
    if reserved {
        return Err(format!("{shown} is set by the sender; leave it out"));
    }
    let text = value
        .as_str()
        .ok_or_else(|| format!("the value of {shown} must be a string"))?;
    if text.len() > HEADER_VALUE_MOST {
        return Err(format!(
            "the value of {shown} is longer than {HEADER_VALUE_MOST} bytes"
        ));
    }
    HeaderValue::from_str(text)
        .map_err(|_| format!("the value of {shown} has a character that no header can hold"))?;
    Ok((lower.to_owned(), text.to_owned()))
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
