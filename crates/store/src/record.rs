//! The packed body of a log row: check-ins of one group commit, or people's commands.
//!
//! A check-in takes some 25 bytes beside its own text. User agents are stored once per row.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use systole_core::engine::{Action, Command, MonitorId, Position, Record};
use systole_core::heartbeat::{Checkin, RunId, Signal};
use systole_core::time::Time;

use crate::Error;
use crate::bytes::{Packer, Unpacker};
use crate::settings::SettingsDocument;

/// One check-in with all that is kept of it.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckinRecord {
    /// The heartbeat.
    pub monitor: MonitorId,
    /// What decisions need.
    pub checkin: Checkin,
    /// The row of the heartbeat's check-in before this one.
    pub previous: Position,
    /// The HTTP method.
    pub method: Method,
    /// Where it came from.
    pub source: Option<IpAddr>,
    /// The sender's name for itself.
    pub user_agent: Arc<str>,
    /// A short text that came as a parameter.
    pub message: String,
    /// The kept part of the body.
    pub body: Vec<u8>,
    /// More came than was kept.
    pub body_truncated: bool,
}

/// How it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET
    Get,
    /// HEAD
    Head,
    /// POST
    Post,
    /// PUT
    Put,
}

impl Method {
    pub(crate) const ALL: [Method; 4] = [Method::Get, Method::Head, Method::Post, Method::Put];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
        }
    }
}

const VERSION: u8 = 1;
const CHECKIN: u8 = 1;
const COMMAND: u8 = 2;

const HAS_RUN: u8 = 1;
const HAS_V4: u8 = 2;
const HAS_V6: u8 = 4;
const HAS_MESSAGE: u8 = 8;
const HAS_BODY: u8 = 16;
const TRUNCATED: u8 = 32;

/// Packs the check-ins of one batch; `at` is the batch's stamp, at or after each of theirs.
pub struct BatchPacker {
    packer: Packer,
    agents: Vec<Arc<str>>,
    at: Time,
}

impl BatchPacker {
    /// An empty batch formed at `at`.
    pub fn new(at: Time) -> BatchPacker {
        let mut packer = Packer(Vec::with_capacity(1024));
        packer.byte(VERSION);
        BatchPacker {
            packer,
            agents: Vec::new(),
            at,
        }
    }

    /// Adds one.
    pub fn push(&mut self, record: &CheckinRecord) {
        let packer = &mut self.packer;
        packer.byte(CHECKIN);
        packer.varint(record.monitor.into());
        packer.signed(self.at.as_micros() - record.checkin.at.as_micros());
        let (signal, status) = match record.checkin.signal {
            Signal::Start => (0, None),
            Signal::Success => (1, None),
            Signal::Fail => (2, None),
            Signal::Log => (3, None),
            Signal::Exit(status) => (4, Some(status)),
        };
        packer.byte(signal | ((record.method as u8) << 4));
        if let Some(status) = status {
            packer.byte(status);
        }
        packer.byte(flags(record));
        packer.varint(record.previous.stream().into());
        packer.varint(record.previous.seq());
        if let Some(run) = record.checkin.run {
            packer.0.extend_from_slice(&run.to_be_bytes());
        }
        match record.source {
            Some(IpAddr::V4(source)) => packer.0.extend_from_slice(&source.octets()),
            Some(IpAddr::V6(source)) => packer.0.extend_from_slice(&source.octets()),
            None => {}
        }
        let agent = self
            .agents
            .iter()
            .position(|known| *known == record.user_agent);
        packer.varint(agent.unwrap_or(self.agents.len()) as u64);
        if agent.is_none() {
            packer.bytes(record.user_agent.as_bytes());
            self.agents.push(Arc::clone(&record.user_agent));
        }
        if !record.message.is_empty() {
            packer.bytes(record.message.as_bytes());
        }
        if !record.body.is_empty() {
            packer.bytes(&record.body);
        }
    }

    /// The packed body.
    pub fn finish(self) -> Vec<u8> {
        self.packer.0
    }
}

const fn flags(record: &CheckinRecord) -> u8 {
    let mut flags = 0;
    if record.checkin.run.is_some() {
        flags |= HAS_RUN;
    }
    match record.source {
        Some(IpAddr::V4(_)) => flags |= HAS_V4,
        Some(IpAddr::V6(_)) => flags |= HAS_V6,
        None => {}
    }
    if !record.message.is_empty() {
        flags |= HAS_MESSAGE;
    }
    if !record.body.is_empty() {
        flags |= HAS_BODY;
    }
    if record.body_truncated {
        flags |= TRUNCATED;
    }
    flags
}

/// Reads the check-ins of a row.
///
/// # Errors
/// [`Error::Corrupt`] when the bytes are not what [`BatchPacker`] wrote.
pub fn unpack_checkins(body: &[u8], at: Time) -> Result<Vec<CheckinRecord>, Error> {
    let mut records = Vec::new();
    for_each(body, at, |entry| {
        if let Entry::Checkin(record) = entry {
            records.push(record);
        }
        Ok(())
    })?;
    Ok(records)
}

/// Reads the commands of a row.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn unpack_commands(body: &[u8]) -> Result<Vec<Command>, Error> {
    let mut commands = Vec::new();
    for_each(body, Time::from_micros(0), |entry| {
        if let Entry::Command(command) = entry {
            commands.push(command);
        }
        Ok(())
    })?;
    Ok(commands)
}

/// Reads a row as the engine sees it.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn unpack(body: &[u8], at: Time) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    for_each(body, at, |entry| {
        records.push(match entry {
            Entry::Checkin(record) => Record::Checkin(record.monitor, record.checkin),
            Entry::Command(command) => Record::Command(command),
        });
        Ok(())
    })?;
    Ok(records)
}

enum Entry {
    Checkin(CheckinRecord),
    Command(Command),
}

fn for_each(
    body: &[u8],
    at: Time,
    mut take: impl FnMut(Entry) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut unpacker = Unpacker(body);
    if unpacker.is_empty() {
        return Ok(());
    }
    if unpacker.byte()? != VERSION {
        return Err(Error::Corrupt("a log row has an unknown version"));
    }
    let mut agents = Vec::new();
    while !unpacker.is_empty() {
        take(match unpacker.byte()? {
            CHECKIN => Entry::Checkin(checkin(&mut unpacker, at, &mut agents)?),
            COMMAND => Entry::Command(command(unpacker.bytes()?)?),
            _ => return Err(Error::Corrupt("a log row has an unknown record")),
        })?;
    }
    Ok(())
}

fn checkin(
    unpacker: &mut Unpacker<'_>,
    at: Time,
    agents: &mut Vec<Arc<str>>,
) -> Result<CheckinRecord, Error> {
    let monitor = unpacker.small()?;
    let at = Time::from_micros(at.as_micros().saturating_sub(unpacker.signed()?));
    let kind = unpacker.byte()?;
    let signal = match kind & 0x0f {
        0 => Signal::Start,
        1 => Signal::Success,
        2 => Signal::Fail,
        3 => Signal::Log,
        4 => Signal::Exit(unpacker.byte()?),
        _ => return Err(Error::Corrupt("a check-in has an unknown signal")),
    };
    let Some(method) = Method::ALL.get(usize::from(kind >> 4)).copied() else {
        return Err(Error::Corrupt("a check-in has an unknown method"));
    };
    let flags = unpacker.byte()?;
    let stream = unpacker.small()?;
    let previous = Position::new(stream, unpacker.varint()?);
    let run = if flags & HAS_RUN == 0 {
        None
    } else {
        Some(RunId::from_be_bytes(array(unpacker)?))
    };
    let source = if flags & HAS_V4 != 0 {
        Some(IpAddr::from(array::<4>(unpacker)?))
    } else if flags & HAS_V6 != 0 {
        Some(IpAddr::from(array::<16>(unpacker)?))
    } else {
        None
    };
    let agent: usize = unpacker.small()?;
    if agent == agents.len() {
        agents.push(text(unpacker.bytes()?).into());
    }
    let Some(user_agent) = agents.get(agent).cloned() else {
        return Err(Error::Corrupt("a check-in has an unknown user agent"));
    };
    let message = if flags & HAS_MESSAGE == 0 {
        String::new()
    } else {
        text(unpacker.bytes()?)
    };
    let body = if flags & HAS_BODY == 0 {
        Vec::new()
    } else {
        unpacker.bytes()?.to_vec()
    };
    Ok(CheckinRecord {
        monitor,
        checkin: Checkin { at, signal, run },
        previous,
        method,
        source,
        user_agent,
        message,
        body,
        body_truncated: flags & TRUNCATED != 0,
    })
}

fn array<const N: usize>(unpacker: &mut Unpacker<'_>) -> Result<[u8; N], Error> {
    unpacker
        .take(N)?
        .try_into()
        .map_err(|_| Error::Corrupt("a packed record ends early"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The stored form of a command; commands are few, so they may be readable.
#[derive(Serialize, Deserialize)]
struct CommandDocument {
    at: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    monitor: Option<MonitorId>,
    by: String,
    action: ActionDocument,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ActionDocument {
    Create(SettingsDocument),
    Edit(SettingsDocument),
    Pause,
    Resume,
    Delete,
    Acknowledge { incident: u64, note: Option<String> },
    Resolve { incident: u64, note: Option<String> },
    Note { incident: u64, note: String },
    Configure,
}

/// Packs commands.
///
/// # Errors
/// [`Error::Corrupt`] when one cannot be written as JSON.
pub fn pack_commands(commands: &[Command]) -> Result<Vec<u8>, Error> {
    let mut packer = Packer::default();
    packer.byte(VERSION);
    for command in commands {
        let action = match command.action.clone() {
            Action::Create(settings) => ActionDocument::Create(SettingsDocument::of(&settings)),
            Action::Edit(settings) => ActionDocument::Edit(SettingsDocument::of(&settings)),
            Action::Pause => ActionDocument::Pause,
            Action::Resume => ActionDocument::Resume,
            Action::Delete => ActionDocument::Delete,
            Action::Acknowledge { incident, note } => {
                ActionDocument::Acknowledge { incident, note }
            }
            Action::Resolve { incident, note } => ActionDocument::Resolve { incident, note },
            Action::Note { incident, note } => ActionDocument::Note { incident, note },
            Action::Configure => ActionDocument::Configure,
        };
        let document = CommandDocument {
            at: command.at.as_micros(),
            monitor: command.monitor,
            by: command.by.clone(),
            action,
        };
        let json = serde_json::to_vec(&document)
            .map_err(|_| Error::Corrupt("a command cannot be written"))?;
        packer.byte(COMMAND);
        packer.bytes(&json);
    }
    Ok(packer.0)
}

fn command(json: &[u8]) -> Result<Command, Error> {
    let document: CommandDocument = serde_json::from_slice(json)
        .map_err(|_| Error::Corrupt("a command in the log cannot be read"))?;
    let action = match document.action {
        ActionDocument::Create(settings) => Action::Create(Arc::new(settings.settings()?)),
        ActionDocument::Edit(settings) => Action::Edit(Arc::new(settings.settings()?)),
        ActionDocument::Pause => Action::Pause,
        ActionDocument::Resume => Action::Resume,
        ActionDocument::Delete => Action::Delete,
        ActionDocument::Acknowledge { incident, note } => Action::Acknowledge { incident, note },
        ActionDocument::Resolve { incident, note } => Action::Resolve { incident, note },
        ActionDocument::Note { incident, note } => Action::Note { incident, note },
        ActionDocument::Configure => Action::Configure,
    };
    Ok(Command {
        at: Time::from_micros(document.at),
        monitor: document.monitor,
        by: document.by,
        action,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(monitor: MonitorId, signal: Signal) -> CheckinRecord {
        CheckinRecord {
            monitor,
            checkin: Checkin {
                at: Time::from_seconds(1_000),
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
        }
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let at = Time::from_seconds(1_001);
        let records = [
            record(1, Signal::Success),
            CheckinRecord {
                checkin: Checkin {
                    at: Time::from_seconds(1_002),
                    signal: Signal::Exit(137),
                    run: Some(u128::MAX),
                },
                previous: Position::new(7, 1 << 39),
                method: Method::Post,
                source: Some(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
                message: "löschen".into(),
                body: vec![0, 255, 10],
                body_truncated: true,
                ..record(4_000_000, Signal::Success)
            },
            CheckinRecord {
                source: None,
                user_agent: "".into(),
                ..record(3, Signal::Start)
            },
        ];
        let mut packer = BatchPacker::new(at);
        for record in &records {
            packer.push(record);
        }
        assert_eq!(unpack_checkins(&packer.finish(), at).unwrap(), records);
    }

    #[test]
    fn a_plain_check_in_takes_few_bytes() {
        let mut packer = BatchPacker::new(Time::from_seconds(1_000));
        packer.push(&record(1, Signal::Success));
        let first = packer.packer.0.len();
        packer.push(&record(1_000_000, Signal::Success));
        assert!(
            packer.finish().len() - first <= 16,
            "a second one of the same user agent"
        );
    }

    #[test]
    fn bytes_that_nobody_packed_are_refused_and_never_panic() {
        for body in [
            &[9][..],
            &[1, 1],
            &[1, 1, 5, 0, 0x0f],
            &[1, 2, 200],
            &[1, 7],
            &[1, 1, 255, 255, 255, 255, 255, 255],
        ] {
            assert!(unpack(body, Time::from_seconds(0)).is_err(), "{body:?}");
        }
    }
}
