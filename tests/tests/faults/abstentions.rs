//! A reward model that does not trust its answers: its abstentions come to the ledger with all that is known of them.

use anyhow::Result;
use integration_tests::TestCluster;
use learner::LearnerError;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i8_an_abstention_is_recorded_with_its_group_its_model_and_its_confidence_and_is_no_failure()
-> Result<()> {
    let mut cluster = TestCluster::new(57)?;
    // Surer than a model is that has learnt nothing.
    cluster.reward_server.min_confidence = 1.0;
    cluster.learner.max_tasks_per_pair = 1;
    // A run that failed keeps its doors open for as long.
    cluster.learner.linger_ms = 2_000;
    let (learner, reward) = (cluster.start_learner().await?, cluster.start_reward().await?);
    let actor = cluster
        .start_actor("asking", learner.address, reward.address)
        .await?;
    let ended = learner.joined().await?.expect_err("no pair in a batch");
    let LearnerError::TooFewPairs { counts, .. } = &ended else {
        panic!("{ended}")
    };
    assert_eq!(counts.failures.len(), 0, "{ended}");
    assert!(ended.to_string().contains("abstained"), "{ended}");
    // An actor of a run that failed ends with it.
    let _ended = actor.joined().await?;
    reward.stopped().await??;
    let lines = cluster.ledger().await?;
    assert!(lines.len() >= 8, "{}", lines.len());
    for line in lines {
        assert_eq!(
            (line.outcome, line.reason),
            ("no_pair", Some("abstained")),
            "{line:?}"
        );
        assert!(line.reward_model_digest.is_some(), "{line:?}");
        let confidence = line.confidence.expect("an abstention says how sure it is");
        assert!((0.5..1.0).contains(&confidence), "{line:?}");
        assert!(
            line.seeds.is_some() && line.behaviour_version.is_some(),
            "{line:?}"
        );
        // Its images are named, so that they are kept and expire as others do, and none has a reward.
        assert!(line.image_digests.iter().all(Option::is_some), "{line:?}");
        assert_eq!(line.rewards, vec![None; line.image_digests.len()], "{line:?}");
    }
    Ok(())
}
