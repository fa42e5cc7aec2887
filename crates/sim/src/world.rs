//! One run: events in the order of simulated time. No threads, no timers, no clock but [`World::now`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use systole_core::engine::{Boot, Command, Decision, MonitorId, Row, Sweep, Vector};
use systole_core::heartbeat::Checkin;
use systole_core::maintenance::Window;
use systole_core::outage::Outages;
use systole_core::time::Time;

use crate::broken::{Broken, Outcome, Stats};
use crate::database::{Appended, Database, LogRow, Reloaded};
use crate::outbox::{Finish, Outgoing};
use crate::process::Process;
use crate::random::Random;
use crate::receiver::Receiver;
use crate::rules::Rules;
use crate::senders::Sender;
use crate::truth::{Truth, Uid};

/// A millisecond, in the simulation's microseconds.
pub const MS: i64 = 1_000;
/// A second.
pub const S: i64 = 1_000_000;

/// Which of a process's conversations with the database a statement belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Appends.
    Writer,
    /// Lease, boot, decisions.
    Decider,
    /// Reading the log.
    Reader,
    /// Passes.
    Sweeper,
    /// Commands, claims, finishes, retention: nobody waits in line.
    Free,
}

/// A statement, or a flight of statements.
#[derive(Clone, Debug)]
pub enum Request {
    /// Close what is open and open a stream.
    OpenStream,
    /// A batch.
    Append(Row, Vec<Uid>),
    /// Take the lease.
    TakeLease,
    /// Renew the lease of an epoch; `true`: give it back.
    Renew(u64, bool),
    /// Close a stream by an end marker at this place.
    CloseStream(u32, u64),
    /// What a boot reads.
    Snapshot,
    /// What a standby reads: the transitions after so many, the checkpoint, and then the rows after a vector.
    Follow(Vector, usize, Option<Box<Heard>>),
    /// These monitors as they were persisted.
    Reload(BTreeSet<MonitorId>),
    /// The rows after a vector.
    Tail(Vector),
    /// Begin, fence, head read.
    Begin(u64, Vector),
    /// Write and commit the transaction that began under this ticket.
    Commit(u64, Box<Decision>),
    /// Give it up.
    Rollback(u64),
    /// A chunk of a pass, under an epoch.
    Sweep(u64, Box<Sweep>),
    /// Retention.
    DropLog(Vector),
    /// A person's command.
    Command(Command),
    /// Claim deliveries that are due.
    Claim,
    /// The end of an attempt: delivery, claim, what became of it.
    Finish(usize, u32, Finish),
    /// Say what is to be said beside the news, under an epoch.
    FollowUp(u64),
}

/// What a standby hears of the decider.
#[derive(Clone, Debug)]
pub struct Heard {
    /// How many transitions there are.
    pub transitions: usize,
    /// Whom the new ones name.
    pub named: BTreeSet<MonitorId>,
    /// The checkpoint.
    pub checkpoint: (u64, Vector),
}

/// What the database answers.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A stream, and the time.
    Stream(u32, Time),
    /// An append's outcome.
    Appended(Appended),
    /// An epoch.
    Lease(u64),
    /// Another process holds the lease.
    Held,
    /// For a boot, with how many transitions there are.
    Snapshot(Box<Boot>, usize),
    /// For a standby.
    Heard(Box<Heard>, Vec<Row>),
    /// For a standby.
    Reloaded(Box<Reloaded>),
    /// Rows of the log.
    Rows(Vec<Row>),
    /// A decision is durable; this was claimed with it.
    Committed(Vec<Outgoing>),
    /// Done.
    Done,
    /// A command's row.
    Told(Box<LogRow>),
    /// Claimed.
    Claimed(Vec<Outgoing>),
    /// Another process decides.
    Fenced,
    /// Not done, as far as anybody knows.
    Failed,
}

/// A statement on its way.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who sent it.
    pub process: usize,
    /// In which conversation.
    pub lane: Lane,
    /// Which one: never used twice.
    pub ticket: u64,
    /// When it was sent.
    pub sent: i64,
    /// What.
    pub request: Request,
}

/// A check-in on its way to a process.
#[derive(Clone, Copy, Debug)]
pub struct Knock {
    /// Its number.
    pub uid: Uid,
    /// Its sender.
    pub sender: usize,
    /// Its monitor.
    pub monitor: MonitorId,
    /// What it says; the stamp is set on receipt.
    pub checkin: Checkin,
    /// How often the sender tried before.
    pub tries: u32,
}

/// What a process does by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    /// Form a batch, or a beat.
    Write,
    /// Read the log, look at the timers.
    Look,
    /// Go on with a pass.
    Sweep,
    /// Claim deliveries.
    Claim,
    /// Drop old rows.
    Retain,
    /// Take the lease, once; of several: boot.
    Lead,
    /// Take the lease where it is free.
    Poll,
    /// Renew the lease.
    Renew,
    /// Close streams that stand still.
    Close,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A statement reaches the database.
    Arrive(Call),
    /// It takes effect.
    Execute(Call),
    /// Its answer reaches the process.
    Reply(Call, Answer),
    /// The process no longer waits for it.
    GiveUp(usize, Lane, u64),
    /// A transaction has been idle for too long.
    Idle(u64),
    /// A process's own business; only for this epoch of its life.
    Wake(usize, Job),
    /// A sender's time has come.
    Sender(usize),
    /// A check-in reaches us.
    Knock(Knock),
    /// A sender learns what became of it; `true`: acknowledged.
    Heard(Knock, bool),
    /// A person does something.
    Person,
    /// A person makes a maintenance window, or ends one.
    Window,
    /// Something breaks.
    Fault,
    /// A process breaks.
    Break(usize),
    /// A process of this replica is started.
    Start(usize),
    /// A process ends after a clean stop.
    Leave(usize),
    /// A delivery is about to be sent, by a claim of this age.
    Send(usize, Outgoing, i64),
    /// A message reaches its receiver.
    Receive(usize, Outgoing, i64),
    /// The end of an attempt is known to the sender.
    Sent(usize, Outgoing, bool),
    /// Look whether everything that should have happened did.
    Check,
}

struct Queued {
    at: i64,
    order: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Queued) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Queued) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Queued) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A deciding transaction at the database.
pub struct Open {
    /// What had been committed at its head read.
    pub moment: usize,
    /// Its commit has arrived: it is not idle.
    pub committing: bool,
    /// Who began it.
    pub process: usize,
    /// Deadlines that it counts without news.
    pub counted: Vec<(MonitorId, Time)>,
    /// Our outages as its process knows them.
    pub outages: Outages,
}

/// How much goes wrong in a run; in thousandths.
pub struct Weather {
    /// Replies lost.
    pub lost: u64,
    /// Writes that fail.
    pub failing: u64,
    /// Commits that take long.
    pub slow: u64,
    /// Statements that arrive after all when a cut connection is back.
    pub late: u64,
    /// Attempts that a receiver fails.
    pub receiver: u64,
    /// Mean time between faults of processes and networks.
    pub between: i64,
}

/// A run.
pub struct World {
    /// True time, in microseconds.
    pub now: i64,
    /// Chooses everything.
    pub rng: Random,
    /// Which rules hold.
    pub rules: Rules,
    /// The database.
    pub db: Database,
    /// What truly happened.
    pub truth: Truth,
    /// Every process there ever was.
    pub processes: Vec<Process>,
    /// Several processes share the database; else one has it for itself, as on SQLite.
    pub is_shared: bool,
    /// Of each replica: the process that was started last.
    pub active: Vec<Option<usize>>,
    /// Since when nobody holds the lease, in true time.
    pub unled_since: Option<i64>,
    /// What goes wrong.
    pub weather: Weather,
    /// How far the database's clock is ahead of true time.
    pub step: i64,
    /// The network to the database is down until then.
    pub down_until: i64,
    /// The disk is full until then.
    pub full_until: i64,
    /// The last fault is over then.
    pub trouble_until: i64,
    /// Deciding transactions.
    pub open: BTreeMap<u64, Open>,
    /// Waiting for the lease.
    pub lease_waiters: Vec<Call>,
    /// Who sends check-ins.
    pub senders: Vec<Sender>,
    /// Maintenance windows.
    pub windows: Vec<Window>,
    /// Who gets messages.
    pub receiver: Receiver,
    /// Since when nobody can reach us, by the database's clock.
    pub unreachable_since: Option<Time>,
    /// The last uid and ticket given.
    pub numbers: u64,
    /// Faults end here.
    pub calm_from: i64,
    /// The run ends here.
    pub end: i64,
    /// What was counted.
    pub stats: Stats,
    /// What was found.
    pub broken: Option<Broken>,
    /// Say every step.
    pub trace: bool,
    queue: BinaryHeap<Reverse<Queued>>,
    order: u64,
    digest: u64,
}

/// Nobody may decide for so long: what holds the lease back, a commit that takes six seconds on a slow disk or a transaction that
/// idles, does so but for seconds; replies are lost, and statements given up after five.
const UNLED_MOST: i64 = 30 * S;

/// 2027-01-15, as good a beginning as any.
const BEGIN: i64 = 1_800_000_000 * S;

impl World {
    /// A run of `seed`.
    ///
    /// One to three replicas, by the seed unless `replicas` says how many; one of its own has the database for itself, as on
    /// `SQLite`, or shares it with nobody, as on PostgreSQL.
    pub fn new(seed: u64, rules: Rules, replicas: Option<usize>, trace: bool) -> World {
        let mut rng = Random::new(seed);
        let replicas = replicas.unwrap_or(1 + usize::try_from(seed % 3).unwrap_or(0));
        let is_shared = replicas > 1 || (seed / 3).is_multiple_of(4);
        let stormy = rng.between(0, 3).cast_unsigned();
        let weather = Weather {
            lost: 3 + 8 * stormy,
            failing: 3 * stormy,
            slow: 2 + 4 * stormy,
            late: rng.between(200, 700).cast_unsigned(),
            receiver: rng.between(20, 400).cast_unsigned(),
            between: rng.between(12, 70) * S,
        };
        let mut world = World {
            now: BEGIN + rng.between(0, 90 * S),
            db: Database::new(rules),
            truth: Truth::default(),
            processes: Vec::new(),
            is_shared,
            active: vec![None; replicas],
            unled_since: None,
            weather,
            step: 0,
            down_until: 0,
            full_until: 0,
            trouble_until: 0,
            open: BTreeMap::new(),
            lease_waiters: Vec::new(),
            senders: Vec::new(),
            windows: Vec::new(),
            receiver: Receiver::default(),
            unreachable_since: None,
            numbers: 0,
            calm_from: 0,
            end: 0,
            stats: Stats::default(),
            broken: None,
            trace,
            queue: BinaryHeap::new(),
            order: 0,
            digest: 0xcbf2_9ce4_8422_2325,
            rng,
            rules,
        };
        world.calm_from = world.now + world.rng.between(240, 560) * S;
        world.end = world.calm_from + 150 * S;
        world.trouble_until = world.now + 5 * S;
        world.populate();
        for replica in 0..replicas {
            let first = world.now + i64::try_from(replica).unwrap_or(0) * S;
            world.at(first, Event::Start(replica));
        }
        let first = world.now + world.rng.between(S, world.weather.between);
        world.at(first, Event::Fault);
        world.at(world.now + 20 * S, Event::Check);
        world
    }

    /// Something will happen then.
    pub fn at(&mut self, at: i64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Queued {
            at: at.max(self.now),
            order: self.order,
            event,
        }));
    }

    /// Something will happen in a while.
    pub fn after(&mut self, delay: i64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// A number never given before.
    pub const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The database's clock.
    pub const fn database_now(&self) -> Time {
        Time::from_micros(self.now + self.step)
    }

    /// Says a step, where steps are said.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{} {}", self.database_now(), what());
        }
    }

    /// A promise was broken; the first counts.
    pub fn broke(&mut self, promise: u8, what: String) {
        if self.broken.is_none() {
            self.say(|| format!("BROKEN promise {promise}: {what}"));
            self.broken = Some(Broken {
                promise,
                what,
                at: self.database_now(),
            });
        }
    }

    /// Keeps the first of what checks found.
    pub fn found(&mut self, found: Result<(), Broken>) {
        if let Err(broken) = found {
            self.broke(broken.promise, broken.what);
        }
    }

    /// Until the end, or until something is broken.
    pub fn run(mut self) -> Outcome {
        let begin = self.now;
        while self.broken.is_none()
            && let Some(Reverse(Queued { at, order, event })) = self.queue.pop()
            && at <= self.end
        {
            self.now = at;
            self.stats.steps += 1;
            for word in [at.cast_unsigned(), order, self.numbers] {
                self.digest = (self.digest ^ word).wrapping_mul(0x0000_0100_0000_01b3);
            }
            self.happens(event);
            self.watch_reach();
            self.watch_lead();
        }
        if self.broken.is_none() {
            self.now = self.end;
            self.final_check();
        }
        self.stats.seconds = ((self.now - begin) / S).cast_unsigned();
        Outcome {
            broken: self.broken,
            stats: self.stats,
            digest: self.digest,
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrive(call) => self.arrive(call),
            Event::Execute(call) => self.execute(call),
            Event::Idle(transaction) => self.idle(transaction),
            Event::Reply(call, answer) => {
                if let Some(event) = self.if_awake(call.process, || Event::Reply(call, answer))
                    && let Event::Reply(call, answer) = event
                {
                    self.replied(&call, answer);
                }
            }
            Event::GiveUp(process, lane, ticket) => {
                if self
                    .if_awake(process, || Event::GiveUp(process, lane, ticket))
                    .is_some()
                {
                    self.gave_up(process, lane, ticket);
                }
            }
            Event::Wake(process, job) => {
                if self
                    .if_awake(process, || Event::Wake(process, job))
                    .is_some()
                {
                    self.wake(process, job);
                }
            }
            Event::Send(process, outgoing, claimed) => {
                if let Some(Event::Send(process, outgoing, claimed)) =
                    self.if_awake(process, || Event::Send(process, outgoing, claimed))
                {
                    self.send_delivery(process, outgoing, claimed);
                }
            }
            Event::Sent(process, outgoing, arrived) => {
                if let Some(Event::Sent(process, outgoing, arrived)) =
                    self.if_awake(process, || Event::Sent(process, outgoing, arrived))
                {
                    self.finish_delivery(process, &outgoing, arrived);
                }
            }
            Event::Receive(process, outgoing, claimed) => self.receive(process, outgoing, claimed),
            Event::Sender(sender) => self.sender(sender),
            Event::Knock(knock) => self.knock(knock),
            Event::Heard(knock, acknowledged) => self.heard(knock, acknowledged),
            Event::Person => self.person(),
            Event::Window => self.window(),
            Event::Fault => self.fault(),
            Event::Break(process) => self.break_process(process),
            Event::Start(replica) => self.start(replica),
            Event::Leave(process) => self.leave(process),
            Event::Check => self.check(),
        }
    }

    /// The event, where its process lives and runs; one that stands still gets it when it goes on.
    fn if_awake(&mut self, process: usize, event: impl FnOnce() -> Event) -> Option<Event> {
        let it = &self.processes[process];
        if !it.alive {
            return None;
        }
        if it.stopped_until > self.now {
            let later = it.stopped_until;
            self.at(later, event());
            return None;
        }
        Some(event())
    }

    /// The processes that were started last and live.
    pub fn living(&self) -> Vec<usize> {
        let is_alive = |process: &usize| self.processes[*process].alive;
        self.active
            .iter()
            .flatten()
            .copied()
            .filter(is_alive)
            .collect()
    }

    /// Somebody decides as long as any replica reaches the database.
    fn watch_lead(&mut self) {
        if !self.is_shared {
            return;
        }
        let broken = self.now < self.down_until || self.now < self.full_until;
        for it in &mut self.processes {
            if broken || !it.could_lead(self.now) {
                it.well_since = self.now;
            }
        }
        if self.db.lease_until >= self.database_now() {
            self.unled_since = None;
            return;
        }
        let since = *self.unled_since.get_or_insert(self.now);
        let limit = self.now - UNLED_MOST;
        let able = self.processes.iter().rposition(|it| it.well_since < limit);
        if since < limit
            && let Some(process) = able
        {
            self.broke(
                2,
                format!(
                    "nobody has decided for {} s, though process {process} could",
                    UNLED_MOST / S
                ),
            );
        }
    }

    /// Notes from when to when nobody could reach us.
    fn watch_reach(&mut self) {
        let able = self.now >= self.down_until
            && self.now >= self.full_until
            && self.processes.iter().rev().any(|it| it.is_able(self.now));
        match (able, self.unreachable_since) {
            (false, None) => self.unreachable_since = Some(self.database_now()),
            (true, Some(since)) => {
                self.unreachable_since = None;
                self.truth.could_not_be_reached(since, self.database_now());
            }
            _ => {}
        }
    }
}
