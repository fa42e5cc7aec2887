//! Monitors: what every kind has in common, and the kinds that there are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::heartbeat::{HeartbeatInput, HeartbeatPatch, HeartbeatSpec, HeartbeatStatus};
use crate::problem::FieldError;
use crate::rules;
use crate::strict::{Object, Read, mistyped, read_word, shortened, suggestion};
use crate::text::present;

/// How bad an incident of a monitor is.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look in working hours.
    Warning,
    /// Broken, with time to mend it.
    Error,
    /// Broken now; the default.
    #[default]
    Critical,
}

impl Severity {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }
}

impl Read for Severity {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Severity> {
        read_word(
            &value,
            path,
            errors,
            &[
                ("critical", Severity::Critical),
                ("error", Severity::Error),
                ("warning", Severity::Warning),
                ("info", Severity::Info),
            ],
        )
    }
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MonitorKind {
    /// It reports to us.
    Heartbeat,
}

impl MonitorKind {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            MonitorKind::Heartbeat => "heartbeat",
        }
    }
}

/// Kinds that the contract names and that are not there yet.
const LATER_KINDS: [&str; 4] = ["endpoint", "cronjob", "job", "workload"];

impl Read for MonitorKind {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<MonitorKind> {
        let Value::String(text) = &value else {
            errors.push(mistyped(path, "a string such as \"heartbeat\"", &value));
            return None;
        };
        let message = match text.as_str() {
            "heartbeat" => return Some(MonitorKind::Heartbeat),
            later if LATER_KINDS.contains(&later) => {
                format!("monitors of kind {later:?} are not built yet; there is \"heartbeat\"")
            }
            other => match suggestion(other, &["heartbeat"]) {
                Some(kind) => format!(
                    "{:?} is not a kind; did you mean {kind:?}?",
                    shortened(other)
                ),
                None => format!(
                    "{:?} is not a kind of monitor; there is \"heartbeat\"",
                    shortened(other)
                ),
            },
        };
        errors.push(FieldError::new(path, message));
        None
    }
}

/// What monitors of every kind have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MonitorCommon {
    /// 1 to 200 printable characters, unique among the monitors of its kind.
    #[schema(example = "invoice-generator", min_length = 1, max_length = 200)]
    pub name: String,
    /// What it is and why it matters, for whoever is woken by it.
    #[serde(default)]
    pub description: String,
    /// The severity of its incidents.
    #[serde(default)]
    pub severity: Severity,
    /// Keys and values in the form of Kubernetes' labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The team or person that owns it.
    #[serde(default)]
    pub owner: Option<String>,
    /// Where it is written what to do.
    #[serde(default)]
    pub runbook_url: Option<String>,
    /// Names or ids of channels. `null` or left out: the channels marked as default. An empty list: none.
    #[serde(default)]
    pub channels: Option<Vec<String>>,
    /// The set of documents that owns it, as `systole apply --set` says; `null` for none. `apply --prune` deletes what its
    /// own set owns and the documents no longer name.
    #[serde(default)]
    pub set: Option<String>,
}

impl MonitorCommon {
    pub(crate) fn read(object: &mut Object<'_>) -> Option<MonitorCommon> {
        let name: Option<String> = object.required("name");
        let description: Option<String> = object.optional("description");
        let severity = object.optional("severity");
        let labels: Option<BTreeMap<String, String>> = object.optional("labels");
        let owner: Option<String> = object.optional("owner");
        let runbook_url: Option<String> = object.optional("runbook_url");
        let channels: Option<Vec<String>> = object.optional("channels");
        let set: Option<String> = object.optional("set");
        object.check("name", name.as_deref(), rules::name);
        object.check("description", description.as_deref(), rules::prose);
        object.check("labels", labels.as_ref(), rules::labels);
        object.check("owner", owner.as_deref(), rules::name);
        object.check("runbook_url", runbook_url.as_deref(), rules::link);
        object.check("channels", channels.as_deref(), rules::channel_list);
        object.check("set", set.as_deref(), rules::set);
        Some(MonitorCommon {
            name: name?,
            description: description.unwrap_or_default(),
            severity: severity.unwrap_or_default(),
            labels: labels.unwrap_or_default(),
            owner,
            runbook_url,
            channels,
            set,
        })
    }
}

/// A monitor to make. `kind` says which fields there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum MonitorInput {
    /// A heartbeat: something that reports to us.
    Heartbeat(HeartbeatInput),
}

impl Read for MonitorInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<MonitorInput> {
        let mut object = Object::open(value, path, errors)?;
        // Without a kind nobody can say which of the other fields are right.
        let kind: MonitorKind = object.required("kind")?;
        let read = match kind {
            MonitorKind::Heartbeat => {
                HeartbeatInput::read(&mut object).map(MonitorInput::Heartbeat)
            }
        };
        object.finish();
        read
    }
}

impl MonitorInput {
    /// What every kind has.
    pub fn common(&self) -> &MonitorCommon {
        match self {
            MonitorInput::Heartbeat(heartbeat) => &heartbeat.common,
        }
    }
}

/// A change to a monitor. What is left out stays; `null` empties a field that can be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MonitorPatch {
    /// May be repeated, cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<MonitorKind>,
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new description; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The severity of incidents from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// All labels; those not named are removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The new owner; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub owner: Option<Option<String>>,
    /// The new link; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub runbook_url: Option<Option<String>>,
    /// The channels; `null` for the default ones, an empty list for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    pub channels: Option<Option<Vec<String>>>,
    /// The set of documents that owns it from now on; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub set: Option<Option<String>>,
    /// What only a heartbeat has.
    #[serde(flatten)]
    pub heartbeat: HeartbeatPatch,
}

impl Read for MonitorPatch {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<MonitorPatch> {
        let mut object = Object::open(value, path, errors)?;
        let patch = MonitorPatch {
            kind: object.change("kind"),
            name: object.change("name"),
            // An emptied description is an empty one.
            description: object
                .change_or_clear("description")
                .map(Option::unwrap_or_default),
            severity: object.change("severity"),
            labels: object
                .change_or_clear("labels")
                .map(Option::unwrap_or_default),
            owner: object.change_or_clear("owner"),
            runbook_url: object.change_or_clear("runbook_url"),
            channels: object.change_or_clear("channels"),
            set: object.change_or_clear("set"),
            heartbeat: HeartbeatPatch::read(&mut object),
        };
        object.check("name", patch.name.as_deref(), rules::name);
        object.check("description", patch.description.as_deref(), rules::prose);
        object.check("labels", patch.labels.as_ref(), rules::labels);
        object.check(
            "owner",
            patch.owner.as_ref().and_then(Option::as_deref),
            rules::name,
        );
        object.check(
            "runbook_url",
            patch.runbook_url.as_ref().and_then(Option::as_deref),
            rules::link,
        );
        object.check(
            "channels",
            patch.channels.as_ref().and_then(Option::as_deref),
            rules::channel_list,
        );
        object.check(
            "set",
            patch.set.as_ref().and_then(Option::as_deref),
            rules::set,
        );
        object.finish();
        Some(patch)
    }
}

/// A monitor and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Monitor {
    /// Its id, for URLs.
    pub id: String,
    /// Counts its changes; goes into `If-Match`.
    pub rev: i64,
    /// What every kind has.
    #[serde(flatten)]
    pub common: MonitorCommon,
    /// Heartbeat: new, up, late, down or paused.
    #[schema(example = "up")]
    pub state: String,
    /// Since when it is in this state.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// Whether a maintenance covers it now.
    #[serde(default)]
    pub maintenance: bool,
    /// The id of its open incident.
    pub open_incident: Option<String>,
    /// What somebody should look at, for example `no_channel`.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// What only its kind has.
    #[serde(flatten)]
    pub detail: MonitorDetail,
}

/// The part of a monitor that depends on its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum MonitorDetail {
    /// A heartbeat.
    Heartbeat {
        /// What was asked for, defaults filled in.
        #[serde(flatten)]
        spec: HeartbeatSpec,
        /// What was heard of it.
        #[serde(flatten)]
        status: HeartbeatStatus,
    },
}

impl MonitorDetail {
    /// Which kind this is.
    pub fn kind(&self) -> MonitorKind {
        match self {
            MonitorDetail::Heartbeat { .. } => MonitorKind::Heartbeat,
        }
    }
}

/// Something that works but that somebody should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// A stable word for programs, for example `no_channel`.
    #[schema(example = "no_channel")]
    pub code: String,
    /// A sentence for people.
    pub message: String,
}
