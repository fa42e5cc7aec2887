//! Who asks, and what they may do: bearer tokens, session cookies, the origin of unsafe requests.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, COOKIE, HOST, HeaderMap, ORIGIN};
use http::request::Parts;
use http::{Extensions, StatusCode};

use crate::api::ApiError;
use crate::app::App;
use crate::listen::Peer;
use crate::principals::{Principal, Role};

/// The cookie that holds a session's id.
pub const SESSION_COOKIE: &str = "systole_session";

/// The token of `Authorization: Bearer …`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .trim()
        .split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

/// The session's id.
pub fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    cookies.flat_map(|text| text.split(';')).find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == SESSION_COOKIE && !value.is_empty()).then_some(value)
    })
}

/// Whether a browser sent this from a page of ours: an unsafe request with a session must come from there.
///
/// `Sec-Fetch-Site` says it; older browsers say `Origin`. A request with neither is refused: browsers always send one
/// with an unsafe request.
pub fn is_same_origin(headers: &HeaderMap, base_url: &str) -> bool {
    let text = |name: &str| {
        headers
            .get(name)
            .map(|value| value.to_str().unwrap_or_default())
    };
    if let Some(site) = text("sec-fetch-site") {
        return site == "same-origin";
    }
    let Some(origin) = text(ORIGIN.as_str()) else {
        return false;
    };
    let is_base =
        url::Url::parse(base_url).is_ok_and(|base| base.origin().ascii_serialization() == origin);
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    is_base || host.is_some_and(|host| !host.is_empty() && text(HOST.as_str()) == Some(host))
}

/// The address that a request comes from.
pub fn peer(extensions: &Extensions) -> IpAddr {
    extensions
        .get::<Peer>()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0)
}

/// Who asks: by bearer token, else by session.
///
/// # Errors
/// 401, 403 for a session's request from elsewhere, 429 after too many wrong tokens.
pub async fn identify(app: &App, parts: &Parts) -> Result<Principal, ApiError> {
    let headers = &parts.headers;
    if let Some(token) = bearer(headers) {
        let known = app.principals.by_token(&app.keys, token);
        return known.ok_or_else(|| {
            refused(
                app,
                parts,
                "this token is not known; it may have been deleted",
            )
        });
    }
    if headers.contains_key(AUTHORIZATION) {
        return Err(ApiError::unauthorized(
            "Authorization must read: Bearer TOKEN",
        ));
    }
    let Some(session) = session(headers) else {
        return Err(ApiError::unauthorized(
            "a token is needed: send Authorization: Bearer TOKEN",
        ));
    };
    let known = app
        .principals
        .by_session(&app.store, &app.keys, session, app.now())
        .await?;
    let Some(principal) = known else {
        return Err(refused(app, parts, "the session is over; sign in again"));
    };
    if !parts.method.is_safe() && !is_same_origin(headers, &app.base_url) {
        let detail =
            "a request with a session must come from a page of this server; others send a token";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "cross_origin", detail));
    }
    Ok(principal)
}

fn refused(app: &App, parts: &Parts, detail: &str) -> ApiError {
    match app.refused_limit.refuse(peer(&parts.extensions), app.now()) {
        Some(wait) => ApiError::too_many(wait),
        None => ApiError::unauthorized(detail),
    }
}

/// Refuses a principal below a role.
///
/// # Errors
/// 403.
pub fn require(principal: Principal, needs: Role) -> Result<Principal, ApiError> {
    if principal.role >= needs {
        Ok(principal)
    } else {
        Err(ApiError::forbidden(principal.role, needs))
    }
}

macro_rules! roles {
    ($($name:ident, $role:expr, $may:literal;)*) => {$(
        #[doc = concat!("Somebody who may ", $may, ", as a handler's argument.")]
        pub struct $name(pub Principal);

        impl FromRequestParts<Arc<App>> for $name {
            type Rejection = ApiError;
            async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<$name, ApiError> {
                require(identify(app, parts).await?, $role).map($name)
            }
        }
    )*};
}

roles! {
    Viewer, Role::Viewer, "look";
    Editor, Role::Editor, "change monitors and channels and act on incidents";
    Admin, Role::Admin, "do all";
}

/// `/metrics` with a token of role `metrics`, or of one that may more.
pub async fn metrics(app: &App, headers: &HeaderMap) -> Response {
    let known = bearer(headers).and_then(|token| app.principals.by_token(&app.keys, token));
    let Some(principal) = known else {
        return ApiError::unauthorized("metrics take a token of role metrics here").into_response();
    };
    match require(principal, Role::Metrics) {
        Ok(_) => app.metrics.text(app).await.into_response(),
        Err(error) => error.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn tokens_and_sessions_are_found_among_other_headers() {
        for (value, token) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Basic abc", None),
            ("Bearer", None),
            ("Bearer ", None),
        ] {
            assert_eq!(
                bearer(&headers(&[("authorization", value)])),
                token,
                "{value:?}"
            );
        }
        for (value, id) in [
            ("systole_session=x", Some("x")),
            ("a=b; systole_session=y=z; c=d", Some("y=z")),
            ("systole_sessions=x", None),
            ("systole_session=", None),
            ("", None),
        ] {
            assert_eq!(session(&headers(&[("cookie", value)])), id, "{value:?}");
        }
    }

    #[test]
    fn only_pages_of_this_server_are_of_the_same_origin() {
        let base = "https://systole.example.com";
        for (given, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], true),
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("origin", "https://systole.example.com"),
                ],
                false,
            ),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "https://systole.example.com")], true),
            (
                &[("origin", "https://systole.example.com.evil.test")],
                false,
            ),
            (
                &[
                    ("origin", "http://10.0.0.5:8080"),
                    ("host", "10.0.0.5:8080"),
                ],
                true,
            ),
            (
                &[("origin", "http://evil.test"), ("host", "10.0.0.5:8080")],
                false,
            ),
            (&[("origin", "null"), ("host", "null")], false),
            (&[], false),
        ] {
            assert_eq!(is_same_origin(&headers(given), base), expected, "{given:?}");
        }
    }

    #[test]
    fn a_role_may_what_those_below_it_may() {
        let of = |role| Principal {
            name: "x".to_owned(),
            role,
            project: 1,
        };
        assert!(require(of(Role::Admin), Role::Viewer).is_ok());
        for role in [Role::Metrics, Role::Agent, Role::Probe] {
            let error = require(of(role), Role::Viewer).unwrap_err();
            assert_eq!(error.status(), StatusCode::FORBIDDEN, "{role:?}");
        }
    }
}
