//! Stopping a role on request: signals and a closed standard input drain it.

use crate::program::{Guarded, adwright, line_in, signal, wait_until};
use rustix::fs::{CWD, Mode, OFlags};
use std::fs;
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
    line_in(&directory.join("stderr.log"), "waiting: the peer does not serve");
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

/// The exit status of a process that is asked to stop while it reads a file of what it brings, which does not come to an end.
fn stopped_while_it_reads(file: &str, arguments: &[&str]) -> Option<i32> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(file);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    rustix::fs::mkfifoat(CWD, &file, Mode::RUSR | Mode::WUSR).unwrap();
    let mut process = Guarded(adwright(directory.path(), arguments));
    // Without waiting, opening for writing fails as long as nobody reads.
    let writing = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut pipe = None;
    wait_until("it reads what it brings", || {
        pipe = rustix::fs::open(&file, writing, Mode::empty()).ok();
        pipe.is_some() || process.0.try_wait().unwrap().is_some()
    });
    let said = || fs::read_to_string(directory.path().join("stderr.log")).unwrap();
    assert!(pipe.is_some(), "{}", said());
    signal(process.0.id(), "TERM");
    let status = process.0.wait().unwrap();
    assert!(
        said().contains("stopped before the run was complete"),
        "{}",
        said()
    );
    status.code()
}

#[test]
fn a_role_that_is_stopped_while_it_brings_its_models_is_unfinished() {
    let learner = [
        "learner",
        "--unfinished-status=75",
        "--store=store",
        "--policy=held",
        "--set=catalogue.source=held/mine.json",
    ];
    let actor = [
        "actor",
        "--unfinished-status=75",
        "--store=store",
        "--set=actor.image_generator=diffusion",
        "--set=diffusion.model=held",
        "--set=diffusion.controlnet=held",
    ];
    let reward_server = ["reward-server", "--unfinished-status=75", "--model=held"];
    let statuses = [
        stopped_while_it_reads("held/mine.json", &learner),
        stopped_while_it_reads("held/unet/config.json", &actor),
        stopped_while_it_reads("held/config.json", &reward_server),
    ];
    assert_eq!(statuses, [Some(75); 3]);
}

#[test]
fn a_stage_that_is_stopped_while_it_brings_what_it_trains_on_has_failed() {
    let arguments = [
        "train-pairs",
        "--policy=held",
        "--pairs=held/pairs.jsonl",
        "--out=out",
    ];
    assert_eq!(stopped_while_it_reads("held/pairs.jsonl", &arguments), Some(1));
}
