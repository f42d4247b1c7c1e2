//! Where a stranger's bytes come in: every request that a service takes, the answers that a role takes from another, and the files that
//! are read from elsewhere. Each door does what the program does with them before it trusts them: decode and convert.
//!
//! Nothing is served here. The fuzz targets (`fuzz/`) and `tests/tests/hostile_bytes.rs` push arbitrary bytes through the same doors.

use common::{CanaryReport, Digest, PolicyVersion, RolloutOutcome};
use models::sentencepiece::SentencePiece;
use models::tokenizer::{SpecialTokens, Tokenizer};
use models::weights::{from_safetensors, torch_bin::TorchFile};
use prost::Message;
use proto::{Caller, InvalidMessage, keda, pb};
use std::io::Cursor;

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
pub const DOORS: [Door; 23] = [
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
    message("ScaledObjectRef", |bytes| {
        keda::ScaledObjectRef::decode(bytes).is_ok()
    }),
    message("GetMetricsRequest", |bytes| {
        keda::GetMetricsRequest::decode(bytes).is_ok()
    }),
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
    message("PolicyManifest", |bytes| {
        admitted(bytes, |m: pb::PolicyManifest| {
            let artifacts = m.base.into_iter().chain(m.adapter);
            artifacts
                .map(common::Artifact::try_from)
                .try_for_each(|artifact| artifact.map(drop))?;
            m.canary.map(common::Canary::try_from).transpose().map(drop)
        })
    }),
    message("LeaseTasksResponse", |bytes| {
        admitted(bytes, |m: pb::LeaseTasksResponse| match m.answer {
            Some(pb::lease_tasks_response::Answer::Lease(lease)) => {
                let mut tasks = lease.tasks.into_iter();
                tasks.try_for_each(|task| common::ProductTask::try_from(task).map(drop))
            }
            _ => Ok(()),
        })
    }),
    message("ScoreGroupsResponse", |bytes| {
        pb::ScoreGroupsResponse::decode(bytes).is_ok()
    }),
    message("GenerateGroupResponse", |bytes| {
        pb::GenerateGroupResponse::decode(bytes).is_ok()
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

fn admitted<M: Message + Default>(bytes: &[u8], check: fn(M) -> Result<(), InvalidMessage>) -> bool {
    M::decode(bytes).is_ok_and(|message| check(message).is_ok())
}

fn caller<M: Message + Default>(bytes: &[u8], header: fn(M) -> Option<pb::RequestHeader>) -> bool {
    M::decode(bytes).is_ok_and(|message| Caller::try_from(header(message)).is_ok())
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
