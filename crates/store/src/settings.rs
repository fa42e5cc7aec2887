//! The stored form of a monitor's settings. Equal settings have equal text, so they are stored once.

use serde::{Deserialize, Serialize};
use systole_core::heartbeat::Settings;
use systole_core::schedule::{Dialect, Schedule};
use systole_core::time::Span;

use crate::Error;

#[derive(Serialize, Deserialize, Clone, Debug)]
pub(crate) struct SettingsDocument {
    schedule: ScheduleDocument,
    grace: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    start_grace: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    max_runtime: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    early_window: Option<i64>,
    fail_threshold: u16,
    recovery_threshold: u16,
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "snake_case")]
enum ScheduleDocument {
    Every(i64),
    Cron {
        expression: String,
        timezone: String,
        dialect: String,
    },
}

impl SettingsDocument {
    pub(crate) fn of(settings: &Settings) -> SettingsDocument {
        let schedule = match &settings.schedule {
            Schedule::Every(period) => ScheduleDocument::Every(period.as_micros()),
            Schedule::Cron(cron) => ScheduleDocument::Cron {
                expression: cron.expression().to_owned(),
                timezone: cron.timezone().to_owned(),
                dialect: cron.dialect().to_string(),
            },
        };
        SettingsDocument {
            schedule,
            grace: settings.grace.as_micros(),
            start_grace: settings.start_grace.map(Span::as_micros),
            max_runtime: settings.max_runtime.map(Span::as_micros),
            early_window: settings.early_window.map(Span::as_micros),
            fail_threshold: settings.fail_threshold,
            recovery_threshold: settings.recovery_threshold,
        }
    }

    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let schedule = match &self.schedule {
            ScheduleDocument::Every(period) => Schedule::every(Span::from_micros(*period)),
            ScheduleDocument::Cron {
                expression,
                timezone,
                dialect,
            } => {
                let dialect = if dialect == "kubernetes" {
                    Dialect::Kubernetes
                } else {
                    Dialect::Classic
                };
                Schedule::cron(expression, timezone, dialect)
            }
        };
        Ok(Settings {
            schedule: schedule.map_err(|_| Error::Corrupt("a stored schedule cannot be read"))?,
            grace: Span::from_micros(self.grace),
            start_grace: self.start_grace.map(Span::from_micros),
            max_runtime: self.max_runtime.map(Span::from_micros),
            early_window: self.early_window.map(Span::from_micros),
            fail_threshold: self.fail_threshold,
            recovery_threshold: self.recovery_threshold,
        })
    }

    pub(crate) fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|_| Error::Corrupt("settings cannot be written"))
    }
}
