//! What a policy version consists of, as its learner announces it.

use super::{InvalidMessage, required};
use crate::pb;
use crate::told::at_most;
use common::{Artifact, Canary, PolicyVersion};
use std::net::SocketAddr;

/// The most relays that a manifest may name.
const MAX_RELAYS: usize = 16;

/// A policy version. What its adapter's configuration says is for whoever computes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Which.
    pub version: PolicyVersion,
    /// The frozen base model's files.
    pub base: Vec<Artifact>,
    /// The adapter: safetensors in PEFT's layout.
    pub adapter: Artifact,
    /// PEFT's `adapter_config.json`, unread.
    pub adapter_config_json: String,
    /// By which the version proves that it takes effect; `None` from a learner that publishes none.
    pub canary: Option<Canary>,
    /// Who to fetch from before the learner.
    pub relays: Vec<SocketAddr>,
    /// Whether the run publishes no version after this one.
    pub last: bool,
}

impl TryFrom<pb::PolicyManifest> for Manifest {
    type Error = InvalidMessage;

    fn try_from(message: pb::PolicyManifest) -> Result<Self, InvalidMessage> {
        let base = message.base.into_iter().map(Artifact::try_from);
        Ok(Self {
            version: required("policy_manifest.version", message.version)?.try_into()?,
            base: base.collect::<Result<_, _>>()?,
            adapter: required("policy_manifest.adapter", message.adapter)?.try_into()?,
            adapter_config_json: message.adapter_config_json,
            canary: message.canary.map(Canary::try_from).transpose()?,
            relays: relays(&message.relays)?,
            last: message.last,
        })
    }
}

fn relays(named: &[String]) -> Result<Vec<SocketAddr>, InvalidMessage> {
    let field = "policy_manifest.relays";
    at_most(field, MAX_RELAYS, named.len())?;
    let relay = |named: &String| {
        let parsed = named.parse();
        parsed.map_err(|_| {
            let begin: String = named.chars().take(80).collect();
            InvalidMessage::new(field, format!("{begin:?} is no address with a port"))
        })
    };
    named.iter().map(relay).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Digest;

    fn artifact(name: &str) -> pb::Artifact {
        pb::Artifact {
            name: name.into(),
            bytes: 9,
            digest: Some(Digest::from_bytes([3; 32]).into()),
            ..Default::default()
        }
    }

    fn message() -> pb::PolicyManifest {
        pb::PolicyManifest {
            version: Some(pb::PolicyVersion { epoch: 2, number: 5 }),
            base: vec![artifact("config.json"), artifact("model.safetensors")],
            adapter: Some(artifact("adapter_model.safetensors")),
            adapter_config_json: "{}".into(),
            last: true,
            canary: None,
            relays: vec!["10.0.0.7:4000".into(), "[::1]:4001".into()],
        }
    }

    #[test]
    fn a_whole_manifest_is_taken_in() {
        let manifest = Manifest::try_from(message()).unwrap();
        assert_eq!(manifest.version.number, 5);
        assert_eq!(manifest.base[1].name(), "model.safetensors");
        assert_eq!(manifest.relays[1].port(), 4001);
        assert!(manifest.last && manifest.canary.is_none());
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        type Change = fn(&mut pb::PolicyManifest);
        let cases: [(Change, &str); 7] = [
            (|m| m.version = None, "policy_manifest.version"),
            (
                |m| m.version = Some(pb::PolicyVersion::default()),
                "policy_version.epoch",
            ),
            (|m| m.adapter = None, "policy_manifest.adapter"),
            (|m| m.base[0].name = "../config.json".into(), "artifact.name"),
            (|m| m.canary = Some(pb::Canary::default()), "canary.questions"),
            (
                |m| m.relays = vec!["learner:7000".into()],
                "policy_manifest.relays",
            ),
            (
                |m| m.relays = vec!["10.0.0.7:4000".into(); MAX_RELAYS + 1],
                "policy_manifest.relays",
            ),
        ];
        for (change, field) in cases {
            let mut changed = message();
            change(&mut changed);
            assert_eq!(Manifest::try_from(changed).unwrap_err().field, field);
        }
    }
}
