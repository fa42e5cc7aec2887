//! `/tokens`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use systole_wire::{Page, Token, TokenCreated, TokenInput};

use super::{Reply, created, ok};
use crate::api::extract::{Input, Query};
use crate::api::ids::TokenPath;
use crate::api::{ApiError, tokens};
use crate::app::App;
use crate::auth::Admin;

/// Make a token
///
/// It is shown in this reply alone. A probe's token names its region, an agent's its cluster.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = TokenInput,
    responses((status = 201, description = "Made; `token` is the secret", body = TokenCreated), ApiError))]
pub async fn create_token(
    State(app): State<Arc<App>>,
    Admin(by): Admin,
    Input(input): Input<TokenInput>,
) -> Reply {
    let made = tokens::create(&app, &by, input).await?;
    created(&format!("tokens/{}", made.about.id), None, &made)
}

/// List tokens
///
/// Without their secrets; newest first.
#[utoipa::path(get, path = "/tokens", tag = "tokens",
    params(
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Token>), ApiError))]
pub async fn list_tokens(State(app): State<Arc<App>>, Admin(by): Admin, query: Query) -> Reply {
    ok(&tokens::list(&app, &by, query).await?)
}

/// Delete a token
///
/// It works no more from this reply on.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path, description = "The id of the token")),
    responses((status = 204, description = "Deleted"), ApiError))]
pub async fn delete_token(
    State(app): State<Arc<App>>,
    Admin(by): Admin,
    TokenPath(id): TokenPath,
) -> Result<StatusCode, ApiError> {
    tokens::delete(&app, &by, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
