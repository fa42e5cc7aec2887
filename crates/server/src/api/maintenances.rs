//! Maintenances: windows in which something is worked on. Making, reading, changing, ending, deleting.

use systole_core::engine::MonitorId;
use systole_core::maintenance::{Phase, Selector};
use systole_core::time::{Span, Time};
use systole_store::Error;
use systole_store::maintenance::{LabelSet, MaintenanceFields, MaintenanceRow, NamedMonitor};
use systole_wire::{
    Maintenance, MaintenanceInput, MaintenancePatch, MaintenanceState, Page, Warning,
};

use super::ApiError;
use super::extract::{Expected, Query};
use super::ids::{maintenance_id, parse_maintenance_id};
use super::maintenance_fields::{fields, whole, written};
use crate::app::App;
use crate::compose::monitor_id;
use crate::principals::Principal;

/// How often a change without `If-Match` is tried again when another one came between.
const TRIES: usize = 5;

/// Makes a maintenance.
///
/// # Errors
/// Wrong fields; a name in use.
pub async fn create(
    app: &App,
    by: &Principal,
    input: MaintenanceInput,
) -> Result<Maintenance, ApiError> {
    let fields = fields(app, by, None, whole(input)).await?;
    let (id, row) = app
        .store
        .create_maintenance(app.now(), &by.name, by.project, &fields)
        .await?;
    changed(app, by, row).await?;
    read(app, by, id).await
}

/// One maintenance.
///
/// # Errors
/// 404.
pub async fn read(app: &App, by: &Principal, id: i64) -> Result<Maintenance, ApiError> {
    let row = row(app, by, id).await?;
    let known = Known::of(app, by.project, std::slice::from_ref(&row)).await?;
    Ok(reply(&row, &known, app.now()))
}

/// Maintenances, newest first.
///
/// # Errors
/// What the database says, or a wrong parameter.
pub async fn list(
    app: &App,
    by: &Principal,
    mut query: Query,
) -> Result<Page<Maintenance>, ApiError> {
    let state = query.word("state", &STATES.map(MaintenanceState::as_str));
    let (before, limit) = (query.cursor(parse_maintenance_id), query.limit());
    query.finish()?;
    let now = app.now();
    let mut rows = app.store.maintenances(by.project).await?;
    rows.retain(|row| before.is_none_or(|before| row.id < before));
    rows.retain(|row| {
        state.is_none_or(|state| stands(row.fields.window.phase(now)).as_str() == state)
    });
    let next = super::cut(&mut rows, limit, |row| maintenance_id(row.id));
    let known = Known::of(app, by.project, &rows).await?;
    Ok(Page {
        items: rows.iter().map(|row| reply(row, &known, now)).collect(),
        next,
    })
}

const STATES: [MaintenanceState; 3] = [
    MaintenanceState::Active,
    MaintenanceState::Planned,
    MaintenanceState::Over,
];

/// Every maintenance with its row, newest first: for the page.
///
/// # Errors
/// What the database says.
pub async fn all(
    app: &App,
    by: &Principal,
) -> Result<Vec<(MaintenanceRow, Maintenance)>, ApiError> {
    let now = app.now();
    let rows = app.store.maintenances(by.project).await?;
    let known = Known::of(app, by.project, &rows).await?;
    let told = |row: MaintenanceRow| {
        let told = reply(&row, &known, now);
        (row, told)
    };
    Ok(rows.into_iter().map(told).collect())
}

/// Changes what a patch names. Another time begins anew: an early end is forgotten.
///
/// # Errors
/// Wrong fields, 404, 412, a name in use.
pub async fn update(
    app: &App,
    by: &Principal,
    id: i64,
    expected: Expected,
    patch: MaintenancePatch,
) -> Result<Maintenance, ApiError> {
    for _ in 0..TRIES {
        let row = row(app, by, id).await?;
        expected.check(row.rev)?;
        let fields = fields(app, by, Some(&row.fields), patch.clone()).await?;
        if fields == row.fields {
            return read(app, by, id).await;
        }
        if store(app, by, &row, &fields).await? {
            return read(app, by, id).await;
        }
    }
    Err(contended())
}

/// Sets every field: those left out get their defaults, but the set stays.
///
/// # Errors
/// As [`update`].
pub async fn replace(
    app: &App,
    by: &Principal,
    id: i64,
    expected: Expected,
    input: MaintenanceInput,
) -> Result<Maintenance, ApiError> {
    update(app, by, id, expected, whole(input)).await
}

/// Ends the window that is open. One that comes again comes again.
///
/// # Errors
/// 404; 409 where none is open.
pub async fn end(app: &App, by: &Principal, id: i64) -> Result<Maintenance, ApiError> {
    for _ in 0..TRIES {
        let row = row(app, by, id).await?;
        let now = app.now();
        let Phase::Active(open) = row.fields.window.phase(now) else {
            return Err(ApiError::conflict(
                "not_active",
                "it is not on now, so there is nothing to end; change when it is, or delete it",
            ));
        };
        let mut fields = row.fields.clone();
        // After its beginning, however soon.
        fields.window.ended_at = Some(now.max(open.start + Span::from_micros(1)));
        if store(app, by, &row, &fields).await? {
            return read(app, by, id).await;
        }
    }
    Err(contended())
}

/// Deletes a maintenance; what it covers is covered no more.
///
/// # Errors
/// 404, 412.
pub async fn delete(
    app: &App,
    by: &Principal,
    id: i64,
    expected: Expected,
) -> Result<(), ApiError> {
    expected.check(row(app, by, id).await?.rev)?;
    let deleted = app
        .store
        .delete_maintenance(app.now(), &by.name, by.project, id)
        .await?;
    changed(
        app,
        by,
        deleted.ok_or_else(|| ApiError::not_found("maintenance"))?,
    )
    .await
}

/// `false` when another change came between.
async fn store(
    app: &App,
    by: &Principal,
    row: &MaintenanceRow,
    fields: &MaintenanceFields,
) -> Result<bool, ApiError> {
    let Some(appended) = app
        .store
        .update_maintenance(app.now(), &by.name, row, fields)
        .await?
    else {
        return Ok(false);
    };
    changed(app, by, appended).await.map(|()| true)
}

/// Whoever asks next sees it, and what is held is judged anew.
async fn changed(
    app: &App,
    by: &Principal,
    row: systole_core::engine::Row,
) -> Result<(), ApiError> {
    app.maintenance.reload(&app.store, by.project).await?;
    app.engine.apply(row).await;
    app.engine.ask_follow_up();
    Ok(())
}

fn contended() -> ApiError {
    ApiError::conflict(
        "changed_meanwhile",
        "it is being changed by others all the time; try again",
    )
}

async fn row(app: &App, by: &Principal, id: i64) -> Result<MaintenanceRow, ApiError> {
    app.store
        .maintenance(by.project, id)
        .await?
        .ok_or_else(|| ApiError::not_found("maintenance"))
}

/// What replies need of the monitors.
struct Known {
    sets: Vec<LabelSet>,
    named: Vec<NamedMonitor>,
}

impl Known {
    async fn of(app: &App, project: i64, rows: &[MaintenanceRow]) -> Result<Known, Error> {
        let mut ids: Vec<MonitorId> = rows
            .iter()
            .flat_map(|row| row.fields.window.selector.monitors.iter().copied())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let named = if ids.is_empty() {
            Vec::new()
        } else {
            app.store.named_monitors(project, &ids).await?
        };
        Ok(Known {
            sets: app.store.label_sets(project).await?,
            named,
        })
    }

    fn of_ids(&self, ids: &[MonitorId]) -> impl Iterator<Item = &NamedMonitor> {
        ids.iter()
            .filter_map(|id| self.named.iter().find(|monitor| monitor.id == *id))
    }

    fn matches(&self, selector: &Selector) -> i64 {
        let is_selected =
            |labels: &[(String, String)]| selector.all || selector.labels.selects(labels);
        let sets = self.sets.iter().filter(|(labels, _)| is_selected(labels));
        let by_labels: i64 = sets.map(|(_, count)| count).sum();
        let more = self
            .of_ids(&selector.monitors)
            .filter(|monitor| !is_selected(&monitor.labels));
        by_labels + i64::try_from(more.count()).unwrap_or(0)
    }
}

fn stands(phase: Phase) -> MaintenanceState {
    match phase {
        Phase::Active(_) => MaintenanceState::Active,
        Phase::Planned(_) => MaintenanceState::Planned,
        Phase::Over => MaintenanceState::Over,
    }
}

fn reply(row: &MaintenanceRow, known: &Known, now: Time) -> Maintenance {
    let window = &row.fields.window;
    let phase = window.phase(now);
    let name = |monitor: &NamedMonitor| {
        if monitor.is_name_unique {
            monitor.name.clone()
        } else {
            monitor_id(monitor.id)
        }
    };
    let matches = known.matches(&window.selector);
    let mut warnings = Vec::new();
    if matches == 0 {
        warnings.push(Warning {
            code: "covers_nothing".to_owned(),
            message: "no monitor has such labels or such a name now".to_owned(),
        });
    }
    Maintenance {
        id: maintenance_id(row.id),
        rev: row.rev,
        name: window.name.clone(),
        description: row.fields.description.clone(),
        selector: window.selector.labels.to_string(),
        monitors: known.of_ids(&window.selector.monitors).map(name).collect(),
        all: window.selector.all,
        when: written(&window.when),
        state: stands(phase),
        active: matches!(phase, Phase::Active(_)),
        current_end: match phase {
            Phase::Active(open) => Some(open.end.to_string()),
            _ => None,
        },
        next_start: window.next_after(now).map(|next| next.start.to_string()),
        ended_at: window.ended_at.map(|at| at.to_string()),
        matches,
        set: row.fields.set.clone(),
        warnings,
        created_at: row.created_at.to_string(),
    }
}
