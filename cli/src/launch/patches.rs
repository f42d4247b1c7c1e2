//! What the overlay changes outside of the configuration: names of a run or a namespace in certificates and where KEDA finds the learner, and
//! values that have to fit the configuration.
//!
//! A patch of something that the manifests do not have changes nothing, so nobody asks here whether they have it.

use common::RunId;
use proto::{PeerRole, RoleName};
use serde_json::Value;
use std::fmt;

/// The learner's port in a cluster.
const LEARNER_PORT: u16 = 7400;

/// Changes of one object, as JSON Patch has them: operation, path, value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patch {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) operations: Vec<(&'static str, String, Value)>,
}

impl fmt::Display for Patch {
    /// An entry of a kustomization's `patches`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, .. } = self;
        writeln!(f, "  - target: {{kind: {kind}, name: {name}}}\n    patch: |-")?;
        // JSON is YAML too, so a string takes whatever is written.
        self.operations.iter().try_for_each(|(op, path, value)| {
            writeln!(f, "      - {{op: {op}, path: {path}, value: {value}}}")
        })
    }
}

/// The end of a kustomization: nothing, or a section with the patches for another run, for another namespace, and `fitting`.
pub(super) fn patches(run: Option<&RunId>, namespace: Option<&str>, fitting: &[Patch]) -> String {
    let certified = run
        .into_iter()
        .flat_map(|run| PeerRole::ALL.map(|role| certified(role, run)));
    let reached = namespace.into_iter().flat_map(reached);
    let all: String = certified
        .chain(reached)
        .chain(fitting.iter().cloned())
        .map(|patch| patch.to_string())
        .collect();
    match all.is_empty() {
        true => all,
        false => format!("patches:\n{all}"),
    }
}

/// The first name of a role's certificate is what it proves to be.
fn certified(role: PeerRole, run: &RunId) -> Patch {
    let run = run.clone();
    let name = RoleName { role, run }.to_string();
    patch(
        "Certificate",
        &format!("adwright-{role}"),
        &[("replace", "/spec/dnsNames/0", name)],
    )
}

/// Hosts that are dialled by their names with the namespace. Certificates keep the names that they have beside those.
fn reached(namespace: &str) -> [Patch; 3] {
    let served = |role: PeerRole| {
        let host = format!("adwright-{role}.{namespace}");
        let further = [
            ("add", "/spec/dnsNames/-", host.clone()),
            ("add", "/spec/dnsNames/-", format!("{host}.svc")),
        ];
        patch("Certificate", &format!("adwright-{role}"), &further)
    };
    let learner = format!("adwright-learner.{namespace}:{LEARNER_PORT}");
    let asked = [("replace", "/spec/triggers/0/metadata/scalerAddress", learner)];
    [
        served(PeerRole::Learner),
        served(PeerRole::RewardServer),
        patch("ScaledObject", "adwright-actor", &asked),
    ]
}

fn patch(kind: &'static str, name: &str, operations: &[(&'static str, &str, String)]) -> Patch {
    let operations = operations
        .iter()
        .map(|(op, path, value)| (*op, (*path).to_owned(), Value::from(value.as_str())));
    Patch {
        kind,
        name: name.to_owned(),
        operations: operations.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_patched() {
        assert_eq!(patches(None, None, &[]), "");
        let run = RunId::new("spring").unwrap();
        let renamed = patches(Some(&run), None, &[]);
        assert_eq!(renamed.matches("/spec/dnsNames/0").count(), PeerRole::ALL.len());
        assert!(renamed.contains("\"reward-server.spring\"") && !renamed.contains("scalerAddress"));
        let moved = patches(None, Some("ads"), &[]);
        assert!(moved.contains("\"adwright-learner.ads:7400\"") && !moved.contains("dnsNames/0"));
        assert!(moved.contains("\"adwright-reward-server.ads.svc\""), "{moved}");
        let fitting = Patch {
            kind: "Job",
            name: "adwright-learner".into(),
            operations: vec![("add", "/spec/x".into(), 7.into())],
        };
        assert_eq!(
            patches(None, None, &[fitting]),
            "patches:\n  - target: {kind: Job, name: adwright-learner}\n    patch: |-\n      - {op: add, path: /spec/x, value: 7}\n"
        );
    }
}
