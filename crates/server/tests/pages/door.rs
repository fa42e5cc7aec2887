//! Signing in and out; what may change something.

use systole_core::time::{Span, Time};
use systole_server::principals::SESSION_IDLE;

use super::site::{EMAIL, PASSWORD, Site};

#[tokio::test(flavor = "multi_thread")]
async fn the_door_opens_to_the_password_alone() {
    let mut site = Site::set_up().await;
    site.get("/sign-in?next=/channels").await.sees("/channels");
    site.post("/sign-out", &[]).await.sees("/sign-in");
    assert_eq!(site.cookie, None);
    site.get("/channels?x=1")
        .await
        .sees("/sign-in?next=%2Fchannels%3Fx%3D1");
    site.get("/setup").await.shows(409, &["exists already"]);
    let again = [
        ("code", "x"),
        ("email", "b@example.org"),
        ("password", PASSWORD),
    ];
    site.post("/setup", &again)
        .await
        .shows(409, &["exists already"]);

    let wrong = site
        .post(
            "/sign-in",
            &[
                ("email", EMAIL),
                ("password", "wrong"),
                ("next", "/channels"),
            ],
        )
        .await;
    wrong.shows(
        422,
        &[
            "No account has this e-mail address and password",
            EMAIL,
            "value=\"/channels\"",
        ],
    );
    let unknown = site
        .post(
            "/sign-in",
            &[("email", "x@example.org"), ("password", PASSWORD)],
        )
        .await;
    unknown.shows(422, &["No account has this e-mail address and password"]);
    let token = site
        .post("/sign-in", &[("token", "no-token-of-ours-at-all")])
        .await;
    token.shows(422, &["not the administrator’s token"]);
    let right = [
        ("email", " Admin@Example.org "),
        ("password", PASSWORD),
        ("next", "//evil.example"),
    ];
    let right = site.post("/sign-in", &right).await;
    right.sees("/");
    let cookie = right.header("set-cookie").unwrap();
    assert!(
        cookie.starts_with("systole_session=")
            && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_failure_must_wait_even_with_the_password() {
    let mut site = Site::set_up().await;
    site.cookie = None;
    for _ in 0..5 {
        assert_eq!(
            site.post("/sign-in", &[("email", EMAIL), ("password", "wrong")])
                .await
                .status,
            422
        );
    }
    let sixth = site
        .post("/sign-in", &[("email", EMAIL), ("password", PASSWORD)])
        .await;
    sixth.shows(429, &["Too many failed sign-ins"]);
    assert!(sixth.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_token_signs_in() {
    let token = "0123456789abcdef01234567";
    let mut site = Site::with(|config| {
        config.admin_token = Some(token.to_owned());
        config.base_url = Some("https://systole.example.org".to_owned());
    })
    .await;
    let page = site.get("/sign-in").await;
    assert!(!page.body.contains("There is no administrator yet"));
    let reply = site
        .post("/sign-in", &[("token", token), ("next", "/incidents")])
        .await;
    reply.sees("/incidents");
    assert!(reply.header("set-cookie").unwrap().contains("; Secure"));
    site.get("/").await.shows(
        200,
        &[
            "administrator&#39;s token",
            "https://systole.example.org/api/v1/monitors",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_from_elsewhere_is_refused() {
    let mut site = Site::set_up().await;
    let (path, _) = site.make("kept").await;
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1.evil.example",
    ] {
        let reply = site.post_from(origin, &format!("{path}/delete"), &[]).await;
        reply.shows(403, &["not sent by a page of Systole"]);
    }
    let bare = site.send("POST", &format!("{path}/delete"), &[], "").await;
    assert_eq!(bare.status, 403, "neither Origin nor Sec-Fetch-Site");
    site.get(&path).await.shows(200, &["kept"]);
    let signed_out = site.cookie.take();
    site.post(&format!("{path}/delete"), &[])
        .await
        .sees("/sign-in?next=%2F");
    site.cookie = signed_out;
    site.post(&format!("{path}/delete"), &[]).await.sees("/");
    site.get("/")
        .await
        .shows(200, &["kept is deleted.", "Nothing is watched yet"]);
    site.get(&path).await.shows(404, &["There is no such page"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_looks_again_does_not_keep_a_session() {
    let mut site = Site::set_up().await;
    let app = site.server.app();
    let session = site.cookie.clone().unwrap();
    let hash = app.keys.hash(session.split_once('=').unwrap().1);
    // A session last seen two minutes ago, and so not written again for a look.
    let seen = app.now() - Span::from_seconds(120);
    app.store.end_session(&hash).await.unwrap();
    app.store
        .begin_session(seen, &hash, None, SESSION_IDLE)
        .await
        .unwrap();
    let is_older = async |site: &Site, than: Time| {
        let at = than + SESSION_IDLE;
        site.server
            .app()
            .store
            .session_of(at, &hash, Span::from_seconds(SESSION_IDLE.as_seconds() - 1))
            .await
            .unwrap()
            .is_none()
    };
    let look = site.send("GET", "/", &[("x-refresh", "1")], "").await;
    assert_eq!(look.status, 200);
    assert!(
        is_older(&site, seen + Span::from_seconds(1)).await,
        "looking again is nobody at the keyboard"
    );
    assert_eq!(site.get("/").await.status, 200);
    assert!(
        !is_older(&site, seen + Span::from_seconds(1)).await,
        "a person looked"
    );
}
