//! Channels: the list, making one, testing one, deleting one.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use systole_store::Error;
use systole_store::channels::ChannelRow;
use systole_store::deliveries::DeliveryFilter;
use systole_wire::{ChannelInput, FieldError};

use super::frame::Says;
use super::monitor_form::of_field;
use super::reply::{Failure, Reply, invalid, page, see};
use super::visitor::Visitor;
use super::{Pages, frame, incidents, sentences};
use crate::api::{ApiError, channels as api};
use crate::api::{Expected, read};
use crate::api::{channel_id, parse_channel_id};
use crate::app::App;
use crate::channels::redacted;
use crate::web::render;
use crate::web::views::{self, ChannelsView, FormError};

/// Deliveries in which the last of each channel is looked for.
const DELIVERIES_READ: u32 = 500;

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Fields {
    name: String,
    url: String,
    default: Option<String>,
    system: Option<String>,
}

/// `GET /channels`.
pub(super) async fn list(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Reply {
    let view = view(&pages, &visitor, &Fields::default(), Vec::new()).await?;
    Ok(page(StatusCode::OK, render::channels(&view)))
}

async fn view(
    pages: &Pages,
    visitor: &Visitor,
    fields: &Fields,
    errors: Vec<FormError>,
) -> Result<ChannelsView, Failure> {
    let app = &pages.app;
    let last = last_deliveries(app, visitor.project()).await?;
    let mut rows = app.store.channels(visitor.project()).await?;
    rows.sort_by_key(|row| row.fields.name.to_lowercase());
    Ok(ChannelsView {
        frame: frame::frame(pages, visitor, Says::All).await?,
        rows: rows.iter().map(|row| channel(app, row, &last)).collect(),
        name: fields.name.clone().into(),
        url: fields.url.clone().into(),
        errors,
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
async fn last_deliveries(app: &App, project: i64) -> Result<Last, Error> {
    let filter = DeliveryFilter {
        limit: DELIVERIES_READ,
        ..DeliveryFilter::default()
    };
    let mut last = Last::new();
    for row in app.store.deliveries(project, &filter).await? {
        if row.state == "superseded" {
            continue;
        }
        let mut what = format!(
            "incident #{} {}",
            row.incident,
            sentences::told_event(&row.kind)
        );
        if row.state == "pending" && row.attempts > 1 {
            what = format!("{what}, tried {} times", row.attempts);
        }
        if let Some(detail) = row.detail.as_deref().filter(|detail| !detail.is_empty()) {
            what = format!("{what}, {detail}");
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
    }
}

/// Host and port: paths and queries of such URLs are credentials as often as not.
fn target(app: &App, row: &ChannelRow) -> String {
    let config = app.keys.open("channel", &row.fields.config_cipher).ok();
    let config: Option<Value> = config.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let url = config
        .as_ref()
        .and_then(|config| config.get("url"))
        .and_then(Value::as_str);
    url.and_then(|url| url::Url::parse(url).ok()).map_or_else(
        || "Its settings cannot be read; delete it and make it anew.".to_owned(),
        |url| redacted(&url),
    )
}

/// `POST /channels`.
pub(super) async fn create(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Form(fields): Form<Fields>,
) -> Reply {
    let by = visitor.editor()?;
    let document = json!({
        "name": fields.name.trim(),
        "kind": "webhook",
        "config": {"url": fields.url.trim()},
        "default": fields.default.is_some(),
        "system": fields.system.is_some(),
    });
    let made = match read::<ChannelInput>(document) {
        Ok(input) => api::create(&pages.app, by, input).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(channel) => {
            let secret = channel
                .config
                .get("secret")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let text = format!(
                "{} is made. Its messages are signed with the secret {secret}, which is shown only now: give it to the \
                 receiver. Then send a test.",
                channel.name
            );
            pages.notices.say(&visitor, false, text);
            Ok(see("/channels"))
        }
        Err(error) => {
            let view = view(&pages, &visitor, &fields, errors(error)?).await?;
            Ok(invalid(render::channels(&view)))
        }
    }
}

fn errors(error: ApiError) -> Result<Vec<FormError>, Failure> {
    if error.problem().errors.is_empty() {
        return Err(error.into());
    }
    let form = error.problem().errors.iter().map(|error: &FieldError| {
        let field = match error.field.as_str() {
            "name" => "name",
            "config.url" => "url",
            _ => "",
        };
        FormError {
            field,
            text: of_field(error).into(),
        }
    });
    Ok(form.collect())
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
            pages
                .notices
                .say(&visitor, !is_delivered, super::reply::sentence(&text));
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
