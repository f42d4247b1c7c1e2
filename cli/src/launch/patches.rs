//! What says the run's name or its namespace outside of the configuration: certificates, and where KEDA finds the learner.
//!
//! A patch of something that the manifests do not have changes nothing, so nobody asks here whether they have it.

use super::overlay::quoted;
use common::RunId;
use proto::{PeerRole, RoleName};

/// The learner's port in a cluster.
const LEARNER_PORT: u16 = 7400;

/// The end of a kustomization: nothing, or a section with the patches for another run and for another namespace.
pub(super) fn patches(run: Option<&RunId>, namespace: Option<&str>) -> String {
    let certified = run
        .into_iter()
        .flat_map(|run| PeerRole::ALL.map(|role| certified(role, run)));
    let reached = namespace.into_iter().flat_map(reached);
    let all: String = certified.chain(reached).collect();
    match all.is_empty() {
        true => all,
        false => format!("patches:\n{all}"),
    }
}

/// The first name of a role's certificate is what it proves to be.
fn certified(role: PeerRole, run: &RunId) -> String {
    let run = run.clone();
    let name = RoleName { role, run }.to_string();
    patch(
        "Certificate",
        &format!("adwright-{role}"),
        &[("replace", "/spec/dnsNames/0", name)],
    )
}

/// Hosts that are dialled by their names with the namespace. Certificates keep the names that they have beside those.
fn reached(namespace: &str) -> [String; 3] {
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

fn patch(kind: &str, name: &str, operations: &[(&str, &str, String)]) -> String {
    let operations: String = operations
        .iter()
        .map(|(op, path, value)| format!("      - {{op: {op}, path: {path}, value: {}}}\n", quoted(value)))
        .collect();
    format!("  - target: {{kind: {kind}, name: {name}}}\n    patch: |-\n{operations}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_changed_is_patched() {
        assert_eq!(patches(None, None), "");
        let run = RunId::new("spring").unwrap();
        let renamed = patches(Some(&run), None);
        assert_eq!(renamed.matches("/spec/dnsNames/0").count(), PeerRole::ALL.len());
        assert!(renamed.contains("\"reward-server.spring\"") && !renamed.contains("scalerAddress"));
        let moved = patches(None, Some("ads"));
        assert!(moved.contains("\"adwright-learner.ads:7400\"") && !moved.contains("dnsNames/0"));
        assert!(moved.contains("\"adwright-reward-server.ads.svc\""), "{moved}");
    }
}
