//! Rows of the log: a flag, eight bytes of the row's stamp, then either packed bytes or what one check-in is made of.

use std::net::IpAddr;

use arbitrary::Unstructured;
use systole_core::engine::{Position, Record};
use systole_core::heartbeat::{Checkin, Signal};
use systole_core::time::Time;
use systole_store::record::{
    BatchPacker, CheckinRecord, Method, pack_commands, unpack, unpack_checkins,
};

pub fn run(input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<9>() else {
        return;
    };
    let at = Time::from_micros(i64::from_be_bytes(head[1..].try_into().unwrap()));
    if head[0] & 1 == 0 {
        packed(rest, at);
    } else if let Ok(record) = record(&mut Unstructured::new(rest), at) {
        assert_eq!(
            unpack_checkins(&pack(&[record.clone(), record.clone()], at), at).unwrap(),
            [record.clone(), record.clone()]
        );
    }
}

/// Bytes that nobody packed are an error, or mean something that can be packed.
fn packed(bytes: &[u8], at: Time) {
    let (checkins, records) = (unpack_checkins(bytes, at), unpack(bytes, at));
    assert_eq!(checkins.is_ok(), records.is_ok());
    let (Ok(checkins), Ok(records)) = (checkins, records) else {
        return;
    };
    assert!(
        records.len() <= bytes.len(),
        "a record takes a byte or more"
    );
    let folded: Vec<Record> = checkins
        .iter()
        .map(|record| Record::Checkin(record.monitor, record.checkin))
        .collect();
    let seen: Vec<Record> = records
        .iter()
        .filter(|record| matches!(record, Record::Checkin(..)))
        .cloned()
        .collect();
    assert_eq!(folded, seen, "the engine sees what the history shows");
    assert_eq!(
        unpack_checkins(&pack(&checkins, at), at).unwrap(),
        checkins,
        "packed and unpacked again"
    );
    let commands: Vec<_> = records
        .into_iter()
        .filter_map(|record| match record {
            Record::Command(command) => Some(command),
            Record::Checkin(..) => None,
        })
        .collect();
    let again: Vec<Record> = unpack(&pack_commands(&commands).unwrap(), at).unwrap();
    assert_eq!(
        again,
        commands
            .into_iter()
            .map(Record::Command)
            .collect::<Vec<_>>()
    );
}

fn pack(records: &[CheckinRecord], at: Time) -> Vec<u8> {
    let mut packer = BatchPacker::new(at);
    for record in records {
        packer.push(record);
    }
    packer.finish()
}

fn record(bytes: &mut Unstructured<'_>, at: Time) -> arbitrary::Result<CheckinRecord> {
    let signals = [
        Signal::Start,
        Signal::Success,
        Signal::Fail,
        Signal::Log,
        Signal::Exit(bytes.arbitrary()?),
    ];
    let methods = [Method::Get, Method::Head, Method::Post, Method::Put];
    let before: i32 = bytes.arbitrary()?;
    Ok(CheckinRecord {
        monitor: bytes.arbitrary()?,
        checkin: Checkin {
            at: Time::from_micros(at.as_micros().saturating_sub(before.into()).max(-i64::MAX)),
            signal: *bytes.choose(&signals)?,
            run: bytes.arbitrary()?,
        },
        previous: Position::new(bytes.int_in_range(0..=0x00ff_ffff)?, bytes.arbitrary()?),
        method: *bytes.choose(&methods)?,
        source: bytes.arbitrary::<Option<IpAddr>>()?,
        user_agent: bytes.arbitrary::<&str>()?.into(),
        message: bytes.arbitrary()?,
        body_truncated: bytes.arbitrary()?,
        body: bytes.arbitrary()?,
    })
}
