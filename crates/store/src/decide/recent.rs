//! What channels were told of late: whether more goes at once or as a digest.

use std::collections::{BTreeSet, HashMap};

use systole_core::delivery::digest::{DIGEST_WITHIN, Place, Recent};
use systole_core::time::Time;

use super::Deciding;
use crate::Error;
use crate::deliveries::SUPERSEDED;
use crate::sql;

/// Of every channel that gathers.
pub(super) struct Recents(HashMap<i64, Recent>);

impl Recents {
    /// Places one more message; a channel that does not gather gets it at once.
    pub(super) fn place(&mut self, channel: i64, now: Time) -> Place {
        self.0
            .get_mut(&channel)
            .map_or(Place::AtOnce, |recent| recent.place(now))
    }
}

/// The name of the digest that leaves then.
pub(super) fn digest_name(until: Time) -> String {
    format!("digest {}", until.as_micros())
}

impl Deciding<'_> {
    /// Reads it for the channels that gather.
    pub(super) async fn recents(
        &mut self,
        now: Time,
        gathering: &BTreeSet<i64>,
    ) -> Result<Recents, Error> {
        let mut recents: HashMap<i64, Recent> = gathering
            .iter()
            .map(|id| (*id, Recent::default()))
            .collect();
        if recents.is_empty() {
            return Ok(Recents(recents));
        }
        let rows = sql::query(
            "SELECT channel_id, COUNT(DISTINCT COALESCE(grouped, key)),
             MAX(CASE WHEN state = 0 AND claim = 0 AND grouped LIKE 'digest %' AND next_at > $2 THEN next_at END)
             FROM delivery WHERE decided_at > $1 AND state <> $3 AND held = 0 GROUP BY channel_id",
        )
        .bind((now - DIGEST_WITHIN).as_micros())
        .bind(now.as_micros())
        .bind(SUPERSEDED)
        .fetch_all(self.session.connection())
        .await
        .map_err(Error::attempted("count what channels were told of late"))?;
        for row in rows {
            if let Some(recent) = recents.get_mut(&row.get(0)) {
                recent.messages = u32::try_from(row.get::<i64>(1)).unwrap_or(u32::MAX);
                recent.gathering = row.get::<Option<i64>>(2).map(Time::from_micros);
            }
        }
        Ok(Recents(recents))
    }
}
