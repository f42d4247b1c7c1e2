//! What a checkpoint says of itself.

use crate::account::Account;
use crate::config::LearnerConfig;
use crate::lineage::Lineage;
use bytes::Bytes;
use common::{Digest, PolicyVersion};
use models::ModelError;
use models::weights::{NamedTensors, to_safetensors};
use serde::{Deserialize, Serialize};

/// The form of a manifest that this program writes, and the only one it reads.
pub(super) const FORMAT: u32 = 2;

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Form of this manifest.
    pub(crate) format: u32,
    /// The version.
    pub(crate) version: PolicyVersion,
    /// The adapter's weights (`adapter_model.safetensors`).
    pub(crate) adapter: Digest,
    /// The optimizer's moments (safetensors, under the names of the adapter's parameters).
    pub(crate) optimizer: Digest,
    /// Optimizer steps taken; the learning rate and all draws follow from them and the version.
    pub(crate) steps: u64,
    /// Where the run stands in its ledger.
    pub(crate) account: Account,
    /// What all checkpoints of its learner's start say alike.
    pub(crate) start: Start,
}

/// What a start of the learner began with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    /// The run's seed.
    pub(crate) run_seed: u64,
    /// The checkpoints that it and the starts before it went on from.
    pub(crate) lineage: Lineage,
    /// Digest of the frozen base's files, so that nobody goes on with another base.
    pub(crate) base: Digest,
    /// Those files.
    pub(crate) base_files: Vec<BaseFile>,
    /// The settings.
    pub(crate) config: LearnerConfig,
}

/// A file of the frozen base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BaseFile {
    /// Its name in the policy's directory.
    pub(crate) name: String,
    /// Of its bytes.
    pub(crate) digest: Digest,
}

/// A checkpoint with its contents.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Checkpoint {
    /// What it says.
    pub(crate) manifest: Manifest,
    /// The adapter's weights.
    pub(crate) adapter: Bytes,
    /// The optimizer's moments.
    pub(crate) optimizer: Bytes,
}

/// A checkpoint as training hands it over, which does not wait for its bytes to be written down and hashed.
pub(crate) struct Unwritten {
    /// What it says, its contents' digests apart.
    pub(crate) manifest: Manifest,
    /// The adapter's weights.
    pub(crate) adapter: Bytes,
    /// The optimizer's moments.
    pub(crate) moments: NamedTensors,
}

impl Unwritten {
    /// How many bytes it has, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let moments = self.moments.values().map(|moment| moment.as_bytes().len());
        self.adapter.len() + moments.sum::<usize>()
    }

    /// With its bytes and digests. Takes as long as hashing all of it.
    ///
    /// # Errors
    /// [`ModelError`] when the moments have no stored form.
    pub(crate) fn written(self) -> Result<Checkpoint, ModelError> {
        let optimizer = to_safetensors(&self.moments, None)?;
        Ok(self.manifest.with(self.adapter, optimizer.into()))
    }
}

impl Manifest {
    /// A manifest without contents yet, of the form that is written today.
    pub(crate) fn new(version: PolicyVersion, steps: u64, account: Account, start: Start) -> Self {
        let nothing = store::digest(&[]);
        Self {
            format: FORMAT,
            version,
            adapter: nothing,
            optimizer: nothing,
            steps,
            account,
            start,
        }
    }

    /// The checkpoint of this manifest with these contents.
    pub(crate) fn with(self, adapter: Bytes, optimizer: Bytes) -> Checkpoint {
        Checkpoint {
            manifest: Self {
                adapter: store::digest(&adapter),
                optimizer: store::digest(&optimizer),
                ..self
            },
            adapter,
            optimizer,
        }
    }

    /// The checkpoint that its learner's start went on from; `None` when it began the run.
    pub(crate) fn parent(&self) -> Option<PolicyVersion> {
        self.start.lineage.parent()
    }

    /// The lineage of a start that goes on from this checkpoint.
    pub(crate) fn lineage(&self) -> Lineage {
        self.start.lineage.going_on_from(self.version)
    }
}

#[cfg(test)]
impl Start {
    /// Of a test's run.
    pub(crate) fn of_test(lineage: Lineage) -> Self {
        Self {
            run_seed: 7,
            lineage,
            base: store::digest(b"base"),
            base_files: vec![],
            config: LearnerConfig::default(),
        }
    }
}
