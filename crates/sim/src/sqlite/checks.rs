//! The promises, checked on a real database.

use std::collections::BTreeMap;

use systole_core::engine::{Decision, Engine, Monitor, MonitorId};
use systole_core::incident::Happened;
use systole_core::time::{Span, Time};
use systole_store::DEFAULT_PROJECT;
use systole_store::deliveries::DeliveryFilter;
use systole_store::incidents::IncidentFilter;

use super::{MONITORS, Run, Stop};
use crate::database::merged;
use crate::reference;
use crate::senders::{COUNTER, FLAPPER};

impl Run<'_> {
    /// Incidents by silence must follow from the history.
    pub(super) fn judge(&mut self, decision: &Decision) -> Result<(), Stop> {
        for change in &decision.changes {
            for event in &change.events {
                self.say(|| {
                    format!(
                        "decided: monitor {} {:?} {}",
                        change.id, event.what, event.reason
                    )
                });
                let Happened::Triggered(cause) = event.what else {
                    continue;
                };
                self.stats.incidents += u64::from(event.incident.reopened == 0);
                self.stats.reopened += u64::from(event.incident.reopened > 0);
                if !event.incident.by_silence {
                    continue;
                }
                self.stats.by_silence += 1;
                let due = cause.expected.unwrap_or(cause.at);
                let heard = cause.at.since(due).as_micros()
                    - self
                        .truth
                        .unreachable_within(due, cause.at, Time::NEVER)
                        .as_micros();
                let grace = self
                    .settings
                    .get(&change.id)
                    .map_or(0, |settings| settings.grace.as_micros());
                if heard < grace {
                    return self.broken(
                        5,
                        format!(
                            "monitor {} was down at {} by our own outage",
                            change.id, cause.at
                        ),
                    );
                }
                if self.truth.is_unclear(change.id) {
                    self.stats.unclear += 1;
                    continue;
                }
                self.stats.explained += 1;
                let view = self.truth.now();
                let outages = self.truth.outages(view);
                let reference = self.truth.reference(change.id, view, cause.at);
                if !reference.is_some_and(|reference| reference.downs.contains(&cause.at)) {
                    return self.broken(
                        2,
                        format!(
                            "monitor {}: nothing explains down at {}",
                            change.id, cause.at
                        ),
                    );
                }
                self.truth
                    .was_judged(change.id, cause.at, outages, view, false);
            }
        }
        Ok(())
    }

    pub(super) async fn at_the_end(&mut self) -> Result<(), Stop> {
        self.truth
            .nothing_is_lost(self.now - Span::from_seconds(10))
            .map_err(Stop::Broken)?;
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        let filter = DeliveryFilter {
            state: Some("pending".to_owned()),
            limit: 100,
            ..DeliveryFilter::default()
        };
        let pending = memory.store.deliveries(DEFAULT_PROJECT, &filter).await?;
        let old = self.now - Span::from_seconds(70);
        match pending.iter().find(|delivery| delivery.decided_at < old) {
            Some(stuck) => self.broken(3, format!("delivery {} is still pending", stuck.id)),
            None => Ok(()),
        }
    }

    /// A cold recovery from the database has its incidents, and every check-in once.
    pub(super) async fn check(&mut self) -> Result<(), Stop> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        self.stats.recoveries += 1;
        let mut engine = Engine::boot(memory.store.boot().await?.boot);
        for row in merged(memory.store.tail(engine.vector(), 100_000).await?) {
            if let Err(gap) = engine.observe(&row) {
                return self.broken(1, format!("a recovery cannot read the log: {gap}"));
            }
        }
        let mut events = BTreeMap::new();
        for id in 1..=MONITORS {
            let open = IncidentFilter {
                open: Some(true),
                monitor: Some(id),
                limit: 10,
                ..Default::default()
            };
            let open = memory.store.incidents(DEFAULT_PROJECT, &open).await?;
            let persisted = open.first().map(|incident| incident.number);
            let recovered = engine.monitor(id).and_then(Monitor::open_incident);
            let recovered = recovered.map(|incident| incident.number);
            if open.len() > 1 || persisted != recovered {
                return self.broken(
                    6,
                    format!("monitor {id}: recovered {recovered:?}, persisted {persisted:?}"),
                );
            }
            let mut timeline = memory.store.events_of_monitor(id, i64::MAX, 10_000).await?;
            timeline.reverse();
            timeline.retain(|event| event.kind == "triggered" || event.kind == "resolved");
            let twice = timeline.windows(2).any(|pair| pair[0].kind == pair[1].kind);
            if twice {
                return self.broken(
                    4,
                    format!("monitor {id} was opened or resolved twice in a row"),
                );
            }
            events.insert(
                id,
                timeline
                    .iter()
                    .map(|event| (event.kind == "triggered", event.at))
                    .collect::<Vec<_>>(),
            );
        }
        self.check_counts(&mut engine, &events)
    }

    pub(super) fn check_counts(
        &self,
        engine: &mut Engine,
        events: &BTreeMap<MonitorId, Vec<(bool, Time)>>,
    ) -> Result<(), Stop> {
        let decision = engine.decide(self.now);
        for id in [COUNTER, FLAPPER] {
            let Some(settings) = self.settings.get(&id) else {
                continue;
            };
            let counted = reference::count(self.truth.checkins(id, self.truth.now()), settings);
            let change = decision
                .iter()
                .flat_map(|decision| &decision.changes)
                .find(|change| change.id == id);
            let after = change
                .and_then(|change| change.after.as_ref())
                .or_else(|| engine.monitor(id));
            let failures = after.map_or(0, |after| after.heartbeat.failures);
            if failures != counted.failures {
                let what = format!(
                    "a recovery counts {failures} failures of monitor {id}, it reported {}",
                    counted.failures
                );
                return self.broken(1, what);
            }
            let next = change.iter().flat_map(|change| &change.events);
            let next = next.map(|event| (matches!(event.what, Happened::Triggered(_)), event.at));
            let all: Vec<(bool, Time)> = events
                .get(&id)
                .into_iter()
                .flatten()
                .copied()
                .chain(next)
                .collect();
            if all != counted.events {
                return self.broken(
                    4,
                    format!(
                        "monitor {id}: {all:?} was decided, {:?} follows",
                        counted.events
                    ),
                );
            }
        }
        Ok(())
    }
}
