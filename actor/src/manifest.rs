//! What the learner says a policy version consists of, checked.

use common::{Canary, Digest, PolicyVersion};
use models::{lora::LoraConfig, peft::read_adapter_config};
use proto::{InvalidMessage, pb};
use std::sync::Arc;

/// One file of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    /// A plain file name, safe to join to a directory.
    pub(crate) name: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// What its bytes must hash to.
    pub(crate) digest: Digest,
}

/// A policy version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Manifest {
    pub(crate) version: PolicyVersion,
    /// The frozen base model's files.
    pub(crate) base: Vec<Artifact>,
    pub(crate) adapter: Artifact,
    pub(crate) adapter_config: LoraConfig,
    /// By which the version proves that it takes effect; `None` from a learner that publishes none.
    pub(crate) canary: Option<Arc<Canary>>,
    /// Whether the run publishes no version after this one.
    pub(crate) last: bool,
}

impl TryFrom<pb::PolicyManifest> for Manifest {
    type Error = InvalidMessage;

    fn try_from(message: pb::PolicyManifest) -> Result<Self, InvalidMessage> {
        let missing = InvalidMessage::missing;
        let adapter_config = read_adapter_config(&message.adapter_config_json)
            .map_err(|e| InvalidMessage::new("policy_manifest.adapter_config_json", e))?;
        Ok(Self {
            version: message
                .version
                .ok_or_else(|| missing("policy_manifest.version"))?
                .try_into()?,
            base: message
                .base
                .into_iter()
                .map(Artifact::try_from)
                .collect::<Result<_, _>>()?,
            adapter: message
                .adapter
                .ok_or_else(|| missing("policy_manifest.adapter"))?
                .try_into()?,
            adapter_config,
            canary: message.canary.map(Canary::try_from).transpose()?.map(Arc::new),
            last: message.last,
        })
    }
}

impl TryFrom<pb::Artifact> for Artifact {
    type Error = InvalidMessage;

    fn try_from(message: pb::Artifact) -> Result<Self, InvalidMessage> {
        if !is_plain_file_name(&message.name) {
            let reason = format!(
                "{:?} is not a plain file name",
                message.name.chars().take(80).collect::<String>()
            );
            return Err(InvalidMessage::new("artifact.name", reason));
        }
        let digest = message
            .digest
            .ok_or_else(|| InvalidMessage::missing("artifact.digest"))?
            .try_into()?;
        Ok(Self {
            name: message.name,
            bytes: message.bytes,
            digest,
        })
    }
}

/// Letters, digits, `.`, `_` and `-`, not starting with a dot: it can only name a file in the directory it is joined to.
fn is_plain_file_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::LearnerEpoch;

    fn artifact(name: &str) -> pb::Artifact {
        let digest = Some(Digest::from_bytes([3; 32]).into());
        pb::Artifact {
            name: name.into(),
            bytes: 9,
            digest,
        }
    }

    fn message() -> pb::PolicyManifest {
        pb::PolicyManifest {
            version: Some(
                PolicyVersion {
                    epoch: LearnerEpoch(2),
                    number: 5,
                }
                .into(),
            ),
            base: vec![artifact("config.json"), artifact("model.safetensors")],
            adapter: Some(artifact("adapter_model.safetensors")),
            adapter_config_json:
                r#"{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "peft_type": "LORA"}"#.into(),
            last: true,
            canary: None,
        }
    }

    #[test]
    fn a_whole_manifest_is_accepted() {
        let manifest = Manifest::try_from(message()).unwrap();
        assert_eq!(manifest.version.number, 5);
        assert_eq!(manifest.base[1].name, "model.safetensors");
        assert_eq!(manifest.adapter_config.scale(), 2.0);
        assert!(manifest.last);
    }

    #[test]
    fn a_name_that_would_leave_the_work_directory_is_refused() {
        for bad in ["", "..", "../x", "a/b", "/etc/passwd", "a\\b", ".hidden", "nul\0"] {
            let refusal = Artifact::try_from(artifact(bad)).unwrap_err();
            assert_eq!(refusal.field, "artifact.name", "{bad:?}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let without_adapter = pb::PolicyManifest {
            adapter: None,
            ..message()
        };
        assert_eq!(
            Manifest::try_from(without_adapter).unwrap_err().field,
            "policy_manifest.adapter"
        );
        let without_config = pb::PolicyManifest {
            adapter_config_json: String::new(),
            ..message()
        };
        let refusal = Manifest::try_from(without_config).unwrap_err();
        assert_eq!(refusal.field, "policy_manifest.adapter_config_json");
    }

    #[test]
    fn an_adapter_that_cannot_be_computed_is_refused() {
        for (from, to) in [
            ("\"r\": 4", "\"r\": 0"),
            ("\"lora_alpha\": 8", "\"lora_alpha\": -8"),
            ("\"r\"", "\"use_dora\": true, \"r\""),
        ] {
            let mut changed = message();
            changed.adapter_config_json = changed.adapter_config_json.replace(from, to);
            let refusal = Manifest::try_from(changed).unwrap_err();
            assert_eq!(refusal.field, "policy_manifest.adapter_config_json", "{to}");
        }
    }
}
