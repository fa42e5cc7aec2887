//! What the store holds after a crash, read by the store itself.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Context, Result};
use systole_store::Store;
use systole_store::record::unpack_checkins;
use uuid::Uuid;

/// A start that wrote nothing leaves an empty stream; so many in a row are the end.
const EMPTY_STREAMS: u32 = 5;

/// The run ids of all check-ins in the log of `data_dir`, whose server has stopped.
pub fn read_all_rids(data_dir: &Path) -> Result<HashSet<Uuid>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(read(data_dir))
}

async fn read(data_dir: &Path) -> Result<HashSet<Uuid>> {
    let store = Store::open(data_dir)
        .await
        .with_context(|| format!("open {}", data_dir.display()))?;
    let mut found = HashSet::new();
    // Stream 0 holds people's commands.
    let (mut stream, mut empty) = (1, 0);
    while empty < EMPTY_STREAMS {
        let mut seq = 1;
        while let Some((at, body)) = store.row_body(stream, seq).await? {
            let records = unpack_checkins(&body, at)
                .with_context(|| format!("unpack row {seq} of stream {stream}"))?;
            found.extend(
                records
                    .iter()
                    .filter_map(|record| record.checkin.run)
                    .map(Uuid::from_u128),
            );
            seq += 1;
        }
        empty = if seq == 1 { empty + 1 } else { 0 };
        stream += 1;
    }
    Ok(found)
}
