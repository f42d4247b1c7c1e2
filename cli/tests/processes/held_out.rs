//! A run whose versions are measured on held-out products while it goes on, by a process that only looks on.

use crate::stage::{Stage, configured, done};
use serde_json::Value;
use std::path::Path;
use std::process::Output;

/// What an evaluator of the run at `learner` says, with the policy in `policy`.
fn followed(directory: &Path, policy: &str, learner: &str) -> Output {
    let model = format!("--model={policy}");
    let learner = format!("--learner={learner}");
    let follow = ["evaluate", "--follow", "--json", "--reward-model=reward-model"];
    let mut command = configured(directory, &[&follow[..], &[&model, &learner]].concat());
    command.args(["--set", "demo.samples=4"]).output().unwrap()
}

/// The reward of the policy in `policy` on two test products, rendered as these settings say.
pub(crate) fn reward_of_base(directory: &Path, settings: &[&str]) -> f64 {
    let models = [
        "evaluate",
        "--json",
        "--model=policy",
        "--reward-model=reward-model",
    ];
    let mut command = configured(directory, &models);
    command.args([
        "--set",
        "demo.products=2",
        "--set",
        "demo.samples=2",
        "--set",
        "demo.kl_samples=2",
    ]);
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let report: Value = serde_json::from_str(&done(&command.output().unwrap())).unwrap();
    report["policies"][0]["reward"].as_f64().unwrap()
}

#[test]
fn versions_are_measured_as_they_come_and_the_learner_takes_what_it_is_told() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    let settings = ["learner.versions=3", "learner.linger_ms=60000"].map(str::to_owned);
    let reward = stage.reward_server();
    let mut learner = stage.learner_with("watched", &settings);

    let other = configured(directory, &["pretrain", "--seed", "9", "--out", "other"]).output();
    done(&other.unwrap());
    let refused = followed(directory, "other", &learner.url());
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(64), "{said}");
    assert!(
        said.contains("other/model.safetensors is not the run's base"),
        "{said}"
    );

    let _actor = stage.actor("a", &learner, &reward);
    let told = done(&followed(directory, "policy", &learner.url()));
    let lines: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.last().unwrap();
    assert_eq!(last["version"]["number"], 3, "{told}");
    for figure in ["reward", "match_rate", "true_ctr", "invalid_rate", "kl"] {
        assert!(last[figure].is_f64(), "{figure}: {told}");
    }
    // It waits for who still looks on, and no longer.
    assert!(learner.succeeded());
    assert!(
        learner
            .line_with("measured on held-out products")
            .contains("reward")
    );
    let nobody = followed(directory, "policy", &learner.url());
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(1), "{said}");
    assert!(said.contains(&learner.url()), "{said}");
}
