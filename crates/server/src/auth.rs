//! Who may do what.
use crate::app::App;
use axum::response::{IntoResponse, Response};
/// `/metrics` with a token of role `metrics`.
pub async fn metrics(app: &App, _headers: &http::HeaderMap) -> Response { app.metrics.text(app).await.into_response() }
