//! The packed form of rollups: the hours of a day, or 32 days, in one row.

use std::collections::BTreeMap;

use systole_core::history::Rollup;
use systole_core::time::Span;

use crate::Error;
use crate::bytes::{Packer, Unpacker};

const VERSION: u8 = 1;

/// By the number of the hour in its day, or of the day in its row.
pub(super) type Rollups = BTreeMap<u8, Rollup>;

pub(super) fn pack(rollups: &Rollups) -> Vec<u8> {
    let mut packer = Packer(Vec::with_capacity(rollups.len() * 16 + 1));
    packer.byte(VERSION);
    for (index, rollup) in rollups {
        packer.byte(*index);
        for count in [
            rollup.checkins,
            rollup.successes,
            rollup.failures,
            rollup.missed,
            rollup.overran,
            rollup.down.as_micros().cast_unsigned(),
            rollup.unknown.as_micros().cast_unsigned(),
            rollup.runs,
        ] {
            packer.varint(count);
        }
        if rollup.runs > 0 {
            for span in [rollup.shortest, rollup.longest, rollup.total] {
                packer.varint(span.as_micros().cast_unsigned());
            }
        }
    }
    packer.0
}

/// Reads what [`pack`] wrote of periods of `length`.
pub(super) fn unpack(bytes: &[u8], length: Span) -> Result<Rollups, Error> {
    let mut unpacker = Unpacker(bytes);
    if unpacker.byte()? != VERSION {
        return Err(Error::Corrupt("a rollup has an unknown version"));
    }
    let mut rollups = Rollups::new();
    while !unpacker.is_empty() {
        let index = unpacker.byte()?;
        let mut rollup = Rollup {
            checkins: unpacker.varint()?,
            successes: unpacker.varint()?,
            failures: unpacker.varint()?,
            missed: unpacker.varint()?,
            overran: unpacker.varint()?,
            down: Span::from_micros(unpacker.small()?),
            unknown: Span::from_micros(unpacker.small()?),
            runs: unpacker.varint()?,
            ..Rollup::default()
        };
        if rollup.runs > 0 {
            rollup.shortest = Span::from_micros(unpacker.small()?);
            rollup.longest = Span::from_micros(unpacker.small()?);
            rollup.total = Span::from_micros(unpacker.small()?);
        }
        let known = length
            .as_micros()
            .checked_sub((rollup.down + rollup.unknown).as_micros());
        rollup.up = known
            .filter(|up| *up >= 0)
            .map(Span::from_micros)
            .ok_or(Error::Corrupt("a rollup is longer than its period"))?;
        rollups.insert(index, rollup);
    }
    Ok(rollups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use systole_core::history::HOUR;

    #[test]
    fn what_is_packed_is_unpacked() {
        let busy = Rollup {
            checkins: 240,
            successes: 118,
            failures: 2,
            missed: 1,
            overran: 3,
            up: Span::from_seconds(3_000),
            down: Span::from_seconds(400),
            unknown: Span::from_seconds(200),
            runs: 120,
            shortest: Span::from_micros(1),
            longest: Span::from_seconds(100),
            total: Span::from_seconds(5_000),
        };
        let rollups = Rollups::from([(0, busy), (23, Rollup::unknown(HOUR))]);
        assert_eq!(unpack(&pack(&rollups), HOUR).unwrap(), rollups);
        assert_eq!(
            unpack(&pack(&Rollups::new()), HOUR).unwrap(),
            Rollups::new()
        );
    }

    #[test]
    fn bytes_that_nobody_packed_are_refused_and_never_panic() {
        let long = pack(&Rollups::from([(0, Rollup::unknown(HOUR + HOUR))]));
        for body in [&[][..], &[9], &[1, 0, 5], &long] {
            assert!(unpack(body, HOUR).is_err(), "{body:?}");
        }
    }
}
