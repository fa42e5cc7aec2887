//! `/channels`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use systole_wire::{Attempt, Channel, ChannelInput, ChannelPatch, Page};

use super::{Reply, created, of_revision, ok};
use crate::api::extract::{Expected, Input, Query};
use crate::api::ids::ChannelPath;
use crate::api::{ApiError, channels};
use crate::app::App;
use crate::auth::{Editor, Viewer};

/// Make a channel
///
/// A webhook's signing secret is made where none is given. It is shown in this reply alone; later ones read `(secret)`.
#[utoipa::path(post, path = "/channels", tag = "channels", request_body = ChannelInput,
    responses((status = 201, description = "Made; a secret that was made stands in `config`", body = Channel), ApiError))]
pub async fn create_channel(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    Input(input): Input<ChannelInput>,
) -> Reply {
    let made = channels::create(&app, &by, input).await?;
    created(&format!("channels/{}", made.id), Some(made.rev), &made)
}

/// List channels
///
/// Newest first.
#[utoipa::path(get, path = "/channels", tag = "channels",
    params(
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Channel>), ApiError))]
pub async fn list_channels(State(app): State<Arc<App>>, Viewer(by): Viewer, query: Query) -> Reply {
    ok(&channels::list(&app, &by, query).await?)
}

/// Read a channel
///
/// Secrets read `(secret)`. Of URLs, whose paths are credentials often, viewers see scheme and host.
#[utoipa::path(get, path = "/channels/{id}", tag = "channels", params(("id" = String, Path, description = "The id of the channel")),
    responses((status = 200, description = "The channel", body = Channel), ApiError))]
pub async fn read_channel(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    ChannelPath(id): ChannelPath,
) -> Reply {
    let channel = channels::read(&app, &by, id).await?;
    of_revision(channel.rev, &channel)
}

/// Change a channel
///
/// What is left out stays. `config` is replaced as a whole; in it `(secret)` stands for the secret there is, and a
/// signing secret that is left out stays.
#[utoipa::path(patch, path = "/channels/{id}", tag = "channels", request_body = ChannelPatch,
    params(
        ("id" = String, Path, description = "The id of the channel"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to change, in quotes"),
    ),
    responses((status = 200, description = "As it is now", body = Channel), ApiError))]
pub async fn update_channel(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    ChannelPath(id): ChannelPath,
    expected: Expected,
    Input(patch): Input<ChannelPatch>,
) -> Reply {
    let channel = channels::update(&app, &by, id, expected, patch).await?;
    of_revision(channel.rev, &channel)
}

/// Set a channel
///
/// Every field: what is left out gets its default, but a signing secret and the set stay.
#[utoipa::path(put, path = "/channels/{id}", tag = "channels", request_body = ChannelInput,
    params(
        ("id" = String, Path, description = "The id of the channel"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to change, in quotes"),
    ),
    responses((status = 200, description = "As it is now", body = Channel), ApiError))]
pub async fn replace_channel(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    ChannelPath(id): ChannelPath,
    expected: Expected,
    Input(input): Input<ChannelInput>,
) -> Reply {
    let channel = channels::replace(&app, &by, id, expected, input).await?;
    of_revision(channel.rev, &channel)
}

/// Delete a channel
///
/// Messages that wait for it are given up, visibly.
#[utoipa::path(delete, path = "/channels/{id}", tag = "channels",
    params(
        ("id" = String, Path, description = "The id of the channel"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to delete, in quotes"),
    ),
    responses((status = 204, description = "Deleted"), ApiError))]
pub async fn delete_channel(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    ChannelPath(id): ChannelPath,
    expected: Expected,
) -> Result<StatusCode, ApiError> {
    channels::delete(&app, &by, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Test a channel
///
/// Sends a `channel.test` message at once and answers with what came of it, good or bad.
#[utoipa::path(post, path = "/channels/{id}/test", tag = "channels", params(("id" = String, Path, description = "The id of the channel")),
    responses((status = 200, description = "What came of it; `outcome` is `delivered` where it arrived", body = Attempt), ApiError))]
pub async fn test_channel(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    ChannelPath(id): ChannelPath,
) -> Reply {
    ok(&channels::test(&app, &by, id).await?)
}
