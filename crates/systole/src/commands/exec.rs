//! `systole exec`: runs a command and reports how it went.
//!
//! The command comes first: it starts at once, its output and its exit status pass through, and nothing that happens
//! to the reports changes that.

mod job;
mod output;
mod report;
mod signals;

use std::io::Write as _;
use std::pin::pin;
use std::time::Duration;

use systole_core::time::Span;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use self::job::{Job, Limits};
use self::output::Output;
use self::report::{Reporter, Started};
use self::signals::Received;
use crate::cli::ExecArgs;
use crate::client::checkin::Target;
use crate::failure::Failure;

/// Output that still comes is waited for so long before the result is reported without it.
const OUTPUT_WAIT: Duration = Duration::from_secs(10);
/// Told to stop, reporting has so long left.
const HURRIED: Duration = Duration::from_secs(5);

/// Runs the command and answers with its exit status.
///
/// # Errors
/// [`Failure::Status`] with the command's status where that is not 0; wrong usage, before anything was run.
pub fn command(args: ExecArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(Box::pin(run(args)));
    // A name that is still being looked up must not keep us.
    runtime.shutdown_background();
    match status? {
        0 => Ok(()),
        status => Err(Failure::Status(status)),
    }
}

async fn run(args: ExecArgs) -> Result<u8, Failure> {
    let run = uuid::Uuid::new_v4();
    let target = Target::parse(&args.target, args.server.as_deref())?.of_run(&run.to_string());
    let reporter = Reporter::new(target, run.as_u128(), args.report_timeout.as_std());
    let mut signals = signals::listen()?;
    let limits = Limits {
        timeout: args.timeout,
        kill_after: args.kill_after,
    };

    let (say_ended, has_ended) = watch::channel(false);
    let began = Instant::now();
    let mut start = pin!(reporter.start(has_ended.clone()));
    let mut started = None;
    let (ended, mut output) = match Job::start(&args.command, !args.no_output, &has_ended)? {
        Err(ended) => {
            started = Some(Started::Nothing);
            (ended, Output::none())
        }
        Ok((job, output)) => {
            let mut job = pin!(job.until_end(&limits, &mut signals));
            let ended = loop {
                tokio::select! {
                    ended = &mut job => break ended,
                    known = &mut start, if started.is_none() => started = Some(known),
                }
            };
            (ended, output)
        }
    };
    // Nobody listens where the start's outcome is known and the output has ended.
    let _ = say_ended.send(true);
    let lasted = Span::from_millis(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
    if let Some(note) = ended.told() {
        say(&note);
    }

    let mut rest = Rest::new(&mut signals, args.report_timeout);
    let wait = OUTPUT_WAIT.min(args.report_timeout.as_std() / 2);
    // What is not here by then is left out.
    let _ = rest
        .attend(tokio::time::timeout(wait, output.finished()))
        .await;
    let until = rest.until;
    let result = async {
        let started = match started {
            Some(started) => started,
            None => start.await,
        };
        let notes = [ended.note(), output.note(), started.note(lasted)];
        let body = output.body(&notes, started.body_limit());
        reporter.result(ended.status(), body, until).await
    };
    let outcome = rest.attend(result).await;
    if let Err(why) = outcome.unwrap_or_else(|| Err(reporter.why_not_yet(rest.hurried))) {
        say(&format!(
            "the result (exit status {}) was not reported to {}: {why}",
            ended.status(),
            reporter.origin()
        ));
    }
    rest.see_through(output.finished()).await;
    if let Some(note) = output.note() {
        say(&note);
    }
    Ok(ended.status())
}

/// What is left to do once the command has ended, and how long it may take. A signal shortens it.
struct Rest<'a> {
    signals: &'a mut mpsc::Receiver<Received>,
    until: Instant,
    hurried: bool,
}

impl Rest<'_> {
    fn new(signals: &mut mpsc::Receiver<Received>, most: Span) -> Rest<'_> {
        Rest {
            signals,
            until: Instant::now() + most.as_std(),
            hurried: false,
        }
    }

    /// Does this as long as there is time.
    async fn attend<F: Future>(&mut self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(done),
                () = tokio::time::sleep_until(self.until) => return None,
                Some(received) = self.signals.recv() => self.heard(&received),
            }
        }
    }

    /// Does this for as long as it takes, unless a signal asks to end.
    async fn see_through(&mut self, work: impl Future<Output = ()>) {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return,
                () = tokio::time::sleep_until(self.until), if self.hurried => return,
                Some(received) = self.signals.recv() => self.heard(&received),
            }
        }
    }

    /// The first one may be that which ended the command and comes here after it; a second one is meant for us.
    fn heard(&mut self, received: &Received) {
        if received.asks_to_end() {
            let most = if self.hurried {
                Duration::ZERO
            } else {
                HURRIED
            };
            self.until = self.until.min(Instant::now() + most);
            self.hurried = true;
        }
    }
}

/// One line on stderr; where nobody reads that, nothing is lost but the line.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "systole: {text}");
}
