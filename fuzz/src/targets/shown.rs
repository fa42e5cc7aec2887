//! Text of strangers as it is shown: webhooks in a terminal, bodies and names on pages. Headers up to an empty line, then
//! the body.

use systole::commands::demo_receiver::describe;
use systole::out;
use systole_server::channels::signature::Secret;
use systole_server::web::text::{Untrusted, visible_body};
use systole_wire::rules::is_printable;

use super::{NOW, headers_of};

pub fn run(input: &[u8]) {
    let at = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = at.map_or((&b""[..], input), |at| (&input[..at], &input[at + 2..]));
    let headers = headers_of(head);
    let secret = Secret::parse(&Secret::encode(&[7; 32])).unwrap();
    for secret in [None, Some(&secret)] {
        let said = describe(&headers, body, secret, NOW);
        is_harmless(&said);
        assert!(!said.contains("signature: valid"), "nobody signed this");
    }
    let text = String::from_utf8_lossy(body);
    let line = out::shown(&text);
    is_harmless(&line);
    assert!(!line.contains('\n'), "{line:?} is one line");
    is_harmless(&out::shown_lines(&text));

    let name = Untrusted::from(text.as_ref()).short(80).to_string();
    assert!(
        !name.contains(char::is_control),
        "{name:?} moves its neighbours"
    );
    for budget in [0, 10, 1_000] {
        let (shown, is_cut) = visible_body(body, budget);
        assert!(shown.len() <= budget, "{} bytes of {budget}", shown.len());
        assert!(!shown.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
        assert!(
            is_cut || shown.len() >= body.len().min(budget),
            "something was left out silently"
        );
    }
}

/// Nothing moves the cursor, colours the screen or turns a line around.
fn is_harmless(said: &str) {
    let harmful = said.chars().find(|c| *c != '\n' && !is_printable(*c));
    assert_eq!(harmful, None, "{said:?}");
}
