//! Ways out of pods to services that the configuration names and somebody else runs: a collector of spans, an image service. The manifests'
//! policies shut out every address that they do not name, so one that is set here brings a policy of its own, where its address says enough.

use super::objects::Objects;
use super::overlay::quoted;
use crate::config::Config;
use actor::Generator;
use std::net::IpAddr;
use url::{Host, Url};

/// The file of these policies in an overlay.
pub(super) const FILE: &str = "network-policy.yaml";

/// The policy by which nothing comes or goes that no other one names.
const DENY: &str = "default-deny";

/// The port at which the manifests let pods out to public addresses.
const PUBLIC_PORT: u16 = 443;

const HEAD: &str = "# Services that `adwright launch --set` names, to which the manifests let no pods out. Where the pods of a Service listen at another port
# than it does, theirs is the one that counts.
";

/// A service that somebody else runs.
#[derive(Debug, PartialEq)]
struct Service {
    key: &'static str,
    /// What its policy is called.
    name: &'static str,
    /// Whose pods call it.
    pods: &'static str,
    url: Url,
}

/// What is known of a service's address.
#[derive(Debug, PartialEq)]
enum Place {
    /// The pod's own.
    Within,
    Namespace(String),
    Address(IpAddr),
    /// A name that some server of names knows.
    Name,
}

/// The ways that an overlay brings.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ways {
    /// The policies as YAML; nothing where none is needed.
    pub(crate) policies: Option<String>,
    /// What the user is to know: a line for every service that the manifests shut out.
    pub(crate) told: Vec<String>,
}

impl Ways {
    /// To the services of `config` that `below`, the configuration without what is set, does not name, out of pods in `namespace`. `layer` is the
    /// name of the file with the keys that are set: no other overlay that this one builds on has a policy of that name.
    pub(crate) fn of(
        below: &Config,
        config: &Config,
        objects: &Objects,
        namespace: Option<&str>,
        layer: &str,
    ) -> Self {
        let mut ways = Self::default();
        // Where nothing is shut out a policy would be the first to do it.
        if !objects.has("NetworkPolicy", DENY) {
            return ways;
        }
        // Those of the files below are led to by their overlay.
        let below = services(below);
        let set = services(config)
            .into_iter()
            .filter(|service| !below.contains(service));
        let layer = layer.trim_end_matches(".toml");
        for service in set {
            ways.lead_to(&service, namespace, layer);
        }
        ways
    }

    fn lead_to(&mut self, service: &Service, namespace: Option<&str>, layer: &str) {
        let Some(port) = service.url.port_or_known_default() else {
            return;
        };
        let Service { key, name, pods, url } = service;
        let shown = url.as_str().trim_end_matches('/');
        let (peer, whom) = match place(url) {
            Place::Within => return,
            Place::Name if port == PUBLIC_PORT && is_public(url) => return,
            Place::Name => {
                self.told.push(format!(
                    "{key} = {shown}: the policies of the manifests shut it out, and its name does not say where it runs: add a NetworkPolicy to the \
                     overlay that lets pods out to it at port {port}, as docs/operations.md has one (Look)"
                ));
                return;
            }
            Place::Namespace(of) => {
                let named = format!("{{kubernetes.io/metadata.name: {}}}", quoted(&of));
                (
                    format!("namespaceSelector: {{matchLabels: {named}}}"),
                    format!("namespace {of}, of which it is taken for a Service,"),
                )
            }
            Place::Address(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                (
                    format!("ipBlock: {{cidr: \"{address}/{bits}\"}}"),
                    address.to_string(),
                )
            }
        };
        self.told.push(format!(
            "{key} = {shown}: {FILE} lets pods out to {whom} at port {port}"
        ));
        let within = namespace.map(|namespace| format!(", namespace: {}", quoted(namespace)));
        let within = within.unwrap_or_default();
        let text = self.policies.get_or_insert_with(|| HEAD.to_owned());
        *text += &format!(
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {layer}-{name}{within}}}\nspec:\n  \
             podSelector: {{{pods}}}\n  policyTypes: [Egress]\n  egress:\n    - to: [{{{peer}}}]\n      \
             ports: [{{protocol: TCP, port: {port}}}]\n"
        );
    }
}

/// What roles are told to call: docs/security.md, connections.
fn services(config: &Config) -> Vec<Service> {
    let spans = ("telemetry.otlp", "collector", ALL, &config.telemetry.otlp);
    let images = ("endpoints.images", "images", PAINTED, &config.endpoints.images);
    let painted = config.actor.image_generator == Generator::Remote;
    let named = [spans].into_iter().chain(painted.then_some(images));
    named
        .filter_map(|(key, name, pods, url)| {
            let url = Url::parse(url).ok()?;
            Some(Service { key, name, pods, url })
        })
        .collect()
}

/// All roles.
const ALL: &str = "matchLabels: {app.kubernetes.io/name: adwright}";

/// Those that have pictures made.
const PAINTED: &str = "matchLabels: {app.kubernetes.io/name: adwright}, matchExpressions: [{key: app.kubernetes.io/component, operator: In, \
                       values: [actor, evaluator]}]";

fn place(url: &Url) -> Place {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::from(address),
        Some(Host::Ipv6(address)) => IpAddr::from(address),
        Some(Host::Domain("localhost")) => return Place::Within,
        // A Service is called by NAME.NAMESPACE from other namespaces.
        Some(Host::Domain(name)) => {
            return match labels(name)[..] {
                [_, namespace] | [_, namespace, "svc", ..] => Place::Namespace(namespace.to_owned()),
                _ => Place::Name,
            };
        }
        None => return Place::Name,
    };
    match address.is_loopback() {
        true => Place::Within,
        false => Place::Address(address),
    }
}

/// Whether a name is none of a Service in the pods' own namespace.
fn is_public(url: &Url) -> bool {
    url.host_str().is_some_and(|name| labels(name).len() > 1)
}

fn labels(name: &str) -> Vec<&str> {
    name.trim_end_matches('.').split('.').collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;
    use crate::launch::Configured;
    use std::path::{Path, PathBuf};

    fn ways(name: &str, sets: &[&str]) -> Ways {
        let overlays = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s/overlays");
        let overlay = overlays.join(name);
        let (files, objects) = (
            Configured::of(&overlay).unwrap().paths(),
            Objects::of(&overlay).unwrap(),
        );
        let (below, config) = (config(&files, &[]), config(&files, sets));
        Ways::of(&below, &config, &objects, Some("ads"), "30-launch.toml")
    }

    fn config(files: &[PathBuf], sets: &[&str]) -> Config {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        Layers::default().files(files).sets(&sets).examine().0
    }

    /// The objects of the file.
    fn policies(ways: &Ways) -> Vec<serde_json::Value> {
        let text = ways.policies.as_deref().unwrap();
        serde_saphyr::from_multiple(text).unwrap()
    }

    #[test]
    fn all_roles_are_let_out_to_a_collector_of_another_namespace() {
        let ways = ways("gpu", &["telemetry.otlp=http://collector.observability:4317"]);
        let policies = policies(&ways);
        let [policy] = &policies[..] else {
            panic!("{policies:?}")
        };
        assert_eq!(
            *policy,
            serde_json::json!({
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": "30-launch-collector", "namespace": "ads"},
                "spec": {
                    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "adwright"}},
                    "policyTypes": ["Egress"],
                    "egress": [{
                        "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}],
                        "ports": [{"protocol": "TCP", "port": 4317}],
                    }],
                },
            })
        );
        assert_eq!(
            ways.told,
            [
                "telemetry.otlp = http://collector.observability:4317: network-policy.yaml lets pods out to namespace observability, of which it is taken for a Service, at port 4317"
            ]
        );
    }

    #[test]
    fn who_has_pictures_made_is_let_out_to_an_image_service_and_only_where_it_is_asked() {
        let url = "endpoints.images=https://10.1.2.3:7402";
        assert_eq!(ways("gpu", &[url]), Ways::default());
        let remote = ways("gpu", &[url, "actor.image_generator=remote"]);
        let policy = &policies(&remote)[0]["spec"];
        let pods = &policy["podSelector"]["matchExpressions"][0]["values"];
        assert_eq!(*pods, serde_json::json!(["actor", "evaluator"]));
        let to = &policy["egress"][0]["to"][0];
        assert_eq!(to["ipBlock"]["cidr"], "10.1.2.3/32");
    }

    #[test]
    fn a_service_whose_name_does_not_say_where_it_runs_is_told_with_its_key_its_port_and_where_a_policy_is() {
        for url in ["http://collector:4317", "http://spans.example.org:4317"] {
            let ways = ways("local", &[&format!("telemetry.otlp={url}")]);
            assert_eq!(ways.policies, None, "{url}");
            let [told] = &ways.told[..] else {
                panic!("{:?}", ways.told)
            };
            for part in ["telemetry.otlp", url, "port 4317", "docs/operations.md"] {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn what_is_not_shut_out_needs_no_way() {
        for url in [
            "http://127.0.0.1:4317",
            "http://[::1]:4317",
            "http://localhost:4317",
            "",
        ] {
            let set = format!("telemetry.otlp={url}");
            assert_eq!(ways("gpu", &[&set]), Ways::default(), "{url}");
        }
        let public = [
            "actor.image_generator=remote",
            "endpoints.images=https://painter.example.org",
        ];
        assert_eq!(ways("gpu", &public), Ways::default());
        // Of what the files below say nothing is said again.
        let place = tempfile::tempdir().unwrap();
        let (base, below) = (
            place.path().join("kustomization.yaml"),
            place.path().join("10-base.toml"),
        );
        std::fs::write(&base, "resources: [deny.yaml]\n").unwrap();
        std::fs::write(&below, "[telemetry]\notlp = \"http://c.observability:4317\"\n").unwrap();
        let deny = place.path().join("deny.yaml");
        std::fs::write(&deny, "kind: NetworkPolicy\nmetadata: {name: default-deny}\n").unwrap();
        let of = |set: &str| {
            let objects = Objects::of(place.path()).unwrap();
            let files = std::slice::from_ref(&below);
            let (below, config) = (config(files, &[]), config(files, &[set]));
            Ways::of(&below, &config, &objects, None, "20-launch.toml")
        };
        assert_eq!(of("run.seed=7"), Ways::default());
        assert_eq!(of("telemetry.otlp=http://c.observability:4317"), Ways::default());
        assert!(
            of("telemetry.otlp=http://c.observability:4318")
                .policies
                .is_some()
        );
        // Manifests without policies are left without any.
        std::fs::write(&deny, "kind: ConfigMap\nmetadata: {name: other}\n").unwrap();
        assert_eq!(of("telemetry.otlp=http://c.observability:4318"), Ways::default());
    }

    #[test]
    fn a_service_is_called_by_its_namespace() {
        let at = |url: &str| place(&Url::parse(url).unwrap());
        let observability = || Place::Namespace("observability".to_owned());
        for host in [
            "c.observability",
            "c.observability.svc",
            "c.observability.svc.cluster.local.",
        ] {
            assert_eq!(at(&format!("http://{host}:4317")), observability(), "{host}");
        }
        assert_eq!(
            at("https://[fd00::7]:1"),
            Place::Address("fd00::7".parse().unwrap())
        );
        assert_eq!(at("https://c:1"), Place::Name);
    }
}
