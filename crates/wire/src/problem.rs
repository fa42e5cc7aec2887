//! Errors as RFC 9457 describes them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The content type of a [`Problem`].
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error reply (RFC 9457). `code` is stable and for programs; `detail` is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A URI reference that names the kind of problem; `about:blank` where the status says it all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The kind of problem in a few words, the same for every occurrence.
    #[serde(default)]
    #[schema(example = "Unprocessable Content")]
    pub title: String,
    /// The HTTP status, repeated.
    #[serde(default)]
    #[schema(example = 422)]
    pub status: u16,
    /// What was wrong this time, and what to do about it.
    #[serde(default)]
    pub detail: String,
    /// A stable word for programs.
    #[serde(default)]
    #[schema(example = "invalid")]
    pub code: String,
    /// Every wrong field of the request, empty where the problem is not about fields.
    #[serde(default)]
    pub errors: Vec<FieldError>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// One wrong field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// The path of the field, for example `schedule.timezone` or `channels[1]`; empty for the whole body.
    #[schema(example = "schedule.timezone")]
    pub field: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl FieldError {
    /// An error at `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError {
            field: field.into(),
            message: message.into(),
        }
    }
}

impl std::fmt::Display for FieldError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.field, self.message)
        }
    }
}

impl Problem {
    /// A problem without field errors.
    pub fn new(status: u16, title: &str, code: &str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: about_blank(),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            errors: Vec::new(),
        }
    }

    /// The problem of a request with wrong fields: status 422, code `invalid`.
    pub fn invalid(errors: Vec<FieldError>) -> Problem {
        let detail = match errors.as_slice() {
            [one] => one.to_string(),
            many => format!("{} fields are wrong; see errors", many.len()),
        };
        Problem {
            errors,
            ..Problem::new(422, "Unprocessable Content", "invalid", detail)
        }
    }
}
