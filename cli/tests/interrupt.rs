//! Stopping on request: signals and a closed standard input drain a process, and a demo leaves nobody behind.

#![allow(clippy::unwrap_used)] // Helpers of tests are tests.
#![expect(clippy::disallowed_methods, reason = "processes take real time")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn adwright(directory: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_adwright"))
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Processes, this one excluded, whose command line names `directory`.
#[cfg(target_os = "linux")]
fn processes_of(directory: &Path) -> Vec<String> {
    let directory = directory.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&directory))
        .collect()
}

/// An actor that waits for a learner which is not there.
fn waiting_actor(directory: &Path) -> Child {
    let store = directory.join("store");
    let arguments = [
        "actor",
        "--with-parent",
        "--learner",
        "http://127.0.0.1:9",
        "--store",
        store.to_str().unwrap(),
    ];
    let child = adwright(directory, &arguments);
    wait_until("the actor opens its store", || store.exists());
    child
}

#[test]
fn an_actor_drains_when_its_parent_closes_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let mut actor = waiting_actor(directory.path());
    drop(actor.stdin.take());
    assert!(actor.wait().unwrap().success());
}

#[test]
fn an_actor_drains_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let mut actor = waiting_actor(directory.path());
    signal(&actor, "-TERM");
    assert!(actor.wait().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_demo_leaves_neither_processes_nor_results() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("result");
    let mut demo = adwright(
        directory.path(),
        &["demo", "--quick", "--out", out.to_str().unwrap()],
    );
    wait_until("a stage runs", || processes_of(directory.path()).len() >= 2);
    signal(&demo, "-INT");
    let ended = demo.wait().unwrap();
    assert_eq!(ended.code(), Some(1));
    wait_until("no process is left", || processes_of(directory.path()).is_empty());
    assert!(!out.exists());
    let left = std::fs::read_dir(directory.path().join("result.unfinished")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["logs"]);
}

#[cfg(target_os = "linux")]
#[test]
fn the_processes_of_a_killed_demo_end_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("result");
    let mut demo = adwright(
        directory.path(),
        &["demo", "--quick", "--out", out.to_str().unwrap()],
    );
    wait_until("a stage runs", || processes_of(directory.path()).len() >= 2);
    demo.kill().unwrap();
    demo.wait().unwrap();
    wait_until("no process is left", || processes_of(directory.path()).is_empty());
    assert!(!out.exists());
}
