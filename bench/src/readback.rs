//! What the store holds after a crash, read by the store itself.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use systole_store::Store;
use systole_store::record::unpack_checkins;
use uuid::Uuid;

/// A start that wrote nothing leaves an empty stream; so many in a row are the end.
const EMPTY_STREAMS: u32 = 5;
/// In a PostgreSQL that was promoted a sequence goes on some tens ahead.
const EMPTY_STREAMS_SHARED: u32 = 200;

/// The run ids of all check-ins in the log of `data_dir`, whose server has stopped.
pub fn read_all_rids(data_dir: &Path) -> Result<HashSet<Uuid>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime.block_on(async {
        let store = Store::open(data_dir)
            .await
            .with_context(|| format!("open {}", data_dir.display()))?;
        let found = read(&store, EMPTY_STREAMS).await?;
        Ok(found.into_keys().collect())
    })
}

/// How often each run id stands in the log of the shared database at `url`.
pub async fn count_rids(url: &str) -> Result<HashMap<Uuid, u32>> {
    let store = Store::connect(url).await.context("open the database")?;
    read(&store, EMPTY_STREAMS_SHARED).await
}

async fn read(store: &Store, empty_streams: u32) -> Result<HashMap<Uuid, u32>> {
    let mut found = HashMap::new();
    // Stream 0 holds people's commands.
    let (mut stream, mut empty) = (1, 0);
    while empty < empty_streams {
        let mut seq = 1;
        while let Some((at, body)) = store.row_body(stream, seq).await? {
            let records = unpack_checkins(&body, at)
                .with_context(|| format!("unpack row {seq} of stream {stream}"))?;
            for run in records.iter().filter_map(|record| record.checkin.run) {
                *found.entry(Uuid::from_u128(run)).or_default() += 1;
            }
            seq += 1;
        }
        empty = if seq == 1 { empty + 1 } else { 0 };
        stream += 1;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use systole_core::engine::Position;
    use systole_core::heartbeat::{Checkin, Signal};
    use systole_core::time::Time;
    use systole_store::log::Batch;
    use systole_store::record::{BatchPacker, CheckinRecord, Method};

    fn record(run: u128, at: Time) -> CheckinRecord {
        CheckinRecord {
            monitor: 1,
            checkin: Checkin {
                at,
                signal: Signal::Success,
                run: Some(run),
            },
            previous: Position::NONE,
            method: Method::Get,
            source: None,
            user_agent: "curl".into(),
            message: String::new(),
            body: Vec::new(),
            body_truncated: false,
        }
    }

    #[test]
    fn every_run_id_of_every_start_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let at = Time::from_seconds(1_000);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // The second start writes nothing, as one that is killed at once.
        for runs in [&[1_u128, 2, 3][..], &[], &[4]] {
            runtime.block_on(async {
                let store = Store::open(directory.path()).await.unwrap();
                let stream = store.open_stream("test", at).await.unwrap();
                for (seq, run) in (1..).zip(runs) {
                    let mut packer = BatchPacker::new(at);
                    packer.push(&record(*run, at));
                    packer.push(&record(run + 100, at));
                    let batch = Batch {
                        stream,
                        seq,
                        at,
                        count: 2,
                        body: packer.finish(),
                    };
                    store.append(&batch, || at).await.unwrap();
                }
            });
        }
        let expected = [1, 2, 3, 4, 101, 102, 103, 104].map(Uuid::from_u128);
        assert_eq!(
            read_all_rids(directory.path()).unwrap(),
            HashSet::from(expected)
        );
    }
}
