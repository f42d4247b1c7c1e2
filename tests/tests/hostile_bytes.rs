//! Bytes of strangers at every door: nothing panics, and nothing takes more memory than what came in and a bound. Arbitrary bytes, and
//! those that are nearly right: real messages and files with some of their bytes changed.

use integration_tests::{DOORS, Door, admits_tokenizer_json};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use prost::Message as _;
use proto::{header, pb};
use std::sync::{Mutex, PoisonError};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One door at a time: memory is counted for the whole process.
static TURN: Mutex<()> = Mutex::new(());

/// How much of what comes in a door may hold in its own form: a byte of a message can be an empty submessage of some hundred bytes.
const TIMES: usize = 512;

/// What can be wrong with bytes that were right.
#[derive(Debug, Clone)]
enum Damage {
    Byte {
        at: prop::sample::Index,
        value: u8,
    },
    Cut {
        at: prop::sample::Index,
    },
    Insert {
        at: prop::sample::Index,
        bytes: Vec<u8>,
    },
    Repeat {
        from: prop::sample::Index,
        to: prop::sample::Index,
    },
}

impl Damage {
    fn to(&self, bytes: &mut Vec<u8>) {
        let room = bytes.len() + 1;
        match self {
            Self::Byte { at, value } => {
                let at = at.index(room);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *value);
            }
            Self::Cut { at } => bytes.truncate(at.index(room)),
            Self::Insert { at, bytes: more } => {
                let at = at.index(room);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeat { from, to } => {
                let (a, b) = (from.index(room), to.index(room));
                bytes.extend_from_within(a.min(b)..a.max(b));
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), any::<u8>()).prop_map(|(at, value)| Damage::Byte { at, value }),
        1 => at().prop_map(|at| Damage::Cut { at }),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..24)).prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Repeat { from, to }),
    ]
}

fn knock(door: &Door, bytes: &[u8]) -> Result<bool, TestCaseError> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let admitted = (door.admits)(bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let most = TIMES * bytes.len() + door.most;
    prop_assert!(
        taken <= most,
        "{}: {taken} bytes for {} that came in, at most {most}",
        door.name,
        bytes.len()
    );
    Ok(admitted)
}

fn outcomes() -> Vec<u8> {
    let version = pb::PolicyVersion { epoch: 1, number: 3 };
    let digest = pb::Digest { blake3: vec![7; 32] };
    let candidate = |token, reward| pb::Candidate {
        trajectory: Some(pb::Trajectory {
            behaviour: Some(version),
            token_ids: vec![5, token, 2],
            log_probs: vec![-0.5, -0.25, -1.5],
            text: "an oak desk".into(),
            finish: pb::Finish::Stop.into(),
        }),
        image: Some(digest.clone()),
        reward,
        ..Default::default()
    };
    let pair = pb::Pair {
        group: Some(pb::CandidateGroup {
            candidates: vec![candidate(6, 0.5), candidate(7, -0.5)],
            reward_model: Some(digest.clone()),
        }),
        chosen: 0,
        rejected: 1,
        margin: 1.0,
    };
    let request = pb::SubmitOutcomesRequest {
        header: Some(known()),
        outcomes: vec![pb::RolloutOutcome {
            task: 4,
            outcome: Some(pb::rollout_outcome::Outcome::Pair(pair)),
        }],
        ..Default::default()
    };
    request.encode_to_vec()
}

#[expect(
    clippy::unwrap_used,
    reason = "the helpers around the tests may unwrap as the tests do"
)]
fn known() -> pb::RequestHeader {
    let run = common::RunId::new("demo").unwrap();
    header(Some(&run), Some(common::LearnerEpoch(1)), "actor-0")
}

fn digest() -> pb::Digest {
    pb::Digest { blake3: vec![7; 32] }
}

fn manifest() -> pb::PolicyManifest {
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
        version: Some(pb::PolicyVersion { epoch: 1, number: 3 }),
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

fn status() -> pb::RunStatus {
    let version = Some(pb::PolicyVersion { epoch: 1, number: 3 });
    let metrics = pb::VersionMetrics {
        version,
        values: [("loss".to_owned(), 0.5)].into(),
    };
    pb::RunStatus {
        run_id: "demo".into(),
        version,
        actors: vec![pb::ActorStatus {
            actor_id: "actor-0".into(),
            version,
            ..Default::default()
        }],
        metrics: vec![metrics.clone()],
        held_out: Some(metrics),
        ..Default::default()
    }
}

/// Bytes that the door lets in.
fn sample(door: &Door) -> Option<Vec<u8>> {
    let picture = || {
        let drawn =
            image::RgbaImage::from_fn(9, 7, |x, y| image::Rgba([x as u8 * 20, y as u8 * 30, 90, 255]));
        data::cutout::encode_png(&drawn)
    };
    let version = Some(pb::PolicyVersion { epoch: 1, number: 3 });
    Some(match door.name {
        "SubmitOutcomesRequest" => outcomes(),
        "LeaseTasksRequest" => pb::LeaseTasksRequest {
            header: Some(known()),
            policy: version,
            max_tasks: 16,
        }
        .encode_to_vec(),
        "ReportAdoptionRequest" => pb::ReportAdoptionRequest {
            header: Some(known()),
            version,
            canary: Some(pb::CanaryReport {
                verdict: pb::CanaryVerdict::Ok.into(),
                deviation: 1e-5,
                tolerance: 1e-4,
                separation: 0.5,
            }),
            ..Default::default()
        }
        .encode_to_vec(),
        "ReportEvaluationRequest" => pb::ReportEvaluationRequest {
            header: Some(known()),
            version,
            values: [("reward".to_owned(), 0.5)].into(),
        }
        .encode_to_vec(),
        "ScoreGroupsRequest" => pb::ScoreGroupsRequest {
            header: Some(known()),
            groups: vec![pb::ImageGroup {
                caption: "a lamp".into(),
                images: vec![picture().into(), picture().into()],
                ..Default::default()
            }],
        }
        .encode_to_vec(),
        "JoinRequest" => pb::JoinRequest {
            header: Some(known()),
        }
        .encode_to_vec(),
        "JoinResponse" => pb::JoinResponse {
            run_id: "demo".into(),
            learner_epoch: 1,
            run_seed: 7,
            policy: Some(manifest()),
        }
        .encode_to_vec(),
        "PolicyManifest" => manifest().encode_to_vec(),
        "ArtifactChunk" => pb::ArtifactChunk {
            offset: 1 << 20,
            data: vec![7; 64].into(),
        }
        .encode_to_vec(),
        "SubmitOutcomesResponse" => pb::SubmitOutcomesResponse {
            receipts: vec![pb::OutcomeReceipt {
                task: 4,
                disposition: pb::Disposition::Refused.into(),
                detail: "an unknown task".into(),
            }],
        }
        .encode_to_vec(),
        "RunStatus" => status().encode_to_vec(),
        "RewardModel" => pb::RewardModel {
            digest: Some(digest()),
            form: "siamese".into(),
        }
        .encode_to_vec(),
        "ImageGenerator" => pb::ImageGenerator {
            name: "painter".into(),
            max_descriptions: 8,
        }
        .encode_to_vec(),
        "traceparent" => b"00-0000000000000007000000000000002a-000000000000002a-01".to_vec(),
        "cut-out" | "picture" => picture(),
        "safetensors" => {
            let head = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
            [&(head.len() as u64).to_le_bytes()[..], head, &[0; 8]].concat()
        }
        "torch_bin" => include_bytes!("../../models/fixtures/torch_bin/torch_bin_formats.bin").to_vec(),
        "sentencepiece" => include_bytes!("../../models/fixtures/sentencepiece/small.model").to_vec(),
        _ => return None,
    })
}

#[test]
fn what_is_right_is_let_in() {
    let samples = DOORS.iter().filter_map(|door| Some((door, sample(door)?)));
    let mut tried = 0;
    for (door, bytes) in samples {
        assert!(knock(door, &bytes).unwrap(), "{} is not let in", door.name);
        tried += 1;
    }
    assert!(tried >= 19, "{tried}");
}

/// A method of a service, and what goes either way.
struct Method {
    service: String,
    request: String,
    answer: String,
}

/// The methods that a definition of the wire has.
fn methods(definition: &str) -> Vec<Method> {
    let (mut service, mut methods) = (String::new(), vec![]);
    for line in definition.lines().map(str::trim) {
        if let Some(named) = line.strip_prefix("service ") {
            service = named.trim_end_matches('{').trim().to_owned();
        }
        let Some(method) = line.strip_prefix("rpc ") else {
            continue;
        };
        let mut messages = method.split('(').skip(1).map(|part| {
            let message = part.split(')').next().unwrap_or_default();
            message.trim_start_matches("stream ").to_owned()
        });
        let (Some(request), Some(answer), None) = (messages.next(), messages.next(), messages.next()) else {
            panic!("not one method in a line: {line}");
        };
        methods.push(Method {
            service: service.clone(),
            request,
            answer,
        });
    }
    methods
}

#[test]
fn every_message_of_every_method_has_its_door() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto");
    let mut found = vec![];
    for directory in ["adwright/v1", "keda"] {
        for file in std::fs::read_dir(format!("{root}/{directory}")).unwrap() {
            let definition = std::fs::read_to_string(file.unwrap().path()).unwrap();
            found.extend(methods(&definition));
        }
    }
    let mut services: Vec<&str> = found.iter().map(|method| method.service.as_str()).collect();
    services.dedup();
    services.sort_unstable();
    let known = [
        "ExternalScaler",
        "ImageService",
        "LearnerService",
        "RelayService",
        "RewardService",
    ];
    assert_eq!(services, known);
    let doors: Vec<&str> = DOORS.iter().map(|door| door.name).collect();
    for method in &found {
        // Somebody else serves the one, and asks the other.
        let comes_in = match method.service.as_str() {
            "ImageService" => vec![&method.answer],
            "ExternalScaler" => vec![&method.request],
            _ => vec![&method.request, &method.answer],
        };
        for message in comes_in {
            assert!(
                doors.contains(&message.as_str()),
                "{message} of {} has no door in tests/src/doors.rs",
                method.service
            );
        }
    }
}

#[test]
fn every_door_is_one_of_a_fuzz_target() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets");
    let targets = std::fs::read_dir(directory).unwrap();
    let targets: String = targets
        .map(|target| std::fs::read_to_string(target.unwrap().path()).unwrap())
        .collect();
    for door in &DOORS {
        assert!(targets.contains(&format!("\"{}\"", door.name)), "{}", door.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn arbitrary_bytes_break_no_door(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        for door in &DOORS {
            knock(door, &bytes)?;
        }
        admits_tokenizer_json(&bytes);
    }

    #[test]
    fn bytes_that_are_nearly_right_break_no_door(damages in prop::collection::vec(damage(), 1..8)) {
        for door in &DOORS {
            let Some(mut bytes) = sample(door) else { continue };
            damages.iter().for_each(|damage| damage.to(&mut bytes));
            knock(door, &bytes)?;
        }
    }
}
