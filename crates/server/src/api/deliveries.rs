//! Deliveries: messages on their way, and giving dead ones another chance.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use systole_store::deliveries::{self, DeliveryFilter, DeliveryRow};
use systole_wire::{Attempt, Delivery, DeliveryState, DurationText, Page};

use super::ApiError;
use super::extract::Query;
use super::ids::{channel_id, delivery_id, parse_incident_id};
use crate::app::App;
use crate::compose::{incident_id, parse_id};
use crate::principals::Principal;

const STATES: [DeliveryState; 4] = [
    DeliveryState::Pending,
    DeliveryState::Delivered,
    DeliveryState::Superseded,
    DeliveryState::Dead,
];

/// Which deliveries a list holds, from a query's parameters.
///
/// # Errors
/// Every wrong one.
pub fn read_query(mut query: Query) -> Result<DeliveryFilter, ApiError> {
    let filter = DeliveryFilter {
        state: query
            .word("state", &STATES.map(DeliveryState::as_str))
            .map(str::to_owned),
        incident: query.parsed("incident", "the id of an incident", parse_incident_id),
        id: None,
        before: query.cursor(|text| parse_id(text, "dlv")),
        limit: query.limit(),
        ..DeliveryFilter::default()
    };
    query.finish().map(|()| filter)
}

/// Deliveries with their attempts, newest first; a limit of 0 is as many as a page has.
///
/// # Errors
/// What the database says.
pub async fn list(
    app: &App,
    by: &Principal,
    filter: &DeliveryFilter,
) -> Result<Page<Delivery>, ApiError> {
    let limit = if filter.limit == 0 {
        systole_wire::page::DEFAULT_LIMIT
    } else {
        filter.limit
    };
    let filter = DeliveryFilter {
        limit: limit + 1,
        ..filter.clone()
    };
    let mut rows = app.store.deliveries(by.project, &filter).await?;
    let next = super::cut(&mut rows, limit, |row| delivery_id(row.id));
    let mut monitors: HashMap<u64, Option<String>> = HashMap::new();
    let mut items = Vec::with_capacity(rows.len());
    for row in &rows {
        let monitor = match monitors.entry(row.incident) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(place) => {
                let incident = app.store.incident(by.project, row.incident).await?;
                place
                    .insert(incident.map(|incident| incident.monitor_name))
                    .clone()
            }
        };
        let attempts = app.store.attempts(row.id).await?;
        items.push(reply(row, monitor, &attempts));
    }
    Ok(Page { items, next })
}

/// One delivery.
///
/// # Errors
/// 404.
pub async fn read(app: &App, by: &Principal, id: i64) -> Result<Delivery, ApiError> {
    let filter = DeliveryFilter {
        id: Some(id),
        limit: 1,
        ..DeliveryFilter::default()
    };
    let found = list(app, by, &filter).await?.items.pop();
    found.ok_or_else(|| ApiError::not_found("delivery"))
}

/// Sends a dead delivery again, with as many attempts as a new one.
///
/// # Errors
/// 404; 409 when it is not dead, or its channel was deleted.
pub async fn replay(app: &App, by: &Principal, id: i64) -> Result<Delivery, ApiError> {
    let delivery = read(app, by, id).await?;
    if delivery.state == DeliveryState::Dead && delivery.channel.is_empty() {
        return Err(ApiError::conflict(
            "no_channel",
            "its channel was deleted; there is nowhere to send it",
        ));
    }
    if !app.store.replay(app.now(), by.project, id).await? {
        let detail = format!(
            "it is {}; only dead deliveries are sent again",
            delivery.state.as_str()
        );
        return Err(ApiError::conflict("not_dead", detail));
    }
    app.deliverer.nudge();
    read(app, by, id).await
}

fn reply(row: &DeliveryRow, monitor: Option<String>, attempts: &[deliveries::Attempt]) -> Delivery {
    let state = STATES
        .into_iter()
        .find(|state| state.as_str() == row.state)
        .unwrap_or(DeliveryState::Dead);
    Delivery {
        id: delivery_id(row.id),
        state,
        kind: row.kind.clone(),
        channel_id: channel_id(row.channel),
        channel: row.channel_name.clone(),
        incident_id: Some(incident_id(row.incident)),
        incident_number: Some(row.incident.cast_signed()),
        monitor,
        reason: row
            .detail
            .clone()
            .filter(|_| state != DeliveryState::Delivered),
        idempotency_key: row.key.clone(),
        created_at: row.decided_at.to_string(),
        next_attempt_at: (state == DeliveryState::Pending).then(|| row.next_at.to_string()),
        finished_at: row.finished_at.map(|at| at.to_string()),
        attempts: (1..)
            .zip(attempts)
            .map(|(number, tried)| attempt(number, tried))
            .collect(),
    }
}

/// One try.
pub(super) fn attempt(number: u32, tried: &deliveries::Attempt) -> Attempt {
    let is_delivered = tried.outcome == "delivered";
    let detail = Some(tried.detail.clone()).filter(|detail| !detail.is_empty());
    Attempt {
        number,
        at: tried.at.to_string(),
        duration: Some(DurationText(tried.latency.to_string())),
        outcome: tried.outcome.clone(),
        status: tried.status,
        error: detail.clone().filter(|_| !is_delivered),
        response: detail.filter(|_| is_delivered),
    }
}
