//! Channels: the list, making one, testing one, deleting one. Editing is in `channel_form`, beside the form itself.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use serde_json::Value;
use systole_store::Error;
use systole_store::channels::ChannelRow;
use systole_store::deliveries::DeliveryFilter;
use systole_wire::{Channel, ChannelInput, FieldError, REDACTED};

use super::channel_form::{Fields, document, forms, given};
use super::frame::Says;
use super::reply::{Failure, Reply, invalid, page, see, sentence};
use super::visitor::Visitor;
use super::{Pages, frame, incidents, sentences};
use crate::api::channels as api;
use crate::api::unsubscribe;
use crate::api::{Expected, read};
use crate::api::{channel_id, parse_channel_id};
use crate::app::App;
use crate::channels::Config;
use crate::web::render;
use crate::web::views::{self, ChannelsView};

/// Deliveries of a channel in which the last one that was sent is looked for.
const DELIVERIES_READ: u32 = 20;
/// How far back it is looked for, in deliveries of all channels.
const LOOKED_BACK: i64 = 50_000;

/// `GET /channels`.
pub(super) async fn list(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Reply {
    let view = view(&pages, &visitor, None).await?;
    Ok(page(StatusCode::OK, render::channels(&view)))
}

async fn view(
    pages: &Pages,
    visitor: &Visitor,
    tried: Option<(&Fields, &[FieldError])>,
) -> Result<ChannelsView, Failure> {
    let app = &pages.app;
    let mut rows = app.store.channels(visitor.project()).await?;
    let last = last_deliveries(app, visitor.project(), &rows).await?;
    rows.sort_by_key(|row| row.fields.name.to_lowercase());
    Ok(ChannelsView {
        frame: frame::frame(pages, visitor, Says::All).await?,
        rows: rows.iter().map(|row| channel(app, row, &last)).collect(),
        forms: forms(tried),
    })
}

type Last = HashMap<
    i64,
    (
        views::State,
        systole_core::time::Time,
        crate::web::text::Untrusted,
    ),
>;

/// What became of each channel's last delivery.
async fn last_deliveries(app: &App, project: i64, channels: &[ChannelRow]) -> Result<Last, Error> {
    let newest = DeliveryFilter {
        limit: 1,
        ..DeliveryFilter::default()
    };
    let newest = app.store.deliveries(project, &newest).await?;
    let newest = newest.first().map_or(0, |row| row.id);
    let mut rows = Vec::new();
    for channel in channels {
        let filter = DeliveryFilter {
            channel: Some(channel.id),
            after: Some(newest - LOOKED_BACK),
            limit: DELIVERIES_READ,
            ..DeliveryFilter::default()
        };
        rows.extend(app.store.deliveries(project, &filter).await?);
    }
    let mut last = Last::new();
    for row in rows {
        if row.state == "superseded" {
            continue;
        }
        let mut what = format!(
            "incident #{} {}",
            row.incident,
            sentences::told_event(&row.kind, &row.occasion)
        );
        if row.state == "pending" && row.attempts > 1 {
            what = format!("{what}, tried {} times", row.attempts);
        }
        if let Some(detail) = row.detail.as_deref().filter(|detail| !detail.is_empty()) {
            what = format!("{what}, {detail}");
        }
        if sentences::is_held(&row) {
            continue;
        }
        let state = incidents::delivery_state(row.state);
        last.entry(row.channel).or_insert((
            state,
            row.finished_at.unwrap_or(row.decided_at),
            what.into(),
        ));
    }
    Ok(last)
}

fn channel(app: &App, row: &ChannelRow, last: &Last) -> views::ChannelRow {
    views::ChannelRow {
        id: channel_id(row.id),
        name: row.fields.name.clone().into(),
        kind: row.fields.kind.clone().into(),
        target: target(app, row).into(),
        default: row.fields.default,
        system: row.fields.system,
        set: row.fields.set.clone().map(Into::into),
        last: last.get(&row.id).cloned(),
        unsubscribed: unsubscribe::taken_off(app, row),
    }
}

/// Without credentials: a channel's URL is one as often as not.
fn target(app: &App, row: &ChannelRow) -> String {
    let opened = app.keys.open("channel", &row.fields.config_cipher).ok();
    let value: Option<Value> = opened.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let config = value.and_then(|value| Config::parse(&row.fields.kind, &value).ok());
    config.map_or_else(
        || "Its settings cannot be read; delete it and make it anew.".to_owned(),
        |config| config.target(),
    )
}

/// `POST /channels`.
pub(super) async fn create(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Form(fields): Form<Fields>,
) -> Reply {
    let by = visitor.editor()?;
    let made = match read::<ChannelInput>(document(&fields)) {
        Ok(input) => api::create(&pages.app, by, input).await,
        Err(error) => Err(error),
    };
    let error = match made {
        Ok(channel) => {
            pages.notices.say(&visitor, false, is_made(&channel));
            return Ok(see("/channels"));
        }
        Err(error) if error.problem().errors.is_empty() => return Err(error.into()),
        Err(error) => error,
    };
    let view = view(&pages, &visitor, Some((&fields, &error.problem().errors))).await?;
    Ok(invalid(render::channels(&view)))
}

/// A secret of our making is shown this once.
fn is_made(channel: &Channel) -> String {
    let secret = channel.config.get("secret").and_then(Value::as_str);
    match secret.filter(|secret| *secret != REDACTED) {
        Some(secret) => format!(
            "{} is made. Its messages are signed with the secret {secret}, which is shown only now: give it to the \
             receiver. Then send a test.",
            channel.name
        ),
        None => format!("{} is made. Now send a test.", channel.name),
    }
}

/// `POST /channels/{id}/put-back`.
pub(super) async fn put_back(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Reply {
    let by = visitor.editor()?;
    let id = parse_channel_id(&id).ok_or(Failure::NotFound)?;
    let address = given(&fields, "address");
    let channel = unsubscribe::put_back(&pages.app, by, id, address).await?;
    let text = format!("{address} is told again by {}.", channel.name);
    pages.notices.say(&visitor, false, text);
    Ok(see("/channels"))
}

/// `POST /channels/{id}/test`, `/delete`.
pub(super) async fn act(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path((id, action)): Path<(String, String)>,
) -> Reply {
    let by = visitor.editor()?;
    let app = &pages.app;
    let id = parse_channel_id(&id).ok_or(Failure::NotFound)?;
    let name = app
        .store
        .channel(visitor.project(), id)
        .await?
        .ok_or(Failure::NotFound)?
        .fields
        .name;
    match action.as_str() {
        "test" => {
            let attempt = api::test(app, by, id).await?;
            let is_delivered = attempt.outcome == "delivered";
            let detail = attempt.error.or(attempt.response).unwrap_or_default();
            let text = if is_delivered {
                format!("The test arrived at {name}: {detail}")
            } else {
                format!("The test did not arrive at {name}: {detail}")
            };
            pages.notices.say(&visitor, !is_delivered, sentence(&text));
        }
        "delete" => {
            api::delete(app, by, id, Expected(None)).await?;
            pages
                .notices
                .say(&visitor, false, format!("{name} is deleted."));
        }
        _ => return Err(Failure::NotFound),
    }
    Ok(see("/channels"))
}
