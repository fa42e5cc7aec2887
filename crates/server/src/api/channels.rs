//! Channels: where messages go. Their settings are stored encrypted as a whole; secrets are never shown again.

use serde_json::{Map, Value};
use systole_core::time::Span;
use systole_store::channels::{ChannelFields, ChannelRow};
use systole_wire::{
    Attempt, Channel, ChannelInput, ChannelPatch, DurationText, FieldError, Page, REDACTED,
    Unsubscribed,
};

use super::ApiError;
use super::extract::{Expected, Query};
use super::fields::span;
use super::ids::{channel_id, parse_channel_id};
use super::unsubscribe::{sealed, unsubscribed};
use crate::app::App;
use crate::channels::{Config, complete, redacted, secret_fields, secrets_led_astray};
use crate::deliverer;
use crate::keys::random;
use crate::principals::{Principal, Role};

/// After how long an open incident is said again where nothing is given.
pub const REMIND_EVERY: Span = Span::from_seconds(4 * 3_600);
/// How often a change without `If-Match` is tried again when another one came between.
const TRIES: usize = 5;

/// Makes a channel. A secret that was made for it is shown in this reply alone.
///
/// # Errors
/// Wrong fields; a name in use.
pub async fn create(app: &App, by: &Principal, input: ChannelInput) -> Result<Channel, ApiError> {
    let given = input.config.clone();
    let draft = Draft::of(input);
    let (fields, config) = draft.fields(app, &Map::new())?;
    let id = app
        .store
        .create_channel(app.now(), by.project, &fields)
        .await?;
    app.deliverer.nudge();
    let mut channel = read(app, by, id).await?;
    for (name, value) in config {
        if !given.contains_key(&name) {
            channel.config.insert(name, value);
        }
    }
    Ok(channel)
}

/// One channel.
///
/// # Errors
/// 404.
pub async fn read(app: &App, by: &Principal, id: i64) -> Result<Channel, ApiError> {
    Ok(reply(app, by, &row(app, by, id).await?))
}

/// Channels, newest first.
///
/// # Errors
/// What the database says, or a wrong parameter.
pub async fn list(app: &App, by: &Principal, mut query: Query) -> Result<Page<Channel>, ApiError> {
    let (before, limit) = (query.cursor(parse_channel_id), query.limit());
    query.finish()?;
    let mut rows = app.store.channels(by.project).await?;
    rows.retain(|row| before.is_none_or(|before| row.id < before));
    let next = super::cut(&mut rows, limit, |row| channel_id(row.id));
    Ok(Page {
        items: rows.iter().map(|row| reply(app, by, row)).collect(),
        next,
    })
}

/// Changes what a patch names. `config` is replaced as a whole; in it, `(secret)` stands for the secret there is.
///
/// # Errors
/// Wrong fields, 404, 412, a name in use.
pub async fn update(
    app: &App,
    by: &Principal,
    id: i64,
    expected: Expected,
    patch: ChannelPatch,
) -> Result<Channel, ApiError> {
    edit(app, by, id, expected, |draft| draft.change(patch.clone())).await
}

/// Sets every field: those left out get their defaults, but secrets and the set stay.
///
/// # Errors
/// As [`update`].
pub async fn replace(
    app: &App,
    by: &Principal,
    id: i64,
    expected: Expected,
    input: ChannelInput,
) -> Result<Channel, ApiError> {
    edit(app, by, id, expected, |draft| {
        let kind = input.kind.clone();
        let input = Draft::of(input.clone());
        Draft {
            is_kind_kept: kind == draft.kind,
            set: input.set.or(draft.set),
            unsubscribed: draft.unsubscribed,
            ..input
        }
    })
    .await
}

pub(super) async fn edit(
    app: &App,
    by: &Principal,
    id: i64,
    expected: Expected,
    change: impl Fn(Draft) -> Draft,
) -> Result<Channel, ApiError> {
    for _ in 0..TRIES {
        let row = row(app, by, id).await?;
        expected.check(row.rev)?;
        let stored = open(app, &row)?;
        let before = Draft::stored(&row, &stored, unsubscribed(app, &row)?);
        let (fields, config) = change(before.clone()).fields(app, &stored)?;
        let is_same = config == stored
            && fields.name == row.fields.name
            && fields.default == row.fields.default
            && fields.system == row.fields.system
            && fields.remind_every == row.fields.remind_every
            && fields.digest == row.fields.digest
            && fields.set == row.fields.set;
        if is_same {
            return Ok(reply(app, by, &row));
        }
        if app
            .store
            .update_channel(app.now(), id, row.rev, &fields)
            .await?
        {
            app.deliverer.nudge();
            return read(app, by, id).await;
        }
    }
    Err(ApiError::conflict(
        "changed_meanwhile",
        "it is being changed by others all the time; try again",
    ))
}

/// Deletes a channel; what waits for it is given up, visibly.
///
/// # Errors
/// 404, 412.
pub async fn delete(
    app: &App,
    by: &Principal,
    id: i64,
    expected: Expected,
) -> Result<(), ApiError> {
    expected.check(row(app, by, id).await?.rev)?;
    app.store.delete_channel(app.now(), id).await?;
    app.deliverer.nudge();
    // What waited for it is dead now, and that is to be told.
    app.engine.ask_follow_up();
    Ok(())
}

/// Sends a test message at once; answers how it went.
///
/// # Errors
/// 404.
pub async fn test(app: &App, by: &Principal, id: i64) -> Result<Attempt, ApiError> {
    row(app, by, id).await?;
    let attempt = deliverer::test(app, id)
        .await?
        .ok_or_else(|| ApiError::not_found("channel"))?;
    Ok(super::deliveries::attempt(1, &attempt))
}

async fn row(app: &App, by: &Principal, id: i64) -> Result<ChannelRow, ApiError> {
    app.store
        .channel(by.project, id)
        .await?
        .ok_or_else(|| ApiError::not_found("channel"))
}

/// Whether a channel of this kind gathers a burst unless told otherwise: people read chats and mail, programs want each
/// message.
pub fn gathers(kind: &str) -> bool {
    kind != "webhook"
}

/// A channel as people write it.
#[derive(Clone)]
pub(super) struct Draft {
    name: String,
    kind: String,
    is_kind_kept: bool,
    pub(super) config: Map<String, Value>,
    default: bool,
    system: bool,
    remind_every: DurationText,
    digest: bool,
    set: Option<String>,
    pub(super) unsubscribed: Vec<Unsubscribed>,
}

impl Draft {
    fn of(input: ChannelInput) -> Draft {
        let digest = input.digest.unwrap_or_else(|| gathers(&input.kind));
        Draft {
            name: input.name,
            kind: input.kind,
            is_kind_kept: true,
            config: input.config,
            default: input.default.unwrap_or(true),
            system: input.system.unwrap_or(false),
            remind_every: input
                .remind_every
                .unwrap_or_else(|| DurationText(REMIND_EVERY.to_string())),
            digest,
            set: input.set,
            unsubscribed: Vec::new(),
        }
    }

    pub(super) fn stored(
        row: &ChannelRow,
        config: &Map<String, Value>,
        unsubscribed: Vec<Unsubscribed>,
    ) -> Draft {
        Draft {
            name: row.fields.name.clone(),
            kind: row.fields.kind.clone(),
            is_kind_kept: true,
            config: config.clone(),
            default: row.fields.default,
            system: row.fields.system,
            remind_every: DurationText(Span::from_micros(row.fields.remind_every).to_string()),
            digest: row.fields.digest,
            set: row.fields.set.clone(),
            unsubscribed,
        }
    }

    fn change(self, patch: ChannelPatch) -> Draft {
        Draft {
            name: patch.name.unwrap_or(self.name),
            is_kind_kept: patch.kind.is_none_or(|kind| kind == self.kind),
            kind: self.kind,
            config: patch.config.unwrap_or(self.config),
            default: patch.default.unwrap_or(self.default),
            system: patch.system.unwrap_or(self.system),
            remind_every: patch.remind_every.unwrap_or(self.remind_every),
            digest: patch.digest.unwrap_or(self.digest),
            set: patch.set.unwrap_or(self.set),
            unsubscribed: self.unsubscribed,
        }
    }

    /// To be stored, and the settings in clear. Secrets left out or redacted are those of `stored`.
    pub(super) fn fields(
        self,
        app: &App,
        stored: &Map<String, Value>,
    ) -> Result<(ChannelFields, Map<String, Value>), ApiError> {
        let mut errors = Vec::new();
        if !self.is_kind_kept {
            errors.push(FieldError::new(
                "kind",
                "cannot be changed; make another channel",
            ));
        }
        if parse_channel_id(&self.name).is_some() {
            errors.push(FieldError::new(
                "name",
                "has the form of a channel's id; choose another",
            ));
        }
        let remind_every = span("remind_every", &self.remind_every, &mut errors);
        let astray = secrets_led_astray(&self.kind, &self.config, stored, is_redacted);
        errors.extend(
            astray
                .into_iter()
                .map(|error| FieldError::new(error.field, error.detail)),
        );
        let config = completed(&self.kind, self.config, stored, random()?);
        if let Err(wrong) = Config::parse(&self.kind, &Value::Object(config.clone())) {
            errors.extend(
                wrong
                    .into_iter()
                    .map(|error| FieldError::new(error.field, error.detail)),
            );
        }
        let Some(remind_every) = remind_every.filter(|_| errors.is_empty()) else {
            return Err(ApiError::invalid(errors));
        };
        let text = Value::Object(config.clone()).to_string();
        let fields = ChannelFields {
            name: self.name,
            kind: self.kind,
            config_cipher: app.keys.seal("channel", text.as_bytes())?,
            default: self.default,
            system: self.system,
            remind_every: remind_every.as_micros(),
            digest: self.digest,
            set: self.set,
            unsubscribed_cipher: sealed(app, self.unsubscribed, &config)?,
        };
        Ok((fields, config))
    }
}

/// Puts stored secrets back where they were redacted, keeps a secret of our making, makes one where there is none.
fn completed(
    kind: &str,
    mut config: Map<String, Value>,
    stored: &Map<String, Value>,
    random: [u8; 32],
) -> Map<String, Value> {
    config.retain(|_, value| !value.is_null());
    for name in secret_fields(kind) {
        if let (Some(given), Some(known)) = (config.get_mut(name), stored.get(name)) {
            restore(given, known);
        }
    }
    let mut whole = Value::Object(config.clone());
    complete(kind, &mut whole, random);
    let Value::Object(mut whole) = whole else {
        return config;
    };
    for (name, known) in stored {
        if !config.contains_key(name) && whole.contains_key(name) {
            whole.insert(name.clone(), known.clone());
        }
    }
    whole
}

/// Whether it says `(secret)`, or holds something that does.
fn is_redacted(value: &Value) -> bool {
    match value {
        Value::String(text) => text == REDACTED,
        Value::Object(fields) => fields.values().any(is_redacted),
        _ => false,
    }
}

fn restore(given: &mut Value, known: &Value) {
    match (given, known) {
        (given @ Value::String(_), known) if given.as_str() == Some(REDACTED) => {
            *given = known.clone()
        }
        (Value::Object(given), Value::Object(known)) => {
            for (name, value) in given {
                if let Some(known) = known.get(name) {
                    restore(value, known);
                }
            }
        }
        _ => {}
    }
}

/// Every text of a secret field, redacted; the names in it stay, so that people see what is set.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(hide),
        Value::Null => {}
        other => *other = Value::from(REDACTED),
    }
}

pub(super) fn open(app: &App, row: &ChannelRow) -> Result<Map<String, Value>, ApiError> {
    let bytes = app.keys.open("channel", &row.fields.config_cipher)?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => Ok(fields),
        _ => Err(systole_store::Error::Corrupt("a channel's configuration cannot be read").into()),
    }
}

fn reply(app: &App, by: &Principal, row: &ChannelRow) -> Channel {
    // One that cannot be opened is shown all the same, so that it can be deleted.
    let mut config = open(app, row).unwrap_or_default();
    for name in secret_fields(&row.fields.kind) {
        if let Some(value) = config.get_mut(name) {
            hide(value);
        }
    }
    if by.role < Role::Editor {
        shorten_urls(&mut config);
    }
    Channel {
        id: channel_id(row.id),
        rev: row.rev,
        name: row.fields.name.clone(),
        kind: row.fields.kind.clone(),
        config,
        default: row.fields.default,
        system: row.fields.system,
        remind_every: DurationText(Span::from_micros(row.fields.remind_every).to_string()),
        digest: row.fields.digest,
        set: row.fields.set.clone(),
        unsubscribed: unsubscribed(app, row).unwrap_or_default(),
        warnings: Vec::new(),
        created_at: row.created_at.to_string(),
    }
}

/// Paths and queries of such URLs are credentials as often as not.
fn shorten_urls(config: &mut Map<String, Value>) {
    for value in config.values_mut() {
        if let Some(url) = value
            .as_str()
            .and_then(|text| url::Url::parse(text).ok())
            .filter(|url| url.has_host())
        {
            *value = Value::from(redacted(&url));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(fields) = value else {
            panic!("{value}")
        };
        fields
    }

    #[test]
    fn secrets_stay_unless_they_are_given_anew() {
        let stored = json!({"url": "https://a.test/", "secret": "whsec_old", "headers": {"x-key": "old", "x-more": "old"}});
        for (given, expected) in [
            (
                json!({"url": "https://b.test/"}),
                json!({"url": "https://b.test/", "secret": "whsec_old"}),
            ),
            (
                json!({"url": "https://a.test/", "secret": REDACTED, "headers": {"x-key": REDACTED, "x-new": "n"}}),
                json!({"url": "https://a.test/", "secret": "whsec_old", "headers": {"x-key": "old", "x-new": "n"}}),
            ),
            (
                json!({"url": "https://a.test/", "secret": "whsec_new", "headers": null}),
                json!({"url": "https://a.test/", "secret": "whsec_new"}),
            ),
        ] {
            let made = completed(
                "webhook",
                object(given.clone()),
                &object(stored.clone()),
                [7; 32],
            );
            assert_eq!(Value::Object(made), expected, "{given}");
        }
    }

    #[test]
    fn a_new_webhook_gets_a_secret() {
        let made = completed(
            "webhook",
            object(json!({"url": "https://a.test/"})),
            &Map::new(),
            [7; 32],
        );
        assert!(
            made["secret"].as_str().unwrap().starts_with("whsec_"),
            "{made:?}"
        );
    }

    #[test]
    fn what_is_hidden_shows_its_names_alone() {
        let mut value = json!({"authorization": "Bearer x", "list": ["x"]});
        hide(&mut value);
        assert_eq!(value, json!({"authorization": REDACTED, "list": REDACTED}));
    }
}
