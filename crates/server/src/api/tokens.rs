//! API tokens: made, listed, deleted. Their secrets are stored as hashes and shown once.

use systole_store::people::TokenRow;
use systole_wire::{Page, Role as WireRole, Token, TokenCreated, TokenInput};

use super::ApiError;
use super::extract::Query;
use super::ids::token_id;
use crate::app::App;
use crate::compose::parse_id;
use crate::keys::random_text;
use crate::principals::{Principal, Role};

/// Makes a token; it works when this returns.
///
/// # Errors
/// A name in use.
pub async fn create(
    app: &App,
    by: &Principal,
    input: TokenInput,
) -> Result<TokenCreated, ApiError> {
    let secret = random_text("sys_")?;
    let mut row = TokenRow {
        id: 0,
        project: by.project,
        name: input.name,
        role: input.role.as_str().to_owned(),
        region: input.region,
        cluster: input.cluster,
        created_at: app.now(),
    };
    row.id = app
        .store
        .create_token(&row, &app.keys.hash(&secret))
        .await?;
    app.principals.reload(&app.store).await?;
    Ok(TokenCreated {
        about: reply(row),
        token: secret,
    })
}

/// Tokens, newest first.
///
/// # Errors
/// What the database says, or a wrong parameter.
pub async fn list(app: &App, by: &Principal, mut query: Query) -> Result<Page<Token>, ApiError> {
    let (before, limit) = (
        query.cursor(|text| parse_id::<i64>(text, "tok")),
        query.limit(),
    );
    query.finish()?;
    let rows = app.store.tokens(by.project).await?;
    let mut rows: Vec<TokenRow> = rows.into_iter().map(|(row, _)| row).collect();
    rows.retain(|row| before.is_none_or(|before| row.id < before));
    let next = super::cut(&mut rows, limit, |row| token_id(row.id));
    Ok(Page {
        items: rows.into_iter().map(reply).collect(),
        next,
    })
}

/// Deletes a token; it works no more when this returns.
///
/// # Errors
/// 404.
pub async fn delete(app: &App, by: &Principal, id: i64) -> Result<(), ApiError> {
    if !app.store.delete_token(by.project, id).await? {
        return Err(ApiError::not_found("token"));
    }
    app.principals.reload(&app.store).await?;
    Ok(())
}

fn reply(row: TokenRow) -> Token {
    Token {
        id: token_id(row.id),
        name: row.name,
        role: match Role::parse(&row.role) {
            Some(Role::Admin) => WireRole::Admin,
            Some(Role::Editor) => WireRole::Editor,
            Some(Role::Metrics) => WireRole::Metrics,
            Some(Role::Agent) => WireRole::Agent,
            Some(Role::Probe) => WireRole::Probe,
            // A word that is not known grants nothing, see `Principals::reload`.
            Some(Role::Viewer) | None => WireRole::Viewer,
        },
        region: row.region,
        cluster: row.cluster,
        created_at: row.created_at.to_string(),
        last_used_at: None,
    }
}
