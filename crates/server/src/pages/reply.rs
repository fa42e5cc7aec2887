//! Replies: pages, redirects, and what went wrong as a page.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use systole_store::Error;

use super::Pages;
use super::frame;
use super::visitor::Visitor;
use crate::api::ApiError;
use crate::web::{assets, render, views};

/// What a handler gives: a page, or the page that says why not.
pub(super) type Reply = Result<Response, Failure>;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing has this address, or it is none of this person's business.
    NotFound,
    /// They may look only.
    Forbidden,
    /// What they asked is refused: status, what, what to do.
    Refused(StatusCode, String, String),
    /// Something of ours: what was attempted, for the log.
    Internal(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Internal(crate::chain(&error))
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Failure {
        let problem = error.problem();
        match error.status() {
            StatusCode::NOT_FOUND => Failure::NotFound,
            StatusCode::FORBIDDEN => Failure::Forbidden,
            status if status.is_server_error() => Failure::Internal(problem.detail.clone()),
            status => Failure::Refused(
                status,
                "This did not work".to_owned(),
                sentence(&problem.detail),
            ),
        }
    }
}

/// The API's words as a sentence.
pub(super) fn sentence(detail: &str) -> String {
    let mut letters = detail.chars();
    let capital = letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>())
        .unwrap_or_default();
    let end = if detail.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    format!("{capital}{}{end}", letters.as_str())
}

impl From<crate::keys::KeyError> for Failure {
    fn from(error: crate::keys::KeyError) -> Failure {
        Failure::Internal(crate::chain(&error))
    }
}

impl From<super::password::HashError> for Failure {
    fn from(error: super::password::HashError) -> Failure {
        Failure::Internal(error.to_string())
    }
}

/// Carried to [`super::guard::guard`], which knows who asked and so what the page looks like around the words.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

/// A page.
pub(super) fn page(status: StatusCode, html: String) -> Response {
    (status, Html(html)).into_response()
}

/// The same page again, with what was wrong.
pub(super) fn invalid(html: String) -> Response {
    page(StatusCode::UNPROCESSABLE_ENTITY, html)
}

/// To the page where the result is seen.
pub(super) fn see(path: &str) -> Response {
    let to = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// What every reply of the pages bears.
pub(super) fn add_headers(response: &mut Response) {
    let is_static = response.headers().contains_key(header::CACHE_CONTROL);
    for (name, value) in assets::SECURITY_HEADERS {
        let of_pages = matches!(name, "cache-control" | "content-type");
        if !(is_static && of_pages) {
            response.headers_mut().insert(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
    }
}

/// The page of a failure. What is ours to mend goes to the log, under the name that the page says.
pub(super) async fn failure_page(
    pages: &Pages,
    visitor: Option<&Visitor>,
    failure: &Failure,
) -> Response {
    let (status, title, detail) = match failure {
        Failure::NotFound => (
            StatusCode::NOT_FOUND,
            "There is no such page".to_owned(),
            "What it showed may have been deleted.".to_owned(),
        ),
        Failure::Forbidden => (
            StatusCode::FORBIDDEN,
            "You may look, not change".to_owned(),
            "Ask an administrator for the role of an editor.".to_owned(),
        ),
        Failure::Refused(status, title, detail) => (*status, title.clone(), detail.clone()),
        Failure::Internal(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "This did not work".to_owned(),
            "The fault is the server’s, and its log says what it is. Check-ins and alerts go on as far as they can; \
             /readyz says how it is."
                .to_owned(),
        ),
    };
    let mut request_id = String::new();
    if let Failure::Internal(why) = failure {
        request_id = crate::keys::random::<4>().map_or_else(
            |_| String::new(),
            |bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        );
        tracing::error!(
            request = request_id,
            error = why,
            "a page could not be made"
        );
    }
    let view = views::ErrorView {
        // The database may be what fails, so nothing is asked of it.
        frame: frame::bare(pages, visitor),
        status: status.as_u16(),
        title: title.into(),
        detail: detail.into(),
        request_id: request_id.into(),
    };
    page(status, render::error(&view))
}
