//! The description of the API, made from the handlers themselves.

use std::sync::Arc;

use systole_wire::{Page, Problem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::routes::{
    channels, deliveries, doctor, incidents, maintenances, monitors, ping_key, schedules, tokens,
};
use crate::app::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Systole",
        description = "The management API. Lists come as `{\"items\": […], \"next\": cursor}`; pass `next` as `cursor` \
            for the page after. Times are RFC 3339 in UTC. Durations are text such as `90s`, `5m`, `1h30m` or `1d`; a \
            bare number is seconds. Unknown fields and parameters are errors. Objects that can be changed have a `rev`; \
            sent back as `If-Match: \"rev\"`, a change is refused with 412 when another one came before."
    ),
    servers((url = "/api/v1", description = "This server")),
    components(schemas(Problem, Page<systole_wire::Monitor>)),
    security(("token" = [])),
    modifiers(&Bearer),
    tags(
        (name = "monitors", description = "What is watched, and what was heard of it"),
        (name = "channels", description = "Where messages go"),
        (name = "incidents", description = "Periods in which something was wrong"),
        (name = "maintenances", description = "Windows in which something is worked on and nothing is sent"),
        (name = "deliveries", description = "Messages on their way"),
        (name = "tokens", description = "Who may use this API"),
        (name = "schedules", description = "What a schedule means"),
        (name = "ping key", description = "Check-ins by name"),
        (name = "doctor", description = "What is set up wrongly")
    )
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let description = "An API token. Roles: `viewer` reads, `editor` changes monitors and channels and acts on \
            incidents, `admin` makes tokens too.";
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(description))
            .build();
        document
            .components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The routes with their descriptions.
pub(super) fn annotated() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(monitors::create_monitor, monitors::list_monitors))
        .routes(routes!(monitors::create_monitors))
        .routes(routes!(
            monitors::read_monitor,
            monitors::update_monitor,
            monitors::replace_monitor,
            monitors::delete_monitor
        ))
        .routes(routes!(monitors::pause_monitor))
        .routes(routes!(monitors::resume_monitor))
        .routes(routes!(monitors::rotate_token))
        .routes(routes!(monitors::list_checkins))
        .routes(routes!(monitors::list_runs))
        .routes(routes!(monitors::read_history))
        .routes(routes!(monitors::list_results))
        .routes(routes!(monitors::list_monitor_events))
        .routes(routes!(channels::create_channel, channels::list_channels))
        .routes(routes!(
            channels::read_channel,
            channels::update_channel,
            channels::replace_channel,
            channels::delete_channel
        ))
        .routes(routes!(channels::test_channel))
        .routes(routes!(incidents::list_incidents))
        .routes(routes!(incidents::read_incident))
        .routes(routes!(incidents::acknowledge_incident))
        .routes(routes!(incidents::resolve_incident))
        .routes(routes!(incidents::snooze_incident))
        .routes(routes!(incidents::note_incident))
        .routes(routes!(
            maintenances::create_maintenance,
            maintenances::list_maintenances
        ))
        .routes(routes!(
            maintenances::read_maintenance,
            maintenances::update_maintenance,
            maintenances::replace_maintenance,
            maintenances::delete_maintenance
        ))
        .routes(routes!(maintenances::end_maintenance))
        .routes(routes!(deliveries::list_deliveries))
        .routes(routes!(deliveries::read_delivery))
        .routes(routes!(deliveries::replay_delivery))
        .routes(routes!(tokens::create_token, tokens::list_tokens))
        .routes(routes!(tokens::delete_token))
        .routes(routes!(schedules::preview_schedule))
        .routes(routes!(ping_key::read_ping_key, ping_key::make_ping_key))
        .routes(routes!(doctor::read_doctor))
}

/// The whole description.
pub fn openapi() -> utoipa::openapi::OpenApi {
    annotated().into_openapi()
}
