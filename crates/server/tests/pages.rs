//! The pages of a server that runs, as a browser without script sees them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use systole_core::time::{Span, Time};
use systole_server::Config;
use systole_server::principals::SESSION_IDLE;
use systole_server::serve::{Server, start};

const EMAIL: &str = "admin@example.org";
const PASSWORD: &str = "correct horse battery";

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| {
            line.split_once(": ")
                .is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
        };
        self.head
            .lines()
            .find(named)
            .and_then(|line| line.split_once(": "))
            .map(|(_, value)| value)
    }

    #[track_caller]
    fn sees(&self, path: &str) {
        assert_eq!(
            (self.status, self.header("location")),
            (303, Some(path)),
            "{}",
            self.body
        );
    }

    #[track_caller]
    fn shows(&self, status: u16, texts: &[&str]) {
        assert_eq!(self.status, status, "{}", self.body);
        for text in texts {
            assert!(self.body.contains(text), "no {text:?} in {}", self.body);
        }
    }
}

/// A server in a directory of its own, and a browser with one cookie.
struct Site {
    server: Server,
    cookie: Option<String>,
    _directory: tempfile::TempDir,
}

impl Site {
    async fn start() -> Site {
        Site::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> Site {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: directory.path().to_owned(),
            key_file: None,
            key: None,
            base_url: None,
            tls: None,
            trusted_proxies: Vec::new(),
            outbound_allow: Vec::new(),
            metrics_listen: None,
            self_heartbeat_url: None,
            admin_token: None,
            retention: Span::from_seconds(90 * 86_400),
            retention_bytes: 1 << 30,
            ping_body_limit: 10_000,
        };
        change(&mut config);
        Site {
            server: start(config, None).await.unwrap(),
            cookie: None,
            _directory: directory,
        }
    }

    /// With an administrator who is signed in.
    async fn set_up() -> Site {
        let mut site = Site::start().await;
        let url = site.server.setup_url.clone().unwrap();
        let code = url.split_once('#').unwrap().1.to_owned();
        let reply = site
            .post(
                "/setup",
                &[("code", &code), ("email", EMAIL), ("password", PASSWORD)],
            )
            .await;
        reply.sees("/");
        site
    }

    async fn get(&mut self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let origin = format!("http://{}", self.server.address);
        self.post_from(&origin, path, fields).await
    }

    async fn post_from(&mut self, origin: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let kind = ("content-type", "application/x-www-form-urlencoded");
        self.send("POST", path, &[("origin", origin), kind], &body)
            .await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        let address = self.server.address;
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(cookie) = &self.cookie {
            request.push_str(&format!("cookie: other=1; {cookie}\r\n"));
        }
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        let text = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).unwrap();
            String::from_utf8(reply).unwrap()
        })
        .await
        .unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let reply = Reply {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        };
        if let Some(cookie) = reply.header("set-cookie") {
            let pair = cookie.split(';').next().unwrap();
            self.cookie = (!pair.ends_with('=')).then(|| pair.to_owned());
        }
        reply
    }

    /// Makes a heartbeat by the form; answers its path and its ping path.
    async fn make(&mut self, name: &str) -> (String, String) {
        let made = self
            .post(
                "/monitors",
                &[("name", name), ("schedule", "1h"), ("grace", "5m")],
            )
            .await;
        assert_eq!(made.status, 303, "{}", made.body);
        let path = made.header("location").unwrap().to_owned();
        let page = self.get(&path).await;
        page.shows(200, &["How it reports"]);
        let ping = page.body.split("/ping/").nth(1).unwrap();
        let token = &ping[..36];
        (path, format!("/ping/{token}"))
    }
}

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

    let page = until(&mut site, "/", "1 incident open").await;
    page.shows(
        200,
        &[
            "The job ended with exit status 3: disk &#60;full&#62;.",
            "Nobody was told",
            ">Down<",
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
    until(&mut site, "/", "No incident is open")
        .await
        .shows(200, &["The monitor is up."]);
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

/// Looks until the engine has decided.
async fn until(site: &mut Site, path: &str, text: &str) -> Reply {
    loop {
        let page = site.get(path).await;
        if page.body.contains(text) {
            return page;
        }
        tokio::task::yield_now().await;
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_named_beside_them_and_what_was_typed_stays() {
    let mut site = Site::set_up().await;
    site.make("taken").await;
    for (fields, texts) in [
        (
            [
                ("name", "taken"),
                ("schedule", "1h"),
                ("timezone", ""),
                ("grace", ""),
            ],
            ["The name is taken", "value=\"1h\""],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "soon"),
                ("timezone", ""),
                ("grace", ""),
            ],
            ["not a duration", "value=\"soon\""],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "0 25 * * *"),
                ("timezone", ""),
                ("grace", ""),
            ],
            ["25", "schedule-error"],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "0 2 * * *"),
                ("timezone", "Mars/Base"),
                ("grace", ""),
            ],
            ["Mars/Base", "timezone-error"],
        ),
        (
            [
                ("name", "x"),
                ("schedule", "1h"),
                ("timezone", ""),
                ("grace", "-5m"),
            ],
            ["negative", "grace-error"],
        ),
    ] {
        site.post("/monitors", &fields).await.shows(422, &texts);
    }
    let wrong = site
        .post("/channels", &[("name", "hook"), ("url", "nowhere")])
        .await;
    wrong.shows(422, &["url-error", "value=\"nowhere\"", "value=\"hook\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_people_do_not_overwrite_each_other() {
    let mut site = Site::set_up().await;
    let (path, _) = site.make("nightly").await;
    let edit = format!("{path}/edit");
    site.get(&edit)
        .await
        .shows(200, &["name=\"rev\" value=\"1\"", "value=\"1h\""]);
    let first = [
        ("name", "nightly"),
        ("schedule", "30 2 * * *"),
        ("timezone", "Europe/Oslo"),
        ("rev", "1"),
    ];
    site.post(&edit, &first).await.sees(&path);
    site.get(&path).await.shows(
        200,
        &["nightly is saved.", "at 02:30 every day, Europe/Oslo"],
    );
    let second = [("name", "weekly"), ("schedule", "7d"), ("rev", "1")];
    site.post(&edit, &second).await.shows(
        409,
        &[
            "Somebody else has changed it",
            "value=\"weekly\"",
            "name=\"rev\" value=\"2\"",
        ],
    );
    site.post(
        &edit,
        &[("name", "weekly"), ("schedule", "7d"), ("rev", "2")],
    )
    .await
    .sees(&path);
    site.get(&path).await.shows(200, &["every 7 days"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_do_what_they_say() {
    let mut site = Site::set_up().await;
    let (path, ping) = site.make("worker").await;
    site.post(&format!("{path}/pause"), &[]).await.sees(&path);
    site.get(&path)
        .await
        .shows(200, &["worker is paused.", ">Paused<", "Resume"]);
    site.post(&format!("{path}/resume"), &[]).await.sees(&path);
    site.get(&path).await.shows(200, &[">New<"]);
    site.post(&format!("{path}/rotate-token"), &[])
        .await
        .sees(&path);
    assert_eq!(site.get(&ping).await.status, 404);
    site.post(&format!("{path}/explode"), &[])
        .await
        .shows(404, &["no such page"]);

    let made = [
        ("name", "hook"),
        ("url", "http://192.0.2.1:9/secret-path"),
        ("default", "on"),
    ];
    site.post("/channels", &made).await.sees("/channels");
    let page = site.get("/channels").await;
    page.shows(
        200,
        &[
            "hook is made.",
            "whsec_",
            "http://192.0.2.1:9",
            "No channel receives Systole’s own troubles",
        ],
    );
    assert!(!page.body.contains("secret-path"));
    assert!(
        !site.get("/channels").await.body.contains("whsec_"),
        "shown once"
    );
    site.post("/channels/chn_1/delete", &[])
        .await
        .sees("/channels");
    site.get("/channels")
        .await
        .shows(200, &["hook is deleted.", "No channel yet"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_found_by_name_label_and_state_and_has_pages() {
    let mut site = Site::set_up().await;
    for n in 0..42 {
        let fields = [
            ("name", format!("job-{n:02}")),
            ("schedule", "1h".to_owned()),
        ];
        let fields: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        assert_eq!(site.post("/monitors", &fields).await.status, 303);
    }
    let first = site.get("/").await;
    first.shows(200, &["42 monitors", "job-41", "job-02", "Next page"]);
    assert!(!first.body.contains("job-01"));
    let next = first
        .body
        .split("rel=\"next\" href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .to_owned();
    let second = site.get(&next).await;
    second.shows(200, &["job-01", "job-00", "First page"]);
    assert!(!second.body.contains("job-02") && !second.body.contains("Next page"));
    site.get("/?q=JOB-1")
        .await
        .shows(200, &["10 monitors of 42", "job-10"]);
    site.get("/?q=team%3Dnone")
        .await
        .shows(200, &["No monitor matches."]);
    site.get("/?state=down")
        .await
        .shows(200, &["No monitor matches."]);
    site.get("/?state=new&q=job-4")
        .await
        .shows(200, &["2 monitors of 42"]);
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
