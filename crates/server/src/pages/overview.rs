//! `GET /`: what is wrong now, then everything.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, RawQuery, State};
use axum::http::StatusCode;
use serde::Deserialize;
use systole_core::engine::{Monitor, MonitorId};
use systole_core::heartbeat::Shown;
use systole_core::message::Severity;
use systole_core::time::Time;
use systole_store::Error;
use systole_store::incidents::{IncidentFilter, IncidentRow};
use systole_store::monitors::{MonitorFilter, MonitorRow};

use super::frame::Says;
use super::listing::{Picked, Wanted, cursor, parse_cursor, pick};
use super::reply::{Failure, Reply, page, see};
use super::visitor::Visitor;
use super::{Pages, frame, incidents, sentences};
use crate::app::App;
use crate::compose::monitor_id;
use crate::loops::Loop;
use crate::web::render;
use crate::web::text::Untrusted;
use crate::web::views::{self, OpenIncident, OverviewView};

/// Rows of a page.
const ROWS: usize = 40;
/// Open incidents shown; there is a list of all.
const OPEN_SHOWN: usize = 20;
/// Open incidents looked at for the worst.
const OPEN_READ: u32 = 500;
/// Monitors that a search finds, at most: a name that thousands share is no way to find one.
const FOUND_MAX: u32 = 2_000;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    state: String,
    cursor: String,
}

/// `GET /monitors`: the same list.
pub(super) async fn from_list(_: Visitor, RawQuery(query): RawQuery) -> Reply {
    Ok(see(&query.map_or_else(
        || "/".to_owned(),
        |query| format!("/?{query}"),
    )))
}

/// `GET /`.
pub(super) async fn show(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Reply {
    let app = &pages.app;
    let now = app.now();
    let query = asked.q.trim().to_owned();
    let wanted = Wanted {
        state: shown(&asked.state),
        among: found(app, visitor.project(), &query).await?,
        after: parse_cursor(&asked.cursor),
        limit: ROWS,
    };
    let (state, later_page) = (wanted.state, wanted.after.is_some());
    let picked = picked(app, wanted, now).await?;
    let open = open_incidents(app, visitor.project()).await?;
    let rows = rows(&pages, &visitor, &picked, &open, now).await?;
    let view = OverviewView {
        frame: frame::frame(&pages, &visitor, Says::All).await?,
        open: worst(app, open, now).await?,
        last_look: app
            .loops
            .health()
            .iter()
            .find(|(of, _)| *of == Loop::Engine)
            .and_then(|(_, health)| health.last_run),
        counts: picked
            .counts
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(shown, n)| (sentences::state(*shown), *n))
            .collect(),
        query: query.into(),
        state: state.map(sentences::state),
        rows,
        matching: picked.matching,
        next: picked
            .places
            .last()
            .filter(|_| picked.has_more)
            .map(|place| cursor(*place).into()),
        later_page,
        base_url: app.base_url.clone().into(),
        token_file: app
            .config
            .data_dir
            .join("local-token")
            .display()
            .to_string()
            .into(),
    };
    Ok(page(StatusCode::OK, render::overview(&view)))
}

fn shown(word: &str) -> Option<Shown> {
    [
        Shown::New,
        Shown::Up,
        Shown::Late,
        Shown::Down,
        Shown::Paused,
    ]
    .into_iter()
    .find(|shown| shown.word() == word)
}

/// The monitors that a search finds: by a part of the name, or by a label as `key=value`.
async fn found(
    app: &App,
    project: i64,
    query: &str,
) -> Result<Option<std::collections::HashSet<MonitorId>>, Error> {
    if query.is_empty() {
        return Ok(None);
    }
    let by_name = MonitorFilter {
        text: Some(query.to_owned()),
        limit: FOUND_MAX,
        ..MonitorFilter::default()
    };
    let mut rows = app.store.monitors(project, &by_name).await?;
    if let Some((key, value)) = query.split_once('=') {
        let labels = vec![(key.trim().to_owned(), value.trim().to_owned())];
        let by_label = MonitorFilter {
            labels,
            limit: FOUND_MAX,
            ..MonitorFilter::default()
        };
        rows.extend(app.store.monitors(project, &by_label).await?);
    }
    Ok(Some(rows.iter().map(|row| row.id).collect()))
}

/// Of a million monitors the look takes a while, so it is not done where requests are served.
async fn picked(app: &Arc<App>, wanted: Wanted, now: Time) -> Result<Picked, Failure> {
    let app = Arc::clone(app);
    let picked = tokio::task::spawn_blocking(move || pick(&app.engine.read(), &wanted, now)).await;
    picked.map_err(|error| Failure::Internal(format!("cannot look at the monitors: {error}")))
}

async fn open_incidents(app: &App, project: i64) -> Result<Vec<IncidentRow>, Error> {
    let filter = IncidentFilter {
        open: Some(true),
        limit: OPEN_READ,
        ..IncidentFilter::default()
    };
    app.store.incidents(project, &filter).await
}

/// The worst first: by severity, those that nobody has before the others, the newest first.
async fn worst(
    app: &App,
    mut open: Vec<IncidentRow>,
    now: Time,
) -> Result<Vec<OpenIncident>, Error> {
    open.sort_by_key(|row| {
        let severity = row.severity.parse::<Severity>().unwrap_or_default();
        (
            row.acknowledged_at.is_some(),
            std::cmp::Reverse((severity, row.started_at)),
        )
    });
    open.truncate(OPEN_SHOWN);
    let mut shown = Vec::with_capacity(open.len());
    for row in open {
        let events = app.store.events(row.number).await?;
        let deliveries = incidents::of_opening(app, &row, &events).await?;
        let state = app
            .engine
            .read()
            .monitor(row.monitor)
            .map(|monitor| monitor.heartbeat.shown(now));
        shown.push(OpenIncident {
            number: row.number,
            monitor_state: state.map_or(views::State::Down, sentences::state),
            acknowledged: row.acknowledged_at.is_some(),
            since: row.started_at,
            what: sentences::what(&row, now).into(),
            told: sentences::told(&row, &events, &deliveries, now).into(),
            monitor: row.monitor_name.into(),
            labels: labels(&row.labels),
        });
    }
    Ok(shown)
}

/// Labels as chips.
pub(super) fn labels(labels: &[(String, String)]) -> Vec<Untrusted> {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}").into())
        .collect()
}

async fn rows(
    pages: &Pages,
    visitor: &Visitor,
    picked: &Picked,
    open: &[IncidentRow],
    now: Time,
) -> Result<Vec<views::MonitorRow>, Error> {
    let app = &pages.app;
    let ids: Vec<MonitorId> = picked.places.iter().map(|(_, id)| *id).collect();
    let filter = MonitorFilter {
        limit: u32::try_from(ids.len()).unwrap_or(u32::MAX),
        ids: Some(ids),
        ..MonitorFilter::default()
    };
    let found = app.store.monitors(visitor.project(), &filter).await?;
    let by_id: HashMap<MonitorId, MonitorRow> =
        found.into_iter().map(|row| (row.id, row)).collect();
    let mut rows = Vec::with_capacity(by_id.len());
    for (_, id) in &picked.places {
        let known = app.engine.read().monitor(*id).cloned();
        // One that was deleted between the looks is left out.
        let (Some(row), Some(monitor)) = (by_id.get(id), known) else {
            continue;
        };
        let incident = open.iter().find(|incident| incident.monitor == *id);
        rows.push(self::row(pages, visitor, row, &monitor, incident, now).await?);
    }
    Ok(rows)
}

async fn row(
    pages: &Pages,
    visitor: &Visitor,
    row: &MonitorRow,
    monitor: &Monitor,
    open: Option<&IncidentRow>,
    now: Time,
) -> Result<views::MonitorRow, Error> {
    let runs = pages
        .recent
        .runs(&pages.app, visitor.project(), row.id, monitor)
        .await?;
    let ended = runs.iter().rev().find(|run| {
        matches!(
            run.outcome,
            views::Outcome::Success | views::Outcome::Failure
        )
    });
    let heartbeat = &monitor.heartbeat;
    Ok(views::MonitorRow {
        id: monitor_id(row.id),
        name: row.fields.name.clone().into(),
        labels: labels(&row.fields.labels),
        kind: "Heartbeat",
        state: sentences::state(heartbeat.shown(now)),
        maintenance: pages
            .app
            .maintenance
            .of(visitor.project())
            .cover(&row.fields.labels, row.id, now)
            .is_some(),
        since: heartbeat.shown_since(now),
        last: Some(monitor.last_checkin).filter(|last| *last != Time::MIN),
        took: ended.and_then(|run| run.duration),
        next: sentences::due(monitor, open.and_then(expected), now),
        recent: runs.iter().map(|run| run.outcome).collect(),
    })
}

/// The slot that an incident by silence is about.
pub(super) fn expected(row: &IncidentRow) -> Option<Time> {
    let is_slot = matches!(
        row.reason.as_str(),
        "missed_deadline" | "missed_start" | "unheard_since_outage"
    );
    row.evidence
        .expected_at
        .filter(|_| is_slot)
        .map(Time::from_micros)
}
