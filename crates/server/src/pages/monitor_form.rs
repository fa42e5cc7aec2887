//! A new heartbeat, an edited one.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use systole_core::schedule::Schedule;
use systole_core::time::Span;
use systole_store::monitors::MonitorRow;
use systole_wire::{FieldError, MonitorInput, MonitorPatch};

use super::frame::Says;
use super::reply::{Failure, Reply, invalid, page, see, sentence};
use super::visitor::Visitor;
use super::{Pages, frame};
use crate::api::ApiError;
use crate::api::making;
use crate::api::monitors as api;
use crate::api::parse_monitor_id;
use crate::api::{Expected, read};
use crate::compose::monitor_id;
use crate::web::render;
use crate::web::views::{FormError, MonitorFormView};

/// The fields of both forms.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub struct Fields {
    name: String,
    schedule: String,
    timezone: String,
    grace: String,
    rev: String,
}

impl Fields {
    fn of(row: &MonitorRow) -> Fields {
        let settings = &row.fields.settings;
        let (schedule, timezone) = match &settings.schedule {
            Schedule::Every(period) => (period.to_string(), String::new()),
            Schedule::Cron(cron) => (cron.expression().to_owned(), cron.timezone().to_owned()),
        };
        Fields {
            name: row.fields.name.clone(),
            schedule,
            timezone,
            grace: settings.grace.to_string(),
            rev: row.rev.to_string(),
        }
    }

    /// A period where it reads as one, else cron. A time zone is cron's; beside a period it means nothing.
    fn schedule(&self, dialect: Option<&str>) -> Value {
        let text = self.schedule.trim();
        if Span::parse(text).is_ok()
            || !(text.contains(char::is_whitespace) || text.starts_with('@'))
        {
            return json!({"every": text});
        }
        let mut cron = json!({"cron": text});
        let zone = self.timezone.trim();
        if !zone.is_empty() {
            cron["timezone"] = zone.into();
        }
        if let Some(dialect) = dialect {
            cron["dialect"] = dialect.into();
        }
        cron
    }

    /// As the API takes it. An edited schedule stays in its `dialect`.
    pub fn document(&self, dialect: Option<&str>) -> Value {
        let mut document = json!({"name": self.name.trim(), "schedule": self.schedule(dialect)});
        if !self.grace.trim().is_empty() {
            document["grace"] = self.grace.trim().into();
        }
        document
    }
}

/// `GET /monitors/new`.
pub(super) async fn show_new(State(pages): State<Arc<Pages>>, visitor: Visitor) -> Reply {
    visitor.editor()?;
    let view = view(&pages, &visitor, None, &Fields::default(), Vec::new()).await?;
    Ok(page(StatusCode::OK, render::monitor_form(&view)))
}

/// `POST /monitors`.
pub(super) async fn create(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Form(fields): Form<Fields>,
) -> Reply {
    let by = visitor.editor()?;
    let mut document = fields.document(None);
    document["kind"] = "heartbeat".into();
    let made = match read::<MonitorInput>(document) {
        Ok(input) => making::create(&pages.app, by, input).await,
        Err(error) => Err(error),
    };
    match made {
        Ok(monitor) => {
            let text = "The heartbeat is made. Paste one of the lines below where the job runs; it is watched from its first \
                        check-in on.";
            pages.notices.say(&visitor, false, text);
            Ok(see(&format!("/monitors/{}", monitor.id)))
        }
        Err(error) => {
            let view = view(&pages, &visitor, None, &fields, errors(error)?).await?;
            Ok(invalid(render::monitor_form(&view)))
        }
    }
}

/// `GET /monitors/{id}/edit`.
pub(super) async fn show_edit(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Reply {
    visitor.editor()?;
    let row = row(&pages, &visitor, &id).await?;
    let view = view(&pages, &visitor, Some(&row), &Fields::of(&row), Vec::new()).await?;
    Ok(page(StatusCode::OK, render::monitor_form(&view)))
}

/// `POST /monitors/{id}/edit`.
pub(super) async fn edit(
    State(pages): State<Arc<Pages>>,
    visitor: Visitor,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Reply {
    let by = visitor.editor()?;
    let row = row(&pages, &visitor, &id).await?;
    let dialect = match &row.fields.settings.schedule {
        Schedule::Cron(cron) => Some(cron.dialect().to_string()),
        Schedule::Every(_) => None,
    };
    let expected = Expected(fields.rev.parse().ok());
    let edited = match read::<MonitorPatch>(fields.document(dialect.as_deref())) {
        Ok(patch) => api::update(&pages.app, by, row.id, expected, patch).await,
        Err(error) => Err(error),
    };
    match edited {
        Ok(monitor) => {
            pages.notices.say(
                &visitor,
                false,
                format!("{} is saved.", monitor.common.name),
            );
            Ok(see(&format!("/monitors/{}", monitor.id)))
        }
        Err(error) if error.status() == StatusCode::PRECONDITION_FAILED => {
            let text = "Somebody else has changed it since you opened this form. Below is what you typed; save again to \
                        overwrite, or open the monitor to see what it is now.";
            let errors = vec![FormError {
                field: "",
                text: text.into(),
            }];
            let fields = Fields {
                rev: row.rev.to_string(),
                ..fields
            };
            let view = view(&pages, &visitor, Some(&row), &fields, errors).await?;
            Ok(page(StatusCode::CONFLICT, render::monitor_form(&view)))
        }
        Err(error) => {
            let view = view(&pages, &visitor, Some(&row), &fields, errors(error)?).await?;
            Ok(invalid(render::monitor_form(&view)))
        }
    }
}

async fn row(pages: &Pages, visitor: &Visitor, id: &str) -> Result<MonitorRow, Failure> {
    let id = parse_monitor_id(id).ok_or(Failure::NotFound)?;
    pages
        .app
        .store
        .monitor(visitor.project(), id)
        .await?
        .ok_or(Failure::NotFound)
}

async fn view(
    pages: &Pages,
    visitor: &Visitor,
    row: Option<&MonitorRow>,
    fields: &Fields,
    errors: Vec<FormError>,
) -> Result<MonitorFormView, Failure> {
    Ok(MonitorFormView {
        frame: frame::frame(pages, visitor, Says::Nothing).await?,
        id: row.map(|row| monitor_id(row.id)),
        rev: fields.rev.clone(),
        name: fields.name.clone().into(),
        schedule: fields.schedule.clone().into(),
        timezone: fields.timezone.clone().into(),
        grace: fields.grace.clone().into(),
        errors,
    })
}

/// Errors of fields stand beside them; others have a page of their own.
fn errors(error: ApiError) -> Result<Vec<FormError>, Failure> {
    if error.problem().errors.is_empty() {
        return Err(error.into());
    }
    let form = error.problem().errors.iter().map(|error| {
        let field = match error.field.as_str() {
            "name" | "slug" => "name",
            "schedule.timezone" => "timezone",
            "grace" => "grace",
            path if path.starts_with("schedule") => "schedule",
            _ => "",
        };
        FormError {
            field,
            text: of_field(error).into(),
        }
    });
    Ok(form.collect())
}

/// The API's words begin with a verb where they speak of the field.
pub(super) fn of_field(error: &FieldError) -> String {
    let name = error.field.rsplit('.').next().unwrap_or_default();
    // Of a cron expression further lines point at the place, which needs letters of one width.
    let message = error.message.lines().next().unwrap_or_default();
    let is_of_field = ["is ", "has ", "must ", "cannot ", "can ", "needs "]
        .iter()
        .any(|verb| message.starts_with(verb));
    if is_of_field && !name.is_empty() {
        sentence(&format!("the {name} {message}"))
    } else {
        sentence(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_a_period_or_cron_by_its_look() {
        for (schedule, timezone, document) in [
            ("1d", "Europe/Oslo", json!({"every": "1d"})),
            ("30 minutes", "", json!({"every": "30 minutes"})),
            ("soon", "", json!({"every": "soon"})),
            (" 0 2 * * * ", "", json!({"cron": "0 2 * * *"})),
            (
                "@daily",
                "Europe/Oslo",
                json!({"cron": "@daily", "timezone": "Europe/Oslo"}),
            ),
        ] {
            let fields = Fields {
                schedule: schedule.to_owned(),
                timezone: timezone.to_owned(),
                ..Fields::default()
            };
            assert_eq!(fields.schedule(None), document, "{schedule}");
        }
    }

    #[test]
    fn an_error_reads_as_a_sentence() {
        for (field, message, text) in [
            (
                "name",
                "is taken by another monitor",
                "The name is taken by another monitor.",
            ),
            (
                "schedule.every",
                "\"soon\" is not a duration",
                "\"soon\" is not a duration.",
            ),
            (
                "schedule.cron",
                "hour 25 is too large\n0 25 * * *\n  ^^",
                "Hour 25 is too large.",
            ),
            ("", "is wrong", "Is wrong."),
        ] {
            assert_eq!(of_field(&FieldError::new(field, message)), text);
        }
    }
}
