//! `/deliveries`.

use std::sync::Arc;

use axum::extract::State;
use systole_wire::{Delivery, Page};

use super::{Reply, ok};
use crate::api::extract::Query;
use crate::api::ids::DeliveryPath;
use crate::api::{ApiError, deliveries};
use crate::app::App;
use crate::auth::{Editor, Viewer};

/// List deliveries
///
/// With their attempts; newest first.
#[utoipa::path(get, path = "/deliveries", tag = "deliveries",
    params(
        ("state" = Option<String>, Query, description = "Only these: pending, delivered, superseded or dead"),
        ("incident" = Option<String>, Query, description = "Only about this incident, by its id or number"),
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Delivery>), ApiError))]
pub async fn list_deliveries(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    query: Query,
) -> Reply {
    ok(&deliveries::list(&app, &by, &deliveries::read_query(query)?).await?)
}

/// Read a delivery
#[utoipa::path(get, path = "/deliveries/{id}", tag = "deliveries", params(("id" = String, Path, description = "The id of the delivery")),
    responses((status = 200, description = "The delivery", body = Delivery), ApiError))]
pub async fn read_delivery(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    DeliveryPath(id): DeliveryPath,
) -> Reply {
    ok(&deliveries::read(&app, &by, id).await?)
}

/// Send a dead delivery again
///
/// With the same idempotency key, and as many attempts as a new one has.
#[utoipa::path(post, path = "/deliveries/{id}/replay", tag = "deliveries", params(("id" = String, Path, description = "The id of the delivery")),
    responses((status = 200, description = "Pending again", body = Delivery), ApiError))]
pub async fn replay_delivery(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    DeliveryPath(id): DeliveryPath,
) -> Reply {
    ok(&deliveries::replay(&app, &by, id).await?)
}
