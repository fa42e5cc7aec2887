//! What holds for all pages, and one walk through them.

use super::site::{EMAIL, PASSWORD, Site, until};

#[tokio::test(flavor = "multi_thread")]
async fn from_set_up_to_an_incident_taken_by_hand() {
    let mut site = Site::start().await;
    site.get("/").await.sees("/sign-in?next=%2F");
    site.get("/sign-in")
        .await
        .shows(200, &["There is no administrator yet"]);
    let url = site.server.setup_url.clone().unwrap();
    let code = url.split_once('#').unwrap().1.to_owned();
    let short = site
        .post(
            "/setup",
            &[("code", &code), ("email", "nobody"), ("password", "short")],
        )
        .await;
    short.shows(422, &["not an e-mail address", "12 or more", &code]);
    let wrong = site
        .post(
            "/setup",
            &[("code", "wrong"), ("email", EMAIL), ("password", PASSWORD)],
        )
        .await;
    wrong.shows(422, &["This code is not valid"]);
    site.post(
        "/setup",
        &[("code", &code), ("email", EMAIL), ("password", PASSWORD)],
    )
    .await
    .sees("/");

    site.get("/").await.shows(
        200,
        &[
            "Nothing is watched yet",
            "in three lines",
            "Signed in as admin@example.org",
        ],
    );
    let (path, ping) = site.make("invoice-generator").await;
    site.get(&path).await.shows(
        200,
        &[
            "None yet.",
            "every hour",
            "Nobody is told when it goes down",
        ],
    );
    assert_eq!(site.get(&format!("{ping}/start")).await.status, 200);
    let sent = site
        .send("POST", &format!("{ping}/3"), &[], "disk <full>\nmore")
        .await;
    assert_eq!(sent.status, 200);

    // The page reads incidents before states, so that the state may be ahead of them.
    let page = until(&mut site, "/", "1 incident open").await;
    page.shows(
        200,
        &[
            "The job ended with exit status 3: disk &#60;full&#62;.",
            "Nobody was told",
            "1 incident open",
            "No channel exists",
        ],
    );
    site.get(&path).await.shows(
        200,
        &[
            "exit status 3",
            "Incident #1",
            "1 failed",
            "disk &#60;full&#62;\nmore",
        ],
    );
    site.get("/incidents/1").await.shows(
        200,
        &[
            "What the job sent",
            "disk &#60;full&#62;\nmore",
            "Acknowledge",
        ],
    );
    site.post("/incidents/1/acknowledge", &[("back", "/")])
        .await
        .sees("/");
    site.get("/").await.shows(
        200,
        &["You have incident #1.", "admin@example.org acknowledged it"],
    );
    site.post("/incidents/1/note", &[("text", "the <disk> is full")])
        .await
        .sees("/incidents/1");
    let page = site.get("/incidents/1").await;
    page.shows(
        200,
        &[
            "the &#60;disk&#62; is full",
            "Acknowledged by admin@example.org",
        ],
    );
    assert!(
        !page.body.contains("action=\"/incidents/1/acknowledge\""),
        "it is taken"
    );
    assert_eq!(site.get(&ping).await.status, 200);
    until(&mut site, "/", "The monitor is up.")
        .await
        .shows(200, &["No incident is open"]);
    site.get("/incidents/1")
        .await
        .shows(200, &["The job reported a success"]);
    site.get("/incidents?state=resolved")
        .await
        .shows(200, &["invoice-generator"]);
    site.get("/incidents?state=open")
        .await
        .shows(200, &["No incident is open."]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_and_bodies_are_text() {
    let mut site = Site::set_up().await;
    let name = "<script>alert(1)</script>\" onload=\"x";
    let (path, ping) = site.make(name).await;
    let body = "</pre><script>alert(2)</script>\u{202e}\u{1b}[31m";
    assert_eq!(
        site.send(
            "POST",
            &format!("{ping}/fail"),
            &[("user-agent", "<b>agent</b>")],
            body
        )
        .await
        .status,
        200
    );
    until(&mut site, "/", "1 incident open").await;
    site.post(
        "/channels",
        &[
            ("kind", "webhook"),
            ("name", "<i>hook</i>"),
            ("url", "https://hooks.example.org/<i>path"),
        ],
    )
    .await
    .sees("/channels");
    for page in [
        "/",
        path.as_str(),
        "/incidents",
        "/incidents/1",
        "/channels",
        "/?q=<i>",
        &format!("{path}/edit"),
    ] {
        let shown = site
            .get(&page.replace('<', "%3C").replace('>', "%3E"))
            .await;
        shown.shows(200, &[]);
        for raw in [
            "<script>alert",
            "<b>agent",
            "<i>",
            "\u{202e}",
            "\u{1b}",
            "\" onload",
        ] {
            assert!(!shown.body.contains(raw), "{raw:?} on {page}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_reply_bears_the_headers() {
    let mut site = Site::set_up().await;
    let (path, _) = site.make("a").await;
    for (page, status) in [
        ("/", 200),
        (path.as_str(), 200),
        ("/monitors/mon_999", 404),
        ("/monitors/x", 404),
        ("/incidents/7", 404),
        ("/nothing/here", 404),
        ("/monitors?state=up", 303),
        ("/static/0000000000000000/systole.css", 404),
        ("/sign-out", 405),
    ] {
        let reply = site.get(page).await;
        assert_eq!(reply.status, status, "{page}");
        let policy = reply.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{page}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{page}");
        }
    }
    let page = site.get("/").await;
    let style = page
        .body
        .split("stylesheet\" href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let style = site.get(&style).await;
    assert_eq!(
        style.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    assert_eq!(
        style.header("content-type"),
        Some("text/css; charset=utf-8")
    );
    assert_eq!(
        site.get("/favicon.ico").await.header("content-type"),
        Some("image/svg+xml")
    );
    assert_eq!(site.get("/api/v1/nothing").await.status, 404);
    assert_eq!(
        site.get("/healthz").await.body,
        "ok\n",
        "other routes are left alone"
    );
}
