//! Just enough of HTTP/1.1 to know that an answer is whole, cheaply: the generator shares the server's cores.

use memchr::{memchr, memmem};

/// What the first bytes of a connection hold.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Not all of it is here yet.
    Partial,
    /// One whole answer.
    Whole { status: u16, closes: bool },
    /// Not an answer that this reader knows.
    Strange,
}

pub fn read(bytes: &[u8]) -> Answer {
    let Some(head_end) = memmem::find(bytes, b"\r\n\r\n") else {
        return Answer::Partial;
    };
    let Some(status) = status_of(bytes) else {
        return Answer::Strange;
    };
    let (mut length, mut closes) = (0, false);
    let mut rest = &bytes[..head_end + 2];
    while let Some(end) = memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        // Only these two headers matter, and both begin with this letter.
        if !matches!(line.first(), Some(b'c' | b'C')) {
            continue;
        }
        if let Some(value) = header(line, b"content-length") {
            let Some(parsed) = std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.trim().parse::<usize>().ok())
            else {
                return Answer::Strange;
            };
            length = parsed;
        } else if let Some(value) = header(line, b"connection") {
            closes = value.trim_ascii().eq_ignore_ascii_case(b"close");
        }
    }
    match bytes.len().cmp(&(head_end + 4 + length)) {
        std::cmp::Ordering::Less => Answer::Partial,
        std::cmp::Ordering::Equal => Answer::Whole { status, closes },
        // Nothing is pipelined, so nothing may follow.
        std::cmp::Ordering::Greater => Answer::Strange,
    }
}

fn status_of(bytes: &[u8]) -> Option<u16> {
    if !bytes.starts_with(b"HTTP/1.1 ") {
        return None;
    }
    std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()
}

fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at_checked(name.len())?;
    if found.eq_ignore_ascii_case(name) {
        value.strip_prefix(b":")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_their_end_and_no_further() {
        let whole = |status, closes| Answer::Whole { status, closes };
        for (bytes, expected) in [
            ("", Answer::Partial),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", Answer::Partial),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nO",
                Answer::Partial,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK",
                whole(200, false),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length:2\r\nConnection: close\r\n\r\nOK",
                whole(200, true),
            ),
            (
                "HTTP/1.1 503 Service Unavailable\r\ndate: x\r\n\r\n",
                whole(503, false),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOKHTTP",
                Answer::Strange,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
                Answer::Strange,
            ),
            ("SSH-2.0\r\n\r\n", Answer::Strange),
        ] {
            assert_eq!(read(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
