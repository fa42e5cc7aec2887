//! A process: its memory, which a crash takes, and what it does with the answers of the database.

use std::collections::VecDeque;

use systole_core::engine::{Boot, BootedMonitor, Decided, Decision, Engine, Record, Row, Sweep, Vector};
use systole_core::outage::Silence;
use systole_core::time::Time;

use crate::database::{Appended, as_read, merged};
use crate::rules::Rule;
use crate::world::{Answer, Call, Event, Job, Knock, Lane, MS, Request, S, World};

/// How far a process has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Wants a stream.
    Opening,
    /// Wants the lease.
    Leasing,
    /// Wants the states, and then the log up to its head.
    Booting,
    /// Decides.
    Running,
}

/// A batch that was sent.
#[derive(Clone)]
pub struct Batch {
    pub(crate) row: Row,
    pub(crate) knocks: Vec<Knock>,
    pub(crate) ticket: u64,
    /// When it was sent first.
    pub(crate) since: i64,
}

/// A decision under way.
pub struct Deciding {
    transaction: u64,
    /// The clock, read before the head read was sent.
    now: Time,
    pub(crate) decision: Option<Box<Decision>>,
}

/// A process.
pub struct Process {
    /// It runs, or stands still.
    pub alive: bool,
    /// It stands still until then.
    pub stopped_until: i64,
    /// Its connection is cut until then.
    pub cut_until: i64,
    /// How far its wall clock is off.
    pub wall: i64,
    /// How far it takes the database's clock to be ahead of its own monotonic one.
    pub offset: i64,
    sample: Option<(i64, i64)>,
    pub(crate) phase: Phase,
    pub(crate) stream: Option<u32>,
    seq: u64,
    pub(crate) stamp: Time,
    formed: i64,
    pub(crate) queue: VecDeque<Knock>,
    outstanding: Vec<Batch>,
    /// Records of a closed stream, to be sent in the next.
    again: Vec<Batch>,
    pub(crate) epoch: u64,
    pub(crate) engine: Option<Engine>,
    pub(crate) boot_head: Vector,
    pub(crate) deciding: Option<Deciding>,
    pub(crate) sweeping: Option<Box<Sweep>>,
    pub(crate) pass_due: i64,
    pub(crate) tickets: [u64; 3],
    pub(crate) checkpoints: Vec<(i64, Vector)>,
    pub(crate) hands_over: bool,
    pub(crate) looks: u64,
    pub(crate) opening_since: i64,
}

impl Process {
    /// Whether a check-in sent now could be made durable.
    pub const fn is_able(&self, now: i64) -> bool {
        self.alive && self.stopped_until <= now && self.cut_until <= now && self.stream.is_some()
    }

    /// While it may be wrong about the time by more than this, it is not ready: it takes nothing and judges nothing.
    pub fn knows_time(&self) -> bool {
        self.sample.is_some_and(|(_, error)| error <= S / 2)
    }

    fn ticket(&mut self, lane: Lane) -> Option<&mut u64> {
        match lane {
            Lane::Decider => Some(&mut self.tickets[0]),
            Lane::Reader => Some(&mut self.tickets[1]),
            Lane::Sweeper => Some(&mut self.tickets[2]),
            Lane::Writer | Lane::Free => None,
        }
    }
}

impl World {
    /// A new process is started; whatever else still lives is a zombie.
    pub fn start(&mut self) {
        let process = self.processes.len();
        let hands_over = self.rng.chance(500);
        let wall = self.active.map_or(0, |active| self.processes[active].wall);
        self.processes.push(Process {
            alive: true,
            stopped_until: 0,
            cut_until: 0,
            wall,
            offset: 0,
            sample: None,
            phase: Phase::Opening,
            stream: None,
            seq: 0,
            stamp: Time::MIN,
            formed: 0,
            queue: VecDeque::new(),
            outstanding: Vec::new(),
            again: Vec::new(),
            epoch: 0,
            engine: None,
            boot_head: Vector::new(),
            deciding: None,
            sweeping: None,
            pass_due: self.now + 5 * S,
            tickets: [0; 3],
            checkpoints: Vec::new(),
            hands_over,
            looks: 0,
            opening_since: 0,
        });
        self.active = Some(process);
        self.say(|| format!("process {process} starts"));
        self.ask(process, Lane::Decider, Request::OpenStream);
        for job in [Job::Write, Job::Look, Job::Sweep, Job::Claim, Job::Retain] {
            self.after(100 * MS, Event::Wake(process, job));
        }
    }

    /// It is gone, with its memory; who waits for it learns nothing.
    pub fn crash(&mut self, process: usize) {
        let it = &mut self.processes[process];
        it.alive = false;
        it.stream = None;
        it.engine = None;
        let waiting: Vec<Knock> = it
            .queue
            .drain(..)
            .chain(it.outstanding.drain(..).flat_map(|batch| batch.knocks))
            .chain(it.again.drain(..).flat_map(|batch| batch.knocks))
            .collect();
        self.say(|| format!("process {process} ends"));
        for knock in waiting {
            self.after(MS, Event::Heard(knock, false));
        }
        if self.active == Some(process) {
            self.active = None;
        }
    }

    /// A process learns that another one decides: it ends, and is started again where it was the last.
    pub(crate) fn fenced(&mut self, process: usize) {
        self.say(|| format!("process {process} is fenced"));
        if !self.rules.hold(Rule::ReloadAtTakeover) && self.processes[process].engine.is_some() {
            // It takes over again, with the memory that it has.
            self.forget_talks(process);
            self.processes[process].phase = Phase::Leasing;
            self.ask(process, Lane::Decider, Request::TakeLease);
            return;
        }
        let last = self.active == Some(process);
        self.crash(process);
        if last {
            self.after(200 * MS, Event::Start);
        }
    }

    pub(crate) fn ask(&mut self, process: usize, lane: Lane, request: Request) {
        let ticket = self.call(process, lane, request);
        if let Some(known) = self.processes[process].ticket(lane) {
            *known = ticket;
        }
    }

    fn forget_talks(&mut self, process: usize) {
        let it = &mut self.processes[process];
        it.tickets = [0; 3];
        it.deciding = None;
        it.sweeping = None;
    }

    /// Doubt: nothing in memory is believed any more. The lease first, which waits for what is in doubt.
    pub(crate) fn reboot(&mut self, process: usize) {
        self.say(|| format!("process {process} boots again"));
        self.forget_talks(process);
        let it = &mut self.processes[process];
        it.engine = None;
        it.phase = Phase::Leasing;
        self.after(300 * MS, Event::Wake(process, Job::Lead));
    }

    /// An answer has arrived.
    pub fn replied(&mut self, call: &Call, answer: Answer) {
        let process = call.process;
        match call.lane {
            Lane::Writer => return self.written(call, &answer),
            Lane::Free => return self.free(process, call, answer),
            lane => {
                if let Some(known) = self.processes[process].ticket(lane) {
                    if *known != call.ticket {
                        return;
                    }
                    *known = 0;
                }
            }
        }
        match (call.lane, answer) {
            (_, Answer::Fenced) => self.fenced(process),
            (Lane::Decider, Answer::Stream(stream, now)) => self.opened(process, stream, now, call.sent),
            (Lane::Decider, Answer::Lease(epoch)) => {
                self.stats.takeovers += 1;
                let it = &mut self.processes[process];
                it.epoch = epoch;
                if it.engine.is_some() {
                    it.phase = Phase::Running;
                } else {
                    it.phase = Phase::Booting;
                    self.ask(process, Lane::Decider, Request::Snapshot);
                }
            }
            (Lane::Decider, Answer::Snapshot(boot)) => self.booted(process, *boot),
            (Lane::Decider, Answer::Rows(rows)) => self.head_read(process, rows),
            (Lane::Decider, Answer::Committed(outgoing)) => self.decided(process, outgoing, call.sent),
            (Lane::Reader, Answer::Rows(rows)) => self.tailed(process, rows),
            (Lane::Sweeper, Answer::Done) => self.swept(process),
            (Lane::Sweeper | Lane::Decider, Answer::Failed) => self.in_doubt(process, call.lane),
            _ => {}
        }
    }

    /// No answer in time.
    pub fn gave_up(&mut self, process: usize, lane: Lane, ticket: u64) {
        if lane == Lane::Writer {
            return self.write_again(process, ticket);
        }
        let Some(known) = self.processes[process].ticket(lane) else { return };
        if *known == ticket {
            *known = 0;
            if lane != Lane::Reader || self.processes[process].phase == Phase::Booting {
                self.in_doubt(process, lane);
            }
        }
    }

    pub(crate) fn in_doubt(&mut self, process: usize, lane: Lane) {
        let it = &mut self.processes[process];
        let deciding = it.deciding.as_ref().is_some_and(|deciding| deciding.decision.is_some());
        if it.phase == Phase::Opening {
            self.ask(process, Lane::Decider, Request::OpenStream);
        } else if lane == Lane::Decider && deciding && !self.rules.hold(Rule::DoubtfulMemory) {
            it.deciding = None;
        } else {
            self.reboot(process);
        }
    }

    fn opened(&mut self, process: usize, stream: u32, now: Time, sent: i64) {
        let (middle, error) = (i64::midpoint(sent, self.now), (self.now - sent) / 2);
        let it = &mut self.processes[process];
        if error > S / 2 {
            // Not ready while it may be so wrong about the time.
            return self.ask(process, Lane::Decider, Request::OpenStream);
        }
        it.sample = Some((self.now, error));
        if it.phase == Phase::Opening {
            it.offset = now.as_micros() - middle;
            it.phase = Phase::Leasing;
            self.begin_stream(process, stream);
            self.ask(process, Lane::Decider, Request::TakeLease);
        }
    }

    /// A stream to write to; what a closed one did not take goes first.
    pub(crate) fn begin_stream(&mut self, process: usize, stream: u32) {
        let it = &mut self.processes[process];
        it.stream = Some(stream);
        it.seq = 0;
        it.formed = 0;
        for batch in std::mem::take(&mut it.again) {
            self.send_batch(process, batch.knocks, batch.since);
        }
        self.write(process);
    }

    /// Forms a batch where one may be sent.
    pub(crate) fn write(&mut self, process: usize) {
        let most = if self.rules.hold(Rule::OneAppend) { 1 } else { 4 };
        let it = &mut self.processes[process];
        let beat = self.now - it.formed >= 3 * S;
        if it.stream.is_none() || it.outstanding.len() >= most || (it.queue.is_empty() && !beat) {
            return;
        }
        let knocks = it.queue.drain(..).collect();
        self.send_batch(process, knocks, self.now);
    }

    fn send_batch(&mut self, process: usize, knocks: Vec<Knock>, since: i64) {
        let now = self.clock(process);
        let it = &mut self.processes[process];
        let Some(stream) = it.stream else { return };
        // A wrong stamp would stay: stamps never go back.
        it.stamp = if it.knows_time() { now.max(it.stamp) } else { it.stamp.max(Time::from_micros(0)) };
        it.formed = self.now;
        it.seq += 1;
        let records = knocks.iter().map(|knock| knock.record()).collect();
        let row = Row { stream, seq: it.seq, at: it.stamp, put: it.stamp, records, end: false };
        let mut batch = Batch { row, knocks, ticket: 0, since };
        batch.ticket = self.send_append(process, &batch);
        self.processes[process].outstanding.push(batch);
    }

    fn send_append(&mut self, process: usize, batch: &Batch) -> u64 {
        let uids = batch.knocks.iter().map(|knock| knock.uid).collect();
        self.call(process, Lane::Writer, Request::Append(batch.row.clone(), uids))
    }

    /// The reply to an append did not come: the same again, unchanged, for ten seconds.
    fn write_again(&mut self, process: usize, ticket: u64) {
        let it = &mut self.processes[process];
        let Some(index) = it.outstanding.iter().position(|batch| batch.ticket == ticket) else { return };
        if !self.rules.hold(Rule::SamePosition) {
            let batch = it.outstanding.remove(index);
            it.again.push(batch);
            return self.open_another(process);
        }
        if self.now - it.outstanding[index].since > 10 * S {
            let batch = it.outstanding.remove(index);
            let old: Vec<Knock> = it.queue.drain(..).chain(batch.knocks).collect();
            for knock in old {
                self.after(MS, Event::Heard(knock, false));
            }
            return self.open_another(process);
        }
        let batch = it.outstanding[index].clone();
        let ticket = self.send_append(process, &batch);
        if let Some(batch) = self.processes[process].outstanding.get_mut(index) {
            batch.ticket = ticket;
        }
    }

    /// A new stream for a process that goes on.
    pub(crate) fn open_another(&mut self, process: usize) {
        let it = &mut self.processes[process];
        it.stream = None;
        it.opening_since = self.now;
        self.call(process, Lane::Free, Request::OpenStream);
    }

    fn written(&mut self, call: &Call, answer: &Answer) {
        let process = call.process;
        let it = &mut self.processes[process];
        // A late reply is as good as one in time: it says what became of that position.
        let Request::Append(sent, _) = &call.request else { return };
        let same = |batch: &Batch| {
            batch.ticket == call.ticket || (batch.row.stream == sent.stream && batch.row.at == sent.at)
        };
        let Some(index) = it.outstanding.iter().position(same) else { return };
        match answer {
            Answer::Appended(Appended::Durable(put)) => {
                let batch = it.outstanding.remove(index);
                let row = Row { put: *put, seq: sent.seq, ..batch.row };
                // The row may have been written by any of the sends of this batch.
                self.sample(process, *put, batch.since);
                for knock in batch.knocks {
                    self.acknowledge(knock);
                }
                if self.processes[process].hands_over {
                    self.hand_over(process, &row);
                }
                self.write(process);
            }
            Answer::Appended(Appended::Closed) => {
                let batch = it.outstanding.remove(index);
                it.again.push(batch);
                self.open_another(process);
            }
            // Not done as far as it knows: the time-out sends it again.
            _ => {}
        }
    }

    fn sample(&mut self, process: usize, put: Time, sent: i64) {
        let error = (self.now - sent) / 2;
        let offset = put.as_micros() - i64::midpoint(sent, self.now);
        let now = self.now;
        let it = &mut self.processes[process];
        let (at, best) = it.sample.unwrap_or((0, i64::MAX));
        let contradicts = (offset - it.offset).abs() > error.saturating_add(best);
        let renews = now - at > 60 * S && error <= S / 2;
        if error <= best || renews || contradicts {
            it.sample = Some((now, error));
            it.offset = offset;
        }
    }

    /// The next stamp of a process: all that it stamps ascends, whatever becomes of its clock.
    pub fn stamp(&mut self, process: usize) -> Time {
        let now = self.clock(process);
        let it = &mut self.processes[process];
        it.stamp = now.max(Time::from_micros(it.stamp.as_micros().saturating_add(1)));
        it.stamp
    }

    /// Answers a sender: from now on its check-in may not be lost.
    pub fn acknowledge(&mut self, knock: Knock) {
        if self.rules.hold(Rule::AckAfterCommit) {
            self.acknowledged(knock);
        }
    }

    /// The answer itself.
    pub fn acknowledged(&mut self, knock: Knock) {
        self.stats.checkins += 1;
        let now = self.database_now();
        self.truth.acknowledged(knock.uid, now);
        let heard = self.now >= self.calm_from || !self.rng.chance(self.weather.lost);
        let delay = if heard { 2 * MS } else { 10 * S };
        self.after(delay, Event::Heard(knock, heard));
    }

    /// The writer gives a row to the engine of its own process.
    pub(crate) fn hand_over(&mut self, process: usize, row: &Row) {
        let it = &self.processes[process];
        // A monitor that the engine does not know was made by a row that it has not read yet: that one comes first.
        let known = |record: &Record| match record {
            Record::Checkin(id, _) => it.engine.as_ref().is_some_and(|engine| engine.monitor(*id).is_some()),
            Record::Command(_) => true,
        };
        // The first row of a stream comes with what was written before it to other streams.
        let follows = it.engine.as_ref().is_some_and(|engine| engine.reached(row.stream) > 0);
        if !follows || !row.records.iter().all(known) {
            return;
        }
        if it.phase == Phase::Running && it.deciding.as_ref().is_none_or(|deciding| deciding.decision.is_none()) {
            // One that does not follow is left to the reader.
            _ = self.observe(process, vec![row.clone()]);
            self.look(process);
        }
    }

    /// Rows into the memory; `false` where one is missing.
    pub(crate) fn observe(&mut self, process: usize, rows: Vec<Row>) -> bool {
        let Some(engine) = self.processes[process].engine.as_mut() else { return true };
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

    fn booted(&mut self, process: usize, boot: Boot) {
        let engine = Engine::boot(boot);
        let vector = engine.vector().clone();
        self.processes[process].engine = Some(engine);
        self.ask(process, Lane::Reader, Request::Tail(vector));
    }

    fn tailed(&mut self, process: usize, rows: Vec<Row>) {
        let it = &self.processes[process];
        if it.deciding.as_ref().is_some_and(|deciding| deciding.decision.is_some()) {
            return;
        }
        let booting = it.phase == Phase::Booting;
        if !self.observe(process, rows) {
            return self.reboot(process);
        }
        if booting {
            let it = &mut self.processes[process];
            it.phase = Phase::Running;
            it.boot_head = it.engine.as_ref().map_or_else(Vector::new, |engine| engine.vector().clone());
            it.pass_due = self.now + self.rng.between(S, 12 * S);
            self.say(|| format!("process {process} runs"));
        }
        self.look(process);
    }

    /// Begins a decision where there is something to decide.
    pub(crate) fn look(&mut self, process: usize) {
        let now = self.clock(process);
        let it = &mut self.processes[process];
        if it.phase != Phase::Running || it.deciding.is_some() || !it.knows_time() {
            return;
        }
        let epoch = it.epoch;
        let Some(engine) = it.engine.as_mut() else { return };
        let wants = engine.wants_decision(now);
        if !wants && (self.rules.hold(Rule::Hold) || self.decide_in_hold(process, now).is_none()) {
            return;
        }
        let Some(engine) = self.processes[process].engine.as_mut() else { return };
        let vector = engine.vector().clone();
        self.ask(process, Lane::Decider, Request::Begin(epoch, vector));
        let transaction = self.processes[process].tickets[0];
        self.processes[process].deciding = Some(Deciding { transaction, now, decision: None });
    }

    fn head_read(&mut self, process: usize, rows: Vec<Row>) {
        let Some((transaction, now)) =
            self.processes[process].deciding.as_ref().map(|deciding| (deciding.transaction, deciding.now))
        else {
            return;
        };
        if !self.observe(process, rows) {
            return self.reboot(process);
        }
        let decision = if self.rules.hold(Rule::Hold) {
            self.processes[process].engine.as_mut().and_then(|engine| engine.decide(now))
        } else {
            self.decide_in_hold(process, now)
        };
        let it = &mut self.processes[process];
        // A row that is swept after its monitor was deleted would bring it back: such a decision waits for the chunk.
        let swept = it.sweeping.as_ref().map_or(&[][..], |sweep| &sweep.rows);
        let revives = |change: &Decided| change.after.is_none() && swept.iter().any(|(id, _)| *id == change.id);
        let decision = match decision.filter(|decision| !decision.changes.iter().any(revives)) {
            Some(decision) if decision.is_news() => Box::new(decision),
            quiet => {
                it.deciding = None;
                if let Some((engine, decision)) = it.engine.as_mut().zip(quiet) {
                    engine.install(decision);
                }
                self.call(process, Lane::Free, Request::Rollback(transaction));
                return;
            }
        };
        if let Some(deciding) = &mut it.deciding {
            deciding.decision = Some(decision.clone());
        }
        self.ask(process, Lane::Decider, Request::Commit(transaction, decision));
    }

    /// What an engine would decide that knows no hold: one whose streams were all heard of just now.
    fn decide_in_hold(&mut self, process: usize, now: Time) -> Option<Decision> {
        let engine = self.processes[process].engine.as_mut()?;
        if engine.unsettled() > 0 {
            return engine.decide(now);
        }
        let mut vector = engine.vector().clone();
        for reached in vector.values_mut() {
            reached.silence = Silence::opened(now);
        }
        let cut = engine.version();
        let monitors = engine.monitors().map(|(id, monitor)| BootedMonitor { id, cut, monitor: monitor.clone() });
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
