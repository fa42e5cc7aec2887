//! The handlers: extract, call one function, reply.

pub mod channels;
pub mod deliveries;
pub mod doctor;
pub mod incidents;
pub mod maintenances;
pub mod monitors;
pub mod ping_key;
pub mod schedules;
pub mod tokens;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{ETAG, HeaderValue, LOCATION};
use serde::Serialize;

use super::ApiError;

/// The API's own description. It holds nothing secret, so it asks for no token.
pub async fn openapi_json() -> Json<utoipa::openapi::OpenApi> {
    Json(super::openapi())
}

type Reply = Result<Response, ApiError>;

fn ok<T: Serialize>(body: &T) -> Reply {
    Ok(Json(body).into_response())
}

/// With the revision that `If-Match` takes.
fn of_revision<T: Serialize>(rev: i64, body: &T) -> Reply {
    let mut reply = Json(body).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{rev}\"")) {
        reply.headers_mut().insert(ETAG, tag);
    }
    Ok(reply)
}

fn created<T: Serialize>(place: &str, rev: Option<i64>, body: &T) -> Reply {
    let mut reply = match rev {
        Some(rev) => of_revision(rev, body)?,
        None => ok(body)?,
    };
    *reply.status_mut() = StatusCode::CREATED;
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/{place}")) {
        reply.headers_mut().insert(LOCATION, place);
    }
    Ok(reply)
}
