//! A server with secrets in all of its settings and channels, from its first start to a backup.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::http::{ask, send};
use crate::common::{Server, directory, serve, systole, until};
use crate::search::Search;
use crate::support::Fake;

/// Answers everything with an error that quotes all that came, in every form that a program may show it in.
fn quoting() -> Fake {
    Fake::start(|asked| {
        let all = format!("{}\n{}", asked.line, asked.headers);
        let slashed = asked.line.replace('/', "\\/");
        (500, format!("cannot take this: {slashed}\n{all}"))
    })
}

/// Refuses every sign-in with the words of the sign-in.
fn mail_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            _ = stream.write_all(b"220 mail.test\r\n");
            for line in lines.map_while(Result::ok) {
                let answer = match line.split_once(' ') {
                    Some(("EHLO", _)) => "250-mail.test\r\n250 AUTH PLAIN\r\n".to_owned(),
                    Some(("AUTH", words)) => {
                        let encoded = words.trim_start_matches("PLAIN ");
                        let decoded = STANDARD.decode(encoded).unwrap_or_default();
                        let decoded = String::from_utf8_lossy(&decoded).replace('\0', " ");
                        format!("535 wrong: {encoded}, which is {decoded}\r\n")
                    }
                    _ => "221 bye\r\n".to_owned(),
                };
                _ = stream.write_all(answer.as_bytes());
            }
        }
    });
    port
}

const TOKEN: &str = "tok-Jw82nPlantedPing-xK";
const URL_PATH: &str = "T0PlantedPathB4Zq9";
const URL_QUERY: &str = "PlantedQueryWm5Rt8";
const HEADER: &str = "PlantedHeaderLp3Vn6";
const BASIC: &str = "PlantedBasicYc7Hd1";
const SIGNING: &[u8] = b"planted-signing-key-of-32-bytes!";
const SLACK: &str = "B0PlantedSlackUe4Fg2";
const SMTP: &str = "PlantedSmtpPassNb6Jk";
const SELF: &str = "PlantedSelfBeatOi9Px";
const PASSWORD: &str = "planted passphrase Qz5";
const WRONG: &str = "PlantedWrongSecretAa1";
const ADMIN: &str = "planted-admin-token-of-the-environment";

/// Every channel that there is, each failing in a way of its own.
fn channels(search: &mut Search, server: &Server, quoting: &str, mail: u16) -> usize {
    let plain = quoting.strip_prefix("http://").unwrap();
    let path = format!("{URL_PATH}/x?key={URL_QUERY}");
    let basic = STANDARD.encode(format!("user:{BASIC}"));
    let headers =
        json!({"Authorization": format!("Bearer {HEADER}"), "X-Basic": format!("Basic {basic}")});
    let secret = format!("whsec_{}", STANDARD.encode(SIGNING));
    let webhook = |url: String| json!({"url": url, "secret": secret, "headers": headers});
    let channels = [
        ("quoting", "webhook", webhook(format!("{quoting}/{path}"))),
        (
            "refusing",
            "webhook",
            webhook(format!("http://127.0.0.1:1/{path}")),
        ),
        (
            "no name",
            "webhook",
            webhook(format!("https://nobody.invalid/{path}")),
        ),
        (
            "no tls",
            "webhook",
            webhook(format!("https://{plain}/{path}")),
        ),
        (
            "forbidden",
            "webhook",
            webhook(format!("http://10.1.2.3/{path}")),
        ),
        (
            "chat",
            "slack",
            json!({"url": format!("{quoting}/services/{SLACK}")}),
        ),
        (
            "mail",
            "email",
            json!({"host": "127.0.0.1", "port": mail, "tls": "none", "username": "systole", "password": SMTP,
                "from": "a@example.com", "to": ["b@example.com"]}),
        ),
    ];
    for (name, kind, config) in &channels {
        let body = json!({"name": name, "kind": kind, "config": config, "system": true});
        let (status, made) = server.api("POST", "/channels", &body);
        assert_eq!(status, 201, "{made}");
        search.output(format!("api as admin: making {name}"), made.to_string());
        let path = format!("/channels/{}/test", made["id"].as_str().unwrap());
        let (status, outcome) = server.api("POST", &path, &Value::Null);
        assert_eq!(status, 200, "{outcome}");
        assert_ne!(outcome["outcome"], "delivered", "{name}");
        search.output(format!("test of {name}"), outcome.to_string());
    }
    for (kind, config) in [
        (
            "webhook",
            json!({"url": format!("ftp://h.example/{WRONG}")}),
        ),
        (
            "webhook",
            json!({"url": format!("https://u:{WRONG}@h.example/")}),
        ),
        (
            "webhook",
            json!({"url": "https://h.example/", "secret": WRONG}),
        ),
        (
            "webhook",
            json!({"url": "https://h.example/", "secret": [WRONG]}),
        ),
        (
            "webhook",
            json!({"url": "https://h.example/", "secret": format!("whsec_{WRONG}")}),
        ),
        (
            "webhook",
            json!({"url": "https://h.example/", "headers": {"x-a": format!("{WRONG}\n")}}),
        ),
        (
            "webhook",
            json!({"url": "https://h.example/", "headers": WRONG}),
        ),
        (
            "slack",
            json!({"url": format!("http://hooks.slack.com/services/{WRONG}")}),
        ),
        (
            "slack",
            json!({"url": format!("https://hooks.slack.com/{WRONG}")}),
        ),
        ("slack", json!({"url": WRONG})),
        ("email", json!({"host": "h.example", "password": [WRONG]})),
        (
            "email",
            json!({"host": "h.example", "password": format!("{WRONG}\r\n")}),
        ),
        (
            "email",
            json!({"host": "h.example", "tls": "none", "username": "a", "password": WRONG, "from": "a@b.example", "to": ["a@b.example"]}),
        ),
    ] {
        let body = json!({"name": "wrong", "kind": kind, "config": config});
        let (status, refused) = server.api("POST", "/channels", &body);
        assert_eq!(status, 422, "{body}: {refused}");
        search.output(format!("refusal of {kind}"), refused.to_string());
    }
    channels.len()
}

/// Requests that are wrong in every way in which a person or a program gets them wrong.
fn wrong_requests(search: &mut Search, server: &Server, ping_key: &str) {
    let form = format!(
        "origin: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n",
        server.url
    );
    let json = "content-type: application/json\r\n";
    for (method, path, headers, body) in [
        (
            "GET",
            format!("/ping/{TOKEN}/nonsense"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/ping/{TOKEN}/999"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/ping/{TOKEN}?rid={WRONG}"),
            String::new(),
            String::new(),
        ),
        (
            "DELETE",
            format!("/ping/{TOKEN}"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/ping/{WRONG}"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/ping/{ping_key}/nobody"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/nothing/{TOKEN}/{WRONG}"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/?token={WRONG}"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/api/v1/{TOKEN}"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            format!("/api/v1/monitors?token={WRONG}"),
            String::new(),
            String::new(),
        ),
        (
            "GET",
            "/api/v1/monitors".to_owned(),
            format!("authorization: Bearer {WRONG}\r\n"),
            String::new(),
        ),
        (
            "GET",
            "/api/v1/monitors".to_owned(),
            format!("authorization: {WRONG}\r\n"),
            String::new(),
        ),
        (
            "GET",
            "/metrics".to_owned(),
            format!("authorization: Bearer {WRONG}\r\n"),
            String::new(),
        ),
        (
            "GET",
            "/".to_owned(),
            format!("cookie: systole_session={WRONG}\r\n"),
            String::new(),
        ),
        (
            "POST",
            "/sign-in".to_owned(),
            form.clone(),
            format!("email=a@b.example&password={WRONG}"),
        ),
        (
            "POST",
            "/sign-in".to_owned(),
            form.clone(),
            format!("token={WRONG}"),
        ),
        (
            "POST",
            "/setup".to_owned(),
            form.clone(),
            format!("code={WRONG}&email=a@b.example&password={WRONG}"),
        ),
        (
            "POST",
            "/setup".to_owned(),
            form,
            "code=x&email=a@b.example&password=Qz5Short".to_owned(),
        ),
        (
            "POST",
            "/api/v1/channels".to_owned(),
            json.to_owned(),
            format!("{{\"config\":{{\"secret\":\"{WRONG}"),
        ),
    ] {
        let reply = ask(server.address, method, &path, &headers, body.as_bytes());
        assert!(reply.status >= 300, "{method} {path}: {}", reply.status);
        // The addresses themselves are the asker's.
        search.output(format!("{method} {path} ({})", reply.status), reply.body);
    }
    let request = format!("GET /ping/{TOKEN} HTTP/9.9\r\nx: {WRONG}\r\n\r\n");
    if let Some(reply) = send(server.address, request.as_bytes(), false) {
        search.output("no HTTP at all", reply.body);
    }
}

/// Everything that can be read, as somebody.
fn read_all(search: &mut Search, server: &Server, who: &str, headers: &str, paths: &[String]) {
    for path in paths {
        let reply = ask(server.address, "GET", path, headers, b"");
        assert_eq!(reply.status, 200, "{who} {path}: {}", reply.text());
        search.output(format!("{who} {path}"), reply.body);
    }
}

#[test]
fn nothing_that_comes_out_or_is_written_down_shows_a_secret() {
    let (data, files) = (directory(), directory());
    let mut search = Search::default();
    search.plant(
        "the token of a heartbeat",
        TOKEN,
        &["api as admin", "page as admin", "get ", "env file"],
    );
    search.plant(
        "a webhook's path",
        URL_PATH,
        &["api as admin", "get ", "export"],
    );
    search.plant(
        "a webhook's query",
        URL_QUERY,
        &["api as admin", "get ", "export"],
    );
    for (name, secret) in [
        ("a header", HEADER),
        ("a header's password", BASIC),
        ("Slack's path", SLACK),
        ("the SMTP password", SMTP),
        ("the self heartbeat's path", SELF),
        ("the password", PASSWORD),
        ("the end of a short password", "Qz5Short"),
        ("what was wrong", WRONG),
        ("the administrator's token", ADMIN),
    ] {
        search.plant(name, secret, &[]);
    }
    search.plant("the signing secret", SIGNING, &[]);

    let fake = quoting();
    let settings = files.path().join("systole.toml");
    std::fs::write(
        &settings,
        format!("self_heartbeat_url = \"{}/{SELF}\"\n", fake.url),
    )
    .unwrap();
    let start = |number: u32, admin: Option<&str>| {
        let more = [
            "--config",
            settings.to_str().unwrap(),
            "--outbound-allow",
            "127.0.0.1/32",
            "--log",
            "trace",
        ];
        let mut command = serve(data.path(), &more);
        command.stdout(File::create(files.path().join(format!("stdout-{number}"))).unwrap());
        if let Some(token) = admin {
            command.env("SYSTOLE_ADMIN_TOKEN", token);
        }
        Server::spawn(data.path(), command)
    };
    let server = start(1, None);
    let local = std::fs::read_to_string(data.path().join("local-token")).unwrap();
    search.plant("the local token", local.trim(), &[]);
    let key = std::fs::read_to_string(data.path().join("key")).unwrap();
    search.plant("the key's text", key.trim(), &[]);
    search.plant("the key", STANDARD.decode(key.trim()).unwrap(), &[]);

    // The administrator, by the code that stderr shows, and a session.
    let said = server.said();
    let code = said
        .split_once("/setup#")
        .unwrap()
        .1
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned();
    search.plant("the code of the set-up", &code, &["stderr of server 1"]);
    let form = format!(
        "origin: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n",
        server.url
    );
    let body = format!(
        "code={code}&email=admin@example.org&password={}",
        PASSWORD.replace(' ', "+")
    );
    let made = ask(server.address, "POST", "/setup", &form, body.as_bytes());
    assert_eq!(made.status, 303, "{}", made.text());
    let cookie = made
        .header("set-cookie")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    search.plant("the session", cookie.split_once('=').unwrap().1, &[]);

    let mail = mail_server();
    let count = channels(&mut search, &server, &fake.url, mail);
    let document =
        json!({"kind": "heartbeat", "name": "job", "schedule": {"every": "1h"}, "token": TOKEN});
    let heartbeat = server.heartbeat_of(&document);
    let (status, made) = server.api("POST", "/ping-key", &Value::Null);
    assert_eq!(status, 201, "{made}");
    let ping_key = made["ping_key"].as_str().unwrap().to_owned();
    search.plant(
        "the ping key",
        &ping_key,
        &["api as admin", "page as admin"],
    );
    let (_, viewer) = server.api("POST", "/tokens", &json!({"name": "v", "role": "viewer"}));
    let viewer = viewer["token"].as_str().unwrap().to_owned();
    search.plant("a viewer's token", &viewer, &[]);
    let by_name = format!("/ping/{ping_key}/made-by-name?create=1");
    assert!(server.get(&by_name).status < 300);
    assert_eq!(server.get(&format!("/ping/{TOKEN}/fail")).status, 200);
    until("an attempt on every channel", || {
        let shown = server.shown("/deliveries?limit=500");
        let tried = shown["items"].as_array().unwrap().iter();
        let tried = tried.filter(|one| !one["attempts"].as_array().unwrap().is_empty());
        (tried.count() >= count).then_some(())
    });
    until("the self heartbeat", || {
        fake.lines()
            .iter()
            .any(|line| line.contains(SELF))
            .then_some(())
    });
    wrong_requests(&mut search, &server, &ping_key);

    let api: Vec<String> = [
        "monitors",
        "channels",
        "incidents",
        "incidents/1",
        "deliveries",
        "maintenances",
        "openapi.json",
    ]
    .iter()
    .map(|path| format!("/api/v1/{path}"))
    .chain(
        ["checkins", "runs", "events"]
            .iter()
            .map(|list| format!("/api/v1/monitors/{}/{list}", heartbeat.id)),
    )
    .chain([format!("/api/v1/monitors/{}", heartbeat.id)])
    .collect();
    let as_viewer = format!("authorization: Bearer {viewer}\r\n");
    read_all(&mut search, &server, "api as viewer", &as_viewer, &api);
    let as_admin = format!("authorization: Bearer {}\r\n", local.trim());
    read_all(&mut search, &server, "api as admin", &as_admin, &api);
    let more = ["tokens", "ping-key", "doctor"].map(|path| format!("/api/v1/{path}"));
    read_all(&mut search, &server, "api as admin", &as_admin, &more);
    let pages = [
        "/",
        "/incidents",
        "/incidents/1",
        "/channels",
        "/maintenance",
        "/monitors/new",
    ]
    .map(str::to_owned);
    let of_monitor = [
        format!("/monitors/{}", heartbeat.id),
        format!("/monitors/{}/edit", heartbeat.id),
    ];
    let with_cookie = format!("cookie: {cookie}\r\n");
    read_all(
        &mut search,
        &server,
        "page as admin",
        &with_cookie,
        &[pages.to_vec(), of_monitor.to_vec()].concat(),
    );
    read_all(
        &mut search,
        &server,
        "page",
        "",
        &["/readyz", "/healthz", "/sign-in"].map(str::to_owned),
    );
    read_all(
        &mut search,
        &server,
        "metrics",
        &as_admin,
        &["/metrics".to_owned()],
    );

    commands(&mut search, &server, data.path(), files.path());
    search.files("files of the running server", data.path());
    search.output("stderr of server 1", server.stop());

    // The same data with a token in the environment.
    let server = start(2, Some(ADMIN));
    let headers = format!("authorization: Bearer {ADMIN}\r\n");
    read_all(
        &mut search,
        &server,
        "api by the environment's token",
        &headers,
        &["/api/v1/tokens".to_owned()],
    );
    let form = format!(
        "origin: {}\r\ncontent-type: application/x-www-form-urlencoded\r\n",
        server.url
    );
    let reply = ask(
        server.address,
        "POST",
        "/sign-in",
        &form,
        format!("token={ADMIN}").as_bytes(),
    );
    assert_eq!(reply.status, 303);
    search.output("stderr of server 2", server.stop());
    search.files("files after it", data.path());
    search.files("files beside it", files.path().join("out").as_path());
    for number in 1..=2 {
        let path = files.path().join(format!("stdout-{number}"));
        search.output(
            format!("stdout of server {number}"),
            std::fs::read(path).unwrap(),
        );
    }
    search.find();
}

/// Every command that talks to the server, and a backup.
fn commands(search: &mut Search, server: &Server, data: &Path, files: &Path) {
    let out = files.join("out");
    std::fs::create_dir(&out).unwrap();
    let token = data.join("local-token");
    let backup = out.join("backup.db");
    let env_file = files.join("variables");
    let document = files.join("wrong.yaml");
    std::fs::write(
        &document,
        format!(
            "kind: webhook\nname: quoting\nconfig: {{url: 'https://h.example/{WRONG}', secret: {{env: PLANTED}}}}\n---\n\
             kind: heartbeat\nname: job\nschedule: {{every: 1h}}\ntoken: {WRONG}\n"
        ),
    )
    .unwrap();
    let document = document.to_str().unwrap();
    let (backup, env_name, data) = (
        backup.to_str().unwrap(),
        env_file.to_str().unwrap(),
        data.to_str().unwrap(),
    );
    let ping = format!("{}/ping/{TOKEN}/nonsense", server.url);
    for (expected, arguments) in [
        (0, &["get", "monitors", "-o", "json"][..]),
        (0, &["get", "channels", "-o", "yaml"]),
        (0, &["export", "--env-file", env_name]),
        (1, &["diff", "-f", document]),
        (1, &["apply", "--dry-run", "-f", document]),
        (1, &["apply", "-f", document]),
        (1, &["doctor", "--send", "--data-dir", data]),
        (1, &["doctor", "--send", "-o", "json", "--data-dir", data]),
        (0, &["db", "backup", backup, "--data-dir", data]),
        (0, &["db", "check", backup, "--data-dir", data]),
        (1, &["ping", WRONG]),
        (1, &["ping", &ping]),
        (0, &["ping", TOKEN, "--message", "well"]),
        (0, &["exec", "--ping", TOKEN, "--", "true"]),
        (0, &["exec", "--ping", WRONG, "--", "true"]),
    ] {
        let name = arguments.join(" ");
        let status = search.run(
            &name,
            systole(arguments)
                .env("SYSTOLE_SERVER", &server.url)
                .env("SYSTOLE_TOKEN_FILE", &token)
                .env("PLANTED", format!("whsec_{WRONG}")),
        );
        let said = &search.outputs[search.outputs.len() - 1];
        assert_eq!(
            status,
            Some(expected),
            "{name}: {}",
            String::from_utf8_lossy(&said.1)
        );
    }
    for table in [
        "monitors",
        "channels",
        "incidents",
        "deliveries",
        "maintenances",
        "tokens",
    ] {
        search.run(
            &format!("table of {table}"),
            systole(&["get", table])
                .env("SYSTOLE_SERVER", &server.url)
                .env("SYSTOLE_TOKEN_FILE", &token),
        );
    }
    search.output("env file", std::fs::read(&env_file).unwrap());
}
