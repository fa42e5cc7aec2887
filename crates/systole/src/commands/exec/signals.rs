//! Which signals reach the command through us.

use std::io;

use nix::sys::signal::Signal;
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::low_level::siginfo::Cause;
use tokio::sync::mpsc;

/// They ask to end.
const ENDING: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];
/// They tell a program something that it knows how to take.
const TELLING: [Signal; 4] = [
    Signal::SIGALRM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// A signal that came to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// From the kernel rather than from a process: from a terminal, to all in its foreground.
    pub from_terminal: bool,
}

impl Received {
    /// Whether it asks to end.
    pub fn asks_to_end(&self) -> bool {
        ENDING.contains(&self.signal)
    }
}

/// Begins to take signals. Those that whoever started us has turned off stay off, for the command too, as `nohup`
/// needs it.
///
/// # Errors
/// As the operating system says.
pub fn listen() -> io::Result<mpsc::Receiver<Received>> {
    // Where our parent ignored it, the command's end would not be told to us.
    let children = signal_hook::iterator::Signals::new([Signal::SIGCHLD as i32])?;
    let ignored = ignored();
    let wanted = ENDING
        .into_iter()
        .chain(TELLING)
        .map(|signal| signal as i32)
        .filter(|number| ignored & (1 << (number - 1)) == 0);
    let mut arriving = SignalsInfo::<WithOrigin>::new(wanted)?;
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        let _children = children;
        for origin in arriving.forever() {
            let Ok(signal) = Signal::try_from(origin.signal) else {
                continue;
            };
            let received = Received {
                signal,
                from_terminal: matches!(origin.cause, Cause::Kernel),
            };
            if sender.blocking_send(received).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The signals that are ignored, one bit each, as the kernel shows them; nothing where it does not.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_of(&status)
}

fn ignored_of(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_kernel_s_words() {
        for (status, expected) in [
            (
                "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n",
                0x1001,
            ),
            ("Name:\tx\n", 0),
            ("SigIgn:\tx\n", 0),
        ] {
            assert_eq!(ignored_of(status), expected, "{status:?}");
        }
    }
}
