//! Stage C on a checkpoint that transformers made: the learner reads it, actors get it over gRPC and sample from it, and
//! what comes out is an adapter for it.

use burn::tensor::{DType, Device};
use integration_tests::{TestCluster, serve_model};
use models::ctr::{CAIG_QUESTION, CaigReward};
use models::peft::Adapter;
use models::policy::Policy;
use reward_server::ServedCaig;
use std::path::{Path, PathBuf};
use tokio::net::TcpListener;

fn checkpoint(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../models/parity/fixtures")
        .join(name)
}

/// One of 1.5 in three shards, one of 1.6 with tiles and the tokenizer's other form, and of the LLaVA repository's one in
/// PyTorch's shards, one whose tower lies in a directory of its own, and one with tiles.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_others_is_trained_by_learner_and_actors() {
    for name in [
        "llava-hf-1.5/2",
        "llava-hf-1.6/3",
        "llava-original/1",
        "llava-original/2",
        "llava-original/3",
    ] {
        let base = checkpoint(name);
        let cluster = TestCluster::with_policy(11, &base).expect("a cluster");
        let finished = cluster.run(2).await.expect("a complete run");
        assert_eq!(finished.run.outcomes.pairs, 16, "{name}");
        for actor in &finished.actors {
            assert!(
                actor.base_bytes_received > 100_000,
                "{name}: {}",
                actor.base_bytes_received
            );
        }
        let adapter = Adapter::load(&cluster.adapter_dir()).expect("an adapter in PEFT's layout");
        let moved = adapter
            .weights
            .iter()
            .filter(|(name, _)| name.ends_with("lora_B.weight"));
        for (factor, data) in moved {
            assert!(
                data.iter::<f32>().any(|value| value != 0.0),
                "{name}: {factor} never moved"
            );
        }
        let policy = Policy::load(&base, &Device::flex()).expect("the base");
        adapter.attach(policy.model).expect("an adapter of this base");
    }
}

/// The whole method on other people's weights: LLaVA samples, CAIG's reward model chooses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_caigs_reward_model_chooses_for_a_checkpoint_of_transformers() {
    let mut cluster = TestCluster::with_policy(11, &checkpoint("llava-hf-1.5/1")).expect("a cluster");
    cluster.actor.group_size = 2;
    let directory = checkpoint("caig-reward/1");
    let model = CaigReward::load(&directory, &Device::flex(), DType::F32, &mut |_, _| ()).expect("a model");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let model = ServedCaig::new(model, CAIG_QUESTION.into());
    let reward = serve_model(model, listener).expect("a reward-server");
    let finished = cluster.run_rewarded_by(reward, 2).await.expect("a complete run");
    assert_eq!(finished.run.outcomes.pairs, 16);
    assert!(finished.run.outcomes.failures.is_empty());
    let adapter = Adapter::load(&cluster.adapter_dir()).expect("an adapter in PEFT's layout");
    assert!(!adapter.weights.is_empty());
}
