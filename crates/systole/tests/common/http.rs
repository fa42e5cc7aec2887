//! HTTP/1.1 over a plain socket: one request, one answer, nothing hidden.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection whose reads end some time.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A request's head; the headers end with a line break each. A body has its length said.
pub fn head(method: &str, path: &str, headers: &str, length: usize) -> String {
    let length = if length > 0 {
        format!("content-length: {length}\r\n")
    } else {
        String::new()
    };
    format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}{length}\r\n")
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    let headers = format!("connection: close\r\n{headers}");
    let mut bytes = head(method, path, &headers, body.len()).into_bytes();
    bytes.extend_from_slice(body);
    send(address, &bytes, method == "HEAD")
        .unwrap_or_else(|| panic!("no answer to {method} {path}"))
}

/// Sends these bytes on a connection of their own and reads one answer.
pub fn send(address: SocketAddr, bytes: &[u8], is_head: bool) -> Option<Reply> {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    read(&mut BufReader::new(stream), is_head)
}

/// Reads one answer; `None` when the connection ends before a whole one has come.
pub fn read(reader: &mut impl BufRead, is_head: bool) -> Option<Reply> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut reply = Reply {
        status,
        headers,
        body: Vec::new(),
    };
    if let Some(length) = reply
        .header("content-length")
        .and_then(|text| text.parse().ok())
        && !is_head
    {
        reply.body.resize(length, 0);
        reader.read_exact(&mut reply.body).ok()?;
    }
    Some(reply)
}
