//! Ids, cursors and queries of lists, as they stand in URLs: one text that is read as each of them.

use systole_core::engine::MonitorId;
use systole_server::api::deliveries::read_query;
use systole_server::api::history::CheckinCursor;
use systole_server::api::incidents::IncidentQuery;
use systole_server::api::monitors::MonitorQuery;
use systole_server::api::{
    ApiError, Query, channel_id, parse_channel_id, parse_incident_id, parse_monitor_id,
};
use systole_server::compose::{incident_id, monitor_id};
use systole_server::pages;

use super::is_said;

pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    // An object has one id, so that no two texts are the same page.
    if let Some(id) = parse_monitor_id(text) {
        assert_eq!(monitor_id(id), text);
    }
    if let Some(id) = parse_channel_id(text) {
        assert_eq!(channel_id(id), text);
    }
    if let Some(number) = parse_incident_id(text) {
        assert!(incident_id(number) == text || number.to_string() == text);
    }
    if let Some(cursor) = CheckinCursor::parse(text) {
        assert_eq!(CheckinCursor::parse(&cursor.text()), Some(cursor));
    }
    if let Some(place) = pages::parse_cursor(text) {
        let (_, id): (_, MonitorId) = place;
        assert_eq!(
            pages::parse_cursor(&pages::cursor(place)),
            Some(place),
            "{id}"
        );
    }
    let limits = [
        told(MonitorQuery::read(Query::of(text))).map(|query| query.limit),
        told(IncidentQuery::read(Query::of(text))).map(|query| query.limit),
        told(read_query(Query::of(text))).map(|query| query.limit),
    ];
    for limit in limits.into_iter().flatten() {
        assert!((1..=500).contains(&limit), "a page of {limit}");
    }
}

/// What is refused is told, parameter by parameter.
fn told<T>(read: Result<T, ApiError>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            let errors = &error.problem().errors;
            assert!(!errors.is_empty());
            for error in errors {
                is_said(&error.message, 1_000);
            }
            None
        }
    }
}
