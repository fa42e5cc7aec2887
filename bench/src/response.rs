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
    let (mut length, mut closes, mut chunked) = (0, false, false);
    let mut rest = &bytes[..head_end + 2];
    while let Some(end) = memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        // Only three headers matter, and they begin with these letters.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
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
        } else if let Some(value) = header(line, b"transfer-encoding") {
            chunked = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        }
    }
    if chunked {
        return read_chunks(&bytes[head_end + 4..], status, closes);
    }
    match bytes.len().cmp(&(head_end + 4 + length)) {
        std::cmp::Ordering::Less => Answer::Partial,
        std::cmp::Ordering::Equal => Answer::Whole { status, closes },
        // Nothing is pipelined, so nothing may follow.
        std::cmp::Ordering::Greater => Answer::Strange,
    }
}

/// A body in chunks ends with an empty one; trailers are not known here.
fn read_chunks(mut body: &[u8], status: u16, closes: bool) -> Answer {
    loop {
        let Some(line) = memmem::find(body, b"\r\n") else {
            return Answer::Partial;
        };
        let size = std::str::from_utf8(&body[..line])
            .ok()
            .and_then(|text| usize::from_str_radix(text.split(';').next()?.trim(), 16).ok());
        let Some(end) = size.and_then(|size| size.checked_add(line + 4)) else {
            return Answer::Strange;
        };
        if body.len() < end {
            return Answer::Partial;
        }
        if size == Some(0) {
            return if body.len() == end {
                Answer::Whole { status, closes }
            } else {
                Answer::Strange
            };
        }
        body = &body[end..];
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
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nb;x=1\r\n{\"ok\":true}\r\n0\r\n",
                Answer::Partial,
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n{\"ok\":true}\r\n0\r\n\r\n",
                whole(200, false),
            ),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nwhat\r\n",
                Answer::Strange,
            ),
            ("SSH-2.0\r\n\r\n", Answer::Strange),
        ] {
            assert_eq!(read(bytes.as_bytes()), expected, "{bytes:?}");
        }
    }
}
