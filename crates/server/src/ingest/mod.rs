//! Check-ins on their way to the log: a queue, and one writer that takes all of it at once.
//!
//! A check-in is answered once the group commit that holds it is durable. The writer does not wait for more to come:
//! while one commit is being flushed the next batch gathers by itself.

mod limits;
mod writer;

use std::sync::Mutex;

use systole_core::time::Time;
use systole_store::record::CheckinRecord;
use tokio::sync::{Notify, oneshot};

pub use limits::RefusedLimit;
pub(crate) use writer::{Writer, process_name};

use crate::clock::Clock;

/// Check-ins that may wait: at some 400 bytes each 40 MB, and far more than a disk that works leaves waiting.
const QUEUE_MAX: usize = 100_000;

/// And so much of their bodies.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// A durable check-in, or why there is none.
pub type Acknowledged = Result<(), NotDurable>;

/// A check-in could not be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDurable {
    /// Too many wait already.
    #[error("too many check-ins are waiting to be written; try again in a second")]
    Full,
    /// The log cannot be written.
    #[error("the log cannot be written; try again in a second")]
    NotWritten,
    /// The log takes too long.
    #[error("the log is not written in time; try again in a second")]
    NotInTime,
}

struct Pending {
    record: CheckinRecord,
    /// Until it was answered.
    acknowledge: Option<oneshot::Sender<Acknowledged>>,
}

impl Pending {
    /// Answers its sender, once; `true` when this was the answer and somebody waited for it.
    fn answer(&mut self, answer: Acknowledged) -> bool {
        self.acknowledge
            .take()
            .is_some_and(|sender| sender.send(answer).is_ok())
    }
}

/// The queue.
#[derive(Default)]
pub struct Ingest {
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Default)]
struct Queue {
    pending: Vec<Pending>,
    /// Of the bodies that wait.
    bytes: usize,
    closed: bool,
}

impl Ingest {
    /// Stamps a check-in, puts it into the queue and waits until it is durable.
    ///
    /// # Errors
    /// [`NotDurable`]: the sender must try again.
    pub async fn record(&self, clock: &Clock, mut record: CheckinRecord) -> Acknowledged {
        let (acknowledge, acknowledged) = oneshot::channel();
        {
            let mut queue = self.lock();
            if queue.closed {
                return Err(NotDurable::NotWritten);
            }
            if queue.pending.len() >= QUEUE_MAX || queue.bytes >= QUEUE_BYTES_MAX {
                return Err(NotDurable::Full);
            }
            // Stamped under the lock, so that stamps ascend within the stream.
            record.checkin.at = clock.now();
            queue.bytes += record.body.len();
            queue.pending.push(Pending {
                record,
                acknowledge: Some(acknowledge),
            });
            // Whoever finds others waiting need not wake the writer again.
            let is_first = queue.pending.len() == 1;
            drop(queue);
            if is_first {
                self.wake.notify_one();
            }
        }
        acknowledged.await.unwrap_or(Err(NotDurable::NotWritten))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().pending.len()
    }

    /// Takes at most `limit`, the oldest first.
    fn take(&self, limit: usize) -> Vec<Pending> {
        let mut queue = self.lock();
        if queue.pending.len() <= limit {
            queue.bytes = 0;
            return std::mem::take(&mut queue.pending);
        }
        let rest = queue.pending.split_off(limit);
        queue.bytes = rest.iter().map(|waiting| waiting.record.body.len()).sum();
        std::mem::replace(&mut queue.pending, rest)
    }

    /// Refuses those that were stamped before `overdue`; answers how many.
    fn refuse_before(&self, overdue: Time) -> usize {
        let mut queue = self.lock();
        let many = queue
            .pending
            .partition_point(|waiting| waiting.record.checkin.at <= overdue);
        let mut refused: Vec<Pending> = queue.pending.drain(..many).collect();
        queue.bytes -= refused
            .iter()
            .map(|waiting| waiting.record.body.len())
            .sum::<usize>();
        drop(queue);
        writer::refuse_before(&mut refused, overdue)
    }

    /// Nothing more is admitted.
    fn close(&self) {
        self.lock().closed = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queue> {
        self.queue
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
