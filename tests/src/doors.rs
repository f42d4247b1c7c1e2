//! Where a stranger's bytes come in: every request that a service takes, the answers that a role takes from another, and the files that
//! are read from elsewhere. A message's door decodes it and calls the role's own checks (`doors.rs` of `learner`, `actor` and
//! `reward-server`): what the program refuses, its door does.
//!
//! Nothing is served here, so a door knows no run: an answer is held against one question that was asked, always the same. The fuzz targets (`fuzz/`) and `tests/tests/hostile_bytes.rs` push arbitrary bytes through the same doors.

use common::{Artifact, Digest, InvalidArtifact, PolicyVersion, RunId};
use models::sentencepiece::SentencePiece;
use models::tokenizer::{SpecialTokens, Tokenizer};
use models::weights::{from_safetensors, from_safetensors_parts, torch_bin::TorchFile};
use prost::Message;
use proto::{InvalidMessage, keda, pb, required, trace};
use std::io::Cursor;
use tonic::metadata::{MetadataMap, MetadataValue};

/// A way in.
#[derive(Debug, Clone, Copy)]
pub struct Door {
    /// What comes in: a message's or a file's name.
    pub name: &'static str,
    /// Takes bytes in as the program does; whether they are let in. It must not panic.
    pub admits: fn(&[u8]) -> bool,
    /// The most memory that it may take beside a multiple of what it is given, in bytes.
    pub most: usize,
}

/// Memory of a message's door: what it holds is in the message.
const MESSAGE: usize = 1 << 20;

/// Memory of a picture's door: the decoder's own bound, twice where the picture is turned or its colours are converted.
const PICTURE: usize = 3 * data::cutout::MAX_DECODED_BYTES as usize;

/// Memory of the door of an answer with [`DESCRIPTIONS`] pictures and their cut-outs, of which the last is being decoded.
const PICTURES: usize = DESCRIPTIONS * PICTURE;

/// How many descriptions were to be rendered.
const DESCRIPTIONS: usize = 2;

/// How many images the groups have that were to be scored.
const IMAGES: [usize; 2] = [2, 3];

/// The task whose outcome was submitted.
const TASK: u64 = 4;

/// Memory of a file's door: parsers have tables of their own.
const FILE: usize = 16 << 20;

/// How many bytes come at a time of a file in parts: most of what is read straddles some.
const PART: usize = 7;

/// Every way in.
pub const DOORS: [Door; 35] = [
    message("JoinRequest", |bytes| taken(bytes, learner::doors::join)),
    message("LeaseTasksRequest", |bytes| {
        taken(bytes, learner::doors::lease_tasks)
    }),
    message("SubmitOutcomesRequest", |bytes| {
        taken(bytes, learner::doors::submit_outcomes)
    }),
    message("ReturnTasksRequest", |bytes| {
        taken(bytes, learner::doors::return_tasks)
    }),
    message("WatchPolicyRequest", |bytes| {
        taken(bytes, learner::doors::watch_policy)
    }),
    message("FetchArtifactRequest", |bytes| {
        let of_learner = taken(bytes, learner::doors::fetch_artifact);
        let of_relay = taken(bytes, actor::doors::fetch_artifact);
        of_learner || of_relay
    }),
    message("ReportAdoptionRequest", |bytes| {
        taken(bytes, learner::doors::report_adoption)
    }),
    message("ReportEvaluationRequest", |bytes| {
        taken(bytes, learner::doors::report_evaluation)
    }),
    message("GetRunStatusRequest", |bytes| {
        taken(bytes, learner::doors::get_run_status)
    }),
    message("ScaledObjectRef", |bytes| {
        taken(bytes, |m| in_run(|run| learner::doors::scaled_object(run, &m)))
    }),
    message("GetMetricsRequest", |bytes| {
        taken(bytes, |m: keda::GetMetricsRequest| {
            in_run(|run| learner::doors::get_metrics(run, m))
        })
    }),
    message("ScoreGroupsRequest", |bytes| {
        taken(bytes, reward_server::doors::score_groups)
    }),
    message("GetRewardModelRequest", |bytes| {
        taken(bytes, reward_server::doors::get_reward_model)
    }),
    message("GetServerStatusRequest", |bytes| {
        taken(bytes, reward_server::doors::get_server_status)
    }),
    message("JoinResponse", |bytes| taken(bytes, actor::doors::join)),
    message("PolicyManifest", |bytes| {
        taken(bytes, actor::doors::policy_manifest)
    }),
    message("ArtifactChunk", |bytes| {
        taken(bytes, |m| {
            let artifact = begun();
            artifact.is_ok_and(|artifact| actor::doors::artifact_chunk(&artifact, artifact.chunk_bytes(), m))
        })
    }),
    message("LeaseTasksResponse", |bytes| {
        taken(bytes, actor::doors::lease_tasks)
    }),
    message("SubmitOutcomesResponse", |bytes| {
        taken(bytes, |m| {
            let outcome = pb::RolloutOutcome {
                task: TASK,
                outcome: None,
            };
            actor::doors::submit_outcomes(&[outcome], &m)
        })
    }),
    message("ReturnTasksResponse", decodes::<pb::ReturnTasksResponse>),
    message("ReportAdoptionResponse", decodes::<pb::ReportAdoptionResponse>),
    message(
        "ReportEvaluationResponse",
        decodes::<pb::ReportEvaluationResponse>,
    ),
    message("RunStatus", |bytes| taken(bytes, |m| run_status(m).is_ok())),
    message("ScoreGroupsResponse", |bytes| {
        taken(bytes, |m| actor::doors::score_groups(&IMAGES, m))
    }),
    message("RewardModel", |bytes| taken(bytes, actor::doors::reward_model)),
    message("RewardServerStatus", decodes::<pb::RewardServerStatus>),
    Door {
        name: "GenerateGroupResponse",
        admits: |bytes| taken(bytes, |m| actor::doors::generate_group(DESCRIPTIONS, m)),
        most: PICTURES,
    },
    message("ImageGenerator", decodes::<pb::ImageGenerator>),
    message("traceparent", |bytes| {
        let mut metadata = MetadataMap::new();
        MetadataValue::try_from(bytes).is_ok_and(|value| {
            metadata.insert("traceparent", value);
            trace::extract(&metadata).is_some()
        })
    }),
    Door {
        name: "cut-out",
        admits: |bytes| data::cutout::decode(bytes).is_ok(),
        most: PICTURE,
    },
    Door {
        name: "picture",
        admits: |bytes| data::cutout::decode_rgb(bytes).is_ok(),
        most: PICTURE,
    },
    file("safetensors", |bytes| from_safetensors(bytes).is_ok()),
    file("safetensors in parts", |bytes| {
        let parts: Vec<&[u8]> = bytes.chunks(PART).collect();
        from_safetensors_parts(&parts).is_ok()
    }),
    file("torch_bin", whole_torch_file),
    file("sentencepiece", |bytes| SentencePiece::from_bytes(bytes).is_ok()),
];

/// Pushes all but the first of `bytes` through the door among `names` that the first one chooses.
///
/// # Panics
/// When no door has one of the names, or a door breaks.
pub fn knock(names: &[&str], bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    let name = names[usize::from(*first) % names.len()];
    let door = DOORS.iter().find(|door| door.name == name);
    let door = door.unwrap_or_else(|| panic!("there is no door {name}"));
    (door.admits)(rest);
}

/// A `tokenizer.json`: apart, for its reader is a library's and what it takes in memory is not ours to bound.
pub fn admits_tokenizer_json(bytes: &[u8]) -> bool {
    Tokenizer::from_json(bytes, SpecialTokens::default()).is_ok()
}

const fn message(name: &'static str, admits: fn(&[u8]) -> bool) -> Door {
    Door {
        name,
        admits,
        most: MESSAGE,
    }
}

const fn file(name: &'static str, admits: fn(&[u8]) -> bool) -> Door {
    Door {
        name,
        admits,
        most: FILE,
    }
}

/// A message of which nothing is required.
fn decodes<M: Message + Default>(bytes: &[u8]) -> bool {
    M::decode(bytes).is_ok()
}

/// A message, and what a role makes of it.
fn taken<M: Message + Default>(bytes: &[u8], takes: fn(M) -> bool) -> bool {
    M::decode(bytes).is_ok_and(takes)
}

/// To a learner of this run.
fn in_run(takes: impl FnOnce(&RunId) -> bool) -> bool {
    RunId::new("demo").is_ok_and(|run| takes(&run))
}

/// What is being fetched: five chunks, of which the first is here.
fn begun() -> Result<Artifact, InvalidArtifact> {
    let digest = Digest::from_bytes([7; 32]);
    Artifact::new("adapter_model.safetensors", 37, digest, 8, vec![digest; 5])
}

/// What an evaluator and `status` read of it: no role takes one in.
fn run_status(m: pb::RunStatus) -> Result<(), InvalidMessage> {
    RunId::new(m.run_id).map_err(|error| InvalidMessage::new("run_id", error))?;
    let version = required("version", m.version)?;
    let actors = m.actors.into_iter().filter_map(|actor| actor.version);
    let measured = m.metrics.into_iter().chain(m.held_out);
    let measured = measured.filter_map(|metrics| metrics.version);
    let mut versions = actors.chain(measured).chain([version]);
    versions.try_for_each(|version| PolicyVersion::try_from(version).map(drop))
}

/// Finds the tensors and reads the small ones.
fn whole_torch_file(bytes: &[u8]) -> bool {
    const SMALL: usize = 1 << 20;
    let Ok(mut file) = TorchFile::new(Cursor::new(bytes)) else {
        return false;
    };
    let names: Vec<String> = file.names().map(str::to_owned).collect();
    names.iter().all(|name| {
        let is_small = file.entry(name).is_some_and(|entry| entry.numel() <= SMALL);
        !is_small || file.read(name).is_ok()
    })
}
