//! Of several replicas: who follows, who takes over, who steps down, and who closes the streams of the dead.

use std::collections::BTreeSet;

use systole_core::engine::{CONFIGURATION, MonitorId, Row};
use systole_core::time::Span;

use crate::database::{LEASE, Reloaded, as_read, merged};
use crate::process::Phase;
use crate::rules::Rule;
use crate::world::{Call, Event, Heard, Lane, MS, Request, S, World};

/// A stream whose last row is older may be closed by anybody.
const SILENT: Span = Span::from_seconds(15);
/// Half of the time after which rows are dropped: who has read nothing for so long boots again.
const UNREAD_MOST: i64 = 15 * S;
/// Two passes take no longer.
const UNSETTLED_MOST: i64 = 60 * S;

impl World {
    /// Reads on behind the decider.
    pub(crate) fn follow(&mut self, process: usize) {
        let it = &self.processes[process];
        if it.phase != Phase::Standby || it.tickets[1] != 0 {
            return;
        }
        if self.now - it.tailed_at > UNREAD_MOST && self.rules.hold(Rule::ReloadAfterDrop) {
            return self.reboot(process);
        }
        self.read_all(process);
    }

    fn read_all(&mut self, process: usize) {
        let it = &self.processes[process];
        if let Some(engine) = &it.engine {
            let request = Request::Follow(engine.vector().clone(), it.transitions, None);
            self.ask(process, Lane::Reader, request);
        }
    }

    /// The lease is free, or seems to be.
    pub(crate) fn duty_poll(&mut self, process: usize) {
        let it = &self.processes[process];
        let may = it.phase == Phase::Standby && it.tickets[0] == 0 && !it.is_leaving;
        if may && it.knows_time() {
            self.ask(process, Lane::Decider, Request::TakeLease);
        }
        self.leave_if_done(process);
    }

    /// The lease is its own: what was decided before, and all that was appended before, can be read from now on.
    pub(crate) fn begin_taking(&mut self, process: usize, epoch: u64, sent: i64) {
        let it = &mut self.processes[process];
        if it.phase != Phase::Standby {
            return;
        }
        it.epoch = epoch;
        it.leased_until = sent + LEASE.as_micros();
        it.phase = Phase::Taking;
        it.unsettled.clear();
        self.say(|| format!("process {process} takes over, epoch {epoch}"));
        self.read_all(process);
    }

    /// A standby, or one that takes over, hears of the decider and reads the log.
    pub(crate) fn heard_of(&mut self, process: usize, heard: Heard, rows: Vec<Row>) {
        let follows = self.rules.hold(Rule::ReloadAfterDrop);
        if !self.observe(process, rows.clone()) {
            if follows {
                return self.reboot(process);
            }
            self.observe_what_is_left(process, rows);
        }
        let it = &mut self.processes[process];
        it.tailed_at = self.now;
        it.transitions = heard.transitions;
        it.doubtful.extend(heard.named);
        let Some(engine) = &mut it.engine else {
            return;
        };
        let (cut, checkpoint) = heard.checkpoint;
        if cut != it.checkpoint {
            it.checkpoint = cut;
            match engine.checkpoint_moved(&checkpoint) {
                Ok(unsettled) if self.rules.hold(Rule::SettleStandby) => {
                    it.doubtful.extend(unsettled);
                }
                Ok(_) => {}
                Err(_) if follows => return self.reboot(process),
                Err(_) => {}
            }
        }
        let before = std::mem::take(&mut it.unsettled);
        let since = |id: MonitorId| (id, before.get(&id).copied().unwrap_or(self.now));
        if it.phase == Phase::Standby {
            it.unsettled = engine.unsettled().map(since).collect();
        }
        let mut ids = it.doubtful.clone();
        match it.phase {
            Phase::Taking => {
                ids.extend(engine.unsettled());
                if !self.rules.hold(Rule::ReloadAtTakeover) {
                    ids = BTreeSet::new();
                }
            }
            Phase::Standby if !ids.is_empty() => {}
            _ => return,
        }
        self.ask(process, Lane::Reader, Request::Reload(ids));
    }

    /// Rows were dropped under it, and it takes those that are left for all.
    fn observe_what_is_left(&mut self, process: usize, rows: Vec<Row>) {
        let Some(engine) = &mut self.processes[process].engine else {
            return;
        };
        for row in merged(rows) {
            for seq in engine.reached(row.stream) + 1..row.seq {
                let records = Vec::new();
                let dropped = Row {
                    seq,
                    records,
                    end: false,
                    ..row.clone()
                };
                _ = engine.observe(&as_read(&dropped, self.rules));
            }
            _ = engine.observe(&as_read(&row, self.rules));
        }
    }

    pub(crate) fn reloaded(&mut self, process: usize, reloaded: Reloaded) {
        let it = &mut self.processes[process];
        let Some(engine) = &mut it.engine else {
            return;
        };
        for persisted in &reloaded.persisted {
            it.doubtful.remove(&persisted.id);
            self.stats.reloads += 1;
        }
        let rows = reloaded.rows.iter().map(|row| as_read(row, self.rules));
        engine.reload(reloaded.persisted, &rows.collect::<Vec<_>>());
        if it.phase != Phase::Taking {
            return;
        }
        engine.take_over(reloaded.version, reloaded.next_incident);
        it.boot_head = engine.vector().clone();
        it.phase = Phase::Running;
        it.pass_due = self.now + self.rng.between(S, 12 * S);
        it.checkpoints.clear();
        self.say(|| format!("process {process} decides"));
        self.look(process);
    }

    /// What waits at a standby is settled by the next pass but one of the decider.
    pub(crate) fn check_standbys(&mut self) {
        let long_ago = self.now - UNSETTLED_MOST;
        if self.trouble_until + S > long_ago {
            return;
        }
        let waits = |process: &usize| {
            let it = &self.processes[*process];
            let old = it.unsettled.iter().find(|(_, since)| **since < long_ago);
            old.filter(|_| it.phase == Phase::Standby)
                .map(|(id, _)| (*process, *id))
        };
        if let Some((process, id)) = self.living().iter().find_map(waits) {
            let what = format!(
                "monitor {id} has been unsettled at the standby {process} for {} s",
                UNSETTLED_MOST / S
            );
            self.broke(6, what);
        }
    }

    /// Renews the lease, and stands back where it can no longer be sure of it.
    pub(crate) fn duty_renew(&mut self, process: usize) {
        let it = &self.processes[process];
        if !it.leads() {
            return;
        }
        if self.now > it.leased_until {
            return self.step_down(process);
        }
        let epoch = it.epoch;
        self.call(process, Lane::Free, Request::Renew(epoch, false));
    }

    pub(crate) fn renewed(&mut self, process: usize, call: &Call) {
        let it = &mut self.processes[process];
        if let Request::Renew(epoch, false) = call.request
            && epoch == it.epoch
        {
            it.leased_until = it.leased_until.max(call.sent + LEASE.as_micros());
        }
    }

    /// Becomes a standby: whom its last decision was about is to be reloaded, since nobody knows what became of it.
    pub(crate) fn step_down(&mut self, process: usize) {
        if !self.processes[process].leads() {
            return;
        }
        self.say(|| format!("process {process} steps down"));
        let it = &mut self.processes[process];
        let undecided: Vec<MonitorId> = it
            .deciding
            .take()
            .and_then(|deciding| deciding.decision)
            .iter()
            .flat_map(|decision| decision.changes.iter().map(|change| change.id))
            .collect();
        it.doubtful.extend(undecided);
        if let Some(engine) = &mut it.engine {
            engine.step_down();
        }
        it.phase = Phase::Standby;
        // A standby is told of the checkpoint anew.
        it.checkpoint = 0;
        self.forget_talks(process);
    }

    /// Who was asked to leave gives the lease back when nothing of its own is under way; half of them end.
    fn leave_if_done(&mut self, process: usize) {
        let it = &self.processes[process];
        let busy = it.deciding.is_some() || it.sweeping.is_some() || it.phase == Phase::Taking;
        if !it.is_leaving || busy {
            return;
        }
        let (epoch, stream, seq) = (it.epoch, it.stream, it.seq + 1);
        let is_drained = it.queue.is_empty() && it.outstanding.is_empty();
        if it.phase == Phase::Running {
            self.step_down(process);
            self.call(process, Lane::Free, Request::Renew(epoch, true));
        }
        self.processes[process].is_leaving = false;
        if self.rng.chance(500) {
            if let Some(stream) = stream
                && is_drained
                && self.living().len() > 1
            {
                self.call(process, Lane::Free, Request::CloseStream(stream, seq));
            }
            self.after(100 * MS, Event::Leave(process));
        }
    }

    /// Any replica closes what nobody seems to write any more.
    pub(crate) fn duty_close(&mut self, process: usize) {
        let now = self.clock(process);
        let it = &self.processes[process];
        let Some(engine) = &it.engine else {
            return;
        };
        if !it.knows_time() || it.phase == Phase::Booting || !self.rules.hold(Rule::KeyedAppend) {
            return;
        }
        let silent: Vec<(u32, u64)> = engine
            .vector()
            .iter()
            .filter(|(stream, reached)| {
                !reached.ended
                    && **stream != CONFIGURATION
                    && Some(**stream) != it.stream
                    && now.since(reached.put) > SILENT
            })
            .map(|(stream, reached)| (*stream, reached.seq + 1))
            .collect();
        for (stream, seq) in silent {
            self.call(process, Lane::Free, Request::CloseStream(stream, seq));
        }
    }
}
