//! Roles that find something broken: a checkpoint, a learner that was thought dead, a reward-server that is gone. Each is named at
//! once, and a deterministic run ends with the bytes of one in which nothing broke.

use crate::program::{signal, wait_until};
use crate::stage::{LONG_LEASES, Stage, command, done};
use serde_json::Value;
use std::fs;

#[test]
fn what_breaks_is_named_at_once_and_the_weights_are_those_of_a_run_in_which_nothing_broke() {
    let stage = Stage::set();
    a_truncated_checkpoint_is_passed_over(&stage);
    a_checkpoint_that_rots_when_its_version_has_been_sampled_from_costs_no_bit(&stage);
    a_learner_that_was_replaced_while_it_stood_still_ends(&stage);
    a_reward_server_that_is_gone_is_waited_for(&stage);
}

fn a_truncated_checkpoint_is_passed_over(stage: &Stage) {
    let reward = stage.reward_server();
    // It dies with checkpoint 4 written, whose version nobody has heard of.
    let death = [(failpoint::VARIABLE, "learner.checkpoint.written:4")];
    let mut learner = stage.learner("torn", &death);
    let _actor = stage.actor("torn-1", &learner, &reward);
    wait_until("the learner does not die", || learner.has_ended());
    let checkpoints = stage.directory.path().join("store/runs/torn/checkpoints");
    let manifest = fs::read(checkpoints.join("manifest-1-4.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let digest = manifest["optimizer"].as_str().unwrap();
    let part = checkpoints
        .join("parts")
        .join(digest.trim_start_matches("blake3:"));
    let whole = fs::metadata(&part).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(&part)
        .unwrap()
        .set_len(whole / 2)
        .unwrap();

    learner.environment.clear();
    learner.restart();
    let passed_over = learner.line_with("checkpoint passed over");
    assert!(
        passed_over.contains("v1.4") && passed_over.contains(part.file_name().unwrap().to_str().unwrap()),
        "{passed_over}"
    );
    assert!(learner.line_with("the run goes on").contains("v1.3"));
    assert!(
        stage.adapter_of("torn", learner) == stage.undisturbed,
        "other weights"
    );
}

/// What its version sampled is in the ledger and is trained on when the run comes through that version again.
fn a_checkpoint_that_rots_when_its_version_has_been_sampled_from_costs_no_bit(stage: &Stage) {
    let reward = stage.reward_server();
    // Four leases make a block: it dies when the second of the fifth block is recorded.
    let death = [(failpoint::VARIABLE, "learner.submit.durable:18")];
    let mut learner = stage.learner_in("rotten", &[LONG_LEASES.into()], &death);
    let _first = stage.actor("rotten-1", &learner, &reward);
    wait_until("the learner does not die", || learner.has_ended());
    let exported = ["ledger", "export", "--store", "store", "--run", "rotten"];
    let exported = command(stage.directory.path(), &exported).output().unwrap();
    let sampled_by = |line: &str| serde_json::from_str::<Value>(line).unwrap()["behaviour_version"].clone();
    let newest = done(&exported).lines().map(sampled_by).next_back().unwrap();
    assert_eq!(newest, serde_json::json!({"epoch": 1, "number": 4}));
    let checkpoints = stage.directory.path().join("store/runs/rotten/checkpoints");
    let manifest = fs::read(checkpoints.join("manifest-1-4.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let adapter = manifest["adapter"]
        .as_str()
        .unwrap()
        .trim_start_matches("blake3:");
    let part = checkpoints.join("parts").join(adapter);
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8]
        .iter_mut()
        .for_each(|byte| *byte ^= 0x10);
    fs::write(&part, bytes).unwrap();

    learner.environment.clear();
    learner.restart();
    let _second = stage.actor("rotten-2", &learner, &reward);
    let passed_over = learner.line_with("checkpoint passed over");
    assert!(
        passed_over.contains("v1.4") && passed_over.contains(adapter),
        "{passed_over}"
    );
    assert!(learner.line_with("the run goes on").contains("v1.3"));
    assert!(
        stage.adapter_of("rotten", learner) == stage.undisturbed,
        "other weights"
    );
}

/// A machine that stands still looks dead. When it goes on, its learner holds leases and outcomes that are another's by then.
fn a_learner_that_was_replaced_while_it_stood_still_ends(stage: &Stage) {
    let reward = stage.reward_server();
    let mut first = stage.learner("frozen", &[]);
    let mut its_actor = stage.actor("frozen-1", &first, &reward);
    first.line_with("published");
    let frozen = [its_actor.process(), first.process()];
    frozen.iter().for_each(|&process| signal(process, "STOP"));
    let second = stage.learner("frozen", &[]);
    let _actor = stage.actor("frozen-2", &second, &reward);
    second.line_with("published");
    frozen.iter().for_each(|&process| signal(process, "CONT"));
    wait_until("the first learner goes on", || first.has_ended());
    assert!(!first.succeeded(), "it took itself for the learner of the run");
    let reason = first.line_with("has been taken over by a later writer");
    assert!(reason.contains("runs/frozen/ledger"), "{reason}");
    its_actor.role = None;
    assert!(
        stage.adapter_of("frozen", second) == stage.undisturbed,
        "other weights"
    );
}

fn a_reward_server_that_is_gone_is_waited_for(stage: &Stage) {
    let mut reward = stage.reward_server();
    let learner = stage.learner("unscored", &[]);
    let actor = stage.actor("unscored-1", &learner, &reward);
    learner.line_with("published");
    reward.role = None;
    let missed = actor.line_with("the peer does not serve");
    assert!(
        missed.contains("reward-server") && missed.contains(&reward.url()),
        "{missed}"
    );
    reward.restart();
    assert!(
        stage.adapter_of("unscored", learner) == stage.undisturbed,
        "other weights"
    );
}

#[test]
fn a_run_that_is_not_there_is_named_and_its_directory_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], word: &str, code: i32| {
        let output = command(directory.path(), arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(word) && output.status.code() == Some(code),
            "{arguments:?}: {said}"
        );
    };
    refused(
        &["ledger", "inspect", "--store", "stoer", "--run", "a"],
        "stoer",
        64,
    );
    refused(
        &["checkpoint", "list", "--store", "stoer", "--run", "a"],
        "stoer",
        64,
    );
    assert!(!directory.path().join("stoer").exists());
    fs::create_dir(directory.path().join("store")).unwrap();
    refused(
        &["ledger", "export", "--store", "store", "--run", "a"],
        "runs/a/ledger",
        64,
    );
    refused(
        &["ledger", "export", "--store", "store", "--run", "a b"],
        "--run",
        64,
    );
    refused(
        &["checkpoint", "verify", "--store", "store", "--run", "a"],
        "run a has no checkpoint",
        1,
    );
}
