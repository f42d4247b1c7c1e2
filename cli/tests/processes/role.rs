//! One role as a process of its own.

use crate::program::Guarded;
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

/// SIGKILL's number.
const KILLED: i32 = 9;

/// A role that was started.
pub(crate) struct Role(Guarded);

impl Role {
    /// Starts a role whose words go to the end of `log`, and returns its endpoint when it is ready.
    ///
    /// `None`: it ended well before it was, as an actor does when the run completes while it reads its first weights, or died at the point at which
    /// it was told to.
    pub(crate) fn start(command: &mut Command, log: &Path) -> (Self, Option<String>) {
        let said = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut role = Self(Guarded(
            command.stdout(Stdio::piped()).stderr(said).spawn().unwrap(),
        ));
        let mut line = String::new();
        let stdout = role.0.0.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let endpoint = serde_json::from_str::<Value>(&line)
            .ok()
            .map(|ready| ready["endpoint"].as_str().unwrap().to_owned());
        let has_failed = |status: ExitStatus| !status.success() && status.signal() != Some(KILLED);
        if endpoint.is_none() && has_failed(role.0.0.wait().unwrap()) {
            panic!("{}", fs::read_to_string(log).unwrap());
        }
        (role, endpoint)
    }

    /// Waits for its end; whether that was a good one.
    pub(crate) fn wait(mut self) -> bool {
        self.0.0.wait().unwrap().success()
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.0.0.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.0.try_wait().unwrap().is_some()
    }
}
