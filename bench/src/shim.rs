//! A slow disk: a library put before the server's `fsync` and `fdatasync`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

const SOURCE: &str = include_str!("../shim/slow_fsync.c");

/// The compiled shim and the file in which it counts flushes.
pub struct Shim {
    library: PathBuf,
    count: PathBuf,
}

impl Shim {
    /// Compiles the shim into `directory`.
    pub fn build(directory: &Path) -> Result<Shim> {
        let (source, library) = (
            directory.join("slow_fsync.c"),
            directory.join("slow_fsync.so"),
        );
        fs::write(&source, SOURCE).with_context(|| format!("write {}", source.display()))?;
        let compiler = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()
            .context(
                "run cc, which compiles the shim that slows fsync down; install a C compiler",
            )?;
        if !compiler.status.success() {
            bail!(
                "cc could not compile the fsync shim: {}",
                String::from_utf8_lossy(&compiler.stderr)
            );
        }
        let count = directory.join("flushes");
        fs::write(&count, [0; 8]).with_context(|| format!("write {}", count.display()))?;
        Ok(Shim { library, count })
    }

    /// What a process needs in its environment to run with it.
    pub fn environment(&self, delay: Duration) -> Vec<(String, String)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.library.display().to_string()),
            ("SLOW_FSYNC_US".to_owned(), delay.as_micros().to_string()),
            (
                "SLOW_FSYNC_COUNT".to_owned(),
                self.count.display().to_string(),
            ),
        ]
    }

    /// Flushes so far, by every process that ran with it.
    pub fn flushes(&self) -> Result<u64> {
        let bytes =
            fs::read(&self.count).with_context(|| format!("read {}", self.count.display()))?;
        let bytes = bytes
            .first_chunk()
            .context("the count of flushes is short")?;
        Ok(u64::from_ne_bytes(*bytes))
    }
}
