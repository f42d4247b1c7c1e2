//! Actors whose weights do not do what the learner's do.

use crate::program::wait_until;
use crate::stage::{Stage, command, done};
use failpoint::Mutation;
use serde_json::Value;
use std::fs;

#[test]
fn i5_an_adapter_that_is_not_bound_or_bound_elsewhere_is_named_at_the_first_publish_and_the_run_ends_without_it()
 {
    let stage = Stage::with_models();
    let reward = stage.reward_server();
    let trained = Mutation::OF_WEIGHTS.iter().map(|&mutation| {
        let run = mutation.name();
        let learner = stage.learner(run, &[]);
        let id = format!("{run}-broken");
        let mut broken = stage.actor_that_breaks(mutation, &id, &learner, &reward);
        wait_until("it samples from what does not take effect", || broken.has_ended());
        assert!(!broken.succeeded());
        let said = fs::read_to_string(broken.log()).unwrap();
        let words = ["v1.1 does not take effect here", "nats from the learner's"];
        assert!(words.iter().all(|&words| said.contains(words)), "{said}");
        let adopted = |version: &str| said.contains(&format!("policy adopted version={version}"));
        assert!(adopted("v1.0") && !adopted("v1.1"), "{said}");

        let status = ["status", "--json", "--learner", &learner.url()];
        let status = done(&command(stage.directory.path(), &status).output().unwrap());
        let status: Value = serde_json::from_str(&status).unwrap();
        let actors = status["actors"].as_array().unwrap();
        let told = actors.iter().find(|actor| actor["actor"] == id.as_str()).unwrap();
        assert_eq!(
            (&told["canary"], &told["version"]),
            (&"mismatch".into(), &"v1.0".into())
        );
        let reason = told["quarantine"].as_str().unwrap();
        assert!(
            reason.contains("v1.1") && reason.contains("nats apart"),
            "{reason}"
        );

        let mut sound = stage.actor(&format!("{run}-sound"), &learner, &reward);
        let adapter = stage.adapter_of(run, learner);
        assert!(sound.succeeded());
        adapter
    });
    let trained: Vec<_> = trained.collect();
    // The run is deterministic: nothing that the broken ones sampled is in the weights.
    assert_eq!(trained[0], trained[1]);
}
