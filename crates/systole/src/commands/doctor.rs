//! `systole doctor`: what is set up wrongly, as the server sees itself and as it is seen from here.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use serde_json::{Value, json};
use systole_core::time::{Span, Time};
use systole_server::doctor;
use systole_wire::{Attempt, DoctorReport, Finding, Level};

use super::place::place;
use crate::cli::{DoctorArgs, TextOrJson};
use crate::client::Api;
use crate::client::http::{Reply, Url, escaped};
use crate::failure::Failure;
use crate::{out, times};

/// A clock may be off by this much beside what the measurement leaves open.
const OFF: Span = Span::from_seconds(2);
const FAR_OFF: Span = Span::from_seconds(30);
/// So many monitors are named.
const NAMED: usize = 20;

/// Looks at everything and prints a line for each; exit status 1 where there is a problem.
///
/// # Errors
/// [`Failure::Told`] where there is a problem.
pub async fn run(args: DoctorArgs) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let api = match Api::connect(&args.connection) {
        Ok(api) => Some(api),
        Err(Failure::Failed(error)) => {
            findings.push(Finding::problem(
                "token",
                format!("{error:#}"),
                "give one with --token-file",
            ));
            None
        }
        Err(other) => return Err(other),
    };
    let answers = match &api {
        Some(api) => server(api, &mut findings).await,
        None => false,
    };
    match &api {
        Some(api) if answers => {
            let report = report(api, &mut findings).await;
            if let Some(report) = &report {
                findings.push(ping_urls(api, report).await);
            }
            channels(api, &args, report.is_some(), &mut findings).await?;
        }
        _ => findings.extend(local(&args).await?),
    }
    out::print(&match args.output {
        TextOrJson::Text => text(&findings),
        TextOrJson::Json => out::json(&json(&findings)) + "\n",
    })?;
    if count(&findings, Level::Problem) > 0 {
        Err(Failure::Told)
    } else {
        Ok(())
    }
}

/// Whether a server answers at all, and whether its clock is ours.
async fn server(api: &Api, findings: &mut Vec<Finding>) -> bool {
    let url = api.server().join("/healthz");
    let before = times::now();
    let reply = api.get(&url).await;
    let after = times::now();
    match reply {
        Ok(reply) if reply.status == 200 && reply.instance.is_some() => {
            findings.push(Finding::ok(
                "server",
                format!("{} answers", api.server().shown()),
            ));
            if let Some(date) = reply.date {
                findings.push(clock(date, before, after));
            }
            true
        }
        Ok(reply) => {
            findings.push(Finding::problem(
                "server",
                format!("{} {}", url.shown(), stranger(&reply)),
                "name the server with --server",
            ));
            false
        }
        Err(error) => {
            findings.push(Finding::problem(
                "server",
                format!("{error:#}"),
                "start it, or name it with --server",
            ));
            false
        }
    }
}

fn stranger(reply: &Reply) -> String {
    let status = reply.status;
    format!("was answered with status {status} by something that is not a Systole of this version")
}

/// Of the installation on this machine, when no server answers.
async fn local(args: &DoctorArgs) -> Result<Vec<Finding>, Failure> {
    let data_dir = args
        .connection
        .data_dir
        .as_ref()
        .map(|path| path.display().to_string());
    let place = place(
        None,
        data_dir.clone(),
        args.key_file.clone(),
        args.database_url.clone(),
    )?;
    if place.database_url.is_none() && !place.data_dir.exists() && data_dir.is_none() {
        // Nobody said that it is on this machine.
        return Ok(Vec::new());
    }
    Ok(doctor::files(&place).await)
}

/// What the server finds itself; to tokens of smaller roles it does not say it.
async fn report(api: &Api, findings: &mut Vec<Finding>) -> Option<DoctorReport> {
    let told = api.call("GET", "/doctor", None, None).await;
    let report = told.and_then(|value| {
        serde_json::from_value::<DoctorReport>(value).map_err(|error| {
            Failure::failed(format!(
                "the server's report cannot be read ({error}); use the systole of its version"
            ))
        })
    });
    match report {
        Ok(report) => {
            findings.extend(report.findings.iter().cloned());
            let ours = env!("CARGO_PKG_VERSION");
            if report.version != ours {
                findings.push(Finding::warning(
                    "version",
                    format!("the server is {}, this program {ours}", report.version),
                    "use the same on both",
                ));
            }
            Some(report)
        }
        Err(failure) => {
            findings.push(Finding::warning(
                "report",
                format!(
                    "the server does not say what it finds itself: {}",
                    said(failure)
                ),
                "give an administrator's token with --token-file",
            ));
            None
        }
    }
}

/// Whether what ping URLs name leads to this very server, seen from this machine.
async fn ping_urls(api: &Api, report: &DoctorReport) -> Finding {
    let advice =
        "jobs where this command runs cannot report: look at --base-url, DNS, firewall and proxy";
    let url = match Url::parse(&report.base_url) {
        Ok(url) => url.join("/healthz"),
        Err(error) => return Finding::problem("ping urls", error, "set --base-url"),
    };
    match api.get(&url).await {
        Ok(reply) if reply.instance.as_deref() == Some(report.instance.as_str()) => Finding::ok(
            "ping urls",
            format!("{} leads to this server, seen from here", url.shown()),
        ),
        Ok(reply) if reply.instance.is_some() => Finding::problem(
            "ping urls",
            format!("{} leads to another Systole", url.shown()),
            advice,
        ),
        Ok(reply) => Finding::problem(
            "ping urls",
            format!("{} {}", url.shown(), stranger(&reply)),
            advice,
        ),
        Err(error) => Finding::problem("ping urls", format!("{error:#}"), advice),
    }
}

/// How far the server's clock is from ours. Its answer names a second, and was made between `before` and `after`.
fn clock(date: Time, before: Time, after: Time) -> Finding {
    let second = Span::from_seconds(1);
    let (ahead, behind) = (date.since(after), before.since(date + second));
    let (off, direction) = if ahead > behind {
        (ahead, "ahead of")
    } else {
        (behind, "behind")
    };
    let message = || {
        format!(
            "the server's clock is {} {direction} that of this machine",
            times::length(off)
        )
    };
    let advice = "look whether NTP runs on both: by a wrong clock deadlines are judged wrongly";
    if off > FAR_OFF {
        Finding::problem("clock", message(), advice)
    } else if off > OFF {
        Finding::warning("clock", message(), advice)
    } else {
        Finding::ok("clock", "the server's clock and that of this machine agree")
    }
}

/// Each channel by a real message, and, where the server has not said it, which monitors have none.
async fn channels(
    api: &Api,
    args: &DoctorArgs,
    is_reported: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), Failure> {
    let channels = match api.list("/channels", &[]).await {
        Ok(channels) => channels,
        Err(failure) => {
            findings.push(Finding::problem(
                "channels",
                said(failure),
                "give a token of role viewer or more with --token-file",
            ));
            return Ok(());
        }
    };
    if !is_reported {
        let has_system = channels.iter().any(|channel| channel["system"] == true);
        findings.push(doctor::system(channels.len(), has_system));
        findings.push(match api.list("/monitors", &[]).await {
            Ok(monitors) => without_channel(&monitors),
            Err(failure) => Finding::problem("monitors", said(failure), "try again"),
        });
    }
    if channels.is_empty() {
        return Ok(());
    }
    if !may_send(args, &channels)? {
        findings.push(Finding::ok("test messages", "none were sent"));
        return Ok(());
    }
    for channel in &channels {
        findings.push(tested(api, channel).await);
    }
    Ok(())
}

fn without_channel(monitors: &[Value]) -> Finding {
    let named: Vec<String> = monitors
        .iter()
        .filter(|monitor| {
            let warnings = monitor["warnings"].as_array();
            warnings.is_some_and(|warnings| {
                warnings
                    .iter()
                    .any(|warning| warning["code"] == "no_channel")
            })
        })
        .filter_map(|monitor| Some(monitor["name"].as_str()?.to_owned()))
        .collect();
    doctor::without_channel(named.len() as u64, &named[..named.len().min(NAMED)])
}

/// Somebody at a terminal is asked first.
fn may_send(args: &DoctorArgs, channels: &[Value]) -> Result<bool, Failure> {
    if args.no_send {
        return Ok(false);
    }
    let mut stderr = std::io::stderr();
    let is_asked = !args.send
        && args.output == TextOrJson::Text
        && std::io::stdin().is_terminal()
        && stderr.is_terminal();
    if !is_asked {
        return Ok(true);
    }
    let names: Vec<&str> = channels
        .iter()
        .filter_map(|channel| channel["name"].as_str())
        .collect();
    let question = format!(
        "send a test message to {}? [Y/n] ",
        out::shown(&names.join(", "))
    );
    stderr.write_all(question.as_bytes())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}

async fn tested(api: &Api, channel: &Value) -> Finding {
    let name = channel["name"].as_str().unwrap_or_default();
    let check = format!("channel {name}");
    let id = channel["id"].as_str().unwrap_or_default();
    let path = format!("/channels/{}/test", escaped(id));
    let attempt = match api.call("POST", &path, None, None).await {
        Ok(value) => serde_json::from_value::<Attempt>(value),
        Err(failure) => {
            return Finding::warning(
                &check,
                format!("it was not tested: {}", said(failure)),
                "testing takes a token of role editor; --no-send leaves it out",
            );
        }
    };
    match attempt {
        Ok(attempt) if attempt.outcome == "delivered" => {
            Finding::ok(&check, "a test message was taken")
        }
        Ok(attempt) => {
            let status = attempt
                .status
                .map_or(String::new(), |status| format!(" (status {status})"));
            let why = attempt.error.unwrap_or(attempt.outcome);
            Finding::problem(
                &check,
                format!("a test message was not taken{status}: {why}"),
                "mend the channel: docs/operations.md says what the failures mean",
            )
        }
        Err(error) => Finding::problem(
            &check,
            format!("the outcome of the test cannot be read: {error}"),
            "use the systole of the server's version",
        ),
    }
}

/// A failure as one line.
fn said(failure: Failure) -> String {
    let text = match failure {
        Failure::Failed(error) | Failure::Undecided(error) => format!("{error:#}"),
        Failure::Usage(message) => message,
        Failure::Told | Failure::Status(_) => String::new(),
    };
    text.replace('\n', ";")
}

fn count(findings: &[Finding], level: Level) -> usize {
    let of_level = |finding: &&Finding| finding.level == level;
    findings.iter().filter(of_level).count()
}

fn json(findings: &[Finding]) -> Value {
    json!({
        "problems": count(findings, Level::Problem),
        "warnings": count(findings, Level::Warning),
        "findings": findings,
    })
}

/// A line for each finding, what to do below it, and the sum.
fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = match finding.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        text.push_str(&format!(
            "{level}  {}: {}\n",
            out::shown(&finding.check),
            out::shown(&finding.message)
        ));
        if let Some(advice) = &finding.advice {
            text.push_str(&format!("         {}\n", out::shown(advice)));
        }
    }
    let counted = |level, word| {
        let count = count(findings, level);
        format!("{count} {word}{}", if count == 1 { "" } else { "s" })
    };
    text.push_str(&format!(
        "{}, {}\n",
        counted(Level::Problem, "problem"),
        counted(Level::Warning, "warning")
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_agree_within_what_the_measurement_leaves_open() {
        let at = |seconds: i64| Time::from_seconds(1_000_000 + seconds);
        for (date, before, after, level, part) in [
            (0, 0, 0, Level::Ok, "agree"),
            (0, 1, 1, Level::Ok, "agree"),
            (5, 0, 5, Level::Ok, "agree"),
            (0, 0, 20, Level::Ok, "agree"),
            (10, 0, 0, Level::Warning, "10 s ahead of"),
            (0, 10, 10, Level::Warning, "9 s behind"),
            (3_600, 0, 0, Level::Problem, "1 h ahead of"),
        ] {
            let finding = clock(at(date), at(before), at(after));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.message.contains(part), "{finding:?}");
        }
    }

    #[test]
    fn findings_are_shown_safely_with_what_to_do() {
        let findings = [
            Finding::ok("server", "answers"),
            Finding::warning("channel a\u{1b}[2J", "not\nthere", "look"),
        ];
        assert_eq!(
            text(&findings),
            "ok       server: answers\nwarning  channel a\\u{1b}[2J: not\\nthere\n         look\n0 problems, 1 warning\n"
        );
        assert_eq!(json(&findings)["warnings"], 1);
    }
}
