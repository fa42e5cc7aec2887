//! What a heartbeat reported: check-ins, runs, and the events of its incidents.

use serde::{Deserialize, Serialize};
use systole_core::engine::{MonitorId, Position};
use systole_core::heartbeat::Signal;
use systole_core::time::Time;
use systole_store::history::{FoundCheckin, Place};
use systole_wire::{Checkin, CheckinKind, DurationText, IncidentEvent, Page, Run, RunOutcome};
use utoipa::ToSchema;

use super::incidents::event;
use super::runs::{Beat, Paired, Standing, pair};
use super::{ApiError, monitors};
use crate::app::App;
use crate::compose::incident_id;
use crate::principals::Principal;

/// Check-ins that a page of runs is made of, at most.
const RUNS_FROM: usize = 5_000;
/// Beside those of a page of runs: some send more than a start and an end.
const RUNS_MORE: usize = 200;

/// Where a page of check-ins begins: the last one of the page before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CheckinCursor(Place);

impl CheckinCursor {
    /// From its text.
    pub fn parse(text: &str) -> Option<CheckinCursor> {
        let (at, rest) = text.split_once('.')?;
        let (position, index) = rest.split_once('.')?;
        Some(CheckinCursor(Place {
            at: Time::from_micros(at.parse().ok()?),
            position: Position::from_u64(u64::from_str_radix(position, 16).ok()?),
            index: index.parse().ok()?,
        }))
    }

    /// As text, for `next`.
    pub fn text(self) -> String {
        format!("{}.{}", self.0.at.as_micros(), id_of(self.0))
    }
}

/// What tells a check-in from all others: its row of the log, and its place in that.
fn id_of(place: Place) -> String {
    format!("{:x}.{}", place.position.as_u64(), place.index)
}

/// Its check-ins, newest first.
///
/// # Errors
/// 404.
pub async fn checkins(
    app: &App,
    by: &Principal,
    id: MonitorId,
    cursor: Option<CheckinCursor>,
    limit: u32,
) -> Result<Page<Checkin>, ApiError> {
    monitors::row(app, by, id).await?;
    let before = cursor.map(|cursor| cursor.0);
    let mut found = app.store.checkins(id, before, limit as usize + 1).await?;
    let next = super::cut(&mut found, limit, |found| {
        CheckinCursor(found.place()).text()
    });
    Ok(Page {
        items: found.iter().map(reply).collect(),
        next,
    })
}

const fn exit_status(signal: Signal) -> Option<u8> {
    match signal {
        Signal::Exit(status) => Some(status),
        _ => None,
    }
}

fn run_id(run: u128) -> String {
    uuid::Uuid::from_u128(run).to_string()
}

fn reply(found: &FoundCheckin) -> Checkin {
    use base64::Engine as _;
    let record = &found.record;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let body = text(&record.body, record.body_truncated);
    Checkin {
        id: format!("chk_{}", id_of(found.place())),
        received_at: record.checkin.at.to_string(),
        kind: match record.checkin.signal {
            Signal::Start => CheckinKind::Start,
            Signal::Success => CheckinKind::Success,
            Signal::Fail => CheckinKind::Fail,
            Signal::Log => CheckinKind::Log,
            Signal::Exit(_) => CheckinKind::ExitStatus,
        },
        rid: record.checkin.run.map(run_id),
        exit_status: exit_status(record.checkin.signal),
        duration: found
            .duration
            .map(|duration| DurationText(duration.to_string())),
        method: Some(record.method.name().to_owned()),
        source: record.source.map(|source| source.to_string()),
        user_agent: some(&record.user_agent),
        message: some(&record.message),
        body_base64: body
            .is_none()
            .then(|| base64::engine::general_purpose::STANDARD.encode(&record.body)),
        body: body.filter(|text| !text.is_empty()),
        body_truncated: record.body_truncated,
    }
}

/// A body as text, where it is text; one that was cut may have been cut within a character.
fn text(body: &[u8], truncated: bool) -> Option<String> {
    match std::str::from_utf8(body) {
        Ok(text) => Some(text.to_owned()),
        Err(error) if truncated && error.error_len().is_none() => body
            .get(..error.valid_up_to())
            .and_then(|whole| String::from_utf8(whole.to_vec()).ok()),
        Err(_) => None,
    }
}

/// Its runs, newest first, as far back as 5 000 check-ins. `before` is the `next` of the page before.
///
/// # Errors
/// 404.
pub async fn runs(
    app: &App,
    by: &Principal,
    id: MonitorId,
    before: Option<Time>,
    limit: u32,
) -> Result<Page<Run>, ApiError> {
    let row = monitors::row(app, by, id).await?;
    let settings = &row.fields.settings;
    let most = settings.max_runtime.unwrap_or(settings.grace);
    let limit = limit as usize;
    // Always from the newest: what ended a run may lie on an earlier page than its start.
    let depth = if before.is_none() {
        (limit * 2 + RUNS_MORE).min(RUNS_FROM)
    } else {
        RUNS_FROM
    };
    let found = app.store.checkins(id, None, depth).await?;
    let beats: Vec<Beat> = found.iter().map(Beat::of).collect();
    let now = app.now();
    let began = |run: &Paired| run.began(&beats);
    let mut runs = pair(&beats);
    runs.retain(|run| before.is_none_or(|before| began(run) < before));
    let next = super::cut(&mut runs, u32::try_from(limit).unwrap_or(u32::MAX), |run| {
        began(run).as_micros().to_string()
    });
    let items = runs.iter().map(|run| {
        let standing = run.standing(&beats, now, most);
        let first = run
            .start
            .or(run.end)
            .map(|index| id_of(found[index].place()));
        let named = run.start.or(run.end).and_then(|index| beats[index].run);
        Run {
            id: format!("run_{}", first.unwrap_or_default()),
            rid: named.map(run_id),
            slot: None,
            started_at: run.started(&beats).map(|at| at.to_string()),
            finished_at: run.end.map(|end| beats[end].at.to_string()),
            duration: run
                .duration(&beats)
                .map(|duration| DurationText(duration.to_string())),
            outcome: match standing {
                Standing::Running => RunOutcome::Running,
                Standing::Success => RunOutcome::Success,
                Standing::Failed => RunOutcome::Fail,
                Standing::Overran => RunOutcome::Overran,
            },
            exit_status: run.end.and_then(|end| exit_status(beats[end].signal)),
        }
    });
    Ok(Page {
        items: items.collect(),
        next,
    })
}

/// An entry of the timeline of one of a monitor's incidents.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MonitorEvent {
    /// The incident.
    pub incident_id: String,
    /// What happened to it.
    #[serde(flatten)]
    pub event: IncidentEvent,
}

/// What happened to its incidents, newest first.
///
/// # Errors
/// 404.
pub async fn events(
    app: &App,
    by: &Principal,
    id: MonitorId,
    before: Option<i64>,
    limit: u32,
) -> Result<Page<MonitorEvent>, ApiError> {
    monitors::row(app, by, id).await?;
    let mut rows = app
        .store
        .events_of_monitor(id, before.unwrap_or(i64::MAX), limit + 1)
        .await?;
    let next = super::cut(&mut rows, limit, |row| row.seq.to_string());
    let items = rows.iter().map(|row| MonitorEvent {
        incident_id: incident_id(row.incident),
        event: event(row),
    });
    Ok(Page {
        items: items.collect(),
        next,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_where_it_can_be() {
        for (body, truncated, expected) in [
            (&b"ok"[..], false, Some("ok")),
            ("\u{e9}".as_bytes(), false, Some("\u{e9}")),
            (&b"ab\xc3"[..], true, Some("ab")),
            (&b"ab\xc3"[..], false, None),
            (&b"\xff\xfe"[..], true, None),
        ] {
            assert_eq!(text(body, truncated).as_deref(), expected, "{body:?}");
        }
    }

    #[test]
    fn a_cursor_reads_back() {
        let cursor = CheckinCursor(Place {
            at: Time::from_micros(-5),
            position: Position::new(3, 77),
            index: 12,
        });
        assert_eq!(CheckinCursor::parse(&cursor.text()), Some(cursor));
        for wrong in ["", "1", "x.1.1", "1.x.1", "1.1.x", "1.1"] {
            assert_eq!(CheckinCursor::parse(wrong), None, "{wrong}");
        }
    }
}
