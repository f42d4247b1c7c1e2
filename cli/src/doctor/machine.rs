//! What the machine has to compute with, against what the configuration asks for.

use super::{Finding, Job};
use crate::ready::Role;
use std::path::Path;

/// What a picture of the largest size takes while it is decoded (`reward_server.concurrent_decodes`).
const DECODE_BYTES: u64 = 256 << 20;

/// Above this share of the memory, budgets leave too little for weights and activations.
const MOST_SHARE: f64 = 0.8;

/// The device, and whether it computes in the number format: its driver is asked.
pub(super) fn compute(job: &Job) -> Vec<Finding> {
    let compute = &job.config.compute;
    let named = format!("{} in {}", compute.device, compute.dtype);
    vec![match compute.placement() {
        Ok(_) => Finding::ok("compute", "compute.device", named),
        Err(error) => Finding::mistake("compute", "compute.device", format!("{named}: {error}"))
            .right("a device of this machine that computes in the format; `cpu` and `f32` always work"),
    }]
}

/// Threads against the cores that the process may use.
pub(super) fn threads(job: &Job) -> Vec<Finding> {
    let (key, threads) = ("compute.threads", job.config.compute.threads);
    let cores = match std::thread::available_parallelism() {
        Ok(cores) => cores.get(),
        Err(error) => {
            return vec![Finding::warning(
                "threads",
                key,
                format!("the cores cannot be counted: {error}"),
            )];
        }
    };
    let found = format!("{threads} threads on {cores} cores");
    vec![match threads > cores {
        true => Finding::warning("threads", key, found).right(format!(
            "at most {cores}: more threads than cores take turns and compute no more"
        )),
        false => Finding::ok("threads", key, found),
    }]
}

/// The budgets of each role against the memory that a process may take.
pub(super) fn memory(job: &Job) -> Vec<Finding> {
    let Some(limit) = memory_limit() else {
        return vec![Finding::warning(
            "memory",
            "",
            "the machine does not say how much it has",
        )];
    };
    let roles = [Role::Learner, Role::RewardServer, Role::Actor];
    let asked = roles.into_iter().filter(|role| job.concerns(*role));
    asked
        .map(|role| budget(role, budgets(job, role), &limit))
        .collect()
}

fn budget(role: Role, bytes: u64, limit: &Limit) -> Finding {
    let (name, of) = (role.name(), &limit.of);
    let found = format!("budgets of {} of {} ({of})", mib(bytes), mib(limit.bytes));
    match bytes as f64 > MOST_SHARE * limit.bytes as f64 {
        true => Finding::error("memory", name, found).right(format!(
            "at most {} in the role's *_bytes keys and decodes, or more memory: weights and activations need the rest",
            mib((MOST_SHARE * limit.bytes as f64) as u64)
        )),
        false => Finding::ok("memory", name, found),
    }
}

/// What a role may hold by its configuration, weights and activations left out.
fn budgets(job: &Job, role: Role) -> u64 {
    let config = &job.config;
    let on_host = config.compute.device == "cpu";
    let features = |bytes: usize| if on_host { bytes as u64 } else { 0 };
    match role {
        Role::Learner => config.learner.memory_bytes as u64 + features(config.learner.feature_cache_bytes),
        Role::Actor => {
            let actor = &config.actor;
            let caches = actor.product_cache_bytes as u64 + features(actor.feature_cache_bytes);
            caches + actor.memory_bytes as u64
        }
        Role::RewardServer => {
            let server = &config.reward_server;
            let decodes = server.concurrent_decodes as u64 * DECODE_BYTES;
            server.memory_bytes as u64 + server.cache_bytes as u64 + decodes
        }
    }
}

/// How much memory a process may take, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limit {
    bytes: u64,
    of: String,
}

fn memory_limit() -> Option<Limit> {
    let whole = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total(&text));
    let machine = whole.map(|bytes| Limit {
        bytes,
        of: "the machine's memory".into(),
    });
    let places = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let groups = group_files(&places).into_iter().filter_map(|file| {
        let bytes = std::fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        let of = format!("the limit in {file}");
        Some(Limit { bytes, of })
    });
    groups.chain(machine).min_by_key(|limit| limit.bytes)
}

/// `MemTotal:       24576000 kB`
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The files that limit a process in the groups of `/proc/self/cgroup`, those of the groups above included.
fn group_files(places: &str) -> Vec<String> {
    let mut files = vec!["/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned()];
    let unified = places.lines().find_map(|line| line.strip_prefix("0::"));
    for group in Path::new(unified.unwrap_or("/")).ancestors() {
        let group = group.to_string_lossy();
        files.push(format!(
            "/sys/fs/cgroup{}/memory.max",
            group.trim_end_matches('/')
        ));
    }
    files
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::doctor::Level;

    fn job(change: impl FnOnce(&mut Config)) -> Job {
        let mut config = Config::default();
        change(&mut config);
        Job { config, role: None }
    }

    #[test]
    fn a_device_that_is_not_there_is_the_configurations_mistake() {
        assert_eq!(compute(&job(|_| {}))[0].level, Level::Ok);
        let found = compute(&job(|config| config.compute.device = "tpu".into()));
        assert_eq!(found[0].fault, Some(crate::doctor::Fault::Configuration));
        assert!(found[0].found.contains("tpu"), "{found:?}");
    }

    #[test]
    fn more_threads_than_cores_are_a_warning() {
        assert_eq!(
            threads(&job(|config| config.compute.threads = 1))[0].level,
            Level::Ok
        );
        assert_eq!(
            threads(&job(|config| config.compute.threads = 1024))[0].level,
            Level::Warning
        );
    }

    #[test]
    fn budgets_beyond_the_memory_are_an_error_and_on_a_gpu_features_do_not_count() {
        let limit = Limit {
            bytes: 2 << 30,
            of: "a test".into(),
        };
        let of = |job: &Job| budget(Role::Learner, budgets(job, Role::Learner), &limit);
        assert_eq!(of(&job(|_| {})).level, Level::Ok);
        let greedy = job(|config| config.learner.feature_cache_bytes = 4 << 30);
        assert_eq!(of(&greedy).level, Level::Error);
        let elsewhere = job(|config| {
            config.learner.feature_cache_bytes = 4 << 30;
            config.compute.device = "cuda".into();
        });
        assert_eq!(of(&elsewhere).level, Level::Ok);
        let busy = job(|config| config.actor.memory_bytes = 4 << 30);
        let of_actor = budget(Role::Actor, budgets(&busy, Role::Actor), &limit);
        assert_eq!(of_actor.level, Level::Error);
    }

    #[test]
    fn the_memory_is_read_as_the_system_writes_it() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        let files = group_files("1:name=x:/\n0::/a/b\n");
        assert_eq!(
            files[1..],
            [
                "/sys/fs/cgroup/a/b/memory.max",
                "/sys/fs/cgroup/a/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert!(memory_limit().is_some_and(|limit| limit.bytes > 64 << 20));
    }
}
