//! Incidents: periods in which something was wrong, and their timelines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::monitor::Severity;
use crate::problem::FieldError;
use crate::rules;
use crate::strict::{Object, Read};
use crate::text::DurationText;

/// Where an incident stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentState {
    /// Open, and nobody has said that they look after it.
    Triggered,
    /// Open, and somebody looks after it.
    Acknowledged,
    /// Over.
    Resolved,
}

impl IncidentState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentState::Triggered => "triggered",
            IncidentState::Acknowledged => "acknowledged",
            IncidentState::Resolved => "resolved",
        }
    }
}

/// The monitor that an incident is about, as webhooks and lists show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MonitorReference {
    /// Its id.
    pub id: String,
    /// Its kind.
    #[schema(example = "heartbeat")]
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it watches, where that has a URL.
    #[serde(default)]
    pub url: Option<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its state.
    #[serde(default)]
    #[schema(example = "down")]
    pub state: String,
}

/// What is known of what went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Evidence {
    /// When the monitor was last heard of.
    #[schema(format = DateTime)]
    pub last_checkin_at: Option<String>,
    /// When it should have been heard of.
    #[schema(format = DateTime)]
    pub expected_at: Option<String>,
    /// The exit status that it reported.
    pub exit_status: Option<u8>,
    /// What it said.
    pub message: Option<String>,
}

/// A period in which something was wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// Its id, for URLs.
    pub id: String,
    /// Its number, for people.
    pub number: i64,
    /// Where it stands.
    pub state: IncidentState,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, in a line.
    #[schema(example = "invoice-generator is down")]
    pub title: String,
    /// Why it was opened, as a stable word.
    #[schema(example = "missed_deadline")]
    pub reason: String,
    /// Why it was opened, as a sentence.
    #[serde(default)]
    pub reason_text: String,
    /// How often it was triggered again after it had been resolved.
    #[serde(default)]
    pub reopened: u32,
    /// When the thing went wrong.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// When we knew.
    #[schema(format = DateTime)]
    pub detected_at: String,
    /// When somebody said that they look after it.
    #[schema(format = DateTime)]
    pub acknowledged_at: Option<String>,
    /// Who said so.
    #[serde(default)]
    pub acknowledged_by: Option<String>,
    /// When it was over.
    #[schema(format = DateTime)]
    pub resolved_at: Option<String>,
    /// Its page.
    #[serde(default)]
    pub url: Option<String>,
    /// What it is about.
    pub monitor: MonitorReference,
    /// What is known of it.
    #[serde(default)]
    pub evidence: Evidence,
    /// Its timeline, oldest first; only where one incident was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<IncidentEvent>>,
}

/// One entry of an incident's timeline. Entries are added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentEvent {
    /// Its place in the timeline.
    pub sequence: i64,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What: triggered, acknowledged, updated, resolved, note and what later releases add.
    #[schema(example = "triggered")]
    pub kind: String,
    /// Why, as a stable word.
    #[serde(default)]
    pub reason: Option<String>,
    /// Who did it; `null` where it was Systole itself.
    #[serde(default)]
    pub actor: Option<String>,
    /// The entry as a sentence.
    #[serde(default)]
    pub text: String,
}

/// Says that somebody looks after an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AcknowledgeInput {
    /// After how long it is triggered again unless it is resolved; never where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// A word for the timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Read for AcknowledgeInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<AcknowledgeInput> {
        let mut object = Object::open(value, path, errors)?;
        let timeout = object.optional("timeout");
        let note: Option<String> = object.optional("note");
        object.check("note", note.as_deref(), rules::prose);
        object.finish();
        Some(AcknowledgeInput { timeout, note })
    }
}

/// Text for an incident's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NoteInput {
    /// The text, at most 4000 characters.
    pub text: String,
}

impl Read for NoteInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<NoteInput> {
        let mut object = Object::open(value, path, errors)?;
        let text: Option<String> = object.required("text");
        object.check("text", text.as_deref(), |text| match text.trim() {
            "" => Err("is empty".to_owned()),
            _ => rules::prose(text),
        });
        object.finish();
        Some(NoteInput { text: text? })
    }
}
