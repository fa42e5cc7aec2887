//! What refuses to start and says why, and what goes on while the disk does not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(dead_code, reason = "other tests need the rest")]
mod common;
mod overlay;

use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::http::{ask, connect, head, read};
use common::{Heartbeat, Server, directory, serve, until};
use overlay::Overlay;
use serde_json::{Value, json};

/// Starts a server that must not start; answers with its exit status and the one line that it says.
fn refused(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert_eq!(said.lines().count(), 1, "{said}");
    let line = said
        .trim_end()
        .strip_prefix("systole: ")
        .unwrap_or_else(|| panic!("{said}"));
    (output.status.code().unwrap(), line.to_owned())
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// A directory in which a server has run.
fn used() -> tempfile::TempDir {
    let data = directory();
    Server::start(data.path(), &[]).stop();
    data
}

#[test]
fn a_database_that_does_not_fit_refuses_to_start() {
    const OTHER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let data = used();
    let mut other_key = serve(data.path(), &[]);
    other_key.env("SYSTOLE_KEY", OTHER_KEY);
    let (status, said) = refused(other_key);
    assert_eq!(status, 1);
    assert!(
        said.contains("is not the one that this database was made with"),
        "{said}"
    );
    assert!(!said.contains(OTHER_KEY), "{said}");

    let key = data.path().join("key");
    let text = std::fs::read_to_string(&key).unwrap();
    for (content, expected) in [
        (None, "it is missing, and this database needs it"),
        (
            Some("not a key"),
            "does not hold a key: 32 bytes in base64 are expected",
        ),
    ] {
        std::fs::remove_file(&key).unwrap();
        if let Some(content) = content {
            std::fs::write(&key, content).unwrap();
        }
        let (status, said) = refused(serve(data.path(), &[]));
        assert_eq!(status, 1);
        assert!(
            said.contains(expected) && said.contains(&path_text(&key)),
            "{said}"
        );
        if content.is_none() {
            assert!(
                !key.exists(),
                "a new key would hide that the old one is lost"
            );
            std::fs::write(&key, "").unwrap();
        }
    }
    std::fs::write(&key, text).unwrap();
    // None of this has harmed anything.
    Server::start(data.path(), &[]).stop();

    std::fs::write(data.path().join("local-token"), "short\n").unwrap();
    let (status, said) = refused(serve(data.path(), &[]));
    assert_eq!(status, 1);
    assert!(
        said.contains("local-token holds no token; delete it, a new one is made"),
        "{said}"
    );

    let other = directory();
    std::fs::write(other.path().join("systole.db"), [b'x'; 8_192]).unwrap();
    let (status, said) = refused(serve(other.path(), &[]));
    assert_eq!(status, 1);
    assert!(said.contains("file is not a database"), "{said}");
}

#[test]
fn a_place_that_is_taken_refuses_to_start() {
    let data = directory();
    let server = Server::start(data.path(), &[]);
    let (status, said) = refused(serve(data.path(), &[]));
    assert_eq!(status, 1);
    assert!(
        said.contains(
            "is in use by another Systole; stop that one or name another with --data-dir"
        ),
        "{said}"
    );

    let other = directory();
    let address = server.address.to_string();
    let mut command = common::systole(&[
        "serve",
        "--listen",
        &address,
        "--metrics-listen",
        "off",
        "--data-dir",
    ]);
    command.arg(other.path());
    let (status, said) = refused(command);
    assert_eq!(status, 1);
    assert!(
        said.contains(&format!("cannot listen on {address}"))
            && said.contains("another with --listen"),
        "{said}"
    );

    let (status, said) = refused(serve(directory().path(), &["--metrics-listen", &address]));
    assert_eq!(status, 1);
    assert!(
        said.contains(&format!("cannot listen on {address}")) && said.contains("--metrics-listen"),
        "{said}"
    );
    // The one that runs has not noticed.
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn files_that_cannot_be_used_refuse_to_start() {
    let files = directory();
    let file = files.path().join("a-file");
    std::fs::write(&file, "neither certificate nor key\n").unwrap();
    let text = path_text(&file);
    let missing = path_text(&files.path().join("missing"));
    for path in [file.clone(), file.join("below")] {
        let (status, said) = refused(serve(&path, &[]));
        assert_eq!(status, 1);
        assert!(
            said.contains(&format!(
                "cannot use the data directory {}",
                path_text(&path)
            )),
            "{said}"
        );
        assert!(said.contains("--data-dir"), "{said}");
    }
    for (flags, expected) in [
        (
            vec!["--tls-cert", &text, "--tls-key", &text],
            format!("cannot read {text} as a"),
        ),
        (
            vec!["--tls-cert", &missing, "--tls-key", &text],
            format!("cannot read {missing} as a certificate chain"),
        ),
        (
            vec!["--key-file", &missing],
            format!("cannot read the key file {missing}"),
        ),
        (
            vec!["--key-file", &text],
            format!("{text} does not hold a key"),
        ),
    ] {
        let (status, said) = refused(serve(directory().path(), &flags));
        assert_eq!(status, 1, "{flags:?}: {said}");
        assert!(said.contains(&expected), "{flags:?}: {said}");
    }
}

#[test]
fn wrong_settings_are_a_wrong_usage() {
    for (flags, variable, expected) in [
        (
            &[][..],
            ("SYSTOLE_ADMIN_TOKEN", "twenty-three-characters"),
            "SYSTOLE_ADMIN_TOKEN has 23 characters",
        ),
        (&[], ("SYSTOLE_KEY", "c2hvcnQ="), "SYSTOLE_KEY"),
        (
            &["--tls-cert", "x"],
            ("", ""),
            "--tls-cert and --tls-key belong together",
        ),
        (&["--base-url", "ftp://x"], ("", ""), "--base-url"),
        (
            &["--trusted-proxy", "nonsense"],
            ("", ""),
            "--trusted-proxy",
        ),
        (
            &["--metrics-listen", "nowhere"],
            ("", ""),
            "--metrics-listen",
        ),
        (
            &["--config", "/nonexistent/systole.toml"],
            ("", ""),
            "cannot read the configuration file",
        ),
    ] {
        let data = directory();
        let mut command = serve(data.path(), flags);
        if !variable.0.is_empty() {
            command.env(variable.0, variable.1);
        }
        let (status, said) = refused(command);
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(
            variable.1.is_empty() || !said.contains(variable.1),
            "{said}"
        );
        assert_eq!(
            std::fs::read_dir(data.path()).unwrap().count(),
            0,
            "nothing was made"
        );
    }
}

#[test]
fn a_variable_that_nobody_reads_is_warned_of() {
    let data = directory();
    let mut command = serve(data.path(), &[]);
    command
        .env("SYSTOLE_LISTN", "127.0.0.1:1")
        .env("SYSTOLE_SERVICE_HOST", "10.0.0.1");
    let server = Server::spawn(data.path(), command);
    let said = server.said();
    assert!(
        said.contains("SYSTOLE_LISTN is not known and is ignored; did you mean SYSTOLE_LISTEN?"),
        "{said}"
    );
    assert!(
        said.contains("SYSTOLE_SERVICE_HOST and its like come from a Kubernetes Service"),
        "{said}"
    );
}

/// A disk that is full, stands still, or knows no `fsync`, as long as a file exists.
struct Disk {
    overlay: Overlay,
    full: PathBuf,
    still: PathBuf,
    no_fsync: PathBuf,
}

const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* Regular files alone: sockets and pipes have room. */
static int is_file(int fd) {
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}
static int there(const char *variable) {
    const char *path = getenv(variable);
    return path && access(path, F_OK) == 0;
}
static int is_full(int fd) {
    if (!is_file(fd)) return 0;
    struct timespec moment = {0, 10000000};
    while (there("DISK_STILL")) nanosleep(&moment, 0);
    return there("DISK_FULL");
}
static int is_without(int fd, const char *call) {
    return strcmp(call, "fsync") == 0 && is_file(fd) && there("DISK_WITHOUT_FSYNC");
}
#define LAID_OVER(type, name, parameters, arguments) \
    type name parameters { \
        if (is_full(fd) || is_without(fd, #name)) { errno = ENOSPC; return -1; } \
        type (*real) parameters = (type (*) parameters) dlsym(RTLD_NEXT, #name); \
        return real arguments; \
    }
LAID_OVER(ssize_t, write, (int fd, const void *bytes, size_t length), (fd, bytes, length))
LAID_OVER(ssize_t, pwrite, (int fd, const void *bytes, size_t length, off_t at), (fd, bytes, length, at))
LAID_OVER(ssize_t, pwrite64, (int fd, const void *bytes, size_t length, off64_t at), (fd, bytes, length, at))
LAID_OVER(int, fsync, (int fd), (fd))
LAID_OVER(int, fdatasync, (int fd), (fd))
LAID_OVER(int, ftruncate, (int fd, off_t length), (fd, length))
LAID_OVER(int, ftruncate64, (int fd, off64_t length), (fd, length))
"#;

impl Disk {
    fn new() -> Disk {
        let overlay = Overlay::compile(SHIM);
        Disk {
            full: overlay.path("full"),
            still: overlay.path("still"),
            no_fsync: overlay.path("no-fsync"),
            overlay,
        }
    }

    fn server(&self, data: &Path) -> Server {
        Server::spawn(
            data,
            self.under(serve(data, &["--metrics-listen", "127.0.0.1:0"])),
        )
    }

    /// The command with this disk under it.
    fn under(&self, mut command: Command) -> Command {
        command
            .env("LD_PRELOAD", self.overlay.library())
            .env("DISK_FULL", &self.full)
            .env("DISK_STILL", &self.still)
            .env("DISK_WITHOUT_FSYNC", &self.no_fsync);
        command
    }
}

/// Sends a numbered log entry; answers with the status.
fn say(server: &Server, heartbeat: &Heartbeat, number: usize) -> u16 {
    let path = format!("/ping/{}/log", heartbeat.token);
    let reply = ask(
        server.address,
        "POST",
        &path,
        "",
        format!("entry {number}").as_bytes(),
    );
    if reply.status != 200 {
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (503, Some("1")),
            "{}",
            reply.text()
        );
        assert!(!reply.text().contains('/'), "{}", reply.text());
    }
    reply.status
}

/// Every acknowledged entry is found, in order; of the others, whatever was written.
fn assert_kept(server: &Server, heartbeat: &Heartbeat, acknowledged: &[usize]) {
    let expected: Vec<String> = acknowledged
        .iter()
        .rev()
        .map(|number| format!("entry {number}"))
        .collect();
    until("every acknowledged entry", || {
        let found = server.checkins(heartbeat);
        let bodies: Vec<&str> = found
            .iter()
            .filter_map(|found| found["body"].as_str())
            .collect();
        let kept: Vec<&str> = bodies
            .into_iter()
            .filter(|body| expected.iter().any(|entry| entry == body))
            .collect();
        (kept == expected).then_some(())
    });
}

/// `.cargo/config.toml` says so; nothing else would fail without it.
#[test]
fn a_commit_does_not_wait_for_the_times_of_its_file() {
    let (disk, data) = (Disk::new(), directory());
    let server = disk.server(data.path());
    let heartbeat = server.heartbeat("watched");
    std::fs::write(&disk.no_fsync, "").unwrap();
    assert_eq!(say(&server, &heartbeat, 1), 200);
}

#[test]
fn a_full_disk_refuses_check_ins_and_is_forgotten_when_it_has_room() {
    let (disk, data) = (Disk::new(), directory());
    let server = disk.server(data.path());
    let heartbeat = server.heartbeat("watched");
    until("ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    let mut acknowledged = vec![1, 2];
    for number in [1, 2] {
        assert_eq!(say(&server, &heartbeat, number), 200);
    }
    let mut number = 3;
    for _ in 0..2 {
        std::fs::write(&disk.full, "").unwrap();
        // Many at once, so that one batch holds several and others wait behind it.
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asked: Vec<_> = (0..8)
                .map(|i| {
                    let (server, heartbeat) = (&server, &heartbeat);
                    scope.spawn(move || say(server, heartbeat, number + 1_000 + i))
                })
                .collect();
            asked
                .into_iter()
                .map(|asked| asked.join().unwrap())
                .collect()
        });
        assert_eq!(statuses, [503; 8]);
        let reply = server.get("/readyz");
        assert_eq!(reply.status, 503);
        assert!(
            reply.text().contains("writer: the log cannot be written\n"),
            "{}",
            reply.text()
        );
        assert!(!reply.text().contains('/'), "{}", reply.text());
        assert_eq!(server.get("/healthz").status, 200);
        assert!(server.metric("systole_log_append_failures_total") > 0);
        assert_eq!(server.metric("systole_loop_ok{name=\"writer\"}"), 0);
        assert_eq!(say(&server, &heartbeat, 2_000 + number), 503);

        std::fs::remove_file(&disk.full).unwrap();
        until("a check-in to be taken", || {
            let status = say(&server, &heartbeat, number);
            acknowledged.extend((status == 200).then_some(number));
            number += 1;
            (status == 200).then_some(())
        });
        until("ready", || {
            (server.get("/readyz").status == 200).then_some(())
        });
        assert_kept(&server, &heartbeat, &acknowledged);
    }
    // What falls silent is still told: the stream that was given up holds no deadline back.
    let silent = server.heartbeat_of(
        &json!({"kind": "heartbeat", "name": "silent", "schedule": {"every": "1s"}, "grace": "1s"}),
    );
    assert_eq!(server.get(&format!("/ping/{}", silent.token)).status, 200);
    until("what fell silent to be down", || {
        (server.state(&silent) == "down").then_some(())
    });
    // What people change works again too.
    let other = server.heartbeat("made later");
    assert_eq!(say(&server, &other, 1), 200);
    server.stop();
    let server = Server::start(data.path(), &[]);
    assert_kept(&server, &heartbeat, &acknowledged);
    assert_kept(&server, &other, &[1]);
}

#[test]
fn a_full_disk_refuses_to_start_and_harms_nothing() {
    let disk = Disk::new();
    let data = used();
    std::fs::write(&disk.full, "").unwrap();
    for directory in [data.path(), directory().path()] {
        let (status, said) = refused(disk.under(serve(directory, &[])));
        assert_eq!(status, 1, "{said}");
        let reasons = ["full", "No space left", "disk I/O error"];
        assert!(
            said.starts_with("cannot ") && reasons.iter().any(|reason| said.contains(reason)),
            "{said}"
        );
    }
    std::fs::remove_file(&disk.full).unwrap();
    disk.server(data.path()).stop();
}

#[test]
fn a_disk_that_stands_still_keeps_nobody_waiting_for_long() {
    let (disk, data) = (Disk::new(), directory());
    let server = disk.server(data.path());
    let heartbeat = server.heartbeat("watched");
    assert_eq!(say(&server, &heartbeat, 1), 200);
    until("ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    std::fs::write(&disk.still, "").unwrap();
    // One in the batch that hangs, one in the queue behind it. Both are answered while the disk still hangs.
    let path = format!("/ping/{}/log", heartbeat.token);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = connect(server.address);
            stream
                .write_all(head("GET", &path, "", 0).as_bytes())
                .unwrap();
            stream
        })
        .collect();
    for stream in waiting {
        let reply = read(&mut BufReader::new(stream), false).unwrap();
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (503, Some("1"))
        );
    }
    let reply = server.get("/readyz");
    assert_eq!(reply.status, 503);
    assert!(reply.text().contains("writer: "), "{}", reply.text());
    std::fs::remove_file(&disk.still).unwrap();
    until("a check-in to be taken", || {
        (say(&server, &heartbeat, 2) == 200).then_some(())
    });
    until("ready", || {
        (server.get("/readyz").status == 200).then_some(())
    });
    assert_kept(&server, &heartbeat, &[1, 2]);
}

#[test]
fn a_command_that_cannot_be_written_is_refused_and_makes_nothing() {
    let (disk, data) = (Disk::new(), directory());
    let server = disk.server(data.path());
    let document = json!({"kind": "heartbeat", "name": "new", "schedule": {"every": "1h"}});
    std::fs::write(&disk.full, "").unwrap();
    let (status, said) = server.api("POST", "/monitors", &document);
    assert!((500..600).contains(&status), "{status} {said}");
    assert!(
        !said.to_string().contains(&path_text(data.path())),
        "{said}"
    );
    std::fs::remove_file(&disk.full).unwrap();
    assert_eq!(server.shown("/monitors")["items"], Value::Array(Vec::new()));
    until("it to be made", || {
        (server.api("POST", "/monitors", &document).0 == 201).then_some(())
    });
}
