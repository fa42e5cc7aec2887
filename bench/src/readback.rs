//! What the store holds after a crash.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use uuid::Uuid;

/// The run ids of all check-ins in the log of `data_dir`, whose server has stopped.
pub fn read_all_rids(data_dir: &Path) -> Result<HashSet<Uuid>> {
    let text = std::fs::read(data_dir.join("log"))?;
    Ok(text
        .chunks_exact(16)
        .filter_map(|bytes| Uuid::from_slice(bytes).ok())
        .collect())
}
