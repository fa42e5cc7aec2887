//! Text with a form of its own.

use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// A length of time as text: `90s`, `5m`, `1h30m`, `1d` (24 h), `30 minutes`. A bare number is seconds.
///
/// Only its type is checked here; the server reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(value_type = String, example = "5m")]
pub struct DurationText(pub String);

impl DurationText {
    /// The text as it was given; a number that was given is its decimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for DurationText {
    fn from(text: &str) -> DurationText {
        DurationText(text.to_owned())
    }
}

impl std::fmt::Display for DurationText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            Number(serde_json::Number),
        }
        Ok(DurationText(match Given::deserialize(deserializer)? {
            Given::Text(text) => text,
            Given::Number(number) => number.to_string(),
        }))
    }
}

/// Reads a field that is there, `null` or not; with `#[serde(default)]` this keeps `null` and absent apart.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
