//! `/doctor`.

use std::sync::Arc;

use axum::extract::State;
use systole_wire::DoctorReport;

use super::{Reply, ok};
use crate::api::ApiError;
use crate::app::App;
use crate::auth::Admin;

/// Look for what is set up wrongly
///
/// What the server finds when it looks at itself: database, disk, key, loops, encryption, channels. `systole doctor` adds what
/// is seen from outside, and test messages.
#[utoipa::path(get, path = "/doctor", tag = "doctor",
    responses((status = 200, description = "What was found", body = DoctorReport), ApiError))]
pub async fn read_doctor(State(app): State<Arc<App>>, Admin(by): Admin) -> Reply {
    ok(&crate::doctor::report(&app, by.project).await?)
}
