//! `doctor`: what would fail, before a launch.

use crate::program::{adwright, text};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Output;

fn findings(output: &Output) -> Vec<Value> {
    let all: Value = serde_json::from_slice(&output.stdout).unwrap();
    all["findings"].as_array().unwrap().clone()
}

fn level(findings: &[Value], check: &str, subject: &str) -> String {
    let found = findings
        .iter()
        .find(|finding| finding["check"] == check && finding["subject"] == subject);
    found
        .map(|finding| finding["level"].as_str().unwrap().to_owned())
        .unwrap_or_default()
}

#[test]
fn a_healthy_machine_has_no_errors_before_a_launch() {
    let place = tempfile::tempdir().unwrap();
    // Whatever else runs on the machine.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let listens = ["learner_listen", "reward_listen"].map(|key| format!("endpoints.{key}=127.0.0.1:0"));
    let dials = ["learner", "reward"].map(|key| format!("endpoints.{key}=http://{closed}"));
    let threads = ["compute.threads=1".to_owned()];
    let mut line = vec!["doctor", "--json"];
    line.extend(
        listens
            .iter()
            .chain(&dials)
            .chain(&threads)
            .flat_map(|set| ["--set", set]),
    );
    let done = adwright(place.path(), &line);
    let found = findings(&done);
    assert_eq!(done.status.code(), Some(0), "{found:#?}");
    assert_eq!(level(&found, "store", "store.url"), "ok");
    assert_eq!(level(&found, "compute", "compute.device"), "ok");
    // Nothing has been trained yet.
    assert_eq!(level(&found, "model", "paths.policy"), "warning");
    assert!(!place.path().join("out").exists(), "doctor leaves nothing behind");
}

#[test]
fn what_would_fail_is_told_with_64_for_the_configuration_and_1_for_everything_else() {
    let place = tempfile::tempdir().unwrap();
    let actor = |sets: &[&str]| {
        let mut line = vec!["doctor", "--json", "--role", "actor"];
        line.extend(sets.iter().flat_map(|set| ["--set", set]));
        adwright(place.path(), &line)
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = actor(&[&format!("endpoints.learner=http://{closed}")]);
    assert_eq!(nobody.status.code(), Some(1));
    assert_eq!(
        level(&findings(&nobody), "endpoint", "endpoints.learner"),
        "error"
    );

    let unknown = actor(&[
        "endpoints.reward=http://no-such-host.invalid:1",
        "endpoints.insecure_plaintext_network=true",
    ]);
    assert_eq!(
        level(&findings(&unknown), "endpoint", "endpoints.reward"),
        "error"
    );
    assert!(text(&unknown.stdout).contains("no-such-host.invalid"));

    let painting = actor(&[
        "actor.image_generator=diffusion",
        "diffusion.model=/nowhere",
        "diffusion.controlnet=/nowhere",
    ]);
    assert_eq!(painting.status.code(), Some(64));
    assert_eq!(level(&findings(&painting), "model", "diffusion.model"), "error");

    std::fs::write(place.path().join("file"), "x").unwrap();
    let store = actor(&["store.url=file"]);
    assert_eq!(level(&findings(&store), "store", "store.url"), "error");

    let mistake = actor(&["actor.group_size=1"]);
    assert_eq!(mistake.status.code(), Some(64));
    assert_eq!(level(&findings(&mistake), "configuration", ""), "error");
}

#[test]
fn an_endpoint_that_says_nothing_and_a_model_without_weights_are_told_with_what_they_are() {
    let place = tempfile::tempdir().unwrap();
    let of = |line: &[&str], check: &str, subject: &str| {
        let line = [&["doctor", "--json"], line].concat();
        let found = findings(&adwright(place.path(), &line));
        let finding = found
            .iter()
            .find(|one| one["check"] == check && one["subject"] == subject);
        let finding = finding.unwrap_or_else(|| panic!("nothing of {subject} in {found:#?}"));
        finding["found"].as_str().unwrap().to_owned()
    };
    // It takes connections, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("endpoints.learner=http://{}", silent.local_addr().unwrap());
    let late = of(
        &["--role", "actor", "--timeout", "1", "--set", &url],
        "endpoint",
        "endpoints.learner",
    );
    assert_eq!(late, "not done within 1 s");

    std::fs::create_dir(place.path().join("empty")).unwrap();
    let empty = of(
        &["--role", "learner", "--set", "paths.policy=empty"],
        "model",
        "paths.policy",
    );
    assert!(
        empty.contains("model.safetensors") && empty.contains("No such file"),
        "{empty}"
    );
}
