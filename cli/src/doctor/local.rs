//! What lies on this machine: room on its disks, the ports that roles will listen on, certificates.

use super::{Finding, Job};
use crate::node_cache;
use crate::ready::Role;
use crate::security::Security;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// Below this much room in a directory that takes weights, somebody should look.
const LITTLE_BYTES: u64 = 1 << 30;

/// The directories that a role fills: what comes by URL, and what an actor receives.
pub(super) fn disks(job: &Job) -> Vec<Finding> {
    let mut found = vec![match node_cache::cache(&job.config) {
        Ok(directory) => disk("paths.cache", &directory),
        Err(error) => Finding::warning("disk", "paths.cache", error.reason()),
    }];
    if job.concerns(Role::Actor) {
        found.push(disk("an actor's work directory", &std::env::temp_dir()));
    }
    found
}

fn disk(subject: &str, directory: &Path) -> Finding {
    let shown = directory.display();
    match free(directory) {
        Ok(bytes) if bytes < LITTLE_BYTES => {
            Finding::warning("disk", subject, format!("{} MiB free for {shown}", bytes >> 20))
                .right("room for the weights of every model that comes by URL")
        }
        Ok(bytes) => Finding::ok("disk", subject, format!("{} GiB free for {shown}", bytes >> 30)),
        Err(error) => Finding::error("disk", subject, format!("{shown}: {error}"))
            .right("a directory of this machine that can be written"),
    }
}

/// Bytes that this user can write to where the directory is, or will be.
fn free(directory: &Path) -> io::Result<u64> {
    let absolute = std::path::absolute(directory)?;
    let there = absolute.ancestors().find(|path| path.exists()).map(PathBuf::from);
    let there = there.ok_or(io::ErrorKind::NotFound)?;
    let found = rustix::fs::statvfs(&there)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Whether each role could listen where it is told to.
pub(super) fn ports(job: &Job) -> Vec<Finding> {
    let endpoints = &job.config.endpoints;
    let listens = [
        (
            Role::Learner,
            "endpoints.learner_listen",
            &endpoints.learner_listen,
        ),
        (
            Role::RewardServer,
            "endpoints.reward_listen",
            &endpoints.reward_listen,
        ),
        (Role::Actor, "endpoints.actor_listen", &endpoints.actor_listen),
    ];
    let asked = listens.into_iter().filter(|(role, ..)| job.concerns(*role));
    asked
        .map(|(_, key, address)| port(key, address, job.role.is_some()))
        .collect()
}

fn port(key: &str, address: &str, must: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("ports", key, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !must => {
            Finding::warning("ports", key, format!("{address} is taken"))
                .right("a free address, unless the job runs already")
        }
        Err(error) => Finding::error("ports", key, format!("cannot listen on {address}: {error}"))
            .right("a free address of this machine (--listen)"),
    }
}

/// Whether the certificates can be used, and are the role's where one is asked for.
pub(super) fn certificates(job: &Job) -> Vec<Finding> {
    let config = &job.config;
    if !config.tls.is_set() {
        return vec![];
    }
    let used = match job.role {
        Some(role) => Security::open(config, role.peer()).map(drop),
        None => Security::asking(config).map(drop),
    };
    let right =
        "PEM files of a certificate for the role and run, its key, and the authority (docs/security.md)";
    vec![match used {
        Ok(()) => Finding::ok("tls", "tls.cert", format!("{} can be used", config.tls.cert)),
        Err(failure) => Finding::mistake("tls", "tls.cert", failure.reason()).right(right),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn a_taken_port_is_an_error_for_the_role_that_needs_it_and_else_a_warning() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert_eq!(port("k", &address, true).level, Level::Error);
        let found = port("k", &address, false);
        assert!(
            found.level == Level::Warning && found.found.contains(&address),
            "{found:?}"
        );
        drop(taken);
        assert_eq!(port("k", &address, true).level, Level::Ok);
        assert_eq!(port("k", "192.0.2.1:0", false).level, Level::Error);
    }

    #[test]
    fn room_is_told_of_the_disk_that_a_directory_will_be_on() {
        let parent = tempfile::tempdir().unwrap();
        let room = free(&parent.path().join("not/yet/there")).unwrap();
        assert!(room > 0);
        assert!(!parent.path().join("not").exists());
    }
}
