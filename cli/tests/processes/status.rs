//! `adwright status --watch` beside a learner that is killed and comes back, and one that ends with its run.

use crate::program::{Guarded, wait_until};
use crate::stage::{Stage, command};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// A look at the run of the learner at `url` every so many seconds.
fn watch(directory: &Path, url: &str, seconds: &str) -> Command {
    let often = ["--watch", "--json", "--interval", seconds];
    command(directory, &[&["status", "--learner", url], &often[..]].concat())
}

#[test]
fn a_watched_run_is_shown_again_when_its_learner_is_back() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    let mut learner = stage.learner("seen", &[]);
    let url = learner.url();
    let errors = fs::File::create(directory.join("status.log")).unwrap();
    let mut watching = watch(directory, &url, "0.1");
    let mut watching = Guarded(watching.stdout(Stdio::piped()).stderr(errors).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut version = || {
        let line = lines.next().expect("it goes on").unwrap();
        let view: Value = serde_json::from_str(&line).unwrap();
        view["version"].as_str().unwrap().to_owned()
    };
    assert_eq!(version(), "v1.0");
    learner.role = None;
    wait_until("nobody says that the learner is gone", || {
        let said = fs::read_to_string(directory.join("status.log")).unwrap();
        said.contains("the learner does not answer")
    });
    learner.restart();
    while version() != "v2.0" {}
}

#[test]
fn whoever_watches_a_run_hears_of_its_end_however_seldom_it_asks() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    let reward = stage.reward_server();
    let mut learner = stage.learner_with("ends", &["learner.versions=2".into()]);
    let url = learner.url();
    let mut watching = watch(directory, &url, "3600");
    let mut watching = Guarded(watching.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(watching.0.stdout.take().unwrap()).lines();
    let mut view = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(view()["complete"], false);
    let mut actor = stage.actor("ends-1", &learner, &reward);
    let last = view();
    assert_eq!(
        (&last["complete"], &last["version"]),
        (&true.into(), &"v1.2".into())
    );
    assert!(watching.0.wait().unwrap().success());
    assert!(learner.succeeded() && actor.succeeded());
}
