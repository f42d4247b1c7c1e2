//! What evaluators report of versions, and which of them a complete run waits for.

use super::*;

#[tokio::test]
async fn what_versions_do_on_held_out_products_is_noted_and_only_of_versions_of_this_run() {
    let run = run(|_| {}).await;
    let figures = |reward| BTreeMap::from([("reward".to_owned(), reward)]);
    assert_eq!(run.control.held_out(), None);
    run.control.evaluated(version(0), figures(0.25)).unwrap();
    assert!(run.control.evaluated(version(1), figures(0.5)).is_err());
    let newest = run.control.held_out().unwrap();
    assert_eq!((newest.version, newest.values), (version(0), figures(0.25)));
    let (records, notes) = run.control.ledger.arrivals().await.unwrap();
    assert_eq!((records.len(), notes.len()), (0, 1));
}

#[tokio::test]
async fn the_last_version_is_awaited_of_evaluators_while_they_follow_and_until_it_is_reported() {
    let control = Arc::new(run(|_| {}).await.control);
    let follow = |evaluates| Following::begin(&control, "observer", evaluates).unwrap();
    let _looks_on = follow(false);
    assert!(!control.awaits_evaluation(version(0)));
    let evaluator = follow(true);
    assert!(control.awaits_evaluation(version(0)));
    drop(evaluator);
    assert!(!control.awaits_evaluation(version(0)));
    let _evaluator = follow(true);
    control.evaluated(version(0), BTreeMap::new()).unwrap();
    assert!(!control.awaits_evaluation(version(0)) && control.awaits_evaluation(version(1)));
}
