//! Maintenance windows as people configure them. Every change is a log entry too, so that it has its place among what
//! the engine reads.

use serde::{Deserialize, Serialize};
use systole_core::engine::{Action, Command, MonitorId, Row};
use systole_core::maintenance::{
    LabelSelector, Occurrence, Recurrence, Selector, When, Window, Windows,
};
use systole_core::time::{Span, Time};

use crate::error::taken;
use crate::monitors::{ids_text, number, read_labels};
use crate::{Error, Session, Store, sql};

/// What a person can set of a window; its name is the window's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MaintenanceFields {
    /// What is done, for people.
    pub description: String,
    /// The set of documents that owns it.
    pub set: Option<String>,
    /// What it covers, and when.
    pub window: Window,
}

/// A window's row.
#[derive(Clone, Debug)]
pub struct MaintenanceRow {
    /// Its number.
    pub id: i64,
    /// Its project.
    pub project: i64,
    /// Raised by every change.
    pub rev: i64,
    /// What people set.
    pub fields: MaintenanceFields,
    /// When it was made.
    pub created_at: Time,
    /// When it was changed.
    pub updated_at: Time,
}

/// A monitor that a window names.
#[derive(Clone, Debug)]
pub struct NamedMonitor {
    /// Its number.
    pub id: MonitorId,
    /// Its name.
    pub name: String,
    /// No monitor of another kind has the same name.
    pub is_name_unique: bool,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

/// Labels that monitors have, and how many have just these.
pub type LabelSet = (Vec<(String, String)>, i64);

const COLUMNS: &str = "SELECT id, project_id, rev, name, description, selector, spec, created_at, updated_at, set_name FROM maintenance";

const UNIQUE: &[(&str, &str)] = &[("maintenance.name", "name")];

impl Store {
    /// Makes a window; answers its number and the row to hand over.
    ///
    /// # Errors
    /// [`Error::Taken`] for a name in use.
    pub async fn create_maintenance(
        &self,
        now: Time,
        by: &str,
        project: i64,
        fields: &MaintenanceFields,
    ) -> Result<(i64, Row), Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let made = async {
            let row = sql::query(
                "INSERT INTO maintenance (project_id, rev, name, description, selector, spec, over_at, created_at,
                 updated_at, set_name) VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $7, $8) RETURNING id",
            )
            .bind(project)
            .bind(&fields.window.name)
            .bind(&fields.description)
            .bind(fields.window.selector.labels.to_string())
            .bind(SpecDocument::of(&fields.window).text()?)
            .bind(over_at(&fields.window))
            .bind(now.as_micros())
            .bind(&fields.set)
            .fetch_one(session.connection())
            .await
            .map_err(taken("make a maintenance", "maintenance", UNIQUE))?;
            let appended = session.append_commands(now, vec![configured(now, by)]).await?;
            Ok((row.get(0), appended))
        }
        .await;
        session.end(made).await
    }

    /// Changes a window of revision `rev`; `Ok(None)` when it is not there at that revision.
    ///
    /// # Errors
    /// [`Error::Taken`] for a name in use.
    pub async fn update_maintenance(
        &self,
        now: Time,
        by: &str,
        row: &MaintenanceRow,
        fields: &MaintenanceFields,
    ) -> Result<Option<Row>, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let changed = async {
            let updated = sql::query(
                "UPDATE maintenance SET rev = rev + 1, name = $4, description = $5, selector = $6, spec = $7,
                 over_at = $8, updated_at = $9, set_name = $10 WHERE project_id = $1 AND id = $2 AND rev = $3",
            )
            .bind(row.project)
            .bind(row.id)
            .bind(row.rev)
            .bind(&fields.window.name)
            .bind(&fields.description)
            .bind(fields.window.selector.labels.to_string())
            .bind(SpecDocument::of(&fields.window).text()?)
            .bind(over_at(&fields.window))
            .bind(now.as_micros())
            .bind(&fields.set)
            .execute(session.connection())
            .await
            .map_err(taken("change a maintenance", "maintenance", UNIQUE))?;
            if updated.rows_affected() == 0 {
                return Ok(None);
            }
            session.append_commands(now, vec![configured(now, by)]).await.map(Some)
        }
        .await;
        session.end(changed).await
    }

    /// Deletes a window; `Ok(None)` when it is not there.
    ///
    /// # Errors
    /// What the database says.
    pub async fn delete_maintenance(
        &self,
        now: Time,
        by: &str,
        project: i64,
        id: i64,
    ) -> Result<Option<Row>, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        let deleted = async {
            let deleted = sql::query("DELETE FROM maintenance WHERE project_id = $1 AND id = $2")
                .bind(project)
                .bind(id)
                .execute(session.connection())
                .await
                .map_err(Error::attempted("delete a maintenance"))?;
            if deleted.rows_affected() == 0 {
                return Ok(None);
            }
            session
                .append_commands(now, vec![configured(now, by)])
                .await
                .map(Some)
        }
        .await;
        session.end(deleted).await
    }

    /// Every window of a project, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn maintenances(&self, project: i64) -> Result<Vec<MaintenanceRow>, Error> {
        let rows = sql::query(format!("{COLUMNS} WHERE project_id = $1 ORDER BY id DESC"))
            .bind(project)
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("read maintenances"))?;
        rows.iter().map(read_maintenance).collect()
    }

    /// One window of a project.
    ///
    /// # Errors
    /// What the database says.
    pub async fn maintenance(
        &self,
        project: i64,
        id: i64,
    ) -> Result<Option<MaintenanceRow>, Error> {
        let row = sql::query(format!("{COLUMNS} WHERE project_id = $1 AND id = $2"))
            .bind(project)
            .bind(id)
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read a maintenance"))?;
        row.as_ref().map(read_maintenance).transpose()
    }

    /// The labels that monitors have: far fewer sets than monitors, as a rule.
    ///
    /// # Errors
    /// What the database says.
    pub async fn label_sets(&self, project: i64) -> Result<Vec<LabelSet>, Error> {
        let rows = sql::query(
            "SELECT labels, COUNT(*) FROM monitor WHERE project_id = $1 GROUP BY labels",
        )
        .bind(project)
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read the labels of monitors"))?;
        rows.iter()
            .map(|row| Ok((read_labels(row.get(0))?, row.get(1))))
            .collect()
    }

    /// Those of these monitors that there are.
    ///
    /// # Errors
    /// What the database says.
    pub async fn named_monitors(
        &self,
        project: i64,
        ids: &[MonitorId],
    ) -> Result<Vec<NamedMonitor>, Error> {
        let rows = sql::query(
            "SELECT m.id, m.name, m.labels,
             NOT EXISTS (SELECT 1 FROM monitor o WHERE o.project_id = m.project_id AND o.name = m.name AND o.id <> m.id)
             FROM monitor m WHERE m.project_id = $1 AND m.id IN (SELECT value FROM json_each($2))",
        )
        .bind(project)
        .bind(ids_text(ids))
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read the monitors of a maintenance"))?;
        let read = |row: &sql::Row| {
            Ok(NamedMonitor {
                id: number(row.get(0))?,
                name: row.get(1),
                labels: read_labels(row.get(2))?,
                is_name_unique: row.get(3),
            })
        };
        rows.iter().map(read).collect()
    }
}

impl Session<'_> {
    /// The windows of a project that are not over at `at`, within this session's transaction: what a decision must go by.
    ///
    /// # Errors
    /// What the database says.
    pub async fn maintenance_windows(&mut self, project: i64, at: Time) -> Result<Windows, Error> {
        let rows = sql::query(format!(
            "{COLUMNS} WHERE project_id = $1 AND (over_at IS NULL OR over_at > $2) ORDER BY id"
        ))
        .bind(project)
        .bind(at.as_micros())
        .fetch_all(self.connection())
        .await
        .map_err(Error::attempted("read maintenances"))?;
        let windows = rows
            .iter()
            .map(|row| Ok(read_maintenance(row)?.fields.window));
        windows.collect::<Result<_, Error>>().map(Windows::new)
    }
}

/// When a window that comes once is over.
fn over_at(window: &Window) -> Option<i64> {
    match &window.when {
        When::Once(once) => {
            let ended = window.ended_at.filter(|ended| once.start < *ended);
            Some(
                ended
                    .map_or(once.end, |ended| once.end.min(ended))
                    .as_micros(),
            )
        }
        When::Recurring(_) => None,
    }
}

/// It touches no monitor's state.
fn configured(now: Time, by: &str) -> Command {
    Command {
        at: now,
        monitor: None,
        by: by.to_owned(),
        action: Action::Configure,
    }
}

/// What a window has beside its name and its labels, as it is stored. Times are microseconds, durations too.
#[derive(Serialize, Deserialize)]
struct SpecDocument {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    monitors: Vec<MonitorId>,
    #[serde(flatten)]
    when: WhenDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WhenDocument {
    Once {
        start: i64,
        end: i64,
    },
    Recurring {
        rrule: String,
        start: String,
        duration: i64,
        timezone: String,
    },
}

impl SpecDocument {
    fn of(window: &Window) -> SpecDocument {
        let when = match &window.when {
            When::Once(once) => WhenDocument::Once {
                start: once.start.as_micros(),
                end: once.end.as_micros(),
            },
            When::Recurring(recurrence) => WhenDocument::Recurring {
                rrule: recurrence.rrule().to_owned(),
                start: recurrence.start(),
                duration: recurrence.duration().as_micros(),
                timezone: recurrence.timezone().to_owned(),
            },
        };
        SpecDocument {
            all: window.selector.all,
            monitors: window.selector.monitors.clone(),
            when,
            ended_at: window.ended_at.map(Time::as_micros),
        }
    }

    fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_| Error::Corrupt("a maintenance cannot be written"))
    }

    fn window(self, name: String, labels: &str) -> Result<Window, Error> {
        let when = match self.when {
            WhenDocument::Once { start, end } => When::Once(Occurrence {
                start: Time::from_micros(start),
                end: Time::from_micros(end),
            }),
            WhenDocument::Recurring {
                rrule,
                start,
                duration,
                timezone,
            } => {
                let read =
                    Recurrence::parse(&rrule, &start, Span::from_micros(duration), &timezone);
                When::Recurring(Box::new(
                    read.map_err(|_| Error::Corrupt("a maintenance's rule cannot be read"))?,
                ))
            }
        };
        let labels = LabelSelector::parse(labels)
            .map_err(|_| Error::Corrupt("a maintenance's selector cannot be read"))?;
        Ok(Window {
            name,
            selector: Selector {
                all: self.all,
                labels,
                monitors: self.monitors,
            },
            when,
            ended_at: self.ended_at.map(Time::from_micros),
        })
    }
}

fn read_maintenance(row: &sql::Row) -> Result<MaintenanceRow, Error> {
    let spec: SpecDocument = serde_json::from_str(row.get(6))
        .map_err(|_| Error::Corrupt("a maintenance cannot be read"))?;
    Ok(MaintenanceRow {
        id: row.get(0),
        project: row.get(1),
        rev: row.get(2),
        fields: MaintenanceFields {
            description: row.get(4),
            set: row.get(9),
            window: spec.window(row.get(3), row.get(5))?,
        },
        created_at: Time::from_micros(row.get(7)),
        updated_at: Time::from_micros(row.get(8)),
    })
}
