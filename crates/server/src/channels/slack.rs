//! Slack: Block Kit by POST to an incoming webhook, whose URL is the credential.

use std::fmt;

use http::Method;
use serde_json::{Map, Value};
use systole_core::delivery::{ErrorClass, Outcome};
use systole_core::message::Message;
use systole_core::time::Time;
use url::{Host, Url};

use super::{
    Field, FieldError, HttpRequest, Input, Kind, Sending, redacted, retry_after, slack_blocks,
    webhook, words,
};

/// The row of this kind.
pub const KIND: Kind = Kind {
    name: "slack",
    title: "Slack",
    about: "Posts to a channel of Slack, or of what takes Slack's messages, such as Mattermost.",
    fields: &[Field {
        name: "url",
        label: "Webhook URL",
        help: "the URL of an incoming webhook, as https://hooks.slack.com/services/…; it is kept as a secret",
        required: true,
        secret: true,
        destination: &[],
        input: Input::Secret,
        check: |value| read_url(value).map(drop),
    }],
};

/// Slack's own hosts. They alone are known to answer with `ok`.
const SLACK: &[&str] = &["hooks.slack.com", "hooks.slack-gov.com"];

/// From this attempt on a message is kept short: Slack has refused long ones that keep every documented limit.
const BRIEF_FROM: u32 = 3;

/// A Slack channel's configuration, validated. Its `Debug` shows no path.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    url: Url,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("url", &redacted(&self.url))
            .finish()
    }
}

impl Config {
    /// Reads fields that [`KIND`] knows.
    pub(super) fn from_checked(fields: &Map<String, Value>) -> Result<Config, Vec<FieldError>> {
        let url = read_url(fields.get("url").unwrap_or(&Value::Null))
            .map_err(|detail| vec![FieldError::new("config.url", detail)])?;
        Ok(Config { url })
    }

    /// Where it goes, as it may be shown.
    pub fn target(&self) -> String {
        redacted(&self.url)
    }

    fn is_slacks_own(&self) -> bool {
        self.url.host_str().is_some_and(is_slack)
    }
}

/// The request for a message.
pub fn request(config: &Config, message: &Message, sending: &Sending<'_>) -> HttpRequest {
    let told = words::told(message, sending.base_url, sending.now);
    let length = if sending.attempt < BRIEF_FROM {
        slack_blocks::Length::Full
    } else {
        slack_blocks::Length::Brief
    };
    HttpRequest {
        method: Method::POST,
        url: config.url.clone(),
        headers: vec![(
            "content-type".to_owned(),
            "application/json; charset=utf-8".to_owned(),
        )],
        body: slack_blocks::payload(&told, length)
            .to_string()
            .into_bytes(),
    }
}

/// What an answer means. Slack says in a word what is wrong; the class says what to do about it.
pub fn judge(
    config: &Config,
    status: u16,
    retry_after: Option<&str>,
    excerpt: &str,
    now: Time,
) -> Outcome {
    let retry = |class| Outcome::Retry {
        class,
        retry_after: retry_after.and_then(|text| retry_after::parse(text, now)),
    };
    let reject = |class| Outcome::Reject { class };
    match (status, excerpt.trim()) {
        // A sign-in page or a proxy's notice answers 200 too.
        (200..=299, said) if said != "ok" && config.is_slacks_own() => {
            retry(ErrorClass::InvalidResponse)
        }
        (200..=299, _) => Outcome::Delivered { status },
        (300..=399, _) => reject(ErrorClass::Redirect),
        (429, _) => retry(ErrorClass::RateLimited),
        (408, _) => retry(ErrorClass::Timeout),
        (410, _) | (_, "channel_is_archived") => reject(ErrorClass::Gone),
        // The webhook was taken back, or may not post here any more: a new URL is needed.
        (401 | 403, _)
        | (
            400..=499,
            "action_prohibited" | "invalid_token" | "no_active_hooks" | "no_service"
            | "no_service_id" | "no_team" | "team_disabled" | "user_not_found",
        ) => reject(ErrorClass::Auth),
        (
            400..=499,
            "invalid_payload"
            | "invalid_blocks"
            | "invalid_blocks_format"
            | "invalid_attachments"
            | "msg_blocks_too_long"
            | "msg_too_long"
            | "no_text"
            | "too_many_attachments",
        )
        | (413 | 415 | 422, _) => reject(ErrorClass::InvalidPayload),
        (400..=499, _) => reject(ErrorClass::Http4xx),
        (500..=599, _) => retry(ErrorClass::Http5xx),
        _ => retry(ErrorClass::InvalidResponse),
    }
}

fn is_slack(host: &str) -> bool {
    SLACK.contains(&host.trim_end_matches('.'))
}

/// The errors repeat nothing of the text beyond its scheme and host.
fn read_url(value: &Value) -> Result<Url, String> {
    let url = webhook::read_any_url(value, "an incoming webhook has none, copy its URL again")?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name.trim_end_matches('.') == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() != "https" && !is_here {
        return Err(
            "its scheme is http, and its path is a credential that anybody on the way could read; \
             enter it with https://"
                .to_owned(),
        );
    }
    let is_webhook = url.path().starts_with("/services/");
    if url.host_str().is_some_and(is_slack) && !is_webhook {
        return Err(
            "it is not the URL of an incoming webhook, whose path begins with /services/ (a \
             workflow's trigger takes other messages); make one at https://api.slack.com/apps"
                .to_owned(),
        );
    }
    Ok(url)
}

#[cfg(test)]
#[path = "slack_tests.rs"]
mod tests;
