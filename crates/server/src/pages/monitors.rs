//! `GET /monitors/{id}` and what its buttons do.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use systole_core::engine::{Monitor, MonitorId};
use systole_core::heartbeat::{Settings, Signal};
use systole_core::schedule::Schedule;
use systole_core::time::{Span, Time};
use systole_store::history::FoundCheckin;
use systole_store::history::rolled::{Period, Resolution};
use systole_store::incidents::{IncidentFilter, IncidentRow};
use systole_store::monitors::MonitorRow;
use systole_wire::{Monitor as WireMonitor, MonitorDetail};

use super::frame::Says;
use super::reply::{Failure, Reply, page, see, sentence};
use super::visitor::Visitor;
use super::{Pages, frame, overview, recent, sentences};
use crate::api::Expected;
use crate::api::monitors as api;
use crate::api::parse_monitor_id;
use crate::compose::monitor_id;
use crate::principals::Principal;
use crate::web::render;
use crate::web::snippets::Ping;
use crate::web::text::Untrusted;
use crate::web::views::{Checkin, Day, MonitorView, Run, State as Shape};

/// Check-ins behind the bars.
const CHECKINS: usize = 180;
const RUNS_SHOWN: usize = 60;
const CHECKINS_SHOWN: usize = 20;
const INCIDENTS_READ: u32 = 50;
const INCIDENTS_SHOWN: usize = 10;
/// Today, and so long before it.
const DAYS_SHOWN: Span = Span::from_seconds(89 * 86_400);
/// More marks would be a smear.
const SLOTS_MAX: usize = 90;

/// `GET /monitors/{id}`.
pub(super) async fn show(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Reply {
    let app = &pages.app;
    let id = parse_monitor_id(&id).ok_or(Failure::NotFound)?;
    let row = app
        .store
        .monitor(visitor.project(), id)
        .await?
        .ok_or(Failure::NotFound)?;
    // Made a moment ago, and not yet read by the engine: as new.
    let known = app.engine.read().monitor(id).cloned();
    let monitor =
        known.unwrap_or_else(|| Monitor::new(Arc::clone(&row.fields.settings), row.created_at));
    let wire = api::read(app, &visitor.principal, id).await?;
    let now = app.now();
    let found = app.store.checkins(id, None, CHECKINS).await?;
    let days = app
        .store
        .rollups(id, Resolution::Day, now - DAYS_SHOWN, now)
        .await?;
    let filter = IncidentFilter {
        monitor: Some(id),
        limit: INCIDENTS_READ,
        ..IncidentFilter::default()
    };
    let incidents = app.store.incidents(visitor.project(), &filter).await?;
    let open = incidents
        .iter()
        .find(|incident| incident.resolved_at.is_none());
    let settings = &row.fields.settings;
    let mut runs = recent::of(&found, &incidents, settings, now);
    runs.drain(..runs.len().saturating_sub(RUNS_SHOWN));
    let shown = monitor.heartbeat.shown(now);
    let view = MonitorView {
        frame: frame::frame(&pages, &visitor, Says::Reach).await?,
        id: monitor_id(id),
        name: row.fields.name.clone().into(),
        kind: "Heartbeat",
        description: row.fields.description.clone().into(),
        labels: overview::labels(&row.fields.labels),
        state: sentences::state(shown),
        maintenance: app
            .maintenance
            .of(visitor.project())
            .cover(&row.fields.labels, id, now)
            .map(|cover| (cover.name.to_owned().into(), cover.until)),
        since: monitor.heartbeat.shown_since(now),
        why: sentences::why(&monitor, open, now).into(),
        warnings: warnings(&wire),
        open_incident: open.map(|incident| incident.number),
        due: sentences::due(&monitor, open.and_then(overview::expected), now),
        schedule_words: settings.schedule.describe().into(),
        grace: settings.grace,
        ping: ping(&wire, settings),
        slots: slots(settings, &monitor, &runs, now),
        // Where nothing says how long a run took there is nothing to compare a limit with.
        limit: runs
            .iter()
            .any(|run| run.duration.is_some())
            .then(|| sentences::limit(settings)),
        runs,
        days: days.iter().map(day).collect(),
        checkins: checkins(&found),
        incidents: incidents
            .iter()
            .take(INCIDENTS_SHOWN)
            .map(|row| incident_row(row, now))
            .collect(),
        settings: settings_list(&wire, &row),
        editable: visitor.can_edit(),
    };
    Ok(page(StatusCode::OK, render::monitor(&view)))
}

/// What the frame says of the whole installation is not said again; what a clock change will do some day stands with the
/// settings.
fn warnings(wire: &WireMonitor) -> Vec<Untrusted> {
    let own = wire
        .warnings
        .iter()
        .filter(|warning| !matches!(warning.code.as_str(), "loopback_base_url" | "schedule"));
    own.map(|warning| sentence(&warning.message).into())
        .collect()
}

fn ping(wire: &WireMonitor, settings: &Settings) -> Option<Ping> {
    let MonitorDetail::Heartbeat { spec, status } = &wire.detail;
    let (cron, timezone) = match &settings.schedule {
        Schedule::Every(_) => (None, "UTC".to_owned()),
        Schedule::Cron(cron) => (
            Some(cron.expression().to_owned().into()),
            cron.timezone().to_owned(),
        ),
    };
    Some(Ping {
        url: status.ping_url.clone()?,
        slug: spec.slug.clone().unwrap_or_default(),
        cron,
        timezone: timezone.into(),
    })
}

/// When beats were and are expected, from the first run on. Of a period only the next is known: each beat moves it.
fn slots(settings: &Settings, monitor: &Monitor, runs: &[Run], now: Time) -> Vec<Time> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    // One that is far ahead would push all that was into a corner.
    let is_near = |slot: &Time| slot.since(now) <= now.since(first.at);
    let awaited = Some(monitor.heartbeat.awaited)
        .filter(|awaited| *awaited != Time::NEVER)
        .filter(is_near);
    if matches!(settings.schedule, Schedule::Every(_)) {
        return awaited.into_iter().collect();
    }
    let until = awaited.unwrap_or(now).max(now);
    let mut slots = Vec::new();
    let mut after = first.at - Span::from_seconds(60);
    while let Some(slot) = settings
        .schedule
        .next_after(after)
        .filter(|slot| *slot <= until)
    {
        slots.push(slot);
        if slots.len() > SLOTS_MAX {
            return awaited.into_iter().collect();
        }
        after = slot;
    }
    slots
}

const fn day(period: &Period) -> Day {
    Day {
        start: period.start,
        up: period.rollup.up,
        down: period.rollup.down,
    }
}

fn checkins(found: &[FoundCheckin]) -> Vec<Checkin> {
    found.iter().take(CHECKINS_SHOWN).map(checkin).collect()
}

fn checkin(found: &FoundCheckin) -> Checkin {
    let record = &found.record;
    let (kind, state) = match record.checkin.signal {
        Signal::Start => ("start".to_owned(), Shape::Acknowledged),
        Signal::Success | Signal::Exit(0) => ("success".to_owned(), Shape::Up),
        Signal::Fail => ("fail".to_owned(), Shape::Down),
        Signal::Log => ("log".to_owned(), Shape::Unknown),
        Signal::Exit(status) => (format!("exit status {status}"), Shape::Down),
    };
    let from = record
        .source
        .map_or_else(String::new, |source| format!(" from {source}"));
    let agent = if record.user_agent.is_empty() {
        String::new()
    } else {
        format!(", {}", record.user_agent)
    };
    Checkin {
        at: record.checkin.at,
        kind: kind.into(),
        state,
        duration: found.duration,
        source: format!("{}{from}{agent}", record.method.name()).into(),
        message: record.message.clone().into(),
        body: record.body.clone(),
        truncated: record.body_truncated,
    }
}

/// For lists of incidents.
pub(super) fn incident_row(row: &IncidentRow, now: Time) -> crate::web::views::IncidentRow {
    crate::web::views::IncidentRow {
        number: row.number,
        state: sentences::incident_state(row),
        monitor: row.monitor_name.clone().into(),
        what: sentences::what(row, now).into(),
        started_at: row.started_at,
        resolved_at: row.resolved_at,
    }
}

/// In the words of the API, what is unset left out.
fn settings_list(wire: &WireMonitor, row: &MonitorRow) -> Vec<(&'static str, Untrusted)> {
    let MonitorDetail::Heartbeat { spec, .. } = &wire.detail;
    let settings = &row.fields.settings;
    let mut list: Vec<(&'static str, Untrusted)> = vec![("id", wire.id.clone().into())];
    let mut add = |name, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            list.push((name, value.into()));
        }
    };
    add("slug", spec.slug.clone());
    match &settings.schedule {
        Schedule::Every(period) => add("every", Some(period.to_string())),
        Schedule::Cron(cron) => {
            add("cron", Some(cron.expression().to_owned()));
            add("timezone", Some(cron.timezone().to_owned()));
            add("dialect", Some(cron.dialect().to_string()));
        }
    }
    let surprises = wire
        .warnings
        .iter()
        .filter(|warning| warning.code == "schedule");
    add(
        "warnings",
        Some(
            surprises
                .map(|warning| sentence(&warning.message))
                .collect::<Vec<_>>()
                .join(" "),
        ),
    );
    add("grace", Some(settings.grace.to_string()));
    add(
        "start_grace",
        settings.start_grace.map(|span| span.to_string()),
    );
    add(
        "max_runtime",
        settings.max_runtime.map(|span| span.to_string()),
    );
    add(
        "early_window",
        settings.early_window.map(|span| span.to_string()),
    );
    let threshold = |n: u16| (n > 1).then(|| n.to_string());
    add("fail_threshold", threshold(settings.fail_threshold));
    add("recovery_threshold", threshold(settings.recovery_threshold));
    add("severity", Some(row.fields.severity.clone()));
    let channels = match &wire.common.channels {
        None => "the default ones".to_owned(),
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => names.join(", "),
    };
    add("channels", Some(channels));
    add("owner", wire.common.owner.clone());
    add("runbook_url", wire.common.runbook_url.clone());
    add("set", wire.common.set.clone());
    list
}

/// `POST /monitors/{id}/pause`, `/resume`, `/rotate-token`, `/delete`.
pub(super) async fn act(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path((id, action)): Path<(String, String)>,
) -> Reply {
    let by = visitor.editor()?;
    let id = parse_monitor_id(&id).ok_or(Failure::NotFound)?;
    let name = pages
        .app
        .store
        .monitor(visitor.project(), id)
        .await?
        .ok_or(Failure::NotFound)?
        .fields
        .name;
    let (done, back) = carry_out(&pages, by, id, &action, &name).await?;
    pages.notices.say(&visitor, false, done);
    Ok(see(&back))
}

async fn carry_out(
    pages: &Pages,
    by: &Principal,
    id: MonitorId,
    action: &str,
    name: &str,
) -> Result<(String, String), Failure> {
    let app = &pages.app;
    let here = format!("/monitors/{}", monitor_id(id));
    Ok(match action {
        "pause" => {
            api::pause(app, by, id).await?;
            (format!("{name} is paused."), here)
        }
        "resume" => {
            api::resume(app, by, id).await?;
            (
                format!("{name} is watched again, from its next check-in on."),
                here,
            )
        }
        "rotate-token" => {
            api::rotate_token(app, by, id, Span::ZERO).await?;
            (
                format!(
                    "{name} has a new ping URL. The old one answers 404 from now on: change the job."
                ),
                here,
            )
        }
        "delete" => {
            api::delete(app, by, id, Expected(None)).await?;
            (format!("{name} is deleted."), "/".to_owned())
        }
        _ => return Err(Failure::NotFound),
    })
}
