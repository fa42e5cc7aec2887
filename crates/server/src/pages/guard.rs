//! Around every page: who asks, whether a change comes from a page of ours, the headers, failures as pages.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Pages;
use super::reply::{Failure, add_headers, failure_page};
use super::visitor;
use crate::auth::is_same_origin;

/// See the module.
pub(super) async fn guard(
    State(pages): State<Arc<Pages>>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_page =
        !request.uri().path().starts_with("/static/") && request.uri().path() != "/favicon.ico";
    let mut visitor = None;
    let mut response = 'reply: {
        if is_page {
            match visitor::of(&pages.app, request.headers()).await {
                Ok(found) => visitor = found,
                Err(error) => break 'reply Failure::from(error).into_response(),
            }
        }
        if !request.method().is_safe() && !is_same_origin(request.headers(), &pages.app.base_url) {
            break 'reply foreign().into_response();
        }
        if let Some(visitor) = &visitor {
            request.extensions_mut().insert(visitor.clone());
        }
        next.run(request).await
    };
    if let Some(failure) = response.extensions_mut().remove::<Arc<Failure>>() {
        response = failure_page(&pages, visitor.as_ref(), &failure).await;
    } else if is_plain_refusal(&response) {
        // axum's own words for a form that it cannot read.
        let failure = Failure::Refused(
            response.status(),
            "This form cannot be read".to_owned(),
            "Go back, load the page again, and try once more.".to_owned(),
        );
        response = failure_page(&pages, visitor.as_ref(), &failure).await;
    }
    add_headers(&mut response);
    response
}

/// A refusal that no handler of ours made: words, not a page.
fn is_plain_refusal(response: &Response) -> bool {
    let content_type = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    response.status().is_client_error()
        && content_type.is_some_and(|kind| kind.starts_with("text/plain"))
}

fn foreign() -> Failure {
    Failure::Refused(
        StatusCode::FORBIDDEN,
        "This was not sent by a page of Systole".to_owned(),
        "Nothing was changed. If you pressed a button here: reach the server by the address in --base-url, or let the \
         proxy before it pass the Host header on."
            .to_owned(),
    )
}

/// Of no route.
pub(super) async fn no_such_page() -> Failure {
    Failure::NotFound
}

/// Of a route, but not so.
pub(super) async fn wrong_method(method: Method) -> Failure {
    Failure::Refused(
        StatusCode::METHOD_NOT_ALLOWED,
        "This address takes no such request".to_owned(),
        format!("It was a {method}. Go back to the overview."),
    )
}
