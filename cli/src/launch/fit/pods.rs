//! Whether pods have what the configuration names: places of their own and services beside them. What has to survive is in none.

use super::{ROLES, Workload};
use crate::config::{Config, Mistake};
use crate::launch::objects::Objects;
use crate::locations;
use std::path::Path;
use url::Url;

/// What pods of these manifests lack, key by key.
pub(super) fn lacking(config: &Config, objects: &Objects) -> Vec<Mistake> {
    let roles = ROLES.into_iter();
    let pods: Vec<_> = roles.filter_map(|role| Workload::of(objects, role)).collect();
    if pods.is_empty() {
        return vec![];
    }
    let mut mistakes = Vec::new();
    for (key, place) in [
        ("store.url", &config.store.url),
        ("paths.adapter", &config.paths.adapter),
    ] {
        if locations::directory(place).is_some() {
            let expected = "a bucket's URL, such as s3://bucket/runs/demo: a directory goes with its pod, and no other pod has it";
            mistakes.push(Mistake::value(key, place, expected));
        }
    }
    let all_have = |path: &Path, volume| pods.iter().all(|pod| pod.volume(path) == Some(volume));
    let (source, cache) = (&config.catalogue.source, &config.paths.cache);
    // A URL is taken for a file's there.
    let file = config.catalogue.file().and_then(|_| locations::directory(source));
    if file.is_some_and(|file| !all_have(&file, Volume::Given)) {
        let expected = "a bucket's URL, such as s3://bucket/catalogue, or shopworld: no volume of the pods has that file";
        mistakes.push(Mistake::value("catalogue.source", source, expected));
    }
    if !all_have(Path::new(cache), Volume::Writable) {
        let expected = "a directory in a volume that pods can write to, such as /var/lib/adwright/cache";
        mistakes.push(Mistake::value("paths.cache", cache, expected));
    }
    for (key, url, service) in [
        ("endpoints.learner", &config.endpoints.learner, "adwright-learner"),
        (
            "endpoints.reward",
            &config.endpoints.reward,
            "adwright-reward-server",
        ),
    ] {
        if !is_served(url, objects) {
            let expected = format!("a Service of the manifests at its port, such as {service}");
            mistakes.push(Mistake::value(key, url, &expected));
        }
    }
    mistakes
}

/// What is at a path of a role's container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Volume {
    /// Nothing but what the process writes there.
    Writable,
    /// Something that comes with the pod.
    Given,
}

impl Workload<'_> {
    /// The volume that a path is in; none where it is on the image's disk, which is read-only.
    fn volume(&self, path: &Path) -> Option<Volume> {
        let mount = self.container(|container| {
            let mounts = container["volumeMounts"].as_array()?.iter();
            let around = mounts.filter(|mount| {
                let at = mount["mountPath"].as_str();
                at.is_some_and(|at| path.starts_with(at))
            });
            around.max_by_key(|mount| mount["mountPath"].as_str().map(str::len))
        })?;
        let own = self.pod(|pod| {
            let mut volumes = pod["volumes"].as_array()?.iter();
            let named = volumes.find(|volume| volume["name"] == mount["name"])?;
            Some(!named["emptyDir"].is_null())
        })?;
        Some(if own { Volume::Writable } else { Volume::Given })
    }
}

/// Whether a Service of the manifests has this address.
fn is_served(url: &str, objects: &Objects) -> bool {
    let parsed = Url::parse(url).ok();
    let address = parsed
        .as_ref()
        .and_then(|url| Some((url.host_str()?, url.port_or_known_default()?)));
    address.is_some_and(|(host, port)| {
        let ports = objects.find("Service", host, |service| {
            service.pointer("/spec/ports")?.as_array()
        });
        ports.is_some_and(|ports| ports.iter().any(|one| one["port"] == port))
    })
}
