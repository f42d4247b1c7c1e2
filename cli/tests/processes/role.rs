//! One role as a process of its own.

use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A role that was started, killed when the test fails.
pub(crate) struct Role(Child);

impl Role {
    /// Starts a role whose words go to the end of `log`, and returns its endpoint when it is ready.
    ///
    /// `None`: it ended well before it was. An actor does so when the run completes while it reads its first weights.
    pub(crate) fn start(command: &mut Command, log: &Path) -> (Self, Option<String>) {
        let said = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let endpoint = serde_json::from_str::<Value>(&line)
            .ok()
            .map(|ready| ready["endpoint"].as_str().unwrap().to_owned());
        if endpoint.is_none() && !child.wait().unwrap().success() {
            panic!("{}", fs::read_to_string(log).unwrap());
        }
        (Self(child), endpoint)
    }

    /// Waits for its end; whether that was a good one.
    pub(crate) fn wait(mut self) -> bool {
        self.0.wait().unwrap().success()
    }

    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
