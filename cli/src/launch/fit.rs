//! What a configuration asks of the manifests that it runs under: where they give less and may be patched, and where they cannot follow.
//!
//! `k8s/policy` holds the manifests to the same promises with the configurations that they have.

mod pods;

use super::objects::Objects;
use super::patches::Patch;
use crate::config::{Config, Mistake};
use anyhow::anyhow;
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

/// Who has pods in all manifests.
const ROLES: [PeerRole; 3] = [PeerRole::Learner, PeerRole::RewardServer, PeerRole::Actor];

/// What is asked for one role.
struct Asked<'a> {
    role: PeerRole,
    drain_s: f64,
    listen_key: &'static str,
    listen: &'a str,
    /// What it is to do when its run is complete, where that does not suit what starts it.
    run_end: Option<RunEnd>,
}

/// What a role is to do when its run is complete, and under what that does not suit.
struct RunEnd {
    key: &'static str,
    word: &'static str,
    /// Under a JobSet, not under a Deployment.
    in_set: bool,
    expected: &'static str,
    /// What the Deployment or the JobSet would make of it.
    instead: &'static str,
}

impl RunEnd {
    fn exit(key: &'static str) -> Self {
        Self {
            key,
            word: "exit",
            in_set: false,
            expected: "idle",
            instead: "would start it again; only a JobSet ends with its run",
        }
    }
}

fn asked(config: &Config) -> [Asked<'_>; 3] {
    let key = "actor.on_run_end";
    let actor_end = match config.actor.on_run_end {
        actor::OnRunEnd::Exit => RunEnd::exit(key),
        actor::OnRunEnd::Idle => RunEnd {
            key,
            word: "idle",
            in_set: true,
            expected: "exit",
            instead: "has a Job of actors, which would never complete",
        },
    };
    let key = "reward_server.on_run_end";
    let reward_end = match config.reward_server.on_run_end {
        reward_server::OnRunEnd::Exit => Some(RunEnd::exit(key)),
        // A namespace is one run's: nobody else may ask this server.
        reward_server::OnRunEnd::Serve => Some(RunEnd {
            key,
            word: "serve",
            in_set: false,
            expected: "idle",
            instead: "would keep its model for a run that is over",
        }),
        reward_server::OnRunEnd::Idle => None,
    };
    [
        Asked {
            role: PeerRole::Learner,
            drain_s: config.learner.drain_ms as f64 / 1000.0,
            listen_key: "endpoints.learner_listen",
            listen: &config.endpoints.learner_listen,
            run_end: None,
        },
        Asked {
            role: PeerRole::RewardServer,
            drain_s: config.reward_server.drain_timeout_s,
            listen_key: "endpoints.reward_listen",
            listen: &config.endpoints.reward_listen,
            run_end: reward_end,
        },
        Asked {
            role: PeerRole::Actor,
            drain_s: config.actor.drain_timeout_s,
            listen_key: "endpoints.actor_listen",
            listen: &config.endpoints.actor_listen,
            run_end: Some(actor_end),
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

    /// What follows a flag on the role's command line.
    fn argument(&self, flag: &str) -> Option<&'a str> {
        self.container(|container| {
            let arguments = container["args"].as_array()?;
            let at = arguments.iter().position(|argument| argument == flag)?;
            arguments.get(at + 1)?.as_str()
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

/// That roles read a directory of configuration files: a file that is added to them would not count otherwise.
///
/// # Errors
/// When one reads a single file, as manifests of earlier versions have it.
pub(crate) fn check_read(objects: &Objects) -> anyhow::Result<()> {
    for role in ROLES {
        let Some(workload) = Workload::of(objects, role) else {
            continue;
        };
        if let Some(file) = workload
            .argument("--config")
            .filter(|path| path.ends_with(".toml"))
        {
            let (kind, name) = (workload.kind, &workload.name);
            return Err(anyhow!(
                "{kind} {name}: --config {file}: expected the directory that it is in, to whose files one is added; the manifests are of an earlier version"
            ));
        }
    }
    Ok(())
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
        let in_set = objects.has("JobSet", JOB_SET);
        if let Some(end) = asked.run_end
            && workload.kind == "Deployment"
            && end.in_set == in_set
        {
            let under = if in_set { "JobSet" } else { "Deployment" };
            let name = if in_set { JOB_SET } else { name };
            let expected = format!("{}: {under} {name} {}", end.expected, end.instead);
            mistakes.push(Mistake::value(end.key, end.word, &expected));
        }
        if let Some(port) = workload.port("grpc")
            && !listens(asked.listen, port)
        {
            let expected = format!(
                "0.0.0.0:{port}, the port that the manifests name in {name}, its service and its policies"
            );
            mistakes.push(Mistake::value(asked.listen_key, asked.listen, &expected));
        }
        // Manifests of earlier versions say on the command line where, which the configuration does not change.
        let by_flag = workload.argument("--metrics").is_some();
        watched = watched.or_else(|| workload.port("monitoring").filter(|_| !by_flag));
    }
    mistakes.extend(pods::lacking(config, objects));
    let metrics = &config.telemetry.metrics_listen;
    if let Some(port) = watched.filter(|port| !listens(metrics, *port)) {
        let expected = format!("0.0.0.0:{port}, where the manifests have every role probed and watched");
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
mod tests;
