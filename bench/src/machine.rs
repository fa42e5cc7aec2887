//! What Linux says of a process, a disk and the machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Ticks a second of the times in /proc; the same on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// CPU time of a process, in seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    pub fn of(pid: u32) -> Result<Cpu> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // The command's name may hold spaces; it ends at the last parenthesis.
        let fields: Vec<&str> = text
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let seconds = |index: usize| {
            fields
                .get(index)
                .and_then(|ticks| ticks.parse::<f64>().ok())
        };
        let (user, system) = seconds(11)
            .zip(seconds(12))
            .with_context(|| format!("no CPU times in {path}"))?;
        Ok(Cpu {
            user: user / TICKS,
            system: system / TICKS,
        })
    }

    pub fn since(self, earlier: Cpu) -> Cpu {
        Cpu {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

/// Proportional set size in bytes: shared pages count by their share.
pub fn memory(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    field(&text, "Pss:")
        .map(|kib| kib * 1024.0)
        .with_context(|| format!("no Pss in {path}"))
}

/// Bytes that a process caused to be written, by the kernel's account.
pub fn written_by(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/io");
    let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    field(&text, "write_bytes:").with_context(|| format!("no write_bytes in {path}"))
}

fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

/// Bytes written to the block device under `path` since it appeared, by every process; `None` where there is no such
/// device (tmpfs, overlay).
pub fn written_to_device(path: &Path) -> Result<Option<f64>> {
    let device = fs::metadata(path)
        .with_context(|| format!("look at {}", path.display()))?
        .dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string("/proc/diskstats").context("read /proc/diskstats")?;
    Ok(sectors_written(&text, major, minor).map(|sectors| sectors * 512.0))
}

fn sectors_written(diskstats: &str, major: u32, minor: u32) -> Option<f64> {
    diskstats.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let here = fields.first()?.parse() == Ok(major) && fields.get(1)?.parse() == Ok(minor);
        if here {
            fields.get(9)?.parse().ok()
        } else {
            None
        }
    })
}

/// Writes everything dirty to the disk, so that earlier work is not counted as a run's.
pub fn flush() {
    rustix::fs::sync();
}

/// Bytes that the files under `path` occupy.
pub fn size_of(path: &Path) -> Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            sum += size_of(&entry.path())?;
        } else {
            let blocks = metadata.blocks() as f64;
            sum += blocks * 512.0;
        }
    }
    Ok(sum)
}

/// Median time of appending 4 KiB and waiting until it is on the disk.
pub fn probe_fsync(directory: &Path) -> Result<Duration> {
    let mut file =
        tempfile::tempfile_in(directory).context("make a file to probe the disk with")?;
    let mut times = Vec::new();
    for _ in 0..50 {
        let started = Instant::now();
        file.write_all(&[7; 4096])
            .and_then(|()| file.sync_data())
            .context("write to the disk")?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

/// Waits, at most 20 s, until other processes leave the machine alone; whether they do.
///
/// Call it while the benchmark's own processes are idle.
pub fn wait_for_quiet() -> Result<bool> {
    let give_up = Instant::now() + Duration::from_secs(20);
    loop {
        let before = busy_share()?;
        std::thread::sleep(Duration::from_millis(300));
        let after = busy_share()?;
        let (busy, all) = (after.0 - before.0, after.1 - before.1);
        if busy <= 0.12 * all {
            return Ok(true);
        }
        if Instant::now() >= give_up {
            return Ok(false);
        }
    }
}

/// Busy and all ticks of the machine's processors.
fn busy_share() -> Result<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let ticks: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|tick| tick.parse().ok())
        .collect();
    let all: f64 = ticks.iter().sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((all - idle, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_device_is_found_among_others() {
        let text = " 254 0 vda 104721 29655 5863730 27690 30400 49900 7553568 34114 0\n 254 1 vda1 1 2 3 4 5 6 777 8 9\n";
        assert_eq!(sectors_written(text, 254, 1), Some(777.0));
        assert_eq!(sectors_written(text, 254, 0), Some(7_553_568.0));
        assert_eq!(sectors_written(text, 7, 0), None);
    }

    #[test]
    fn this_process_has_memory_and_processor_time() {
        assert!(memory(std::process::id()).unwrap() > 0.0);
        assert!(Cpu::of(std::process::id()).unwrap().total() >= 0.0);
        assert!(written_by(std::process::id()).unwrap() >= 0.0);
    }
}
