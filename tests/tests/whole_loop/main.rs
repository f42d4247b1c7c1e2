//! A run from its first lease to its last version.

mod shop_pictures;

use common::{CanaryVerdict, LearnerEpoch, PolicyVersion};
use integration_tests::TestCluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_of_two_versions_with_two_actors_completes_and_its_counts_add_up() {
    let cluster = TestCluster::new(1).unwrap();
    let finished = cluster.run(2).await.unwrap();
    let (run, actors) = (&finished.run, &finished.actors);

    assert!(run.complete);
    assert_eq!(
        run.version,
        PolicyVersion {
            epoch: LearnerEpoch(1),
            number: 2
        }
    );
    assert_eq!(run.pairs_trained, 16);
    assert_eq!(run.pairs_refused, 0);
    assert_eq!(run.metrics.len(), 2);
    assert_eq!(store::digest(&finished.adapter), run.adapter_digest);
    // Actors compute what the learner computes.
    let gaps = run
        .metrics
        .iter()
        .map(|metrics| metrics.values["train_behaviour_logprob_gap"]);
    assert!(
        gaps.clone().all(|gap| gap < 1e-3),
        "{:?}",
        gaps.collect::<Vec<_>>()
    );

    let sum = |count: fn(&actor::ActorSummary) -> u64| actors.iter().map(count).sum::<u64>();
    assert_eq!(sum(|a| a.pairs), run.outcomes.pairs);
    assert_eq!(sum(|a| a.no_pairs), run.outcomes.no_pairs.values().sum::<u64>());
    assert_eq!(sum(|a| a.failures + a.refused), 0);
    assert_eq!(sum(|a| a.leased), sum(|a| a.pairs + a.no_pairs + a.handed_back));
    assert!(
        actors
            .iter()
            .all(|a| a.complete && a.version == Some(run.version))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_actor_receives_each_published_version_once_and_the_base_model_once() {
    let mut cluster = TestCluster::new(2).unwrap();
    // Every version waits for both actors' share, so that nobody can be two versions behind.
    cluster.learner.deterministic = true;
    cluster.actor.concurrent_renders = 1;
    cluster.learner.versions = 3;
    let finished = cluster.run_in_step(2).await.unwrap();
    let run = &finished.run;

    assert_eq!(run.publishes, 4);
    assert_eq!(run.bytes_per_publish, finished.adapter.len() as u64);
    assert_eq!(run.actors.len(), 2);
    for (told, own) in run.actors.iter().zip(&finished.actors) {
        assert_eq!(own.adapter_bytes_received, run.publishes * run.bytes_per_publish);
        assert_eq!(own.adoptions, run.publishes);
        assert!(own.base_bytes_received > own.adapter_bytes_received);
        // What an actor reports is what it counted.
        assert_eq!(told.adapter_bytes_received, own.adapter_bytes_received);
        assert_eq!(told.base_bytes_received, own.base_bytes_received);
        assert_eq!(told.version, own.version);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i5_a_version_that_follows_another_is_proven_to_take_effect() {
    let mut cluster = TestCluster::new(5).unwrap();
    cluster.learner.deterministic = true;
    // Steps that nobody takes for rounding.
    (
        cluster.learner.optimizer.learning_rate,
        cluster.learner.optimizer.warmup_steps,
    ) = (0.02, 0);
    let run = cluster.run(1).await.unwrap().run;
    let actor = &run.actors[0];
    assert_eq!((run.version.number, actor.version), (2, Some(run.version)));
    let report = actor.canary.unwrap();
    assert_eq!(report.verdict, CanaryVerdict::Ok, "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_gets_versions_from_the_one_before_it_and_the_same_bytes() {
    let mut cluster = TestCluster::new(4).unwrap();
    cluster.learner.deterministic = true;
    cluster.learner.versions = 3;
    cluster.learner.relay_branches = 1;
    let finished = cluster.run(3).await.unwrap();
    let run = &finished.run;
    let relayed: u64 = finished
        .actors
        .iter()
        .map(|actor| actor.relay_bytes_received)
        .sum();
    assert!(
        relayed >= run.bytes_per_publish,
        "{relayed} of {}",
        run.bytes_per_publish
    );
    assert!(
        finished
            .actors
            .iter()
            .all(|actor| actor.version == Some(run.version))
    );
    let told: u64 = run.actors.iter().map(|actor| actor.relay_bytes_received).sum();
    assert_eq!(told, relayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_labels_train_on_the_same_pairs_and_end_elsewhere() {
    let labelled = async |labels| {
        let mut cluster = TestCluster::new(3).unwrap();
        (cluster.learner.deterministic, cluster.learner.versions) = (true, 1);
        cluster.actor.labels = labels;
        cluster.run(1).await.unwrap()
    };
    let by_reward = labelled(actor::Labels::Reward).await;
    let by_coin = labelled(actor::Labels::Random).await;
    assert_eq!(by_reward.run.outcomes.pairs, by_coin.run.outcomes.pairs);
    assert_ne!(by_reward.adapter, by_coin.adapter);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_actor_outlives_its_run_without_being_ready_until_it_is_stopped() {
    let mut cluster = TestCluster::new(3).unwrap();
    cluster.actor.on_run_end = actor::OnRunEnd::Idle;
    let (learner, reward) = (
        cluster.start_learner().await.unwrap(),
        cluster.start_reward().await.unwrap(),
    );
    let actor = cluster
        .start_actor("idler", learner.address, reward.address)
        .await
        .unwrap();
    let run = learner.joined().await.unwrap().unwrap();
    assert!(run.complete);
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", actor.address)).unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(endpoint.connect_lazy());
    let not_serving = tonic_health::pb::health_check_response::ServingStatus::NotServing;
    let mut status = async || {
        let answer = health.check(tonic_health::pb::HealthCheckRequest::default());
        answer.await.unwrap().into_inner().status()
    };
    // It may hear of the run's end a moment later than its learner has ended.
    let ended = async {
        while status().await != not_serving {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), ended)
        .await
        .unwrap();
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(status().await, not_serving);
    }
    let summary = actor.stopped().await.unwrap().unwrap();
    assert!(summary.complete && summary.version == Some(run.version));
}
