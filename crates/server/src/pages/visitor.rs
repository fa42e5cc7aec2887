//! Who looks: sessions.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use systole_core::time::{Span, Time};
use systole_store::{DEFAULT_PROJECT, Error};

use super::Pages;
use super::reply::{Failure, see};
use crate::app::App;
use crate::auth::{self, SESSION_COOKIE};
use crate::keys::random_text;
use crate::principals::{Principal, Role, SESSION_IDLE};

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    /// Who.
    pub(super) principal: Principal,
    /// Of the session; what is to be shown once is kept under it.
    pub(super) session: [u8; 32],
    /// The page looks again by itself: it shows nobody at the keyboard.
    pub(super) is_refresh: bool,
}

impl Visitor {
    pub(super) const fn project(&self) -> i64 {
        self.principal.project
    }

    pub(super) fn can_edit(&self) -> bool {
        self.principal.role >= Role::Editor
    }

    /// Refuses who may look only.
    pub(super) fn editor(&self) -> Result<&Principal, Failure> {
        if self.can_edit() {
            Ok(&self.principal)
        } else {
            Err(Failure::Forbidden)
        }
    }
}

/// Whose session the request names.
pub(super) async fn of(app: &App, headers: &HeaderMap) -> Result<Option<Visitor>, Error> {
    let Some(session) = auth::session(headers) else {
        return Ok(None);
    };
    let session = app.keys.hash(session);
    let is_refresh = headers.contains_key("x-refresh");
    let now = app.now();
    // Asked as of the last moment before it would be too old, a session is read and not prolonged.
    let (at, idle) = if is_refresh {
        (now - SESSION_IDLE, Span::ZERO)
    } else {
        (now, SESSION_IDLE)
    };
    let found = app.store.session_of(at, &session, idle).await?;
    Ok(found.and_then(|(name, role)| {
        let principal = Principal {
            name,
            role: Role::parse(&role)?,
            project: DEFAULT_PROJECT,
        };
        (principal.role >= Role::Viewer).then_some(Visitor {
            principal,
            session,
            is_refresh,
        })
    }))
}

/// Begins a session; answers the cookie to set.
pub(super) async fn begin(
    app: &App,
    person: Option<i64>,
    now: Time,
) -> Result<HeaderValue, Failure> {
    let session = random_text("")?;
    app.store
        .begin_session(now, &app.keys.hash(&session), person, SESSION_IDLE)
        .await?;
    set_cookie(app, &session)
}

/// Ends the session that the request names; answers the cookie that forgets it.
pub(super) async fn end(app: &App, headers: &HeaderMap) -> Result<HeaderValue, Failure> {
    if let Some(session) = auth::session(headers) {
        app.store.end_session(&app.keys.hash(session)).await?;
    }
    set_cookie(app, "")
}

/// It has no age: the browser may keep it as long as it likes, the server knows when a session was idle too long.
fn set_cookie(app: &App, session: &str) -> Result<HeaderValue, Failure> {
    let secure = if app.base_url.starts_with("https://") {
        "; Secure"
    } else {
        ""
    };
    let forget = if session.is_empty() {
        "; Max-Age=0"
    } else {
        ""
    };
    let text =
        format!("{SESSION_COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax{secure}{forget}");
    HeaderValue::try_from(text).map_err(|error| Failure::Internal(error.to_string()))
}

impl FromRequestParts<Arc<Pages>> for Visitor {
    type Rejection = Response;

    /// Put into the request by the guard; without one, to the door, and back afterwards.
    async fn from_request_parts(parts: &mut Parts, _: &Arc<Pages>) -> Result<Visitor, Response> {
        if let Some(visitor) = parts.extensions.get::<Visitor>() {
            return Ok(visitor.clone());
        }
        let back = if parts.method == http::Method::GET {
            parts.uri.path_and_query()
        } else {
            None
        };
        let next = back.map_or("/", |back| back.as_str());
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("next", next)
            .finish();
        Err(see(&format!("/sign-in?{query}")))
    }
}
