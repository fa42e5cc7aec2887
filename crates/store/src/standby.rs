//! What a replica reads that stands by: which monitors another one has decided, and their rows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use systole_core::engine::{MonitorId, Persisted, Row, Vector};

use crate::monitors::ids_text;
use crate::settings::SettingsDocument;
use crate::state::{unpack, unpack_vector};
use crate::{Error, Store, sql};

/// Transitions that are read at once.
const TRANSITIONS: i64 = 1_000;

/// Rows of one stream that are read by one statement.
const ROWS: u32 = 1_000;

/// Where deciding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// The highest cut ever written.
    pub cut: u64,
    /// The next free number of an incident.
    pub next_incident: u64,
    /// The newest transition.
    pub transition: i64,
}

impl Store {
    /// Where deciding stands.
    ///
    /// # Errors
    /// What the database says.
    pub async fn numbers(&self) -> Result<Numbers, Error> {
        let row = sql::query(
            "SELECT (SELECT COALESCE(MAX(cut), 0) FROM log_cut), (SELECT COALESCE(MAX(cut), 0) FROM checkpoint),
             (SELECT COALESCE(MAX(id), 0) FROM incident), (SELECT COALESCE(MAX(seq), 0) FROM incident_event)",
        )
        .fetch_one(self.readers())
        .await
        .map_err(Error::attempted("read where deciding stands"))?;
        let number = |index| row.get::<i64>(index).cast_unsigned();
        Ok(Numbers {
            cut: number(0).max(number(1)),
            next_incident: number(2) + 1,
            transition: row.get(3),
        })
    }

    /// The monitors of transitions after `seq`, and the last of these. Not more than a thousand: ask again until there
    /// are none.
    ///
    /// # Errors
    /// What the database says.
    pub async fn transitions(&self, seq: i64) -> Result<Option<(i64, Vec<MonitorId>)>, Error> {
        let rows = sql::query(
            "SELECT seq, monitor_id FROM incident_event WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(seq)
        .bind(TRANSITIONS)
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read what was decided"))?;
        let monitors: BTreeSet<MonitorId> = rows
            .iter()
            .filter_map(|row| MonitorId::try_from(row.get::<i64>(1)).ok())
            .collect();
        let last = rows.last().map(|row| row.get(0));
        Ok(last.map(|last| (last, monitors.into_iter().collect())))
    }

    /// The cut of the checkpoint and its vector.
    ///
    /// # Errors
    /// What the database says.
    pub async fn checkpoint(&self) -> Result<(u64, Vector), Error> {
        let row = sql::query("SELECT cut, vector FROM checkpoint WHERE id = 1")
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read the checkpoint"))?;
        match row {
            Some(row) => Ok((
                row.get::<i64>(0).cast_unsigned(),
                unpack_vector(row.get(1))?,
            )),
            None => Ok((0, Vector::new())),
        }
    }

    /// These monitors as they were persisted, and the rows of the log after them, for
    /// [`systole_core::engine::Engine::reload`]: all from one snapshot.
    ///
    /// # Errors
    /// What the database says.
    pub async fn persisted(&self, ids: &[MonitorId]) -> Result<(Vec<Persisted>, Vec<Row>), Error> {
        let attempted = || Error::attempted("read the states of some monitors");
        let mut session = self.session().await?;
        session.begin_snapshot().await?;
        let read = async {
            let mut settings = HashMap::new();
            for row in sql::query("SELECT id, body FROM settings")
                .fetch_all(session.connection())
                .await
                .map_err(attempted())?
            {
                let document: SettingsDocument = serde_json::from_str(row.get(1))
                    .map_err(|_| Error::Corrupt("settings cannot be read"))?;
                settings.insert(row.get::<i64>(0), Arc::new(document.settings()?));
            }
            let rows = sql::query("SELECT vector FROM checkpoint WHERE id = 1")
                .fetch_optional(session.connection())
                .await
                .map_err(attempted())?;
            let checkpoint =
                Arc::new(rows.map_or_else(|| Ok(Vector::new()), |row| unpack_vector(row.get(0)))?);
            let mut bases: HashMap<i64, Arc<Vector>> = HashMap::new();
            for row in sql::query(
                "SELECT cut, vector FROM log_cut WHERE cut IN
                 (SELECT cut FROM monitor_state WHERE id IN (SELECT value FROM json_each($1)))",
            )
            .bind(ids_text(ids))
            .fetch_all(session.connection())
            .await
            .map_err(attempted())?
            {
                bases.insert(row.get(0), Arc::new(unpack_vector(row.get(1))?));
            }
            let mut states = HashMap::new();
            for row in sql::query(
                "SELECT id, cut, state FROM monitor_state WHERE id IN (SELECT value FROM json_each($1))",
            )
            .bind(ids_text(ids))
            .fetch_all(session.connection())
            .await
            .map_err(attempted())?
            {
                let monitor = unpack(row.get(2), |id| settings.get(&id).cloned())?;
                states.insert(row.get::<i64>(0), (row.get::<i64>(1), monitor));
            }
            let persisted: Vec<Persisted> = ids
                .iter()
                .map(|id| {
                    let (cut, monitor) = states
                        .remove(&i64::from(*id))
                        .map_or((None, None), |(cut, monitor)| (Some(cut), Some(monitor)));
                    let base = cut.and_then(|cut| bases.get(&cut)).unwrap_or(&checkpoint);
                    Persisted { id: *id, monitor, base: Arc::clone(base) }
                })
                .collect();
            let mut from = oldest(&persisted);
            let mut rows: Vec<Row> = Vec::new();
            loop {
                let some = session.tail_from(&from, ROWS).await?;
                if some.is_empty() {
                    return Ok((persisted, rows));
                }
                from.extend(some.iter().map(|row| (row.stream, row.seq)));
                rows.extend(some);
            }
        }
        .await;
        session.end(read).await
    }
}

/// The oldest position of every stream that all of them have.
fn oldest(persisted: &[Persisted]) -> BTreeMap<u32, u64> {
    let mut bases = persisted.iter().map(|one| &one.base);
    let mut oldest: BTreeMap<u32, u64> = bases
        .next()
        .map(|base| base.iter().map(|(stream, at)| (*stream, at.seq)).collect())
        .unwrap_or_default();
    for base in bases {
        oldest.retain(|stream, seq| {
            let other = base.get(stream);
            *seq = other.map_or(*seq, |other| other.seq.min(*seq));
            other.is_some()
        });
    }
    oldest
}
