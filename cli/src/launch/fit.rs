//! What a configuration asks of the manifests that it runs under: where they give less and may be patched, and where they cannot follow.
//!
//! `k8s/policy` holds the manifests to the same promises with the configurations that they have.

use super::objects::Objects;
use super::patches::Patch;
use crate::config::{Config, Mistake};
use proto::PeerRole;
use serde_json::Value;
use std::net::SocketAddr;

/// Between the end of a drain and SIGKILL, for what a process does after it, in seconds: docs/operations.md.
const MARGIN_S: u64 = 10;

/// How long Kubernetes waits before SIGKILL where a pod does not say it, in seconds.
const KUBERNETES_GRACE_S: u64 = 30;

/// How far a HorizontalPodAutoscaler looks back at most, in seconds: a bound of Kubernetes' API.
const LONGEST_WINDOW_S: f64 = 3600.0;

/// The JobSet that ends with its run.
const JOB_SET: &str = "adwright";

/// What scales the actors, by kind: where its behaviour is, the most that it starts, and how long it waits before it starts none.
const SCALERS: [(&str, &str, &str, Option<&str>); 2] = [
    (
        "HorizontalPodAutoscaler",
        "/spec/behavior",
        "/spec/maxReplicas",
        None,
    ),
    (
        "ScaledObject",
        "/spec/advanced/horizontalPodAutoscalerConfig/behavior",
        "/spec/maxReplicaCount",
        Some("/spec/cooldownPeriod"),
    ),
];

/// Its name.
const SCALER: &str = "adwright-actor";

/// What is asked for one role.
struct Asked<'a> {
    role: PeerRole,
    drain_s: f64,
    listen_key: &'static str,
    listen: &'a str,
    /// The key that says what it does when its run is complete, where that is to end.
    exit_key: Option<&'static str>,
}

fn asked(config: &Config) -> [Asked<'_>; 3] {
    let exits = config.actor.on_run_end == actor::OnRunEnd::Exit;
    let reward_exits = config.reward_server.on_run_end == reward_server::OnRunEnd::Exit;
    [
        Asked {
            role: PeerRole::Learner,
            drain_s: config.learner.drain_ms as f64 / 1000.0,
            listen_key: "endpoints.learner_listen",
            listen: &config.endpoints.learner_listen,
            exit_key: None,
        },
        Asked {
            role: PeerRole::RewardServer,
            drain_s: config.reward_server.drain_timeout_s,
            listen_key: "endpoints.reward_listen",
            listen: &config.endpoints.reward_listen,
            exit_key: reward_exits.then_some("reward_server.on_run_end"),
        },
        Asked {
            role: PeerRole::Actor,
            drain_s: config.actor.drain_timeout_s,
            listen_key: "endpoints.actor_listen",
            listen: &config.endpoints.actor_listen,
            exit_key: exits.then_some("actor.on_run_end"),
        },
    ]
}

/// Where a role's pods are described.
struct Workload<'a> {
    objects: &'a Objects,
    kind: &'static str,
    name: String,
    role: PeerRole,
}

impl<'a> Workload<'a> {
    fn of(objects: &'a Objects, role: PeerRole) -> Option<Self> {
        let name = format!("adwright-{role}");
        let kind = ["Deployment", "Job"]
            .into_iter()
            .find(|kind| objects.has(kind, &name))?;
        Some(Self {
            objects,
            kind,
            name,
            role,
        })
    }

    /// What its pod says.
    fn pod<T>(&self, said: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        self.objects.find(self.kind, &self.name, |object| {
            said(object.pointer("/spec/template/spec")?)
        })
    }

    /// What the role's container says.
    fn container<T>(&self, said: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let role = self.role.name();
        self.pod(|pod| {
            let containers = pod["containers"].as_array()?;
            said(containers.iter().find(|container| container["name"] == role)?)
        })
    }

    fn port(&self, name: &str) -> Option<u64> {
        self.container(|container| {
            let ports = container["ports"].as_array()?;
            ports.iter().find(|port| port["name"] == name)?["containerPort"].as_u64()
        })
    }

    /// Seconds between SIGTERM and SIGKILL.
    fn grace_s(&self) -> u64 {
        let given = self.pod(|pod| pod["terminationGracePeriodSeconds"].as_u64());
        given.unwrap_or(KUBERNETES_GRACE_S)
    }

    /// Seconds of them in which the process has not been told yet.
    fn pause_s(&self) -> u64 {
        let given =
            self.container(|container| container.pointer("/lifecycle/preStop/sleep/seconds")?.as_u64());
        given.unwrap_or(0)
    }
}

/// What the manifests cannot follow, key by key.
pub(crate) fn unfit(config: &Config, objects: &Objects) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut watched = None;
    for asked in asked(config) {
        let Some(workload) = Workload::of(objects, asked.role) else {
            continue;
        };
        let name = &workload.name;
        if let Some(key) = asked.exit_key
            && workload.kind == "Deployment"
            && !objects.has("JobSet", JOB_SET)
        {
            let expected = format!(
                "idle: Deployment {name} would start it again; only under a JobSet may it end with its run"
            );
            mistakes.push(Mistake::value(key, "exit", &expected));
        }
        if let Some(port) = workload.port("grpc")
            && !listens(asked.listen, port)
        {
            let expected = format!(
                "0.0.0.0:{port}, the port that the manifests name in {name}, its service and its policies"
            );
            mistakes.push(Mistake::value(asked.listen_key, asked.listen, &expected));
        }
        watched = watched.or_else(|| workload.port("monitoring"));
    }
    let metrics = &config.telemetry.metrics_listen;
    if let Some(port) = watched.filter(|port| !metrics.is_empty() && !listens(metrics, *port)) {
        let expected = format!("0.0.0.0:{port}, where the manifests let every role be watched, or nothing");
        mistakes.push(Mistake::value("telemetry.metrics_listen", metrics, &expected));
    }
    let cold_start_s = config.learner.scaling.cold_start_s;
    for (kind, ..) in SCALERS.iter().filter(|(kind, ..)| objects.has(kind, SCALER)) {
        if cold_start_s > LONGEST_WINDOW_S {
            let expected =
                format!("at most {LONGEST_WINDOW_S} s: {kind} {SCALER} cannot look back any further");
            mistakes.push(Mistake::value(
                "learner.scaling.cold_start_s",
                cold_start_s,
                &expected,
            ));
        }
    }
    mistakes
}

/// Whether callers from other pods reach an address at a port.
fn listens(address: &str, port: u64) -> bool {
    let parsed = address.parse::<SocketAddr>();
    parsed.is_ok_and(|address| u64::from(address.port()) == port && !address.ip().is_loopback())
}

/// Patches of what the manifests give too little of: time to drain, how far autoscalers look back, how many actors they start.
pub(crate) fn fitting(config: &Config, objects: &Objects) -> Vec<Patch> {
    let graces = asked(config).into_iter().filter_map(|asked| {
        let workload = Workload::of(objects, asked.role)?;
        let needed = whole(asked.drain_s) + workload.pause_s() + MARGIN_S;
        (needed > workload.grace_s()).then(|| grace(&workload, needed))
    });
    let scaling = &config.learner.scaling;
    let scalers = SCALERS
        .into_iter()
        .filter_map(|(kind, behavior, most, cooldown)| {
            let window = |direction| format!("{behavior}/{direction}/stabilizationWindowSeconds");
            let cold_start = whole(scaling.cold_start_s);
            let wanted = ["scaleUp", "scaleDown"]
                .map(window)
                .into_iter()
                .chain(cooldown.map(str::to_owned))
                .map(|path| (path, cold_start))
                .chain([(most.to_owned(), scaling.max_actors as u64)]);
            let too_little = wanted.filter(|(path, wanted)| {
                let given = objects.find(kind, SCALER, |object| object.pointer(path)?.as_u64());
                given.is_some_and(|given| given < *wanted)
            });
            let operations: Vec<_> = too_little
                .map(|(path, wanted)| ("replace", path, wanted.into()))
                .collect();
            (!operations.is_empty()).then(|| Patch {
                kind,
                name: SCALER.to_owned(),
                operations,
            })
        });
    graces.chain(scalers).collect()
}

/// Of a Job or a Deployment, or of the JobSet that holds a copy of its pods.
fn grace(workload: &Workload<'_>, seconds: u64) -> Patch {
    let role = workload.role.name();
    let within = "template/spec/terminationGracePeriodSeconds";
    let copied = workload.objects.find("JobSet", JOB_SET, |set| {
        let jobs = set.pointer("/spec/replicatedJobs")?.as_array()?;
        jobs.iter().position(|job| job["name"] == role)
    });
    let (kind, name, path) = match copied {
        Some(job) => (
            "JobSet",
            JOB_SET.to_owned(),
            format!("/spec/replicatedJobs/{job}/template/spec/{within}"),
        ),
        None => (workload.kind, workload.name.clone(), format!("/spec/{within}")),
    };
    // It replaces what is there, and may be where nothing is.
    Patch {
        kind,
        name,
        operations: vec![("add", path, seconds.into())],
    }
}

/// Seconds, rounded up.
fn whole(seconds: f64) -> u64 {
    seconds.ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;
    use std::path::{Path, PathBuf};

    fn overlay(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../k8s/overlays")
            .join(name)
    }

    fn objects(name: &str) -> Objects {
        Objects::of(&overlay(name)).unwrap()
    }

    /// The configuration of an overlay with keys set.
    fn config(name: &str, sets: &[&str]) -> Config {
        let file = crate::launch::config_of(&overlay(name)).unwrap();
        let sets: Vec<String> = ["compute.device=cpu"]
            .iter()
            .chain(sets)
            .map(|&set| set.to_owned())
            .collect();
        Layers::default().file(Some(&file)).sets(&sets).resolve().unwrap()
    }

    fn refused(name: &str, sets: &[&str]) -> Vec<String> {
        let mistakes = unfit(&config(name, sets), &objects(name));
        mistakes.iter().map(ToString::to_string).collect()
    }

    fn patched(name: &str, sets: &[&str]) -> Vec<(String, String, u64)> {
        let patches = fitting(&config(name, sets), &objects(name));
        let all = patches.into_iter().flat_map(|patch| {
            let name = format!("{}/{}", patch.kind, patch.name);
            let said = |(_, path, value): (_, String, Value)| (name.clone(), path, value.as_u64().unwrap());
            patch.operations.into_iter().map(said).collect::<Vec<_>>()
        });
        all.collect()
    }

    const ALL: [&str; 5] = ["local", "gpu", "elastic", "elastic-keda", "jobset"];

    #[test]
    fn what_the_manifests_have_fits_their_own_configurations() {
        for name in ALL {
            assert!(refused(name, &[]).is_empty(), "{name}: {:?}", refused(name, &[]));
            assert!(patched(name, &[]).is_empty(), "{name}: {:?}", patched(name, &[]));
        }
    }

    #[test]
    fn a_role_ends_with_its_run_under_a_job_set_only() {
        let ends = ["actor.on_run_end=exit", "reward_server.on_run_end=exit"];
        for name in ALL {
            let told = refused(name, &ends).join("\n");
            let expected = if name == "jobset" { 0 } else { 2 };
            assert_eq!(told.lines().count(), expected, "{name}: {told}");
            for key in ["actor.on_run_end = exit", "reward_server.on_run_end = exit"] {
                assert_eq!(told.contains(key), expected > 0, "{name}: {told}");
            }
        }
    }

    #[test]
    fn a_port_that_the_manifests_name_does_not_move() {
        for (set, port) in [
            ("endpoints.learner_listen=0.0.0.0:7999", "0.0.0.0:7400"),
            ("endpoints.reward_listen=0.0.0.0:0", "0.0.0.0:7401"),
            ("endpoints.actor_listen=127.0.0.1:7402", "0.0.0.0:7402"),
            ("telemetry.metrics_listen=0.0.0.0:7999", "0.0.0.0:7409"),
        ] {
            let told = refused("jobset", &[set]);
            let key = set.split('=').next().unwrap();
            assert!(
                told.len() == 1 && told[0].starts_with(key) && told[0].contains(port),
                "{set}: {told:?}"
            );
        }
        let same = [
            "endpoints.learner_listen=[::]:7400",
            "telemetry.metrics_listen=0.0.0.0:7409",
        ];
        assert!(refused("gpu", &same).is_empty());
    }

    #[test]
    fn a_longer_drain_has_a_longer_grace_where_the_pods_are() {
        let drains = [
            "actor.drain_timeout_s=600.5",
            "reward_server.drain_timeout_s=100",
            "learner.drain_ms=110001",
        ];
        let path = "/spec/template/spec/terminationGracePeriodSeconds";
        let at = |name: &str, path: &str, seconds| (name.to_owned(), path.to_owned(), seconds);
        assert_eq!(
            patched("gpu", &drains),
            [
                at("Job/adwright-learner", path, 121),
                // With the pause in which its name still leads to it.
                at("Deployment/adwright-reward-server", path, 120),
                at("Deployment/adwright-actor", path, 611),
            ]
        );
        let copies = patched("jobset", &drains);
        let within = |job| format!("/spec/replicatedJobs/{job}/template{path}");
        assert_eq!(
            copies,
            [
                at("JobSet/adwright", &within(0), 121),
                at("JobSet/adwright", &within(1), 120),
                at("JobSet/adwright", &within(2), 611),
            ]
        );
        // As much as there is.
        assert!(patched("gpu", &["actor.drain_timeout_s=170", "learner.drain_ms=110000"]).is_empty());
    }

    #[test]
    fn an_autoscaler_looks_back_a_cold_start_and_starts_as_many_as_may_be_wanted() {
        let sets = [
            "learner.scaling.cold_start_s=1200",
            "learner.scaling.max_actors=64",
        ];
        let values = |name: &str| -> Vec<u64> {
            let patched = patched(name, &sets);
            patched.into_iter().map(|(_, _, value)| value).collect()
        };
        assert_eq!(values("elastic"), [1200, 1200, 64]);
        assert_eq!(values("elastic-keda"), [1200, 1200, 1200, 64]);
        assert!(values("gpu").is_empty());
        let fewer = ["learner.scaling.cold_start_s=60", "learner.scaling.max_actors=4"];
        assert!(patched("elastic-keda", &fewer).is_empty());

        let longest = ["learner.scaling.cold_start_s=3601"];
        for (name, count) in [("gpu", 0), ("elastic", 1), ("elastic-keda", 1)] {
            let told = refused(name, &longest);
            assert_eq!(told.len(), count, "{told:?}");
            assert!(
                told.iter().all(|told| told.contains("cold_start_s = 3601")),
                "{told:?}"
            );
        }
    }
}
