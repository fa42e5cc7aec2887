//! Email, against a real mail server that the test starts.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Server, path};

const TO: &[&str] = &["on-call@example.org", "lead@example.org"];

/// A mail server, with what it has received.
pub struct MailServer {
    port: u64,
    child: Child,
    said: Lines<BufReader<ChildStdout>>,
    certificate: String,
    _directory: tempfile::TempDir,
}

impl Drop for MailServer {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// One that has the server's library: Debian's package is for Debian's own Python, which need not be the first.
fn python() -> &'static str {
    let has_it = |python: &&str| {
        let tried = Command::new(python)
            .args(["-c", "import aiosmtpd.smtp"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    };
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .find(has_it)
        .expect("python3 with aiosmtpd is needed: apt-get install python3-aiosmtpd")
}

/// The text form of what a certificate or a key is made of.
fn pem(label: &str, der: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

impl MailServer {
    /// `settings` beside `tls` are those of `mail_server.py`.
    pub fn start(tls: &str, settings: Value) -> MailServer {
        let directory = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = pem("CERTIFICATE", made.cert.der());
        let (certificate_file, key_file) = (
            directory.path().join("c.pem"),
            directory.path().join("k.pem"),
        );
        std::fs::write(&certificate_file, &certificate).unwrap();
        std::fs::write(
            &key_file,
            pem("PRIVATE KEY", &made.signing_key.serialize_der()),
        )
        .unwrap();
        let mut whole = settings;
        whole["tls"] = json!(tls);
        whole["certificate"] = json!(certificate_file);
        whole["key"] = json!(key_file);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/mail_server.py");
        let mut child = Command::new(python())
            .args([script, &whole.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut server = MailServer {
            port: 0,
            child,
            said,
            certificate,
            _directory: directory,
        };
        server.port = server.next()["port"].as_u64().unwrap();
        server
    }

    /// What it says next; waits for it.
    fn next(&mut self) -> Value {
        let line = self.said.next().expect("the mail server ended").unwrap();
        serde_json::from_str(&line).unwrap()
    }

    pub async fn letter(&mut self) -> Letter {
        Letter(tokio::task::block_in_place(|| self.next()))
    }

    /// A channel's settings for it.
    pub fn config(&self, tls: &str) -> Value {
        json!({
            "host": "localhost", "port": self.port, "tls": tls, "ca": self.certificate,
            "username": "systole", "password": "hidden-password",
            "from": "Systole <systole@example.org>", "to": TO,
        })
    }
}

pub struct Letter(pub Value);

impl Letter {
    fn heads(&self) -> HashMap<&str, &str> {
        let heads = self.0["heads"].as_array().unwrap();
        let heads: Vec<(&str, &str)> = heads
            .iter()
            .map(|head| (head[0].as_str().unwrap(), head[1].as_str().unwrap()))
            .collect();
        let by_name: HashMap<&str, &str> = heads.iter().copied().collect();
        assert_eq!(by_name.len(), heads.len(), "a head twice: {heads:?}");
        by_name
    }

    pub fn head(&self, name: &str) -> &str {
        self.heads().get(name).copied().unwrap_or_default()
    }

    pub fn part(&self, kind: &str) -> &str {
        self.0["parts"][kind].as_str().unwrap()
    }
}

pub async fn make(server: &Server, name: &str, config: Value) -> Value {
    let input = json!({"name": name, "kind": "email", "config": config});
    server.post("/channels", input).await.expect(201)
}

pub async fn test_of(server: &Server, channel: &Value) -> Value {
    server
        .post(&path("channels", channel, "/test"), Value::Null)
        .await
        .expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_arrives_encrypted_with_both_parts_whatever_way_tls_begins() {
    let server = Server::start().await;
    for (tls, without) in [
        ("starttls", json!([])),
        ("starttls", json!(["PLAIN"])),
        ("implicit", json!([])),
        ("none", json!([])),
    ] {
        let mut mail = MailServer::start(tls, json!({"auth": true, "without": without}));
        let channel = make(&server, &format!("{tls} {without}"), mail.config(tls)).await;
        let tried = test_of(&server, &channel).await;
        assert_eq!(tried["outcome"], "delivered", "{tls}: {tried:#}");
        assert_eq!(
            (&tried["status"], &tried["response"]),
            (&json!(250), &json!("SMTP 250: 2.0.0 taken"))
        );
        let letter = mail.letter().await;
        for (field, expected) in [
            ("from", json!("systole@example.org")),
            ("to", json!(TO)),
            ("user", json!("systole")),
            ("tls", json!(tls != "none")),
            ("hello", json!("[127.0.0.1]")),
            ("type", json!("multipart/alternative")),
            ("defects", json!([])),
            ("is_ascii", json!(true)),
        ] {
            assert_eq!(letter.0[field], expected, "{tls}: {field}");
        }
        for (name, expected) in [
            ("from", "Systole <systole@example.org>"),
            ("to", "on-call@example.org, lead@example.org"),
            ("subject", "[Test] Systole: Test of this channel"),
            ("auto-submitted", "auto-generated"),
            ("x-auto-response-suppress", "All"),
            ("mime-version", "1.0"),
        ] {
            assert_eq!(letter.head(name), expected, "{name}");
        }
        assert!(
            letter.head("date").ends_with("+0000"),
            "{}",
            letter.head("date")
        );
        for kind in ["text/plain", "text/html"] {
            assert!(letter.part(kind).contains("Nothing is wrong"), "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_letters_of_an_incident_are_one_conversation() {
    let server = Server::start().await;
    let mut mail = MailServer::start("starttls", json!({"auth": true}));
    make(&server, "mail", mail.config("starttls")).await;
    let monitor = server
        .heartbeat("[prod] =?utf-8?B?4oCu?= & <b>job</b> ünï")
        .await;
    server
        .ping(&monitor, "/fail", "disk full\n.\nQUIT\n<script>")
        .await;
    let down = mail.letter().await;
    server.ping(&monitor, "", "").await;
    let up = mail.letter().await;

    let name = "[prod] = ?utf-8?B?4oCu?= & <b>job</b> ünï, incident #1";
    assert_eq!(down.head("subject"), format!("[Down] {name}"));
    assert_eq!(up.head("subject"), format!("Re: [Resolved] {name}"));
    let root = down.head("references");
    assert!(
        root.starts_with("<incident-1.channel-1.") && root.ends_with("@example.org>"),
        "{root}"
    );
    for letter in [&down, &up] {
        assert_eq!(
            (letter.head("references"), letter.head("in-reply-to")),
            (root, root)
        );
        assert_eq!(letter.0["defects"], json!([]));
        assert!(letter.0["longest"].as_u64().unwrap() <= 998);
    }
    let deliveries = server.get("/deliveries").await.expect(200);
    let keys: Vec<String> = deliveries["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("<{}@example.org>", one["idempotency_key"].as_str().unwrap()))
        .collect();
    assert_eq!(
        [up.head("message-id"), down.head("message-id")],
        keys[..],
        "the key of the delivery"
    );

    let text = down.part("text/plain");
    for said in [
        "Down: [prod] =?utf-8?B?4oCu?= & <b>job</b> ünï\n",
        "The job reported a failure.",
        "Severity:",
        "> disk full\n> .\n> QUIT\n> <script>\n",
        "/incidents/1",
    ] {
        assert!(
            text.replace("\r\n", "\n").contains(said),
            "{said:?} in {text}"
        );
    }
    let html = down.part("text/html");
    assert!(
        html.contains("&lt;b&gt;job&lt;/b&gt;") && html.contains("&lt;script&gt;"),
        "{html}"
    );
    assert!(!html.contains("<b>") && !html.contains("<script"), "{html}");
    assert!(
        up.part("text/plain").contains("It lasted"),
        "{}",
        up.part("text/plain")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_keeps_the_letter_from_nobody_else() {
    let server = Server::start().await;
    let refuse = json!({"refuse": {"lead@example.org": "550 5.1.1 no such user"}});
    let mut mail = MailServer::start("starttls", refuse);
    let mut config = mail.config("starttls");
    config["to"] = json!(["on-call@example.org", "lead@example.org"]);
    let channel = make(&server, "mail", config).await;
    let tried = test_of(&server, &channel).await;
    assert_eq!(
        (&tried["outcome"], &tried["response"]),
        (
            &json!("delivered"),
            &json!(
                "SMTP 250: 2.0.0 taken; not taken for lead@example.org (550 5.1.1 no such user)"
            )
        )
    );
    assert_eq!(mail.letter().await.0["to"], json!(["on-call@example.org"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_says_decides_what_becomes_of_it() {
    let server = Server::start().await;
    let none = |words: &str| json!({"on-call@example.org": words, "lead@example.org": "550 no"});
    for (settings, outcome, status, said) in [
        (
            json!({"refuse": none("550 no such user")}),
            "http_4xx",
            550,
            "at the recipients",
        ),
        (
            json!({"refuse": none("451 4.7.1 come back later")}),
            "http_5xx",
            451,
            "come back later",
        ),
        (
            json!({"refuse": none("450 busy")}),
            "rate_limited",
            450,
            "busy",
        ),
        (
            json!({"sender": "550 5.7.1 not yours"}),
            "http_4xx",
            550,
            "at the sender",
        ),
        (
            json!({"letter": "554 5.7.1 spam"}),
            "http_4xx",
            554,
            "at the letter: 5.7.1 spam",
        ),
        (
            json!({"letter": "452 4.3.1 disk full"}),
            "rate_limited",
            452,
            "disk full",
        ),
        (
            json!({"letter": "500 \u{1b}[2J hidden-password?"}),
            "invalid_payload",
            500,
            "␛[2J (secret)?",
        ),
        (
            json!({"sign_in": "454 4.7.0 later", "auth": true}),
            "http_5xx",
            454,
            "at the sign-in",
        ),
        (
            json!({"sign_in": "535 5.7.8 wrong", "auth": true}),
            "auth",
            535,
            "5.7.8 wrong",
        ),
    ] {
        let mail = MailServer::start("starttls", settings.clone());
        let mut config = mail.config("starttls");
        if settings.get("sign_in").is_some() {
            config["password"] = json!("another-hidden-one");
        }
        let channel = make(&server, &settings.to_string(), config).await;
        let tried = test_of(&server, &channel).await;
        assert_eq!(
            (&tried["outcome"], &tried["status"]),
            (&json!(outcome), &json!(status)),
            "{settings}: {tried:#}"
        );
        let error = tried["error"].as_str().unwrap();
        assert!(
            error.contains(said) && !error.contains("hidden"),
            "{settings}: {error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_in_clear_or_to_a_stranger() {
    let server = Server::start().await;
    let stranger = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (clear, encrypted) = (
        MailServer::start("none", json!({})),
        MailServer::start("starttls", json!({})),
    );
    for (name, mail, change, outcome, said) in [
        (
            "no starttls",
            &clear,
            json!({"tls": "starttls"}),
            "tls",
            "offers no STARTTLS",
        ),
        (
            "a stranger's certificate",
            &encrypted,
            json!({"ca": pem("CERTIFICATE", stranger.cert.der())}),
            "tls",
            "certificate",
        ),
        (
            "an unknown authority",
            &encrypted,
            json!({"ca": null}),
            "tls",
            "certificate",
        ),
        (
            "another name",
            &encrypted,
            json!({"host": "127.0.0.1"}),
            "tls",
            "certificate",
        ),
        (
            "no sign-in offered",
            &clear,
            json!({"tls": "none", "username": null, "password": null}),
            "delivered",
            "SMTP 250",
        ),
    ] {
        let mut config = mail.config("starttls");
        for (field, value) in change.as_object().unwrap() {
            config[field] = value.clone();
        }
        let channel = make(&server, name, config).await;
        let tried = test_of(&server, &channel).await;
        assert_eq!(tried["outcome"], outcome, "{name}: {tried:#}");
        let detail = tried["error"]
            .as_str()
            .or(tried["response"].as_str())
            .unwrap();
        assert!(
            detail.contains(said) && !detail.contains("hidden"),
            "{name}: {detail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_servers_address_is_judged_like_any_other() {
    let server = Server::start().await;
    for (host, said) in [
        ("169.254.169.254", "metadata"),
        ("10.1.2.3", "--outbound-allow"),
        ("::1", "--outbound-allow"),
    ] {
        let config = json!({"host": host, "from": "a@example.org", "to": ["b@example.org"]});
        let channel = make(&server, host, config).await;
        let tried = test_of(&server, &channel).await;
        assert_eq!(tried["outcome"], "blocked_by_policy", "{host}: {tried:#}");
        assert!(tried["error"].as_str().unwrap().contains(said), "{tried:#}");
    }
}

#[tokio::test]
async fn the_password_is_never_shown_and_stays() {
    let server = Server::start().await;
    let config = json!({
        "host": "mail.example.org", "from": "a@example.org", "to": ["b@example.org"],
        "username": "systole", "password": "hidden-password",
    });
    let made = make(&server, "mail", config).await;
    assert_eq!(made["config"]["password"], "(secret)");
    assert_eq!(
        (&made["digest"], &made["remind_every"]),
        (&json!(true), &json!("4h"))
    );
    let mut again = made["config"].clone();
    again["to"] = json!(["c@example.org"]);
    let at = path("channels", &made, "");
    let changed = server
        .call("PATCH", &at, json!({"config": again}))
        .await
        .expect(200);
    assert_eq!(changed["config"]["to"], json!(["c@example.org"]));
    for (field, value) in [
        ("host", json!("mail.elsewhere.example")),
        ("port", json!(2525)),
    ] {
        let mut elsewhere = changed["config"].clone();
        elsewhere[field] = value;
        let (named, message) = server
            .call("PATCH", &at, json!({"config": elsewhere}))
            .await
            .only_error(422);
        assert_eq!(named, "config.password", "an editor does not learn it");
        assert!(message.contains(field), "{message}");
    }
    let app = server.server.app();
    let stored = app.store.channel(1, 1).await.unwrap().unwrap();
    let opened = app
        .keys
        .open("channel", &stored.fields.config_cipher)
        .unwrap();
    assert!(
        String::from_utf8(opened)
            .unwrap()
            .contains("hidden-password")
    );
}
