//! Libraries that are laid over the system's calls: a disk that is full, a clock that is wrong.

use std::path::PathBuf;
use std::process::Command;

/// A library that is laid over the system's own calls, by `LD_PRELOAD`, with a place for what it looks at.
pub struct Overlay {
    directory: tempfile::TempDir,
}

impl Overlay {
    /// Compiles it. Other users may read it: `PostgreSQL` runs as one.
    pub fn compile(source: &str) -> Overlay {
        let directory = tempfile::tempdir().unwrap();
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), readable).unwrap();
        let overlay = Overlay { directory };
        std::fs::write(overlay.path("overlay.c"), source).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(overlay.library())
            .arg(overlay.path("overlay.c"))
            .arg("-ldl")
            .output()
            .unwrap();
        assert!(compiled.status.success(), "{compiled:?}");
        overlay
    }

    /// The library.
    pub fn library(&self) -> PathBuf {
        self.path("overlay.so")
    }

    /// A file of this name beside it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
