//! Refused settings, documents and commands without a server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::common::{directory, serve, systole};
use crate::search::Search;

/// What refused configurations and commands without a server are given.
const GIVEN: &str = "Xq7GivenSecretKd93hV";

#[test]
fn what_is_refused_is_not_repeated() {
    let home = directory();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let data = home.path().join("data").to_str().unwrap().to_owned();
    let mut search = Search::default();
    search.plant("what was given", GIVEN, &[]);
    // Enough of them, so that the search has something to search.
    search.plant("its beginning", &GIVEN[..14], &[]);
    search.plant("its end", &GIVEN[6..], &[]);
    search.plant("reversed", GIVEN.chars().rev().collect::<String>(), &[]);

    let settings = [
        "self_heartbeat_url = \"https://h.example/GIVEN",
        "self_heartbeat_url = GIVEN",
        "self_heartbeat_url = \"ftp://h.example/GIVEN\"",
        "self_heartbeat_url = \"https://u:GIVEN@/\"",
        "self_heartbeat_url = {GIVEN = 1}",
        "database_url = \"mysql://u:GIVEN@db/x\"",
        "admin_token = \"GIVEN\"",
        "key = \"GIVEN\"",
        "token = \"GIVEN\"",
        "base_url = \"https://u:GIVEN@h.example/\"",
    ];
    for (n, line) in settings.iter().enumerate() {
        let file = write(&format!("{n}.toml"), &line.replace("GIVEN", GIVEN));
        let status = search.run(line, &mut serve(home.path(), &["--config", &file]));
        assert_eq!(status, Some(2), "{line}");
    }
    let long = STANDARD.encode(GIVEN);
    for (name, value) in [
        ("SYSTOLE_KEY", GIVEN),
        ("SYSTOLE_KEY", long.as_str()),
        ("SYSTOLE_ADMIN_TOKEN", GIVEN),
        ("SYSTOLE_SELF_HEARTBEAT_URL", &format!("hxxp://h/{GIVEN}")),
        ("SYSTOLE_SELF_HEARTBEAT_URL", &format!("https://[{GIVEN}/")),
        ("SYSTOLE_DATABASE_URL", &format!("pg://u:{GIVEN}@h/x")),
        ("SYSTOLE_BASE_URL", &format!("https://u:{GIVEN}@h.example/")),
    ] {
        let status = search.run(name, serve(home.path(), &[]).env(name, value));
        assert_eq!(status, Some(2), "{name}");
    }
    for url in [
        format!("postgres://u:{GIVEN}@127.0.0.1:1/x"),
        format!("postgres://u:x@127.0.0.1:port/{GIVEN}"),
    ] {
        let mut unreachable = serve(home.path(), &[]);
        unreachable
            .env("SYSTOLE_DATABASE_URL", &url)
            .env("SYSTOLE_KEY", STANDARD.encode([7; 32]));
        let status = search.run("database", &mut unreachable);
        assert_eq!(status, Some(1), "{url}");
    }
    let key = write("wrong-key", GIVEN);
    let status = search.run("key file", &mut serve(home.path(), &["--key-file", &key]));
    assert_eq!(status, Some(1));

    let bad_token = write("bad-token", &format!("{GIVEN} {GIVEN}"));
    let good_token = write("good-token", GIVEN);
    let url = |text: &str| format!("http://127.0.0.1:1/{text}");
    let with_password = format!("http://u:{GIVEN}@127.0.0.1:1");
    let queried = format!("https://x.example/?token={GIVEN}");
    let broken = [
        write(
            "1.yaml",
            &format!("kind: webhook\nname: a\nconfig: {{url: https://h/{GIVEN}\n"),
        ),
        write(
            "2.yaml",
            &format!("kind: webhook\nname: a\nconfig: {{secret: {{env: X}}\n{GIVEN}: [\n"),
        ),
        write(
            "3.yaml",
            &format!("kind: webhook\nname: a\nconfig: {GIVEN}\n"),
        ),
        write(
            "4.yaml",
            &format!("kind: heartbeat\nname: a\nschedule: {{every: 6h}}\ntoken: \"{GIVEN} !\"\n"),
        ),
        write(
            "5.yaml",
            &format!("kind: heartbeat\nname: a\nschedule: {{every: 6h}}\ntoken: [{GIVEN}]\n"),
        ),
    ];
    let (ping, path) = (url(&format!("ping/{GIVEN}")), format!("{GIVEN} {GIVEN}"));
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["ping", GIVEN, "--server", "http://127.0.0.1:1"],
        vec!["ping", &ping],
        vec!["ping", &path, "--server", "http://127.0.0.1:1"],
        vec!["ping", &queried, "--exit", "3"],
        vec!["ping", GIVEN, "--server", &with_password],
        vec![
            "exec",
            "--report-timeout",
            "1s",
            "--ping",
            &ping,
            "--",
            "sh",
            "-c",
            "exit 3",
        ],
        vec![
            "exec",
            "--report-timeout",
            "1s",
            "--ping",
            &path,
            "--",
            "sh",
            "-c",
            "exit 3",
        ],
        vec!["get", "monitors", "--server", &with_password],
        vec![
            "get",
            "monitors",
            "--server",
            "http://127.0.0.1:1",
            "--token",
            GIVEN,
        ],
        vec![
            "get",
            "monitors",
            "--server",
            "http://127.0.0.1:1",
            "--token",
            &path,
        ],
        vec![
            "get",
            "monitors",
            "--server",
            "http://127.0.0.1:1",
            "--token-file",
            &bad_token,
        ],
        vec![
            "export",
            "--server",
            "http://127.0.0.1:1",
            "--token-file",
            &good_token,
        ],
        vec![
            "doctor",
            "--server",
            "http://127.0.0.1:1",
            "--token-file",
            &good_token,
            "--data-dir",
            &data,
        ],
        vec![
            "doctor",
            "--server",
            "http://127.0.0.1:1",
            "--key-file",
            &key,
            "--data-dir",
            &data,
        ],
        vec!["db", "check", "--key-file", &key, "--data-dir", &data],
        vec![
            "demo-receiver",
            "--listen",
            "127.0.0.1:0",
            "--secret",
            GIVEN,
        ],
        vec![
            "demo-receiver",
            "--listen",
            "127.0.0.1:0",
            "--secret-file",
            &good_token,
        ],
    ];
    commands.extend(
        broken
            .iter()
            .map(|file| vec!["apply", "--server", "http://127.0.0.1:1", "-f", file]),
    );
    for command in commands {
        let status = search.run(
            &command.join(" ").replace(GIVEN, "GIVEN"),
            &mut systole(&command),
        );
        assert_ne!(status, Some(0), "{command:?}");
    }
    for (variable, command) in [
        (
            "SYSTOLE_PING",
            &["ping", "--server", "http://127.0.0.1:1"][..],
        ),
        (
            "SYSTOLE_TOKEN",
            &["get", "channels", "--server", "http://127.0.0.1:1"],
        ),
        (
            "SYSTOLE_TOKN",
            &["get", "channels", "--server", "http://127.0.0.1:1"],
        ),
    ] {
        let status = search.run(variable, systole(command).env(variable, GIVEN));
        assert_ne!(status, Some(0), "{command:?}");
    }
    search.find();
}
