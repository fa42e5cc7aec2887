//! The writer of a process: batches, one outstanding, sent again unchanged until their outcome is known; and what their
//! replies tell about the time.

use systole_core::engine::Row;
use systole_core::time::Time;

use crate::database::Appended;
use crate::process::Batch;
use crate::rules::Rule;
use crate::world::{Answer, Call, Event, Knock, Lane, MS, Request, S, World};

impl World {
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
        let most = if self.rules.hold(Rule::OneAppend) {
            1
        } else {
            4
        };
        let it = &mut self.processes[process];
        let beat = self.now - it.formed >= 3 * S;
        if it.stream.is_none() || it.outstanding.len() >= most || (it.queue.is_empty() && !beat) {
            return;
        }
        let knocks = it.queue.drain(..).collect();
        self.send_batch(process, knocks, self.now);
    }

    pub(crate) fn send_batch(&mut self, process: usize, knocks: Vec<Knock>, since: i64) {
        let now = self.clock(process);
        let it = &mut self.processes[process];
        let Some(stream) = it.stream else { return };
        // A wrong stamp would stay: stamps never go back.
        it.stamp = if it.knows_time() {
            now.max(it.stamp)
        } else {
            it.stamp.max(Time::from_micros(0))
        };
        it.formed = self.now;
        it.seq += 1;
        let records = knocks.iter().map(|knock| knock.record()).collect();
        let row = Row {
            stream,
            seq: it.seq,
            at: it.stamp,
            put: it.stamp,
            records,
            end: false,
        };
        let mut batch = Batch {
            row,
            knocks,
            ticket: 0,
            since,
        };
        batch.ticket = self.send_append(process, &batch);
        self.processes[process].outstanding.push(batch);
    }

    pub(crate) fn send_append(&mut self, process: usize, batch: &Batch) -> u64 {
        let uids = batch.knocks.iter().map(|knock| knock.uid).collect();
        self.call(
            process,
            Lane::Writer,
            Request::Append(batch.row.clone(), uids),
        )
    }

    /// The reply to an append did not come: the same again, unchanged, for ten seconds.
    pub(crate) fn write_again(&mut self, process: usize, ticket: u64) {
        let it = &mut self.processes[process];
        let Some(index) = it
            .outstanding
            .iter()
            .position(|batch| batch.ticket == ticket)
        else {
            return;
        };
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

    pub(crate) fn written(&mut self, call: &Call, answer: &Answer) {
        let process = call.process;
        // A late reply is as good as one in time: it says what became of that position.
        let Request::Append(sent, _) = &call.request else {
            return;
        };
        // Two batches may bear one stamp; a place is given once, unless the database gives it.
        let gives = !self.rules.hold(Rule::KeyedAppend);
        let it = &mut self.processes[process];
        let same = |batch: &Batch| {
            let (own, sent) = (&batch.row, &sent);
            let is_same = own.stream == sent.stream && own.at == sent.at;
            batch.ticket == call.ticket || (is_same && (gives || own.seq == sent.seq))
        };
        let Some(index) = it.outstanding.iter().position(same) else {
            return;
        };
        match answer {
            Answer::Appended(Appended::Durable(put)) => {
                let batch = it.outstanding.remove(index);
                let row = Row {
                    put: *put,
                    seq: sent.seq,
                    ..batch.row
                };
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

    pub(crate) fn sample(&mut self, process: usize, put: Time, sent: i64) {
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
}
