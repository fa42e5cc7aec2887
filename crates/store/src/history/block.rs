//! What one batch of the log says of a group of monitors, packed, until it is folded into each monitor's chunks.
//!
//! A batch's check-ins come from monitors all over the place. Put behind the others of their monitor each would be a page of
//! the database; side by side, ordered by monitor, they are some fifteen bytes each.

use std::ops::RangeInclusive;

use systole_core::engine::MonitorId;

use super::FoundCheckin;
use super::chunk::{ChunkPacker, ChunkUnpacker};
use crate::Error;

/// Monitors of a group, as a power of two.
const MONITORS: u32 = 10;
/// Groups, as a power of two: that many monitors there are.
const GROUPS: u32 = u32::BITS - MONITORS;

/// The group that a monitor belongs to.
pub(super) fn group_of(monitor: MonitorId) -> i64 {
    i64::from(monitor >> MONITORS)
}

/// The first monitor of a group, and the last.
pub(super) fn members(group: i64) -> RangeInclusive<MonitorId> {
    let first = u32::try_from(group).unwrap_or(u32::MAX) << MONITORS;
    first..=first | ((1 << MONITORS) - 1)
}

/// Where a block of a batch stands.
pub(super) const fn place(batch: i64, group: i64) -> i64 {
    batch << GROUPS | group
}

/// The batch of what stands there.
pub(super) const fn batch_at(place: i64) -> i64 {
    place >> GROUPS
}

/// Packs check-ins of one group, which come ordered by monitor, those of one monitor in the order in which they happened.
pub(super) fn pack(group: i64, all: &[FoundCheckin]) -> Vec<u8> {
    let mut packer = ChunkPacker::new();
    let mut before = *members(group).start();
    for found in all {
        packer.number(u64::from(found.record.monitor - before));
        before = found.record.monitor;
        packer.push(found);
    }
    packer.finish()
}

/// What a block says of these monitors, in its order.
pub(super) fn unpack(
    group: i64,
    body: &[u8],
    of: &RangeInclusive<MonitorId>,
) -> Result<Vec<FoundCheckin>, Error> {
    let mut unpacker = ChunkUnpacker::new(body)?;
    let members = members(group);
    let mut monitor = *members.start();
    let mut all = Vec::new();
    while !unpacker.is_empty() {
        monitor = monitor
            .checked_add(unpacker.number()?)
            .filter(|monitor| members.contains(monitor))
            .ok_or(Error::Corrupt("a block of history names another's monitor"))?;
        if monitor > *of.end() {
            break;
        }
        let found = unpacker.checkin(monitor)?;
        if of.contains(&monitor) {
            all.push(found);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use systole_core::engine::Position;
    use systole_core::heartbeat::{Checkin, Signal};
    use systole_core::time::Time;

    use super::*;
    use crate::record::{CheckinRecord, Method};

    fn found(monitor: MonitorId, second: i64) -> FoundCheckin {
        FoundCheckin {
            position: Position::new(1, second.cast_unsigned()),
            index: 0,
            record: CheckinRecord {
                monitor,
                checkin: Checkin {
                    at: Time::from_seconds(1_800_000_000 + second),
                    signal: Signal::Success,
                    run: None,
                },
                previous: Position::NONE,
                method: Method::Get,
                source: Some([192, 0, 2, 1].into()),
                user_agent: "curl/8.5.0".into(),
                message: String::new(),
                body: Vec::new(),
                body_truncated: false,
            },
            duration: None,
        }
    }

    #[test]
    fn what_is_packed_is_unpacked_for_all_or_for_some() {
        let all = [
            found(2_048, 5),
            found(2_050, 3),
            found(2_050, 4),
            found(3_071, 1),
        ];
        let body = pack(2, &all);
        assert_eq!(unpack(2, &body, &members(2)).unwrap(), all);
        assert_eq!(unpack(2, &body, &(2_050..=2_050)).unwrap(), all[1..3]);
        assert_eq!(unpack(2, &body, &(2_051..=3_070)).unwrap(), []);
        assert!(body.len() < 90, "{}", body.len());
    }

    #[test]
    fn a_block_that_names_another_groups_monitor_is_refused() {
        let mut packer = ChunkPacker::new();
        packer.number(1_024);
        packer.push(&found(3_072, 1));
        assert!(unpack(2, &packer.finish(), &members(2)).is_err());
        assert!(unpack(2, &[1, 255, 255, 3], &members(2)).is_err());
        assert!(unpack(2, &[1, 255, 255, 255, 255, 255, 1], &members(2)).is_err());
        assert!(unpack(2, &[], &members(2)).is_err());
    }

    #[test]
    fn places_follow_batches() {
        let last = group_of(MonitorId::MAX);
        assert!(place(7, last) < place(8, 0));
        assert_eq!(batch_at(place(7, last)), 7);
        assert_eq!(members(last), MonitorId::MAX - 1_023..=MonitorId::MAX);
        assert_eq!(
            (group_of(1_023), group_of(1_024)),
            (0, 1),
            "a group's monitors follow each other"
        );
    }
}
