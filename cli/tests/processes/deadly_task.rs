//! Tasks that kill whoever works on them. Where actors keep their names, as in a pod that restarts, they must end all the same.

use crate::program::wait_until;
use crate::stage::Stage;
use std::fs;

#[test]
fn tasks_that_kill_their_actor_are_given_up_though_each_actor_has_the_same_name() {
    let stage = Stage::with_models();
    let reward = stage.reward_server();
    let settings = [
        "learner.max_attempts=2",
        "learner.versions=2",
        // No lease runs out while the test goes on.
        "learner.lease_ttl_ms=600000",
    ];
    let mut learner = stage.learner_with("deadly", &settings.map(str::to_owned));
    let dies = [(failpoint::VARIABLE, "actor.scored:1")];
    let mut actor = stage.actor_in("same", &learner, &reward, &[], &dies);
    for attempt in 1..=2 {
        wait_until("the actor does not die", || actor.has_ended());
        let said = fs::read_to_string(learner.log()).unwrap();
        assert!(!said.contains("task given up"), "after attempt {attempt}: {said}");
        actor.restart();
    }
    let given_up = learner.line_with("task given up");
    assert!(given_up.contains("attempts=2"), "{given_up}");
    // It dies of the next tasks, too.
    wait_until("the actor does not die", || actor.has_ended());
    actor.environment.clear();
    actor.restart();
    assert!(learner.succeeded() && actor.succeeded());
    let said = fs::read_to_string(learner.log()).unwrap();
    assert!(!said.contains("leases given again"), "{said}");
    // A lease's tasks, which are in no weights.
    assert_eq!(said.matches("task given up").count(), 2, "{said}");
}
