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
    assert!(tried >= 9, "{tried}");
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
