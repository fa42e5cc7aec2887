//! Connections on which nothing happens any more.
//!
//! A timer for each request is a good part of what reading its head costs; so each connection is looked at now and then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(25);
/// A connection is given up after so many looks in a row that found nothing: 75 to 100 s after the last request was answered, or the last
/// byte of an answer was taken, unless a whole head has come.
const QUIET_LOOKS: u32 = 3;

/// What happens on one connection. Bytes that come in are not counted: a head may come byte by byte for ever.
#[derive(Default)]
pub(super) struct Activity {
    /// Requests, from their whole head to their answer: one, or none.
    under_way: AtomicU32,
    /// Grows with every request and everything that is sent.
    steps: AtomicU32,
}

/// A request whose answer is being made.
pub(super) struct UnderWay<'a>(&'a Activity);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.step();
    }
}

impl Activity {
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// Ends once nothing has happened for too long.
    pub(super) async fn ceased(&self) {
        let mut looks = Looks::default();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if looks.find_silence(self) {
                return;
            }
        }
    }

    fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }
}

/// What was seen of a connection.
#[derive(Default)]
struct Looks {
    steps: u32,
    quiet: u32,
}

impl Looks {
    /// Looks once more.
    fn find_silence(&mut self, activity: &Activity) -> bool {
        let steps = activity.steps.load(Ordering::Relaxed);
        let is_active = activity.under_way.load(Ordering::Relaxed) > 0 || steps != self.steps;
        self.steps = steps;
        self.quiet = if is_active { 0 } else { self.quiet + 1 };
        self.quiet >= QUIET_LOOKS
    }
}

/// A stream that counts what is sent: whoever reads a long answer slowly is not idle.
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S: Unpin> Watched<S> {
    pub(super) const fn new(stream: S, activity: Arc<Activity>) -> Watched<S> {
        Watched { stream, activity }
    }

    const fn stream(&mut self) -> Pin<&mut S> {
        Pin::new(&mut self.stream)
    }

    fn sent(&self, sent: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(sent, Poll::Ready(Ok(1..))) {
            self.activity.step();
        }
        sent
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = self.stream().poll_write(context, bytes);
        self.sent(sent)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = self.stream().poll_write_vectored(context, slices);
        self.sent(sent)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// What each look finds.
    fn looks(looks: &mut Looks, activity: &Activity, count: usize) -> Vec<bool> {
        (0..count).map(|_| looks.find_silence(activity)).collect()
    }

    #[test]
    fn a_connection_that_never_says_anything_is_given_up_at_the_third_look() {
        let (activity, mut seen) = (Activity::default(), Looks::default());
        assert_eq!(looks(&mut seen, &activity, 3), [false, false, true]);
    }

    #[test]
    fn a_connection_is_given_up_three_looks_after_its_last_request_was_answered() {
        let (activity, mut seen) = (Activity::default(), Looks::default());
        let under_way = activity.begin();
        assert_eq!(looks(&mut seen, &activity, 9), [false; 9]);
        drop(under_way);
        assert_eq!(
            looks(&mut seen, &activity, 4),
            [false, false, false, true],
            "the first look finds that it was answered"
        );
        drop(activity.begin());
        assert_eq!(looks(&mut seen, &activity, 4), [false, false, false, true]);
    }

    #[tokio::test]
    async fn what_is_sent_is_activity_and_what_comes_in_is_not() {
        let (activity, mut seen) = (Arc::new(Activity::default()), Looks::default());
        let (here, mut there) = tokio::io::duplex(4);
        let mut stream = Watched::new(here, Arc::clone(&activity));
        assert_eq!(looks(&mut seen, &activity, 2), [false; 2]);

        stream.write_all(b"four").await.unwrap();
        assert_eq!(looks(&mut seen, &activity, 3), [false; 3]);

        there.write_all(b"GET").await.unwrap();
        stream.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(looks(&mut seen, &activity, 1), [true]);

        there.read_exact(&mut [0; 2]).await.unwrap();
        assert_eq!(stream.write(b"more").await.unwrap(), 2);
        assert_eq!(looks(&mut seen, &activity, 1), [false]);
    }
}
