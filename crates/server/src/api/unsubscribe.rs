//! Recipients of mail who take themselves off a channel, and how they are put back.

use serde_json::{Map, Value};
use systole_core::time::Time;
use systole_store::channels::ChannelRow;
use systole_store::{DEFAULT_PROJECT, Error};
use systole_wire::{Channel, Unsubscribed};

use super::ApiError;
use super::channels::{Draft, edit, open};
use super::extract::Expected;
use crate::app::App;
use crate::channels::{Config, email};
use crate::keys::random_text;
use crate::principals::Principal;
use crate::web::text::Untrusted;

/// The purpose under which the list is encrypted.
const SEALED_AS: &str = "unsubscribed";
/// Addresses that are remembered, the newest.
const REMEMBERED_MOST: usize = 200;
/// How often it is tried again when another change came between.
const TRIES: usize = 5;

/// What became of a wish to be taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenOff {
    /// There is no such channel, or it is none of mail.
    NoChannel,
    /// Nobody else would be told. It is so whether or not the address was the one that is left.
    OnlyOneLeft,
    /// It was none of its addresses.
    NotThere,
    /// This address is off it now.
    Done(String),
}

/// The sender of a channel of mail, by which its recipients know it.
///
/// # Errors
/// What the database says.
pub async fn sender(app: &App, channel: i64) -> Result<Option<String>, ApiError> {
    let config = app.deliverer.config(app, channel).await?;
    Ok(config.and_then(|config| match &config.1 {
        Config::Email(config) => Some(config.from().to_owned()),
        Config::Webhook(_) | Config::Slack(_) => None,
    }))
}

/// Takes an address off the recipients of a channel, unless it would have none then.
///
/// # Errors
/// What the database says; a channel that cannot be read; a channel that others change all the time.
pub async fn take_off(app: &App, channel: i64, address: &str) -> Result<TakenOff, ApiError> {
    for _ in 0..TRIES {
        let row = app.store.channel(DEFAULT_PROJECT, channel).await?;
        let Some(row) = row.filter(|row| row.fields.kind == email::KIND.name) else {
            return Ok(TakenOff::NoChannel);
        };
        let stored = open(app, &row)?;
        let mut draft = Draft::stored(&row, &stored, unsubscribed(app, &row)?);
        let Some(Value::Array(to)) = draft.config.get_mut("to") else {
            return Err(Error::Corrupt("a channel's configuration cannot be read").into());
        };
        if to.len() < 2 {
            return Ok(TakenOff::OnlyOneLeft);
        }
        // People do not tell letters' case apart, whatever a mail server does.
        let is_it = |one: &Value| {
            one.as_str()
                .is_some_and(|one| one.eq_ignore_ascii_case(address))
        };
        let Some(place) = to.iter().position(is_it) else {
            return Ok(TakenOff::NotThere);
        };
        let taken = to.remove(place).as_str().unwrap_or_default().to_owned();
        draft.unsubscribed.push(Unsubscribed {
            address: taken.clone(),
            at: app.now().to_string(),
        });
        let (fields, _) = draft.fields(app, &stored)?;
        let now = app.now();
        if app
            .store
            .update_channel(now, row.id, row.rev, &fields)
            .await?
        {
            app.deliverer.nudge();
            return Ok(TakenOff::Done(taken));
        }
    }
    Err(ApiError::conflict(
        "changed_meanwhile",
        "the channel is being changed by others all the time; try again",
    ))
}

/// Tells an address that it was taken off, through the channel's own server; answers what went wrong.
pub async fn say_farewell(app: &App, channel: i64, address: &str) -> Result<(), String> {
    let config = app.deliverer.config(app, channel).await;
    let config = config.map_err(|error| crate::chain(&error))?;
    let Some(Config::Email(config)) = config.as_deref().map(|(_, config)| config) else {
        return Err("the channel is gone".to_owned());
    };
    let id = random_text("off_").map_err(|error| error.to_string())?;
    let mail = email::farewell(config, address, &app.base_url, &id, app.now())
        .ok_or("no letter can be made of it")?;
    let sent = app.deliverer.outbound().send_mail(&mail, || true).await;
    match sent {
        Ok(answer) if answer.accepted > 0 => Ok(()),
        Ok(answer) => Err(answer.detail()),
        Err(error) => Err(error.message),
    }
}

/// Puts an address back that its unsubscribe link took off.
///
/// # Errors
/// 404 for a channel or an address that is not there; too many recipients.
pub async fn put_back(
    app: &App,
    by: &Principal,
    id: i64,
    address: &str,
) -> Result<Channel, ApiError> {
    let row = app.store.channel(by.project, id).await?;
    let row = row.ok_or_else(|| ApiError::not_found("channel"))?;
    let known = unsubscribed(app, &row)?;
    if known.iter().all(|one| one.address != address) {
        return Err(ApiError::not_found("address"));
    }
    edit(app, by, id, Expected(None), |mut draft| {
        if let Some(Value::Array(to)) = draft.config.get_mut("to")
            && to.iter().all(|one| one.as_str() != Some(address))
        {
            to.push(Value::from(address));
        }
        draft
    })
    .await
}

/// The same, as a page shows it. A list that cannot be read is shown as none.
pub fn taken_off(app: &App, row: &ChannelRow) -> Vec<(Untrusted, Time)> {
    let known = unsubscribed(app, row).unwrap_or_default();
    let read = known
        .into_iter()
        .filter_map(|one| Some((one.address.into(), Time::parse(&one.at).ok()?)));
    read.collect()
}

/// Whom their link took off a channel.
pub(super) fn unsubscribed(app: &App, row: &ChannelRow) -> Result<Vec<Unsubscribed>, ApiError> {
    let Some(cipher) = &row.fields.unsubscribed_cipher else {
        return Ok(Vec::new());
    };
    let bytes = app.keys.open(SEALED_AS, cipher)?;
    let read = serde_json::from_slice(&bytes);
    read.map_err(|_| Error::Corrupt("who unsubscribed from a channel cannot be read").into())
}

/// The list to be stored: without those who are recipients again.
pub(super) fn sealed(
    app: &App,
    mut unsubscribed: Vec<Unsubscribed>,
    config: &Map<String, Value>,
) -> Result<Option<Vec<u8>>, ApiError> {
    let to = config.get("to").and_then(Value::as_array);
    unsubscribed.retain(|one| {
        let is_it = |to: &Value| to.as_str() == Some(&one.address);
        !to.is_some_and(|to| to.iter().any(is_it))
    });
    if unsubscribed.is_empty() {
        return Ok(None);
    }
    let oldest = unsubscribed.len().saturating_sub(REMEMBERED_MOST);
    let text = serde_json::json!(unsubscribed[oldest..]).to_string();
    Ok(Some(app.keys.seal(SEALED_AS, text.as_bytes())?))
}
