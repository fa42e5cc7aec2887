//! A process: its memory, which a crash takes, and what it does with the answers of the database.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use systole_core::engine::{Decision, Engine, MonitorId, Row, Sweep, Vector};
use systole_core::time::Time;

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
    /// Follows another that decides.
    Standby,
    /// Has the lease, and reads what it missed.
    Taking,
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
    pub(crate) transaction: u64,
    /// The clock, read before the head read was sent.
    pub(crate) now: Time,
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
    /// Its connection is half-open until then: requests arrive, answers do not.
    pub deaf_until: i64,
    /// Since when it could have led without a break.
    pub well_since: i64,
    /// Which replica it is.
    pub replica: usize,
    /// How far its wall clock is off.
    pub wall: i64,
    /// How far it takes the database's clock to be ahead of its own monotonic one.
    pub offset: i64,
    pub(crate) sample: Option<(i64, i64)>,
    pub(crate) phase: Phase,
    pub(crate) stream: Option<u32>,
    pub(crate) seq: u64,
    pub(crate) stamp: Time,
    pub(crate) formed: i64,
    pub(crate) queue: VecDeque<Knock>,
    pub(crate) outstanding: Vec<Batch>,
    /// Records of a closed stream, to be sent in the next.
    pub(crate) again: Vec<Batch>,
    pub(crate) epoch: u64,
    /// Until when its lease surely holds, by its own monotonic clock.
    pub(crate) leased_until: i64,
    /// It gives the lease back as soon as no transaction of its own is open.
    pub(crate) is_leaving: bool,
    /// Transitions heard of.
    pub(crate) transitions: usize,
    /// The checkpoint heard of.
    pub(crate) checkpoint: u64,
    /// To be reloaded.
    pub(crate) doubtful: BTreeSet<MonitorId>,
    /// Unsettled at a standby, since when.
    pub(crate) unsettled: BTreeMap<MonitorId, i64>,
    /// When it last read the log to its head.
    pub(crate) tailed_at: i64,
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
        self.alive
            && self.stopped_until <= now
            && self.cut_until <= now
            && self.deaf_until <= now
            && self.stream.is_some()
    }

    /// Whether nothing keeps it from taking the lease.
    pub fn could_lead(&self, now: i64) -> bool {
        let has_booted = matches!(self.phase, Phase::Standby | Phase::Taking | Phase::Running);
        self.is_able(now) && has_booted
    }

    /// Whether it holds the lease, as far as it knows.
    pub fn leads(&self) -> bool {
        matches!(self.phase, Phase::Taking | Phase::Running)
    }

    /// While it may be wrong about the time by more than this, it is not ready: it takes nothing and judges nothing.
    pub fn knows_time(&self) -> bool {
        self.sample.is_some_and(|(_, error)| error <= S / 2)
    }

    /// Its stream is gone, and it is not just starting.
    pub fn wants_stream(&self) -> bool {
        self.stream.is_none() && self.phase != Phase::Opening
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
    pub fn start(&mut self, replica: usize) {
        let process = self.processes.len();
        // Of several replicas each reads the log alone: what it has written is there, too.
        let hands_over = !self.is_shared && self.rng.chance(500);
        let before = self.active[replica];
        let wall = before.map_or(0, |active| self.processes[active].wall);
        self.processes.push(Process {
            alive: true,
            stopped_until: 0,
            cut_until: 0,
            deaf_until: 0,
            well_since: self.now,
            replica,
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
            leased_until: 0,
            is_leaving: false,
            transitions: 0,
            checkpoint: 0,
            doubtful: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            tailed_at: 0,
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
        self.active[replica] = Some(process);
        self.say(|| format!("process {process} starts as replica {replica}"));
        self.ask(process, Lane::Decider, Request::OpenStream);
        for job in [Job::Write, Job::Look, Job::Sweep, Job::Claim, Job::Retain] {
            self.after(100 * MS, Event::Wake(process, job));
        }
        if self.is_shared {
            for job in [Job::Poll, Job::Renew, Job::Close] {
                self.after(100 * MS, Event::Wake(process, job));
            }
        }
    }

    /// A clean stop is over: whoever asks for it starts it again.
    pub fn leave(&mut self, process: usize) {
        let it = &self.processes[process];
        if !it.alive {
            return;
        }
        let replica = it.replica;
        let is_newest = self.active[replica] == Some(process);
        self.crash(process);
        if is_newest {
            let down = self.rng.between(100 * MS, 3 * S);
            self.after(down, Event::Start(replica));
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
        let replica = self.processes[process].replica;
        if self.active[replica] == Some(process) {
            self.active[replica] = None;
        }
        // The database hears that its connections are gone.
        let open: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| open.process == process)
            .map(|(transaction, _)| *transaction)
            .collect();
        for transaction in open {
            self.after(MS, Event::Idle(transaction));
        }
    }

    /// A process learns that another one decides: it ends, and is started again where it was the last.
    pub(crate) fn fenced(&mut self, process: usize) {
        self.say(|| format!("process {process} is fenced"));
        if self.is_shared {
            return self.step_down(process);
        }
        if !self.rules.hold(Rule::ReloadAtTakeover) && self.processes[process].engine.is_some() {
            // It takes over again, with the memory that it has.
            self.forget_talks(process);
            self.processes[process].phase = Phase::Leasing;
            self.ask(process, Lane::Decider, Request::TakeLease);
            return;
        }
        let replica = self.processes[process].replica;
        let last = self.active[replica] == Some(process);
        self.crash(process);
        if last {
            self.after(200 * MS, Event::Start(replica));
        }
    }

    pub(crate) fn ask(&mut self, process: usize, lane: Lane, request: Request) {
        let ticket = self.call(process, lane, request);
        if let Some(known) = self.processes[process].ticket(lane) {
            *known = ticket;
        }
    }

    pub(crate) fn forget_talks(&mut self, process: usize) {
        let it = &mut self.processes[process];
        it.tickets = [0; 3];
        it.deciding = None;
        it.sweeping = None;
    }

    /// Doubt: nothing in memory is believed any more. The lease first, which waits for what is in doubt.
    pub(crate) fn reboot(&mut self, process: usize) {
        self.say(|| format!("process {process} boots again"));
        self.forget_talks(process);
        let is_shared = self.is_shared;
        let it = &mut self.processes[process];
        it.engine = None;
        it.phase = if is_shared {
            Phase::Booting
        } else {
            Phase::Leasing
        };
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
            (Lane::Decider, Answer::Stream(stream, now)) => {
                self.opened(process, stream, now, call.sent)
            }
            (Lane::Decider, Answer::Lease(epoch)) if self.is_shared => {
                self.stats.takeovers += 1;
                self.begin_taking(process, epoch, call.sent);
            }
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
            (Lane::Decider, Answer::Snapshot(boot, transitions)) => {
                self.processes[process].transitions = transitions;
                self.booted(process, *boot);
            }
            (Lane::Reader, Answer::Heard(heard, rows)) => self.heard_of(process, *heard, rows),
            (Lane::Reader, Answer::Reloaded(reloaded)) => self.reloaded(process, *reloaded),
            (Lane::Decider, Answer::Rows(rows)) => self.head_read(process, rows),
            (Lane::Decider, Answer::Committed(outgoing)) => {
                self.decided(process, outgoing, call.sent)
            }
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
        let Some(known) = self.processes[process].ticket(lane) else {
            return;
        };
        if *known == ticket {
            *known = 0;
            let phase = self.processes[process].phase;
            // A standby that did not hear whether it has the lease asks again.
            let matters = match lane {
                Lane::Reader => matches!(phase, Phase::Booting | Phase::Taking),
                _ => phase != Phase::Standby,
            };
            if matters {
                self.in_doubt(process, lane);
            }
        }
    }

    pub(crate) fn in_doubt(&mut self, process: usize, lane: Lane) {
        let it = &mut self.processes[process];
        let deciding = it
            .deciding
            .as_ref()
            .is_some_and(|deciding| deciding.decision.is_some());
        if it.phase == Phase::Opening {
            self.ask(process, Lane::Decider, Request::OpenStream);
        } else if lane == Lane::Decider && deciding && !self.rules.hold(Rule::DoubtfulMemory) {
            it.deciding = None;
        } else if it.leads() && self.is_shared {
            self.step_down(process);
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
            let (phase, request) = if self.is_shared {
                (Phase::Booting, Request::Snapshot)
            } else {
                (Phase::Leasing, Request::TakeLease)
            };
            self.processes[process].phase = phase;
            self.begin_stream(process, stream);
            self.ask(process, Lane::Decider, request);
        }
    }
}
