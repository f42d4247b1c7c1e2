//! The program as a child process, and what a test waits for.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// Starts the program in `directory`, where its standard error goes to `stderr.log`.
pub(crate) fn adwright(directory: &Path, arguments: &[&str]) -> Child {
    let log = std::fs::File::create(directory.join("stderr.log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A process that is killed when its test fails.
pub(crate) struct Guarded(pub(crate) Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // One that has ended is not there to be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process, and what it was started with.
pub(crate) struct Member {
    pub(crate) process: u32,
    line: Vec<String>,
}

impl Member {
    /// The value of one of its flags.
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        let place = self.line.iter().position(|part| part == name)?;
        self.line.get(place + 1).map(String::as_str)
    }
}

/// The processes whose command line names a directory.
pub(crate) fn members(directory: &Path) -> Vec<Member> {
    let directory = directory.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let all = entries.filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line)
            .split('\0')
            .map(str::to_owned)
            .collect();
        Some(Member { process, line })
    });
    all.filter(|member| member.line.iter().any(|part| part.contains(&directory)))
        .collect()
}

/// Waits for something that other processes do.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until a process says something in its log.
#[track_caller]
pub(crate) fn line_in(log: &Path, words: &str) -> String {
    let mut found = None;
    wait_until(words, || {
        let said = std::fs::read_to_string(log).unwrap();
        found = said.lines().find(|line| line.contains(words)).map(str::to_owned);
        found.is_some()
    });
    found.unwrap()
}

/// Sends a signal such as `INT`. The shell has a `kill` of its own where no program of that name is installed.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -{name} {process}")])
        .status()
        .unwrap();
    assert!(sent.success());
}
