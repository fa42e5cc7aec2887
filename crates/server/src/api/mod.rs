//! The management API.
use std::sync::Arc;
use crate::app::App;
/// Every route.
pub fn router(_app: Arc<App>) -> axum::Router { axum::Router::new() }
