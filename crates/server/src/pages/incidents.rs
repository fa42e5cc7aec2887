//! Incidents: the list, one of them, and what people do to it.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use systole_core::heartbeat::Signal;
use systole_core::message::Occasion;
use systole_core::time::{Span, Time};
use systole_store::Error;
use systole_store::deliveries::{DeliveryFilter, DeliveryRow};
use systole_store::history::Place;
use systole_store::incidents::{EventRow, IncidentFilter, IncidentRow};

use super::frame::Says;
use super::monitors::incident_row;
use super::reply::{Failure, Reply, page, see, sentence};
use super::visitor::Visitor;
use super::{Pages, frame, overview, sentences};
use crate::api::incidents as api;
use crate::api::parse_incident_id;
use crate::app::App;
use crate::compose::monitor_id;
use crate::web::render;
use crate::web::text::{Untrusted, absolute};
use crate::web::views::{
    self, Attempt, IncidentView, IncidentsView, State as Shape, TimelineEntry,
};

const ROWS: u32 = 50;
const NOTE_MAX: usize = 4_000;
const TIMELINE_SHOWN: usize = 100;
const DELIVERIES_SHOWN: u32 = 50;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    state: String,
    cursor: String,
}

/// `GET /incidents`: open ones first, then the newest. The first page begins with the open ones; a cursor is `o` or `r`
/// for which of the two, and the number before.
pub(super) async fn list(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Reply {
    let app = &pages.app;
    let state = match asked.state.as_str() {
        "open" => Some(Shape::Open),
        "resolved" => Some(Shape::Resolved),
        _ => None,
    };
    let (mut open, mut before) = (state != Some(Shape::Resolved), None);
    if let Some((which, number)) = asked.cursor.split_at_checked(1) {
        open = which != "r" && open;
        before = number.parse().ok();
    }
    let mut rows = Vec::new();
    let read = async |open, before, limit: usize| {
        let limit = u32::try_from(limit).unwrap_or(ROWS);
        app.store
            .incidents(
                visitor.project(),
                &IncidentFilter {
                    open: Some(open),
                    monitor: None,
                    before,
                    limit,
                },
            )
            .await
    };
    let wanted = ROWS as usize + 1;
    let mut kinds = Vec::new();
    if open {
        rows.extend(read(true, before, wanted).await?);
        kinds.resize(rows.len(), 'o');
        before = None;
    }
    if rows.len() < wanted && state != Some(Shape::Open) {
        rows.extend(read(false, before, wanted - rows.len()).await?);
        kinds.resize(rows.len(), 'r');
    }
    let has_more = rows.len() > ROWS as usize;
    rows.truncate(ROWS as usize);
    let last = rows
        .last()
        .zip(kinds.get(rows.len().saturating_sub(1)))
        .filter(|_| has_more);
    let now = app.now();
    let view = IncidentsView {
        frame: frame::frame(&pages, &visitor, Says::Nothing).await?,
        state,
        next: last.map(|(row, kind)| format!("{kind}{}", row.number).into()),
        rows: rows.iter().map(|row| incident_row(row, now)).collect(),
    };
    Ok(page(StatusCode::OK, render::incidents(&view)))
}

/// `GET /incidents/{number}`.
pub(super) async fn show(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path(number): Path<String>,
) -> Reply {
    let app = &pages.app;
    let number = parse_incident_id(&number).ok_or(Failure::NotFound)?;
    let row = app
        .store
        .incident(visitor.project(), number)
        .await?
        .ok_or(Failure::NotFound)?;
    let events = app.store.events(number).await?;
    let filter = DeliveryFilter {
        incident: Some(number),
        limit: DELIVERIES_SHOWN,
        ..DeliveryFilter::default()
    };
    let deliveries = app.store.deliveries(visitor.project(), &filter).await?;
    let monitor = app.store.monitor(visitor.project(), row.monitor).await?;
    let body = body(app, &row).await?;
    let now = app.now();
    let (state, can_note) =
        app.engine
            .read()
            .monitor(row.monitor)
            .map_or((None, false), |monitor| {
                let is_last = monitor
                    .incident
                    .as_deref()
                    .is_some_and(|incident| incident.number == number);
                (Some(monitor.heartbeat.shown(now)), is_last)
            });
    let view = IncidentView {
        frame: frame::frame(&pages, &visitor, Says::Nothing).await?,
        number,
        can_note,
        monitor_id: monitor.as_ref().map(|monitor| monitor_id(monitor.id)),
        monitor: row.monitor_name.clone().into(),
        labels: overview::labels(&row.labels),
        state: sentences::incident_state(&row),
        monitor_state: state.map_or(Shape::Down, sentences::state),
        severity: row.severity.clone().into(),
        started_at: row.started_at,
        detected_at: row.detected_at,
        resolved_at: row.resolved_at,
        maintenance: maintenance(&pages, &visitor, &row, now),
        what: sentences::what(&row, now).into(),
        told: sentences::told(&row, &events, &of_opening(app, &row, &events).await?, now).into(),
        evidence: evidence(&row, !body.is_empty()),
        runbook_url: monitor
            .map(|monitor| monitor.fields.runbook_url)
            .unwrap_or_default()
            .into(),
        body,
        timeline: timeline(&events, &deliveries, now),
        deliveries: delivery_rows(app, deliveries, &events).await?,
    };
    Ok(page(StatusCode::OK, render::incident(&view)))
}

/// What was sent when the incident opened, or opened again: however many reminders came after it.
pub(super) async fn of_opening(
    app: &App,
    row: &IncidentRow,
    events: &[EventRow],
) -> Result<Vec<DeliveryRow>, Error> {
    let Some(opened) = sentences::opening(events) else {
        return Ok(Vec::new());
    };
    let filter = DeliveryFilter {
        incident: Some(row.number),
        seq: Some(opened.seq),
        limit: DELIVERIES_SHOWN,
        ..DeliveryFilter::default()
    };
    app.store.deliveries(row.project, &filter).await
}

/// What holds messages about an open incident back.
fn maintenance(
    pages: &Pages,
    visitor: &Visitor,
    row: &IncidentRow,
    now: Time,
) -> Option<(Untrusted, Time)> {
    let windows = pages.app.maintenance.of(visitor.project());
    let cover = windows.cover(&row.labels, row.monitor, now)?;
    let is_open = row.resolved_at.is_none();
    is_open.then(|| (cover.name.to_owned().into(), cover.until))
}

/// What the job sent stands below where it is there as a whole.
fn evidence(row: &IncidentRow, has_body: bool) -> Vec<(&'static str, Untrusted)> {
    let evidence = &row.evidence;
    let mut known: Vec<(&'static str, Untrusted)> = Vec::new();
    let time = |micros: i64| absolute(Time::from_micros(micros));
    let began = if row.reason == "overran" {
        "Began"
    } else {
        "Expected"
    };
    known.push((
        "Last check-in",
        evidence
            .last_checkin_at
            .map_or_else(|| "none".to_owned(), time)
            .into(),
    ));
    known.extend(evidence.expected_at.map(|at| (began, time(at).into())));
    known.extend(
        evidence
            .exit_status
            .map(|status| ("Exit status", status.to_string().into())),
    );
    let said = evidence.message.as_deref().filter(|_| !has_body);
    known.extend(said.map(|message| ("It said", sentences::first_line(message).into())));
    for (from, until) in evidence.outage.iter().chain(&evidence.outages) {
        let text = format!(
            "Systole itself heard nobody from {} to {}",
            time(*from),
            time(*until)
        );
        known.push(("Outage of ours", text.into()));
    }
    if row.reopened > 0 {
        known.push((
            "Reopened",
            crate::web::text::count(row.reopened as usize, "time").into(),
        ));
    }
    known
}

/// What the failing check-in sent, as long as history has it.
async fn body(app: &App, row: &IncidentRow) -> Result<Vec<u8>, Error> {
    if !matches!(row.reason.as_str(), "exit_status" | "reported_failure") {
        return Ok(Vec::new());
    }
    let after = Place::at(row.started_at + Span::from_micros(1));
    let found = app.store.checkins(row.monitor, Some(after), 20).await?;
    let told = found.into_iter().find(|found| {
        let checkin = found.record.checkin;
        checkin.at == row.started_at && matches!(checkin.signal, Signal::Fail | Signal::Exit(1..))
    });
    Ok(told.map(|found| found.record.body).unwrap_or_default())
}

/// What happened, newest first, deliveries among it.
fn timeline(events: &[EventRow], deliveries: &[DeliveryRow], now: Time) -> Vec<TimelineEntry> {
    let happened = events.iter().map(|event| TimelineEntry {
        at: event.at,
        what: sentences::happened(event).into(),
        why: sentences::why_happened(event, deliveries, now).into(),
    });
    // A reminder's entry says itself to whom it went.
    let is_reminder = |row: &&DeliveryRow| {
        matches!(row.occasion, Occasion::Reminder { .. }) && row.state == "delivered"
    };
    let others = deliveries.iter().filter(|row| !is_reminder(row));
    let told = others.filter_map(|row| {
        let (what, why) = match row.state {
            "delivered" => (
                format!(
                    "{} was told: {}",
                    sentences::channel_name(row),
                    sentences::told_event(&row.kind, &row.occasion)
                ),
                None,
            ),
            "dead" if is_told_of(row, events) => return None,
            "dead" => (
                format!(
                    "{} could not be told: {}",
                    sentences::channel_name(row),
                    sentences::told_event(&row.kind, &row.occasion)
                ),
                row.detail.as_deref().map(sentence),
            ),
            "superseded" => (
                format!(
                    "{} was not told: {}",
                    sentences::channel_name(row),
                    sentences::told_event(&row.kind, &row.occasion)
                ),
                row.detail.as_deref().map(sentence),
            ),
            _ => return None,
        };
        Some(TimelineEntry {
            at: row.finished_at?,
            what: what.into(),
            why: why.unwrap_or_default().into(),
        })
    });
    let mut entries: Vec<TimelineEntry> = happened.chain(told).collect();
    // Stable, and reversed twice: of the same instant the later one stands above.
    entries.reverse();
    entries.sort_by_key(|entry| Reverse(entry.at));
    entries.truncate(TIMELINE_SHOWN);
    entries
}

/// Whether the timeline has an entry of its own about this death.
fn is_told_of(row: &DeliveryRow, events: &[EventRow]) -> bool {
    let begins = format!("To {}: ", row.channel_name);
    events.iter().any(|event| {
        let note = event.note.as_deref().unwrap_or_default();
        event.kind == "undelivered"
            && row.finished_at.is_some_and(|at| at <= event.at)
            && note.starts_with(&begins)
    })
}

async fn delivery_rows(
    app: &App,
    mut deliveries: Vec<DeliveryRow>,
    events: &[EventRow],
) -> Result<Vec<views::DeliveryRow>, Error> {
    // What has not arrived needs a look; reminders would bury it.
    deliveries.sort_by_key(|row| !matches!(row.state, "pending" | "dead"));
    let mut rows = Vec::with_capacity(deliveries.len());
    for row in &deliveries {
        let attempts = app.store.attempts(row.id).await?;
        let reopened = events
            .iter()
            .any(|event| event.seq == row.seq && event.kind == "triggered" && event.reopened > 0);
        let event = if reopened {
            "opened again".to_owned()
        } else {
            sentences::told_event(&row.kind, &row.occasion)
        };
        let is_held = sentences::is_held(row);
        rows.push(views::DeliveryRow {
            channel: sentences::channel_name(row).into(),
            event: event.into(),
            state: delivery_state(row.state),
            at: row.decided_at,
            next_try: (row.state == "pending" && row.attempts > 0 && !is_held)
                .then_some(row.next_at),
            held_until: is_held.then_some(row.next_at),
            why: why(row, is_held).into(),
            attempts: attempts.iter().map(attempt).collect(),
        });
    }
    Ok(rows)
}

/// Why a message has not arrived.
fn why(row: &DeliveryRow, is_held: bool) -> String {
    match (row.state, &row.occasion) {
        ("delivered", _) => String::new(),
        (_, Occasion::MaintenanceOver { window }) if is_held => {
            format!("By the maintenance {window}.")
        }
        _ => row.detail.as_deref().map(sentence).unwrap_or_default(),
    }
}

/// The page's word for a delivery's state.
pub(super) fn delivery_state(word: &str) -> Shape {
    match word {
        "delivered" => Shape::Delivered,
        "pending" => Shape::Pending,
        "superseded" => Shape::Superseded,
        _ => Shape::Dead,
    }
}

fn attempt(attempt: &systole_store::deliveries::Attempt) -> Attempt {
    let is_delivered = attempt.outcome == "delivered";
    let outcome = match attempt.status {
        Some(_) => attempt.detail.clone(),
        None if attempt.detail.is_empty() => attempt.outcome.replace('_', " "),
        None => attempt.detail.clone(),
    };
    Attempt {
        at: attempt.at,
        took: Span::from_micros(attempt.latency.as_micros()),
        state: if is_delivered {
            Shape::Delivered
        } else {
            Shape::Dead
        },
        outcome: outcome.into(),
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Act {
    text: String,
    back: String,
}

/// `POST /incidents/{number}/acknowledge`, `/resolve`, `/note`.
pub(super) async fn act(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path((number, action)): Path<(String, String)>,
    Form(form): Form<Act>,
) -> Reply {
    let by = visitor.editor()?;
    let app = &pages.app;
    let number = parse_incident_id(&number).ok_or(Failure::NotFound)?;
    let done = match action.as_str() {
        "acknowledge" => api::acknowledge(app, by, number, None)
            .await
            .map(|_| format!("You have incident #{number}.")),
        "resolve" => api::resolve(app, by, number, None)
            .await
            .map(|_| format!("Incident #{number} is resolved.")),
        "note" => {
            let text = form.text.trim();
            if text.is_empty() || text.chars().count() > NOTE_MAX {
                let why = format!(
                    "A note has 1 to {NOTE_MAX} characters. Go back: what you typed is still there."
                );
                return Err(Failure::Refused(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "This is no note".to_owned(),
                    why,
                ));
            }
            api::note(app, by, number, text.to_owned())
                .await
                .map(|_| "The note is on the timeline.".to_owned())
        }
        _ => return Err(Failure::NotFound),
    };
    match done {
        Ok(done) => pages.notices.say(&visitor, false, done),
        // Somebody else, or the job itself, was faster: the page shows how it stands.
        Err(error) if error.status() == StatusCode::CONFLICT => {
            pages
                .notices
                .say(&visitor, true, sentence(&error.problem().detail));
        }
        Err(error) => return Err(error.into()),
    }
    let back = if form.back == "/" {
        "/".to_owned()
    } else {
        format!("/incidents/{number}")
    };
    Ok(see(&back))
}
