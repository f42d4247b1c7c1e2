//! Actors that die and begin again under the same name.

use super::*;

#[tokio::test]
async fn a_task_that_kills_its_actor_is_given_up_whatever_its_actors_are_called() {
    let run = run(|_| {}).await;
    for _attempt in 0..2 {
        run.control.begins(&actor("same"));
        assert_eq!(run.leased("same", 0, 2), [0, 1]);
    }
    assert_eq!(run.control.outcomes().failures.get("abandoned"), None);
    run.control.begins(&actor("same"));
    assert_eq!(run.leased("same", 0, 2), [2, 3]);
    let outcomes = run.control.outcomes();
    assert_eq!((outcomes.failures["abandoned"], outcomes.expired), (2, 4));
    assert_eq!(run.control.open_leases(), 2);
}

#[tokio::test]
async fn a_lost_answer_costs_no_attempt_however_often_and_whoever_joins_meanwhile() {
    let run = run(|config| config.max_attempts = 1).await;
    run.control.begins(&actor("a"));
    for _answer in 0..5 {
        assert_eq!(run.leased("a", 0, 2), [0, 1]);
        run.control.begins(&actor("b"));
    }
    assert_eq!(run.submit("a", pair(0, 0)), Receipt::Recorded);
    assert_eq!(run.control.outcomes().expired, 0);
}

#[tokio::test]
async fn what_a_dead_actor_had_sent_still_counts_when_it_comes_after_the_next_one_has_begun() {
    let run = run(|config| config.max_attempts = 1).await;
    assert_eq!(run.leased("same", 0, 2), [0, 1]);
    run.control.begins(&actor("same"));
    assert_eq!(run.submit("same", pair(0, 0)), Receipt::Recorded);
    assert_eq!(run.leased("same", 0, 2), [2, 3]);
    assert_eq!(run.control.outcomes().failures["abandoned"], 1);
}
