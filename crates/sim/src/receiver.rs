//! Who gets the messages, and notices when they come in the wrong order.

use std::collections::BTreeMap;

use systole_core::time::Time;

use crate::broken::Broken;
use crate::outbox::Delivery;
use crate::world::S;

/// All destinations.
#[derive(Default)]
pub struct Receiver {
    newest: BTreeMap<(u8, u64), u64>,
    keys: BTreeMap<u64, (u8, u64, u64)>,
    /// The database's clock stepped then, in true time.
    pub stepped: i64,
}

impl Receiver {
    /// A message arrives, sent under a claim of the true time `claimed`.
    ///
    /// # Errors
    /// An older message of an incident after a newer one; a key that means two things.
    pub fn gets(&mut self, row: &Delivery, claimed: i64, now: Time) -> Result<(), Broken> {
        let what = (row.destination, row.incident, row.seq);
        if *self.keys.entry(row.key).or_insert(what) != what {
            let what = format!("key {} of {what:?} was another message's before", row.key);
            return Err(Broken {
                promise: 3,
                what,
                at: now,
            });
        }
        let newest = self
            .newest
            .entry((row.destination, row.incident))
            .or_insert(row.seq);
        // A claim is a time of the database; where its clock leaps over the rest of a claim, two senders hold it.
        if row.seq < *newest && self.stepped + 10 * S <= claimed {
            let what = format!(
                "destination {} got event {} of incident {} after event {newest}",
                row.destination, row.seq, row.incident
            );
            return Err(Broken {
                promise: 3,
                what,
                at: now,
            });
        }
        *newest = row.seq.max(*newest);
        Ok(())
    }
}
