//! A place where a recipe runs: its directories, its programs and its job are the test's, everything else is as it stands.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::blocks;
use crate::common::clean;

/// The host that the recipes name.
const HOST: &str = "https://systole.example.com";
/// The directories that they name.
const DIRECTORIES: &[&str] = &[
    "/scripts",
    "/app/",
    "/backup/",
    "/srv",
    "/etc/systole",
    "/run/secrets",
    "/usr/local/bin",
];
/// The job, under every name that they give it.
const JOBS: &[&str] = &[
    "scripts/backup.sh",
    "app/run-report",
    "app/cleanup",
    "usr/local/bin/python",
    "usr/local/bin/restic",
    "nightly.sh",
];

/// How something ended.
pub struct Ended {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

pub struct Place {
    directory: tempfile::TempDir,
    /// The address of the server.
    pub server: String,
    /// The heartbeat's token.
    pub token: String,
}

impl Place {
    /// One whose job says that it ran and ends with this status.
    pub fn new(server: &str, token: &str, job: i32) -> Place {
        let place = Place {
            directory: tempfile::tempdir().unwrap(),
            server: server.to_owned(),
            token: token.to_owned(),
        };
        for directory in DIRECTORIES {
            std::fs::create_dir_all(place.at(directory)).unwrap();
        }
        let programs = place.at("usr/local/bin");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_systole"), programs.join("systole"))
            .unwrap();
        let ran = place.at("ran");
        let script = format!("echo 42 rows\necho ran >> {}\nexit {job}\n", ran.display());
        for name in JOBS {
            place.program(name, &script);
        }
        // A dump is good or bad as the job is, and whoever reads it sees which.
        place.program(
            "usr/local/bin/pg_dump",
            &format!("for each; do case $each in --file=*) echo archive > \"${{each#--file=}}\" ;; esac; done\n{script}"),
        );
        place.program("usr/local/bin/pg_restore", "grep -q archive \"$2\"\n");
        place.program(
            "usr/local/bin/kubectl",
            "for each; do case $each in --from-file=url=*) cat \"${each#--from-file=url=}\" ;; esac; done\n",
        );
        place
    }

    /// A program of the recipe's world.
    pub fn program(&self, name: &str, script: &str) {
        let path = self.at(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Where something of the recipe's world is.
    pub fn at(&self, name: &str) -> PathBuf {
        self.path().join(name.trim_start_matches('/'))
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// How many times the job has run.
    pub fn runs(&self) -> usize {
        std::fs::read_to_string(self.at("ran")).map_or(0, |ran| ran.lines().count())
    }

    /// The URL of the heartbeat.
    pub fn url(&self) -> String {
        format!("{}/ping/{}", self.server, self.token)
    }

    /// A block with host, token and directories of this place.
    pub fn block(&self, name: &str) -> String {
        self.moved(&blocks::text(name))
    }

    /// The same of any text.
    pub fn moved(&self, text: &str) -> String {
        let text = text
            .replace(HOST, &self.server)
            .replace("ANOTHER_TOKEN", &self.token)
            .replace("TOKEN", &self.token);
        DIRECTORIES.iter().fold(text, |text, directory| {
            text.replace(directory, &format!("{}{directory}", self.path().display()))
        })
    }

    /// Runs a program here, with the programs of this place before all others and with these variables alone.
    pub fn run(&self, program: &[&str], variables: &[(String, String)]) -> Ended {
        let mut command = Command::new(program[0]);
        clean(&mut command);
        let path = format!("{}:/usr/bin:/bin", self.at("usr/local/bin").display());
        let output = command
            .args(&program[1..])
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.path())
            .envs(variables.iter().cloned())
            .current_dir(self.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended {
            status: output.status.code().expect("an end by itself"),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

/// `NAME=value` lines, as files of environments and crontabs have them.
pub fn variables(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}
