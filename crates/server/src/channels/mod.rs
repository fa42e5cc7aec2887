//! Channels: what a message looks like at its destination, and what the destination's answer means.
//!
//! A channel is two pure functions, *build the request* and *judge the answer*; `outbound` does the sending for all of
//! them. Channels that people read say what [`words`] says. [`KINDS`] is the one table of what exists: validation, forms and documentation derive from it, so a new kind is
//! a row there, a module here and an arm in [`Config`].

use std::fmt;

use serde_json::{Map, Value};
use systole_core::delivery::{ErrorClass, Outcome};
use systole_core::message::Message;
use systole_core::time::Time;
use systole_wire::strict::shortened;
use url::Url;

use crate::outbound::Answer;

pub mod email;
mod letter;
pub mod payload;
pub mod retry_after;
pub mod signature;
pub mod slack;
mod slack_blocks;
pub mod webhook;
mod words;

/// One kind of channel.
pub struct Kind {
    /// The word in the API and in documents.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// The fields of its `config`.
    pub fields: &'static [Field],
}

/// One field of a channel's `config`.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its name on a form.
    pub label: &'static str,
    /// What to enter, in one sentence.
    pub help: &'static str,
    /// Whether it must be given.
    pub required: bool,
    /// Whether it is encrypted at rest and never shown again.
    pub secret: bool,
    /// Of a secret that is sent: the fields that say to whom. It is not sent elsewhere unless it is given anew.
    pub destination: &'static [&'static str],
    /// How a form asks for it.
    pub input: Input,
    /// Says what is wrong with a value and what to do.
    pub check: fn(&Value) -> Result<(), String>,
}

/// How a form asks for a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// One line.
    Text,
    /// A URL.
    Url,
    /// One line that is not shown while it is typed.
    Secret,
    /// A whole number.
    Number,
    /// One of these; the first is what it is when nothing is chosen.
    Choice(&'static [&'static str]),
    /// Several values, separated by commas or lines.
    List,
    /// Several lines.
    Lines,
    /// It does not: it is for the API and documents.
    Absent,
}

/// Every kind that is built.
pub const KINDS: &[Kind] = &[webhook::KIND, slack::KIND, email::KIND];

/// Kinds that people will ask for by these names, and that are not built yet.
const NOT_BUILT: &[&str] = &[
    "alertmanager",
    "discord",
    "gotify",
    "matrix",
    "mattermost",
    "ntfy",
    "opsgenie",
    "pagerduty",
    "pushover",
    "rocketchat",
    "signal",
    "sms",
    "teams",
    "telegram",
    "voice",
];

/// What a message is sent with, beside what it says.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The same at every attempt: what receivers recognise a repetition by.
    pub delivery_id: &'a str,
    /// Which attempt this is; 1 is the first.
    pub attempt: u32,
    /// When it is sent.
    pub now: Time,
    /// How people reach this server, without a slash at the end.
    pub base_url: &'a str,
    /// The number of the channel.
    pub channel: i64,
    /// Where a recipient takes themselves off it, where people can reach that.
    pub unsubscribe_url: Option<&'a str>,
}

/// What is sent, as a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// By HTTP.
    Http(HttpRequest),
    /// By SMTP.
    Mail(email::Mail),
}

/// A request as a value. `Debug` shows neither the path nor the headers' values nor the body: those hold secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method.
    pub method: http::Method,
    /// Where to.
    pub url: Url,
    /// Headers beyond `Host` and `Content-Length`, which the sender writes.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("url", &redacted(&self.url))
            .field("headers", &names)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// A URL as it may be shown and logged: paths, queries and user names of channels' URLs are credentials.
pub fn redacted(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    match url.port_or_known_default() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

/// What is wrong with one field, for a problem's `errors[]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {detail}")]
pub struct FieldError {
    /// The field, for example `config.url`.
    pub field: String,
    /// What is wrong and what to do.
    pub detail: String,
}

impl FieldError {
    fn new(field: impl Into<String>, detail: impl Into<String>) -> FieldError {
        FieldError {
            field: field.into(),
            detail: detail.into(),
        }
    }
}

/// A channel's configuration, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Config {
    /// A webhook.
    Webhook(webhook::Config),
    /// Slack.
    Slack(slack::Config),
    /// Email.
    Email(email::Config),
}

impl Config {
    /// Reads and validates a channel's `config`. Call [`complete`] first for one that a person has just given.
    ///
    /// # Errors
    /// One entry per wrong field: all of them, so that a person corrects them in one go.
    pub fn parse(kind: &str, config: &Value) -> Result<Config, Vec<FieldError>> {
        let kind = find(kind).map_err(|error| vec![error])?;
        let config = checked(kind, config)?;
        match kind.name {
            "webhook" => webhook::Config::from_checked(config).map(Config::Webhook),
            "slack" => slack::Config::from_checked(config).map(Config::Slack),
            "email" => email::Config::from_checked(config).map(Config::Email),
            other => Err(vec![FieldError::new(
                "kind",
                format!("{other} has no reader"),
            )]),
        }
    }

    /// The request for a message, or `None` where this channel says nothing about messages of that kind.
    pub fn request(&self, message: &Message, sending: &Sending<'_>) -> Option<Request> {
        match self {
            Config::Webhook(config) => {
                webhook::request(config, message, sending.delivery_id, sending.now)
                    .map(Request::Http)
            }
            Config::Slack(config) => Some(Request::Http(slack::request(config, message, sending))),
            Config::Email(config) => email::request(config, message, sending).map(Request::Mail),
        }
    }

    /// What the destination's answer means.
    pub fn judge(&self, answer: &Answer, now: Time) -> Outcome {
        match (self, answer) {
            (Config::Webhook(_), Answer::Http(answer)) => {
                webhook::judge(answer.status, answer.retry_after.as_deref(), now)
            }
            (Config::Slack(config), Answer::Http(answer)) => slack::judge(
                config,
                answer.status,
                answer.retry_after.as_deref(),
                &answer.excerpt,
                now,
            ),
            (Config::Email(_), Answer::Mail(answer)) => email::judge(answer),
            // What was asked by one way is not answered by the other.
            (Config::Webhook(_) | Config::Slack(_), Answer::Mail(_))
            | (Config::Email(_), Answer::Http(_)) => Outcome::Retry {
                class: ErrorClass::InvalidResponse,
                retry_after: None,
            },
        }
    }

    /// Whether one message may carry several incidents here. Where not, they are sent one by one.
    pub fn can_group(&self) -> bool {
        match self {
            Config::Webhook(config) => config.format() == webhook::Format::Standard,
            Config::Slack(_) | Config::Email(_) => true,
        }
    }

    /// Where it goes, as it may be shown.
    pub fn target(&self) -> String {
        match self {
            Config::Webhook(config) => config.target(),
            Config::Slack(config) => config.target(),
            Config::Email(config) => config.target(),
        }
    }
}

/// Whether the server makes this field where a person gives none; such a channel always has one.
pub fn is_made(kind: &str, field: &str) -> bool {
    (kind, field) == ("webhook", "secret")
}

/// Adds what the server makes for a new channel when the person gave none: a webhook's signing secret, from `random`.
pub fn complete(kind: &str, config: &mut Value, random: [u8; 32]) {
    if let (true, Value::Object(fields)) = (is_made(kind, "secret"), config)
        && fields.get("secret").is_none_or(Value::is_null)
    {
        fields.insert(
            "secret".to_owned(),
            Value::String(signature::Secret::encode(&random)),
        );
    }
}

/// The names of a kind's secret fields: what is encrypted, and what replies leave out.
pub fn secret_fields(kind: &str) -> impl Iterator<Item = &'static str> {
    let fields = KINDS
        .iter()
        .find(|row| row.name == kind)
        .map_or(&[][..], |row| row.fields);
    fields
        .iter()
        .filter(|field| field.secret)
        .map(|field| field.name)
}

/// Secrets that a change would send elsewhere although it does not know them: each with the field that was changed.
pub fn secrets_led_astray(
    kind: &str,
    given: &Map<String, Value>,
    stored: &Map<String, Value>,
    is_redacted: impl Fn(&Value) -> bool,
) -> Vec<FieldError> {
    let fields = KINDS
        .iter()
        .find(|row| row.name == kind)
        .map_or(&[][..], |row| row.fields);
    fn set<'c>(config: &'c Map<String, Value>, name: &str) -> Option<&'c Value> {
        config.get(name).filter(|value| !value.is_null())
    }
    let astray = |field: &Field| {
        let is_kept = given.get(field.name).is_some_and(&is_redacted);
        let changed = field
            .destination
            .iter()
            .find(|name| set(given, name) != set(stored, name));
        changed.filter(|_| is_kept).map(|changed| {
            FieldError::new(
                format!("config.{}", field.name),
                format!(
                    "{changed} is another now; a secret is sent there only when it is given anew"
                ),
            )
        })
    };
    fields.iter().filter_map(astray).collect()
}

fn find(name: &str) -> Result<&'static Kind, FieldError> {
    if let Some(kind) = KINDS.iter().find(|kind| kind.name == name) {
        return Ok(kind);
    }
    let built: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    let list = built.join(", ");
    let detail = if NOT_BUILT.contains(&name) {
        format!("channels of kind {name} are not built yet; today there is {list}")
    } else {
        let close = suggestion(name, built.iter().chain(NOT_BUILT).copied());
        let name = shortened(name);
        format!("{name:?} is not a kind of channel{close}; today there is {list}")
    };
    Err(FieldError::new("kind", detail))
}

/// The fields of `config`, each known, present where required, and passed by its own check. A null is an absent field.
fn checked<'v>(kind: &Kind, config: &'v Value) -> Result<&'v Map<String, Value>, Vec<FieldError>> {
    let Value::Object(given) = config else {
        return Err(vec![FieldError::new("config", "it must be an object")]);
    };
    let mut errors = Vec::new();
    for (name, value) in given {
        let field = format!("config.{}", shortened(name));
        match kind.fields.iter().find(|field| field.name == name) {
            None => {
                let close = suggestion(name, kind.fields.iter().map(|field| field.name));
                let detail = format!("a {} has no such field{close}", kind.name);
                errors.push(FieldError::new(field, detail));
            }
            Some(_) if value.is_null() => {}
            Some(known) => {
                if let Err(detail) = (known.check)(value) {
                    errors.push(FieldError::new(field, detail));
                }
            }
        }
    }
    for field in kind.fields.iter().filter(|field| field.required) {
        if given.get(field.name).is_none_or(Value::is_null) {
            let detail = format!("it is required: {}", field.help);
            errors.push(FieldError::new(format!("config.{}", field.name), detail));
        }
    }
    if errors.is_empty() {
        Ok(given)
    } else {
        Err(errors)
    }
}

/// `; did you mean x?` for the closest of `known`, or nothing where none is close.
fn suggestion<'n>(given: &str, known: impl Iterator<Item = &'n str>) -> String {
    // Comparing takes time by the length of both, and nobody mistypes so much.
    if given.len() > 64 {
        return String::new();
    }
    let given = given.to_ascii_lowercase();
    let scored = known.map(|name| (strsim::osa_distance(&given, name), name));
    match scored.min() {
        Some((distance, name)) if distance <= 2.max(name.len() / 3) => {
            format!("; did you mean {name}?")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A first attempt.
    pub(super) fn sending(delivery_id: &str, now: Time) -> Sending<'_> {
        Sending {
            delivery_id,
            attempt: 1,
            now,
            base_url: "https://systole.example",
            channel: 3,
            unsubscribe_url: None,
        }
    }

    fn errors(kind: &str, config: &Value) -> Vec<String> {
        Config::parse(kind, config)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_kind_that_is_not_built_says_so() {
        for name in NOT_BUILT {
            let error = errors(name, &json!({})).join("\n");
            assert!(
                error.contains("not built yet") && error.contains("webhook, slack, email"),
                "{error}"
            );
        }
    }

    #[test]
    fn an_unknown_kind_is_answered_with_the_closest() {
        for (given, close) in [
            ("webhok", "webhook"),
            ("Slak", "slack"),
            ("e-mail", "email"),
        ] {
            let error = errors(given, &json!({})).join("\n");
            assert!(error.contains(&format!("did you mean {close}?")), "{error}");
        }
        assert!(!errors("carrier-pigeon", &json!({}))[0].contains("did you mean"));
    }

    #[test]
    fn what_was_given_is_repeated_shortened() {
        let long = "x".repeat(100_000);
        let mut config = json!({"url": long, "format": long, "headers": {}});
        config["headers"][&long] = 1.into();
        config[&long] = 1.into();
        let all = [errors(&long, &json!({})), errors("webhook", &config)].concat();
        assert_eq!(all.len(), 5);
        for error in all {
            assert!(error.len() < 300, "{} bytes", error.len());
        }
        let mut config = json!({"url": "https://a.example/", "headers": {}});
        config["headers"]["x".repeat(1_000)] = 1.into();
        assert!(errors("webhook", &config)[0].len() < 300);
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let config = json!({"ulr": "https://a.example/", "format": "xml", "headers": 3});
        let errors = errors("webhook", &config);
        for expected in [
            "config.ulr: a webhook has no such field; did you mean url?",
            "config.format:",
            "config.headers:",
            "config.url: it is required",
        ] {
            assert!(
                errors.iter().any(|e| e.starts_with(expected)),
                "{expected}: {errors:?}"
            );
        }
    }

    #[test]
    fn a_config_that_is_no_object_is_refused() {
        assert_eq!(
            errors("webhook", &json!("https://a.example/")),
            ["config: it must be an object"]
        );
    }

    #[test]
    fn a_missing_secret_is_made_and_a_given_one_is_kept() {
        let mut config = json!({"url": "https://a.example/"});
        complete("webhook", &mut config, [7; 32]);
        let made = config["secret"].as_str().unwrap().to_owned();
        assert!(made.starts_with("whsec_"), "{made}");
        complete("webhook", &mut config, [8; 32]);
        assert_eq!(config["secret"], made);
        assert!(Config::parse("webhook", &config).is_ok());
        assert_eq!(
            secret_fields("webhook").collect::<Vec<_>>(),
            ["secret", "headers"]
        );
    }

    /// Of a channel that sends by HTTP.
    pub(super) fn http_request(
        config: &Config,
        message: &Message,
        sending: &Sending<'_>,
    ) -> Option<HttpRequest> {
        match config.request(message, sending)? {
            Request::Http(request) => Some(request),
            Request::Mail(mail) => panic!("{mail:?}"),
        }
    }

    #[test]
    fn a_request_shown_for_debugging_holds_no_secret() {
        let request = HttpRequest {
            method: http::Method::POST,
            url: Url::parse("https://a.example/hidden-path?hidden-query").unwrap(),
            headers: vec![("authorization".into(), "hidden-value".into())],
            body: b"hidden-body".to_vec(),
        };
        let shown = format!("{request:?}");
        assert!(shown.contains("https://a.example:443") && shown.contains("authorization"));
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
