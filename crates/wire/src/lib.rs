//! The types that cross a process boundary: the management API, its errors, its webhooks and the documents of
//! `systole apply`.
//!
//! Nothing here knows the domain: times are RFC 3339 text, durations are text such as `5m`, and what they mean is the
//! server's to say. What can be judged without the domain is judged here, the same for every caller: which fields
//! exist, of what type they are, and the forms of names, slugs, labels and tokens.
//!
//! Whatever comes from outside is read by [`strict::from_value`], which lists every wrong field at once.
#![warn(missing_docs)]

pub mod bulk;
pub mod channel;
pub mod checkin;
pub mod delivery;
pub mod doctor;
pub mod document;
pub mod heartbeat;
mod history;
pub mod incident;
pub mod maintenance;
pub mod monitor;
pub mod page;
pub mod problem;
pub mod rules;
pub mod schedule;
pub mod strict;
pub mod text;
pub mod token;
pub mod webhook;

pub use bulk::{MonitorsCreated, MonitorsInput};
pub use channel::{Channel, ChannelInput, ChannelPatch, REDACTED, Unsubscribed};
pub use checkin::{Checkin, CheckinKind, Run, RunOutcome};
pub use delivery::{Attempt, Delivery, DeliveryState};
pub use doctor::{DoctorReport, Finding, Level};
pub use heartbeat::{
    HeartbeatInput, HeartbeatPatch, HeartbeatSpec, HeartbeatStatus, RotateTokenInput,
};
pub use history::{History, HistoryPeriod, RunDurations, Uptime};
pub use incident::{
    AcknowledgeInput, Incident, IncidentEvent, IncidentState, MonitorReference, NoteInput,
};
pub use maintenance::{
    Maintenance, MaintenanceInput, MaintenancePatch, MaintenanceState, WindowSpec,
};
pub use monitor::{
    Monitor, MonitorCommon, MonitorDetail, MonitorInput, MonitorKind, MonitorPatch, Severity,
    Warning,
};
pub use page::Page;
pub use problem::{FieldError, Problem};
pub use schedule::{Dialect, SchedulePreview, SchedulePreviewInput, ScheduleSpec};
pub use text::DurationText;
pub use token::{Role, Token, TokenCreated, TokenInput};
pub use webhook::{SignatureHeaders, WebhookPayload};
