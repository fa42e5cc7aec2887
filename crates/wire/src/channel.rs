//! Channels: where messages go.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::monitor::Warning;
use crate::problem::FieldError;
use crate::rules;
use crate::strict::{Object, Read};
use crate::text::{DurationText, present};

/// What stands in a reply in place of a secret. Sent back in a change, it keeps the secret as it is.
pub const REDACTED: &str = "(secret)";

/// A channel to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChannelInput {
    /// 1 to 200 printable characters, unique among the channels.
    #[schema(example = "on-call", min_length = 1, max_length = 200)]
    pub name: String,
    /// How messages are sent, for example `webhook`, `slack` or `email`.
    #[schema(example = "webhook")]
    pub kind: String,
    /// The settings of that kind.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
    /// Whether monitors that name no channels use it; yes where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Whether it also receives what concerns Systole itself: silent agents and regions, dead deliveries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<bool>,
    /// After how long an open, unacknowledged incident is said again; 4h where it is left out, `0` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<DurationText>,
    /// Whether a burst of messages goes out as one; by the kind where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<bool>,
    /// The set of documents that owns it, as `systole apply --set` says; none where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

impl Read for ChannelInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<ChannelInput> {
        let mut object = Object::open(value, path, errors)?;
        let name: Option<String> = object.required("name");
        let kind: Option<String> = object.required("kind");
        let config = object.optional("config");
        let default = object.optional("default");
        let system = object.optional("system");
        let remind_every = object.optional("remind_every");
        let digest = object.optional("digest");
        let set: Option<String> = object.optional("set");
        object.check("name", name.as_deref(), rules::name);
        object.check("set", set.as_deref(), rules::set);
        object.finish();
        Some(ChannelInput {
            name: name?,
            kind: kind?,
            config: config.unwrap_or_default(),
            default,
            system,
            remind_every,
            digest,
            set,
        })
    }
}

/// A change to a channel. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ChannelPatch {
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// May be repeated, cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The settings, all of them; a secret that reads `(secret)` stays as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub config: Option<Map<String, Value>>,
    /// Whether monitors that name no channels use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Whether it also receives what concerns Systole itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<bool>,
    /// After how long an open incident is said again; `0` for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remind_every: Option<DurationText>,
    /// Whether a burst of messages goes out as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<bool>,
    /// The set of documents that owns it from now on; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub set: Option<Option<String>>,
}

impl Read for ChannelPatch {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<ChannelPatch> {
        let mut object = Object::open(value, path, errors)?;
        let patch = ChannelPatch {
            name: object.change("name"),
            kind: object.change("kind"),
            config: object.change("config"),
            default: object.change("default"),
            system: object.change("system"),
            remind_every: object.change("remind_every"),
            digest: object.change("digest"),
            set: object.change_or_clear("set"),
        };
        object.check("name", patch.name.as_deref(), rules::name);
        object.check(
            "set",
            patch.set.as_ref().and_then(Option::as_deref),
            rules::set,
        );
        object.finish();
        Some(patch)
    }
}

/// A recipient whom their own unsubscribe link took off a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unsubscribed {
    /// The address.
    pub address: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    /// Its id, for URLs.
    pub id: String,
    /// Counts its changes; goes into `If-Match`.
    pub rev: i64,
    /// Its name.
    pub name: String,
    /// How messages are sent.
    pub kind: String,
    /// The settings of that kind; secrets read `(secret)`.
    #[schema(value_type = Object)]
    pub config: Map<String, Value>,
    /// Whether monitors that name no channels use it.
    pub default: bool,
    /// Whether it also receives what concerns Systole itself.
    pub system: bool,
    /// After how long an open, unacknowledged incident is said again; `0s` for never.
    pub remind_every: DurationText,
    /// Whether a burst of messages goes out as one.
    pub digest: bool,
    /// The set of documents that owns it.
    #[serde(default)]
    pub set: Option<String>,
    /// Recipients whom their own unsubscribe link took off `to`; who is entered there again leaves this list.
    #[serde(default)]
    pub unsubscribed: Vec<Unsubscribed>,
    /// What somebody should look at.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}
