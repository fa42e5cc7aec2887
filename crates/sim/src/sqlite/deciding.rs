//! Decisions, passes and deliveries on a real database, with fail points at begin, commit and send.

use systole_core::time::Span;
use systole_store::deliveries::{Attempt, Finish, Outgoing};

use super::{Run, S, Stop};
use crate::database::merged;

impl Run<'_> {
    pub(super) async fn decide(&mut self) -> Result<(), Stop> {
        for _ in 0..4 {
            let now = self.now;
            let Some(memory) = &mut self.memory else {
                return Ok(());
            };
            let rows = memory.store.tail(memory.engine.vector(), 100_000).await?;
            self.observe(rows)?;
            let Some(memory) = &mut self.memory else {
                return Ok(());
            };
            if !memory.engine.wants_decision(now) || !self.decide_once().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) fn observe(&mut self, rows: Vec<systole_core::engine::Row>) -> Result<(), Stop> {
        for row in merged(rows) {
            self.truth.was_read(row.stream, row.seq);
            if let Some(memory) = &mut self.memory
                && let Err(gap) = memory.engine.observe(&row)
            {
                return self.broken(1, format!("the log cannot be read: {gap}"));
            }
        }
        Ok(())
    }

    /// One deciding transaction, with fail points at begin, before the commit and after it.
    pub(super) async fn decide_once(&mut self) -> Result<bool, Stop> {
        let now = self.now;
        let fail = if self.fails(150) {
            self.rng.between(1, 3)
        } else {
            0
        };
        let Some(mut memory) = self.memory.take() else {
            return Ok(false);
        };
        let mut deciding = memory.store.begin_decision(memory.epoch).await?;
        let rows = deciding.tail(memory.engine.vector(), 100_000).await?;
        if fail == 1 {
            drop(deciding);
            drop(memory);
            self.crash("begin");
            return Ok(false);
        }
        for row in merged(rows) {
            if let Err(gap) = memory.engine.observe(&row) {
                return self.broken(1, format!("the log cannot be read: {gap}"));
            }
        }
        let Some(decision) = memory.engine.decide(now) else {
            deciding.rollback().await?;
            self.memory = Some(memory);
            return Ok(false);
        };
        if !decision.is_news() {
            deciding.rollback().await?;
            memory.engine.install(decision);
            self.memory = Some(memory);
            return Ok(true);
        }
        let number = &mut self.number;
        let mut key = || {
            *number += 1;
            format!("key {number}")
        };
        let outgoing = deciding
            .write(&decision, &mut memory.settings, &mut key)
            .await?;
        if fail == 2 {
            drop(deciding);
            drop(memory);
            self.crash("write, before the commit");
            return Ok(false);
        }
        deciding.commit().await?;
        self.stats.decisions += 1;
        self.judge(&decision)?;
        if fail == 3 {
            drop(memory);
            self.crash("commit, durable but not answered");
            return Ok(false);
        }
        memory.engine.install(decision);
        memory.outgoing.extend(outgoing);
        self.memory = Some(memory);
        self.check().await?;
        Ok(true)
    }

    pub(super) async fn sweep(&mut self) -> Result<(), Stop> {
        let fail = self.fails(30);
        let now = self.now;
        let next = self.rng.between(3 * S, 15 * S);
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        if !memory.engine.is_in_pass() {
            if now < memory.pass_due {
                return Ok(());
            }
            memory.engine.begin_pass();
        }
        let Some(sweep) = memory.engine.sweep(2) else {
            return Ok(());
        };
        memory
            .store
            .sweep(memory.epoch, &sweep, &mut memory.settings)
            .await?;
        self.stats.sweeps += 1;
        if fail {
            self.crash("sweep, durable but not answered");
            return Ok(());
        }
        memory.engine.swept(&sweep);
        if sweep.end.is_some() {
            memory.pass_due = now + Span::from_micros(next);
        }
        self.check().await
    }

    pub(super) async fn drop_log(&mut self) -> Result<(), Stop> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        // What nobody has read of history yet stays, too.
        memory.store.write_history(memory.epoch).await?;
        let bounds = memory.store.log_bounds().await?;
        memory.store.drop_log(&bounds, 50).await?;
        Ok(())
    }

    pub(super) async fn send(&mut self) -> Result<(), Stop> {
        let now = self.now;
        let Some(memory) = &mut self.memory else {
            return Ok(());
        };
        let claimed = memory.store.claim(now, 5, &[]).await?;
        memory.outgoing.extend(claimed);
        for outgoing in std::mem::take(&mut memory.outgoing) {
            if self.fails(20) {
                self.crash("send");
                return Ok(());
            }
            let arrives = !self.fails(200);
            if arrives {
                self.receive(&outgoing)?;
            } else {
                self.stats.failing_receivers += 1;
            }
            if self.fails(20) {
                self.crash("finish");
                return Ok(());
            }
            self.stats.sends += 1;
            let finish = if arrives {
                Finish::Delivered
            } else if self.fails(50) {
                Finish::Dead
            } else {
                Finish::RetryAt(now + Span::from_micros(self.rng.between(S, 9 * S)))
            };
            let attempt = Attempt {
                at: now,
                latency: Span::ZERO,
                outcome: "delivered".to_owned(),
                status: Some(200),
                detail: String::new(),
            };
            let Some(memory) = &self.memory else {
                return Ok(());
            };
            self.stats.deliveries += memory
                .store
                .finish(now, &[(outgoing.id, outgoing.claim)], &attempt, finish)
                .await?;
        }
        Ok(())
    }

    /// A message arrives: nothing older after something newer, and a key means one message.
    pub(super) fn receive(&mut self, outgoing: &Outgoing) -> Result<(), Stop> {
        self.say(|| {
            let (id, to, grouped) = (outgoing.id, outgoing.channel, &outgoing.grouped);
            format!(
                "channel {to} gets delivery {id}: {:?} of incident {}, claim {}, group {grouped:?}",
                outgoing.kind, outgoing.incident.number, outgoing.claim
            )
        });
        self.check_said(outgoing)?;
        let known = *self.keys.entry(outgoing.key.clone()).or_insert(outgoing.id);
        if known != outgoing.id {
            return self.broken(
                3,
                format!("key {} was another message's before", outgoing.key),
            );
        }
        let newest = self
            .received
            .entry((outgoing.channel, outgoing.incident.number))
            .or_insert(outgoing.id);
        if outgoing.id < *newest {
            let what = format!("delivery {} arrived after {newest}", outgoing.id);
            return self.broken(3, what);
        }
        *newest = outgoing.id;
        Ok(())
    }
}
