//! The types make schemas that describe what they write.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::{OpenApi, PartialSchema, ToSchema};

fn schema<T: ToSchema>() -> Value {
    let mut components = Vec::new();
    T::schemas(&mut components);
    components.push((T::name().into_owned(), T::schema()));
    serde_json::to_value(
        ComponentsBuilder::new()
            .schemas_from_iter(components)
            .build(),
    )
    .unwrap()
}

fn text_of<T: PartialSchema>() -> String {
    serde_json::to_string(&T::schema()).unwrap()
}

#[test]
fn a_monitor_refers_to_all_of_its_parts() {
    let whole = schema::<systole_wire::Monitor>();
    for part in [
        "Monitor",
        "MonitorCommon",
        "MonitorDetail",
        "HeartbeatSpec",
        "HeartbeatStatus",
        "ScheduleSpec",
        "Dialect",
    ] {
        assert!(
            whole["schemas"].get(part).is_some(),
            "{part} is missing from {whole}"
        );
    }
    let input = schema::<systole_wire::MonitorInput>();
    assert!(input["schemas"].get("HeartbeatInput").is_some(), "{input}");
}

#[test]
fn durations_are_strings_and_times_are_date_times() {
    assert!(text_of::<systole_wire::DurationText>().contains("\"type\":\"string\""));
    assert!(text_of::<systole_wire::Checkin>().contains("\"format\":\"date-time\""));
}

#[test]
fn a_page_of_something_is_named_for_it() {
    #[derive(OpenApi)]
    #[openapi(components(schemas(systole_wire::Page<systole_wire::Channel>)))]
    struct Document;
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let schemas = &document["components"]["schemas"];
    assert!(
        schemas.get("Page_Channel").is_some() && schemas.get("Warning").is_some(),
        "{schemas}"
    );
}
