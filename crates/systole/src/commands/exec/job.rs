//! The command as a process: how it is started, reached, ended, and how it ended.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use systole_core::time::Span;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::output::Output;
use super::signals::Received;
use crate::failure::Failure;
use crate::out;

/// After KILL only the kernel can keep a process; it is not waited for longer than this.
const AFTER_KILL: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Processes that appear while all are being signalled are signalled too, so many times.
const ROUNDS_MAX: usize = 1000;

/// The status of a command that ran too long, of one that cannot be run, and of one that is not there.
const TIMED_OUT: u8 = 124;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// How long the command may run.
pub struct Limits {
    /// For ever, where not set.
    pub timeout: Option<Span>,
    /// Between TERM and KILL.
    pub kill_after: Span,
}

/// How the command ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It could not be run.
    NotRun {
        /// As shells have it.
        status: u8,
        /// Which command, and why.
        why: String,
    },
    /// By itself.
    Exited(u8),
    /// By a signal.
    Killed {
        /// Its number.
        signal: i32,
        /// Whether it came through us.
        passed_on: bool,
    },
    /// It ran too long.
    TimedOut {
        /// How long it was allowed to.
        after: Span,
        /// What it took to end it.
        by: &'static str,
    },
}

impl Ended {
    /// The exit status that says it.
    pub fn status(&self) -> u8 {
        match self {
            Ended::NotRun { status, .. } | Ended::Exited(status) => *status,
            Ended::Killed { signal, .. } => 128 + u8::try_from(signal & 0x7f).unwrap_or(0),
            Ended::TimedOut { .. } => TIMED_OUT,
        }
    }

    /// What the status alone does not say, for the report.
    pub fn note(&self) -> Option<String> {
        match self {
            Ended::NotRun { why, .. } => Some(why.clone()),
            Ended::Exited(_) => None,
            Ended::Killed { signal, passed_on } => {
                let name = Signal::try_from(*signal)
                    .map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned());
                let from = if *passed_on {
                    ", which was sent to systole exec"
                } else {
                    ""
                };
                Some(format!("the command was ended by {name}{from}"))
            }
            Ended::TimedOut { after, by } => {
                Some(format!("the command ran longer than {after}: {by}"))
            }
        }
    }

    /// The same for stderr, where we did it and the command has not.
    pub fn told(&self) -> Option<String> {
        match self {
            Ended::NotRun { .. } | Ended::TimedOut { .. } => self.note(),
            Ended::Exited(_) | Ended::Killed { .. } => None,
        }
    }

    fn not_run(program: &OsString, error: &io::Error) -> Ended {
        let (status, why) = match error.kind() {
            io::ErrorKind::NotFound => (NOT_FOUND, "there is no such program".to_owned()),
            _ if error.raw_os_error() == Some(Errno::ENOEXEC as i32) => (
                NOT_EXECUTABLE,
                "it is no program; does a script lack its #! line?".to_owned(),
            ),
            _ => (NOT_EXECUTABLE, error.to_string()),
        };
        let program = out::shown(&program.to_string_lossy());
        Ended::NotRun {
            status,
            why: format!("cannot run {program}: {why}"),
        }
    }

    fn of(status: ExitStatus, passed_on: &BTreeSet<Signal>) -> Ended {
        match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (None, signal) => {
                let signal = signal.unwrap_or_default();
                let passed_on =
                    Signal::try_from(signal).is_ok_and(|signal| passed_on.contains(&signal));
                Ended::Killed { signal, passed_on }
            }
        }
    }
}

/// The running command.
pub struct Job {
    child: Child,
    pid: Pid,
    reach: Reach,
}

impl Job {
    /// Starts it. The inner error is a command that cannot be run.
    ///
    /// # Errors
    /// Pipes that cannot be made.
    pub fn start(
        words: &[OsString],
        keep_output: bool,
        has_ended: &watch::Receiver<bool>,
    ) -> Result<Result<(Job, Output), Ended>, Failure> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Failure::Usage("no command was given".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        let reach = Reach::of_this_place();
        if reach == Reach::Group {
            command.process_group(0);
        }
        let mut output = Output::none();
        if keep_output {
            output.connect(&mut command, has_ended)?;
        }
        let spawned = command.spawn();
        // Our ends of its pipes: while we hold them, they do not end.
        drop(command);
        let child = match spawned {
            Ok(child) => child,
            Err(error) => return Ok(Err(Ended::not_run(program, &error))),
        };
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = Pid::from_raw(pid.unwrap_or_default());
        Ok(Ok((Job { child, pid, reach }, output)))
    }

    /// Passes signals on to it until it has ended or has run too long.
    pub async fn until_end(
        mut self,
        limits: &Limits,
        signals: &mut mpsc::Receiver<Received>,
    ) -> Ended {
        let mut passed_on = BTreeSet::new();
        let too_long = async {
            match limits.timeout {
                Some(limit) => {
                    tokio::time::sleep(limit.as_std()).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(too_long);
        loop {
            tokio::select! {
                status = self.child.wait() => return self.ended(status, &passed_on),
                after = &mut too_long => {
                    let by = self.end(limits.kill_after, signals).await;
                    return Ended::TimedOut { after, by };
                }
                Some(received) = signals.recv() => {
                    if self.pass_on(received) {
                        passed_on.insert(received.signal);
                    }
                }
            }
        }
    }

    fn ended(&self, status: io::Result<ExitStatus>, passed_on: &BTreeSet<Signal>) -> Ended {
        match status {
            Ok(status) => Ended::of(status, passed_on),
            Err(error) => Ended::NotRun {
                status: NOT_EXECUTABLE,
                why: format!("cannot learn how process {} ended: {error}", self.pid),
            },
        }
    }

    /// Ends it and all that it started: TERM, and KILL for what is left after a while.
    async fn end(
        &mut self,
        kill_after: Span,
        signals: &mut mpsc::Receiver<Received>,
    ) -> &'static str {
        self.reach.send(self.pid, Signal::SIGTERM);
        // One that was stopped could not take it.
        self.reach.send(self.pid, Signal::SIGCONT);
        if self.are_all_gone(kill_after.as_std(), signals).await {
            return "it was ended by SIGTERM";
        }
        self.reach.send(self.pid, Signal::SIGKILL);
        if self.are_all_gone(AFTER_KILL, signals).await {
            return "it did not end on SIGTERM and was ended by SIGKILL";
        }
        "it was sent SIGKILL and has not ended"
    }

    async fn are_all_gone(
        &mut self,
        within: Duration,
        signals: &mut mpsc::Receiver<Received>,
    ) -> bool {
        let deadline = tokio::time::Instant::now() + within;
        let mut has_ended = false;
        loop {
            let look_again = tokio::time::sleep_until(if has_ended {
                deadline.min(tokio::time::Instant::now() + LOOK_AGAIN)
            } else {
                deadline
            });
            tokio::select! {
                _ = self.child.wait(), if !has_ended => has_ended = true,
                () = look_again => {}
                Some(received) = signals.recv() => {
                    self.pass_on(received);
                }
            }
            if has_ended && !self.reach.has_any(self.pid) {
                return true;
            }
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
        }
    }

    /// What asks to end goes to all, as from a terminal; what tells something goes to the command alone, since others
    /// that do not know it would die of it.
    fn pass_on(&self, received: Received) -> bool {
        if received.from_terminal && self.reach == Reach::Descendants {
            // The terminal has sent it to the command too.
            return false;
        }
        if received.asks_to_end() {
            self.reach.send(self.pid, received.signal);
        } else if self.child.id().is_some() {
            // It may have ended just now.
            let _ = kill(self.pid, received.signal);
        }
        true
    }
}

/// How the command and all that it started are reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reach {
    /// They are a process group of their own.
    Group,
    /// They are in our group, since a terminal stops other groups that read from it, and sends Ctrl-C and Ctrl-Z to one
    /// group only. They are found by descent.
    Descendants,
}

impl Reach {
    fn of_this_place() -> Reach {
        // Orphans become our children: so all descend from us, and none stays behind as a dead entry where the first
        // process of a container takes no leave of them.
        let has_orphans = nix::sys::prctl::set_child_subreaper(true).is_ok();
        if has_orphans && std::fs::File::open("/dev/tty").is_ok() {
            Reach::Descendants
        } else {
            Reach::Group
        }
    }

    fn send(self, leader: Pid, signal: Signal) {
        // Who is not there any more needs no signal, and who is not ours to signal gets none.
        match self {
            Reach::Group => {
                let _ = killpg(leader, signal);
            }
            Reach::Descendants => {
                let mut sent = BTreeSet::new();
                for _ in 0..ROUNDS_MAX {
                    let found: Vec<i32> = descendants(std::process::id().cast_signed())
                        .into_iter()
                        .filter(|pid| sent.insert(*pid))
                        .collect();
                    if found.is_empty() {
                        break;
                    }
                    for pid in found {
                        let _ = kill(Pid::from_raw(pid), signal);
                    }
                }
            }
        }
    }

    /// Whether anybody is left, once the command itself has ended.
    fn has_any(self, leader: Pid) -> bool {
        let children = match self {
            Reach::Group => Pid::from_raw(-leader.as_raw()),
            Reach::Descendants => Pid::from_raw(-1),
        };
        loop {
            match waitpid(children, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return true,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self == Reach::Group && killpg(leader, None) != Err(Errno::ESRCH)
    }
}

/// All that descend from a process.
fn descendants(of: i32) -> BTreeSet<i32> {
    let processes: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent(&stat)?))
        })
        .collect();
    let mut found = BTreeSet::new();
    let mut parents = vec![of];
    while let Some(one) = parents.pop() {
        for (pid, parent) in &processes {
            if *parent == one && found.insert(*pid) {
                parents.push(*pid);
            }
        }
    }
    found
}

/// The parent in the kernel's line about a process, where the name in parentheses may hold anything.
fn parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_whatever_the_name_is() {
        for (stat, expected) in [
            ("12 (sh) S 7 12 12 0", Some(7)),
            ("12 (a) R 1 (b) S 8 12", Some(8)),
            ("12 (sh", None),
            ("", None),
        ] {
            assert_eq!(parent(stat), expected, "{stat}");
        }
    }

    #[test]
    fn each_end_has_its_status_and_its_words() {
        let cannot = |error: Errno| {
            Ended::not_run(&"job".into(), &io::Error::from_raw_os_error(error as i32))
        };
        let killed = |signal, passed_on| Ended::Killed { signal, passed_on };
        let slow = Ended::TimedOut {
            after: Span::from_seconds(300),
            by: "it was ended by SIGTERM",
        };
        for (ended, status, note) in [
            (Ended::Exited(3), 3, None),
            (
                killed(9, false),
                137,
                Some("the command was ended by SIGKILL"),
            ),
            (
                killed(15, true),
                143,
                Some("the command was ended by SIGTERM, which was sent to systole exec"),
            ),
            (
                killed(40, false),
                168,
                Some("the command was ended by signal 40"),
            ),
            (
                slow,
                124,
                Some("the command ran longer than 5m: it was ended by SIGTERM"),
            ),
            (
                cannot(Errno::ENOENT),
                127,
                Some("cannot run job: there is no such program"),
            ),
            (
                cannot(Errno::EACCES),
                126,
                Some("cannot run job: Permission denied (os error 13)"),
            ),
            (
                cannot(Errno::ENOEXEC),
                126,
                Some("cannot run job: it is no program; does a script lack its #! line?"),
            ),
        ] {
            assert_eq!((ended.status(), ended.note().as_deref()), (status, note));
        }
    }
}
