//! Instructions of a server: by the processor's counters where perf can read them, else by valgrind.
//!
//! Valgrind counts user mode only, and runs one thread at a time, some fifty times slower. A flush of the disk is not
//! slower there, so it would find fewer check-ins waiting than it does outside; a longer flush makes up for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What is printed where valgrind is missing too.
pub const INSTALL: &str =
    "neither perf's counters nor valgrind are there; apt-get install valgrind";

/// How instructions are counted on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// User and kernel mode, of a process at full speed.
    Perf,
    /// User mode only, under valgrind.
    Callgrind,
}

impl Counter {
    pub fn of_this_machine() -> Option<Counter> {
        let perf = Command::new("perf")
            .args(["stat", "-x,", "-e", "instructions:u,instructions:k", "true"])
            .output();
        if perf.is_ok_and(|output| read_perf(&String::from_utf8_lossy(&output.stderr)).is_some()) {
            return Some(Counter::Perf);
        }
        let valgrind = Command::new("valgrind")
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success());
        let vgdb = Command::new("vgdb").arg("--help").output().is_ok();
        (valgrind && vgdb).then_some(Counter::Callgrind)
    }
}

/// Perf attached to a process.
pub struct Perf(Child);

impl Perf {
    pub fn attach(pid: u32) -> Result<Perf> {
        let child = Command::new("perf")
            .args([
                "stat",
                "-x,",
                "-e",
                "instructions:u,instructions:k",
                "-p",
                &pid.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start perf")?;
        // Counting begins when perf has attached, which it does not announce.
        std::thread::sleep(Duration::from_millis(300));
        Ok(Perf(child))
    }

    /// User and kernel instructions since it was attached.
    pub fn detach(self) -> Result<(f64, f64)> {
        let pid = i32::try_from(self.0.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .context("perf has no id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::INT).context("stop perf")?;
        let output = self.0.wait_with_output().context("wait for perf")?;
        let text = String::from_utf8_lossy(&output.stderr);
        read_perf(&text).with_context(|| format!("no counts in what perf printed: {text}"))
    }
}

fn read_perf(text: &str) -> Option<(f64, f64)> {
    let count = |event: &str| {
        let line = text.lines().find(|line| line.contains(event))?;
        line.split(',').next()?.parse::<f64>().ok()
    };
    count("instructions:u").zip(count("instructions:k"))
}

/// Where a server under valgrind writes its counts.
pub struct Callgrind {
    out: PathBuf,
    dumps: u32,
}

impl Callgrind {
    pub fn new(directory: &Path, name: &str) -> Callgrind {
        Callgrind {
            out: directory.join(format!("callgrind.{name}")),
            dumps: 0,
        }
    }

    /// What to put before the server's command.
    pub fn wrapper(&self) -> Vec<String> {
        let out = format!("--callgrind-out-file={}", self.out.display());
        let fixed = [
            "valgrind",
            "--quiet",
            "--tool=callgrind",
            "--fair-sched=yes",
            "--instr-atstart=no",
        ];
        fixed.into_iter().map(str::to_owned).chain([out]).collect()
    }

    pub fn begin(&self, pid: u32) -> Result<()> {
        tell(pid, &["instrumentation", "on"])
    }

    /// User instructions of the whole process while `run` ran.
    pub fn count<T>(&mut self, pid: u32, run: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
        tell(pid, &["zero"])?;
        let result = run()?;
        tell(pid, &["dump"])?;
        self.dumps += 1;
        let path = PathBuf::from(format!("{}.{}", self.out.display(), self.dumps));
        let give_up = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(count) = fs::read_to_string(&path)
                .ok()
                .and_then(|text| read_callgrind(&text))
            {
                return Ok((count, result));
            }
            if Instant::now() >= give_up {
                bail!("valgrind wrote no counts to {}", path.display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn tell(pid: u32, words: &[&str]) -> Result<()> {
    let output = Command::new("vgdb")
        .args(["--wait=10", &format!("--pid={pid}")])
        .args(words)
        .output()
        .context("run vgdb, which comes with valgrind")?;
    if !output.status.success() {
        bail!(
            "vgdb could not tell valgrind {words:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// The last line of a dump that is whole.
fn read_callgrind(text: &str) -> Option<f64> {
    text.lines()
        .rev()
        .take(5)
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_are_not_supported_are_not_taken_for_zero() {
        let counted = "12345,,instructions:u,1000,100.00,,\n678,,instructions:k,1000,100.00,,\n";
        assert_eq!(read_perf(counted), Some((12345.0, 678.0)));
        let missing = "<not supported>,,instructions:u,0,100.00,,\n<not supported>,,instructions:k,0,100.00,,\n";
        assert_eq!(read_perf(missing), None);
    }

    #[test]
    fn a_dump_counts_only_once_it_is_whole() {
        assert_eq!(
            read_callgrind("events: Ir\nfn=x\n1 2\n\ntotals: 4711\n"),
            Some(4711.0)
        );
        assert_eq!(read_callgrind("events: Ir\nfn=x\n1 2\n"), None);
    }
}
