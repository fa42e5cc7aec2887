//! Incidents and their timelines, as people read them. Only [`crate::decide`] writes them.

use serde::{Deserialize, Serialize};
use systole_core::engine::MonitorId;
use systole_core::time::Time;

use crate::monitors::read_labels;
use crate::{Error, Store, sql};

/// An incident's row.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentRow {
    /// Its number.
    pub number: u64,
    /// Its project.
    pub project: i64,
    /// Its monitor; that one may be deleted since.
    pub monitor: MonitorId,
    /// The monitor's kind.
    pub monitor_kind: String,
    /// The monitor's name when it was opened.
    pub monitor_name: String,
    /// The monitor's labels when it was opened.
    pub labels: Vec<(String, String)>,
    /// `critical`, `error`, `warning` or `info`.
    pub severity: String,
    /// `triggered`, `acknowledged` or `resolved`.
    pub state: String,
    /// Why it was opened.
    pub reason: String,
    /// How often it was reopened.
    pub reopened: u32,
    /// When the thing went wrong.
    pub started_at: Time,
    /// When we knew.
    pub detected_at: Time,
    /// When somebody took it.
    pub acknowledged_at: Option<Time>,
    /// When it was over.
    pub resolved_at: Option<Time>,
    /// What the opening rests on.
    pub evidence: EvidenceDocument,
}

/// What a decision rests on. Times are microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvidenceDocument {
    /// The last check-in before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_checkin_at: Option<i64>,
    /// When it had been expected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected_at: Option<i64>,
    /// The exit status reported.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exit_status: Option<u8>,
    /// The message or the beginning of the body of the check-in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// The outage of ours that moved the deadline.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outage: Option<(i64, i64)>,
    /// Outages of ours since the last check-in.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub outages: Vec<(i64, i64)>,
}

impl EvidenceDocument {
    pub(crate) fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_| Error::Corrupt("evidence cannot be written"))
    }

    pub(crate) fn read(text: &str) -> Result<EvidenceDocument, Error> {
        serde_json::from_str(text).map_err(|_| Error::Corrupt("evidence cannot be read"))
    }
}

/// One entry of a timeline.
#[derive(Clone, Debug)]
pub struct EventRow {
    /// Consecutive over all incidents.
    pub seq: i64,
    /// Its incident.
    pub incident: u64,
    /// `triggered`, `acknowledged`, `resolved` or `noted`.
    pub kind: String,
    /// When it happened.
    pub at: Time,
    /// When it was decided.
    pub decided_at: Time,
    /// Why.
    pub reason: String,
    /// How often the incident had been reopened.
    pub reopened: u32,
    /// Who.
    pub by: Option<String>,
    /// What they wrote.
    pub note: Option<String>,
    /// What it rests on.
    pub evidence: EvidenceDocument,
    /// Why nobody is told, where nobody is.
    pub silence: Option<String>,
}

/// Which incidents a list holds.
#[derive(Clone, Debug, Default)]
pub struct IncidentFilter {
    /// Only open ones, or only resolved ones.
    pub open: Option<bool>,
    /// Only of this monitor.
    pub monitor: Option<MonitorId>,
    /// Only numbers below this one.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

pub(crate) const COLUMNS: &str = "SELECT i.id, i.project_id, i.monitor_id, i.monitor_kind, i.monitor_name, i.labels,
    i.severity, i.state, i.reason, i.reopened, i.started_at, i.detected_at, i.acknowledged_at, i.resolved_at, i.evidence
    FROM incident i";

impl Store {
    /// Incidents, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn incidents(
        &self,
        project: i64,
        filter: &IncidentFilter,
    ) -> Result<Vec<IncidentRow>, Error> {
        let mut query = sql::Builder::new(COLUMNS);
        query.push(" WHERE i.project_id = ").push_bind(project);
        match filter.open {
            Some(true) => _ = query.push(" AND i.resolved_at IS NULL"),
            Some(false) => _ = query.push(" AND i.resolved_at IS NOT NULL"),
            None => {}
        }
        if let Some(monitor) = filter.monitor {
            query
                .push(" AND i.monitor_id = ")
                .push_bind(i64::from(monitor));
        }
        if let Some(before) = filter.before {
            query.push(" AND i.id < ").push_bind(before.cast_signed());
        }
        query
            .push(" ORDER BY i.id DESC LIMIT ")
            .push_bind(i64::from(filter.limit));
        let rows = query
            .build()
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("read incidents"))?;
        rows.iter().map(read_incident).collect()
    }

    /// One incident of a project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn incident(&self, project: i64, number: u64) -> Result<Option<IncidentRow>, Error> {
        let mut query = sql::Builder::new(COLUMNS);
        query.push(" WHERE i.project_id = ").push_bind(project);
        query.push(" AND i.id = ").push_bind(number.cast_signed());
        let row = query
            .build()
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read an incident"))?;
        row.as_ref().map(read_incident).transpose()
    }

    /// How many incidents are open.
    ///
    /// # Errors
    /// What the database says.
    pub async fn count_open_incidents(&self, project: i64) -> Result<i64, Error> {
        let row = sql::query(
            "SELECT COUNT(*) FROM incident WHERE resolved_at IS NULL AND project_id = $1",
        )
        .bind(project)
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("count open incidents"))?;
        Ok(row.get(0))
    }

    /// An incident's timeline, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn events(&self, incident: u64) -> Result<Vec<EventRow>, Error> {
        let rows = sql::query(
            "SELECT seq, incident_id, kind, at, decided_at, reason, reopened, by_whom, note, evidence, silence
             FROM incident_event WHERE incident_id = $1 ORDER BY seq LIMIT 1000",
        )
        .bind(incident.cast_signed())
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read a timeline"))?;
        rows.iter().map(read_event).collect()
    }

    /// The newest events of a monitor's incidents, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn events_of_monitor(
        &self,
        monitor: MonitorId,
        before: i64,
        limit: u32,
    ) -> Result<Vec<EventRow>, Error> {
        let rows = sql::query(
            "SELECT e.seq, e.incident_id, e.kind, e.at, e.decided_at, e.reason, e.reopened, e.by_whom, e.note,
             e.evidence, e.silence FROM incident i JOIN incident_event e ON e.incident_id = i.id
             WHERE i.monitor_id = $1 AND e.seq < $2 ORDER BY e.seq DESC LIMIT $3",
        )
        .bind(i64::from(monitor))
        .bind(before)
        .bind(i64::from(limit))
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read a monitor's events"))?;
        rows.iter().map(read_event).collect()
    }
}

pub(crate) fn read_incident(row: &sql::Row) -> Result<IncidentRow, Error> {
    let number: i64 = row.get(0);
    let monitor: i64 = row.get(2);
    let time = |index: usize| row.get::<Option<i64>>(index).map(Time::from_micros);
    Ok(IncidentRow {
        number: number.cast_unsigned(),
        project: row.get(1),
        monitor: u32::try_from(monitor)
            .map_err(|_| Error::Corrupt("a monitor's number is too large"))?,
        monitor_kind: row.get(3),
        monitor_name: row.get(4),
        labels: read_labels(row.get(5))?,
        severity: row.get(6),
        state: row.get(7),
        reason: row.get(8),
        reopened: u32::try_from(row.get::<i64>(9)).unwrap_or(u32::MAX),
        started_at: Time::from_micros(row.get(10)),
        detected_at: Time::from_micros(row.get(11)),
        acknowledged_at: time(12),
        resolved_at: time(13),
        evidence: EvidenceDocument::read(row.get(14))?,
    })
}

fn read_event(row: &sql::Row) -> Result<EventRow, Error> {
    let incident: i64 = row.get(1);
    Ok(EventRow {
        seq: row.get(0),
        incident: incident.cast_unsigned(),
        kind: row.get(2),
        at: Time::from_micros(row.get(3)),
        decided_at: Time::from_micros(row.get(4)),
        reason: row.get(5),
        reopened: u32::try_from(row.get::<i64>(6)).unwrap_or(u32::MAX),
        by: row.get(7),
        note: row.get(8),
        evidence: EvidenceDocument::read(row.get(9))?,
        silence: row.get(10),
    })
}
