//! The decider of a process: rows into memory, and the deciding transaction.

use systole_core::engine::{
    Boot, BootedMonitor, Decided, Decision, Engine, MonitorId, Record, Row, Vector,
};
use systole_core::outage::Silence;
use systole_core::time::Time;

use crate::database::{as_read, merged};
use crate::process::{Deciding, Phase};
use crate::rules::Rule;
use crate::truth::View;
use crate::world::{Lane, Request, S, World};

impl World {
    /// The writer gives a row to the engine of its own process.
    pub(crate) fn hand_over(&mut self, process: usize, row: &Row) {
        let it = &self.processes[process];
        // A monitor that the engine does not know was made by a row that it has not read yet: that one comes first.
        let known = |record: &Record| match record {
            Record::Checkin(id, _) => it
                .engine
                .as_ref()
                .is_some_and(|engine| engine.monitor(*id).is_some()),
            Record::Command(_) => true,
        };
        // The first row of a stream comes with what was written before it to other streams.
        let follows = it
            .engine
            .as_ref()
            .is_some_and(|engine| engine.reached(row.stream) > 0);
        if !follows || !row.records.iter().all(known) {
            return;
        }
        if it.phase == Phase::Running
            && it
                .deciding
                .as_ref()
                .is_none_or(|deciding| deciding.decision.is_none())
        {
            // One that does not follow is left to the reader.
            _ = self.observe(process, vec![row.clone()]);
            self.look(process);
        }
    }

    /// Rows into the memory; `false` where one is missing.
    pub(crate) fn observe(&mut self, process: usize, rows: Vec<Row>) -> bool {
        let Some(engine) = self.processes[process].engine.as_mut() else {
            return true;
        };
        for row in merged(rows) {
            let next = row.seq == engine.reached(row.stream) + 1;
            if engine.observe(&as_read(&row, self.rules)).is_err() {
                return false;
            }
            if next {
                self.truth.was_read(row.stream, row.seq);
            }
        }
        true
    }

    pub(crate) fn booted(&mut self, process: usize, boot: Boot) {
        let engine = Engine::boot(boot);
        let vector = engine.vector().clone();
        self.processes[process].engine = Some(engine);
        self.ask(process, Lane::Reader, Request::Tail(vector));
    }

    pub(crate) fn tailed(&mut self, process: usize, rows: Vec<Row>) {
        let it = &self.processes[process];
        if it
            .deciding
            .as_ref()
            .is_some_and(|deciding| deciding.decision.is_some())
        {
            return;
        }
        let booting = it.phase == Phase::Booting;
        if !self.observe(process, rows) {
            return self.reboot(process);
        }
        if booting {
            let phase = if self.is_shared {
                Phase::Standby
            } else {
                Phase::Running
            };
            let it = &mut self.processes[process];
            it.tailed_at = self.now;
            it.unsettled.clear();
            it.phase = phase;
            it.boot_head = it
                .engine
                .as_ref()
                .map_or_else(Vector::new, |engine| engine.vector().clone());
            it.pass_due = self.now + self.rng.between(S, 12 * S);
            self.say(|| format!("process {process} runs"));
        }
        self.look(process);
    }

    /// Begins a decision where there is something to decide.
    pub(crate) fn look(&mut self, process: usize) {
        let now = self.clock(process);
        let it = &mut self.processes[process];
        if it.phase != Phase::Running || it.deciding.is_some() || it.is_leaving || !it.knows_time()
        {
            return;
        }
        let epoch = it.epoch;
        let Some(engine) = it.engine.as_mut() else {
            return;
        };
        let wants = engine.wants_decision(now);
        if !wants && (self.rules.hold(Rule::Hold) || self.decide_in_hold(process, now).is_none()) {
            return;
        }
        let Some(engine) = self.processes[process].engine.as_mut() else {
            return;
        };
        let vector = engine.vector().clone();
        self.ask(process, Lane::Decider, Request::Begin(epoch, vector));
        let transaction = self.processes[process].tickets[0];
        self.processes[process].deciding = Some(Deciding {
            transaction,
            now,
            decision: None,
        });
    }

    pub(crate) fn head_read(&mut self, process: usize, rows: Vec<Row>) {
        let Some((transaction, now)) = self.processes[process]
            .deciding
            .as_ref()
            .map(|deciding| (deciding.transaction, deciding.now))
        else {
            return;
        };
        if !self.observe(process, rows) {
            return self.reboot(process);
        }
        let decision = if self.rules.hold(Rule::Hold) {
            self.processes[process]
                .engine
                .as_mut()
                .and_then(|engine| engine.decide(now))
        } else {
            self.decide_in_hold(process, now)
        };
        let moment = self.open.get(&transaction).map_or(0, |open| open.moment);
        let it = &mut self.processes[process];
        // A row that is swept after its monitor was deleted would bring it back: such a decision waits for the chunk.
        let swept = it.sweeping.as_ref().map_or(&[][..], |sweep| &sweep.rows);
        let revives = |change: &Decided| {
            change.after.is_none() && swept.iter().any(|(id, _)| *id == change.id)
        };
        let decision = decision.filter(|decision| !decision.changes.iter().any(revives));
        let counted = match (&decision, &it.engine) {
            (Some(decision), Some(engine)) => counted_by(engine, decision),
            _ => Vec::new(),
        };
        let decision = match decision {
            Some(decision) if decision.is_news() => Box::new(decision),
            quiet => {
                it.deciding = None;
                if let Some((engine, decision)) = it.engine.as_mut().zip(quiet) {
                    engine.install(decision.clone());
                    self.counted(&counted, moment, &decision);
                }
                self.call(process, Lane::Free, Request::Rollback(transaction));
                return;
            }
        };
        if let Some(open) = self.open.get_mut(&transaction) {
            open.counted = counted;
            if let Some(engine) = &it.engine {
                open.outages = engine.outages().clone();
            }
        }
        let it = &mut self.processes[process];
        if let Some(deciding) = &mut it.deciding {
            deciding.decision = Some(decision.clone());
        }
        self.ask(
            process,
            Lane::Decider,
            Request::Commit(transaction, decision),
        );
    }

    /// These deadlines were counted as missed by a decision that has no news of them.
    pub(crate) fn counted(
        &mut self,
        counted: &[(MonitorId, Time)],
        moment: usize,
        decision: &Decision,
    ) {
        let view = View {
            moment,
            vector: Some(&decision.vector),
            now: decision.now,
        };
        let outages = self.truth.outages(view);
        for (id, deadline) in counted {
            self.say(|| format!("monitor {id}: counted as missed, no news, {deadline}"));
            self.truth
                .was_counted(*id, *deadline, outages.clone(), view);
        }
    }

    /// What an engine would decide that knows no hold: one whose streams were all heard of just now.
    pub(crate) fn decide_in_hold(&mut self, process: usize, now: Time) -> Option<Decision> {
        let engine = self.processes[process].engine.as_mut()?;
        if engine.unsettled().next().is_some() {
            return engine.decide(now);
        }
        let mut vector = engine.vector().clone();
        for reached in vector.values_mut() {
            reached.silence = Silence::opened(now);
        }
        let cut = engine.version();
        let monitors = engine.monitors().map(|(id, monitor)| BootedMonitor {
            id,
            cut,
            monitor: monitor.clone(),
        });
        let boot = Boot {
            checkpoint: (cut, vector),
            cuts: Vec::new(),
            monitors: monitors.collect(),
            outages: engine.outages().iter().collect(),
            next_incident: self.db.snapshot().next_incident,
        };
        let mut decision = Engine::boot(boot).decide(now)?;
        decision.vector.clone_from(engine.vector());
        Some(decision)
    }
}

/// The deadlines that a decision counts as missed without news.
fn counted_by(engine: &Engine, decision: &Decision) -> Vec<(MonitorId, Time)> {
    let of = |change: &Decided| {
        let before = engine.monitor(change.id)?;
        let deadline = before
            .heartbeat
            .next_lapse(&before.settings, engine.outages());
        let is_news = change.events.iter().any(|event| event.at == deadline);
        (deadline <= decision.now && !is_news).then_some((change.id, deadline))
    };
    decision.changes.iter().filter_map(of).collect()
}
