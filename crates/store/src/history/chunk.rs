//! The packed form of a monitor's check-ins.
//!
//! Each is written as its difference to the one before: time, row of the log, sender. One that says no more than "success"
//! takes some ten bytes.

use std::net::IpAddr;
use std::sync::Arc;

use systole_core::engine::{MonitorId, Position};
use systole_core::heartbeat::{Checkin, RunId, Signal};
use systole_core::history::{OpenRun, OpenRuns};
use systole_core::time::{Span, Time};

use super::FoundCheckin;
use crate::Error;
use crate::bytes::{Packer, Unpacker};
use crate::record::{CheckinRecord, Method};

const VERSION: u8 = 1;
/// A chunk that has reached so many bytes takes no more. Two fit a page of SQLite, and PostgreSQL keeps one in its row.
pub(super) const FULL: usize = 1_800;

// Beside three bits of signal and two of method:
const OTHER_STREAM: u8 = 32;
const HAS_DURATION: u8 = 64;
const HAS_MORE: u8 = 128;

const HAS_RUN: u8 = 1;
const HAS_MESSAGE: u8 = 2;
const HAS_BODY: u8 = 4;
const TRUNCATED: u8 = 8;
const HAS_INDEX: u8 = 16;
const HAS_STATUS: u8 = 32;

/// Runs that a run's id is looked for in: an end mostly follows its start.
const RECENT_RUNS: usize = 8;

/// Senders among which one is looked for; further ones are written again.
const SENDERS: usize = 64;

/// What the next record is written as the difference to.
struct Context {
    at: Time,
    stream: u32,
    seq: u64,
    senders: Vec<(Option<IpAddr>, Arc<str>)>,
    runs: Vec<RunId>,
}

impl Context {
    const fn new() -> Context {
        Context {
            at: Time::from_micros(0),
            stream: 0,
            seq: 0,
            senders: Vec::new(),
            runs: Vec::new(),
        }
    }

    fn ran(&mut self, run: RunId) {
        self.runs.retain(|known| *known != run);
        self.runs.insert(0, run);
        self.runs.truncate(RECENT_RUNS);
    }
}

/// Packs check-ins, the oldest first.
pub(super) struct ChunkPacker {
    packer: Packer,
    context: Context,
}

impl ChunkPacker {
    pub(super) fn new() -> ChunkPacker {
        let mut packer = Packer(Vec::with_capacity(256));
        packer.byte(VERSION);
        ChunkPacker {
            packer,
            context: Context::new(),
        }
    }

    /// A number before the next check-in.
    pub(super) fn number(&mut self, n: u64) {
        self.packer.varint(n);
    }

    pub(super) fn is_full(&self) -> bool {
        self.packer.0.len() >= FULL
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.packer.0
    }

    pub(super) fn push(&mut self, found: &FoundCheckin) {
        let (record, context) = (&found.record, &mut self.context);
        let packer = &mut self.packer;
        let (signal, status) = match record.checkin.signal {
            Signal::Start => (0, None),
            Signal::Success => (1, None),
            Signal::Fail => (2, None),
            Signal::Log => (3, None),
            Signal::Exit(0) => (4, None),
            Signal::Exit(status) => (5, Some(status)),
        };
        let stream = found.position.stream();
        let more = more(found, status);
        let mut head = signal | ((record.method as u8) << 3);
        for (is, flag) in [
            (stream != context.stream, OTHER_STREAM),
            (found.duration.is_some(), HAS_DURATION),
            (more != 0, HAS_MORE),
        ] {
            head |= if is { flag } else { 0 };
        }
        packer.byte(head);
        if more != 0 {
            packer.byte(more);
        }
        packer.signed(record.checkin.at.as_micros() - context.at.as_micros());
        context.at = record.checkin.at;
        if stream != context.stream {
            packer.varint(stream.into());
            (context.stream, context.seq) = (stream, 0);
        }
        packer.signed(found.position.seq().cast_signed() - context.seq.cast_signed());
        context.seq = found.position.seq();
        let sender = (record.source, Arc::clone(&record.user_agent));
        let mut senders = context.senders.iter().take(SENDERS);
        let known = senders.position(|known| *known == sender);
        packer.varint(known.unwrap_or(context.senders.len()) as u64);
        if known.is_none() {
            match record.source {
                None => packer.byte(0),
                Some(IpAddr::V4(source)) => packer.bytes(&source.octets()),
                Some(IpAddr::V6(source)) => packer.bytes(&source.octets()),
            }
            packer.bytes(record.user_agent.as_bytes());
            context.senders.push(sender);
        }
        if let Some(duration) = found.duration {
            packer.varint(duration.as_micros().cast_unsigned());
        }
        if let Some(status) = status {
            packer.byte(status);
        }
        if found.index != 0 {
            packer.varint(found.index.into());
        }
        if let Some(run) = record.checkin.run {
            let known = context.runs.iter().position(|known| *known == run);
            packer.varint(known.map_or(0, |place| place as u64 + 1));
            if known.is_none() {
                packer.0.extend_from_slice(&run.to_be_bytes());
            }
            context.ran(run);
        }
        if !record.message.is_empty() {
            packer.bytes(record.message.as_bytes());
        }
        if !record.body.is_empty() {
            packer.bytes(&record.body);
        }
    }
}

fn more(found: &FoundCheckin, status: Option<u8>) -> u8 {
    let record = &found.record;
    let mut more = 0;
    for (is, flag) in [
        (record.checkin.run.is_some(), HAS_RUN),
        (!record.message.is_empty(), HAS_MESSAGE),
        (!record.body.is_empty(), HAS_BODY),
        (record.body_truncated, TRUNCATED),
        (found.index != 0, HAS_INDEX),
        (status.is_some(), HAS_STATUS),
    ] {
        more |= if is { flag } else { 0 };
    }
    more
}

/// The check-ins of a chunk, the oldest first.
pub(super) fn unpack(monitor: MonitorId, body: &[u8]) -> Result<Vec<FoundCheckin>, Error> {
    let mut unpacker = ChunkUnpacker::new(body)?;
    let mut found = Vec::new();
    while !unpacker.is_empty() {
        found.push(unpacker.checkin(monitor)?);
    }
    Ok(found)
}

/// Reads what [`ChunkPacker`] packed, one after the other.
pub(super) struct ChunkUnpacker<'a> {
    unpacker: Unpacker<'a>,
    context: Context,
}

impl<'a> ChunkUnpacker<'a> {
    pub(super) fn new(body: &'a [u8]) -> Result<ChunkUnpacker<'a>, Error> {
        let mut unpacker = Unpacker(body);
        if unpacker.byte()? != VERSION {
            return Err(Error::Corrupt("history has an unknown version"));
        }
        Ok(ChunkUnpacker {
            unpacker,
            context: Context::new(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unpacker.is_empty()
    }

    /// The number before the next check-in.
    pub(super) fn number(&mut self) -> Result<u32, Error> {
        self.unpacker.small()
    }

    pub(super) fn checkin(&mut self, monitor: MonitorId) -> Result<FoundCheckin, Error> {
        one(monitor, &mut self.unpacker, &mut self.context)
    }
}

fn one(
    monitor: MonitorId,
    unpacker: &mut Unpacker<'_>,
    context: &mut Context,
) -> Result<FoundCheckin, Error> {
    let head = unpacker.byte()?;
    let more = if head & HAS_MORE == 0 {
        0
    } else {
        unpacker.byte()?
    };
    let has = |flag: u8| more & flag != 0;
    let method = *Method::ALL
        .get(usize::from(head >> 3 & 3))
        .ok_or(Error::Corrupt("a check-in has an unknown method"))?;
    context.at = Time::from_micros(context.at.as_micros().saturating_add(unpacker.signed()?));
    if head & OTHER_STREAM != 0 {
        (context.stream, context.seq) = (unpacker.small()?, 0);
    }
    context.seq = context.seq.wrapping_add_signed(unpacker.signed()?);
    let (source, user_agent) = sender(unpacker, context)?;
    let duration = if head & HAS_DURATION == 0 {
        None
    } else {
        Some(Span::from_micros(unpacker.small()?))
    };
    let signal = match (head & 7, has(HAS_STATUS)) {
        (0, false) => Signal::Start,
        (1, false) => Signal::Success,
        (2, false) => Signal::Fail,
        (3, false) => Signal::Log,
        (4, false) => Signal::Exit(0),
        (5, true) => Signal::Exit(unpacker.byte()?),
        _ => return Err(Error::Corrupt("a check-in has an unknown signal")),
    };
    let index = if has(HAS_INDEX) { unpacker.small()? } else { 0 };
    let run = if has(HAS_RUN) {
        Some(run(unpacker, context)?)
    } else {
        None
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = if has(HAS_MESSAGE) {
        text(unpacker.bytes()?)
    } else {
        String::new()
    };
    let body = if has(HAS_BODY) {
        unpacker.bytes()?.to_vec()
    } else {
        Vec::new()
    };
    Ok(FoundCheckin {
        position: Position::new(context.stream, context.seq),
        index,
        record: CheckinRecord {
            monitor,
            checkin: Checkin {
                at: context.at,
                signal,
                run,
            },
            previous: Position::NONE,
            method,
            source,
            user_agent,
            message,
            body,
            body_truncated: has(TRUNCATED),
        },
        duration,
    })
}

fn sender(
    unpacker: &mut Unpacker<'_>,
    context: &mut Context,
) -> Result<(Option<IpAddr>, Arc<str>), Error> {
    let place: usize = unpacker.small()?;
    if place == context.senders.len() {
        let source = unpacker.bytes()?;
        let source = match source.len() {
            0 => None,
            4 => <[u8; 4]>::try_from(source).ok().map(IpAddr::from),
            16 => <[u8; 16]>::try_from(source).ok().map(IpAddr::from),
            _ => return Err(Error::Corrupt("a check-in has an unknown source")),
        };
        let agent = String::from_utf8_lossy(unpacker.bytes()?).into();
        context.senders.push((source, agent));
    }
    context
        .senders
        .get(place)
        .cloned()
        .ok_or(Error::Corrupt("a check-in has an unknown sender"))
}

fn run(unpacker: &mut Unpacker<'_>, context: &mut Context) -> Result<RunId, Error> {
    let run = match unpacker.small::<usize>()?.checked_sub(1) {
        None => id(unpacker)?,
        Some(place) => *context
            .runs
            .get(place)
            .ok_or(Error::Corrupt("a check-in has an unknown run"))?,
    };
    context.ran(run);
    Ok(run)
}

fn id(unpacker: &mut Unpacker<'_>) -> Result<RunId, Error> {
    let bytes = unpacker
        .take(16)?
        .try_into()
        .map_err(|_| Error::Corrupt("a run's id ends early"))?;
    Ok(RunId::from_be_bytes(bytes))
}

/// Packs the runs that are open.
pub(super) fn pack_open(runs: &OpenRuns) -> Vec<u8> {
    let mut packer = Packer::default();
    for run in runs.iter() {
        packer.byte(run.id.is_some().into());
        if let Some(id) = run.id {
            packer.0.extend_from_slice(&id.to_be_bytes());
        }
        packer.signed(run.started.as_micros());
    }
    packer.0
}

/// Reads what [`pack_open`] wrote.
pub(super) fn unpack_open(bytes: &[u8]) -> Result<OpenRuns, Error> {
    let mut unpacker = Unpacker(bytes);
    let mut runs = Vec::new();
    while !unpacker.is_empty() {
        let has_id = unpacker.byte()? != 0;
        runs.push(OpenRun {
            id: if has_id {
                Some(id(&mut unpacker)?)
            } else {
                None
            },
            started: Time::from_micros(unpacker.signed()?),
        });
    }
    Ok(OpenRuns::new(runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(seq: u64, signal: Signal) -> FoundCheckin {
        FoundCheckin {
            position: Position::new(3, seq),
            index: 0,
            record: CheckinRecord {
                monitor: 7,
                checkin: Checkin {
                    at: Time::from_seconds(1_800_000_000 + seq.cast_signed()),
                    signal,
                    run: None,
                },
                previous: Position::NONE,
                method: Method::Get,
                source: Some(IpAddr::from([192, 0, 2, 1])),
                user_agent: "curl/8.5.0".into(),
                message: String::new(),
                body: Vec::new(),
                body_truncated: false,
            },
            duration: None,
        }
    }

    fn packed(all: &[FoundCheckin]) -> Vec<u8> {
        let mut packer = ChunkPacker::new();
        for one in all {
            packer.push(one);
        }
        packer.finish()
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let mut start = found(300, Signal::Start);
        start.record.checkin.run = Some(u128::MAX);
        let mut end = found(290, Signal::Exit(137));
        end.record.checkin.run = Some(u128::MAX);
        end.duration = Some(Span::from_micros(1));
        let mut whole = found(u64::from(u32::MAX), Signal::Exit(0));
        whole.position = Position::new(4, 1 << 39);
        whole.index = 2;
        whole.record.method = Method::Put;
        whole.record.source = Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]));
        whole.record.message = "löschen".into();
        whole.record.body = vec![0, 255, 10];
        whole.record.body_truncated = true;
        let mut nobody = found(1, Signal::Log);
        nobody.record.source = None;
        nobody.record.user_agent = "".into();
        let all = [
            found(5, Signal::Success),
            start,
            end,
            whole,
            nobody,
            found(9, Signal::Fail),
        ];
        assert_eq!(unpack(7, &packed(&all)).unwrap(), all);
        assert_eq!(unpack(7, &packed(&[])).unwrap(), []);
    }

    #[test]
    fn a_plain_check_in_takes_few_bytes() {
        let one = packed(&[found(100, Signal::Success)]).len();
        let two = packed(&[found(100, Signal::Success), found(400, Signal::Success)]).len();
        assert!(two - one <= 10, "{}", two - one);
    }

    #[test]
    fn open_runs_are_read_back() {
        let runs = OpenRuns::new(vec![
            OpenRun {
                id: None,
                started: Time::from_seconds(-5),
            },
            OpenRun {
                id: Some(9),
                started: Time::from_seconds(1_800_000_000),
            },
        ]);
        assert_eq!(unpack_open(&pack_open(&runs)).unwrap(), runs);
        assert_eq!(unpack_open(&[]).unwrap(), OpenRuns::default());
    }

    #[test]
    fn bytes_that_nobody_packed_are_refused_and_never_panic() {
        for body in [
            &[][..],
            &[9],
            &[1, 7],
            &[1, 1, 0],
            &[1, 1, 0, 2, 3],
            &[1, 129, 1, 0, 0, 0, 0, 0, 5],
            &[1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert!(unpack(1, body).is_err(), "{body:?}");
        }
        assert!(unpack_open(&[1, 2]).is_err());
    }
}
