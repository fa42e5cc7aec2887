//! Heartbeats: monitors of things that report to us.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::monitor::MonitorCommon;
use crate::problem::FieldError;
use crate::rules;
use crate::schedule::ScheduleSpec;
use crate::strict::{Object, Read};
use crate::text::{DurationText, present};

/// A heartbeat to make: only `kind`, `name` and `schedule` are required.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatInput {
    /// What every kind has.
    #[serde(flatten)]
    pub common: MonitorCommon,
    /// What is expected of it.
    #[serde(flatten)]
    pub spec: HeartbeatSpec,
    /// A token brought along, `[A-Za-z0-9_-]{10,64}`; left out, one is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What is expected of a heartbeat. In a reply every default is filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatSpec {
    /// Its part of the check-in URL by name: `[a-z0-9_-]{1,100}`; made from the name where it is left out.
    #[serde(default)]
    pub slug: Option<String>,
    /// When a success is expected.
    pub schedule: ScheduleSpec,
    /// How late a success may be; 5m where it is left out.
    #[serde(default)]
    pub grace: Option<DurationText>,
    /// How late a start may be; left out, only the success counts.
    #[serde(default)]
    pub start_grace: Option<DurationText>,
    /// How long a run may take once it has started; `grace` where it is left out.
    #[serde(default)]
    pub max_runtime: Option<DurationText>,
    /// How long before its slot a run may start and still belong to it (cron only); a tenth of the period, at most 5
    /// minutes, where it is left out.
    #[serde(default)]
    pub early_window: Option<DurationText>,
    /// How many failures in a row make it down; 1 where it is left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub fail_threshold: Option<u32>,
    /// How many successes in a row make it up again; 1 where it is left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1000)]
    pub recovery_threshold: Option<u32>,
}

impl HeartbeatInput {
    pub(crate) fn read(object: &mut Object<'_>) -> Option<HeartbeatInput> {
        let common = MonitorCommon::read(object);
        let schedule = object.required("schedule");
        let slug: Option<String> = object.optional("slug");
        let grace = object.optional("grace");
        let start_grace = object.optional("start_grace");
        let max_runtime = object.optional("max_runtime");
        let early_window = object.optional("early_window");
        let fail_threshold: Option<u32> = object.optional("fail_threshold");
        let recovery_threshold: Option<u32> = object.optional("recovery_threshold");
        let token: Option<String> = object.optional("token");
        object.check("slug", slug.as_deref(), rules::slug);
        object.check("fail_threshold", fail_threshold.as_ref(), |n| {
            rules::threshold(*n)
        });
        object.check("recovery_threshold", recovery_threshold.as_ref(), |n| {
            rules::threshold(*n)
        });
        object.check("token", token.as_deref(), rules::ping_token);
        let spec = HeartbeatSpec {
            slug,
            schedule: schedule?,
            grace,
            start_grace,
            max_runtime,
            early_window,
            fail_threshold,
            recovery_threshold,
        };
        Some(HeartbeatInput {
            common: common?,
            spec,
            token,
        })
    }
}

/// The part of a change that only a heartbeat has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HeartbeatPatch {
    /// The new slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// The new schedule, whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// How late a success may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<DurationText>,
    /// How late a start may be; `null` for no limit of its own.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<DurationText>)]
    pub start_grace: Option<Option<DurationText>>,
    /// How long a run may take; `null` for the same as `grace`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<DurationText>)]
    pub max_runtime: Option<Option<DurationText>>,
    /// How early a run may start; `null` for the default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<DurationText>)]
    pub early_window: Option<Option<DurationText>>,
    /// How many failures in a row make it down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_threshold: Option<u32>,
    /// How many successes in a row make it up again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_threshold: Option<u32>,
}

impl HeartbeatPatch {
    pub(crate) fn read(object: &mut Object<'_>) -> HeartbeatPatch {
        let patch = HeartbeatPatch {
            slug: object.change("slug"),
            schedule: object.change("schedule"),
            grace: object.change("grace"),
            start_grace: object.change_or_clear("start_grace"),
            max_runtime: object.change_or_clear("max_runtime"),
            early_window: object.change_or_clear("early_window"),
            fail_threshold: object.change("fail_threshold"),
            recovery_threshold: object.change("recovery_threshold"),
        };
        if object.has("token") {
            object.take_unchangeable(
                "token",
                "cannot be changed; ask for another by rotate-token",
            );
        }
        object.check("slug", patch.slug.as_deref(), rules::slug);
        object.check("fail_threshold", patch.fail_threshold.as_ref(), |n| {
            rules::threshold(*n)
        });
        object.check(
            "recovery_threshold",
            patch.recovery_threshold.as_ref(),
            |n| rules::threshold(*n),
        );
        patch
    }
}

/// What was heard of a heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HeartbeatStatus {
    /// Its secret token, to those who may edit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Where its check-ins go, to those who may edit it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_url: Option<String>,
    /// When it was last heard of.
    #[schema(format = DateTime)]
    pub last_checkin_at: Option<String>,
    /// The next slot.
    #[schema(format = DateTime)]
    pub next_expected_at: Option<String>,
    /// How many runs have started and not ended.
    pub open_runs: u32,
    /// Failures in a row, counted towards `fail_threshold`.
    pub failures: u32,
    /// Successes in a row while it is down, counted towards `recovery_threshold`.
    pub recoveries: u32,
}

/// Asks for another token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotateTokenInput {
    /// How long the former token works beside the new one; not at all where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<DurationText>,
}

impl Read for RotateTokenInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<RotateTokenInput> {
        let mut object = Object::open(value, path, errors)?;
        let overlap = object.optional("overlap");
        object.finish();
        Some(RotateTokenInput { overlap })
    }
}
