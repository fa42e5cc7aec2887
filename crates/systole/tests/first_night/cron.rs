//! The real cron, with a crontab of the test's own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs until it is dropped, and all its jobs with it.
pub struct Cron(Child);

impl Cron {
    /// Gives this user this crontab alone.
    pub fn start(crontab: &Path) -> Cron {
        let said = |arguments: &[&str]| {
            let output = Command::new("id").args(arguments).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        let mut command = if said(&["-u"]) == "0" {
            Command::new("unshare")
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "unshare"]);
            command
        };
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/first_night/cron.sh");
        let mut child = command
            .args(["--mount", "--propagation", "private"])
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .args(["sh", script, &said(&["-un"])])
            .arg(crontab)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "cron does not start; the reason is above");
        Cron(child)
    }
}

impl Drop for Cron {
    fn drop(&mut self) {
        // It may be another user's process, which no signal of ours reaches; it ends with its input.
        drop(self.0.stdin.take());
        _ = self.0.wait();
    }
}
