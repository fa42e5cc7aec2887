//! What the API answers when it refuses: RFC 9457 problems.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use systole_core::time::Span;
use systole_wire::{FieldError, Problem};
use utoipa::openapi::{Content, Ref, RefOr, ResponseBuilder};

use crate::keys::KeyError;
use crate::principals::Role;

/// A request that is refused, and why.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    wait: Option<Span>,
}

impl ApiError {
    /// With the status' own words as its title.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> ApiError {
        let title = status.canonical_reason().unwrap_or("Error");
        Problem::new(status.as_u16(), title, code, detail).into()
    }

    /// Wrong fields of a body.
    pub fn invalid(errors: Vec<FieldError>) -> ApiError {
        Problem::invalid(errors).into()
    }

    /// One wrong field of a body.
    pub fn field(field: &str, message: impl Into<String>) -> ApiError {
        ApiError::invalid(vec![FieldError::new(field, message)])
    }

    /// Wrong parameters of a query.
    pub fn query(errors: Vec<FieldError>) -> ApiError {
        let detail = errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        let mut error = ApiError::new(StatusCode::BAD_REQUEST, "invalid_query", detail);
        error.problem.errors = errors;
        error
    }

    /// There is no such object here, or it belongs to somebody else.
    pub fn not_found(what: &str) -> ApiError {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no such {what}"),
        )
    }

    /// It contradicts what is.
    pub fn conflict(code: &str, detail: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code, detail)
    }

    /// A name, slug or token is in use.
    pub fn taken(field: &str, what: &str) -> ApiError {
        ApiError::all_taken(vec![field.to_owned()], what)
    }

    /// Several are in use.
    pub fn all_taken(fields: Vec<String>, what: &str) -> ApiError {
        let message = format!("is taken by another {what}");
        let detail = match fields.as_slice() {
            [field] => format!("{field} {message}; choose another"),
            many => format!(
                "{} fields are taken by another {what}; see errors",
                many.len()
            ),
        };
        let mut error = ApiError::conflict("taken", detail);
        let errors = fields.into_iter();
        error.problem.errors = errors
            .map(|field| FieldError::new(field, message.clone()))
            .collect();
        error
    }

    /// The object has changed since it was read.
    pub fn changed_meanwhile(rev: i64) -> ApiError {
        let detail = format!("it is at revision {rev}, not at the one of If-Match; read it again");
        ApiError::new(StatusCode::PRECONDITION_FAILED, "changed_meanwhile", detail)
    }

    /// It is promised and not there yet.
    pub fn not_built(what: &str) -> ApiError {
        ApiError::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_built",
            format!("{what} not built yet"),
        )
    }

    /// Nobody is known by what was given.
    pub fn unauthorized(detail: &str) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    /// Known, and not allowed.
    pub fn forbidden(has: Role, needs: Role) -> ApiError {
        let detail = format!(
            "this takes the role {}, and yours is {}",
            needs.word(),
            has.word()
        );
        ApiError::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Too often.
    pub fn too_many(wait: Span) -> ApiError {
        let detail = "too many refused requests from this address";
        ApiError {
            wait: Some(wait),
            ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What is said.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> ApiError {
        ApiError {
            problem: Box::new(problem),
            wait: None,
        }
    }
}

impl From<systole_store::Error> for ApiError {
    fn from(error: systole_store::Error) -> ApiError {
        if let systole_store::Error::Taken { field, what } = error {
            return ApiError::taken(field, what);
        }
        tracing::error!(error = %crate::chain(&error), "a request failed");
        let detail = "the database cannot be used; the server's log says why";
        ApiError {
            wait: Some(Span::from_seconds(1)),
            ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        }
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> ApiError {
        tracing::error!(error = %crate::chain(&error), "a request failed");
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            error.to_string(),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut reply = (self.status(), axum::Json(&*self.problem)).into_response();
        let headers = reply.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(systole_wire::problem::CONTENT_TYPE),
        );
        if self.problem.status == 401 {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"systole\""),
            );
        }
        if let Some(wait) = self.wait {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_seconds().max(1)));
        }
        reply
    }
}

impl utoipa::IntoResponses for ApiError {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let problem = Content::new(Some(Ref::from_schema_name("Problem")));
        let response = ResponseBuilder::new()
            .description("Refused: `code` says why for programs, `detail` for people, `errors` names each wrong field")
            .content(systole_wire::problem::CONTENT_TYPE, problem)
            .build();
        BTreeMap::from([("default".to_owned(), RefOr::T(response))])
    }
}
