use serde_json::json;
use systole_core::message::MessageKind;
use systole_core::time::Time;

use super::super::payload::tests::triggered;
use super::super::tests::sending;
use super::super::words::tests::{many, resolved};
use super::*;
use crate::outbound::Refused;

fn parsed(more: &Value) -> Result<super::super::Config, String> {
    let mut config = json!({
        "host": "smtp.example.com", "from": "systole@example.com", "to": ["on-call@example.com"],
    });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    super::super::Config::parse("email", &config).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

fn config(more: &Value) -> Config {
    match parsed(more).unwrap() {
        super::super::Config::Email(config) => config,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_port_follows_from_the_tls() {
    for (more, tls, port) in [
        (json!({}), Tls::StartTls, 587),
        (json!({"tls": "implicit"}), Tls::Implicit, 465),
        (json!({"tls": "none", "host": "127.0.0.1"}), Tls::None, 25),
        (json!({"tls": "none", "host": "::1"}), Tls::None, 25),
        (
            json!({"tls": "none", "host": "localhost", "port": 2525}),
            Tls::None,
            2525,
        ),
    ] {
        let server = config(&more).server;
        assert_eq!((server.tls, server.port), (tls, port), "{more}");
    }
}

#[test]
fn wrong_settings_are_refused_at_their_field() {
    let many: Vec<String> = (0..51).map(|n| format!("a{n}@example.com")).collect();
    for (more, field, why) in [
        (json!({"host": ""}), "host", "empty"),
        (
            json!({"host": "smtp.example.com:587"}),
            "host",
            "field of its own",
        ),
        (
            json!({"host": "https://a.example/"}),
            "host",
            "name or address",
        ),
        (json!({"port": 0}), "port", "1 to 65535"),
        (json!({"port": 70_000}), "port", "1 to 65535"),
        (json!({"port": "587"}), "port", "1 to 65535"),
        (json!({"tls": "maybe"}), "tls", "starttls"),
        (json!({"tls": "none"}), "tls", "readable"),
        (
            json!({"tls": "none", "host": "10.0.0.1"}),
            "tls",
            "readable",
        ),
        (json!({"username": "a"}), "password", "without it"),
        (json!({"password": "hidden"}), "username", "without it"),
        (
            json!({"username": "a\nb", "password": "hidden"}),
            "username",
            "control character",
        ),
        (json!({"from": "nobody"}), "from", "not an address"),
        (
            json!({"from": "a@example.com\r\nBcc: x@example.com"}),
            "from",
            "control character",
        ),
        (json!({"from": "ä@example.com"}), "from", "xn--"),
        (json!({"to": "a@example.com"}), "to", "list"),
        (json!({"to": []}), "to", "1 to 50"),
        (json!({"to": many}), "to", "1 to 50"),
        (
            json!({"to": ["a@example.com", "a@example.com"]}),
            "to",
            "twice",
        ),
        (
            json!({"to": ["a@example.com>\r\nDATA"]}),
            "to",
            "control character",
        ),
        (json!({"to": ["\"a b\"@example.com"]}), "to", ""),
        (
            json!({"ca": "no certificate"}),
            "ca",
            "no certificate in it",
        ),
        (
            json!({"ca": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}),
            "ca",
            "cannot be trusted",
        ),
    ] {
        let error = parsed(&more).unwrap_err();
        assert!(
            error.starts_with(&format!("config.{field}: ")) && error.contains(why),
            "{more}: {error}"
        );
        assert!(!error.contains("hidden"), "{error}");
    }
}

#[test]
fn the_password_is_a_secret_everywhere() {
    let config = config(&json!({"username": "systole", "password": "hidden"}));
    assert_eq!(
        super::super::secret_fields("email").collect::<Vec<_>>(),
        ["password"]
    );
    let message = triggered();
    let mail = request(&config, &message, &sending("d-1", message.at)).unwrap();
    for shown in [format!("{config:?}"), format!("{mail:?}"), config.target()] {
        assert!(!shown.contains("hidden"), "{shown}");
    }
    assert_eq!(
        config.target(),
        "on-call@example.com by smtp.example.com:587"
    );
}

/// The head of a letter, as it travels.
fn head_of(message: &Message, id: &str) -> String {
    let mail = request(&config(&json!({})), message, &sending(id, message.at)).unwrap();
    let text = String::from_utf8(mail.letter).unwrap();
    text.split_once("\r\n\r\n").unwrap().0.to_owned()
}

fn line<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let start = format!("{name}: ");
    head.lines()
        .find_map(|line| line.strip_prefix(start.as_str()))
}

#[test]
fn every_attempt_has_the_same_id_and_every_message_the_same_root() {
    let first = head_of(&triggered(), "msg_1");
    let later = head_of(&resolved(), "msg_2/../x y");
    assert_eq!(line(&first, "Message-ID"), Some("<msg_1@example.com>"));
    assert_eq!(
        line(&first, "Message-ID"),
        line(&head_of(&triggered(), "msg_1"), "Message-ID")
    );
    assert_eq!(
        line(&later, "Message-ID"),
        Some("<msg_2-..-x-y@example.com>")
    );
    let root = line(&first, "References").unwrap();
    assert!(root.starts_with("<incident-12.channel-3."), "{root}");
    for head in [&first, &later] {
        assert_eq!(
            (line(head, "References"), line(head, "In-Reply-To")),
            (Some(root), Some(root))
        );
    }
    let group = head_of(&many(3, |n| format!("job-{n}")), "grp_1");
    assert_eq!(
        line(&group, "References"),
        None,
        "it belongs to no conversation"
    );
    assert_eq!(
        line(&group, "Subject"),
        Some("[Systole] 3 messages at once: 3 down")
    );
}

#[test]
fn the_subject_is_one_line_whatever_the_name() {
    for name in [
        "a\r\nBcc: x@example.com",
        "=?utf-8?Q?=0D=0ABcc:_x?=",
        &"n".repeat(200),
        &"ü ".repeat(100),
    ] {
        let mut message = triggered();
        message.monitor.as_mut().unwrap().name = name.to_owned();
        let head = head_of(&message, "d");
        assert!(
            !head.contains("\r\nBcc:") && !head.contains("=?utf-8?Q?=0D"),
            "{head}"
        );
        assert!(head.lines().all(|line| line.len() <= 998), "{head}");
    }
}

#[test]
fn a_message_of_any_kind_makes_a_letter() {
    for kind in MessageKind::ALL {
        for message in [triggered(), resolved(), many(2_000, |n| format!("{n}"))] {
            let message = Message { kind, ..message };
            assert!(
                request(&config(&json!({})), &message, &sending("d", message.at)).is_some(),
                "{kind}"
            );
        }
    }
    let test = Message::channel_test(Time::from_seconds(0));
    assert!(request(&config(&json!({})), &test, &sending("d", test.at)).is_some());
}

#[test]
fn an_answer_is_judged_by_its_stage_and_code() {
    use ErrorClass::*;
    let retry = |class| Outcome::Retry {
        class,
        retry_after: None,
    };
    let reject = |class| Outcome::Reject { class };
    for (stage, code, accepted, expected) in [
        (Stage::Letter, 250, 1, Outcome::Delivered { status: 250 }),
        (Stage::Letter, 421, 0, retry(RateLimited)),
        (Stage::Recipients, 450, 0, retry(RateLimited)),
        (Stage::Recipients, 451, 0, retry(Http5xx)),
        (Stage::Letter, 452, 0, retry(RateLimited)),
        (Stage::Authentication, 454, 0, retry(Http5xx)),
        (Stage::Authentication, 535, 0, reject(Auth)),
        (Stage::Authentication, 504, 0, reject(Auth)),
        (Stage::Sender, 530, 0, reject(Auth)),
        (Stage::Sender, 550, 0, reject(Http4xx)),
        (Stage::Recipients, 550, 0, reject(Http4xx)),
        (Stage::Letter, 552, 0, reject(Http4xx)),
        (Stage::Letter, 501, 0, reject(InvalidPayload)),
        (Stage::Greeting, 554, 0, reject(Http4xx)),
        (Stage::Letter, 354, 0, retry(InvalidResponse)),
        (Stage::Greeting, 100, 0, retry(InvalidResponse)),
    ] {
        let answer = MailAnswer {
            stage,
            code,
            said: String::new(),
            accepted,
            refused: Vec::new(),
        };
        assert_eq!(judge(&answer), expected, "{stage:?} {code}");
    }
}

#[test]
fn an_attempt_names_those_who_were_refused() {
    let one = |n: usize| Refused {
        address: format!("a{n}@example.com"),
        code: 550,
        said: "no".to_owned(),
    };
    let mut answer = MailAnswer {
        stage: Stage::Letter,
        code: 250,
        said: "queued".to_owned(),
        accepted: 1,
        refused: vec![one(1), one(2)],
    };
    assert_eq!(
        answer.detail(),
        "SMTP 250: queued; not taken for a1@example.com (550 no), a2@example.com (550 no)"
    );
    answer.refused = (0..49).map(one).collect();
    assert!(answer.detail().ends_with("and 39 more") && answer.detail().len() < 1_000);
    answer.accepted = 0;
    answer.code = 554;
    assert_eq!(answer.detail(), "SMTP 554 at the letter: queued");
}
