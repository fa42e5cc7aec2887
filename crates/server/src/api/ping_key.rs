//! The project's ping key: with it jobs check in by name, `/ping/{ping_key}/{slug}`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use systole_store::monitors::StoredToken;
use systole_wire::FieldError;
use systole_wire::strict::{Object, Read};
use utoipa::ToSchema;

use super::ApiError;
use crate::app::App;
use crate::keys::{KeyError, random_text};
use crate::principals::Principal;

/// The project's ping key.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PingKey {
    /// The key; `null` where none was made yet.
    pub ping_key: Option<String>,
    /// Where a check-in by name goes, `{slug}` to be replaced.
    #[schema(example = "https://systole.example.com/ping/pk_…/{slug}")]
    pub ping_url: Option<String>,
}

/// Asks for the ping key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PingKeyInput {
    /// Whether to make another one where there is one; the former stops working at once.
    #[serde(default)]
    pub replace: bool,
}

impl Read for PingKeyInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<PingKeyInput> {
        let mut object = Object::open(value, path, errors)?;
        let replace = object.optional("replace");
        object.finish();
        Some(PingKeyInput {
            replace: replace.unwrap_or_default(),
        })
    }
}

/// The key there is.
///
/// # Errors
/// What the database says.
pub async fn read(app: &App, by: &Principal) -> Result<PingKey, ApiError> {
    let Some(stored) = app.store.ping_key(by.project).await? else {
        return Ok(PingKey {
            ping_key: None,
            ping_url: None,
        });
    };
    let key = app.keys.open("ping-key", &stored.cipher)?;
    let key = String::from_utf8(key).map_err(|_| KeyError::Sealed)?;
    let ping_url = format!("{}/{{slug}}", app.ping_url(&key));
    Ok(PingKey {
        ping_key: Some(key),
        ping_url: Some(ping_url),
    })
}

/// Makes a key where there is none, or where it is to be replaced; whether one was made.
///
/// # Errors
/// What the database says.
pub async fn make(
    app: &App,
    by: &Principal,
    input: &PingKeyInput,
) -> Result<(bool, PingKey), ApiError> {
    let known = read(app, by).await?;
    if known.ping_key.is_some() && !input.replace {
        return Ok((false, known));
    }
    let key = random_text("pk_")?;
    let hash = app.keys.hash(&key);
    let stored = StoredToken {
        hash: hash.to_vec(),
        cipher: app.keys.seal("ping-key", key.as_bytes())?,
    };
    app.store.set_ping_key(by.project, &stored).await?;
    *app.ping_key
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner) = Some(hash);
    read(app, by).await.map(|made| (true, made))
}
