//! The door: signing in and out, making the administrator.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Extension, Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use systole_core::time::Span;

use super::Pages;
use super::frame;
use super::reply::{Failure, Reply, invalid, page, see};
use super::visitor::{self, Visitor};
use crate::listen::Peer;
use crate::principals::Role;
use crate::web::render;
use crate::web::views::{FormError, Frame, Notice, SetupView, SignInView};

const PASSWORD_MIN: usize = 12;
/// Longer ones would only cost time.
const PASSWORD_MAX: usize = 1_000;
const EMAIL_MAX: usize = 254;

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SignInForm {
    email: String,
    password: String,
    token: Option<String>,
    next: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct SetUpForm {
    code: String,
    email: String,
    password: String,
}

/// `GET /sign-in`.
pub(super) async fn show_sign_in(
    State(pages): State<Arc<Pages>>,
    visitor: Option<Extension<Visitor>>,
    Query(form): Query<SignInForm>,
) -> Reply {
    let next = own_path(&form.next);
    if visitor.is_some() {
        return Ok(see(next));
    }
    let mut view = sign_in_view(&pages, next);
    if pages.app.config.admin_token.is_none() && !pages.app.store.has_people().await? {
        let text = "There is no administrator yet. Open the address that the server printed when it started; a restart \
                    prints it again.";
        view.frame.notices.push(Notice {
            warning: true,
            text: text.into(),
            links: Vec::new(),
            standing: false,
        });
    }
    Ok(page(StatusCode::OK, render::sign_in(&view)))
}

fn sign_in_view(pages: &Pages, next: &str) -> SignInView {
    SignInView {
        frame: frame::bare(pages, None),
        email: "".into(),
        next: next.into(),
        errors: Vec::new(),
    }
}

/// `POST /sign-in`.
pub(super) async fn sign_in(
    State(pages): State<Arc<Pages>>,
    Extension(Peer(address)): Extension<Peer>,
    Form(form): Form<SignInForm>,
) -> Reply {
    let next = own_path(&form.next).to_owned();
    let email = normal(&form.email);
    let mut view = sign_in_view(&pages, &next);
    view.email = form.email.trim().into();
    // A token has no account; nobody else's guesses may keep its owner out.
    let account = if form.token.is_some() {
        format!("token {address}")
    } else {
        email.clone()
    };
    if let Err(wait) = pages.attempts.begin(&account, address, pages.app.now()) {
        return Ok(too_many(&view, wait));
    }
    let who = match &form.token {
        Some(token) => token_is_administrators(&pages, token).then_some(None),
        None => person(&pages, &email, form.password).await?.map(Some),
    };
    let Some(who) = who else {
        return Ok(refused(view, form.token.is_some(), address, &email));
    };
    pages.attempts.succeeded(&account, address);
    let cookie = visitor::begin(&pages.app, who, pages.app.now()).await?;
    Ok(with_cookie(see(&next), cookie))
}

/// The administrator's token or the local one. Tokens made in the API can be deleted, and a session begun with one would
/// outlive it.
fn token_is_administrators(pages: &Pages, token: &str) -> bool {
    let principal = pages.app.principals.by_token(&pages.app.keys, token.trim());
    principal.is_some_and(|principal| {
        principal.role == Role::Admin && !principal.name.starts_with("token ")
    })
}

async fn person(pages: &Pages, email: &str, password: String) -> Result<Option<i64>, Failure> {
    if password.len() > PASSWORD_MAX || email.len() > EMAIL_MAX {
        return Ok(None);
    }
    let person = pages.app.store.person(email).await?;
    let hash = person.as_ref().map(|person| person.password_hash.clone());
    let is_theirs = pages.passwords.is(password, hash).await;
    Ok(person.filter(|_| is_theirs).map(|person| person.id))
}

fn refused(mut view: SignInView, by_token: bool, address: IpAddr, email: &str) -> Response {
    tracing::warn!(%address, email, by_token, "a sign-in failed");
    view.errors.push(if by_token {
        let text = "This is not the administrator’s token. It is the value of SYSTOLE_ADMIN_TOKEN, or what is in the file \
                    local-token of the data directory.";
        FormError { field: "token", text: text.into() }
    } else {
        FormError { field: "", text: "No account has this e-mail address and password.".into() }
    });
    invalid(render::sign_in(&view))
}

fn too_many(view: &SignInView, wait: Span) -> Response {
    let seconds = wait.as_seconds().max(1);
    let text = format!("Too many failed sign-ins. Try again in {seconds} s.");
    let errors = vec![FormError {
        field: "",
        text: text.into(),
    }];
    let view = SignInView {
        errors,
        ..view.clone()
    };
    let mut response = page(StatusCode::TOO_MANY_REQUESTS, render::sign_in(&view));
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// `POST /sign-out`.
pub(super) async fn sign_out(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Reply {
    let cookie = visitor::end(&pages.app, &headers).await?;
    Ok(with_cookie(see("/sign-in"), cookie))
}

/// `GET /setup`.
pub(super) async fn show_setup(State(pages): State<Arc<Pages>>) -> Reply {
    if pages.app.store.has_people().await? {
        return Err(already());
    }
    Ok(page(
        StatusCode::OK,
        render::setup(&setup_view(frame::bare(&pages, None))),
    ))
}

fn setup_view(frame: Frame) -> SetupView {
    SetupView {
        frame,
        code: "".into(),
        email: "".into(),
        errors: Vec::new(),
    }
}

fn already() -> Failure {
    Failure::Refused(
        StatusCode::CONFLICT,
        "The administrator exists already".to_owned(),
        "Set-up is done once. Sign in with that address and password.".to_owned(),
    )
}

/// `POST /setup`.
pub(super) async fn set_up(
    State(pages): State<Arc<Pages>>,
    Extension(Peer(address)): Extension<Peer>,
    Form(form): Form<SetUpForm>,
) -> Reply {
    let app = &pages.app;
    if app.store.has_people().await? {
        return Err(already());
    }
    let email = normal(&form.email);
    let mut view = setup_view(frame::bare(&pages, None));
    (view.code, view.email) = (form.code.trim().into(), form.email.trim().into());
    view.errors = set_up_errors(&email, &form.password);
    if !view.errors.is_empty() {
        return Ok(invalid(render::setup(&view)));
    }
    // 256 bits are not guessed; hashing for everybody who asks would be work for nothing.
    let account = format!("set-up {address}");
    if let Err(wait) = pages.attempts.begin(&account, address, app.now()) {
        let text = format!(
            "Too many tries. Try again in {} s.",
            wait.as_seconds().max(1)
        );
        view.errors.push(FormError {
            field: "",
            text: text.into(),
        });
        return Ok(page(StatusCode::TOO_MANY_REQUESTS, render::setup(&view)));
    }
    let hash = pages.passwords.hash(form.password).await?;
    let now = app.now();
    if !app
        .store
        .set_up(now, &app.keys.hash(form.code.trim()), &email, &hash)
        .await?
    {
        let text = "This code is not valid, or no longer: it works once, for an hour. Restart the server, and it prints \
                    another.";
        view.errors.push(FormError {
            field: "code",
            text: text.into(),
        });
        return Ok(invalid(render::setup(&view)));
    }
    pages.attempts.succeeded(&account, address);
    let person = app.store.person(&email).await?.map(|person| person.id);
    // A session without a person would be the token's.
    let person = person
        .ok_or_else(|| Failure::Internal("the administrator just made is not there".to_owned()))?;
    let cookie = visitor::begin(app, Some(person), now).await?;
    Ok(with_cookie(see("/"), cookie))
}

fn set_up_errors(email: &str, password: &str) -> Vec<FormError> {
    let mut errors = Vec::new();
    if !is_email(email) {
        let text = "This is not an e-mail address; it looks like name@example.org.";
        errors.push(FormError {
            field: "email",
            text: text.into(),
        });
    }
    let length = password.chars().count();
    if length < PASSWORD_MIN || password.len() > PASSWORD_MAX {
        let text = format!(
            "The password has {length} characters; it needs {PASSWORD_MIN} or more, at most {PASSWORD_MAX}."
        );
        errors.push(FormError {
            field: "password",
            text: text.into(),
        });
    }
    errors
}

/// Mail may tell letters' case apart before the `@`; people do not.
fn normal(email: &str) -> String {
    email.trim().to_lowercase()
}

pub(super) fn is_email(text: &str) -> bool {
    let plain = |part: &str| {
        !part.is_empty()
            && !part
                .chars()
                .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '@' | '<' | '>' | ','))
    };
    text.len() <= EMAIL_MAX
        && text
            .split_once('@')
            .is_some_and(|(name, host)| plain(name) && plain(host))
}

/// Where to go afterwards: a path of ours, never another host's.
pub fn own_path(next: &str) -> &str {
    let is_own = next.starts_with('/')
        && !next.starts_with("//")
        && !next.contains('\\')
        && next.bytes().all(|byte| byte.is_ascii_graphic())
        && !next.starts_with("/sign-");
    if is_own { next } else { "/" }
}

fn with_cookie(mut response: Response, cookie: HeaderValue) -> Response {
    response.headers_mut().append(header::SET_COOKIE, cookie);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_is_a_path_of_ours() {
        for (next, path) in [
            ("/monitors/mon_1?x=y", "/monitors/mon_1?x=y"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
            ("/sign-in?next=/", "/"),
            ("/a\r\nset-cookie: x", "/"),
        ] {
            assert_eq!(own_path(next), path, "{next:?}");
        }
    }

    #[test]
    fn an_address_has_two_parts_and_no_blanks() {
        for (text, is) in [
            ("admin@example.org", true),
            ("a+b@localhost", true),
            ("admin", false),
            ("@example.org", false),
            ("a@b@c", false),
            ("a b@example.org", false),
            ("a@example.org,b@example.org", false),
        ] {
            assert_eq!(is_email(text), is, "{text}");
        }
    }
}
