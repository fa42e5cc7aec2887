//! Incidents and their timelines: reading them, and what people do to them.

use systole_core::engine::{Action, Command, MonitorId};
use systole_core::incident::Phase;
use systole_core::reason::Reason;
use systole_core::time::Time;
use systole_store::incidents::{EventRow, EvidenceDocument, IncidentFilter, IncidentRow};
use systole_wire::incident::Evidence;
use systole_wire::{Incident, IncidentEvent, IncidentState, MonitorReference, Page};

use super::ApiError;
use super::extract::Query;
use super::fields::severity;
use super::ids::{parse_incident_id, parse_monitor_id};
use crate::app::App;
use crate::compose::{incident_id, monitor_id, reason_sentence};
use crate::principals::Principal;

/// Which incidents a list holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct IncidentQuery {
    /// `open`, `triggered`, `acknowledged` or `resolved`.
    pub state: Option<&'static str>,
    /// Only of this monitor.
    pub monitor: Option<MonitorId>,
    /// Only older than this one.
    pub before: Option<u64>,
    /// At most so many; 0 for as many as a page has.
    pub limit: u32,
}

impl IncidentQuery {
    /// From a query's parameters.
    ///
    /// # Errors
    /// Every wrong one.
    pub fn read(mut query: Query) -> Result<IncidentQuery, ApiError> {
        let read = IncidentQuery {
            state: query.word("state", &["open", "triggered", "acknowledged", "resolved"]),
            monitor: query.parsed("monitor", "the id of a monitor", parse_monitor_id),
            before: query.cursor(parse_incident_id),
            limit: query.limit(),
        };
        query.finish().map(|()| read)
    }
}

/// Incidents, newest first.
///
/// # Errors
/// What the database says.
pub async fn list(
    app: &App,
    by: &Principal,
    query: &IncidentQuery,
) -> Result<Page<Incident>, ApiError> {
    let limit = if query.limit == 0 {
        systole_wire::page::DEFAULT_LIMIT
    } else {
        query.limit
    };
    let open = query.state.map(|state| state != "resolved");
    let mut filter = IncidentFilter {
        open,
        monitor: query.monitor,
        before: query.before,
        limit: limit + 1,
    };
    let mut rows: Vec<IncidentRow> = Vec::new();
    // The database tells open from resolved; which of the open ones are taken is told here.
    loop {
        let found = app.store.incidents(by.project, &filter).await?;
        let is_last = found.len() <= limit as usize;
        filter.before = found.last().map(|row| row.number);
        rows.extend(found.into_iter().filter(|row| {
            query
                .state
                .is_none_or(|state| state == "open" || state == row.state)
        }));
        if is_last || rows.len() > limit as usize {
            break;
        }
    }
    let next = super::cut(&mut rows, limit, |row| row.number.to_string());
    Ok(Page {
        items: rows.iter().map(|row| reply(app, row, None)).collect(),
        next,
    })
}

/// One incident with its timeline.
///
/// # Errors
/// 404.
pub async fn read(app: &App, by: &Principal, number: u64) -> Result<Incident, ApiError> {
    let row = row(app, by, number).await?;
    let events = app.store.events(number).await?;
    Ok(reply(app, &row, Some(&events)))
}

/// Somebody takes it. Taking what is taken changes nothing, but keeps the note.
///
/// # Errors
/// 404; 409 when it is over.
pub async fn acknowledge(
    app: &App,
    by: &Principal,
    number: u64,
    note: Option<String>,
) -> Result<Incident, ApiError> {
    let row = row(app, by, number).await?;
    match (phase(app, &row), note) {
        (Some(Phase::Triggered), note) => {
            act(
                app,
                by,
                &row,
                Action::Acknowledge {
                    incident: number,
                    note,
                },
            )
            .await?;
        }
        (Some(Phase::Acknowledged), None) => {}
        (Some(Phase::Acknowledged), Some(note)) => {
            act(
                app,
                by,
                &row,
                Action::Note {
                    incident: number,
                    note,
                },
            )
            .await?
        }
        (Some(Phase::Resolved(_)) | None, _) => return Err(not_open(&row)),
    }
    let incident = read(app, by, number).await?;
    // It may have been resolved in the same moment.
    if incident.state == IncidentState::Triggered {
        Err(not_decided())
    } else {
        Ok(incident)
    }
}

/// It is over, says a person.
///
/// # Errors
/// 404; 409 when it is over already.
pub async fn resolve(
    app: &App,
    by: &Principal,
    number: u64,
    note: Option<String>,
) -> Result<Incident, ApiError> {
    let row = row(app, by, number).await?;
    match phase(app, &row) {
        Some(Phase::Triggered | Phase::Acknowledged) => {
            act(
                app,
                by,
                &row,
                Action::Resolve {
                    incident: number,
                    note,
                },
            )
            .await?;
        }
        Some(Phase::Resolved(_)) | None => return Err(not_open(&row)),
    }
    let incident = read(app, by, number).await?;
    if incident.state == IncidentState::Resolved {
        Ok(incident)
    } else {
        Err(not_decided())
    }
}

/// Something for its timeline.
///
/// # Errors
/// 404; 409 once it has been over for a while.
pub async fn note(
    app: &App,
    by: &Principal,
    number: u64,
    text: String,
) -> Result<Incident, ApiError> {
    let row = row(app, by, number).await?;
    if phase(app, &row).is_none() {
        let detail = "it has been over for more than five minutes; its timeline is closed";
        return Err(ApiError::conflict("closed", detail));
    }
    act(
        app,
        by,
        &row,
        Action::Note {
            incident: number,
            note: text,
        },
    )
    .await?;
    read(app, by, number).await
}

async fn row(app: &App, by: &Principal, number: u64) -> Result<IncidentRow, ApiError> {
    app.store
        .incident(by.project, number)
        .await?
        .ok_or_else(|| ApiError::not_found("incident"))
}

/// Where it stands in the engine's memory; `None` when its monitor has forgotten it.
fn phase(app: &App, row: &IncidentRow) -> Option<Phase> {
    let engine = app.engine.read();
    let last = engine.monitor(row.monitor)?.incident.as_deref()?;
    (last.number == row.number).then_some(last.phase)
}

async fn act(app: &App, by: &Principal, row: &IncidentRow, action: Action) -> Result<(), ApiError> {
    let command = Command {
        at: app.now(),
        monitor: Some(row.monitor),
        by: by.name.clone(),
        action,
    };
    let done = app.store.command(command).await?;
    app.engine.apply(done).await;
    Ok(())
}

fn not_open(row: &IncidentRow) -> ApiError {
    let since = row
        .resolved_at
        .map(|at| format!(" since {at}"))
        .unwrap_or_default();
    let detail = format!(
        "incident {} is not open: it is {}{since}",
        row.number, row.state
    );
    ApiError::conflict("not_open", detail)
}

fn not_decided() -> ApiError {
    let detail = "it was recorded, but not decided yet, or something else came between; read the incident again";
    ApiError::conflict("not_decided", detail)
}

fn reply(app: &App, row: &IncidentRow, events: Option<&[EventRow]>) -> Incident {
    let taken = events.and_then(|events| events.iter().rfind(|event| event.kind == "acknowledged"));
    let state = match row.state.as_str() {
        "resolved" => IncidentState::Resolved,
        "acknowledged" => IncidentState::Acknowledged,
        _ => IncidentState::Triggered,
    };
    Incident {
        id: incident_id(row.number),
        number: row.number.cast_signed(),
        state,
        severity: severity(&row.severity),
        title: format!("{} is down", row.monitor_name),
        reason: row.reason.clone(),
        reason_text: reason_sentence(&row.reason).to_owned(),
        reopened: row.reopened,
        started_at: row.started_at.to_string(),
        detected_at: row.detected_at.to_string(),
        acknowledged_at: row.acknowledged_at.map(|at| at.to_string()),
        acknowledged_by: row
            .acknowledged_at
            .and_then(|_| taken.and_then(|event| event.by.clone())),
        resolved_at: row.resolved_at.map(|at| at.to_string()),
        url: Some(app.incident_url(row.number)),
        monitor: monitor(app, row),
        evidence: evidence(&row.evidence),
        events: events.map(|events| events.iter().map(event).collect()),
    }
}

/// As it was named when the incident opened, in the state in which it is now.
fn monitor(app: &App, row: &IncidentRow) -> MonitorReference {
    let now = app.now();
    let state = app
        .engine
        .read()
        .monitor(row.monitor)
        .map_or("deleted", |monitor| monitor.heartbeat.shown(now).word());
    MonitorReference {
        id: monitor_id(row.monitor),
        kind: row.monitor_kind.clone(),
        name: row.monitor_name.clone(),
        url: None,
        labels: row.labels.iter().cloned().collect(),
        state: state.to_owned(),
    }
}

fn evidence(document: &EvidenceDocument) -> Evidence {
    let time = |micros: Option<i64>| micros.map(|micros| Time::from_micros(micros).to_string());
    Evidence {
        last_checkin_at: time(document.last_checkin_at),
        expected_at: time(document.expected_at),
        exit_status: document.exit_status,
        message: document.message.clone(),
    }
}

/// An entry of a timeline.
pub(super) fn event(row: &EventRow) -> IncidentEvent {
    let kind = if row.kind == "noted" {
        "note"
    } else {
        row.kind.as_str()
    };
    IncidentEvent {
        sequence: row.seq,
        at: row.at.to_string(),
        kind: kind.to_owned(),
        reason: Some(row.reason.clone()).filter(|reason| !reason.is_empty()),
        actor: row.by.clone(),
        text: sentence(row),
    }
}

fn sentence(row: &EventRow) -> String {
    let who = row.by.as_deref().unwrap_or("somebody");
    let said = row
        .note
        .as_deref()
        .map(|note| format!(": {note}"))
        .unwrap_or_default();
    let reason = reason_sentence(&row.reason);
    match row.kind.as_str() {
        "noted" => row.note.clone().unwrap_or_default(),
        "acknowledged" => format!("Acknowledged by {who}{said}"),
        "resolved" if row.reason == Reason::ByHand.word() => format!("Resolved by {who}{said}"),
        "resolved" if row.by.is_some() => format!("{reason} By {who}."),
        "triggered" => {
            let again = if row.reopened > 0 { "Down again. " } else { "" };
            format!("{again}{reason}{}", circumstances(row))
        }
        _ => format!("{reason}{said}{}", unsaid(row)),
    }
}

/// What somebody who is woken should know beside the reason.
fn circumstances(row: &EventRow) -> String {
    let mut text = String::new();
    if let Some(status) = row.evidence.exit_status {
        text.push_str(&format!(" Exit status {status}."));
    }
    if let Some((from, until)) = row
        .evidence
        .outage
        .or_else(|| row.evidence.outages.first().copied())
    {
        let (from, until) = (Time::from_micros(from), Time::from_micros(until));
        text.push_str(&format!(
            " Systole itself could not be reached from {from} to {until}."
        ));
    }
    text.push_str(&unsaid(row));
    text
}

/// Why nobody was told of it, where nobody was.
fn unsaid(row: &EventRow) -> String {
    row.silence.as_deref().map_or_else(String::new, |silence| {
        format!(" Nobody was told: {}.", silence.trim_end_matches('.'))
    })
}
