//! Ids as they stand in URLs and replies: a prefix that says of what, and a number.

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use systole_core::engine::MonitorId;

use super::ApiError;
use crate::compose::parse_id;

/// The id of a channel.
pub fn channel_id(id: i64) -> String {
    format!("chn_{id}")
}

/// The id of a delivery.
pub fn delivery_id(id: i64) -> String {
    format!("dlv_{id}")
}

/// The id of a maintenance.
pub fn maintenance_id(id: i64) -> String {
    format!("mnt_{id}")
}

/// The maintenance of an id.
pub fn parse_maintenance_id(text: &str) -> Option<i64> {
    parse_id(text, "mnt")
}

/// The id of an API token.
pub fn token_id(id: i64) -> String {
    format!("tok_{id}")
}

/// The channel of an id.
pub fn parse_channel_id(text: &str) -> Option<i64> {
    parse_id(text, "chn")
}

/// The monitor of an id.
pub fn parse_monitor_id(text: &str) -> Option<MonitorId> {
    parse_id(text, "mon")
}

/// The incident of an id; people may write its bare number.
pub fn parse_incident_id(text: &str) -> Option<u64> {
    parse_id(text, "inc").or_else(|| parse_id(&format!("inc_{text}"), "inc"))
}

macro_rules! path_ids {
    ($($name:ident($number:ty), $what:literal, $parse:expr;)*) => {$(
        #[doc = concat!("The ", $what, " that a path names as `{id}`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name(pub $number);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = ApiError;
            async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<$name, ApiError> {
                let parameters = RawPathParams::from_request_parts(parts, state).await.ok();
                let id = parameters.and_then(|all| all.iter().find(|(name, _)| *name == "id").and_then(|(_, id)| $parse(id)));
                id.map($name).ok_or_else(|| ApiError::not_found($what))
            }
        }
    )*};
}

path_ids! {
    MonitorPath(MonitorId), "monitor", parse_monitor_id;
    ChannelPath(i64), "channel", parse_channel_id;
    MaintenancePath(i64), "maintenance", parse_maintenance_id;
    IncidentPath(u64), "incident", parse_incident_id;
    DeliveryPath(i64), "delivery", |id: &str| parse_id(id, "dlv");
    TokenPath(i64), "token", |id: &str| parse_id(id, "tok");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_goes_by_its_id_or_its_number() {
        for (text, number) in [
            ("inc_12", Some(12)),
            ("12", Some(12)),
            ("mon_12", None),
            ("012", None),
            ("", None),
        ] {
            assert_eq!(parse_incident_id(text), number, "{text}");
        }
        assert_eq!(parse_channel_id(&channel_id(7)), Some(7));
    }
}
