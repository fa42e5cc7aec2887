//! The form of SMTP: commands and letters out, replies in, each within bounds whatever the other side sends.

use systole_core::delivery::ErrorClass;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::connect::Failure;
use crate::visible::visible;

/// The longest reply, all its lines together.
const REPLY_MOST: usize = 16 * 1_024;

/// A reply: a code, and lines of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its three digits.
    pub code: u16,
    lines: Vec<String>,
}

impl Reply {
    /// Whether it says that what was asked is done.
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// Whether one of the lines after the first is this word, or begins with its first word and holds its second:
    /// `STARTTLS`, `AUTH PLAIN`.
    pub fn offers(&self, what: &str) -> bool {
        let mut words = what.split(' ');
        let (keyword, parameter) = (words.next().unwrap_or_default(), words.next());
        self.lines.iter().skip(1).any(|line| {
            // Servers of old write `AUTH=PLAIN`.
            let mut found = line.split([' ', '=']).filter(|word| !word.is_empty());
            found
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case(keyword))
                && parameter
                    .is_none_or(|parameter| found.any(|word| word.eq_ignore_ascii_case(parameter)))
        })
    }

    /// What it said, in one line of at most so many characters.
    pub fn said(&self, most: usize) -> String {
        let text = self.lines.join(" ");
        let kept: String = text.trim().chars().take(most).collect();
        visible(&kept).into_owned()
    }
}

/// Both directions of a connection.
pub struct Dialogue<S> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialogue<S> {
    /// With nothing read yet.
    pub fn new(stream: S) -> Dialogue<S> {
        Dialogue {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends a line and reads the reply. What could end the line would be a second command.
    ///
    /// # Errors
    /// Why there is no reply.
    pub async fn command(&mut self, line: &str) -> Result<Reply, Failure> {
        if line.contains(['\r', '\n']) {
            let why = "a command would have two lines".to_owned();
            return Err((ErrorClass::InvalidConfig, why));
        }
        self.write(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Sends a letter and its end.
    ///
    /// # Errors
    /// The connection was lost.
    pub async fn letter(&mut self, letter: &[u8]) -> Result<(), Failure> {
        self.write(&stuffed(letter)).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        written.await.map_err(|error| lost(&error))
    }

    /// Reads one reply: lines of one code, all but the last with a hyphen behind it.
    ///
    /// # Errors
    /// It is none, it has no end, or the connection was lost.
    pub async fn reply(&mut self) -> Result<Reply, Failure> {
        let mut reply: Option<Reply> = None;
        let mut seen = 0;
        loop {
            let line = self.line().await?;
            seen += line.len();
            let (code, is_last, text) = read(&line)?;
            let reply = reply.get_or_insert(Reply {
                code,
                lines: Vec::new(),
            });
            if reply.code != code || seen > REPLY_MOST {
                return Err(nonsense("the lines of its reply do not fit together"));
            }
            reply.lines.push(text);
            if is_last {
                return Ok(reply.clone());
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, Failure> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                return Ok(self.unread.drain(..=end).collect());
            }
            if self.unread.len() > REPLY_MOST {
                return Err(nonsense("its reply has no end"));
            }
            let mut read = [0; 1_024];
            let n = self
                .stream
                .read(&mut read)
                .await
                .map_err(|error| lost(&error))?;
            if n == 0 {
                let why = "the server closed the connection".to_owned();
                return Err((ErrorClass::Connect, why));
            }
            self.unread.extend_from_slice(&read[..n]);
        }
    }

    /// The connection, for TLS. Whatever the server, or somebody in between, has sent already is no part of what is
    /// encrypted, and must not be taken for it.
    ///
    /// # Errors
    /// There is something that was not read.
    pub fn into_stream(self) -> Result<S, Failure> {
        if self.unread.is_empty() {
            return Ok(self.stream);
        }
        let why = "more than one reply came before the connection was encrypted: somebody in between may have added it";
        Err((ErrorClass::Tls, why.to_owned()))
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Dialogue<S> {
    /// Says goodbye, which nobody waits for.
    pub(super) fn leave(mut self) {
        tokio::spawn(async move {
            let goodbye = self.command("QUIT");
            _ = tokio::time::timeout(std::time::Duration::from_secs(2), goodbye).await;
        });
    }
}

/// `250-text`: code, whether it is the last line, text. Bytes that are no text are replaced.
fn read(line: &[u8]) -> Result<(u16, bool, String), Failure> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_end_matches(['\r', '\n']);
    let wrong = || {
        nonsense(&format!(
            "what it says is no reply of SMTP: {}",
            visible(&head(text))
        ))
    };
    let (code, rest) = text.split_at_checked(3).ok_or_else(wrong)?;
    if !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let code: u16 = code.parse().map_err(|_| wrong())?;
    match rest.as_bytes().first() {
        None => Ok((code, true, String::new())),
        Some(b' ') => Ok((code, true, rest[1..].to_owned())),
        Some(b'-') => Ok((code, false, rest[1..].to_owned())),
        Some(_) => Err(wrong()),
    }
}

fn head(text: &str) -> String {
    text.chars().take(80).collect()
}

fn nonsense(why: &str) -> Failure {
    (ErrorClass::InvalidResponse, why.to_owned())
}

fn lost(error: &std::io::Error) -> Failure {
    (
        ErrorClass::Connect,
        format!("the connection was lost: {error}"),
    )
}

/// The letter as it travels: lines end with CR LF and nothing else, one that begins with a dot gets another, and a line
/// with a single dot ends it. A lone CR or LF in it could be an end to some servers and text to others.
fn stuffed(letter: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(letter.len() + 16);
    let mut bytes = letter.iter().copied().peekable();
    let mut at_begin = true;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\r' | b'\n' => {
                if byte == b'\r' {
                    bytes.next_if_eq(&b'\n');
                }
                out.extend_from_slice(b"\r\n");
                at_begin = true;
                continue;
            }
            b'.' if at_begin => out.extend_from_slice(b".."),
            byte => out.push(byte),
        }
        at_begin = false;
    }
    if !at_begin {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    /// What is read of this.
    async fn replies(bytes: &[u8]) -> Result<Vec<Reply>, Failure> {
        let (ours, mut theirs) = duplex(64 * 1_024);
        theirs.write_all(bytes).await.unwrap();
        drop(theirs);
        let mut dialogue = Dialogue::new(ours);
        let mut replies = Vec::new();
        loop {
            match dialogue.reply().await {
                Ok(reply) => replies.push(reply),
                Err((ErrorClass::Connect, _)) if dialogue.unread.is_empty() => return Ok(replies),
                Err(failure) => return Err(failure),
            }
        }
    }

    #[tokio::test]
    async fn replies_of_one_line_and_of_several_are_read() {
        let read = replies(
            b"220 hello\r\n250-mail.example\r\n250-AUTH LOGIN plain\r\n250 STARTTLS\r\n354\r\n",
        )
        .await;
        let read = read.unwrap();
        let codes: Vec<u16> = read.iter().map(|reply| reply.code).collect();
        assert_eq!(codes, [220, 250, 354]);
        assert_eq!(read[1].said(100), "mail.example AUTH LOGIN plain STARTTLS");
        for (what, expected) in [
            ("STARTTLS", true),
            ("AUTH PLAIN", true),
            ("AUTH LOGIN", true),
            ("AUTH CRAM-MD5", false),
            ("PLAIN", false),
            ("mail.example", false),
        ] {
            assert_eq!(read[1].offers(what), expected, "{what}");
        }
    }

    #[tokio::test]
    async fn what_is_no_reply_is_refused_and_bounded() {
        for (bytes, why) in [
            (b"HTTP/1.1 400 Bad Request\r\n".to_vec(), "no reply of SMTP"),
            (b"25\r\n".to_vec(), "no reply of SMTP"),
            (b"250_x\r\n".to_vec(), "no reply of SMTP"),
            ("2é0 x\r\n".as_bytes().to_vec(), "no reply of SMTP"),
            (b"250-a\r\n251 b\r\n".to_vec(), "fit together"),
            (vec![b'2'; 40_000], "no end"),
            (b"250-x\r\n".repeat(4_000), "fit together"),
        ] {
            let (class, message) = replies(&bytes).await.unwrap_err();
            assert_eq!(class, ErrorClass::InvalidResponse);
            assert!(message.contains(why), "{message}");
        }
        let said = replies(b"550 \xff\x1b[2J\r\n").await.unwrap()[0].said(100);
        assert_eq!(said, "\u{fffd}␛[2J");
    }

    #[tokio::test]
    async fn what_came_before_the_handshake_is_not_believed() {
        let (ours, mut theirs) = duplex(1_024);
        theirs
            .write_all(b"220 go\r\n250 injected\r\n")
            .await
            .unwrap();
        let mut dialogue = Dialogue::new(ours);
        assert_eq!(dialogue.reply().await.unwrap().code, 220);
        let (class, message) = dialogue.into_stream().map(drop).unwrap_err();
        assert_eq!(class, ErrorClass::Tls);
        assert!(message.contains("in between"), "{message}");
    }

    #[tokio::test]
    async fn a_command_has_one_line() {
        let (ours, _theirs) = duplex(1_024);
        let wrong = Dialogue::new(ours).command("RCPT TO:<a>\r\nDATA").await;
        assert_eq!(wrong.unwrap_err().0, ErrorClass::InvalidConfig);
    }

    #[test]
    fn a_letter_ends_where_it_ends() {
        for (letter, sent) in [
            ("a\r\nb\r\n", "a\r\nb\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            ("", ".\r\n"),
            (".\r\n..\r\n.a", "..\r\n...\r\n..a\r\n.\r\n"),
            ("a\n.\nQUIT\n", "a\r\n..\r\nQUIT\r\n.\r\n"),
            ("a\r.\r\nb", "a\r\n..\r\nb\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(stuffed(letter.as_bytes())).unwrap(), sent);
        }
    }
}
