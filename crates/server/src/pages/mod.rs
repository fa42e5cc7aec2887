//! Handlers of the pages: they extract, ask the store and the engine's memory, fill a view of [`crate::web::views`], and
//! reply with what [`crate::web::render`] makes of it. Whatever changes something goes through the functions of
//! [`crate::api`], so that a page can do what a token can, by the same rules.
//!
//! Routes and form fields are listed with the views. The reads behind a page are few and bounded: an overview of a
//! million monitors asks the memory for the newest forty and the database for those.

mod attempts;
mod channel_form;
mod channels;
mod door;
mod frame;
mod guard;
mod incidents;
mod listing;
mod maintenance;
mod monitor_form;
mod monitors;
mod overview;
mod password;
mod recent;
mod reply;
mod sentences;
mod unsubscribe;
mod visitor;

pub use door::own_path;
pub use listing::{Place, cursor, parse_cursor};
pub use monitor_form::Fields as MonitorForm;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::web::assets;

/// A form is small; notes are the longest field.
const FORM_LIMIT: usize = 64 * 1024;

/// What the handlers share beside the app.
struct Pages {
    app: Arc<App>,
    attempts: attempts::Attempts,
    unsubscribes: attempts::Attempts,
    passwords: password::Passwords,
    notices: frame::NoticesToShow,
    recent: recent::Recent,
}

/// Every page.
pub fn router(app: Arc<App>) -> Router {
    let pages = Arc::new(Pages {
        app,
        attempts: attempts::Attempts::default(),
        unsubscribes: attempts::Attempts::default(),
        passwords: password::Passwords::default(),
        notices: frame::NoticesToShow::default(),
        recent: recent::Recent::default(),
    });
    Router::new()
        .route("/", get(overview::show))
        .route("/sign-in", get(door::show_sign_in).post(door::sign_in))
        .route("/sign-out", post(door::sign_out))
        .route("/setup", get(door::show_setup).post(door::set_up))
        .route(
            "/monitors",
            get(overview::from_list).post(monitor_form::create),
        )
        .route("/monitors/new", get(monitor_form::show_new))
        .route("/monitors/{id}", get(monitors::show))
        .route(
            "/monitors/{id}/edit",
            get(monitor_form::show_edit).post(monitor_form::edit),
        )
        .route("/monitors/{id}/{action}", post(monitors::act))
        .route("/incidents", get(incidents::list))
        .route("/incidents/{number}", get(incidents::show))
        .route("/incidents/{number}/{action}", post(incidents::act))
        .route("/channels", get(channels::list).post(channels::create))
        .route("/channels/{id}/put-back", post(channels::put_back))
        .route(
            "/channels/{id}/edit",
            get(channel_form::show_edit).post(channel_form::edit),
        )
        .route("/channels/{id}/{action}", post(channels::act))
        .route(
            "/unsubscribe/{token}",
            get(unsubscribe::show).post(unsubscribe::take_off),
        )
        .route(
            "/maintenance",
            get(maintenance::list).post(maintenance::create),
        )
        .route("/maintenance/{id}/{action}", post(maintenance::act))
        .route("/static/{hash}/{name}", get(asset))
        .route("/favicon.ico", get(favicon))
        .fallback(guard::no_such_page)
        .method_not_allowed_fallback(guard::wrong_method)
        .layer(DefaultBodyLimit::max(FORM_LIMIT))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&pages),
            guard::guard,
        ))
        .with_state(pages)
}

async fn asset(Path((hash, name)): Path<(String, String)>) -> reply::Reply {
    let asset = assets::find(&hash, &name).ok_or(reply::Failure::NotFound)?;
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, assets::IMMUTABLE),
        (header::ETAG, &format!("\"{}\"", asset.hash)),
    ];
    Ok((headers, asset.bytes).into_response())
}

/// Browsers ask for it where a reply is no page of ours; the name has no hash, so it is kept for a day only.
async fn favicon() -> Response {
    let mark = assets::all().iter().find(|asset| asset.name == "mark.svg");
    mark.map_or_else(
        || StatusCode::NO_CONTENT.into_response(),
        |mark| {
            let headers = [
                (header::CONTENT_TYPE, mark.content_type),
                (header::CACHE_CONTROL, "public, max-age=86400"),
            ];
            (headers, mark.bytes).into_response()
        },
    )
}
