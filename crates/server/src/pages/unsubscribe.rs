//! The page behind the unsubscribe link of letters: for whoever has the link, without signing in.

use std::sync::Arc;

use axum::extract::{Extension, Form, Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::Pages;
use super::door::is_email;
use super::frame;
use super::reply::{Failure, Reply, invalid, page};
use super::visitor::Visitor;
use crate::api::unsubscribe::{self as api, TakenOff};
use crate::listen::Peer;
use crate::web::render;
use crate::web::views::{FormError, UnsubscribeView};

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct UnsubscribeForm {
    address: String,
}

/// The channel of a link, and the page for it. A link of a channel that is gone is as good as none.
async fn of_link(
    pages: &Pages,
    visitor: Option<&Visitor>,
    token: &str,
) -> Result<(i64, UnsubscribeView), Failure> {
    let channel = pages.app.keys.unsubscribed_channel(token);
    let channel = channel.ok_or(Failure::NotFound)?;
    let from = api::sender(&pages.app, channel).await?;
    let view = UnsubscribeView {
        frame: frame::bare(pages, visitor),
        token: token.to_owned(),
        from: from.ok_or(Failure::NotFound)?.into(),
        address: "".into(),
        errors: Vec::new(),
        done: false,
    };
    Ok((channel, view))
}

/// `GET /unsubscribe/{token}`.
pub(super) async fn show(
    State(pages): State<Arc<Pages>>,
    visitor: Option<Extension<Visitor>>,
    Path(token): Path<String>,
) -> Reply {
    let (_, view) = of_link(&pages, visitor.as_deref(), &token).await?;
    Ok(page(StatusCode::OK, render::unsubscribe(&view)))
}

/// `POST /unsubscribe/{token}`. Says the same whether or not the address was a recipient.
pub(super) async fn take_off(
    State(pages): State<Arc<Pages>>,
    visitor: Option<Extension<Visitor>>,
    Extension(Peer(peer)): Extension<Peer>,
    Path(token): Path<String>,
    Form(form): Form<UnsubscribeForm>,
) -> Reply {
    let (channel, mut view) = of_link(&pages, visitor.as_deref(), &token).await?;
    let address = form.address.trim().to_owned();
    view.address = address.clone().into();
    let wrong = |field, text: String| {
        vec![FormError {
            field,
            text: text.into(),
        }]
    };
    let account = address.to_lowercase();
    if let Err(wait) = pages.unsubscribes.begin(&account, peer, pages.app.now()) {
        let seconds = wait.as_seconds().max(1);
        view.errors = wrong("", format!("Too many tries. Try again in {seconds} s."));
        let mut response = page(StatusCode::TOO_MANY_REQUESTS, render::unsubscribe(&view));
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        return Ok(response);
    }
    if !is_email(&address) {
        let text = "This is not an e-mail address; it looks like name@example.org.";
        view.errors = wrong("address", text.to_owned());
        return Ok(invalid(render::unsubscribe(&view)));
    }
    match api::take_off(&pages.app, channel, &address).await? {
        TakenOff::NoChannel => return Err(Failure::NotFound),
        TakenOff::OnlyOneLeft => {
            let text = "This list has one address left, and nobody else would be told. Ask an administrator to take it off.";
            view.errors = wrong("", text.to_owned());
            let html = render::unsubscribe(&view);
            return Ok(page(StatusCode::CONFLICT, html));
        }
        TakenOff::NotThere => {}
        TakenOff::Done(address) => {
            tracing::warn!(channel, address, %peer, "an address was taken off a channel by its unsubscribe link");
            // Nobody waits for a mail server here, nor learns by the wait whether there was an address.
            tokio::spawn(async move {
                if let Err(error) = api::say_farewell(&pages.app, channel, &address).await {
                    tracing::warn!(
                        channel,
                        address,
                        error,
                        "cannot tell an address that it was taken off a channel"
                    );
                }
            });
        }
    }
    view.done = true;
    Ok(page(StatusCode::OK, render::unsubscribe(&view)))
}
