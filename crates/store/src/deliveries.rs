//! The outbox: one row per message for one channel about one incident event.
//!
//! A decision inserts rows; whoever may send claims them. The claim number fences a late finish: a sender that stood
//! still longer than its claim cannot undo what another has done since. Per channel and incident, rows go in order.

use systole_core::message::{MessageKind, Occasion};
use systole_core::time::{Span, Time};

use crate::incidents::{EvidenceDocument, IncidentRow, read_incident};
use crate::occasion::read_occasion;
use crate::sql::Dialect;
use crate::{Error, Session, Store, sql};

/// How long a claim holds. A sender looks at its age right before it writes.
pub const CLAIM: Span = Span::from_seconds(60);

/// Names the lock of those who claim; the number is ours alone within a database.
const CLAIMING: i64 = 7_319_412_266_084;

/// Rows of one statement.
const CHUNK: usize = 200;

pub(crate) const PENDING: i64 = 0;
const DELIVERED: i64 = 1;
pub(crate) const SUPERSEDED: i64 = 2;
const DEAD: i64 = 3;

/// A claimed delivery with all that its message says.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Its number.
    pub id: i64,
    /// The idempotency key, the same on every attempt.
    pub key: String,
    /// Where it goes.
    pub channel: i64,
    /// The claim under which it is sent.
    pub claim: i64,
    /// Attempts so far, this one included.
    pub attempts: u32,
    /// When it was decided.
    pub decided_at: Time,
    /// Goes as one message with the others of this group.
    pub grouped: Option<String>,
    /// Why it is sent now.
    pub occasion: Occasion,
    /// What it is about.
    pub kind: MessageKind,
    /// When that happened.
    pub at: Time,
    /// Why.
    pub reason: String,
    /// How often the incident had been reopened then.
    pub reopened: u32,
    /// The person or token that did it, where one did.
    pub by: Option<String>,
    /// What they wrote with it.
    pub note: Option<String>,
    /// What it rests on.
    pub evidence: EvidenceDocument,
    /// The incident.
    pub incident: IncidentRow,
}

/// How an attempt is recorded.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began.
    pub at: Time,
    /// How long it took.
    pub latency: Span,
    /// `delivered`, or the class of the error.
    pub outcome: String,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What the other side said, or what went wrong; free of secrets.
    pub detail: String,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It arrived.
    Delivered,
    /// Try again then.
    RetryAt(Time),
    /// Given up, visibly.
    Dead,
    /// This channel's format has no such message.
    NotSent,
}

/// An attempt, the claims of the deliveries that it carried, and what becomes of them.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Delivery and claim.
    pub claims: Vec<(i64, i64)>,
    /// How it went.
    pub attempt: Attempt,
    /// What becomes of them.
    pub finish: Finish,
}

/// A delivery's row, for people.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// Its number.
    pub id: i64,
    /// The idempotency key.
    pub key: String,
    /// Where it goes.
    pub channel: i64,
    /// The channel's name; empty when it was deleted.
    pub channel_name: String,
    /// The incident.
    pub incident: u64,
    /// The event that it tells.
    pub seq: i64,
    /// What it is about.
    pub kind: String,
    /// `pending`, `delivered`, `superseded` or `dead`.
    pub state: &'static str,
    /// Attempts so far.
    pub attempts: i64,
    /// When it is tried next.
    pub next_at: Time,
    /// When it was decided.
    pub decided_at: Time,
    /// When it was over.
    pub finished_at: Option<Time>,
    /// Why it is in this state, where that needs saying.
    pub detail: Option<String>,
    /// Whether a maintenance window holds it back; then `next_at` is when that ends.
    pub held: bool,
    /// Why it is sent now.
    pub occasion: Occasion,
}

/// Which deliveries a list holds.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    /// Only in this state.
    pub state: Option<String>,
    /// Only about this incident.
    pub incident: Option<u64>,
    /// Only to this channel.
    pub channel: Option<i64>,
    /// Only about this event.
    pub seq: Option<i64>,
    /// Only this one.
    pub id: Option<i64>,
    /// Only numbers below this one.
    pub before: Option<i64>,
    /// Only numbers above this one: how far back is looked for what may not be there.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: u32,
}

/// Depths of the outbox.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutboxDepths {
    /// Waiting or being sent.
    pub pending: i64,
    /// Given up.
    pub dead: i64,
    /// When the oldest pending one was decided.
    pub oldest: Option<Time>,
}

impl Store {
    /// Claims up to `limit` deliveries that are due, the oldest first. Of a group, all members that are due come
    /// together, beyond the limit if need be.
    ///
    /// `not` names channels that must wait (their breaker is open).
    ///
    /// # Errors
    /// What the database says.
    pub async fn claim(&self, now: Time, limit: u32, not: &[i64]) -> Result<Vec<Outgoing>, Error> {
        let attempted = || Error::attempted("claim deliveries");
        let mut session = self.session().await?;
        session.begin().await?;
        let claimed = async {
            session.one_claimer().await?;
            let skip_locked = session.dialect().skip_locked();
            let mut query = sql::Builder::new(
                "UPDATE delivery SET claim = claim + 1, attempts = attempts + 1, next_at = ",
            );
            query.push_bind((now + CLAIM).as_micros());
            query
                .push(" WHERE state = 0 AND held = 0 AND next_at <= ")
                .push_bind(now.as_micros());
            query.push(
                " AND (id IN (SELECT id FROM delivery c WHERE state = 0 AND held = 0 AND NOT EXISTS (SELECT 1 FROM delivery e
                  WHERE e.channel_id = c.channel_id AND e.incident_id = c.incident_id AND e.seq < c.seq AND e.state = 0)
                  AND c.channel_id NOT IN (SELECT value FROM json_each(",
            );
            query.push_bind(serde_json::Value::from(not.to_vec()).to_string());
            query.push(")) AND next_at <= ").push_bind(now.as_micros());
            query.push(" ORDER BY next_at, id LIMIT ").push_bind(i64::from(limit));
            query.push(skip_locked).push(")) RETURNING id");
            let rows = query.build().fetch_all(session.connection()).await.map_err(attempted())?;
            let mut ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            if ids.is_empty() {
                return Ok(Vec::new());
            }
            // The rest of the groups that were touched; what one incident has twice in a group goes together, too.
            let text = serde_json::Value::from(ids.clone()).to_string();
            let rest = sql::query(format!(
                "UPDATE delivery SET claim = claim + 1, attempts = attempts + 1, next_at = $1
                 WHERE state = 0 AND held = 0 AND next_at <= $2 AND id IN
                 (SELECT id FROM delivery r WHERE state = 0 AND held = 0 AND next_at <= $2 AND grouped IS NOT NULL
                 AND EXISTS (SELECT 1 FROM delivery g WHERE g.id IN (SELECT value FROM json_each($3))
                 AND g.grouped = r.grouped AND g.channel_id = r.channel_id) AND NOT EXISTS
                 (SELECT 1 FROM delivery e WHERE e.channel_id = r.channel_id AND e.incident_id = r.incident_id
                 AND e.seq < r.seq AND e.state = 0 AND e.grouped IS DISTINCT FROM r.grouped){skip_locked}) RETURNING id"
            ))
            .bind((now + CLAIM).as_micros())
            .bind(now.as_micros())
            .bind(text)
            .fetch_all(session.connection())
            .await
            .map_err(attempted())?;
            ids.extend(rest.iter().map(|row| row.get::<i64>(0)));
            let rows = sql::query(
                "SELECT i.id, i.project_id, i.monitor_id, i.monitor_kind, i.monitor_name, i.labels, i.severity, i.state,
                 i.reason, i.reopened, i.started_at, i.detected_at, i.acknowledged_at, i.resolved_at, i.evidence,
                 d.id, d.key, d.channel_id, d.claim, d.attempts, d.decided_at, d.grouped, d.kind,
                 e.at, e.reason, e.reopened, e.evidence, d.occasion, e.by_whom,
                 CASE e.kind WHEN 'undelivered' THEN NULL ELSE e.note END
                 FROM delivery d JOIN incident i ON i.id = d.incident_id JOIN incident_event e ON e.seq = d.seq
                 WHERE d.id IN (SELECT value FROM json_each($1)) ORDER BY d.id",
            )
            .bind(serde_json::Value::from(ids).to_string())
            .fetch_all(session.connection())
            .await
            .map_err(attempted())?;
            rows.iter().map(read_outgoing).collect()
        }
        .await;
        session.end(claimed).await
    }

    /// Makes due what a former process had claimed and left without a recorded attempt. For the embedded database
    /// alone, where the directory's lock says that the former process is gone; elsewhere claims must run out.
    ///
    /// # Errors
    /// What the database says.
    pub async fn release_claims(&self, now: Time) -> Result<u64, Error> {
        let mut session = self.session().await?;
        let released = sql::query(
            "UPDATE delivery SET next_at = $1 WHERE state = 0 AND held = 0 AND claim > 0 AND next_at > $1 AND NOT EXISTS
             (SELECT 1 FROM delivery_attempt a WHERE a.delivery_id = delivery.id AND a.n = delivery.claim)",
        )
        .bind(now.as_micros())
        .execute(session.connection())
        .await
        .map_err(Error::attempted("release the claims of the former process"))?;
        Ok(released.rows_affected())
    }

    /// Records one attempt and what becomes of its deliveries; as [`Store::finish_all`].
    ///
    /// # Errors
    /// What the database says.
    pub async fn finish(
        &self,
        now: Time,
        claims: &[(i64, i64)],
        attempt: &Attempt,
        finish: Finish,
    ) -> Result<u64, Error> {
        let one = Finished {
            claims: claims.to_vec(),
            attempt: attempt.clone(),
            finish,
        };
        self.finish_all(now, &[one]).await
    }

    /// Records attempts and what becomes of their deliveries, in one transaction. Those whose claim has moved on are
    /// left alone; answers how many were finished.
    ///
    /// # Errors
    /// What the database says.
    pub async fn finish_all(&self, now: Time, finished: &[Finished]) -> Result<u64, Error> {
        let rows: Vec<(i64, i64, &Finished)> = finished
            .iter()
            .flat_map(|one| one.claims.iter().map(move |(id, claim)| (*id, *claim, one)))
            .collect();
        let mut session = self.session().await?;
        // What is lost in a power failure is sent again, with the same key.
        session.relaxed().await?;
        session.begin().await?;
        let recorded = async {
            let mut count = 0;
            for chunk in rows.chunks(CHUNK) {
                count += session.finish_chunk(now, chunk).await?;
            }
            Ok(count)
        }
        .await;
        session.end(recorded).await
    }

    /// Puts a claimed delivery back without an attempt: its channel must wait.
    ///
    /// # Errors
    /// What the database says.
    pub async fn put_back(&self, finished: &[(i64, i64)], at: Time) -> Result<(), Error> {
        let mut session = self.session().await?;
        for (id, claim) in finished {
            sql::query(
                "UPDATE delivery SET next_at = $3, attempts = attempts - 1 WHERE id = $1 AND claim = $2 AND state = 0",
            )
            .bind(id)
            .bind(claim)
            .bind(at.as_micros())
            .execute(session.connection())
            .await
            .map_err(Error::attempted("put a delivery back"))?;
        }
        Ok(())
    }

    /// Makes a dead delivery pending again; `false` when it is not dead.
    ///
    /// # Errors
    /// What the database says.
    pub async fn replay(&self, now: Time, project: i64, id: i64) -> Result<bool, Error> {
        let mut session = self.session().await?;
        let updated = sql::query(
            "UPDATE delivery SET state = 0, next_at = $3, decided_at = $3, finished_at = NULL, attempts = 0,
             death_told = 0 WHERE id = $1 AND project_id = $2 AND state = 3",
        )
        .bind(id)
        .bind(project)
        .bind(now.as_micros())
        .execute(session.connection())
        .await
        .map_err(Error::attempted("replay a delivery"))?;
        Ok(updated.rows_affected() == 1)
    }

    /// When the next pending delivery is due.
    ///
    /// # Errors
    /// What the database says.
    pub async fn next_delivery_at(&self) -> Result<Option<Time>, Error> {
        let row = sql::query("SELECT MIN(next_at) FROM delivery WHERE state = 0 AND held = 0")
            .fetch_one(self.readers())
            .await
            .map_err(Error::attempted("look for the next delivery"))?;
        Ok(row.get::<Option<i64>>(0).map(Time::from_micros))
    }

    /// Deliveries, newest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn deliveries(
        &self,
        project: i64,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryRow>, Error> {
        let mut query = sql::Builder::new(
            "SELECT d.id, d.key, d.channel_id, COALESCE(c.name, ''), d.incident_id, d.seq, d.kind, d.state, d.attempts,
             d.next_at, d.decided_at, d.finished_at, d.detail, d.held, d.occasion FROM delivery d LEFT JOIN channel c ON c.id = d.channel_id
             WHERE d.project_id = ",
        );
        query.push_bind(project);
        if let Some(state) = &filter.state {
            let code = (0..4).find(|code| state_word(*code) == state).unwrap_or(-1);
            query.push(" AND d.state = ").push_bind(code);
        }
        if let Some(incident) = filter.incident {
            query
                .push(" AND d.incident_id = ")
                .push_bind(incident.cast_signed());
        }
        if let Some(after) = filter.after {
            query.push(" AND d.id > ").push_bind(after);
        }
        if let Some(channel) = filter.channel {
            query.push(" AND d.channel_id = ").push_bind(channel);
        }
        if let Some(seq) = filter.seq {
            query.push(" AND d.seq = ").push_bind(seq);
        }
        if let Some(id) = filter.id {
            query.push(" AND d.id = ").push_bind(id);
        }
        if let Some(before) = filter.before {
            query.push(" AND d.id < ").push_bind(before);
        }
        query
            .push(" ORDER BY d.id DESC LIMIT ")
            .push_bind(i64::from(filter.limit));
        let rows = query
            .build()
            .fetch_all(self.readers())
            .await
            .map_err(Error::attempted("read deliveries"))?;
        rows.iter().map(read_delivery).collect()
    }

    /// The attempts of a delivery, oldest first.
    ///
    /// # Errors
    /// What the database says.
    pub async fn attempts(&self, delivery: i64) -> Result<Vec<Attempt>, Error> {
        let rows = sql::query(
            "SELECT at, latency, outcome, status, detail FROM delivery_attempt WHERE delivery_id = $1 ORDER BY n LIMIT 500",
        )
        .bind(delivery)
        .fetch_all(self.readers())
        .await
        .map_err(Error::attempted("read attempts"))?;
        let read = |row: &sql::Row| Attempt {
            at: Time::from_micros(row.get(0)),
            latency: Span::from_micros(row.get(1)),
            outcome: row.get(2),
            status: row
                .get::<Option<i64>>(3)
                .and_then(|status| u16::try_from(status).ok()),
            detail: row.get(4),
        };
        Ok(rows.iter().map(read).collect())
    }

    /// Depths of the outbox.
    ///
    /// # Errors
    /// What the database says.
    pub async fn outbox_depths(&self) -> Result<OutboxDepths, Error> {
        depths(self.readers()).await
    }
}

pub(crate) async fn depths(pool: &sql::Pool) -> Result<OutboxDepths, Error> {
    let row = sql::query(
        "SELECT (SELECT COUNT(*) FROM delivery WHERE state = 0), (SELECT COUNT(*) FROM delivery WHERE state = 3),
         (SELECT MIN(decided_at) FROM delivery WHERE state = 0)",
    )
    .fetch_one(pool)
    .await
    .map_err(Error::attempted("measure the outbox"))?;
    Ok(OutboxDepths {
        pending: row.get(0),
        dead: row.get(1),
        oldest: row.get::<Option<i64>>(2).map(Time::from_micros),
    })
}

impl Session<'_> {
    /// Waits until no other process claims, to the end of this transaction: two at once would tear a group apart. A claim
    /// waits for nothing else: a decision that is about to supersede has its rows, and need not wait for us in turn.
    async fn one_claimer(&mut self) -> Result<(), Error> {
        if self.dialect() == Dialect::Postgres {
            sql::query("SELECT pg_advisory_xact_lock($1)")
                .bind(CLAIMING)
                .execute(self.connection())
                .await
                .map_err(Error::attempted("wait to claim deliveries"))?;
        }
        Ok(())
    }

    async fn finish_chunk(
        &mut self,
        now: Time,
        rows: &[(i64, i64, &Finished)],
    ) -> Result<u64, Error> {
        let attempted = || Error::attempted("record attempts");
        let mut query = sql::Builder::new(
            "INSERT INTO delivery_attempt (delivery_id, n, at, latency, outcome, status, detail) ",
        );
        query.push_values(rows, |row, (id, claim, one)| {
            let attempt = &one.attempt;
            row.push_bind(*id)
                .push_bind(*claim)
                .push_bind(attempt.at.as_micros())
                .push_bind(attempt.latency.as_micros())
                .push_bind(attempt.outcome.clone())
                .push_bind(attempt.status.map(i64::from))
                .push_bind(attempt.detail.clone());
        });
        query.push(" ON CONFLICT (delivery_id, n) DO NOTHING");
        query
            .build()
            .execute(self.connection())
            .await
            .map_err(attempted())?;
        let mut query =
            sql::Builder::new("WITH f (id, claim, state, next_at, finished_at, detail) AS (");
        query.push_values(rows, |row, (id, claim, one)| {
            let (state, next_at, over) = match one.finish {
                Finish::Delivered => (DELIVERED, now, Some(now.as_micros())),
                Finish::RetryAt(at) => (PENDING, at, None),
                Finish::Dead => (DEAD, now, Some(now.as_micros())),
                Finish::NotSent => (SUPERSEDED, now, Some(now.as_micros())),
            };
            row.push_bind(*id)
                .push_bind(*claim)
                .push_bind(state)
                .push_bind(next_at.as_micros())
                .push_bind(over)
                .push_bind(one.attempt.detail.clone());
        });
        query.push(
            ") UPDATE delivery SET state = f.state, next_at = f.next_at, finished_at = f.finished_at, detail = f.detail
             FROM f WHERE delivery.id = f.id AND delivery.claim = f.claim AND delivery.state = 0",
        );
        let updated = query
            .build()
            .execute(self.connection())
            .await
            .map_err(attempted())?;
        Ok(updated.rows_affected())
    }
}

fn state_word(code: i64) -> &'static str {
    match code {
        PENDING => "pending",
        DELIVERED => "delivered",
        SUPERSEDED => "superseded",
        _ => "dead",
    }
}

fn read_delivery(row: &sql::Row) -> Result<DeliveryRow, Error> {
    Ok(DeliveryRow {
        id: row.get(0),
        key: row.get(1),
        channel: row.get(2),
        channel_name: row.get(3),
        incident: row.get::<i64>(4).cast_unsigned(),
        seq: row.get(5),
        kind: row.get(6),
        state: state_word(row.get(7)),
        attempts: row.get(8),
        next_at: Time::from_micros(row.get(9)),
        decided_at: Time::from_micros(row.get(10)),
        finished_at: row.get::<Option<i64>>(11).map(Time::from_micros),
        detail: row.get(12),
        held: row.get(13),
        occasion: read_occasion(row.get(14))?,
    })
}

fn read_outgoing(row: &sql::Row) -> Result<Outgoing, Error> {
    let kind: &str = row.get(22);
    let kind: MessageKind = kind
        .parse()
        .map_err(|_| Error::Corrupt("a delivery has an unknown kind"))?;
    let mut incident = read_incident(row)?;
    as_of(&mut incident, kind);
    Ok(Outgoing {
        id: row.get(15),
        key: row.get(16),
        channel: row.get(17),
        claim: row.get(18),
        attempts: u32::try_from(row.get::<i64>(19)).unwrap_or(u32::MAX),
        decided_at: Time::from_micros(row.get(20)),
        grouped: row.get(21),
        occasion: read_occasion(row.get(27))?,
        kind,
        at: Time::from_micros(row.get(23)),
        reason: row.get(24),
        reopened: u32::try_from(row.get::<i64>(25)).unwrap_or(u32::MAX),
        evidence: EvidenceDocument::read(row.get(26))?,
        by: row.get(28),
        note: row.get(29),
        incident,
    })
}

/// A message tells the incident as it was at its event, not as it is when it is sent at last.
pub(crate) fn as_of(incident: &mut IncidentRow, kind: MessageKind) {
    let state = match kind {
        MessageKind::Triggered => "triggered",
        MessageKind::Acknowledged => "acknowledged",
        MessageKind::Resolved => "resolved",
        _ => return,
    };
    state.clone_into(&mut incident.state);
    if kind != MessageKind::Resolved {
        incident.resolved_at = None;
    }
}
