//! The lines to paste: how a job reports to its heartbeat, per way of running jobs.

use super::text::Untrusted;

/// Where a heartbeat pings.
#[derive(Clone, Debug)]
pub struct Ping {
    /// The whole URL, token included. Made by us: a URL's characters only.
    pub url: String,
    /// The monitor's slug.
    pub slug: String,
    /// Five cron fields, where the schedule is one.
    pub cron: Option<Untrusted>,
    /// The schedule's time zone.
    pub timezone: Untrusted,
}

/// One way of reporting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// Its name.
    pub label: &'static str,
    /// Part of an element's id.
    pub key: &'static str,
    /// What to paste.
    pub text: String,
}

const CURL: &str = "curl -fsS -m 10 --retry 3 -o /dev/null";

/// All of them, the shortest first.
pub fn lines(ping: &Ping) -> Vec<Snippet> {
    let snippet = |label, key, text| Snippet { label, key, text };
    vec![
        snippet("Shell", "curl", format!("curl -fsS --retry 3 {}", ping.url)),
        snippet("crontab", "crontab", crontab(ping)),
        snippet("systemd", "systemd", systemd(ping)),
        snippet("Kubernetes CronJob", "kubernetes", kubernetes(ping)),
        snippet("Python", "python", python(ping)),
    ]
}

fn cron_fields(ping: &Ping) -> String {
    ping.cron
        .as_ref()
        .map_or_else(|| "0 2 * * *".to_owned(), Untrusted::to_string)
}

/// A percent sign ends the command in a crontab unless it is escaped.
fn crontab(ping: &Ping) -> String {
    let url = ping.url.replace('%', "\\%");
    format!(
        "{} {CURL} {url}/start; /path/to/job; {CURL} {url}/$?",
        cron_fields(ping)
    )
}

/// systemd reads `%` as a specifier and `$` as a variable, so both are doubled where the shell is meant.
fn systemd(ping: &Ping) -> String {
    let url = ping.url.replace('%', "%%");
    format!(
        "# /etc/systemd/system/{slug}.service.d/systole.conf\n\
         [Service]\n\
         ExecStartPre=-{CURL} {url}/start\n\
         ExecStopPost=-/bin/sh -c '[ \"$$SERVICE_RESULT\" = success ] && s=0 || s=fail; {CURL} {url}/$$s'\n",
        slug = ping.slug,
    )
}

fn kubernetes(ping: &Ping) -> String {
    format!(
        r#"apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
spec:
  schedule: "{schedule}"
  timeZone: "{zone}"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          containers:
            - name: job
              image: your/image:tag
              env:
                - name: PING
                  value: {url}
              command: [/bin/sh, -c]
              args:
                - |
                  {CURL} "$PING/start"
                  /path/to/job; status=$?
                  {CURL} "$PING/$status"
                  exit $status
"#,
        name = kubernetes_name(&ping.slug),
        schedule = yaml_quoted(&cron_fields(ping)),
        zone = yaml_quoted(&ping.timezone.to_string()),
        url = ping.url,
    )
}

fn python(ping: &Ping) -> String {
    format!(
        r#"import urllib.request

PING = "{}"

def ping(suffix=""):
    try:
        urllib.request.urlopen(PING + suffix, timeout=10).close()
    except OSError:
        pass  # the job matters more than its report

ping("/start")
try:
    job()
except Exception:
    ping("/fail")
    raise
ping()
"#,
        ping.url
    )
}

/// The name of a cron job of Kubernetes is a DNS label of at most 52 characters; a slug may have underscores and dashes anywhere.
fn kubernetes_name(slug: &str) -> String {
    let dashed: String = slug
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(52)
        .collect();
    let name = dashed.trim_matches('-');
    if name.is_empty() {
        "job".to_owned()
    } else {
        name.to_owned()
    }
}

fn yaml_quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ping(slug: &str, cron: Option<&str>) -> Ping {
        Ping {
            url: "https://beats.example/a%20b/ping/0b5e".to_owned(),
            slug: slug.to_owned(),
            cron: cron.map(Untrusted::from),
            timezone: Untrusted::from("Europe/Berlin"),
        }
    }

    #[test]
    fn every_way_of_reporting_names_the_ping_url() {
        let all = lines(&ping("db-backup", Some("*/5 * * * *")));
        assert_eq!(all.len(), 5);
        assert!(
            all.iter()
                .all(|snippet| snippet.text.contains("/ping/0b5e"))
        );
    }

    #[test]
    fn each_form_escapes_what_its_reader_would_read() {
        let ping = ping("db-backup", Some("*/5 * * * *"));
        assert!(crontab(&ping).starts_with("*/5 * * * * curl "));
        assert!(crontab(&ping).contains("a\\%20b"));
        assert!(systemd(&ping).contains("a%%20b") && systemd(&ping).contains("$$SERVICE_RESULT"));
        assert!(kubernetes(&ping).contains("schedule: \"*/5 * * * *\""));
    }

    #[test]
    fn a_cron_job_gets_a_name_that_kubernetes_takes() {
        for (slug, name) in [
            ("_nightly_sync-", "nightly-sync"),
            ("___", "job"),
            ("a.b", "a-b"),
        ] {
            assert_eq!(kubernetes_name(slug), name);
        }
        assert_eq!(kubernetes_name(&"x".repeat(100)).len(), 52);
    }
}
