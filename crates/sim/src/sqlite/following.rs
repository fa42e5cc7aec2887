//! What is said beside the news, on a real database: reminders, deaths, and what a maintenance window held back.

use systole_core::engine::MonitorId;
use systole_core::maintenance::{Selector, When, Window};
use systole_core::message::Occasion;
use systole_core::time::{Span, Time};
use systole_store::DEFAULT_PROJECT;
use systole_store::decide::FollowedUp;
use systole_store::deliveries::{DeliveryFilter, Outgoing};
use systole_store::incidents::IncidentFilter;
use systole_store::maintenance::MaintenanceFields;

use super::{MONITORS, Run, S, Stop};

/// How often the second channel is reminded.
pub(super) const REMIND_EVERY: Span = Span::from_seconds(60);

impl Run<'_> {
    /// A person makes a window, now and then.
    pub(super) async fn window(&mut self) -> Result<(), Stop> {
        let start = self.now + Span::from_micros(self.rng.between(-S, 10 * S));
        let end = start + Span::from_micros(self.rng.between(60 * S, 90 * S));
        let monitors = (1..=MONITORS).filter(|_| self.rng.chance(500)).collect();
        let Ok(when) = When::once(start, end) else {
            return Ok(());
        };
        let window = Window {
            name: format!("window {}", self.windows.len()),
            selector: Selector {
                monitors,
                ..Selector::default()
            },
            when,
            ended_at: None,
        };
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let fields = MaintenanceFields {
            description: String::new(),
            window: window.clone(),
        };
        memory
            .store
            .create_maintenance(self.now, "somebody", DEFAULT_PROJECT, &fields)
            .await?;
        self.say(|| format!("{window:?}"));
        self.windows.push(window);
        self.stats.windows += 1;
        self.learn().await
    }

    /// The transaction, with fail points before the commit and after it.
    pub(super) async fn follow_up(&mut self) -> Result<(), Stop> {
        let now = self.now;
        let fail = if self.fails(60) {
            self.rng.between(1, 2)
        } else {
            0
        };
        let Some(memory) = self.memory.take() else {
            return Ok(());
        };
        if !memory.store.wants_follow_up(now, true).await? {
            self.memory = Some(memory);
            return Ok(());
        }
        let number = &mut self.number;
        let key = || {
            *number += 1;
            format!("key {number}")
        };
        let mut deciding = memory.store.begin_decision(memory.epoch).await?;
        let cut = memory.engine.version();
        let followed = deciding.follow_up(now, cut, key).await?;
        if fail == 1 {
            drop(deciding);
            drop(memory);
            self.crash("follow-up, before the commit");
            return Ok(());
        }
        if followed == FollowedUp::default() {
            deciding.rollback().await?;
            self.memory = Some(memory);
            return Ok(());
        }
        deciding.commit().await?;
        self.stats.said += (followed.reminders + followed.deaths) as u64;
        if fail == 2 {
            drop(memory);
            self.crash("follow-up, durable but not answered");
            return Ok(());
        }
        self.memory = Some(memory);
        Ok(())
    }

    pub(super) fn is_covered(&self, monitor: MonitorId, at: Time) -> bool {
        self.windows.iter().any(|window| {
            window.selector.selects(&[], monitor) && window.occurrence_at(at).is_some()
        })
    }

    /// Nothing is let out while a window covers its monitor; what is said again is open and not acknowledged, and was not
    /// said just now.
    pub(super) fn check_said(&mut self, outgoing: &Outgoing) -> Result<(), Stop> {
        let is_death = matches!(outgoing.occasion, Occasion::DeliveryDead { .. });
        let (incident, decided) = (&outgoing.incident, outgoing.decided_at);
        if !is_death && self.is_covered(incident.monitor, decided) {
            let what = format!("delivery {} was let out during a maintenance", outgoing.id);
            return self.broken(3, what);
        }
        if let Occasion::Reminder { .. } = outgoing.occasion {
            let key = (outgoing.channel, incident.number);
            let last = self.reminded.get(&key).copied().unwrap_or(Time::MIN);
            let early = Span::from_micros(REMIND_EVERY.as_micros() * 9 / 10 - S);
            if decided != last && decided.since(last) < early {
                let what = format!(
                    "incident {} is said again after {}",
                    incident.number,
                    decided.since(last)
                );
                return self.broken(3, what);
            }
            self.reminded.insert(key, decided);
        }
        Ok(())
    }

    /// After time enough without faults: what is open and nobody has acknowledged was said to the second channel not long
    /// ago, and nothing is held back that no window covers.
    pub(super) async fn nothing_is_forgotten(&mut self) -> Result<(), Stop> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let open = IncidentFilter {
            open: Some(true),
            limit: 100,
            ..Default::default()
        };
        let open = memory.store.incidents(DEFAULT_PROJECT, &open).await?;
        let long_ago = self.now - REMIND_EVERY - Span::from_seconds(40);
        for incident in open {
            let covered = (0..=40)
                .any(|s| self.is_covered(incident.monitor, self.now - Span::from_seconds(s)));
            if incident.state != "triggered" || incident.detected_at > long_ago || covered {
                continue;
            }
            let filter = DeliveryFilter {
                incident: Some(incident.number),
                limit: 100,
                ..DeliveryFilter::default()
            };
            let told = memory.store.deliveries(DEFAULT_PROJECT, &filter).await?;
            let lately = told.iter().any(|row| {
                row.channel_name == "two" && row.state != "superseded" && row.decided_at > long_ago
            });
            if !lately {
                let what = format!(
                    "incident {} is open and was not said again",
                    incident.number
                );
                return self.broken(3, what);
            }
        }
        Ok(())
    }
}
