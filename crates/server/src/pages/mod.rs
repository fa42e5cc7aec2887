//! Handlers of the pages.

use std::sync::Arc;

use crate::app::App;

/// Every page.
pub fn router(_app: Arc<App>) -> axum::Router {
    axum::Router::new()
}
