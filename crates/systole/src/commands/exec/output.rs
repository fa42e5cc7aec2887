//! The command's output: passed on as it comes, and its last bytes kept.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::say;

/// What a server keeps of a body, where it has not said.
const BODY_LIMIT: usize = 10_000;
/// No server keeps more.
const MOST_KEPT: usize = 1 << 20;
/// Holds all that a pipe holds, as a rule.
const CHUNK: usize = 1 << 16;
/// After the command's end whoever keeps its output open may be silent for so long...
const SILENT_MAX: Duration = Duration::from_secs(2);
/// ... and may go on for so long.
const LEFT_OPEN_MAX: Duration = Duration::from_secs(10);

/// The output of one run.
pub struct Output {
    relays: JoinSet<Left>,
    tail: Arc<Mutex<Tail>>,
    is_open: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// A process that the command left behind may still write.
    Open,
}

impl Output {
    /// Of a command whose output is not ours to see.
    pub fn none() -> Output {
        Output {
            relays: JoinSet::new(),
            tail: Arc::default(),
            is_open: false,
        }
    }

    /// Connects a command that is to be started. Where stdout and stderr go to one place they share one pipe, so that
    /// their order stays exactly as it was written.
    ///
    /// # Errors
    /// Pipes that cannot be made.
    pub fn connect(
        &mut self,
        command: &mut Command,
        has_ended: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let (reader, writer) = io::pipe()?;
        if is_same(&stdout, &stderr)? {
            command.stderr(Stdio::from(writer.try_clone()?));
        } else {
            let (reader, writer) = io::pipe()?;
            command.stderr(Stdio::from(writer));
            self.relay(reader, stderr, has_ended)?;
        }
        command.stdout(Stdio::from(writer));
        self.relay(reader, stdout, has_ended)
    }

    fn relay(
        &mut self,
        from: PipeReader,
        to: File,
        has_ended: &watch::Receiver<bool>,
    ) -> io::Result<()> {
        let from = pipe::Receiver::from_owned_fd(OwnedFd::from(from))?;
        let relay = Relay {
            to: Some(Arc::new(to)),
            tail: Arc::clone(&self.tail),
        };
        self.relays.spawn(relay.run(from, has_ended.clone()));
        Ok(())
    }

    /// Waits until all has been passed on, or what is still open is given up. Can be left and called again.
    pub async fn finished(&mut self) {
        while let Some(left) = self.relays.join_next().await {
            self.is_open |= matches!(left, Ok(Left::Open));
        }
    }

    /// What was given up.
    pub fn note(&self) -> Option<String> {
        self.is_open.then(|| {
            "a process that the command left behind keeps its output open; it is not waited for"
                .to_owned()
        })
    }

    /// The body of a report: the last bytes of the output, then the notes as lines.
    pub fn body(&self, notes: &[Option<String>], limit: Option<usize>) -> Vec<u8> {
        let limit = limit.unwrap_or(BODY_LIMIT);
        lock(&self.tail).body(notes, limit)
    }
}

fn lock(tail: &Mutex<Tail>) -> MutexGuard<'_, Tail> {
    tail.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// The last bytes.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn push(&mut self, chunk: &[u8]) {
        self.bytes.extend(chunk);
        let over = self.bytes.len().saturating_sub(MOST_KEPT);
        self.bytes.drain(..over);
    }

    fn body(&self, notes: &[Option<String>], limit: usize) -> Vec<u8> {
        let mut said = String::new();
        for note in notes.iter().flatten() {
            said += &format!("systole: {note}\n");
        }
        if !said.is_empty() && self.bytes.back().is_some_and(|last| *last != b'\n') {
            said.insert(0, '\n');
        }
        let said = said.as_bytes();
        let said = said.get(..limit).unwrap_or(said);
        let room = limit - said.len();
        let from = self.bytes.len().saturating_sub(room);
        let mut body: Vec<u8> = self.bytes.range(from..).copied().collect();
        body.extend_from_slice(said);
        body
    }
}

/// One pipe's way from the command to where our own output goes.
struct Relay {
    to: Option<Arc<File>>,
    tail: Arc<Mutex<Tail>>,
}

impl Relay {
    async fn run(mut self, from: pipe::Receiver, mut has_ended: watch::Receiver<bool>) -> Left {
        let mut buffer = vec![0; CHUNK];
        let mut ended: Option<Instant> = None;
        // Whether all that the command itself wrote has been read.
        let mut is_emptied = false;
        loop {
            match from.try_read(&mut buffer) {
                Ok(0) => return Left::Nothing,
                Ok(length) => {
                    lock(&self.tail).push(&buffer[..length]);
                    buffer = match self.pass_on(buffer, length).await {
                        Some(buffer) => buffer,
                        None => return Left::Nothing,
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    is_emptied = ended.is_some();
                    // A failed wait shows itself at the next read.
                    if is_emptied {
                        if timeout(SILENT_MAX, from.readable()).await.is_err() {
                            return Left::Open;
                        }
                    } else {
                        tokio::select! {
                            _ = from.readable() => {}
                            _ = has_ended.wait_for(|ended| *ended) => {}
                        }
                    }
                }
                Err(error) => {
                    say(&format!("cannot read the command's output: {error}"));
                    return Left::Nothing;
                }
            }
            if ended.is_none() && *has_ended.borrow() {
                ended = Some(Instant::now());
            }
            if is_emptied && ended.is_some_and(|ended| ended.elapsed() > LEFT_OPEN_MAX) {
                return Left::Open;
            }
        }
    }

    /// Writes where our output goes, on a thread of its own: it may be slow, and signals and time-outs must not wait for
    /// it. `None` when nobody reads there any more, as the command would have found out itself.
    async fn pass_on(&mut self, buffer: Vec<u8>, length: usize) -> Option<Vec<u8>> {
        let Some(to) = self.to.clone() else {
            return Some(buffer);
        };
        let written = tokio::task::spawn_blocking(move || {
            let written = write_all(&to, &buffer[..length]);
            (buffer, written)
        });
        let (buffer, written) = written.await.ok()?;
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return None,
            Err(error) => {
                say(&format!(
                    "the command's output cannot be passed on: {error}"
                ));
                self.to = None;
            }
        }
        Some(buffer)
    }
}

fn write_all(mut to: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Whoever started us has made it so.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut waiting = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
                poll(&mut waiting, PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_holds_the_last_bytes_and_all_notes() {
        let note = Some("x".to_owned());
        for (output, notes, limit, expected) in [
            (&b"abc"[..], &[][..], 10, &b"abc"[..]),
            (b"abc", &[None], 2, b"bc"),
            (
                b"abc\n",
                std::slice::from_ref(&note),
                100,
                b"abc\nsystole: x\n",
            ),
            (b"abc", std::slice::from_ref(&note), 14, b"bc\nsystole: x\n"),
            (
                b"",
                &[note.clone(), None, note.clone()],
                100,
                b"systole: x\nsystole: x\n",
            ),
            (b"abc\n", std::slice::from_ref(&note), 3, b"sys"),
            (b"abc", std::slice::from_ref(&note), 0, b""),
            (b"\xff\x00", &[], 10, b"\xff\x00"),
        ] {
            let mut tail = Tail::default();
            tail.push(output);
            assert_eq!(tail.body(notes, limit), expected, "{output:?} {limit}");
        }
    }

    #[test]
    fn no_more_is_kept_than_a_server_could_take() {
        let mut tail = Tail::default();
        for byte in 0..40 {
            tail.push(&[byte; CHUNK]);
        }
        assert_eq!(tail.bytes.len(), MOST_KEPT);
        assert_eq!(tail.body(&[], 1), [39]);
    }
}
