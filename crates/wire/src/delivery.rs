//! Deliveries: messages on their way, and what became of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::text::DurationText;

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// To be sent, or to be tried again.
    Pending,
    /// The receiver took it.
    Delivered,
    /// Not sent, because something newer about the same incident was.
    Superseded,
    /// Given up; can be replayed.
    Dead,
}

impl DeliveryState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Superseded => "superseded",
            DeliveryState::Dead => "dead",
        }
    }
}

/// One message for one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Its id.
    pub id: String,
    /// What became of it.
    pub state: DeliveryState,
    /// What it says, as webhooks call it.
    #[serde(rename = "type")]
    #[schema(example = "incident.triggered")]
    pub kind: String,
    /// The id of its channel.
    pub channel_id: String,
    /// The name of its channel.
    pub channel: String,
    /// The id of the incident that it is about.
    pub incident_id: Option<String>,
    /// The number of that incident.
    #[serde(default)]
    pub incident_number: Option<i64>,
    /// The name of the monitor that it is about.
    #[serde(default)]
    pub monitor: Option<String>,
    /// Why it was decided, or why not sent, as a stable word.
    #[serde(default)]
    pub reason: Option<String>,
    /// The same for every attempt: the receiver's means to know a repetition.
    pub idempotency_key: String,
    /// When it was decided.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it is tried next.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// When it was delivered, superseded or given up.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub finished_at: Option<String>,
    /// Its tries, oldest first.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it began.
    #[schema(format = DateTime)]
    pub at: String,
    /// How long it took.
    #[serde(default)]
    pub duration: Option<DurationText>,
    /// What came of it: delivered, retry or refused.
    #[schema(example = "retry")]
    pub outcome: String,
    /// The status of the answer, where there was one.
    #[serde(default)]
    pub status: Option<u16>,
    /// What went wrong, free of secrets.
    #[serde(default)]
    pub error: Option<String>,
    /// The beginning of the answer.
    #[serde(default)]
    pub response: Option<String>,
}
