//! `/ping-key`.

use std::sync::Arc;

use axum::extract::State;

use super::{Reply, created, ok};
use crate::api::ApiError;
use crate::api::extract::OptionalInput;
use crate::api::ping_key::{self, PingKey, PingKeyInput};
use crate::app::App;
use crate::auth::Editor;

/// Read the ping key
///
/// With it jobs check in by name: `/ping/{ping_key}/{slug}`.
#[utoipa::path(get, path = "/ping-key", tag = "ping key",
    responses((status = 200, description = "The key; `null` where none was made", body = PingKey), ApiError))]
pub async fn read_ping_key(State(app): State<Arc<App>>, Editor(by): Editor) -> Reply {
    ok(&ping_key::read(&app, &by).await?)
}

/// Make the ping key
///
/// The one there is stays, unless `replace` says otherwise; then the former stops working at once.
#[utoipa::path(post, path = "/ping-key", tag = "ping key", request_body = Option<PingKeyInput>,
    responses(
        (status = 200, description = "The key there was", body = PingKey),
        (status = 201, description = "Made", body = PingKey),
        ApiError
    ))]
pub async fn make_ping_key(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    OptionalInput(input): OptionalInput<PingKeyInput>,
) -> Reply {
    let (is_new, key) = ping_key::make(&app, &by, &input).await?;
    if is_new {
        created("ping-key", None, &key)
    } else {
        ok(&key)
    }
}
