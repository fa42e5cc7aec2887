//! Maintenance: what is on, what is planned, making one, ending one, deleting one.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use systole_core::maintenance::{Occurrence, Phase, When};
use systole_core::time::Time;
use systole_store::maintenance::MaintenanceRow;
use systole_wire::{Maintenance, MaintenanceInput};

use super::frame::Says;
use super::monitor_form::of_field;
use super::reply::{Failure, Reply, invalid, page, see};
use super::visitor::Visitor;
use super::{Pages, frame};
use crate::api::maintenance_id;
use crate::api::{ApiError, maintenances as api};
use crate::api::{Expected, parse_maintenance_id, read};
use crate::web::render;
use crate::web::views::{FormError, MaintenanceView, Opening, WindowRow};

/// Windows of one list: the page stays small, and the command lists all.
const ROWS: usize = 10;
/// Occurrences shown of one window.
const OPENINGS: usize = 5;

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Fields {
    name: String,
    selector: String,
    all: Option<String>,
    repeats: String,
    rule: String,
    start: String,
    duration: String,
    timezone: String,
}

impl Fields {
    /// As the API has it.
    fn document(&self) -> Value {
        let (start, zone) = (self.start.trim(), self.timezone.trim());
        let zone = if zone.is_empty() { "UTC" } else { zone };
        let rule = match self.repeats.as_str() {
            "daily" => Some("FREQ=DAILY"),
            "weekly" => Some("FREQ=WEEKLY"),
            "monthly" => Some("FREQ=MONTHLY"),
            "rule" => Some(self.rule.trim()),
            _ => None,
        };
        let mut when = json!({"duration": self.duration.trim()});
        if let Some(rule) = rule {
            when["rrule"] = rule.into();
        }
        // Without a start one that comes once begins now.
        if !start.is_empty() {
            when["start"] = start.into();
            when["timezone"] = zone.into();
        }
        json!({
            "name": self.name.trim(),
            "selector": self.selector.trim(),
            "all": self.all.is_some(),
            "when": when,
        })
    }
}

/// `GET /maintenance`.
pub(super) async fn list(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Reply {
    let fields = Fields {
        duration: "1h".to_owned(),
        ..Fields::default()
    };
    let view = view(&pages, &visitor, &fields, Vec::new()).await?;
    Ok(page(StatusCode::OK, render::maintenance(&view)))
}

async fn view(
    pages: &Pages,
    visitor: &Visitor,
    fields: &Fields,
    errors: Vec<FormError>,
) -> Result<MaintenanceView, Failure> {
    let app = &pages.app;
    let now = app.now();
    let (mut active, mut planned, mut over) = (Vec::new(), Vec::new(), Vec::new());
    for (row, told) in api::all(app, &visitor.principal).await? {
        let phase = row.fields.window.phase(now);
        let list = match phase {
            Phase::Active(_) => &mut active,
            Phase::Planned(_) => &mut planned,
            Phase::Over => &mut over,
        };
        list.push((phase, window(&row, &told, phase, now)));
    }
    active.sort_by_key(|(phase, _)| match phase {
        Phase::Active(open) => open.end,
        _ => Time::NEVER,
    });
    planned.sort_by_key(|(phase, _)| match phase {
        Phase::Planned(next) => next.start,
        _ => Time::NEVER,
    });
    let hidden = active.len().saturating_sub(ROWS)
        + planned.len().saturating_sub(ROWS)
        + over.len().saturating_sub(ROWS);
    let rows = |list: Vec<(Phase, WindowRow)>, most: usize| {
        list.into_iter().take(most).map(|(_, row)| row).collect()
    };
    Ok(MaintenanceView {
        frame: frame::frame(pages, visitor, Says::Nothing).await?,
        active: rows(active, ROWS),
        planned: rows(planned, ROWS),
        over: rows(over, ROWS),
        hidden,
        name: fields.name.clone().into(),
        selector: fields.selector.clone().into(),
        all: fields.all.is_some(),
        repeats: fields.repeats.clone().into(),
        rule: fields.rule.clone().into(),
        start: fields.start.clone().into(),
        duration: fields.duration.clone().into(),
        timezone: fields.timezone.clone().into(),
        errors,
    })
}

fn window(row: &MaintenanceRow, told: &Maintenance, phase: Phase, now: Time) -> WindowRow {
    let window = &row.fields.window;
    let (rule, zone) = match &window.when {
        When::Once(_) => (None, None),
        When::Recurring(recurrence) => (
            Some(recurrence.rrule().to_owned().into()),
            Some(recurrence.timezone().to_owned()),
        ),
    };
    let opening = |open: Occurrence| Opening {
        start: open.start,
        end: open.end,
        local: zone.as_deref().map(|zone| local(open, zone).into()),
    };
    let mut covers = Vec::new();
    if told.all {
        covers.push("every monitor".to_owned().into());
    }
    if !told.selector.is_empty() {
        covers.push(told.selector.clone().into());
    }
    covers.extend(told.monitors.iter().map(|name| name.clone().into()));
    WindowRow {
        id: maintenance_id(row.id),
        name: window.name.clone().into(),
        description: row.fields.description.clone().into(),
        covers,
        matches: usize::try_from(told.matches).unwrap_or(0),
        set: row.fields.set.clone().map(Into::into),
        rule,
        open: match phase {
            Phase::Active(open) => Some(opening(open)),
            _ => None,
        },
        next: window.following(now).take(OPENINGS).map(opening).collect(),
        ended: match (&window.when, phase) {
            (When::Once(once), Phase::Over) => {
                Some(window.ended_at.map_or(once.end, |at| at.min(once.end)))
            }
            _ => None,
        },
    }
}

/// `Sun 29 Nov 02:00 to 04:00, Europe/Berlin`: what stands on the walls there.
fn local(open: Occurrence, zone: &str) -> String {
    let at = |time: Time, form: &str| {
        let there = time.to_jiff().in_tz(zone);
        there.map_or_else(
            |_| time.to_string(),
            |there| there.strftime(form).to_string(),
        )
    };
    let is_same_day = at(open.start, "%F") == at(open.end, "%F");
    let end = if is_same_day {
        "%H:%M"
    } else {
        "%a %-d %b %H:%M"
    };
    format!(
        "{} to {}, {zone}",
        at(open.start, "%a %-d %b %H:%M"),
        at(open.end, end)
    )
}

/// `POST /maintenance`.
pub(super) async fn create(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Form(fields): Form<Fields>,
) -> Reply {
    let by = visitor.editor()?;
    let made = match read::<MaintenanceInput>(fields.document()) {
        Ok(input) => api::create(&pages.app, by, input).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(made) => {
            let covers = match made.matches {
                0 => "It covers no monitor yet".to_owned(),
                1 => "It covers 1 monitor".to_owned(),
                n => format!("It covers {n} monitors"),
            };
            let text = format!("{} is planned. {covers}.", made.name);
            pages.notices.say(&visitor, made.matches == 0, text);
            Ok(see("/maintenance"))
        }
        Err(error) => {
            let view = view(&pages, &visitor, &fields, errors(error)?).await?;
            Ok(invalid(render::maintenance(&view)))
        }
    }
}

fn errors(error: ApiError) -> Result<Vec<FormError>, Failure> {
    if error.problem().errors.is_empty() {
        return Err(error.into());
    }
    let form = error.problem().errors.iter().map(|error| {
        let field = match error.field.as_str() {
            "name" => "name",
            "selector" => "selector",
            "when.rrule" => "rule",
            "when.start" => "start",
            "when.duration" | "when.end" => "duration",
            "when.timezone" => "timezone",
            _ => "",
        };
        FormError {
            field,
            text: of_field(error).into(),
        }
    });
    Ok(form.collect())
}

/// `POST /maintenance/{id}/end`, `/delete`.
pub(super) async fn act(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path((id, action)): Path<(String, String)>,
) -> Reply {
    let by = visitor.editor()?;
    let app = &pages.app;
    let id = parse_maintenance_id(&id).ok_or(Failure::NotFound)?;
    let name = api::read(app, by, id).await?.name;
    let text = match action.as_str() {
        "end" => {
            api::end(app, by, id).await?;
            format!("{name} is ended. What still stands is sent now.")
        }
        "delete" => {
            api::delete(app, by, id, Expected(None)).await?;
            format!("{name} is deleted.")
        }
        _ => return Err(Failure::NotFound),
    };
    pages.notices.say(&visitor, false, text);
    Ok(see("/maintenance"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_a_window_that_comes_once_or_again() {
        let fields = |repeats: &str, start: &str| Fields {
            name: " a ".to_owned(),
            selector: "team=a".to_owned(),
            repeats: repeats.to_owned(),
            rule: "FREQ=WEEKLY;BYDAY=SU".to_owned(),
            start: start.to_owned(),
            duration: "1h".to_owned(),
            ..Fields::default()
        };
        let at = "2026-11-29T02:00";
        for (fields, when) in [
            (fields("", ""), json!({"duration": "1h"})),
            (
                fields("once", at),
                json!({"duration": "1h", "start": at, "timezone": "UTC"}),
            ),
            (
                fields("daily", at),
                json!({"duration": "1h", "start": at, "timezone": "UTC", "rrule": "FREQ=DAILY"}),
            ),
            (
                fields("rule", at),
                json!({"duration": "1h", "start": at, "timezone": "UTC", "rrule": "FREQ=WEEKLY;BYDAY=SU"}),
            ),
        ] {
            let document = fields.document();
            assert_eq!((&document["name"], &document["when"]), (&json!("a"), &when));
        }
    }

    #[test]
    fn an_opening_is_said_by_the_clocks_of_its_zone() {
        let open = |start: &str, end: &str| Occurrence {
            start: Time::parse(start).unwrap(),
            end: Time::parse(end).unwrap(),
        };
        for (start, end, said) in [
            (
                "2026-11-29T01:00:00Z",
                "2026-11-29T03:00:00Z",
                "Sun 29 Nov 02:00 to 04:00, Europe/Berlin",
            ),
            (
                "2026-11-29T22:30:00Z",
                "2026-11-29T23:30:00Z",
                "Sun 29 Nov 23:30 to Mon 30 Nov 00:30, Europe/Berlin",
            ),
        ] {
            assert_eq!(local(open(start, end), "Europe/Berlin"), said);
        }
    }
}
