//! What services tell of themselves to whoever looks on, as their doors let it in.

use super::samples::{digest, version};
use proto::pb;

pub(super) fn run() -> pb::RunStatus {
    let version = Some(version());
    let metrics = pb::VersionMetrics {
        version,
        values: [("loss".to_owned(), 0.5)].into(),
    };
    pb::RunStatus {
        run_id: "demo".into(),
        version,
        outcomes: Some(pb::OutcomeCounts {
            pairs: 20,
            no_pairs: [("tie".to_owned(), 3)].into(),
            reward_models: [(format!("blake3:{}", "07".repeat(32)), 23)].into(),
            ..Default::default()
        }),
        actors: vec![pb::ActorStatus {
            actor_id: "actor-0".into(),
            version,
            waiting_for: "the reward-server".into(),
            canary: Some(pb::CanaryReport {
                verdict: pb::CanaryVerdict::Ok.into(),
                ..Default::default()
            }),
            ..Default::default()
        }],
        metrics: vec![metrics.clone()],
        held_out: Some(metrics),
        scaling: Some(pb::Scaling {
            rollout_actors_wanted: 2,
            cold_start_s: 30.0,
            ..Default::default()
        }),
        ..Default::default()
    }
}

pub(super) fn server() -> pb::RewardServerStatus {
    pb::RewardServerStatus {
        reward_model: Some(model()),
        requests: 2,
        reload_failure: "model.safetensors is cut short".into(),
        ..Default::default()
    }
}

pub(super) fn model() -> pb::RewardModel {
    pb::RewardModel {
        digest: Some(digest()),
        form: "siamese".into(),
        scores_alone: true,
    }
}
