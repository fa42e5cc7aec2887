//! Replies of SMTP servers: what comes at once, up to a line with a single dot; then all that comes later.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use systole_server::channels::Config;
use systole_server::outbound::smtp_dialogue::{Dialogue, Reply};
use systole_server::outbound::{Answer, MailAnswer, Stage};
use systole_wire::rules::is_printable;
use tokio::io::{Join, join};

use super::{NOW, is_said};

/// Bytes of a reply, as text in the worst case: each of them invisible, and written out.
const REPLY_MOST: usize = 17 * 1_024 * 12;

type Server<'i> = Join<&'i [u8], Vec<u8>>;

fn dialogue(bytes: &[u8]) -> Dialogue<Server<'_>> {
    Dialogue::new(join(bytes, Vec::new()))
}

/// All that is read is there, so nothing waits.
fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits for what is there"),
    }
}

pub fn run(input: &[u8]) {
    let at = input.windows(3).position(|end| end == b"\n.\n");
    let (first, later) = at.map_or((input, &b""[..]), |at| (&input[..=at], &input[at + 3..]));
    let all = read_all(first);
    before_the_handshake(first, later, all.first());
    sent(input);
}

/// Every reply up to the first that is none.
fn read_all(bytes: &[u8]) -> Vec<Reply> {
    let mut dialogue = dialogue(bytes);
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let mut replies = Vec::new();
    loop {
        match now(dialogue.reply()) {
            Ok(reply) => {
                is_of(&reply, &mut lines);
                judged(&reply);
                replies.push(reply);
            }
            Err((_, why)) => {
                is_said(&why, 1_000);
                assert!(why.chars().all(is_printable), "{why:?}");
                return replies;
            }
        }
    }
}

/// Its lines are the next ones, all of its code, and all but the last say that more follow.
fn is_of<'b>(reply: &Reply, lines: &mut impl Iterator<Item = &'b [u8]>) {
    let code = format!("{:03}", reply.code);
    loop {
        let line = lines.next().expect("a reply has lines");
        assert!(line.ends_with(b"\n"), "a line without an end is none");
        assert!(line.starts_with(code.as_bytes()), "{code} is not {line:?}");
        if line.get(3) != Some(&b'-') {
            break;
        }
    }
    let said = reply.said(usize::MAX);
    assert!(said.len() <= REPLY_MOST, "{} bytes are said", said.len());
    assert!(said.chars().all(is_printable), "{said:?}");
    assert!(reply.said(300).chars().count() <= 300 * 12);
    assert_eq!(reply.is_good(), (200..300).contains(&reply.code));
    assert!(!reply.offers("NO SUCH-WORD-AS-THIS ONE"));
}

/// What counts as delivered was taken for somebody.
fn judged(reply: &Reply) {
    let config =
        serde_json::json!({"host": "a.example", "from": "a@a.example", "to": ["b@a.example"]});
    let config = Config::parse("email", &config).unwrap();
    for accepted in [0, 1] {
        let answer = MailAnswer {
            stage: Stage::Letter,
            code: reply.code,
            said: reply.said(300),
            accepted,
            refused: Vec::new(),
        };
        assert!(answer.detail().chars().count() <= 1_000);
        let outcome = config.judge(&Answer::Mail(answer), NOW);
        let is_delivered = matches!(outcome, systole_core::delivery::Outcome::Delivered { .. });
        assert_eq!(is_delivered, accepted > 0);
    }
}

/// After one reply the connection is handed over for TLS: with nothing read ahead, or not at all.
fn before_the_handshake(first: &[u8], later: &[u8], reply: Option<&Reply>) {
    let Some(reply) = reply else { return };
    let mut clear = dialogue(first);
    assert_eq!(now(clear.reply()).as_ref(), Ok(reply));
    let lines = first.split_inclusive(|byte| *byte == b'\n');
    let mut length = 0;
    for line in lines {
        length += line.len();
        if line.get(3) != Some(&b'-') {
            break;
        }
    }
    let Ok(stream) = clear.into_stream() else {
        assert!(length < first.len(), "nothing came too early");
        return;
    };
    let (rest, _) = stream.into_inner();
    assert_eq!(
        rest.len(),
        first.len() - length,
        "something was read and kept"
    );
    // What is read afterwards is what came afterwards.
    let encrypted = now(dialogue(later).reply());
    assert_eq!(encrypted.ok(), read_all(later).into_iter().next());
}

/// A letter ends where it ends, and a command is one line, whatever they hold.
fn sent(letter: &[u8]) {
    let mut dialogue = dialogue(b"");
    now(dialogue.letter(letter)).unwrap();
    let Ok(stream) = dialogue.into_stream() else {
        panic!("nothing was read")
    };
    let (_, written) = stream.into_inner();
    let text: Vec<&[u8]> = written.split(|byte| *byte == b'\n').collect();
    let (ends, lines) = text.split_last().unwrap();
    assert!(ends.is_empty());
    let (dot, lines) = lines.split_last().unwrap();
    assert_eq!(*dot, b".\r");
    for line in lines {
        let (end, line) = line.split_last().unwrap();
        assert!(*end == b'\r' && !line.contains(&b'\r'), "{line:?}");
        assert_ne!(line, b".", "it would end there");
    }
    let Ok(line) = std::str::from_utf8(letter) else {
        return;
    };
    let mut dialogue = self::dialogue(b"");
    let refused = now(dialogue.command(line));
    assert!(refused.is_err(), "nobody answered");
    if let Ok(stream) = dialogue.into_stream() {
        let (_, written) = stream.into_inner();
        let lines = written.iter().filter(|byte| **byte == b'\n').count();
        assert!(lines <= 1, "{lines} commands");
    }
}
