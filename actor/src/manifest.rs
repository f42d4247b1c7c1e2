//! What the learner says a policy version consists of, with an adapter that can be computed.

use common::{Artifact, Canary, PolicyVersion};
use models::{lora::LoraConfig, peft::read_adapter_config};
use proto::{InvalidMessage, pb};
use std::{net::SocketAddr, sync::Arc};

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
    /// Who to fetch from before the learner.
    pub(crate) relays: Vec<SocketAddr>,
    /// Whether the run publishes no version after this one.
    pub(crate) last: bool,
}

impl TryFrom<pb::PolicyManifest> for Manifest {
    type Error = InvalidMessage;

    fn try_from(message: pb::PolicyManifest) -> Result<Self, InvalidMessage> {
        let told = proto::Manifest::try_from(message)?;
        let adapter_config = read_adapter_config(&told.adapter_config_json)
            .map_err(|e| InvalidMessage::new("policy_manifest.adapter_config_json", e))?;
        Ok(Self {
            version: told.version,
            base: told.base,
            adapter: told.adapter,
            adapter_config,
            canary: told.canary.map(Arc::new),
            relays: told.relays,
            last: told.last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{Digest, LearnerEpoch};

    fn artifact(name: &str) -> pb::Artifact {
        let digest = Some(Digest::from_bytes([3; 32]).into());
        pb::Artifact {
            name: name.into(),
            bytes: 9,
            digest,
            ..Default::default()
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
            relays: vec!["10.0.0.7:4000".into(), "[::1]:4001".into()],
        }
    }

    #[test]
    fn a_whole_manifest_is_accepted() {
        let manifest = Manifest::try_from(message()).unwrap();
        assert_eq!(manifest.version.number, 5);
        assert_eq!(manifest.base[1].name(), "model.safetensors");
        assert_eq!(manifest.relays[1].port(), 4001);
        assert_eq!(manifest.adapter_config.scale(), 2.0);
        assert!(manifest.last);
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
