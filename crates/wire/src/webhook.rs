//! Webhooks that we send, signed as Standard Webhooks describes.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::incident::{Evidence, IncidentState, MonitorReference};
use crate::monitor::Severity;

/// The header with the message's id: the same for every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the attempt, in seconds since the epoch.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, `v1,` and base64 each, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// The three headers of a signed webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureHeaders {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
}

/// The body of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookPayload {
    /// `incident.triggered`, `incident.acknowledged`, `incident.escalated`, `incident.updated`, `incident.resolved` or
    /// `channel.test`.
    #[serde(rename = "type")]
    #[schema(example = "incident.triggered")]
    pub kind: String,
    /// When it happened.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// What happened.
    pub data: WebhookData,
}

/// What a webhook is about. A `channel.test` has neither incident nor monitor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct WebhookData {
    /// The incident.
    pub incident: Option<WebhookIncident>,
    /// The monitor.
    pub monitor: Option<MonitorReference>,
    /// What is known of what went wrong.
    pub evidence: Evidence,
    /// Regions from which an endpoint fails.
    pub regions_failing: Vec<String>,
    /// Regions from which it does not.
    pub regions_ok: Vec<String>,
    /// On which side of the cluster's wall the fault lies, where that is known.
    #[schema(value_type = Option<Object>)]
    pub triage: Option<Value>,
    /// The person or token that acknowledged or resolved it; absent where the job did, or the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What they wrote with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An incident in a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookIncident {
    /// Its id.
    pub id: String,
    /// Its number.
    pub number: i64,
    /// Where it stands.
    pub state: IncidentState,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, in a line.
    pub title: String,
    /// Why it was opened, as a stable word.
    pub reason: String,
    /// How often it was triggered again.
    #[serde(default)]
    pub reopened: u32,
    /// When the thing went wrong.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// When we knew.
    #[schema(format = DateTime)]
    pub detected_at: String,
    /// When it was over.
    #[schema(format = DateTime)]
    pub resolved_at: Option<String>,
    /// Its page.
    #[serde(default)]
    pub url: Option<String>,
}
