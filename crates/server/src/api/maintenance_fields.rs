//! What people write of a maintenance, turned into what is stored, and back.

use systole_core::engine::MonitorId;
use systole_core::maintenance::{LabelSelector, Recurrence, When, Window, instant};
use systole_core::time::Time;
use systole_store::Error;
use systole_store::maintenance::MaintenanceFields;
use systole_store::monitors::MonitorFilter;
use systole_wire::strict::shortened;
use systole_wire::{DurationText, FieldError, MaintenanceInput, MaintenancePatch, WindowSpec};

use super::ApiError;
use super::fields::span;
use super::ids::parse_monitor_id;
use crate::app::App;
use crate::principals::Principal;

/// A name that more monitors share than this is ambiguous anyway.
const SAME_NAME: u32 = 2;

/// Everything that an input says, as a change.
pub(super) fn whole(input: MaintenanceInput) -> MaintenancePatch {
    MaintenancePatch {
        name: Some(input.name),
        description: Some(input.description),
        selector: Some(input.selector),
        monitors: Some(input.monitors),
        all: Some(input.all),
        when: Some(input.when),
        // The set stays where none is said.
        set: input.set.map(Some),
    }
}

/// To be stored: the patch over what there is. Another time forgets an early end.
///
/// # Errors
/// Every field that means nothing.
pub(super) async fn fields(
    app: &App,
    by: &Principal,
    stored: Option<&MaintenanceFields>,
    patch: MaintenancePatch,
) -> Result<MaintenanceFields, ApiError> {
    let mut errors = Vec::new();
    let mut selector = stored
        .map(|stored| stored.window.selector.clone())
        .unwrap_or_default();
    if let Some(text) = &patch.selector {
        match LabelSelector::parse(text) {
            Ok(labels) => selector.labels = labels,
            Err(message) => errors.push(FieldError::new("selector", message)),
        }
    }
    if let Some(names) = &patch.monitors {
        selector.monitors = resolve(app, by.project, names, &mut errors).await?;
    }
    if let Some(all) = patch.all {
        selector.all = all;
    }
    if selector.is_empty() && errors.is_empty() {
        let message = "selects nothing: give a selector such as team=billing, name monitors, or set all to true";
        errors.push(FieldError::new("selector", message));
    }
    let given = patch
        .when
        .as_ref()
        .and_then(|spec| when(spec, app.now(), &mut errors));
    let before = stored.map(|stored| &stored.window);
    let (Some(when), true) = (
        given.or_else(|| before.map(|window| window.when.clone())),
        errors.is_empty(),
    ) else {
        return Err(ApiError::invalid(errors));
    };
    let ended_at = before
        .filter(|window| window.when == when)
        .and_then(|window| window.ended_at);
    let or = |given: Option<String>, stored: Option<&String>| {
        given.or_else(|| stored.cloned()).unwrap_or_default()
    };
    Ok(MaintenanceFields {
        description: or(patch.description, stored.map(|stored| &stored.description)),
        set: patch
            .set
            .unwrap_or_else(|| stored.and_then(|stored| stored.set.clone())),
        window: Window {
            name: or(patch.name, before.map(|window| &window.name)),
            selector,
            when,
            ended_at,
        },
    })
}

/// The monitors of names or ids, none twice.
async fn resolve(
    app: &App,
    project: i64,
    given: &[String],
    errors: &mut Vec<FieldError>,
) -> Result<Vec<MonitorId>, Error> {
    let mut ids = Vec::new();
    for (i, text) in given.iter().enumerate() {
        let by_name = MonitorFilter {
            names: Some(vec![text.clone()]),
            limit: SAME_NAME,
            ..MonitorFilter::default()
        };
        let named = app.store.monitors(project, &by_name).await?;
        let found = match (named.as_slice(), parse_monitor_id(text)) {
            ([one], _) => Ok(one.id),
            ([], Some(id)) if app.store.monitor(project, id).await?.is_some() => Ok(id),
            ([], _) => Err(format!(
                "no monitor has the name or id {:?}",
                shortened(text)
            )),
            _ => Err(format!(
                "several monitors have the name {:?}; give the id of one",
                shortened(text)
            )),
        };
        match found {
            Ok(id) if ids.contains(&id) => {}
            Ok(id) => ids.push(id),
            Err(message) => errors.push(FieldError::new(format!("monitors[{i}]"), message)),
        }
    }
    Ok(ids)
}

/// A time as people write it; what is wrong with it goes to `errors`.
fn when(spec: &WindowSpec, now: Time, errors: &mut Vec<FieldError>) -> Option<When> {
    match spec {
        WindowSpec::Recurring {
            rrule,
            start,
            duration,
            timezone,
        } => {
            let duration = span("when.duration", duration, errors)?;
            let zone = timezone.as_deref().unwrap_or("UTC");
            let read = Recurrence::parse(rrule, start, duration, zone);
            read.map(|recurrence| When::Recurring(Box::new(recurrence)))
                .map_err(|error| {
                    let is_pointed = error.field == "rrule" && error.at.is_some();
                    let message = if is_pointed {
                        error.pointed(rrule)
                    } else {
                        error.message.clone()
                    };
                    errors.push(FieldError::new(format!("when.{}", error.field), message));
                })
                .ok()
        }
        WindowSpec::Once {
            start,
            end,
            duration,
            timezone,
        } => {
            let mut time = |field: &str, text: &str, is_end: bool| {
                let read = match timezone {
                    None => Time::parse(text).map_err(|message| (field.to_owned(), message)),
                    Some(zone) => instant(text, zone, is_end).map_err(|error| {
                        let field = if error.field == "timezone" {
                            "when.timezone"
                        } else {
                            field
                        };
                        (field.to_owned(), error.message)
                    }),
                };
                read.map_err(|(field, message)| errors.push(FieldError::new(field, message)))
                    .ok()
            };
            let start = match start {
                Some(text) => time("when.start", text, false),
                None => Some(now),
            };
            let given_end = match end {
                Some(text) => Some(time("when.end", text, true)?),
                None => None,
            };
            let (field, end) = match (given_end, duration) {
                (Some(end), _) => ("when.end", end),
                (None, Some(duration)) => (
                    "when.duration",
                    start? + span("when.duration", duration, errors)?,
                ),
                (None, None) => return None,
            };
            When::once(start?, end)
                .map_err(|message| errors.push(FieldError::new(field, message)))
                .ok()
        }
    }
}

/// A time as replies have it.
pub(super) fn written(when: &When) -> WindowSpec {
    match when {
        When::Once(once) => WindowSpec::Once {
            start: Some(once.start.to_string()),
            end: Some(once.end.to_string()),
            duration: None,
            timezone: None,
        },
        When::Recurring(recurrence) => WindowSpec::Recurring {
            rrule: recurrence.rrule().to_owned(),
            start: recurrence.start(),
            duration: DurationText(recurrence.duration().to_string()),
            timezone: Some(recurrence.timezone().to_owned()),
        },
    }
}
