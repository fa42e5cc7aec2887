//! Many monitors in one request.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::monitor::{Monitor, MonitorInput};
use crate::problem::FieldError;
use crate::strict::{Object, Read, mistyped};

/// The most monitors of one request.
pub const MOST_ITEMS: usize = 1_000;
/// The most bytes of one request.
pub const MOST_BYTES: usize = 4 << 20;

/// Monitors to make: all of them, or none where one of them cannot be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MonitorsInput {
    /// Each as for one monitor. They are kept as they came: one that is wrong must not hide what is wrong with the others.
    #[schema(value_type = Vec<MonitorInput>, min_items = 1, max_items = 1000)]
    pub items: Vec<Value>,
}

impl Read for MonitorsInput {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<MonitorsInput> {
        let mut object = Object::open(value, path, errors)?;
        let items = object.required::<Items>("items");
        object.check("items", items.as_ref(), |items| match items.0.len() {
            0 => Err(format!("is empty; there can be 1 to {MOST_ITEMS}")),
            1..=MOST_ITEMS => Ok(()),
            more => Err(format!(
                "has {more} monitors; there can be {MOST_ITEMS} in one request, so send several"
            )),
        });
        object.finish();
        items.map(|Items(items)| MonitorsInput { items })
    }
}

struct Items(Vec<Value>);

impl Read for Items {
    fn read(value: Value, path: &str, errors: &mut Vec<FieldError>) -> Option<Items> {
        match value {
            Value::Array(items) => Some(Items(items)),
            other => {
                errors.push(mistyped(path, "a list of monitors", &other));
                None
            }
        }
    }
}

/// The monitors that were made, in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MonitorsCreated {
    /// Each as the reply to one would show it.
    pub items: Vec<Monitor>,
}

/// The place of an item, for errors.
pub fn item_path(index: usize) -> String {
    format!("items[{index}]")
}

/// Takes the place of an item off an error's field: which item, and the field within it.
pub fn item_of(field: &str) -> Option<(usize, &str)> {
    let (index, rest) = field.strip_prefix("items[")?.split_once(']')?;
    Some((index.parse().ok()?, rest.strip_prefix('.').unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_item_is_put_on_and_taken_off() {
        assert_eq!(item_path(7), "items[7]");
        for (field, found) in [
            ("items[7].schedule.cron", Some((7, "schedule.cron"))),
            ("items[0]", Some((0, ""))),
            ("items[3].channels[1]", Some((3, "channels[1]"))),
            ("items", None),
            ("items[x].name", None),
            ("name", None),
        ] {
            assert_eq!(item_of(field), found, "{field}");
        }
    }
}
