//! A message or a file for every door, which it lets in: damage to those goes deeper than arbitrary bytes.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]

use super::states;
use prost::Message as _;
use proto::{header, keda, pb};

/// Bytes that a door lets in.
pub(super) fn sample(door: &str) -> Vec<u8> {
    let found = of_learner(door)
        .or_else(|| of_reward_server(door))
        .or_else(|| of_autoscaler(door))
        .or_else(|| learners_answer(door))
        .or_else(|| others_answer(door))
        .or_else(|| from_elsewhere(door));
    found.unwrap_or_else(|| panic!("{door} has no sample in tests/tests/hostile_bytes/samples.rs"))
}

/// Requests to a learner.
fn of_learner(door: &str) -> Option<Vec<u8>> {
    let header = Some(known());
    Some(match door {
        "JoinRequest" => join_request().encode_to_vec(),
        "LeaseTasksRequest" => lease_request().encode_to_vec(),
        "SubmitOutcomesRequest" => outcomes().encode_to_vec(),
        "ReturnTasksRequest" => returned().encode_to_vec(),
        "WatchPolicyRequest" => watch_request().encode_to_vec(),
        "FetchArtifactRequest" => fetch_request().encode_to_vec(),
        "ReportAdoptionRequest" => adoption().encode_to_vec(),
        "ReportEvaluationRequest" => evaluation().encode_to_vec(),
        "GetRunStatusRequest" => pb::GetRunStatusRequest {
            header,
            metrics_from: 3,
        }
        .encode_to_vec(),
        _ => return None,
    })
}

/// Requests to a reward-server.
fn of_reward_server(door: &str) -> Option<Vec<u8>> {
    let header = Some(known());
    Some(match door {
        "ScoreGroupsRequest" => score_request().encode_to_vec(),
        "GetRewardModelRequest" => pb::GetRewardModelRequest { header }.encode_to_vec(),
        "GetServerStatusRequest" => pb::GetServerStatusRequest { header }.encode_to_vec(),
        _ => return None,
    })
}

/// Requests of an autoscaler to a learner.
fn of_autoscaler(door: &str) -> Option<Vec<u8>> {
    Some(match door {
        "ScaledObjectRef" => scaled_object().encode_to_vec(),
        "GetMetricsRequest" => metrics_request().encode_to_vec(),
        _ => return None,
    })
}

/// What a learner answers, and another actor.
fn learners_answer(door: &str) -> Option<Vec<u8>> {
    Some(match door {
        "JoinResponse" => pb::JoinResponse {
            run_id: "demo".into(),
            learner_epoch: 1,
            run_seed: 7,
            policy: Some(manifest()),
            deterministic: true,
        }
        .encode_to_vec(),
        "PolicyManifest" => manifest().encode_to_vec(),
        "ArtifactChunk" => chunk().encode_to_vec(),
        "LeaseTasksResponse" => lease().encode_to_vec(),
        "SubmitOutcomesResponse" => receipts().encode_to_vec(),
        "ReturnTasksResponse" => pb::ReturnTasksResponse { returned: 3 }.encode_to_vec(),
        "ReportAdoptionResponse" => pb::ReportAdoptionResponse {}.encode_to_vec(),
        "ReportEvaluationResponse" => pb::ReportEvaluationResponse {}.encode_to_vec(),
        "RunStatus" => states::run().encode_to_vec(),
        _ => return None,
    })
}

/// What a reward-server and an image service answer.
fn others_answer(door: &str) -> Option<Vec<u8>> {
    Some(match door {
        "ScoreGroupsResponse" => scores().encode_to_vec(),
        "RewardModel" => states::model().encode_to_vec(),
        "RewardServerStatus" => states::server().encode_to_vec(),
        "GenerateGroupResponse" => generated().encode_to_vec(),
        "ImageGenerator" => pb::ImageGenerator {
            name: "painter".into(),
            max_descriptions: 8,
        }
        .encode_to_vec(),
        _ => return None,
    })
}

/// What is no message.
fn from_elsewhere(door: &str) -> Option<Vec<u8>> {
    Some(match door {
        "traceparent" => b"00-0000000000000007000000000000002a-000000000000002a-01".to_vec(),
        "retry-after-ms" => b"250".to_vec(),
        "cut-out" | "picture" => picture(),
        "safetensors" | "safetensors in parts" => {
            let head = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
            [&(head.len() as u64).to_le_bytes()[..], head, &[0; 8]].concat()
        }
        "torch_bin" => include_bytes!("../../../models/fixtures/torch_bin/torch_bin_formats.bin").to_vec(),
        "sentencepiece" => include_bytes!("../../../models/fixtures/sentencepiece/small.model").to_vec(),
        _ => return None,
    })
}

fn known() -> pb::RequestHeader {
    let run = common::RunId::new("demo").unwrap();
    header(Some(&run), Some(common::LearnerEpoch(1)), "actor-0")
}

pub(super) fn digest() -> pb::Digest {
    pb::Digest { blake3: vec![7; 32] }
}

pub(super) fn version() -> pb::PolicyVersion {
    pb::PolicyVersion { epoch: 1, number: 3 }
}

fn picture() -> Vec<u8> {
    let drawn = image::RgbaImage::from_fn(9, 7, |x, y| image::Rgba([x as u8 * 20, y as u8 * 30, 90, 255]));
    data::cutout::encode_png(&drawn)
}

pub(super) fn join_request() -> pb::JoinRequest {
    pb::JoinRequest {
        header: Some(known()),
        settings: [("actor.temperature".into(), "1.0".into())].into(),
    }
}

pub(super) fn lease_request() -> pb::LeaseTasksRequest {
    pb::LeaseTasksRequest {
        header: Some(known()),
        policy: Some(version()),
        max_tasks: 16,
    }
}

fn outcomes() -> pb::SubmitOutcomesRequest {
    let candidate = |token, reward| pb::Candidate {
        trajectory: Some(pb::Trajectory {
            behaviour: Some(version()),
            token_ids: vec![5, token, 2],
            log_probs: vec![-0.5, -0.25, -1.5],
            text: "an oak desk".into(),
            finish: pb::Finish::Stop.into(),
        }),
        image: Some(digest()),
        reward,
        ..Default::default()
    };
    let pair = pb::Pair {
        group: Some(pb::CandidateGroup {
            candidates: vec![candidate(6, 0.5), candidate(7, -0.5)],
            reward_model: Some(digest()),
            confidence: None,
        }),
        chosen: 0,
        rejected: 1,
        margin: 1.0,
    };
    pb::SubmitOutcomesRequest {
        header: Some(known()),
        outcomes: vec![pb::RolloutOutcome {
            task: 4,
            outcome: Some(pb::rollout_outcome::Outcome::Pair(pair)),
        }],
        ..Default::default()
    }
}

pub(super) fn returned() -> pb::ReturnTasksRequest {
    pb::ReturnTasksRequest {
        header: Some(known()),
        tasks: vec![4, 5],
        leaves: false,
    }
}

pub(super) fn watch_request() -> pb::WatchPolicyRequest {
    pb::WatchPolicyRequest {
        header: Some(known()),
        after: Some(version()),
        relay_port: 4000,
        evaluates: false,
        settings: [("catalogue.held_out".into(), "2 products".into())].into(),
    }
}

pub(super) fn fetch_request() -> pb::FetchArtifactRequest {
    pb::FetchArtifactRequest {
        header: Some(known()),
        digest: Some(digest()),
        offset: 8,
    }
}

pub(super) fn adoption() -> pb::ReportAdoptionRequest {
    pb::ReportAdoptionRequest {
        header: Some(known()),
        version: Some(version()),
        canary: Some(pb::CanaryReport {
            verdict: pb::CanaryVerdict::Ok.into(),
            deviation: 1e-5,
            tolerance: 1e-4,
            separation: 0.5,
        }),
        waiting_for: "the reward-server".into(),
        ..Default::default()
    }
}

pub(super) fn evaluation() -> pb::ReportEvaluationRequest {
    pb::ReportEvaluationRequest {
        header: Some(known()),
        version: Some(version()),
        values: [("reward".to_owned(), 0.5)].into(),
    }
}

pub(super) fn score_request() -> pb::ScoreGroupsRequest {
    pb::ScoreGroupsRequest {
        header: Some(known()),
        groups: vec![pb::ImageGroup {
            caption: "a lamp".into(),
            images: vec![picture().into(), picture().into()],
            ..Default::default()
        }],
    }
}

fn scaled_object() -> keda::ScaledObjectRef {
    keda::ScaledObjectRef {
        name: "actor".into(),
        namespace: "adwright".into(),
        scaler_metadata: [("run".to_owned(), "demo".to_owned())].into(),
    }
}

pub(super) fn metrics_request() -> keda::GetMetricsRequest {
    keda::GetMetricsRequest {
        scaled_object_ref: Some(scaled_object()),
        metric_name: "rollout_actors_wanted".into(),
    }
}

pub(super) fn manifest() -> pb::PolicyManifest {
    let artifact = |name: &str| pb::Artifact {
        name: name.into(),
        bytes: 9,
        digest: Some(digest()),
        chunk_bytes: 4,
        chunk_digests: vec![7; 96],
    };
    let question = pb::CanaryQuestion {
        instruction: "describe the lamp".into(),
        image: Some(digest()),
        completion_ids: vec![7, 8],
        reference_log_probs: vec![-1.0, -2.0],
        log_probs: vec![-1.5, -0.5],
    };
    pb::PolicyManifest {
        version: Some(version()),
        base: vec![artifact("config.json")],
        adapter: Some(artifact("adapter_model.safetensors")),
        adapter_config_json:
            r#"{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "peft_type": "LORA"}"#.into(),
        last: false,
        canary: Some(pb::Canary {
            questions: vec![question],
        }),
        relays: vec!["10.0.0.7:4000".into()],
    }
}

/// The second chunk of the artifact that the door has begun, and some of the third.
pub(super) fn chunk() -> pb::ArtifactChunk {
    pb::ArtifactChunk {
        offset: 8,
        data: vec![7; 11].into(),
    }
}

pub(super) fn lease() -> pb::LeaseTasksResponse {
    let task = pb::ProductTask {
        task: 4,
        product: "lamp".into(),
        caption: "a lamp".into(),
        instruction: "describe the lamp".into(),
        image: Some(digest()),
    };
    let lease = pb::TaskLease {
        tasks: vec![task],
        ttl_ms: 60_000,
        reward_model: Some(digest()),
    };
    pb::LeaseTasksResponse {
        answer: Some(pb::lease_tasks_response::Answer::Lease(lease)),
    }
}

/// For the one outcome that the door has submitted.
pub(super) fn receipts() -> pb::SubmitOutcomesResponse {
    pb::SubmitOutcomesResponse {
        receipts: vec![pb::OutcomeReceipt {
            task: 4,
            disposition: pb::Disposition::Refused.into(),
            detail: "an unknown task".into(),
        }],
    }
}

/// Of the two groups that the door asks for: two images with what each side says, and three that could not be scored.
pub(super) fn scores() -> pb::ScoreGroupsResponse {
    let sides = pb::Sides {
        left: 0.25,
        right: 0.75,
    };
    let scored = pb::group_score::Result::Scores(pb::Scores {
        rewards: vec![0.5, -0.5],
        confidence: 0.75,
        orientation_flips: 0.0,
        sides: vec![sides; 2],
    });
    let failed = pb::group_score::Result::Failure(pb::ScoreFailure {
        reason: pb::ScoreFailureReason::Abstained.into(),
        detail: "it is not sure".into(),
        confidence: Some(0.55),
    });
    let scores = [scored, failed].map(|result| pb::GroupScore { result: Some(result) });
    pb::ScoreGroupsResponse {
        scores: scores.into(),
        reward_model: Some(digest()),
        compute_seconds: 0.5,
        scored_alone: true,
    }
}

/// Of the two descriptions that the door asks for: a picture with its cut-out, and one that was withheld.
pub(super) fn generated() -> pb::GenerateGroupResponse {
    let rendered = pb::image_result::Result::Image(pb::RenderedImage {
        image: picture().into(),
        placed: picture().into(),
        defects: 1,
    });
    let withheld = pb::image_result::Result::Failure(pb::ImageFailure {
        reason: pb::ImageFailureReason::Guardrail.into(),
        detail: "it shows a brand".into(),
    });
    let results = [rendered, withheld].map(|result| pb::ImageResult { result: Some(result) });
    pb::GenerateGroupResponse {
        results: results.into(),
    }
}
