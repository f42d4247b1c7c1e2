//! Stopping a role on request: signals and a closed standard input drain it.

use crate::program::{adwright, signal, wait_until};
use std::path::Path;
use std::process::Child;

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
    signal(actor.id(), "TERM");
    assert!(actor.wait().unwrap().success());
}
