//! The management API under `/api/v1`.
//!
//! A handler in [`routes`] extracts (who asks, which object, a body read strictly), calls one function of this module
//! and replies. The functions know nothing of HTTP but their errors, so pages call the same ones.

pub mod channels;
pub mod deliveries;
mod error;
mod extract;
mod fields;
pub mod history;
mod ids;
pub mod incidents;
mod maintenance_fields;
pub mod maintenances;
pub mod making;
mod monitor_reply;
pub mod monitors;
mod openapi;
pub mod ping_key;
mod routes;
pub mod runs;
pub mod schedules;
pub mod statistics;
pub mod tokens;
pub mod unsubscribe;

use std::sync::Arc;

use axum::response::Response;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use http::{Method, StatusCode, Uri};

pub use error::ApiError;
pub use extract::{Expected, Query, read};
pub use fields::{Channels, Written, is_same, severity};
pub use ids::{
    channel_id, delivery_id, maintenance_id, parse_channel_id, parse_incident_id,
    parse_maintenance_id, parse_monitor_id, token_id,
};
pub use openapi::openapi;

use crate::app::App;

/// Every route, to be nested at `/api/v1`.
pub fn router(app: Arc<App>) -> axum::Router {
    openapi::annotated()
        .split_for_parts()
        .0
        .route("/openapi.json", axum::routing::get(routes::openapi_json))
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(axum::middleware::map_response(never_cached))
        .with_state(app)
}

/// Routes that the contract names and that are not there yet.
const LATER: [&str; 3] = ["/clusters", "/schedules", "/import"];

async fn not_found(uri: Uri) -> ApiError {
    let path = uri.path();
    if LATER.iter().any(|later| {
        path.strip_prefix(later)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }) {
        return ApiError::not_built("that part of the API is");
    }
    // The path is not repeated: it may hold a token that was put in the wrong place.
    let detail = "the API has no such path; /api/v1/openapi.json lists what there is";
    ApiError::new(StatusCode::NOT_FOUND, "no_such_route", detail)
}

async fn not_allowed(method: Method, uri: Uri) -> ApiError {
    let detail = format!(
        "/api/v1{} takes no {method}; /api/v1/openapi.json lists what there is",
        uri.path()
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// Replies hold tokens and the state of this very moment.
async fn never_cached(mut reply: Response) -> Response {
    let headers = reply.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    );
    reply
}

/// Cuts rows read one beyond the limit down to it; answers the cursor of what follows.
fn cut<T>(rows: &mut Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
    let limit = limit as usize;
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last().map(cursor)
}
