//! The deliveries that a decision makes: who is told what, and what is better left unsaid.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use systole_core::delivery::digest::Place;
use systole_core::delivery::{Prior, plan_resolve};
use systole_core::engine::{Decision, MonitorId};
use systole_core::incident::Happened;
use systole_core::message::{MessageKind, Occasion};
use systole_core::time::{Span, Time};

use super::recent::digest_name;
use super::{CHUNK, Deciding, Happening};
use crate::Error;
use crate::deliveries::{CLAIM, Outgoing, PENDING, SUPERSEDED, as_of};
use crate::monitors::ids_text;
use crate::occasion::occasion_text;
use crate::sql;

/// How long the messages of one outage are gathered, so that they go as one.
const GATHER: Span = Span::from_seconds(10);

/// A channel, as far as a decision looks at it.
#[derive(Clone, Copy)]
pub(super) struct Destination {
    pub(super) id: i64,
    pub(super) project: i64,
    /// Used by monitors that name no channels.
    pub(super) default: bool,
    /// Receives what concerns Systole itself.
    pub(super) system: bool,
    /// Many messages at once go as one.
    pub(super) digest: bool,
}

/// A delivery that this decision makes.
struct Made {
    channel: i64,
    index: usize,
    kind: MessageKind,
    superseded: bool,
    held: Option<Held>,
}

/// A delivery that a maintenance window holds back.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) window: String,
    pub(super) until: Time,
}

impl Held {
    /// For people.
    pub(super) fn sentence(&self) -> String {
        format!(
            "held back by the maintenance {:?} until {}",
            self.window,
            self.until.to_jiff().strftime("%Y-%m-%d %H:%M:%S UTC")
        )
    }
}

impl Deciding<'_> {
    pub(super) async fn write_deliveries(
        &mut self,
        decision: &Decision,
        happenings: &[Happening<'_>],
        key: &mut impl FnMut() -> String,
    ) -> Result<Vec<Outgoing>, Error> {
        if happenings.is_empty() {
            return Ok(Vec::new());
        }
        let mut told = self.told(happenings).await?;
        let channels = self.destinations().await?;
        let named = self.named_channels(happenings).await?;
        let mut made: Vec<Made> = Vec::new();
        let mut superseded_before: Vec<(i64, u64, i64)> = Vec::new();
        let mut silences: Vec<(i64, String)> = Vec::new();
        let held = self.held(happenings, decision.now).await?;
        for (index, happening) in happenings.iter().enumerate() {
            let number = happening.incident.number;
            let Some(kind) = message_kind(&happening.event.what) else {
                continue;
            };
            let to: Vec<i64> = match kind {
                MessageKind::Triggered => named.get(&happening.monitor).map_or_else(
                    || default_channels(&channels, happening.incident.project),
                    |named| existing(&channels, named),
                ),
                _ => told
                    .iter()
                    .filter(|((_, n), _)| *n == number)
                    .map(|((channel, _), _)| *channel)
                    .collect(),
            };
            if to.is_empty() && kind == MessageKind::Triggered {
                let why = "no channel is configured for this monitor";
                silences.push((happening.seq, why.to_owned()));
            }
            let held = held.get(&happening.monitor);
            if let Some(held) = held.filter(|_| !to.is_empty()) {
                silences.push((happening.seq, held.sentence()));
            }
            for channel in to {
                let prior = told.entry((channel, number)).or_default();
                if kind == MessageKind::Resolved {
                    let plan = plan_resolve(prior);
                    for made in made.iter_mut().filter(|made| made.channel == channel) {
                        let seq = happenings[made.index].seq;
                        made.superseded |= happenings[made.index].incident.number == number
                            && plan.superseded.contains(&seq);
                    }
                    superseded_before
                        .extend(plan.superseded.iter().map(|seq| (channel, number, *seq)));
                    if !plan.send {
                        silences.push((happening.seq, plan.reason.sentence().to_owned()));
                        continue;
                    }
                }
                prior.push(Prior {
                    seq: happening.seq,
                    kind,
                    claimed: false,
                    delivered: false,
                });
                made.push(Made {
                    channel,
                    index,
                    kind,
                    superseded: false,
                    held: held.cloned(),
                });
            }
        }
        self.supersede(decision.now, &superseded_before).await?;
        self.write_silences(&silences).await?;
        self.insert_deliveries(decision, happenings, &channels, &made, key)
            .await
    }

    /// What each channel has been told about these incidents.
    async fn told(
        &mut self,
        happenings: &[Happening<'_>],
    ) -> Result<BTreeMap<(i64, u64), Vec<Prior>>, Error> {
        let numbers: BTreeSet<u64> = happenings
            .iter()
            .map(|happening| happening.incident.number)
            .collect();
        let rows = sql::query(
            "SELECT d.channel_id, d.incident_id, d.seq, d.kind, d.state, d.claim FROM delivery d
             JOIN channel c ON c.id = d.channel_id
             WHERE d.incident_id IN (SELECT value FROM json_each($1)) ORDER BY d.seq",
        )
        .bind(serde_json::Value::from(numbers.into_iter().collect::<Vec<u64>>()).to_string())
        .fetch_all(self.session.connection())
        .await
        .map_err(Error::attempted("read what channels were told"))?;
        let mut told: BTreeMap<(i64, u64), Vec<Prior>> = BTreeMap::new();
        for row in rows {
            let (channel, incident, state): (i64, i64, i64) = (row.get(0), row.get(1), row.get(4));
            let kind = row
                .get::<&str>(3)
                .parse()
                .map_err(|_| Error::Corrupt("a delivery has an unknown kind"))?;
            if state == SUPERSEDED {
                continue;
            }
            told.entry((channel, incident.cast_unsigned()))
                .or_default()
                .push(Prior {
                    seq: row.get(2),
                    kind,
                    claimed: row.get::<i64>(5) > 0,
                    delivered: state != PENDING,
                });
        }
        Ok(told)
    }

    /// Every channel.
    pub(super) async fn destinations(&mut self) -> Result<Vec<Destination>, Error> {
        let rows = sql::query("SELECT id, project_id, is_default, is_system, digest FROM channel")
            .fetch_all(self.session.connection())
            .await
            .map_err(Error::attempted("read channels"))?;
        let read = |row: &sql::Row| Destination {
            id: row.get(0),
            project: row.get(1),
            default: row.get(2),
            system: row.get(3),
            digest: row.get(4),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// The channels that monitors name.
    async fn named_channels(
        &mut self,
        happenings: &[Happening<'_>],
    ) -> Result<HashMap<MonitorId, Vec<i64>>, Error> {
        let ids: BTreeSet<MonitorId> = happenings
            .iter()
            .map(|happening| happening.monitor)
            .collect();
        let rows = sql::query(
            "SELECT id, channels FROM monitor WHERE channels IS NOT NULL AND id IN (SELECT value FROM json_each($1))",
        )
        .bind(ids_text(&ids.into_iter().collect::<Vec<_>>()))
        .fetch_all(self.session.connection())
        .await
        .map_err(Error::attempted("read monitors' channels"))?;
        let mut named = HashMap::new();
        for row in rows {
            let ids: Vec<i64> = serde_json::from_str(row.get(1))
                .map_err(|_| Error::Corrupt("a monitor's channels cannot be read"))?;
            named.insert(u32::try_from(row.get::<i64>(0)).unwrap_or(0), ids);
        }
        Ok(named)
    }

    async fn supersede(&mut self, now: Time, rows: &[(i64, u64, i64)]) -> Result<(), Error> {
        for (channel, incident, seq) in rows {
            sql::query(
                "UPDATE delivery SET state = $4, finished_at = $5, detail = 'over before it was sent'
                 WHERE channel_id = $1 AND incident_id = $2 AND seq = $3 AND state = 0 AND claim = 0",
            )
            .bind(channel)
            .bind(incident.cast_signed())
            .bind(seq)
            .bind(SUPERSEDED)
            .bind(now.as_micros())
            .execute(self.session.connection())
            .await
            .map_err(Error::attempted("supersede deliveries"))?;
        }
        Ok(())
    }

    /// The monitors among these that a maintenance window covers now.
    async fn held(
        &mut self,
        happenings: &[Happening<'_>],
        now: Time,
    ) -> Result<BTreeMap<MonitorId, Held>, Error> {
        let mut windows = BTreeMap::new();
        let mut held = BTreeMap::new();
        for happening in happenings {
            let project = happening.incident.project;
            if let Entry::Vacant(unread) = windows.entry(project) {
                unread.insert(self.session.maintenance_windows(project, now).await?);
            }
            let cover = windows.get(&project).and_then(|windows| {
                windows.cover(&happening.incident.labels, happening.monitor, now)
            });
            if let Some(cover) = cover {
                let (window, until) = (cover.name.to_owned(), cover.until);
                held.insert(happening.monitor, Held { window, until });
            }
        }
        Ok(held)
    }

    async fn write_silences(&mut self, silences: &[(i64, String)]) -> Result<(), Error> {
        for (seq, why) in silences {
            sql::query("UPDATE incident_event SET silence = $2 WHERE seq = $1")
                .bind(seq)
                .bind(why)
                .execute(self.session.connection())
                .await
                .map_err(Error::attempted("store why nobody is told"))?;
        }
        Ok(())
    }

    /// Inserts what was made; what can go at once is claimed for this process.
    ///
    /// Per channel and incident only the first pending one is claimed, the others follow it in order.
    async fn insert_deliveries(
        &mut self,
        decision: &Decision,
        happenings: &[Happening<'_>],
        channels: &[Destination],
        made: &[Made],
        key: &mut impl FnMut() -> String,
    ) -> Result<Vec<Outgoing>, Error> {
        let mut waiting = self.waiting(happenings).await?;
        let mut recents = self
            .recents(decision.now, &gathering(channels, made))
            .await?;
        let mut outgoing = Vec::new();
        let now = decision.now;
        for chunk in made.chunks(CHUNK) {
            let mut rows = Vec::with_capacity(chunk.len());
            for made in chunk {
                let happening = &happenings[made.index];
                let first = waiting.insert((made.channel, happening.incident.number));
                let together = if made.superseded || made.held.is_some() {
                    None
                } else {
                    outage_group(happening, made.kind, now).or_else(|| {
                        match recents.place(made.channel, now) {
                            Place::AtOnce => None,
                            Place::Gathered(until) => Some((digest_name(until), until)),
                        }
                    })
                };
                let claimed =
                    first && together.is_none() && !made.superseded && made.held.is_none();
                let (grouped, next_at) = match (together, &made.held) {
                    (Some((name, leaves)), _) => (Some(name), leaves),
                    (None, Some(held)) => (None, held.until),
                    (None, None) if claimed => (None, now + CLAIM),
                    (None, None) => (None, now),
                };
                let occasion = made.held.as_ref().map(|held| Occasion::MaintenanceOver {
                    window: held.window.clone(),
                });
                let occasion = occasion_text(&occasion.unwrap_or_default())?;
                rows.push((made, key(), grouped, claimed, next_at, occasion));
            }
            let mut query = sql::Builder::new(
                "INSERT INTO delivery (key, project_id, channel_id, incident_id, seq, kind, state, claim, attempts,
                 next_at, decided_at, finished_at, grouped, detail, held, occasion) ",
            );
            query.push_values(
                &rows,
                |row, (made, key, grouped, claimed, next_at, occasion)| {
                    let held = made.held.as_ref().filter(|_| !made.superseded);
                    let happening = &happenings[made.index];
                    row.push_bind(key.clone())
                        .push_bind(happening.incident.project)
                        .push_bind(made.channel)
                        .push_bind(happening.incident.number.cast_signed())
                        .push_bind(happening.seq)
                        .push_bind(made.kind.as_str())
                        .push_bind(if made.superseded { SUPERSEDED } else { PENDING })
                        .push_bind(i64::from(*claimed))
                        .push_bind(i64::from(*claimed))
                        .push_bind(next_at.as_micros())
                        .push_bind(now.as_micros())
                        .push_bind(made.superseded.then_some(now.as_micros()))
                        .push_bind(grouped.clone())
                        .push_bind(if made.superseded {
                            Some("over before it was sent".to_owned())
                        } else {
                            held.map(Held::sentence)
                        })
                        .push_bind(i64::from(held.is_some()))
                        .push_bind(occasion.clone());
                },
            );
            query.push(" RETURNING id");
            let returned = query
                .build()
                .fetch_all(self.session.connection())
                .await
                .map_err(Error::attempted("store deliveries"))?;
            // Numbers are given in the order of rows; the order in which they are returned is nobody's promise.
            let mut ids: Vec<i64> = returned.iter().map(|row| row.get(0)).collect();
            ids.sort_unstable();
            for ((made, key, grouped, claimed, ..), id) in rows.into_iter().zip(ids) {
                if claimed {
                    let happening = &happenings[made.index];
                    outgoing.push(happening.outgoing(made, id, key, grouped, now));
                }
            }
        }
        Ok(outgoing)
    }

    /// Channels and incidents with something pending: what comes now must wait for it.
    async fn waiting(
        &mut self,
        happenings: &[Happening<'_>],
    ) -> Result<BTreeSet<(i64, u64)>, Error> {
        let numbers: BTreeSet<u64> = happenings
            .iter()
            .map(|happening| happening.incident.number)
            .collect();
        let rows = sql::query(
            "SELECT DISTINCT channel_id, incident_id FROM delivery
             WHERE state = 0 AND incident_id IN (SELECT value FROM json_each($1))",
        )
        .bind(serde_json::Value::from(numbers.into_iter().collect::<Vec<u64>>()).to_string())
        .fetch_all(self.session.connection())
        .await
        .map_err(Error::attempted("read what is pending"))?;
        Ok(rows
            .iter()
            .map(|row| (row.get(0), row.get::<i64>(1).cast_unsigned()))
            .collect())
    }
}

impl Happening<'_> {
    fn outgoing(
        &self,
        made: &Made,
        id: i64,
        key: String,
        grouped: Option<String>,
        now: Time,
    ) -> Outgoing {
        let mut incident = self.incident.clone();
        as_of(&mut incident, made.kind);
        Outgoing {
            id,
            key,
            channel: made.channel,
            claim: 1,
            attempts: 1,
            decided_at: now,
            grouped,
            occasion: Occasion::Event,
            kind: made.kind,
            at: self.event.at,
            reason: self.event.reason.word().to_owned(),
            reopened: self.event.incident.reopened,
            by: self.event.by.clone(),
            note: self.event.note.clone(),
            evidence: self.evidence.clone(),
            incident,
        }
    }
}

const fn message_kind(what: &Happened) -> Option<MessageKind> {
    match what {
        Happened::Triggered(_) => Some(MessageKind::Triggered),
        Happened::Acknowledged => Some(MessageKind::Acknowledged),
        Happened::Resolved => Some(MessageKind::Resolved),
        Happened::Noted => None,
    }
}

fn default_channels(channels: &[Destination], project: i64) -> Vec<i64> {
    channels
        .iter()
        .filter(|channel| channel.project == project && channel.default)
        .map(|channel| channel.id)
        .collect()
}

fn existing(channels: &[Destination], named: &[i64]) -> Vec<i64> {
    channels
        .iter()
        .filter(|channel| named.contains(&channel.id))
        .map(|channel| channel.id)
        .collect()
}

/// The channels among these that gather.
fn gathering(channels: &[Destination], made: &[Made]) -> BTreeSet<i64> {
    let used: BTreeSet<i64> = made.iter().map(|made| made.channel).collect();
    channels
        .iter()
        .filter(|channel| channel.digest && used.contains(&channel.id))
        .map(|channel| channel.id)
        .collect()
}

/// Incidents that only an outage of ours explains go out as one message per channel: its name, and when it leaves.
fn outage_group(happening: &Happening<'_>, kind: MessageKind, now: Time) -> Option<(String, Time)> {
    let (_, until) = happening.evidence.outage?;
    (kind == MessageKind::Triggered).then(|| (format!("outage {until}"), now + GATHER))
}
