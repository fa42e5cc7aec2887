//! What a process does by itself, and what follows from decisions: passes, retention, deliveries.

use systole_core::delivery::ErrorClass;
use systole_core::delivery::{Outcome, Step, next_step};
use systole_core::engine::{Position, Sweep};
use systole_core::time::Time;

use crate::outbox::{Finish, Outgoing};
use crate::process::Phase;
use crate::rules::Rule;
use crate::world::{Answer, Call, Event, Job, Lane, MS, Request, S, World};

/// A claim older than this is not sent any more: what is left of it is the time-out of a request.
const CLAIM_MOST: i64 = 50 * S;

impl World {
    /// A process looks after one of its duties, and will again.
    pub fn wake(&mut self, process: usize, job: Job) {
        let next = match job {
            Job::Write => {
                self.duty_write(process);
                S / 2
            }
            Job::Look => {
                self.duty_look(process);
                self.rng.between(80 * MS, 350 * MS)
            }
            Job::Sweep => {
                self.duty_sweep(process);
                self.rng.between(100 * MS, S)
            }
            Job::Claim => {
                self.call(process, Lane::Free, Request::Claim);
                self.rng.between(500 * MS, 1_500 * MS)
            }
            Job::Lead => {
                let it = &self.processes[process];
                if it.phase == Phase::Leasing && it.tickets[0] == 0 {
                    self.ask(process, Lane::Decider, Request::TakeLease);
                } else if it.phase == Phase::Booting && it.engine.is_none() && it.tickets[0] == 0 {
                    self.ask(process, Lane::Decider, Request::Snapshot);
                }
                return;
            }
            Job::Poll => {
                self.duty_poll(process);
                self.rng.between(200 * MS, 300 * MS)
            }
            Job::Renew => {
                self.duty_renew(process);
                S / 2
            }
            Job::Close => {
                self.duty_close(process);
                self.rng.between(S / 2, 2 * S)
            }
            Job::Retain => {
                self.duty_retain(process);
                20 * S
            }
        };
        self.after(next, Event::Wake(process, job));
    }

    fn duty_write(&mut self, process: usize) {
        let it = &self.processes[process];
        if it.stream.is_none() && it.phase != Phase::Opening && self.now - it.opening_since > 2 * S
        {
            self.open_another(process);
        }
        self.write(process);
    }

    fn duty_look(&mut self, process: usize) {
        self.look(process);
        if self.is_shared {
            self.follow(process);
        }
        let it = &mut self.processes[process];
        it.looks += 1;
        let often = !it.hands_over || it.looks.is_multiple_of(5);
        let free = it.deciding.is_none() && it.tickets[1] == 0;
        if it.phase == Phase::Running
            && often
            && free
            && let Some(engine) = &it.engine
        {
            let vector = engine.vector().clone();
            self.ask(process, Lane::Reader, Request::Tail(vector));
        }
        let it = &self.processes[process];
        if it.phase == Phase::Running && it.knows_time() && it.looks.is_multiple_of(5) {
            let epoch = it.epoch;
            self.call(process, Lane::Free, Request::FollowUp(epoch));
        }
    }

    fn duty_sweep(&mut self, process: usize) {
        let now = self.now;
        let limit = usize::try_from(self.rng.between(1, 3)).unwrap_or(1);
        let settled_only = self.rules.hold(Rule::SettledSweep);
        let boot_is_dirty = self.rules.hold(Rule::DirtyAfterBoot);
        let it = &mut self.processes[process];
        if it.phase != Phase::Running || it.sweeping.is_some() || it.is_leaving {
            return;
        }
        let Some(engine) = it.engine.as_mut() else {
            return;
        };
        if !engine.is_in_pass() {
            if now < it.pass_due {
                return;
            }
            engine.begin_pass();
        }
        let Some(mut sweep) = engine.sweep(limit) else {
            return;
        };
        if !settled_only
            && let Some(decision) = it
                .deciding
                .as_ref()
                .and_then(|deciding| deciding.decision.as_ref())
        {
            let undecided = decision
                .changes
                .iter()
                .filter_map(|change| Some((change.id, change.after.clone()?)));
            sweep.rows.extend(undecided);
        }
        if !boot_is_dirty {
            let head = &it.boot_head;
            let booted = |last: Position| {
                head.get(&last.stream())
                    .is_some_and(|reached| reached.seq >= last.seq())
            };
            sweep
                .rows
                .retain(|(_, monitor)| monitor.last == Position::NONE || !booted(monitor.last));
        }
        let sweep = Box::new(sweep);
        it.sweeping = Some(sweep.clone());
        let epoch = it.epoch;
        self.ask(process, Lane::Sweeper, Request::Sweep(epoch, sweep));
    }

    /// A chunk is durable.
    pub fn swept(&mut self, process: usize) {
        let next_pass = self.now + self.rng.between(4 * S, 12 * S);
        let it = &mut self.processes[process];
        let Some((engine, sweep)) = it.engine.as_mut().zip(it.sweeping.take()) else {
            return;
        };
        engine.swept(&sweep);
        if let Sweep { end: Some(end), .. } = *sweep {
            it.pass_due = next_pass;
            it.checkpoints.push((self.now, end.vector));
        }
    }

    /// Drops what lay below the checkpoint half a minute ago, by this process's own time.
    fn duty_retain(&mut self, process: usize) {
        let now = self.now;
        let it = &mut self.processes[process];
        let old = it.checkpoints.iter().rposition(|(at, _)| now - at > 30 * S);
        if let Some(old) = old {
            let (_, below) = it.checkpoints.swap_remove(old);
            it.checkpoints.drain(..old);
            self.call(process, Lane::Free, Request::DropLog(below));
        }
    }

    /// A decision is durable: it becomes the memory, and what was claimed with it goes.
    pub fn decided(&mut self, process: usize, outgoing: Vec<Outgoing>, sent: i64) {
        let it = &mut self.processes[process];
        let decision = it.deciding.take().and_then(|deciding| deciding.decision);
        if let Some((engine, decision)) = it.engine.as_mut().zip(decision) {
            engine.install(*decision);
        }
        self.dispatch(process, outgoing, sent);
        self.look(process);
    }

    /// Answers of statements that nobody waits in line for.
    pub fn free(&mut self, process: usize, call: &Call, answer: Answer) {
        match answer {
            Answer::Stream(stream, _) if self.processes[process].wants_stream() => {
                self.begin_stream(process, stream);
            }
            Answer::Told(row) if self.processes[process].hands_over => {
                self.hand_over(process, &row.row);
            }
            Answer::Claimed(outgoing) => self.dispatch(process, outgoing, call.sent),
            Answer::Done => self.renewed(process, call),
            Answer::Fenced => {
                if let Request::Renew(epoch, _) = call.request
                    && epoch == self.processes[process].epoch
                {
                    self.step_down(process);
                }
            }
            _ => {}
        }
    }

    /// The age of a claim counts from before it was asked for.
    fn dispatch(&mut self, process: usize, outgoing: Vec<Outgoing>, claimed: i64) {
        for outgoing in outgoing {
            let delay = if self.rng.chance(30) {
                self.rng.between(0, 20 * S)
            } else {
                self.rng.between(0, 20 * MS)
            };
            self.after(delay, Event::Send(process, outgoing, claimed));
        }
    }

    /// Right before the request is written: a claim that is too old is dropped.
    pub fn send_delivery(&mut self, process: usize, outgoing: Outgoing, claimed: i64) {
        if self.now - claimed > CLAIM_MOST && self.rules.hold(Rule::ClaimAge) {
            return;
        }
        self.stats.sends += 1;
        let slow = self.rng.chance(150);
        let delay = if slow {
            self.rng.between(S, 9 * S)
        } else {
            self.rng.between(2 * MS, 300 * MS)
        };
        self.after(delay, Event::Receive(process, outgoing, claimed));
    }

    /// A message arrives; the receiver may fail, or its answer may be lost.
    pub fn receive(&mut self, process: usize, outgoing: Outgoing, claimed: i64) {
        let fails = self.now < self.calm_from && self.rng.chance(self.weather.receiver);
        let unheard = self.now < self.calm_from && self.rng.chance(self.weather.receiver / 4);
        if fails {
            self.stats.failing_receivers += 1;
        } else {
            self.say(|| {
                let row = &outgoing.delivery;
                let (to, claim) = (row.destination, row.claim);
                format!(
                    "destination {to} gets event {} of incident {}, claim {claim}",
                    row.seq, row.incident
                )
            });
            let found = self
                .receiver
                .gets(&outgoing.delivery, claimed, self.database_now());
            self.found(found);
        }
        let delay = if unheard {
            10 * S
        } else {
            self.rng.between(MS, 100 * MS)
        };
        self.after(delay, Event::Sent(process, outgoing, !fails && !unheard));
    }

    /// The end of an attempt is recorded under its claim.
    pub fn finish_delivery(&mut self, process: usize, outgoing: &Outgoing, arrived: bool) {
        let now = self.clock(process);
        let row = &outgoing.delivery;
        let outcome = if arrived {
            Outcome::Delivered { status: 200 }
        } else if self.rng.chance(8) {
            Outcome::Reject {
                class: ErrorClass::Gone,
            }
        } else {
            Outcome::Retry {
                class: ErrorClass::Http5xx,
                retry_after: None,
            }
        };
        // Short waits, so that a run sees many attempts; the real ones grow to a quarter of an hour.
        let soon = |at: Time| at.min(now + systole_core::time::Span::from_seconds(20));
        let finish = match next_step(outcome, row.attempts, row.decided_at, now, 0.5) {
            Step::Delivered => Finish::Delivered,
            Step::RetryAt(at) => Finish::RetryAt(soon(at)),
            Step::Dead(_) => Finish::Dead,
        };
        self.say(|| {
            format!(
                "event {} for {}: claim {} ends, {finish:?}",
                row.seq, row.destination, row.claim
            )
        });
        self.call(
            process,
            Lane::Free,
            Request::Finish(outgoing.id, row.claim, finish),
        );
    }
}
