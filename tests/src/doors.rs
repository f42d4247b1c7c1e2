//! Where a stranger's bytes come in: every request that a service takes, every answer that a role or a command takes, what headers of
//! calls say, and files from elsewhere. A door decodes a message and calls the functions by which the program takes it in: those of a
//! role (`doors.rs` of `learner`, `actor` and `reward-server`) or the conversion of `proto` that all its readers have.
//!
//! What a door does not do: it knows no run and nobody's certificate, an answer is held against one question that was asked, always the
//! same, and what is made of a message that was let in is not computed. The fuzz targets (`fuzz/`) and
//! `tests/tests/hostile_bytes.rs` push bytes through these doors; the table of all messages is in docs/security.md.

use common::{Artifact, Digest, InvalidArtifact, RunId};
use models::sentencepiece::SentencePiece;
use models::tokenizer::{SpecialTokens, Tokenizer};
use models::weights::{from_safetensors, from_safetensors_laid_out, torch_bin::TorchFile};
use prost::Message;
use proto::artifact_stream::continued;
use proto::{WireError, pb, trace};
use std::io::Cursor;
use tonic::Status;
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
pub const DOORS: [Door; 36] = [
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
        taken(bytes, |m| in_run(|run| learner::doors::get_metrics(run, &m)))
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
        let of_actor = taken(bytes, actor::doors::policy_manifest);
        let of_others = parsed::<pb::PolicyManifest, proto::Manifest>(bytes);
        of_actor || of_others
    }),
    message("ArtifactChunk", |bytes| {
        taken(bytes, |m: pb::ArtifactChunk| {
            begun().is_ok_and(|artifact| {
                let received = artifact.chunk_bytes();
                let of_actor = actor::doors::artifact_chunk(&artifact, received, m.clone());
                let of_observer = continued(&artifact, received, m).is_ok();
                of_actor || of_observer
            })
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
    message("RunStatus", parsed::<pb::RunStatus, proto::RunStatus>),
    message("ScoreGroupsResponse", |bytes| {
        taken(bytes, |m| actor::doors::score_groups(&IMAGES, m))
    }),
    message("RewardModel", parsed::<pb::RewardModel, proto::ServedModel>),
    message(
        "RewardServerStatus",
        parsed::<pb::RewardServerStatus, proto::RewardServerStatus>,
    ),
    Door {
        name: "GenerateGroupResponse",
        admits: |bytes| taken(bytes, |m| actor::doors::generate_group(DESCRIPTIONS, m)),
        most: PICTURES,
    },
    message(
        "ImageGenerator",
        parsed::<pb::ImageGenerator, proto::ImageGenerator>,
    ),
    message("traceparent", |bytes| {
        let mut metadata = MetadataMap::new();
        MetadataValue::try_from(bytes).is_ok_and(|value| {
            metadata.insert("traceparent", value);
            trace::extract(&metadata).is_some()
        })
    }),
    message("retry-after-ms", |bytes| {
        let mut status = Status::resource_exhausted("no room");
        MetadataValue::try_from(bytes).is_ok_and(|value| {
            status.metadata_mut().insert("retry-after-ms", value);
            WireError::retry_after(&status).is_some()
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
        from_safetensors_laid_out(&parts).is_ok()
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

/// A message of which nothing is required: an acknowledgement, or a number that is counted.
fn decodes<M: Message + Default>(bytes: &[u8]) -> bool {
    M::decode(bytes).is_ok()
}

/// A message, and what a role makes of it.
fn taken<M: Message + Default>(bytes: &[u8], takes: fn(M) -> bool) -> bool {
    M::decode(bytes).is_ok_and(takes)
}

/// A message, and the value that whoever reads it makes of it.
fn parsed<M: Message + Default, V: TryFrom<M>>(bytes: &[u8]) -> bool {
    M::decode(bytes).is_ok_and(|message| V::try_from(message).is_ok())
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
