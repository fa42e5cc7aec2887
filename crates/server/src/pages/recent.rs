//! Runs as the pages draw them: check-ins paired, with the slots that none came for between them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use systole_core::engine::{Monitor, MonitorId, Position};
use systole_core::heartbeat::Settings;
use systole_core::time::Time;
use systole_store::Error;
use systole_store::history::FoundCheckin;
use systole_store::incidents::{IncidentFilter, IncidentRow};

use super::sentences::limit;
use crate::api::runs::{Beat, Standing, pair};
use crate::app::App;
use crate::web::views::{Outcome, Run};

/// Check-ins behind the strokes of a list's row: twenty runs, of which some send a start.
const CHECKINS: usize = 30;
/// Strokes.
const SHOWN: usize = 20;
/// Monitors remembered; beyond it all are forgotten.
const REMEMBERED_MAX: usize = 5_000;

/// What a row of a list needs of its runs, remembered until something new comes in: a list looks again every few
/// seconds, and each monitor's history is several reads.
#[derive(Default)]
pub(super) struct Recent(Mutex<Remembered>);

type Remembered = HashMap<MonitorId, (Key, Arc<Vec<Run>>)>;

/// Says whether anything came in.
type Key = (Position, Option<(u64, u32)>);

impl Recent {
    /// The last runs, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub(super) async fn runs(
        &self,
        app: &App,
        project: i64,
        id: MonitorId,
        monitor: &Monitor,
    ) -> Result<Vec<Run>, Error> {
        let now = app.now();
        let key = (
            monitor.last,
            monitor
                .incident
                .as_deref()
                .map(|incident| (incident.number, incident.reopened)),
        );
        let known = self
            .lock()
            .get(&id)
            .filter(|(of, _)| *of == key)
            .map(|(_, runs)| Arc::clone(runs));
        let runs = match known {
            Some(runs) => runs,
            None => {
                let found = app.store.checkins(id, None, CHECKINS).await?;
                let filter = IncidentFilter {
                    monitor: Some(id),
                    limit: 10,
                    ..IncidentFilter::default()
                };
                let incidents = app.store.incidents(project, &filter).await?;
                let mut runs = of(&found, &incidents, &monitor.settings, now);
                runs.drain(..runs.len().saturating_sub(SHOWN));
                let runs = Arc::new(runs);
                let mut remembered = self.lock();
                if remembered.len() >= REMEMBERED_MAX {
                    remembered.clear();
                }
                remembered.insert(id, (key, Arc::clone(&runs)));
                runs
            }
        };
        Ok(runs
            .iter()
            .map(|run| as_of(*run, &monitor.settings, now))
            .collect())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A run that was open when it was read may have passed its limit since.
fn as_of(run: Run, settings: &Settings, now: Time) -> Run {
    let lasted = now.since(run.at);
    match run.outcome {
        Outcome::Running if lasted > limit(settings) => Run {
            outcome: Outcome::Overran,
            duration: Some(limit(settings)),
            ..run
        },
        Outcome::Running => Run {
            duration: Some(lasted),
            ..run
        },
        _ => run,
    }
}

/// Runs, oldest first, from check-ins, newest first, and incidents, which know the slots that were missed.
pub(super) fn of(
    found: &[FoundCheckin],
    incidents: &[IncidentRow],
    settings: &Settings,
    now: Time,
) -> Vec<Run> {
    let beats: Vec<Beat> = found.iter().map(Beat::of).collect();
    let most = limit(settings);
    let ended = pair(&beats).into_iter().map(|run| {
        let outcome = match run.standing(&beats, now, most) {
            Standing::Running => Outcome::Running,
            Standing::Success => Outcome::Success,
            Standing::Failed => Outcome::Failure,
            Standing::Overran => Outcome::Overran,
        };
        as_of(
            Run {
                at: run.began(&beats),
                duration: run.duration(&beats),
                outcome,
            },
            settings,
            now,
        )
    });
    let oldest = beats.last().map_or(Time::MIN, |beat| beat.at);
    let missed = incidents
        .iter()
        .filter(|row| {
            matches!(
                row.reason.as_str(),
                "missed_deadline" | "missed_start" | "unheard_since_outage"
            )
        })
        .filter_map(|row| row.evidence.expected_at.map(Time::from_micros))
        .filter(|at| *at >= oldest)
        .map(|at| Run {
            at,
            duration: None,
            outcome: Outcome::Missed,
        });
    let mut runs: Vec<Run> = ended.chain(missed).collect();
    runs.sort_by_key(|run| run.at);
    runs
}
