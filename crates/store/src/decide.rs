//! Writing what the engine decided, and reading it back at boot.
//!
//! A deciding transaction checks the epoch first and reads the tail of the log *after* that: a check-in that was
//! acknowledged before is then either read, or was appended later than the decision was taken. Incidents, events,
//! deliveries and the monitors' state rows go in together, or not at all.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use systole_core::engine::{
    Boot, BootedMonitor, Decided, Decision, Monitor, MonitorId, Position, Row, Sweep, Vector,
};
use systole_core::heartbeat::{Cause, Settings};
use systole_core::incident::{Event, Happened, Phase};
use systole_core::outage::Outage;
use systole_core::reason::Reason;
use systole_core::time::Time;

use crate::deliveries::Outgoing;
use crate::incidents::{COLUMNS, EvidenceDocument, IncidentRow, read_incident};
use crate::lease::fence;
use crate::monitors::{MonitorRow, ids_text, labels_text};
use crate::record::{CheckinRecord, unpack_checkins};
use crate::settings::SettingsDocument;
use crate::state::{pack, pack_vector, unpack, unpack_vector};
use crate::{Error, Session, Store, sql};

mod follow_up;
mod outbox;
mod recent;

pub use follow_up::FollowedUp;

/// Rows of one INSERT.
const CHUNK: usize = 250;

/// Monitors whose rows are read by one statement at boot: what it holds at once stays small.
pub(crate) const BOOT_IDS: u16 = 50_000;

/// How much of a body is evidence.
const MESSAGE_MAX: usize = 500;

/// A deciding transaction.
pub struct Deciding<'a> {
    session: Session<'a>,
    epoch: i64,
}

/// What is read at boot.
pub struct Booted {
    /// For [`systole_core::engine::Engine::boot`].
    pub boot: Boot,
    /// The numbers of settings, for [`SettingsIds`].
    pub settings: SettingsIds,
}

/// The stored numbers of settings that states name.
#[derive(Default)]
pub struct SettingsIds {
    by_value: HashMap<Arc<Settings>, i64>,
    /// The one that was asked for last: many monitors share theirs.
    last: Option<(Arc<Settings>, i64)>,
}

impl Store {
    /// Reads what was persisted, as one consistent snapshot.
    ///
    /// # Errors
    /// What the database says.
    pub async fn boot(&self) -> Result<Booted, Error> {
        let attempted = || Error::attempted("load the states");
        let mut session = self.session().await?;
        session.begin_snapshot().await?;
        let states = session.dialect().states();
        let mut connection = session.connection();
        let mut settings = HashMap::new();
        let mut by_id = HashMap::new();
        for row in sql::query("SELECT id, body FROM settings")
            .fetch_all(connection.again())
            .await
            .map_err(attempted())?
        {
            let document: SettingsDocument = serde_json::from_str(row.get(1))
                .map_err(|_| Error::Corrupt("settings cannot be read"))?;
            let shared = Arc::new(document.settings()?);
            by_id.insert(row.get::<i64>(0), Arc::clone(&shared));
            settings.insert(shared, row.get(0));
        }
        let checkpoint = sql::query("SELECT cut, vector FROM checkpoint WHERE id = 1")
            .fetch_optional(connection.again())
            .await
            .map_err(attempted())?;
        let checkpoint = match checkpoint {
            Some(row) => (
                row.get::<i64>(0).cast_unsigned(),
                unpack_vector(row.get(1))?,
            ),
            None => (0, Vector::new()),
        };
        let mut cuts = Vec::new();
        for row in sql::query("SELECT cut, vector FROM log_cut ORDER BY cut")
            .fetch_all(connection.again())
            .await
            .map_err(attempted())?
        {
            cuts.push((
                row.get::<i64>(0).cast_unsigned(),
                unpack_vector(row.get(1))?,
            ));
        }
        let ids = sql::query("SELECT COALESCE(MAX(id), 0), COUNT(*) FROM monitor_state")
            .fetch_one(connection.again())
            .await
            .map_err(attempted())?;
        let mut monitors =
            Vec::with_capacity(usize::try_from(ids.get::<i64>(1)).unwrap_or_default());
        for from in (0..=ids.get::<i64>(0)).step_by(usize::from(BOOT_IDS)) {
            // A thousand states to a row: through the driver, each row costs more than its content.
            let rows = sql::query(format!(
                "SELECT {states} FROM monitor_state WHERE id >= $1 AND id < $2 GROUP BY id / 1000"
            ))
            .bind(from)
            .bind(from + i64::from(BOOT_IDS))
            .fetch_all(connection.again())
            .await
            .map_err(attempted())?;
            for row in rows {
                for entry in row.get::<&str>(0).split(',') {
                    monitors.push(read_state(entry, &by_id)?);
                }
            }
        }
        let outages = sql::query("SELECT g0, g1 FROM outage ORDER BY g0")
            .fetch_all(connection.again())
            .await
            .map_err(attempted())?
            .iter()
            .map(|row| Outage {
                from: Time::from_micros(row.get(0)),
                until: Time::from_micros(row.get(1)),
            })
            .collect();
        let next_incident: i64 = sql::query("SELECT COALESCE(MAX(id), 0) + 1 FROM incident")
            .fetch_one(connection)
            .await
            .map_err(attempted())?
            .get(0);
        session.rollback().await?;
        let boot = Boot {
            checkpoint,
            cuts,
            monitors,
            outages,
            next_incident: next_incident.cast_unsigned(),
        };
        Ok(Booted {
            boot,
            settings: SettingsIds {
                by_value: settings,
                last: None,
            },
        })
    }

    /// Where the next boot starts to read: rows below are needed no more.
    ///
    /// # Errors
    /// What the database says.
    pub async fn checkpoint_vector(&self) -> Result<Vector, Error> {
        let row = sql::query("SELECT vector FROM checkpoint WHERE id = 1")
            .fetch_optional(self.readers())
            .await
            .map_err(Error::attempted("read the checkpoint"))?;
        row.map_or_else(|| Ok(Vector::new()), |row| unpack_vector(row.get(0)))
    }

    /// Begins a deciding transaction of the holder of `epoch`.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another process has taken over.
    pub async fn begin_decision(&self, epoch: i64) -> Result<Deciding<'_>, Error> {
        let mut session = self.session().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        Ok(Deciding { session, epoch })
    }

    /// Writes a chunk of a pass.
    ///
    /// # Errors
    /// [`Error::Fenced`]; after anything else the outcome is not known.
    pub async fn sweep(
        &self,
        epoch: i64,
        sweep: &Sweep,
        settings: &mut SettingsIds,
    ) -> Result<(), Error> {
        let mut session = self.session().await?;
        // What is lost with a chunk is folded again from the log.
        session.relaxed().await?;
        session.begin().await?;
        fence(&mut session, epoch).await?;
        let rows: Vec<(MonitorId, &Monitor)> = sweep
            .rows
            .iter()
            .map(|(id, monitor)| (*id, monitor))
            .collect();
        session.write_states(sweep.cut, &rows, settings).await?;
        session.write_cut(sweep.cut, epoch, &sweep.vector).await?;
        session.write_outages(&sweep.outages).await?;
        if let Some(end) = &sweep.end {
            let attempted = || Error::attempted("move the checkpoint");
            sql::query(
                "INSERT INTO checkpoint (id, cut, vector) VALUES (1, $1, $2)
                 ON CONFLICT (id) DO UPDATE SET cut = excluded.cut, vector = excluded.vector",
            )
            .bind(end.cut.cast_signed())
            .bind(pack_vector(&end.vector))
            .execute(session.connection())
            .await
            .map_err(attempted())?;
            sql::query("DELETE FROM log_cut WHERE cut < $1")
                .bind(end.cut.cast_signed())
                .execute(session.connection())
                .await
                .map_err(attempted())?;
            if !end.finished.is_empty() {
                sql::query("UPDATE log_stream SET folded = 1 WHERE stream IN (SELECT value FROM json_each($1))")
                    .bind(ids_text(&end.finished))
                    .execute(session.connection())
                    .await
                    .map_err(attempted())?;
            }
        }
        session.commit().await
    }
}

fn read_state(entry: &str, settings: &HashMap<i64, Arc<Settings>>) -> Result<BootedMonitor, Error> {
    let corrupt = || Error::Corrupt("a monitor's state row cannot be read");
    let mut parts = entry.split(' ');
    let id = parts
        .next()
        .and_then(|id| id.parse().ok())
        .ok_or_else(corrupt)?;
    let cut = parts
        .next()
        .and_then(|cut| cut.parse().ok())
        .ok_or_else(corrupt)?;
    let bytes = unhex(parts.next().unwrap_or_default()).ok_or_else(corrupt)?;
    let monitor = unpack(&bytes, |id| settings.get(&id).cloned())?;
    Ok(BootedMonitor { id, cut, monitor })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    text.as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect()
}

impl SettingsIds {
    async fn id(
        &mut self,
        session: &mut Session<'_>,
        settings: &Arc<Settings>,
    ) -> Result<i64, Error> {
        if let Some((last, id)) = &self.last
            && Arc::ptr_eq(last, settings)
        {
            return Ok(*id);
        }
        let id = match self.by_value.get(settings) {
            Some(id) => *id,
            None => {
                let id = session.settings_id(settings).await?;
                self.by_value.insert(Arc::clone(settings), id);
                id
            }
        };
        self.last = Some((Arc::clone(settings), id));
        Ok(id)
    }
}

impl Session<'_> {
    async fn write_states(
        &mut self,
        cut: u64,
        rows: &[(MonitorId, &Monitor)],
        settings: &mut SettingsIds,
    ) -> Result<(), Error> {
        for chunk in rows.chunks(CHUNK) {
            let mut packed = Vec::with_capacity(chunk.len());
            for (id, monitor) in chunk {
                let settings_id = settings.id(self, &monitor.settings).await?;
                packed.push((i64::from(*id), pack(monitor, settings_id)));
            }
            let mut query = sql::Builder::new("INSERT INTO monitor_state (id, cut, state) ");
            query.push_values(packed, |row, (id, state)| {
                row.push_bind(id)
                    .push_bind(cut.cast_signed())
                    .push_bind(state);
            });
            query.push(
                " ON CONFLICT (id) DO UPDATE SET cut = excluded.cut, state = excluded.state
                 WHERE monitor_state.cut < excluded.cut",
            );
            query
                .build()
                .execute(self.connection())
                .await
                .map_err(Error::attempted("store states"))?;
        }
        Ok(())
    }

    async fn write_cut(&mut self, cut: u64, epoch: i64, vector: &Vector) -> Result<(), Error> {
        sql::query("INSERT INTO log_cut (cut, epoch, vector) VALUES ($1, $2, $3) ON CONFLICT (cut) DO NOTHING")
            .bind(cut.cast_signed())
            .bind(epoch)
            .bind(pack_vector(vector))
            .execute(self.connection())
            .await
            .map_err(Error::attempted("store a cut"))?;
        Ok(())
    }

    async fn write_outages(&mut self, outages: &[(Outage, Position)]) -> Result<(), Error> {
        for (outage, at) in outages {
            sql::query("INSERT INTO outage (stream, seq, g0, g1) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(i64::from(at.stream()))
                .bind(at.seq().cast_signed())
                .bind(outage.from.as_micros())
                .bind(outage.until.as_micros())
                .execute(self.connection())
                .await
                .map_err(Error::attempted("store an outage"))?;
        }
        Ok(())
    }
}

/// An event with its incident as of then, on its way into the tables.
struct Happening<'a> {
    seq: i64,
    monitor: MonitorId,
    event: &'a Event,
    incident: IncidentRow,
    evidence: EvidenceDocument,
}

impl Deciding<'_> {
    /// The head read: the rows after `vector`.
    ///
    /// # Errors
    /// What the database says.
    pub async fn tail(&mut self, vector: &Vector, limit: u32) -> Result<Vec<Row>, Error> {
        self.session.tail(vector, limit).await
    }

    /// Nothing to decide after all.
    ///
    /// # Errors
    /// What the database says.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.session.rollback().await
    }

    /// Writes the decision; answers the deliveries claimed for this process, to be sent after [`Deciding::commit`].
    ///
    /// `key` makes idempotency keys.
    ///
    /// # Errors
    /// What the database says; the decision is then given up.
    pub async fn write(
        &mut self,
        decision: &Decision,
        settings: &mut SettingsIds,
        mut key: impl FnMut() -> String,
    ) -> Result<Vec<Outgoing>, Error> {
        let happenings = self.happenings(decision).await?;
        self.write_incidents(&happenings).await?;
        self.write_events(decision, &happenings).await?;
        let outgoing = self
            .write_deliveries(decision, &happenings, &mut key)
            .await?;
        let rows: Vec<(MonitorId, &Monitor)> = decision
            .changes
            .iter()
            .filter_map(|change| Some((change.id, change.after.as_ref()?)))
            .collect();
        self.session
            .write_states(decision.cut, &rows, settings)
            .await?;
        self.delete_states(decision).await?;
        self.session
            .write_cut(decision.cut, self.epoch, &decision.vector)
            .await?;
        self.session.write_outages(&decision.outages).await?;
        Ok(outgoing)
    }

    /// Makes it durable. After an error the outcome is not known: the caller must boot again, not guess.
    ///
    /// # Errors
    /// What the database says.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.session.commit().await
    }

    async fn delete_states(&mut self, decision: &Decision) -> Result<(), Error> {
        let gone: Vec<MonitorId> = decision
            .changes
            .iter()
            .filter(|change| change.after.is_none())
            .map(|change| change.id)
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        sql::query("DELETE FROM monitor_state WHERE id IN (SELECT value FROM json_each($1))")
            .bind(ids_text(&gone))
            .execute(self.session.connection())
            .await
            .map_err(Error::attempted("forget a deleted monitor"))?;
        Ok(())
    }

    /// Joins events with what the tables know of their monitors and incidents.
    async fn happenings<'d>(
        &mut self,
        decision: &'d Decision,
    ) -> Result<Vec<Happening<'d>>, Error> {
        let mut events: Vec<(&'d Decided, &'d Event)> = Vec::new();
        for change in &decision.changes {
            events.extend(change.events.iter().map(|event| (change, event)));
        }
        let ids: BTreeSet<MonitorId> = events.iter().map(|(change, _)| change.id).collect();
        let numbers: BTreeSet<u64> = events
            .iter()
            .map(|(_, event)| event.incident.number)
            .collect();
        let monitors = self
            .session
            .monitors_by_id(&ids.into_iter().collect::<Vec<_>>())
            .await?;
        let monitors: HashMap<MonitorId, MonitorRow> =
            monitors.into_iter().map(|row| (row.id, row)).collect();
        let mut incidents = self.incidents_by_number(&numbers).await?;
        let mut seq: i64 = sql::query("SELECT COALESCE(MAX(seq), 0) FROM incident_event")
            .fetch_one(self.session.connection())
            .await
            .map_err(Error::attempted("number events"))?
            .get(0);
        let mut bodies = HashMap::new();
        let mut happenings = Vec::new();
        for (change, event) in events {
            let failing = change
                .after
                .as_ref()
                .map_or(Position::NONE, |after| after.last_failing);
            let message = self.message(change.id, event, failing, &mut bodies).await?;
            let known = incidents.remove(&event.incident.number);
            let Some(incident) = as_row(
                change.id,
                event,
                decision.now,
                known,
                monitors.get(&change.id),
                message,
            ) else {
                // The monitor was deleted between the log's record and now: nobody is to be told any more.
                continue;
            };
            seq += 1;
            incidents.insert(incident.number, incident.clone());
            let evidence = incident.evidence.clone();
            happenings.push(Happening {
                seq,
                monitor: change.id,
                event,
                incident,
                evidence,
            });
        }
        Ok(happenings)
    }

    async fn incidents_by_number(
        &mut self,
        numbers: &BTreeSet<u64>,
    ) -> Result<HashMap<u64, IncidentRow>, Error> {
        let mut query = sql::Builder::new(COLUMNS);
        let text =
            serde_json::Value::from(numbers.iter().copied().collect::<Vec<u64>>()).to_string();
        query
            .push(" WHERE i.id IN (SELECT value FROM json_each(")
            .push_bind(text)
            .push("))");
        let rows = query
            .build()
            .fetch_all(self.session.connection())
            .await
            .map_err(Error::attempted("read incidents"))?;
        rows.iter()
            .map(|row| read_incident(row).map(|incident| (incident.number, incident)))
            .collect()
    }

    /// What the failing check-in said.
    async fn message(
        &mut self,
        monitor: MonitorId,
        event: &Event,
        failing: Position,
        bodies: &mut HashMap<Position, Vec<CheckinRecord>>,
    ) -> Result<Option<String>, Error> {
        let Happened::Triggered(Cause {
            reason: Reason::ReportedFailure | Reason::ExitStatus,
            ..
        }) = event.what
        else {
            return Ok(None);
        };
        if let Entry::Vacant(unread) = bodies.entry(failing) {
            unread.insert(self.records(failing).await?);
        }
        let records = bodies.get(&failing).map_or(&[][..], Vec::as_slice);
        let record = records
            .iter()
            .find(|record| record.monitor == monitor && record.checkin.at == event.at);
        Ok(record.and_then(|record| {
            let text = if record.message.is_empty() {
                String::from_utf8_lossy(&record.body).into_owned()
            } else {
                record.message.clone()
            };
            let text = text.trim();
            (!text.is_empty()).then(|| text.chars().take(MESSAGE_MAX).collect())
        }))
    }

    /// The check-ins of a row of the log; none where it was dropped.
    async fn records(&mut self, position: Position) -> Result<Vec<CheckinRecord>, Error> {
        let row = sql::query("SELECT at, body FROM log WHERE stream = $1 AND seq = $2")
            .bind(i64::from(position.stream()))
            .bind(position.seq().cast_signed())
            .fetch_optional(self.session.connection())
            .await
            .map_err(Error::attempted("read a failing check-in"))?;
        row.map_or_else(
            || Ok(Vec::new()),
            |row| unpack_checkins(row.get(1), Time::from_micros(row.get(0))),
        )
    }

    /// One row per incident, as after its last event here.
    async fn write_incidents(&mut self, happenings: &[Happening<'_>]) -> Result<(), Error> {
        let last: BTreeMap<u64, &IncidentRow> = happenings
            .iter()
            .map(|happening| (happening.incident.number, &happening.incident))
            .collect();
        let rows: Vec<&IncidentRow> = last.into_values().collect();
        for chunk in rows.chunks(CHUNK) {
            let mut packed = Vec::with_capacity(chunk.len());
            for incident in chunk {
                packed.push((
                    *incident,
                    labels_text(&incident.labels)?,
                    incident.evidence.text()?,
                ));
            }
            let mut query = sql::Builder::new(
                "INSERT INTO incident (id, project_id, monitor_id, monitor_kind, monitor_name, labels, severity, state,
                 reason, reopened, started_at, detected_at, acknowledged_at, resolved_at, evidence) ",
            );
            query.push_values(packed, |row, (incident, labels, evidence)| {
                row.push_bind(incident.number.cast_signed())
                    .push_bind(incident.project)
                    .push_bind(i64::from(incident.monitor))
                    .push_bind(incident.monitor_kind.clone())
                    .push_bind(incident.monitor_name.clone())
                    .push_bind(labels)
                    .push_bind(incident.severity.clone())
                    .push_bind(incident.state.clone())
                    .push_bind(incident.reason.clone())
                    .push_bind(i64::from(incident.reopened))
                    .push_bind(incident.started_at.as_micros())
                    .push_bind(incident.detected_at.as_micros())
                    .push_bind(incident.acknowledged_at.map(Time::as_micros))
                    .push_bind(incident.resolved_at.map(Time::as_micros))
                    .push_bind(evidence);
            });
            query.push(
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, reason = excluded.reason,
                 reopened = excluded.reopened, started_at = excluded.started_at, detected_at = excluded.detected_at,
                 acknowledged_at = excluded.acknowledged_at, resolved_at = excluded.resolved_at,
                 evidence = excluded.evidence",
            );
            query
                .build()
                .execute(self.session.connection())
                .await
                .map_err(Error::attempted("store incidents"))?;
        }
        Ok(())
    }

    async fn write_events(
        &mut self,
        decision: &Decision,
        happenings: &[Happening<'_>],
    ) -> Result<(), Error> {
        for chunk in happenings.chunks(CHUNK) {
            let mut packed = Vec::with_capacity(chunk.len());
            for happening in chunk {
                packed.push((happening, happening.evidence.text()?));
            }
            let mut query = sql::Builder::new(
                "INSERT INTO incident_event (seq, epoch, cut, project_id, monitor_id, incident_id, kind, at, decided_at,
                 reason, reopened, by_whom, note, evidence) ",
            );
            let epoch = self.epoch;
            query.push_values(packed, |row, (happening, evidence)| {
                let event = happening.event;
                row.push_bind(happening.seq)
                    .push_bind(epoch)
                    .push_bind(decision.cut.cast_signed())
                    .push_bind(happening.incident.project)
                    .push_bind(i64::from(happening.monitor))
                    .push_bind(happening.incident.number.cast_signed())
                    .push_bind(event.what.word())
                    .push_bind(event.at.as_micros())
                    .push_bind(decision.now.as_micros())
                    .push_bind(event.reason.word())
                    .push_bind(i64::from(event.incident.reopened))
                    .push_bind(event.by.clone())
                    .push_bind(event.note.clone())
                    .push_bind(evidence);
            });
            query
                .build()
                .execute(self.session.connection())
                .await
                .map_err(Error::attempted("store events"))?;
        }
        Ok(())
    }
}

/// The incident's row as of this event; `None` where neither row nor monitor is left to make it from.
fn as_row(
    id: MonitorId,
    event: &Event,
    now: Time,
    known: Option<IncidentRow>,
    monitor: Option<&MonitorRow>,
    message: Option<String>,
) -> Option<IncidentRow> {
    let mut incident = match known {
        Some(known) => known,
        None => {
            let monitor = monitor?;
            IncidentRow {
                number: event.incident.number,
                project: monitor.project,
                monitor: id,
                monitor_kind: monitor.kind.clone(),
                monitor_name: monitor.fields.name.clone(),
                labels: monitor.fields.labels.clone(),
                severity: monitor.fields.severity.clone(),
                state: String::new(),
                reason: String::new(),
                reopened: 0,
                started_at: event.at,
                detected_at: now,
                acknowledged_at: None,
                resolved_at: None,
                evidence: EvidenceDocument::default(),
            }
        }
    };
    match &event.what {
        Happened::Triggered(cause) => {
            event.reason.word().clone_into(&mut incident.reason);
            incident.started_at = cause.at;
            incident.detected_at = now;
            incident.acknowledged_at = None;
            incident.evidence = EvidenceDocument {
                last_checkin_at: Some(event.last_checkin)
                    .filter(|at| *at != Time::MIN)
                    .map(Time::as_micros),
                expected_at: cause.expected.map(Time::as_micros),
                exit_status: cause.exit_status,
                message,
                outage: cause
                    .outage
                    .map(|outage| (outage.from.as_micros(), outage.until.as_micros())),
                outages: event
                    .outages
                    .iter()
                    .map(|o| (o.from.as_micros(), o.until.as_micros()))
                    .collect(),
            };
        }
        Happened::Acknowledged => incident.acknowledged_at = Some(event.at),
        Happened::Resolved | Happened::Noted => {}
    }
    let (state, resolved_at) = match event.incident.phase {
        Phase::Triggered => ("triggered", None),
        Phase::Acknowledged => ("acknowledged", None),
        Phase::Resolved(at) => ("resolved", Some(at)),
    };
    state.clone_into(&mut incident.state);
    incident.resolved_at = resolved_at;
    incident.reopened = event.incident.reopened;
    Some(incident)
}
