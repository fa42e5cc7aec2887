//! `/maintenances`.

use std::sync::Arc;

use axum::extract::State;
use http::StatusCode;
use systole_wire::{Maintenance, MaintenanceInput, MaintenancePatch, Page};

use super::{Reply, created, of_revision, ok};
use crate::api::extract::{Expected, Input, Query};
use crate::api::ids::MaintenancePath;
use crate::api::{ApiError, maintenances};
use crate::app::App;
use crate::auth::{Editor, Viewer};

/// Make a maintenance
///
/// It covers the monitors that `selector` selects and those that `monitors` names. While it is on, their states are kept
/// and nothing of them is sent; what still stands at its end is sent then.
#[utoipa::path(post, path = "/maintenances", tag = "maintenances", request_body = MaintenanceInput,
    responses((status = 201, description = "Made", body = Maintenance), ApiError))]
pub async fn create_maintenance(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    Input(input): Input<MaintenanceInput>,
) -> Reply {
    let made = maintenances::create(&app, &by, input).await?;
    created(&format!("maintenances/{}", made.id), Some(made.rev), &made)
}

/// List maintenances
///
/// Newest first.
#[utoipa::path(get, path = "/maintenances", tag = "maintenances",
    params(
        ("state" = Option<String>, Query, description = "Only those that are `active`, `planned` or `over`"),
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Maintenance>), ApiError))]
pub async fn list_maintenances(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    query: Query,
) -> Reply {
    ok(&maintenances::list(&app, &by, query).await?)
}

/// Read a maintenance
#[utoipa::path(get, path = "/maintenances/{id}", tag = "maintenances", params(("id" = String, Path, description = "The id of the maintenance")),
    responses((status = 200, description = "The maintenance", body = Maintenance), ApiError))]
pub async fn read_maintenance(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    MaintenancePath(id): MaintenancePath,
) -> Reply {
    let maintenance = maintenances::read(&app, &by, id).await?;
    of_revision(maintenance.rev, &maintenance)
}

/// Change a maintenance
///
/// What is left out stays; `when` is replaced as a whole. Another time begins anew: an early end is forgotten.
#[utoipa::path(patch, path = "/maintenances/{id}", tag = "maintenances", request_body = MaintenancePatch,
    params(
        ("id" = String, Path, description = "The id of the maintenance"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to change, in quotes"),
    ),
    responses((status = 200, description = "As it is now", body = Maintenance), ApiError))]
pub async fn update_maintenance(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MaintenancePath(id): MaintenancePath,
    expected: Expected,
    Input(patch): Input<MaintenancePatch>,
) -> Reply {
    let maintenance = maintenances::update(&app, &by, id, expected, patch).await?;
    of_revision(maintenance.rev, &maintenance)
}

/// Set a maintenance
///
/// Every field: what is left out gets its default, but the set stays.
#[utoipa::path(put, path = "/maintenances/{id}", tag = "maintenances", request_body = MaintenanceInput,
    params(
        ("id" = String, Path, description = "The id of the maintenance"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to change, in quotes"),
    ),
    responses((status = 200, description = "As it is now", body = Maintenance), ApiError))]
pub async fn replace_maintenance(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MaintenancePath(id): MaintenancePath,
    expected: Expected,
    Input(input): Input<MaintenanceInput>,
) -> Reply {
    let maintenance = maintenances::replace(&app, &by, id, expected, input).await?;
    of_revision(maintenance.rev, &maintenance)
}

/// End a maintenance
///
/// Ends the window that is open; what still stands is sent. A recurring one comes again as its rule says. 409 where none
/// is open.
#[utoipa::path(post, path = "/maintenances/{id}/end", tag = "maintenances", params(("id" = String, Path, description = "The id of the maintenance")),
    responses((status = 200, description = "As it is now", body = Maintenance), ApiError))]
pub async fn end_maintenance(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MaintenancePath(id): MaintenancePath,
) -> Reply {
    let maintenance = maintenances::end(&app, &by, id).await?;
    of_revision(maintenance.rev, &maintenance)
}

/// Delete a maintenance
///
/// What it covers is covered no more.
#[utoipa::path(delete, path = "/maintenances/{id}", tag = "maintenances",
    params(
        ("id" = String, Path, description = "The id of the maintenance"),
        ("If-Match" = Option<String>, Header, description = "The `rev` to delete, in quotes"),
    ),
    responses((status = 204, description = "Deleted"), ApiError))]
pub async fn delete_maintenance(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    MaintenancePath(id): MaintenancePath,
    expected: Expected,
) -> Result<StatusCode, ApiError> {
    maintenances::delete(&app, &by, id, expected).await?;
    Ok(StatusCode::NO_CONTENT)
}
