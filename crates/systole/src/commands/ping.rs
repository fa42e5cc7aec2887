//! `systole ping`: one check-in.

use std::time::Duration;

use crate::cli::PingArgs;
use crate::client::checkin::{Answer, Target};
use crate::client::http::Http;
use crate::failure::Failure;
use crate::out;

/// Waits between the tries; there is one try more than there are waits.
const WAITS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// A server may ask for no longer wait than this.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Sends the check-in, again where that may help, and prints OK.
///
/// # Errors
/// Why it did not arrive.
pub async fn run(args: PingArgs) -> Result<(), Failure> {
    let target = Target::parse(&args.target, args.server.as_deref())?;
    let suffix = suffix(&args);
    let method = if args.message.is_some() {
        "POST"
    } else {
        "GET"
    };
    let body = args.message.clone().unwrap_or_default().into_bytes();
    let http = Http::new();
    let mut waits = WAITS.iter();
    loop {
        let answer = target.send(&http, method, &suffix, body.clone()).await;
        match (answer, waits.next()) {
            (Answer::Taken { .. }, _) => return Ok(out::line("OK")?),
            (Answer::Again { why, .. }, None) | (Answer::Refused(why), _) => {
                return Err(Failure::failed(why));
            }
            (Answer::Again { wait: asked, .. }, Some(wait)) => {
                tokio::time::sleep(asked.map_or(*wait, |asked| asked.min(LONGEST_WAIT))).await;
            }
        }
    }
}

fn suffix(args: &PingArgs) -> String {
    match (args.start, args.fail, args.exit) {
        (true, _, _) => "/start".to_owned(),
        (_, true, _) => "/fail".to_owned(),
        (_, _, Some(status)) => format!("/{status}"),
        _ => String::new(),
    }
}
