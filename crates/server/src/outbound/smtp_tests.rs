use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use url::Host;

use super::super::Limits;
use super::*;

/// What is said to each command, by its beginning; to others nothing. The first is the greeting.
type Script = &'static [(&'static str, &'static str)];

const GOOD: Script = &[
    ("", "220 mail.test\r\n"),
    ("EHLO", "250-mail.test\r\n250 SIZE 1000\r\n"),
    ("MAIL", "250 ok\r\n"),
    ("RCPT", "250 ok\r\n"),
    ("DATA", "354 go on\r\n"),
    (".", "250 taken\r\n"),
    ("QUIT", "221 bye\r\n"),
];

/// A server that follows a script, and the lines that it was sent.
async fn scripted(changes: Script) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let said = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&said);
    tokio::spawn(async move {
        let reply = move |line: &str| {
            let fits = |(begin, _): &&(&str, &str)| match *begin {
                "" | "." => line == *begin,
                begin => line.starts_with(begin),
            };
            changes
                .iter()
                .find(fits)
                .or(GOOD.iter().find(fits))
                .map(|(_, reply)| *reply)
        };
        while let Ok((stream, _)) = listener.accept().await {
            let (reading, mut writing) = stream.into_split();
            let mut lines = BufReader::new(reading).lines();
            _ = writing.write_all(reply("").unwrap().as_bytes()).await;
            let mut in_letter = false;
            while let Ok(Some(line)) = lines.next_line().await {
                heard.lock().unwrap().push(line.clone());
                in_letter = match line.as_str() {
                    "DATA" => reply("DATA").is_some_and(|reply| reply.starts_with("354")),
                    "." => false,
                    _ => in_letter,
                };
                if in_letter && line != "DATA" {
                    continue;
                }
                if let Some(reply) = reply(&line) {
                    _ = writing.write_all(reply.as_bytes()).await;
                }
            }
        }
    });
    (port, said)
}

fn client_with(limits: Limits) -> Outbound {
    Outbound::with("127.0.0.1".parse().unwrap(), RootCertStore::empty(), limits).unwrap()
}

fn client() -> Outbound {
    client_with(Limits::default())
}

fn mail(port: u16, tls: Tls) -> Mail {
    Mail {
        server: Server {
            host: Host::Domain("localhost".to_owned()),
            port,
            tls,
            ca: Vec::new(),
            credentials: None,
        },
        from: "systole@example.com".to_owned(),
        to: vec!["a@example.com".to_owned(), "b@example.com".to_owned()],
        letter: b"Subject: x\r\n\r\n.hidden\r\n".to_vec(),
    }
}

#[tokio::test]
async fn a_letter_is_sent_in_the_order_of_the_protocol() {
    let (port, said) = scripted(&[]).await;
    let answer = client()
        .send_mail(&mail(port, Tls::None), || true)
        .await
        .unwrap();
    assert_eq!(
        (answer.stage, answer.code, answer.accepted),
        (Stage::Letter, 250, 2)
    );
    let said = said.lock().unwrap().clone();
    assert_eq!(
        said[..9],
        [
            "EHLO [127.0.0.1]",
            "MAIL FROM:<systole@example.com>",
            "RCPT TO:<a@example.com>",
            "RCPT TO:<b@example.com>",
            "DATA",
            "Subject: x",
            "",
            "..hidden",
            ".",
        ]
    );
}

#[tokio::test]
async fn a_claim_that_has_grown_too_old_sends_no_letter() {
    let (port, said) = scripted(&[]).await;
    let error = client()
        .send_mail(&mail(port, Tls::None), || false)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::ClaimTooOld);
    let said = said.lock().unwrap().clone();
    assert!(said.iter().any(|line| line.starts_with("RCPT")), "{said:?}");
    assert!(!said.iter().any(|line| line == "DATA"), "{said:?}");
}

#[tokio::test]
async fn silence_at_any_step_ends() {
    let impatient = client_with(Limits {
        connect: Span::from_seconds(5),
        whole: Span::from_millis(100),
    });
    for (changes, why) in [
        (&[("", "")] as Script, "did not take the mail"),
        (&[("EHLO", "")], "did not take the mail"),
        (&[("RCPT", "")], "did not take the mail"),
        (&[("DATA", "")], "could not be written"),
        (&[(".", "")], "it may have arrived"),
    ] {
        let (port, _) = scripted(changes).await;
        let error = impatient
            .send_mail(&mail(port, Tls::None), || true)
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Timeout, "{changes:?}");
        let begin = format!("SMTP localhost:{port}: ");
        assert!(
            error.message.starts_with(&begin) && error.message.contains(why),
            "{}",
            error.message
        );
    }
}

#[tokio::test]
async fn refusals_and_nonsense_are_told_apart() {
    for (changes, stage, code) in [
        (&[("", "554 go away\r\n")] as Script, Stage::Greeting, 554),
        (&[("", "421 busy\r\n")], Stage::Greeting, 421),
        (&[("EHLO", "502 what\r\n")], Stage::Greeting, 502),
        (&[("RCPT TO:<b", "421 enough\r\n")], Stage::Recipients, 421),
        (&[("DATA", "451 later\r\n")], Stage::Letter, 451),
        // No success: nothing was said about the letter.
        (&[(".", "354 more\r\n")], Stage::Letter, 354),
    ] {
        let (port, _) = scripted(changes).await;
        let answer = client()
            .send_mail(&mail(port, Tls::None), || true)
            .await
            .unwrap();
        assert_eq!(
            (answer.stage, answer.code, answer.accepted),
            (stage, code, 0),
            "{changes:?}"
        );
    }
    let (port, _) = scripted(&[("", "SSH-2.0-x\r\n")]).await;
    let error = client()
        .send_mail(&mail(port, Tls::None), || true)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::InvalidResponse);
}

#[tokio::test]
async fn where_tls_is_asked_for_nothing_else_is_said_in_clear() {
    for (changes, why) in [
        (&[] as Script, "offers no STARTTLS"),
        (
            &[
                ("EHLO", "250-mail.test\r\n250 STARTTLS\r\n"),
                ("STARTTLS", "220 go\r\n250-mail.test\r\n250 AUTH PLAIN\r\n"),
            ],
            "somebody in between",
        ),
    ] {
        let (port, said) = scripted(changes).await;
        let error = client()
            .send_mail(&mail(port, Tls::StartTls), || true)
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Tls);
        assert!(error.message.contains(why), "{}", error.message);
        let said = said.lock().unwrap().clone();
        assert!(
            said.iter()
                .all(|line| line.starts_with("EHLO") || line == "STARTTLS"),
            "{said:?}"
        );
    }
}

#[test]
fn without_tls_the_address_itself_must_be_this_machines() {
    let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    };
    let mut mixed = addresses(&["10.0.0.1:25", "127.0.0.1:25"]);
    only_this_machine(&mut mixed).unwrap();
    assert_eq!(mixed, addresses(&["127.0.0.1:25"]));
    let (class, why) = only_this_machine(&mut addresses(&["10.0.0.1:25"])).unwrap_err();
    assert_eq!(class, ErrorClass::BlockedByPolicy);
    assert!(why.contains("10.0.0.1"), "{why}");
}
