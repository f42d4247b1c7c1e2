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
    pub(crate) fn start(command: &mut Command, log: &Path) -> (Self, String) {
        let said = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(said).spawn().unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_default();
        let said = || fs::read_to_string(log).unwrap();
        let endpoint = ready["endpoint"].as_str().unwrap_or_else(|| panic!("{}", said()));
        (Self(child), endpoint.to_owned())
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
