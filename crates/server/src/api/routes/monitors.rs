//! `/monitors`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use systole_core::time::{Span, Time};
use systole_store::history::rolled::Resolution;
use systole_wire::{
    Checkin, History, Monitor, MonitorInput, MonitorPatch, MonitorsCreated, MonitorsInput, Page,
    RotateTokenInput, Run, bulk,
};

use super::{Reply, created, of_revision, ok};
use crate::api::ApiError;
use crate::api::extract::{Expected, Input, OptionalInput, Query};
use crate::api::fields::span;
use crate::api::history::{self, CheckinCursor, MonitorEvent};
use crate::api::ids::MonitorPath;
use crate::api::making;
use crate::api::monitors::{self, MonitorQuery};
use crate::api::statistics;
use crate::app::App;
use crate::auth::{Editor, Viewer};

/// Make a monitor
///
/// Only `kind`, `name` and `schedule` are required. The reply holds the token and the URL that the job calls.
#[utoipa::path(post, path = "/monitors", tag = "monitors", request_body = MonitorInput,
    responses((status = 201, description = "Made", body = Monitor), ApiError))]
pub async fn create_monitor(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    Input(input): Input<MonitorInput>,
) -> Reply {
    let made = making::create(&app, &by, input).await?;
    created(&format!("monitors/{}", made.id), Some(made.rev), &made)
}

/// Make many monitors
///
/// 1 to 1 000 of them in 4 MiB: all, or none where one cannot be made. `errors` names each wrong field of each item, as
/// `items[3].grace`. The reply holds them in the order given.
#[utoipa::path(post, path = "/monitors/bulk", tag = "monitors", request_body = MonitorsInput,
    responses((status = 201, description = "Made", body = MonitorsCreated), ApiError))]
pub async fn create_monitors(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    Input(input): Input<MonitorsInput, { bulk::MOST_BYTES }>,
) -> Reply {
    let mut reply = ok(&making::create_many(&app, &by, input).await?)?;
    *reply.status_mut() = StatusCode::CREATED;
    Ok(reply)
}

/// List monitors
///
/// Newest first.
#[utoipa::path(get, path = "/monitors", tag = "monitors",
    params(
        ("kind" = Option<String>, Query, description = "Only this kind"),
        ("state" = Option<String>, Query, description = "Only in this state: new, up, late, down or paused"),
        ("label" = Option<Vec<String>>, Query, description = "Only with this label, `key=value`; may be repeated"),
        ("q" = Option<String>, Query, description = "Only with this text in the name"),
        ("set" = Option<String>, Query, description = "Only those that this set of documents owns"),
        ("name" = Option<Vec<String>>, Query, description = "Only with this very name; may be repeated for several"),
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Monitor>), ApiError))]
pub async fn list_monitors(State(app): State<Arc<App>>, Viewer(by): Viewer, query: Query) -> Reply {
    ok(&monitors::list(&app, &by, &MonitorQuery::read(query)?).await?)
}

/// Read a monitor
#[utoipa::path(get, path = "/monitors/{id}", tag = "monitors", params(("id" = String, Path, description = "The id of the monitor")),
    responses((status = 200, description = "The monitor", body = Monitor), ApiError))]
pub async fn read_monitor(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    MonitorPath(id): MonitorPath,
) -> Reply {
    let monitor = monitors::read(&app, &by, id).await?;
    of_revision(monitor.rev, &monitor)
}

/// Change a monitor
///
/// What is left out stays; `null` empties a field that can be empty.
#[utoipa::path(patch, path = "/monitors/{id}", tag = "monitors", request_body = MonitorPatch,
    params(
        ("id" = String, Path, description = "The id of the monitor"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to change, in quotes"),
    ),
    responses((status = 200, description = "As it is now", body = Monitor), ApiError))]
pub async fn update_monitor(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MonitorPath(id): MonitorPath,
    expected: Expected,
    Input(patch): Input<MonitorPatch>,
) -> Reply {
    let monitor = monitors::update(&app, &by, id, expected, patch).await?;
    of_revision(monitor.rev, &monitor)
}

/// Set a monitor
///
/// Every field: what is left out gets its default, but the slug, the set and the token stay.
#[utoipa::path(put, path = "/monitors/{id}", tag = "monitors", request_body = MonitorInput,
    params(
        ("id" = String, Path, description = "The id of the monitor"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to change, in quotes"),
    ),
    responses((status = 200, description = "As it is now", body = Monitor), ApiError))]
pub async fn replace_monitor(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MonitorPath(id): MonitorPath,
    expected: Expected,
    Input(input): Input<MonitorInput>,
) -> Reply {
    let monitor = monitors::replace(&app, &by, id, expected, input).await?;
    of_revision(monitor.rev, &monitor)
}

/// Delete a monitor
///
/// Its token works no more; its open incident is resolved.
#[utoipa::path(delete, path = "/monitors/{id}", tag = "monitors",
    params(
        ("id" = String, Path, description = "The id of the monitor"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to delete, in quotes"),
    ),
    responses((status = 204, description = "Deleted"), ApiError))]
pub async fn delete_monitor(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MonitorPath(id): MonitorPath,
    expected: Expected,
) -> Result<StatusCode, ApiError> {
    monitors::delete(&app, &by, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Pause a monitor
///
/// Nothing is expected of it until it is resumed, or reports; its open incident is resolved.
#[utoipa::path(post, path = "/monitors/{id}/pause", tag = "monitors", params(("id" = String, Path, description = "The id of the monitor")),
    responses((status = 200, description = "As it is now", body = Monitor), ApiError))]
pub async fn pause_monitor(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MonitorPath(id): MonitorPath,
) -> Reply {
    ok(&monitors::pause(&app, &by, id).await?)
}

/// Resume a monitor
///
/// It is as new until it reports.
#[utoipa::path(post, path = "/monitors/{id}/resume", tag = "monitors", params(("id" = String, Path, description = "The id of the monitor")),
    responses((status = 200, description = "As it is now", body = Monitor), ApiError))]
pub async fn resume_monitor(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MonitorPath(id): MonitorPath,
) -> Reply {
    ok(&monitors::resume(&app, &by, id).await?)
}

/// Give a monitor another token
///
/// The former one works for `overlap` beside it, or not at all where that is left out.
#[utoipa::path(post, path = "/monitors/{id}/rotate-token", tag = "monitors", request_body = Option<RotateTokenInput>,
    params(("id" = String, Path, description = "The id of the monitor")),
    responses((status = 200, description = "With its new token", body = Monitor), ApiError))]
pub async fn rotate_token(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MonitorPath(id): MonitorPath,
    OptionalInput(input): OptionalInput<RotateTokenInput>,
) -> Reply {
    let mut errors = Vec::new();
    let overlap = input
        .overlap
        .map_or(Some(Span::ZERO), |text| span("overlap", &text, &mut errors));
    let overlap = overlap.ok_or_else(|| ApiError::invalid(errors))?;
    let monitor = monitors::rotate_token(&app, &by, id, overlap).await?;
    of_revision(monitor.rev, &monitor)
}

/// List a heartbeat's check-ins
///
/// Newest first.
#[utoipa::path(get, path = "/monitors/{id}/checkins", tag = "monitors",
    params(
        ("id" = String, Path, description = "The id of the monitor"),
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Checkin>), ApiError))]
pub async fn list_checkins(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    MonitorPath(id): MonitorPath,
    mut query: Query,
) -> Reply {
    let (cursor, limit) = (query.cursor(CheckinCursor::parse), query.limit());
    query.finish()?;
    ok(&history::checkins(&app, &by, id, cursor, limit).await?)
}

/// List a heartbeat's runs
///
/// Made of its check-ins, a start and the end that belongs to it; newest first, as far back as 5 000 check-ins.
#[utoipa::path(get, path = "/monitors/{id}/runs", tag = "monitors",
    params(
        ("id" = String, Path, description = "The id of the monitor"),
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Run>), ApiError))]
pub async fn list_runs(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    MonitorPath(id): MonitorPath,
    mut query: Query,
) -> Reply {
    let before = query.cursor(|text| text.parse().ok().map(Time::from_micros));
    let limit = query.limit();
    query.finish()?;
    ok(&history::runs(&app, &by, id, before, limit).await?)
}

/// Read what became of a heartbeat over hours or days
///
/// Newest first, at most 1 000 of them; an hour is kept for a year and a day for five unless the server was told otherwise. What
/// nothing is known of is `unknown`.
#[utoipa::path(get, path = "/monitors/{id}/history", tag = "monitors",
    params(
        ("id" = String, Path, description = "The id of the monitor"),
        ("resolution" = Option<String>, Query, description = "`hour` or `day`; `day` where it is left out"),
        ("since" = Option<String>, Query, description = "The oldest moment; where it is left out, 7 days ago for hours, 90 for days"),
    ),
    responses((status = 200, description = "Its periods", body = History), ApiError))]
pub async fn read_history(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    MonitorPath(id): MonitorPath,
    mut query: Query,
) -> Reply {
    let resolution = match query.word("resolution", &["hour", "day"]) {
        Some("hour") => Resolution::Hour,
        _ => Resolution::Day,
    };
    let since = query.parsed("since", "a time such as 2026-11-21T02:10:00Z", |text| {
        Time::parse(text).ok()
    });
    query.finish()?;
    ok(&statistics::history(&app, &by, id, resolution, since).await?)
}

/// List an endpoint's results
///
/// Endpoints are not built yet.
#[utoipa::path(get, path = "/monitors/{id}/results", tag = "monitors", params(("id" = String, Path, description = "The id of the monitor")),
    responses((status = 501, description = "Not built yet", body = systole_wire::Problem, content_type = "application/problem+json"), ApiError))]
pub async fn list_results(_: Viewer) -> ApiError {
    ApiError::not_built("results of endpoints are")
}

/// List what happened to a monitor's incidents
///
/// Newest first.
#[utoipa::path(get, path = "/monitors/{id}/events", tag = "monitors",
    params(
        ("id" = String, Path, description = "The id of the monitor"),
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<MonitorEvent>), ApiError))]
pub async fn list_monitor_events(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    MonitorPath(id): MonitorPath,
    mut query: Query,
) -> Reply {
    let (before, limit) = (query.cursor(|text| text.parse().ok()), query.limit());
    query.finish()?;
    ok(&history::events(&app, &by, id, before, limit).await?)
}
