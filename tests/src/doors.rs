//! Where a stranger's bytes come in: every request that a service takes, the answers that a role takes from another, and the files that
//! are read from elsewhere. Each door does what the program does with them before it trusts them: decode and convert.
//!
//! Nothing is served here. The fuzz targets (`fuzz/`) and `tests/tests/hostile_bytes.rs` push arbitrary bytes through the same doors.

use common::{CanaryReport, Digest, PolicyVersion, RolloutOutcome, RunId};
use models::peft::read_adapter_config;
use models::sentencepiece::SentencePiece;
use models::tokenizer::{SpecialTokens, Tokenizer};
use models::weights::{from_safetensors, torch_bin::TorchFile};
use prost::Message;
use proto::{Caller, InvalidMessage, keda, pb, trace};
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

/// Memory of a file's door: parsers have tables of their own.
const FILE: usize = 16 << 20;

/// Every way in.
pub const DOORS: [Door; 34] = [
    message("JoinRequest", |bytes| {
        caller(bytes, |m: pb::JoinRequest| m.header)
    }),
    message("LeaseTasksRequest", |bytes| {
        admitted(bytes, |m: pb::LeaseTasksRequest| {
            Caller::try_from(m.header)?;
            InvalidMessage::check_batch("max_tasks", m.max_tasks as usize)?;
            m.policy.map(PolicyVersion::try_from).transpose().map(drop)
        })
    }),
    message("SubmitOutcomesRequest", |bytes| {
        admitted(bytes, |m: pb::SubmitOutcomesRequest| {
            Caller::try_from(m.header)?;
            InvalidMessage::check_batch("outcomes", m.outcomes.len())?;
            m.outcomes
                .into_iter()
                .try_for_each(|outcome| RolloutOutcome::try_from(outcome).map(drop))
        })
    }),
    message("ReturnTasksRequest", |bytes| {
        caller(bytes, |m: pb::ReturnTasksRequest| m.header)
    }),
    message("WatchPolicyRequest", |bytes| {
        admitted(bytes, |m: pb::WatchPolicyRequest| {
            Caller::try_from(m.header)?;
            m.after.map(PolicyVersion::try_from).transpose().map(drop)
        })
    }),
    message("FetchArtifactRequest", |bytes| {
        admitted(bytes, |m: pb::FetchArtifactRequest| {
            Caller::try_from(m.header)?;
            m.digest.map(Digest::try_from).transpose().map(drop)
        })
    }),
    message("ReportAdoptionRequest", |bytes| {
        admitted(bytes, |m: pb::ReportAdoptionRequest| {
            Caller::try_from(m.header)?;
            m.version.map(PolicyVersion::try_from).transpose()?;
            m.canary.map(CanaryReport::try_from).transpose().map(drop)
        })
    }),
    message("ReportEvaluationRequest", |bytes| {
        admitted(bytes, |m: pb::ReportEvaluationRequest| {
            Caller::try_from(m.header)?;
            m.version.map(PolicyVersion::try_from).transpose()?;
            proto::figures("values", m.values).map(drop)
        })
    }),
    message("GetRunStatusRequest", |bytes| {
        caller(bytes, |m: pb::GetRunStatusRequest| m.header)
    }),
    message("ScaledObjectRef", decodes::<keda::ScaledObjectRef>),
    message("GetMetricsRequest", decodes::<keda::GetMetricsRequest>),
    message("ScoreGroupsRequest", |bytes| {
        admitted(bytes, |m: pb::ScoreGroupsRequest| {
            Caller::try_from(m.header)?;
            InvalidMessage::check_batch("groups", m.groups.len())
        })
    }),
    message("GetRewardModelRequest", |bytes| {
        caller(bytes, |m: pb::GetRewardModelRequest| m.header)
    }),
    message("GetServerStatusRequest", |bytes| {
        caller(bytes, |m: pb::GetServerStatusRequest| m.header)
    }),
    message("JoinResponse", |bytes| {
        admitted(bytes, |m: pb::JoinResponse| {
            RunId::new(m.run_id).map_err(|error| InvalidMessage::new("run_id", error))?;
            manifest(m.policy.ok_or_else(|| InvalidMessage::missing("policy"))?)
        })
    }),
    message("PolicyManifest", |bytes| admitted(bytes, manifest)),
    message("ArtifactChunk", decodes::<pb::ArtifactChunk>),
    message("LeaseTasksResponse", |bytes| {
        admitted(bytes, |m: pb::LeaseTasksResponse| match m.answer {
            Some(pb::lease_tasks_response::Answer::Lease(lease)) => {
                let mut tasks = lease.tasks.into_iter();
                tasks.try_for_each(|task| common::ProductTask::try_from(task).map(drop))
            }
            _ => Ok(()),
        })
    }),
    message("SubmitOutcomesResponse", decodes::<pb::SubmitOutcomesResponse>),
    message("ReturnTasksResponse", decodes::<pb::ReturnTasksResponse>),
    message("ReportAdoptionResponse", decodes::<pb::ReportAdoptionResponse>),
    message(
        "ReportEvaluationResponse",
        decodes::<pb::ReportEvaluationResponse>,
    ),
    message("RunStatus", |bytes| {
        admitted(bytes, |m: pb::RunStatus| {
            let version = m.version.ok_or_else(|| InvalidMessage::missing("version"))?;
            let actors = m.actors.into_iter().filter_map(|actor| actor.version);
            let measured = m.metrics.into_iter().chain(m.held_out);
            let measured = measured.filter_map(|metrics| metrics.version);
            let mut versions = actors.chain(measured).chain([version]);
            versions.try_for_each(|version| PolicyVersion::try_from(version).map(drop))
        })
    }),
    message("ScoreGroupsResponse", decodes::<pb::ScoreGroupsResponse>),
    message("RewardModel", |bytes| {
        admitted(bytes, |m: pb::RewardModel| {
            let digest = m.digest.ok_or_else(|| InvalidMessage::missing("digest"))?;
            Digest::try_from(digest).map(drop)
        })
    }),
    message("RewardServerStatus", decodes::<pb::RewardServerStatus>),
    message("GenerateGroupResponse", decodes::<pb::GenerateGroupResponse>),
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

fn admitted<M: Message + Default>(bytes: &[u8], check: fn(M) -> Result<(), InvalidMessage>) -> bool {
    M::decode(bytes).is_ok_and(|message| check(message).is_ok())
}

fn caller<M: Message + Default>(bytes: &[u8], header: fn(M) -> Option<pb::RequestHeader>) -> bool {
    M::decode(bytes).is_ok_and(|message| Caller::try_from(header(message)).is_ok())
}

/// What a learner says that a version consists of.
fn manifest(m: pb::PolicyManifest) -> Result<(), InvalidMessage> {
    let version = m.version.ok_or_else(|| InvalidMessage::missing("version"))?;
    PolicyVersion::try_from(version)?;
    let adapter = m.adapter.ok_or_else(|| InvalidMessage::missing("adapter"))?;
    m.base
        .into_iter()
        .chain([adapter])
        .try_for_each(|artifact| common::Artifact::try_from(artifact).map(drop))?;
    read_adapter_config(&m.adapter_config_json)
        .map_err(|error| InvalidMessage::new("adapter_config_json", error))?;
    m.canary.map(common::Canary::try_from).transpose().map(drop)
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
