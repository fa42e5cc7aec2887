//! Schedules as they are written.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::monitor::Warning;
use crate::problem::FieldError;
use crate::strict::{Object, Read, read_word, shortened};
use crate::text::DurationText;

/// When something is expected: a period, or cron's five fields in a time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ScheduleSpec {
    /// `{"every": "6h"}`: a period since the last success, one second or longer.
    Every {
        /// The period.
        every: DurationText,
    },
    /// `{"cron": "0 2 * * *", "timezone": "Europe/Oslo", "dialect": "classic"}`.
    Cron {
        /// Five fields: minute, hour, day of month, month, day of week; or `@daily` and its like.
        #[schema(example = "0 2 * * *")]
        cron: String,
        /// An IANA time zone; UTC where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(example = "UTC")]
        timezone: Option<String>,
        /// Whose cron reads the expression; classic where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dialect: Option<Dialect>,
    },
}

/// Whose cron reads an expression. They differ on real inputs, at changes to and from summer time above all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// As a crontab is read on Debian; what people's own jobs use.
    Classic,
    /// As Kubernetes reads a `CronJob`'s schedule.
    Kubernetes,
}

impl Dialect {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Classic => "classic",
            Dialect::Kubernetes => "kubernetes",
        }
    }
}

impl Read for Dialect {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Dialect> {
        read_word(
            &value,
            path,
            errors,
            &[
                ("classic", Dialect::Classic),
                ("kubernetes", Dialect::Kubernetes),
            ],
        )
    }
}

impl Read for ScheduleSpec {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<ScheduleSpec> {
        if let Value::String(text) = &value {
            let text = shortened(text);
            errors.push(FieldError::new(
                path,
                format!("must be an object: {{\"every\": \"6h\"}} or {{\"cron\": \"0 2 * * *\"}}, not the string {text:?}"),
            ));
            return None;
        }
        let mut object = Object::open(value, path, errors)?;
        if object.has("on_calendar") {
            object.wrong(
                "on_calendar",
                "schedules of systemd's form are not built yet; use every or cron",
            );
            return None;
        }
        let before = object.error_count();
        let every: Option<DurationText> = object.optional("every");
        let cron: Option<String> = object.optional("cron");
        let timezone: Option<String> = object.optional("timezone");
        let dialect: Option<Dialect> = object.optional("dialect");
        object.check("cron", cron.as_deref(), expression_length);
        object.check("timezone", timezone.as_deref(), timezone_length);
        if every.is_some() && cron.is_some() {
            object.wrong("every", "stands beside cron; a schedule has one of the two");
        } else if every.is_some() && (timezone.is_some() || dialect.is_some()) {
            let stray = if timezone.is_some() {
                "timezone"
            } else {
                "dialect"
            };
            object.wrong(
                stray,
                "belongs to cron; a period has neither a time zone nor a dialect",
            );
        } else if every.is_none() && cron.is_none() && object.error_count() == before {
            object.wrong("every", "is required, or cron: a schedule is {\"every\": \"6h\"} or {\"cron\": \"0 2 * * *\"}");
        }
        object.finish();
        match (every, cron) {
            (Some(every), None) => Some(ScheduleSpec::Every { every }),
            (None, Some(cron)) => Some(ScheduleSpec::Cron {
                cron,
                timezone,
                dialect,
            }),
            _ => None,
        }
    }
}

/// Crontab lines of people are short; the limit bounds what a parser is handed.
fn expression_length(text: &str) -> Result<(), String> {
    match text.len() {
        0 => Err("is empty; it has five fields, for example 0 2 * * *".to_owned()),
        1..=1000 => Ok(()),
        length => Err(format!("has {length} characters; there can be 1000")),
    }
}

fn timezone_length(text: &str) -> Result<(), String> {
    if text.len() <= 64 {
        Ok(())
    } else {
        Err("is longer than the name of any time zone".to_owned())
    }
}

/// Asks what a schedule means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchedulePreviewInput {
    /// The schedule.
    pub schedule: ScheduleSpec,
    /// The slots after this time; now where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub after: Option<String>,
    /// How many slots, 1 to 100; 5 where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
}

impl Read for SchedulePreviewInput {
    fn read(
        value: Value,
        path: &str,
        errors: &mut Vec<FieldError>,
    ) -> Option<SchedulePreviewInput> {
        let mut object = Object::open(value, path, errors)?;
        let schedule = object.required("schedule");
        let after = object.optional("after");
        let count: Option<u32> = object.optional("count");
        object.check("count", count.as_ref(), |count| match count {
            1..=100 => Ok(()),
            other => Err(format!("is {other}; it can be 1 to 100")),
        });
        object.finish();
        Some(SchedulePreviewInput {
            schedule: schedule?,
            after,
            count,
        })
    }
}

/// What a schedule means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SchedulePreview {
    /// The next slots, in UTC; empty where the schedule has no further one.
    pub next: Vec<String>,
    /// The schedule in words.
    #[schema(example = "every day at 02:00, UTC")]
    pub description: String,
    /// What may surprise, for example times that a change to summer time skips.
    pub warnings: Vec<Warning>,
}
