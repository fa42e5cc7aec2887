//! The packed form of a monitor's state and of vectors.

use std::sync::Arc;

use systole_core::engine::{Monitor, Position, Reached, Vector};
use systole_core::heartbeat::{Ended, Heartbeat, Rare, Run, RunId, Settings, State};
use systole_core::incident::{Incident, Phase};
use systole_core::outage::Silence;
use systole_core::time::Time;

use crate::Error;
use crate::bytes::{Packer, Unpacker};

const VERSION: u8 = 1;
/// How the last run with an id ended.
const NOT_ENDED: u8 = 0;
const ENDED_WELL: u8 = 1;
const ENDED_BADLY: u8 = 2;
const HAS_RARE: u8 = 1;
const HAS_INCIDENT: u8 = 2;

pub(crate) fn pack(monitor: &Monitor, settings_id: i64) -> Vec<u8> {
    let mut packer = Packer(Vec::with_capacity(64));
    let heartbeat = &monitor.heartbeat;
    packer.byte(VERSION);
    packer.signed(settings_id);
    let mut flags = 0;
    if heartbeat.rare.is_some() {
        flags |= HAS_RARE;
    }
    if monitor.incident.is_some() {
        flags |= HAS_INCIDENT;
    }
    packer.byte(flags);
    packer.byte(match heartbeat.state {
        State::New => 0,
        State::Up => 1,
        State::Down => 2,
        State::Paused => 3,
    });
    packer.varint(heartbeat.failures.into());
    packer.varint(heartbeat.successes.into());
    for time in [
        heartbeat.since,
        heartbeat.last_end,
        heartbeat.awaited,
        monitor.last_checkin,
    ] {
        packer.signed(time.as_micros());
    }
    packer.varint(monitor.last.as_u64());
    packer.varint(monitor.last_failing.as_u64());
    if let Some(rare) = &heartbeat.rare {
        packer.signed(rare.edited.as_micros());
        ended(&mut packer, rare.ended);
        packer.varint(rare.runs.len() as u64);
        for run in &rare.runs {
            run_id(&mut packer, run.id);
            packer.signed(run.started.as_micros());
        }
    }
    if let Some(incident) = &monitor.incident {
        packer.varint(incident.number);
        let (phase, at) = match incident.phase {
            Phase::Triggered => (0, 0),
            Phase::Acknowledged => (1, 0),
            Phase::Resolved(at) => (2, at.as_micros()),
        };
        packer.byte(phase);
        packer.signed(at);
        packer.varint(incident.reopened.into());
        packer.byte(incident.by_silence.into());
        packer.signed(incident.started_at.as_micros());
    }
    packer.0
}

pub(crate) fn unpack(
    bytes: &[u8],
    settings: impl Fn(i64) -> Option<Arc<Settings>>,
) -> Result<Monitor, Error> {
    let mut unpacker = Unpacker(bytes);
    if unpacker.byte()? != VERSION {
        return Err(Error::Corrupt("a monitor's state has an unknown version"));
    }
    let settings =
        settings(unpacker.signed()?).ok_or(Error::Corrupt("a monitor's settings are missing"))?;
    let flags = unpacker.byte()?;
    let state = match unpacker.byte()? {
        0 => State::New,
        1 => State::Up,
        2 => State::Down,
        3 => State::Paused,
        _ => return Err(Error::Corrupt("a monitor has an unknown state")),
    };
    let failures = unpacker.small()?;
    let successes = unpacker.small()?;
    let mut time = || unpacker.signed().map(Time::from_micros);
    let (since, last_end, awaited, last_checkin) = (time()?, time()?, time()?, time()?);
    let last = Position::from_u64(unpacker.varint()?);
    let last_failing = Position::from_u64(unpacker.varint()?);
    let rare = if flags & HAS_RARE == 0 {
        None
    } else {
        Some(Box::new(rare(&mut unpacker)?))
    };
    let incident = if flags & HAS_INCIDENT == 0 {
        None
    } else {
        Some(Box::new(incident(&mut unpacker)?))
    };
    let heartbeat = Heartbeat {
        state,
        failures,
        successes,
        since,
        last_end,
        awaited,
        rare,
    };
    Ok(Monitor {
        settings,
        heartbeat,
        incident,
        last_checkin,
        last,
        last_failing,
    })
}

fn rare(unpacker: &mut Unpacker<'_>) -> Result<Rare, Error> {
    let edited = Time::from_micros(unpacker.signed()?);
    let ended = unpack_ended(unpacker)?;
    let count: usize = unpacker.small()?;
    let mut runs = Vec::with_capacity(count.min(128));
    for _ in 0..count {
        let id = unpack_run_id(unpacker)?;
        runs.push(Run {
            id,
            started: Time::from_micros(unpacker.signed()?),
        });
    }
    Ok(Rare {
        runs,
        ended,
        edited,
    })
}

fn incident(unpacker: &mut Unpacker<'_>) -> Result<Incident, Error> {
    let number = unpacker.varint()?;
    let phase = unpacker.byte()?;
    let at = Time::from_micros(unpacker.signed()?);
    let phase = match phase {
        0 => Phase::Triggered,
        1 => Phase::Acknowledged,
        2 => Phase::Resolved(at),
        _ => return Err(Error::Corrupt("an incident has an unknown phase")),
    };
    let reopened = unpacker.small()?;
    let by_silence = unpacker.byte()? != 0;
    Ok(Incident {
        number,
        phase,
        reopened,
        by_silence,
        started_at: Time::from_micros(unpacker.signed()?),
    })
}

fn run_id(packer: &mut Packer, id: Option<RunId>) {
    packer.byte(id.is_some().into());
    if let Some(id) = id {
        packer.0.extend_from_slice(&id.to_be_bytes());
    }
}

fn ended(packer: &mut Packer, ended: Option<Ended>) {
    packer.byte(match ended {
        None => NOT_ENDED,
        Some(Ended { failed: false, .. }) => ENDED_WELL,
        Some(Ended { failed: true, .. }) => ENDED_BADLY,
    });
    if let Some(ended) = ended {
        packer.0.extend_from_slice(&ended.id.to_be_bytes());
        packer.signed(ended.at.as_micros());
    }
}

fn unpack_ended(unpacker: &mut Unpacker<'_>) -> Result<Option<Ended>, Error> {
    let failed = match unpacker.byte()? {
        NOT_ENDED => return Ok(None),
        ENDED_WELL => false,
        ENDED_BADLY => true,
        _ => return Err(Error::Corrupt("a run has an unknown end")),
    };
    let id = id_of(unpacker)?;
    let at = Time::from_micros(unpacker.signed()?);
    Ok(Some(Ended { id, failed, at }))
}

fn id_of(unpacker: &mut Unpacker<'_>) -> Result<RunId, Error> {
    let bytes = unpacker
        .take(16)?
        .try_into()
        .map_err(|_| Error::Corrupt("a run's id ends early"))?;
    Ok(RunId::from_be_bytes(bytes))
}

fn unpack_run_id(unpacker: &mut Unpacker<'_>) -> Result<Option<RunId>, Error> {
    if unpacker.byte()? == 0 {
        return Ok(None);
    }
    id_of(unpacker).map(Some)
}

pub(crate) fn pack_vector(vector: &Vector) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.varint(vector.len() as u64);
    for (stream, reached) in vector {
        packer.varint((*stream).into());
        packer.varint(reached.seq);
        packer.signed(reached.silence.at.as_micros());
        packer.signed(
            reached
                .silence
                .slow_since
                .unwrap_or(Time::NEVER)
                .as_micros(),
        );
        packer.signed(reached.put.as_micros());
        packer.byte(reached.ended.into());
    }
    packer.0
}

pub(crate) fn unpack_vector(bytes: &[u8]) -> Result<Vector, Error> {
    let mut unpacker = Unpacker(bytes);
    let count: usize = unpacker.small()?;
    let mut vector = Vector::new();
    for _ in 0..count {
        let stream = unpacker.small()?;
        let seq = unpacker.varint()?;
        let at = Time::from_micros(unpacker.signed()?);
        let slow_since =
            Some(Time::from_micros(unpacker.signed()?)).filter(|time| *time != Time::NEVER);
        let put = Time::from_micros(unpacker.signed()?);
        let ended = unpacker.byte()? != 0;
        vector.insert(
            stream,
            Reached {
                seq,
                silence: Silence { at, slow_since },
                put,
                ended,
            },
        );
    }
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use systole_core::schedule::Schedule;
    use systole_core::time::Span;

    #[test]
    fn a_state_is_read_back_as_it_was_written() {
        let settings = Arc::new(Settings::new(
            Schedule::every(Span::from_seconds(60)).expect("a minute"),
            Span::from_seconds(5),
        ));
        let mut monitor = Monitor::new(Arc::clone(&settings), Time::from_seconds(5));
        let read = |monitor: &Monitor| {
            unpack(&pack(monitor, 9), |id| {
                (id == 9).then(|| Arc::clone(&settings))
            })
        };
        assert_eq!(read(&monitor).unwrap(), monitor);
        monitor.heartbeat.state = State::Down;
        monitor.heartbeat.awaited = Time::from_seconds(70);
        for ended in [
            None,
            Some(Ended {
                id: 7,
                failed: false,
                at: Time::MIN,
            }),
            Some(Ended {
                id: u128::MAX,
                failed: true,
                at: Time::from_seconds(77),
            }),
        ] {
            monitor.heartbeat.rare = Some(Box::new(Rare {
                runs: vec![
                    Run {
                        id: Some(3),
                        started: Time::from_seconds(1),
                    },
                    Run {
                        id: None,
                        started: Time::MIN,
                    },
                ],
                ended,
                edited: Time::MIN,
            }));
            assert_eq!(read(&monitor).unwrap(), monitor);
        }
        monitor.last = Position::new(2, 77);
        monitor.incident = Some(Box::new(Incident {
            number: 12,
            phase: Phase::Resolved(Time::from_seconds(8)),
            reopened: 2,
            by_silence: true,
            started_at: Time::from_seconds(7),
        }));
        assert_eq!(read(&monitor).unwrap(), monitor);
    }

    #[test]
    fn a_vector_is_read_back_as_it_was_written() {
        let mut vector = Vector::new();
        for (stream, slow_since) in [(0, None), (7, Some(Time::from_seconds(3)))] {
            let silence = Silence {
                at: Time::from_seconds(9),
                slow_since,
            };
            vector.insert(
                stream,
                Reached {
                    seq: 44,
                    silence,
                    put: Time::from_seconds(10),
                    ended: stream == 7,
                },
            );
        }
        assert_eq!(unpack_vector(&pack_vector(&vector)).unwrap(), vector);
    }
}
