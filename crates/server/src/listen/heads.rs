//! Connections on which no request's head comes any more.
//!
//! A timer for each request would cost more than all else that is done for its head; so each connection is looked at now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(25);
/// A connection is given up after so many looks in a row that found no request: a head must have come within 75 s, and an idle
/// connection is closed after 75 to 100 s.
const QUIET_LOOKS: u32 = 3;

/// The heads of one connection, counted: how many have come, and of how many requests nothing is left to be done.
#[derive(Default)]
pub(super) struct Heads {
    come: AtomicU32,
    done: AtomicU32,
}

/// A request, from its head to the last byte of its answer.
pub(super) struct UnderWay(Arc<Heads>);

impl UnderWay {
    pub(super) fn of(heads: &Arc<Heads>) -> UnderWay {
        heads.come.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(heads))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Heads {
    /// Ends once no head has come for too long.
    pub(super) async fn silence(&self) {
        let mut looks = Looks::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if looks.find_silence(self) {
                return;
            }
        }
    }
}

/// What was seen of a connection.
#[derive(Default)]
struct Looks {
    come: u32,
    quiet: u32,
}

impl Looks {
    /// Looks once more.
    fn find_silence(&mut self, heads: &Heads) -> bool {
        let come = heads.come.load(Ordering::Relaxed);
        let is_under_way = come != heads.done.load(Ordering::Relaxed);
        if is_under_way || come != self.come {
            self.quiet = 0;
        } else {
            self.quiet += 1;
        }
        self.come = come;
        self.quiet >= QUIET_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_silent_when_no_head_comes_and_nothing_is_under_way() {
        let heads = Arc::new(Heads::default());
        let mut looks = Looks::default();
        assert!(!looks.find_silence(&heads));
        assert!(!looks.find_silence(&heads));
        drop(UnderWay::of(&heads));
        assert!(!looks.find_silence(&heads), "one has come since");
        let under_way = UnderWay::of(&heads);
        for _ in 0..10 {
            assert!(!looks.find_silence(&heads), "an answer is on its way");
        }
        drop(under_way);
        assert!(!looks.find_silence(&heads));
        assert!(!looks.find_silence(&heads));
        assert!(looks.find_silence(&heads));
    }

    #[test]
    fn a_connection_that_never_says_anything_is_silent() {
        let (heads, mut looks) = (Heads::default(), Looks::default());
        let found: Vec<bool> = (0..3).map(|_| looks.find_silence(&heads)).collect();
        assert_eq!(found, [false, false, true]);
    }
}
