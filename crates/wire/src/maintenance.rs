//! Maintenances: windows in which something is known to be worked on.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::monitor::Warning;
use crate::problem::FieldError;
use crate::rules;
use crate::strict::{Object, Read, shortened};
use crate::text::{DurationText, present};

/// The most monitors that one maintenance can name.
const MOST_MONITORS: usize = 1_000;

/// A maintenance to make. It covers the monitors that `selector` selects and those that `monitors` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MaintenanceInput {
    /// 1 to 200 printable characters, unique among the maintenances.
    #[schema(example = "database upgrade", min_length = 1, max_length = 200)]
    pub name: String,
    /// What is done, for people.
    #[serde(default)]
    pub description: String,
    /// A label selector in Kubernetes' form; empty selects nothing.
    #[serde(default)]
    #[schema(example = "team=billing,env in (prod,staging),!legacy")]
    pub selector: String,
    /// Names or ids of monitors.
    #[serde(default)]
    pub monitors: Vec<String>,
    /// Whether it covers every monitor.
    #[serde(default)]
    pub all: bool,
    /// When.
    pub when: WindowSpec,
    /// The set of documents that owns it, as `systole apply --set` says; none where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
}

impl Read for MaintenanceInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<MaintenanceInput> {
        let mut object = Object::open(value, path, errors)?;
        // Documents of `apply` say it; there is one kind.
        let kind: Option<String> = object.optional("kind");
        let name: Option<String> = object.required("name");
        let description: Option<String> = object.optional("description");
        let selector: Option<String> = object.optional("selector");
        let monitors: Option<Vec<String>> = object.optional("monitors");
        let all: Option<bool> = object.optional("all");
        let when: Option<WindowSpec> = object.required("when");
        let set: Option<String> = object.optional("set");
        object.check("kind", kind.as_deref(), is_maintenance);
        object.check("name", name.as_deref(), rules::name);
        object.check("description", description.as_deref(), rules::prose);
        object.check("monitors", monitors.as_deref(), monitor_list);
        object.check("set", set.as_deref(), rules::set);
        object.finish();
        Some(MaintenanceInput {
            name: name?,
            description: description.unwrap_or_default(),
            selector: selector.unwrap_or_default(),
            monitors: monitors.unwrap_or_default(),
            all: all.unwrap_or_default(),
            when: when?,
            set,
        })
    }
}

fn is_maintenance(kind: &str) -> Result<(), String> {
    if kind.eq_ignore_ascii_case("maintenance") {
        Ok(())
    } else {
        Err(format!(
            "is {:?}; here it is maintenance or left out",
            shortened(kind)
        ))
    }
}

fn monitor_list(monitors: &[String]) -> Result<(), String> {
    if monitors.len() > MOST_MONITORS {
        return Err(format!(
            "has {} entries; there can be {MOST_MONITORS}",
            monitors.len()
        ));
    }
    monitors.iter().enumerate().try_for_each(|(i, monitor)| {
        rules::name(monitor).map_err(|why| format!("entry {} {why}", i + 1))
    })
}

/// A change to a maintenance. What is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct MaintenancePatch {
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The new description; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The new label selector; empty selects nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// All monitors that are named; those left out are covered no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitors: Option<Vec<String>>,
    /// Whether it covers every monitor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// When, as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub when: Option<WindowSpec>,
    /// The set of documents that owns it from now on; `null` for none.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub set: Option<Option<String>>,
}

impl Read for MaintenancePatch {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<MaintenancePatch> {
        let mut object = Object::open(value, path, errors)?;
        let kind: Option<String> = object.optional("kind");
        let patch = MaintenancePatch {
            name: object.change("name"),
            description: object
                .change_or_clear("description")
                .map(Option::unwrap_or_default),
            selector: object
                .change_or_clear("selector")
                .map(Option::unwrap_or_default),
            monitors: object
                .change_or_clear("monitors")
                .map(Option::unwrap_or_default),
            all: object.change_or_clear("all").map(Option::unwrap_or_default),
            when: object.change("when"),
            set: object.change_or_clear("set"),
        };
        object.check("kind", kind.as_deref(), is_maintenance);
        object.check("name", patch.name.as_deref(), rules::name);
        object.check("description", patch.description.as_deref(), rules::prose);
        object.check("monitors", patch.monitors.as_deref(), monitor_list);
        object.check(
            "set",
            patch.set.as_ref().and_then(Option::as_deref),
            rules::set,
        );
        object.finish();
        Some(patch)
    }
}

/// When a maintenance is: again and again by a rule, or once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum WindowSpec {
    /// `{"rrule": "FREQ=WEEKLY;BYDAY=SU", "start": "2026-11-29T02:00", "duration": "2h", "timezone": "Europe/Berlin"}`.
    Recurring {
        /// A recurrence rule of RFC 5545: FREQ DAILY to YEARLY with INTERVAL, COUNT, UNTIL, BYMONTH, BYMONTHDAY, BYDAY,
        /// BYHOUR, BYMINUTE, BYSETPOS, WKST.
        #[schema(example = "FREQ=WEEKLY;BYDAY=SU")]
        rrule: String,
        /// The local time from which the rule counts; what the rule leaves out is taken from it.
        #[schema(example = "2026-11-29T02:00")]
        start: String,
        /// How long it lasts by the wall clock, 1m to 30d.
        duration: DurationText,
        /// An IANA time zone; UTC where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(example = "UTC")]
        timezone: Option<String>,
    },
    /// `{"start": "2026-12-01T22:00:00Z", "end": "2026-12-02T02:00:00Z"}`. Replies have it in UTC with `start` and `end`.
    Once {
        /// RFC 3339, or a local time where `timezone` is given; now where it is left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        start: Option<String>,
        /// Likewise; or `duration` stands in its place.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        end: Option<String>,
        /// How long after `start` it ends.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        duration: Option<DurationText>,
        /// The IANA time zone of local times.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timezone: Option<String>,
    },
}

impl Read for WindowSpec {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<WindowSpec> {
        let mut object = Object::open(value, path, errors)?;
        let rrule: Option<String> = object.optional("rrule");
        let start: Option<String> = object.optional("start");
        let end: Option<String> = object.optional("end");
        let duration: Option<DurationText> = object.optional("duration");
        let timezone: Option<String> = object.optional("timezone");
        let is_recurring = rrule.is_some();
        let before = object.error_count();
        if is_recurring {
            if end.is_some() {
                object.wrong(
                    "end",
                    "belongs to a window that comes once; beside rrule stands duration",
                );
            }
            for (field, is_missing) in
                [("start", start.is_none()), ("duration", duration.is_none())]
            {
                if is_missing {
                    object.wrong(field, "is required beside rrule");
                }
            }
        } else {
            match (&end, &duration) {
                (Some(_), Some(_)) => {
                    object.wrong("duration", "stands beside end; a window has one of the two")
                }
                (None, None) => {
                    object.wrong("end", "is required, or duration; beside rrule duration")
                }
                _ => {}
            }
        }
        let is_right = object.error_count() == before;
        object.finish();
        match (rrule, start, duration) {
            _ if !is_right => None,
            (Some(rrule), Some(start), Some(duration)) => Some(WindowSpec::Recurring {
                rrule,
                start,
                duration,
                timezone,
            }),
            (_, start, duration) => Some(WindowSpec::Once {
                start,
                end,
                duration,
                timezone,
            }),
        }
    }
}

/// Where a maintenance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaintenanceState {
    /// It is on.
    Active,
    /// It will be.
    Planned,
    /// It will not be any more.
    Over,
}

impl MaintenanceState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            MaintenanceState::Active => "active",
            MaintenanceState::Planned => "planned",
            MaintenanceState::Over => "over",
        }
    }
}

/// A maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Maintenance {
    /// Its id, for URLs.
    pub id: String,
    /// Counts its changes; goes into `If-Match`.
    pub rev: i64,
    /// Its name.
    pub name: String,
    /// What is done.
    pub description: String,
    /// The label selector.
    pub selector: String,
    /// The names of the monitors that are named; ids where a name is not unique.
    pub monitors: Vec<String>,
    /// Whether it covers every monitor.
    pub all: bool,
    /// When.
    pub when: WindowSpec,
    /// Where it stands.
    pub state: MaintenanceState,
    /// Whether it is on.
    pub active: bool,
    /// When the window that is open ends.
    #[schema(format = DateTime)]
    pub current_end: Option<String>,
    /// When the next one begins.
    #[schema(format = DateTime)]
    pub next_start: Option<String>,
    /// When somebody ended it early; what had begun before is over since.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// How many monitors it covers.
    pub matches: i64,
    /// The set of documents that owns it.
    #[serde(default)]
    pub set: Option<String>,
    /// What somebody should look at, for example that it covers nothing.
    #[serde(default)]
    pub warnings: Vec<Warning>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}
