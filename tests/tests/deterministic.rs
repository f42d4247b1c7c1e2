//! Equal seeds, equal bytes: however many actors there are and however they interleave.

use integration_tests::{Finished, TestCluster};

async fn run(seed: u64, actors: usize) -> Finished {
    let mut cluster = TestCluster::new(seed).expect("a cluster");
    cluster.learner.deterministic = true;
    cluster.run(actors).await.expect("a complete run")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_give_byte_identical_adapters() {
    let (first, second) = (run(7, 1).await, run(7, 1).await);
    assert_eq!(first.run.adapter_digest, second.run.adapter_digest);
    assert_eq!(first.adapter, second.adapter);
    assert_eq!(first.run.metrics, second.run.metrics);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_actor_and_two_actors_give_byte_identical_adapters() {
    let (alone, together) = (run(8, 1).await, run(8, 2).await);
    assert_eq!(alone.adapter, together.adapter);
    assert_eq!(alone.run.outcomes.pairs, together.run.outcomes.pairs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_seed_gives_another_adapter() {
    let (first, second) = (run(9, 1).await, run(10, 1).await);
    assert_ne!(first.adapter, second.adapter);
}
