//! What people write of a monitor, turned into what is stored, and back.
//!
//! A change is laid over what is there in the written form and then read as a whole, so that making, changing and
//! replacing a monitor obey the same rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use systole_core::heartbeat::Settings;
use systole_core::schedule::{self, Schedule};
use systole_core::time::Span;
use systole_store::channels::ChannelRow;
use systole_store::monitors::MonitorFields;
use systole_wire::strict::{shortened, suggestion};
use systole_wire::{
    Dialect, DurationText, FieldError, HeartbeatSpec, MonitorCommon, MonitorPatch, ScheduleSpec,
    Severity, rules,
};

use super::ids::parse_channel_id;

/// The grace where none is given.
const GRACE: Span = Span::from_seconds(300);

/// The channels of a project, for names and ids.
pub struct Channels(pub Vec<ChannelRow>);

impl Channels {
    /// Of a name, else of an id.
    fn find(&self, given: &str) -> Option<&ChannelRow> {
        let named = self.0.iter().find(|channel| channel.fields.name == given);
        named.or_else(|| {
            parse_channel_id(given).and_then(|id| self.0.iter().find(|channel| channel.id == id))
        })
    }

    /// Names of ids; deleted ones are left out.
    fn names(&self, ids: &[i64]) -> Vec<String> {
        let of = |id: &i64| {
            self.0
                .iter()
                .find(|channel| channel.id == *id)
                .map(|channel| channel.fields.name.clone())
        };
        ids.iter().filter_map(of).collect()
    }

    /// Whether a monitor's messages go anywhere.
    pub fn reach(&self, named: Option<&[i64]>) -> bool {
        match named {
            None => self.0.iter().any(|channel| channel.fields.default),
            Some(ids) => self.0.iter().any(|channel| ids.contains(&channel.id)),
        }
    }

    fn resolve(&self, given: &[String], errors: &mut Vec<FieldError>) -> Vec<i64> {
        let mut ids = Vec::new();
        for (i, text) in given.iter().enumerate() {
            match self.find(text) {
                Some(channel) if ids.contains(&channel.id) => {}
                Some(channel) => ids.push(channel.id),
                None => {
                    let names: Vec<&str> = self
                        .0
                        .iter()
                        .map(|channel| channel.fields.name.as_str())
                        .collect();
                    let advice = match (suggestion(text, &names), names.is_empty()) {
                        (Some(close), _) => format!("did you mean {close:?}?"),
                        (None, true) => "there are none yet; make one first".to_owned(),
                        (None, false) => {
                            format!("there are {}", names[..names.len().min(10)].join(", "))
                        }
                    };
                    let message = format!(
                        "no channel has the name or id {:?}; {advice}",
                        shortened(text)
                    );
                    errors.push(FieldError::new(format!("channels[{i}]"), message));
                }
            }
        }
        ids
    }
}

/// A monitor as people write it.
#[derive(Clone, Debug)]
pub struct Written {
    /// What every kind has.
    pub common: MonitorCommon,
    /// What a heartbeat has.
    pub spec: HeartbeatSpec,
}

impl Written {
    /// As it is stored.
    pub fn of(fields: &MonitorFields, channels: &Channels) -> Written {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let common = MonitorCommon {
            name: fields.name.clone(),
            description: fields.description.clone(),
            severity: severity(&fields.severity),
            labels: fields.labels.iter().cloned().collect(),
            owner: some(&fields.owner),
            runbook_url: some(&fields.runbook_url),
            channels: fields.channels.as_deref().map(|ids| channels.names(ids)),
            set: fields.set.clone(),
        };
        Written {
            common,
            spec: spec(fields),
        }
    }

    /// Lays a change over it.
    pub fn change(&mut self, patch: MonitorPatch) {
        fn set<T>(place: &mut T, change: Option<T>) {
            if let Some(value) = change {
                *place = value;
            }
        }
        let Written { common, spec } = self;
        set(&mut common.name, patch.name);
        set(&mut common.description, patch.description);
        set(&mut common.severity, patch.severity);
        set(&mut common.labels, patch.labels);
        set(&mut common.owner, patch.owner);
        set(&mut common.runbook_url, patch.runbook_url);
        set(&mut common.channels, patch.channels);
        set(&mut common.set, patch.set);
        let change = patch.heartbeat;
        set(&mut spec.slug, change.slug.map(Some));
        set(&mut spec.schedule, change.schedule);
        set(&mut spec.grace, change.grace.map(Some));
        set(&mut spec.start_grace, change.start_grace);
        set(&mut spec.max_runtime, change.max_runtime);
        set(&mut spec.early_window, change.early_window);
        set(&mut spec.fail_threshold, change.fail_threshold.map(Some));
        set(
            &mut spec.recovery_threshold,
            change.recovery_threshold.map(Some),
        );
    }

    /// To be stored; the slug is made from the name where there is none.
    ///
    /// # Errors
    /// Every field that means nothing.
    pub fn fields(self, channels: &Channels) -> Result<MonitorFields, Vec<FieldError>> {
        let mut errors = Vec::new();
        let Written { common, spec } = self;
        let named = common
            .channels
            .as_deref()
            .map(|given| channels.resolve(given, &mut errors));
        let slug = spec
            .slug
            .clone()
            .unwrap_or_else(|| rules::slug_from_name(&common.name));
        let settings = settings(&spec, &mut errors);
        match settings {
            Some(settings) if errors.is_empty() => Ok(MonitorFields {
                name: common.name,
                slug,
                description: common.description,
                severity: common.severity.as_str().to_owned(),
                labels: common
                    .labels
                    .into_iter()
                    .collect::<BTreeMap<_, _>>()
                    .into_iter()
                    .collect(),
                owner: common.owner.unwrap_or_default(),
                runbook_url: common.runbook_url.unwrap_or_default(),
                channels: named,
                set: common.set,
                settings: Arc::new(settings),
            }),
            _ => Err(errors),
        }
    }
}

/// Whether a change changes nothing.
pub fn is_same(a: &MonitorFields, b: &MonitorFields) -> bool {
    let text = |fields: &MonitorFields| {
        [
            &fields.name,
            &fields.slug,
            &fields.description,
            &fields.severity,
            &fields.owner,
            &fields.runbook_url,
        ]
        .map(String::clone)
    };
    text(a) == text(b)
        && a.labels == b.labels
        && a.channels == b.channels
        && a.set == b.set
        && a.settings == b.settings
}

/// The severity of a stored word.
pub fn severity(word: &str) -> Severity {
    let all = [Severity::Info, Severity::Warning, Severity::Error];
    all.into_iter()
        .find(|severity| severity.as_str() == word)
        .unwrap_or_default()
}

fn spec(fields: &MonitorFields) -> HeartbeatSpec {
    let settings = &fields.settings;
    let text = |span: Span| DurationText(span.to_string());
    let schedule = match &settings.schedule {
        Schedule::Every(period) => ScheduleSpec::Every {
            every: text(*period),
        },
        Schedule::Cron(cron) => ScheduleSpec::Cron {
            cron: cron.expression().to_owned(),
            timezone: Some(cron.timezone().to_owned()),
            dialect: Some(match cron.dialect() {
                schedule::Dialect::Classic => Dialect::Classic,
                schedule::Dialect::Kubernetes => Dialect::Kubernetes,
            }),
        },
    };
    HeartbeatSpec {
        slug: Some(fields.slug.clone()),
        schedule,
        grace: Some(text(settings.grace)),
        start_grace: settings.start_grace.map(text),
        max_runtime: settings.max_runtime.map(text),
        early_window: settings.early_window.map(text),
        fail_threshold: Some(settings.fail_threshold.into()),
        recovery_threshold: Some(settings.recovery_threshold.into()),
    }
}

/// A duration; what is wrong with it goes to `errors`.
pub fn span(field: &str, text: &DurationText, errors: &mut Vec<FieldError>) -> Option<Span> {
    Span::parse(text.as_str())
        .map_err(|message| errors.push(FieldError::new(field, message)))
        .ok()
}

/// A schedule; what is wrong with it goes to `errors`.
pub fn schedule(spec: &ScheduleSpec, errors: &mut Vec<FieldError>) -> Option<Schedule> {
    let read = match spec {
        ScheduleSpec::Every { every } => return period(every, errors),
        ScheduleSpec::Cron {
            cron,
            timezone,
            dialect,
        } => {
            let dialect = match dialect {
                Some(Dialect::Kubernetes) => schedule::Dialect::Kubernetes,
                Some(Dialect::Classic) | None => schedule::Dialect::Classic,
            };
            let zone = timezone.as_deref().unwrap_or("UTC");
            Schedule::cron(cron, zone, dialect).map_err(|error| {
                let message = if error.field == "cron" {
                    error.pointed(cron)
                } else {
                    error.message.clone()
                };
                FieldError::new(format!("schedule.{}", error.field), message)
            })
        }
    };
    read.map_err(|error| errors.push(error)).ok()
}

fn period(every: &DurationText, errors: &mut Vec<FieldError>) -> Option<Schedule> {
    let period = span("schedule.every", every, errors)?;
    let schedule = Schedule::every(period);
    schedule
        .map_err(|error| errors.push(FieldError::new("schedule.every", error.message)))
        .ok()
}

fn settings(spec: &HeartbeatSpec, errors: &mut Vec<FieldError>) -> Option<Settings> {
    let schedule = schedule(&spec.schedule, errors);
    let mut optional = |field: &str, text: &Option<DurationText>| {
        text.as_ref().and_then(|text| span(field, text, errors))
    };
    let grace = optional("grace", &spec.grace);
    let start_grace = optional("start_grace", &spec.start_grace);
    let max_runtime = optional("max_runtime", &spec.max_runtime);
    let early_window = optional("early_window", &spec.early_window);
    if max_runtime == Some(Span::ZERO) {
        let message = "is 0: every run would overrun at once; leave it out for the same as grace";
        errors.push(FieldError::new("max_runtime", message));
    }
    if early_window.is_some() && matches!(spec.schedule, ScheduleSpec::Every { .. }) {
        let message = "belongs to cron; a period has no slots to be early for. Leave it out, or set it to null";
        errors.push(FieldError::new("early_window", message));
    }
    let mut threshold = |field: &str, given: Option<u32>| {
        let given = given.unwrap_or(1);
        if let Err(message) = rules::threshold(given) {
            errors.push(FieldError::new(field, message));
        }
        u16::try_from(given).unwrap_or(u16::MAX)
    };
    let fail_threshold = threshold("fail_threshold", spec.fail_threshold);
    let recovery_threshold = threshold("recovery_threshold", spec.recovery_threshold);
    Some(Settings {
        schedule: schedule?,
        grace: grace.unwrap_or(GRACE),
        start_grace,
        max_runtime,
        early_window,
        fail_threshold,
        recovery_threshold,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use systole_wire::MonitorInput;

    use super::*;

    fn written(schedule: serde_json::Value, more: serde_json::Value) -> Written {
        let mut value =
            json!({"kind": "heartbeat", "name": "Nightly Backup", "schedule": schedule});
        value
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let MonitorInput::Heartbeat(input) = systole_wire::strict::from_value(value).unwrap();
        Written {
            common: input.common,
            spec: input.spec,
        }
    }

    #[test]
    fn what_means_nothing_is_refused_at_its_field() {
        let every = || json!({"every": "1h"});
        for (schedule, more, field, rule) in [
            (
                json!({"every": "500ms"}),
                json!({}),
                "schedule.every",
                "at least 1s",
            ),
            (
                json!({"every": "0"}),
                json!({}),
                "schedule.every",
                "at least 1s",
            ),
            (
                json!({"every": "401d"}),
                json!({}),
                "schedule.every",
                "400 days",
            ),
            (
                json!({"every": "soon"}),
                json!({}),
                "schedule.every",
                "duration",
            ),
            (
                json!({"cron": "0 25 * * *"}),
                json!({}),
                "schedule.cron",
                "^^",
            ),
            (
                json!({"cron": "0 2 * * *", "timezone": "Mars/Base"}),
                json!({}),
                "schedule.timezone",
                "Mars/Base",
            ),
            (every(), json!({"grace": "401d"}), "grace", "400 days"),
            (every(), json!({"grace": "-5m"}), "grace", "negative"),
            (
                every(),
                json!({"start_grace": "x"}),
                "start_grace",
                "duration",
            ),
            (
                every(),
                json!({"max_runtime": "0"}),
                "max_runtime",
                "overrun",
            ),
            (
                every(),
                json!({"early_window": "1m"}),
                "early_window",
                "cron",
            ),
            (
                every(),
                json!({"channels": ["nobody"]}),
                "channels[0]",
                "nobody",
            ),
        ] {
            let errors = written(schedule.clone(), more.clone())
                .fields(&Channels(Vec::new()))
                .unwrap_err();
            assert_eq!(errors.len(), 1, "{schedule} {more}: {errors:?}");
            assert_eq!(errors[0].field, field, "{schedule} {more}");
            assert!(
                errors[0].message.contains(rule),
                "{schedule} {more}: {}",
                errors[0].message
            );
        }
    }

    #[test]
    fn what_was_stored_reads_as_it_was_written() {
        for (schedule, more) in [
            (json!({"every": "6h"}), json!({})),
            (
                json!({"every": 90}),
                json!({"grace": "0", "fail_threshold": 3, "labels": {"b": "1", "a": "2"}}),
            ),
            (
                json!({"cron": "0 2 * * *"}),
                json!({"start_grace": "5m", "early_window": "0", "owner": "ops"}),
            ),
            (
                json!({"cron": "0 2 * * *", "timezone": "Europe/Oslo", "dialect": "kubernetes"}),
                json!({"channels": []}),
            ),
        ] {
            let channels = Channels(Vec::new());
            let stored = written(schedule.clone(), more.clone())
                .fields(&channels)
                .unwrap();
            let again = Written::of(&stored, &channels).fields(&channels).unwrap();
            assert!(
                is_same(&stored, &again),
                "{schedule} {more}: {stored:?} {again:?}"
            );
            assert_eq!(stored.slug, "nightly-backup");
        }
    }
}
