//! Monitors: reading, changing, deleting, and what is done to them.

use http::StatusCode;
use systole_core::engine::{Action, Command, MonitorId};
use systole_core::heartbeat::{Shown, State};
use systole_core::time::Span;
use systole_store::Error;
use systole_store::monitors::{KnownToken, MonitorFilter, MonitorRow};
use systole_wire::{Monitor, MonitorInput, MonitorPatch, Page};

use super::ApiError;
use super::extract::{Expected, Query};
use super::fields::{Channels, Written, is_same};
pub use super::monitor_reply::names_loopback;
use super::monitor_reply::reply;
use crate::app::App;
use crate::principals::Principal;
use crate::provision::new_token;

/// How often a change without `If-Match` is tried again when another one came between.
const TRIES: usize = 5;

/// Which monitors a list holds.
#[derive(Clone, Debug, Default)]
pub struct MonitorQuery {
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only in this state.
    pub state: Option<Shown>,
    /// Only with this text in the name.
    pub text: Option<String>,
    /// Only with one of these exact names; all where there are none.
    pub names: Vec<String>,
    /// Only with these labels.
    pub labels: Vec<(String, String)>,
    /// Only those that this set of documents owns.
    pub set: Option<String>,
    /// Only older than this one.
    pub before: Option<MonitorId>,
    /// At most so many; 0 for as many as a page has.
    pub limit: u32,
}

const STATES: [Shown; 5] = [
    Shown::New,
    Shown::Up,
    Shown::Late,
    Shown::Down,
    Shown::Paused,
];

impl MonitorQuery {
    /// From a query's parameters.
    ///
    /// # Errors
    /// Every wrong one.
    pub fn read(mut query: Query) -> Result<MonitorQuery, ApiError> {
        let kind = query.word(
            "kind",
            &["heartbeat", "endpoint", "cronjob", "job", "workload"],
        );
        let state = query.word("state", &STATES.map(Shown::word));
        let mut labels = Vec::new();
        for label in query.all("label") {
            match label.split_once('=') {
                Some((key, value)) => labels.push((key.to_owned(), value.to_owned())),
                None => query.wrong("label", "must be key=value"),
            }
        }
        let mut names = query.all("name");
        names.retain(|name| !name.is_empty());
        let read = MonitorQuery {
            kind: kind.map(str::to_owned),
            state: STATES.into_iter().find(|known| Some(known.word()) == state),
            text: query.text("q"),
            names,
            labels,
            set: query.text("set"),
            before: query.cursor(|text| text.parse().ok()),
            limit: query.limit(),
        };
        query.finish().map(|()| read)
    }
}

/// One monitor.
///
/// # Errors
/// 404.
pub async fn read(app: &App, by: &Principal, id: MonitorId) -> Result<Monitor, ApiError> {
    let row = row(app, by, id).await?;
    Ok(reply(app, by, &row, &channels(app, by).await?))
}

/// Monitors, newest first.
///
/// # Errors
/// What the database says.
pub async fn list(
    app: &App,
    by: &Principal,
    query: &MonitorQuery,
) -> Result<Page<Monitor>, ApiError> {
    let limit = if query.limit == 0 {
        systole_wire::page::DEFAULT_LIMIT
    } else {
        query.limit
    };
    let filter = MonitorFilter {
        kind: query.kind.clone(),
        text: query.text.clone(),
        names: (!query.names.is_empty()).then(|| query.names.clone()),
        labels: query.labels.clone(),
        set: query.set.clone(),
        ids: query.state.map(|state| in_state(app, state, query.before)),
        before: query.before,
        limit: limit + 1,
    };
    let mut rows = app.store.monitors(by.project, &filter).await?;
    let next = super::cut(&mut rows, limit, |row| row.id.to_string());
    let channels = channels(app, by).await?;
    Ok(Page {
        items: rows
            .iter()
            .map(|row| reply(app, by, row, &channels))
            .collect(),
        next,
    })
}

/// States are the engine's: which monitors are in this one now.
fn in_state(app: &App, state: Shown, before: Option<MonitorId>) -> Vec<MonitorId> {
    let now = app.now();
    let engine = app.engine.read();
    let wanted = engine.monitors().filter(|(id, monitor)| {
        before.is_none_or(|before| *id < before) && monitor.heartbeat.shown(now) == state
    });
    wanted.map(|(id, _)| id).collect()
}

/// Changes what a patch names.
///
/// # Errors
/// Wrong fields, 404, 412, a name or slug in use.
pub async fn update(
    app: &App,
    by: &Principal,
    id: MonitorId,
    expected: Expected,
    patch: MonitorPatch,
) -> Result<Monitor, ApiError> {
    edit(app, by, id, expected, |written| {
        let mut written = written;
        written.change(patch.clone());
        written
    })
    .await
}

/// Sets every field: those left out get their defaults. Slug and set stay where none is given, and so does the token.
///
/// # Errors
/// As [`update`].
pub async fn replace(
    app: &App,
    by: &Principal,
    id: MonitorId,
    expected: Expected,
    input: MonitorInput,
) -> Result<Monitor, ApiError> {
    let MonitorInput::Heartbeat(input) = input;
    if input.token.is_some() {
        return Err(ApiError::field(
            "token",
            "cannot be changed; ask for another by rotate-token",
        ));
    }
    edit(app, by, id, expected, |written| {
        let mut spec = input.spec.clone();
        spec.slug = spec.slug.or(written.spec.slug);
        let mut common = input.common.clone();
        common.set = common.set.or(written.common.set);
        Written { common, spec }
    })
    .await
}

async fn edit(
    app: &App,
    by: &Principal,
    id: MonitorId,
    expected: Expected,
    change: impl Fn(Written) -> Written,
) -> Result<Monitor, ApiError> {
    let channels = channels(app, by).await?;
    for _ in 0..TRIES {
        let row = row(app, by, id).await?;
        expected.check(row.rev)?;
        let fields = change(Written::of(&row.fields, &channels))
            .fields(&channels)
            .map_err(ApiError::invalid)?;
        if is_same(&fields, &row.fields) {
            return Ok(reply(app, by, &row, &channels));
        }
        if let Some(edited) = app
            .store
            .update_monitor(app.now(), &by.name, &row, &fields)
            .await?
        {
            app.engine.apply(edited).await;
            return read(app, by, id).await;
        }
    }
    Err(ApiError::conflict(
        "changed_meanwhile",
        "it is being changed by others all the time; try again",
    ))
}

/// Deletes a monitor; its open incident is resolved.
///
/// # Errors
/// 404, 412.
pub async fn delete(
    app: &App,
    by: &Principal,
    id: MonitorId,
    expected: Expected,
) -> Result<(), ApiError> {
    let row = row(app, by, id).await?;
    expected.check(row.rev)?;
    let deleted = app
        .store
        .command(command(app, by, id, Action::Delete))
        .await?;
    app.ping_tokens.remove(id);
    app.engine.apply(deleted).await;
    Ok(())
}

/// Nothing is expected of it until it is resumed, or reports; its open incident is resolved.
///
/// # Errors
/// 404.
pub async fn pause(app: &App, by: &Principal, id: MonitorId) -> Result<Monitor, ApiError> {
    act(app, by, id, Action::Pause, |state| state != State::Paused).await
}

/// As new, until it reports.
///
/// # Errors
/// 404.
pub async fn resume(app: &App, by: &Principal, id: MonitorId) -> Result<Monitor, ApiError> {
    act(app, by, id, Action::Resume, |state| state == State::Paused).await
}

/// What changes nothing is answered without a command.
async fn act(
    app: &App,
    by: &Principal,
    id: MonitorId,
    action: Action,
    changes: impl Fn(State) -> bool,
) -> Result<Monitor, ApiError> {
    row(app, by, id).await?;
    let state = app
        .engine
        .read()
        .monitor(id)
        .map(|monitor| monitor.heartbeat.state);
    if state.is_none_or(changes) {
        let done = app.store.command(command(app, by, id, action)).await?;
        app.engine.apply(done).await;
    }
    read(app, by, id).await
}

fn command(app: &App, by: &Principal, id: MonitorId, action: Action) -> Command {
    Command {
        at: app.now(),
        monitor: Some(id),
        by: by.name.clone(),
        action,
    }
}

/// Gives it another token; the former one works for `overlap` beside it.
///
/// # Errors
/// 404.
pub async fn rotate_token(
    app: &App,
    by: &Principal,
    id: MonitorId,
    overlap: Span,
) -> Result<Monitor, ApiError> {
    row(app, by, id).await?;
    let (token, stored) = new_token(app)?;
    let now = app.now();
    let until = now + overlap;
    let row = app
        .store
        .rotate_token(now, id, &stored, until, &by.name)
        .await?;
    let hash = app.keys.short_hash(&token);
    app.ping_tokens
        .rotate(KnownToken { hash, monitor: id }, until, now);
    app.engine.apply(row).await;
    let rotated = read(app, by, id).await;
    if rotated
        .as_ref()
        .is_err_and(|error| error.status() == StatusCode::NOT_FOUND)
    {
        // It was deleted in the same moment, maybe before its new token became known.
        app.ping_tokens.remove(id);
    }
    rotated
}

/// A monitor's row.
///
/// # Errors
/// 404.
pub(super) async fn row(app: &App, by: &Principal, id: MonitorId) -> Result<MonitorRow, ApiError> {
    app.store
        .monitor(by.project, id)
        .await?
        .ok_or_else(|| ApiError::not_found("monitor"))
}

pub(super) async fn channels(app: &App, by: &Principal) -> Result<Channels, Error> {
    app.store.channels(by.project).await.map(Channels)
}
