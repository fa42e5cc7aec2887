//! `/schedules`.

use std::sync::Arc;

use axum::extract::State;
use systole_wire::{SchedulePreview, SchedulePreviewInput};

use super::{Reply, ok};
use crate::api::extract::Input;
use crate::api::{ApiError, schedules};
use crate::app::App;
use crate::auth::Viewer;

/// Preview a schedule
///
/// Its next slots, what it says in words, and what may surprise: clock changes, and how day fields combine.
#[utoipa::path(post, path = "/schedules/preview", tag = "schedules", request_body = SchedulePreviewInput,
    responses((status = 200, description = "What it means", body = SchedulePreview), ApiError))]
pub async fn preview_schedule(
    State(app): State<Arc<App>>,
    _: Viewer,
    Input(input): Input<SchedulePreviewInput>,
) -> Reply {
    ok(&schedules::preview(app.now(), &input)?)
}
