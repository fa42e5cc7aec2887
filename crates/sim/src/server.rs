//! The database's side of each statement: when it arrives, when it takes effect, whether its answer gets back.

use systole_core::engine::{Row, Vector};
use systole_core::outage::Outages;
use systole_core::time::Time;

use crate::database::LogRow;
use crate::rules::Rule;
use crate::truth::{Uid, View};
use crate::world::{Answer, Call, Event, Heard, Lane, MS, Open, Request, S, World};

/// A transaction whose client says nothing for so long is rolled back.
const IDLE: i64 = S;

/// An append that has not begun by then never does: it must not outlive its twin, which retention drops after half a minute.
/// (The real one ends by its connection's time-out; the log is kept for an hour.)
const APPEND_LIVES: i64 = 10 * S;

impl World {
    /// Sends a statement; answers its ticket.
    pub fn call(&mut self, process: usize, lane: Lane, request: Request) -> u64 {
        let ticket = self.number();
        // Fail points: at begin, write, commit, send, and right after them.
        if self.now < self.calm_from
            && self.rng.chance(1)
            && !matches!(
                request,
                Request::Tail(_)
                    | Request::Claim
                    | Request::Follow(..)
                    | Request::TakeLease
                    | Request::Renew(..)
            )
        {
            let delay = self.rng.between(0, 8 * MS);
            self.after(delay, Event::Break(process));
        }
        let call = Call {
            process,
            lane,
            ticket,
            sent: self.now,
            request,
        };
        let held_up = matches!(call.request, Request::Finish(..))
            && self.now < self.calm_from
            && self.rng.chance(15);
        let delay = if held_up {
            self.stats.held_finishes += 1;
            self.rng.between(50 * S, 75 * S)
        } else {
            self.latency()
        };
        self.after(delay, Event::Arrive(call));
        if lane != Lane::Free {
            let patience = if lane == Lane::Writer { S } else { 5 * S };
            self.after(patience, Event::GiveUp(process, lane, ticket));
        }
        ticket
    }

    fn latency(&mut self) -> i64 {
        if self.rng.chance(20) {
            self.rng.between(5 * MS, 300 * MS)
        } else {
            self.rng.between(150, 3 * MS)
        }
    }

    fn flush(&mut self) -> i64 {
        if self.now < self.calm_from && self.rng.chance(self.weather.slow) {
            self.rng.between(300 * MS, 6 * S)
        } else if self.rng.chance(40) {
            self.rng.between(10 * MS, 400 * MS)
        } else {
            self.rng.between(300, 5 * MS)
        }
    }

    fn cut_until(&self, process: usize) -> i64 {
        self.down_until.max(self.processes[process].cut_until)
    }

    /// A statement reaches the database, unless the network is cut: then it is lost, or arrives late.
    pub fn arrive(&mut self, mut call: Call) {
        let cut = self.cut_until(call.process);
        if cut > self.now {
            if self.rng.chance(self.weather.late) {
                let late = cut + self.rng.between(0, 4 * S);
                let lives = late - call.sent <= APPEND_LIVES
                    || !matches!(call.request, Request::Append(..));
                if lives {
                    self.stats.late_statements += 1;
                    self.at(late, Event::Arrive(call));
                }
            }
            return;
        }
        let dies = !self.processes[call.process].alive && self.rng.chance(400);
        if dies {
            return;
        }
        let writes = !matches!(
            call.request,
            Request::Tail(_)
                | Request::Snapshot
                | Request::Follow(..)
                | Request::Reload(_)
                | Request::Begin(..)
                | Request::Rollback(_)
        );
        if writes && self.full_until > self.now {
            if let Request::Commit(transaction, _) = call.request {
                self.close(transaction);
            }
            return self.reply(call, Answer::Failed);
        }
        let locks = self.rules.hold(Rule::Fence) && self.rules.hold(Rule::FenceLock);
        match &mut call.request {
            Request::Begin(epoch, _) => {
                if !self.db.may_decide(*epoch) {
                    return self.reply(call, Answer::Fenced);
                }
                if locks {
                    self.db.holders.insert(call.ticket);
                }
                self.open.insert(
                    call.ticket,
                    Open {
                        moment: self.truth.moment(),
                        committing: false,
                        process: call.process,
                        counted: Vec::new(),
                        outages: Outages::default(),
                    },
                );
                let delay = self.rng.between(50, 3 * MS);
                self.after(delay, Event::Execute(call));
            }
            Request::Commit(transaction, _) => match self.open.get_mut(transaction) {
                Some(open) => {
                    open.committing = true;
                    let delay = self.flush();
                    self.after(delay, Event::Execute(call));
                }
                None => self.reply(call, Answer::Failed),
            },
            Request::Sweep(epoch, _) => {
                let is_fenced = self.rules.hold(Rule::SweepFence);
                if is_fenced && !self.db.may_decide(*epoch) {
                    return self.reply(call, Answer::Fenced);
                }
                if locks && is_fenced {
                    self.db.holders.insert(call.ticket);
                }
                let delay = self.flush();
                self.after(delay, Event::Execute(call));
            }
            Request::FollowUp(epoch) => {
                if !self.db.may_decide(*epoch) {
                    return self.reply(call, Answer::Fenced);
                }
                self.execute(call);
            }
            // No row to change: it does not even wait.
            Request::TakeLease if self.is_shared && self.db.lease_until >= self.database_now() => {
                self.reply(call, Answer::Held);
            }
            Request::TakeLease | Request::Renew(..) if !self.db.holders.is_empty() => {
                self.lease_waiters.push(call);
            }
            Request::Follow(_, seen, heard) => {
                // Transitions first, then the log, each as of its own moment.
                let events = &self.db.events;
                *heard = Some(Box::new(Heard {
                    transitions: events.len(),
                    named: events.iter().skip(*seen).map(|row| row.monitor).collect(),
                    checkpoint: self.db.checkpoint.clone(),
                }));
                let delay = self.rng.between(50, 3 * MS);
                self.after(delay, Event::Execute(call));
            }
            Request::Append(row, _) => {
                if !self.rules.hold(Rule::KeyedAppend) {
                    row.seq = self.db.identity();
                }
                let delay = self.flush();
                self.after(delay, Event::Execute(call));
            }
            Request::OpenStream
            | Request::CloseStream(..)
            | Request::Command(_)
            | Request::Finish(..)
            | Request::Claim => {
                let delay = self.rng.between(200, 4 * MS);
                self.after(delay, Event::Execute(call));
            }
            _ => self.execute(call),
        }
    }

    /// A statement takes effect, in one piece.
    pub fn execute(&mut self, mut call: Call) {
        let fails = self.now < self.calm_from && self.rng.chance(self.weather.failing);
        if fails
            && matches!(
                call.request,
                Request::Commit(..)
                    | Request::Sweep(..)
                    | Request::Append(..)
                    | Request::FollowUp(..)
            )
        {
            self.stats.failed_commits += 1;
            self.end_of(&call);
            return self.reply(call, Answer::Failed);
        }
        let now = self.database_now();
        let answer = match &mut call.request {
            Request::OpenStream => {
                let (stream, markers) = self.db.open_stream(now, self.is_shared);
                for LogRow { row, uids } in markers {
                    self.committed(&row, &uids);
                }
                Answer::Stream(stream, now)
            }
            Request::Append(row, uids) => {
                row.put = now;
                let (appended, new) = self.db.append(row, uids);
                if let Some(LogRow { row, uids }) = new {
                    self.committed(&row, &uids);
                }
                Answer::Appended(appended)
            }
            Request::TakeLease => match self.db.take_lease(now, self.is_shared) {
                Some(epoch) => Answer::Lease(epoch),
                None => Answer::Held,
            },
            Request::Renew(epoch, is_released) => {
                match self.db.renew_lease(*epoch, now, *is_released) {
                    true => Answer::Done,
                    false => Answer::Fenced,
                }
            }
            Request::CloseStream(stream, seq) => {
                if let Some(LogRow { row, uids }) = self.db.close_stream(*stream, *seq, now) {
                    self.committed(&row, &uids);
                }
                Answer::Done
            }
            Request::Snapshot => {
                Answer::Snapshot(Box::new(self.db.snapshot()), self.db.events.len())
            }
            Request::Follow(vector, _, heard) => match heard.take() {
                Some(heard) => Answer::Heard(heard, self.db.tail(vector)),
                None => Answer::Failed,
            },
            Request::Reload(ids) => Answer::Reloaded(Box::new(self.db.reload(ids))),
            Request::Tail(vector) => Answer::Rows(self.db.tail(vector)),
            Request::Begin(_, vector) => {
                let ticket = call.ticket;
                let Some(open) = self.open.get_mut(&ticket) else {
                    return;
                };
                open.moment = self.truth.moment();
                if self.rules.hold(Rule::IdleTimeout) {
                    self.after(IDLE, Event::Idle(ticket));
                }
                let reads = self.rules.hold(Rule::HeadRead);
                Answer::Rows(if reads {
                    self.db.tail(vector)
                } else {
                    Vec::new()
                })
            }
            Request::Commit(transaction, decision) => {
                let open = self.open.get_mut(transaction);
                let (moment, counted, known) = open.map_or_else(Default::default, |open| {
                    (open.moment, open.counted.clone(), open.outages.clone())
                });
                let from = self.db.events.len();
                let (rows, placed) = self.db.outbox.made();
                self.db.decide(decision, now);
                self.say(|| {
                    let ids: Vec<u32> = decision.changes.iter().map(|change| change.id).collect();
                    format!(
                        "decision of {ids:?} at cut {} {:?}",
                        decision.cut,
                        positions(&decision.vector)
                    )
                });
                let outgoing = self.db.outbox.take_fresh();
                self.stats.decisions += 1;
                let decision = decision.clone();
                self.counted(&counted, moment, &decision);
                self.check_decision(
                    View {
                        moment,
                        vector: Some(&decision.vector),
                        now: decision.now,
                    },
                    &known,
                    from,
                );
                self.check_recovery();
                self.check_said(rows, placed);
                Answer::Committed(outgoing)
            }
            Request::Rollback(transaction) => {
                let transaction = *transaction;
                self.close(transaction);
                return;
            }
            Request::Sweep(_, sweep) => {
                self.db.sweep(sweep);
                self.say(|| {
                    let ids: Vec<(u32, u16)> = sweep
                        .rows
                        .iter()
                        .map(|(id, monitor)| (*id, monitor.heartbeat.failures))
                        .collect();
                    let end = sweep
                        .end
                        .as_ref()
                        .map(|end| (end.cut, positions(&end.vector), &end.finished));
                    format!(
                        "swept {ids:?} at cut {} {:?}, checkpoint {end:?}",
                        sweep.cut,
                        positions(&sweep.vector)
                    )
                });
                self.stats.sweeps += 1;
                self.check_recovery();
                Answer::Done
            }
            Request::DropLog(below) => {
                self.db.drop_log(below);
                Answer::Done
            }
            Request::Command(command) => match self.db.command(command.clone(), now) {
                Some(row) => {
                    self.committed(&row.row, &[]);
                    Answer::Told(Box::new(row))
                }
                None => Answer::Failed,
            },
            Request::Claim => Answer::Claimed(self.db.outbox.claim(
                now,
                10,
                self.rules.hold(Rule::DeliveryOrder),
            )),
            Request::Finish(id, claim, finish) => {
                if self.db.outbox.finish(
                    *id,
                    *claim,
                    *finish,
                    self.rules.hold(Rule::ClaimNumber),
                    now,
                ) {
                    self.stats.deliveries += 1;
                }
                Answer::Done
            }
            Request::FollowUp(_) => {
                let (rows, placed) = self.db.outbox.made();
                self.stats.said += self.db.follow_up(now);
                self.check_said(rows, placed);
                Answer::Done
            }
        };
        self.end_of(&call);
        self.reply(call, answer);
    }

    /// A row is in the log for ever.
    fn committed(&mut self, row: &Row, uids: &[Uid]) {
        self.say(|| {
            let end = if row.end { ", the end" } else { "" };
            format!(
                "row {}/{} of {} is durable: {uids:?}{end}",
                row.stream, row.seq, row.at
            )
        });
        let found = self.truth.committed(row, uids);
        self.found(found);
    }

    /// A transaction that is over frees the lease.
    fn end_of(&mut self, call: &Call) {
        match &call.request {
            Request::Commit(transaction, _) => self.close(*transaction),
            Request::Sweep(..) => self.close(call.ticket),
            _ => {}
        }
    }

    fn close(&mut self, transaction: u64) {
        self.open.remove(&transaction);
        self.db.holders.remove(&transaction);
        if self.db.holders.is_empty() {
            for waiter in std::mem::take(&mut self.lease_waiters) {
                // Where the first takes it, the next sees that.
                self.execute(waiter);
            }
        }
    }

    /// A transaction whose client stood still for too long.
    pub fn idle(&mut self, transaction: u64) {
        if self
            .open
            .get(&transaction)
            .is_some_and(|open| !open.committing)
        {
            self.close(transaction);
        }
    }

    fn reply(&mut self, call: Call, answer: Answer) {
        let lost = self.cut_until(call.process) > self.now
            || self.processes[call.process].deaf_until > self.now
            || (self.now < self.calm_from && self.rng.chance(self.weather.lost));
        if lost {
            self.stats.lost_replies += 1;
            return;
        }
        let delay = self.latency();
        self.after(delay, Event::Reply(call, answer));
    }

    /// What a process takes for the time.
    pub fn clock(&self, process: usize) -> Time {
        let it = &self.processes[process];
        let offset = if self.rules.hold(Rule::DatabaseClock) {
            it.offset
        } else {
            it.wall
        };
        Time::from_micros(self.now + offset)
    }
}

fn positions(vector: &Vector) -> Vec<(u32, u64)> {
    vector
        .iter()
        .map(|(stream, reached)| (*stream, reached.seq))
        .collect()
}
