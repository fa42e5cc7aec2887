//! `/incidents`.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use systole_wire::strict::{Object, Read};
use systole_wire::{AcknowledgeInput, FieldError, Incident, NoteInput, Page, rules};
use utoipa::ToSchema;

use super::{Reply, created, ok};
use crate::api::ApiError;
use crate::api::extract::{Input, OptionalInput, Query};
use crate::api::ids::IncidentPath;
use crate::api::incidents::{self, IncidentQuery};
use crate::app::App;
use crate::auth::{Editor, Viewer};

/// Says that an incident is over.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct ResolveInput {
    /// A word for the timeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Read for ResolveInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<ResolveInput> {
        let mut object = Object::open(value, path, errors)?;
        let note: Option<String> = object.optional("note");
        object.check("note", note.as_deref(), rules::prose);
        object.finish();
        Some(ResolveInput { note })
    }
}

/// List incidents
///
/// Newest first.
#[utoipa::path(get, path = "/incidents", tag = "incidents",
    params(
        ("state" = Option<String>, Query, description = "Only these: open, triggered, acknowledged or resolved"),
        ("monitor" = Option<String>, Query, description = "Only of this monitor, by its id"),
        ("limit" = Option<u32>, Query, description = "Items of a page, 1 to 500; 50 where it is left out"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, description = "A page", body = Page<Incident>), ApiError))]
pub async fn list_incidents(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    query: Query,
) -> Reply {
    ok(&incidents::list(&app, &by, &IncidentQuery::read(query)?).await?)
}

/// Read an incident
///
/// With its timeline.
#[utoipa::path(get, path = "/incidents/{id}", tag = "incidents",
    params(("id" = String, Path, description = "The id of the incident, or its number")),
    responses((status = 200, description = "The incident", body = Incident), ApiError))]
pub async fn read_incident(
    State(app): State<Arc<App>>,
    Viewer(by): Viewer,
    IncidentPath(number): IncidentPath,
) -> Reply {
    ok(&incidents::read(&app, &by, number).await?)
}

/// Acknowledge an incident
///
/// Says that somebody looks after it; it is not said again. One that is not open is refused with 409.
#[utoipa::path(post, path = "/incidents/{id}/acknowledge", tag = "incidents", request_body = Option<AcknowledgeInput>,
    params(("id" = String, Path, description = "The id of the incident, or its number")),
    responses((status = 200, description = "As it is now", body = Incident), ApiError))]
pub async fn acknowledge_incident(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    IncidentPath(number): IncidentPath,
    OptionalInput(input): OptionalInput<AcknowledgeInput>,
) -> Reply {
    if input.timeout.is_some() {
        return Err(ApiError::field(
            "timeout",
            "acknowledgements that lapse are not built yet; leave it out",
        ));
    }
    ok(&incidents::acknowledge(&app, &by, number, input.note).await?)
}

/// Resolve an incident
///
/// Says that it is over. One that is not open is refused with 409.
#[utoipa::path(post, path = "/incidents/{id}/resolve", tag = "incidents", request_body = Option<ResolveInput>,
    params(("id" = String, Path, description = "The id of the incident, or its number")),
    responses((status = 200, description = "As it is now", body = Incident), ApiError))]
pub async fn resolve_incident(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    IncidentPath(number): IncidentPath,
    OptionalInput(input): OptionalInput<ResolveInput>,
) -> Reply {
    ok(&incidents::resolve(&app, &by, number, input.note).await?)
}

/// Snooze an incident
///
/// Not built yet.
#[utoipa::path(post, path = "/incidents/{id}/snooze", tag = "incidents",
    params(("id" = String, Path, description = "The id of the incident, or its number")),
    responses((status = 501, description = "Not built yet", body = systole_wire::Problem, content_type = "application/problem+json"), ApiError))]
pub async fn snooze_incident(_: Editor) -> ApiError {
    ApiError::not_built("snoozing is")
}

/// Write something down
///
/// On the timeline of an incident that is open, or has been over for less than five minutes.
#[utoipa::path(post, path = "/incidents/{id}/note", tag = "incidents", request_body = NoteInput,
    params(("id" = String, Path, description = "The id of the incident, or its number")),
    responses((status = 201, description = "As it is now", body = Incident), ApiError))]
pub async fn note_incident(
    State(app): State<Arc<App>>,
    Editor(by): Editor,
    IncidentPath(number): IncidentPath,
    Input(input): Input<NoteInput>,
) -> Reply {
    let incident = incidents::note(&app, &by, number, input.text).await?;
    created(&format!("incidents/{}", incident.id), None, &incident)
}
