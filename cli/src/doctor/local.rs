//! What lies on this machine: room on its disks, the ports that roles will listen on, certificates, the dashboard's token.

use super::{Finding, Job};
use crate::args::Starter;
use crate::checks::listens;
use crate::node_cache;
use crate::ready::Role;
use crate::security::Security;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Below this much room in a directory that takes weights, somebody should look.
const LITTLE_BYTES: u64 = 1 << 30;

/// A certificate that ends within this time may end before the job does.
const SOON: Duration = Duration::from_secs(7 * DAY.as_secs());
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The directories that a role fills: what comes by URL, and what an actor receives.
pub(super) fn disks(job: &Job) -> Vec<Finding> {
    let mut found = vec![match node_cache::cache(&job.config) {
        Ok(directory) => disk("paths.cache", &directory),
        Err(error) => Finding::warning("disk", "paths.cache", error.reason()),
    }];
    if job.concerns(Role::Actor) {
        found.push(disk("an actor's work directory", &std::env::temp_dir()));
    }
    let board = job.config.telemetry.tensorboard_dir();
    found.extend(
        board
            .filter(|_| job.concerns(Role::Learner))
            .map(|board| writable(&board)),
    );
    found
}

fn writable(board: &Path) -> Finding {
    let (key, shown) = ("telemetry.tensorboard", board.display());
    match ::store::probe_directory(board) {
        Ok(()) => Finding::ok("disk", key, format!("{shown} can be written to")),
        Err(error) => Finding::mistake("disk", key, format!("cannot write to {shown}: {error}"))
            .right("a directory of this machine that can be written to"),
    }
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
    let listens = listens(&job.config).into_iter();
    let asked = listens.filter(|(roles, key, address, _)| {
        let is_watched = *key == "telemetry.metrics_listen" && job.concerns_evaluator();
        let concerns = is_watched || roles.iter().any(|role| job.concerns(*role));
        // People and monitoring may have none.
        concerns && !address.is_empty()
    });
    asked
        .map(|(_, key, address, flag)| port(key, address, flag, job.role.is_some()))
        .collect()
}

fn port(key: &str, address: &str, flag: &str, must: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok("ports", key, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !must => {
            Finding::warning("ports", key, format!("{address} is taken"))
                .right("a free address, unless the job runs already")
        }
        Err(error) => Finding::error("ports", key, format!("cannot listen on {address}: {error}"))
            .right(format!("a free address of this machine ({flag})")),
    }
}

/// Whether the certificates can be used, and are the role's where one is asked for; for how long.
pub(super) fn certificates(job: &Job) -> Vec<Finding> {
    let config = &job.config;
    if !config.tls.is_set() {
        return vec![];
    }
    let used = match job.role.and_then(Starter::service) {
        Some(role) => Security::open(config, role.peer()).map(|security| security.transport),
        None => Security::asking(config),
    };
    let right =
        "PEM files of a certificate for the role and run, its key, and the authority (docs/security.md)";
    vec![match used {
        Ok(transport) => lasting(&config.tls.cert, transport.ends().map(left)),
        Err(failure) => Finding::mistake("tls", "tls.cert", failure.reason()).right(right),
    }]
}

#[expect(
    clippy::disallowed_methods,
    reason = "a certificate ends by the machine's clock"
)]
fn left(ends: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(ends).saturating_sub(now)
}

/// A certificate that can be used for so much longer, or for ever.
fn lasting(file: &str, left: Option<Duration>) -> Finding {
    let Some(left) = left else {
        return Finding::ok("tls", "tls.cert", format!("{file} can be used, and never ends"));
    };
    let found = match (left.as_secs() / DAY.as_secs(), left.as_secs() / 3600) {
        (0 | 1, hours) => format!("{file} can be used, and ends in {hours} hours"),
        (days, _) => format!("{file} can be used, and ends in {days} days"),
    };
    match left < SOON {
        true => Finding::warning("tls", "tls.cert", found)
            .right("a certificate that is renewed before it ends (docs/security.md)"),
        false => Finding::ok("tls", "tls.cert", found),
    }
}

/// Whether the token is one that the dashboard takes, where it is shown.
pub(super) fn dashboard(job: &Job) -> Vec<Finding> {
    let config = &job.config.dashboard;
    if !job.concerns(Role::Learner) || !config.is_on() {
        return vec![];
    }
    let key = "dashboard.token_file";
    vec![match ::dashboard::Access::of(config) {
        Ok(_) if config.token_file.is_empty() => {
            Finding::ok("dashboard", key, "none, for this machine alone")
        }
        Ok(_) => Finding::ok("dashboard", key, format!("{} has a token", config.token_file)),
        Err(error) => Finding::mistake("dashboard", key, format!("{:#}", anyhow::Error::from(error)))
            .right("a file of this machine whose first line is the token (docs/dashboard.md)"),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Authority, store};
    use crate::config::Config;
    use crate::doctor::Level;
    use common::RunId;
    use proto::PeerRole;
    use std::net::TcpListener;

    #[test]
    fn a_taken_port_is_an_error_for_the_role_that_needs_it_and_else_a_warning() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        assert_eq!(port("k", &address, "--listen", true).level, Level::Error);
        let found = port("k", &address, "--listen", false);
        assert!(
            found.level == Level::Warning && found.found.contains(&address),
            "{found:?}"
        );
        drop(taken);
        assert_eq!(port("k", &address, "--listen", true).level, Level::Ok);
        let elsewhere = port("k", "192.0.2.1:0", "--metrics", false);
        assert_eq!(elsewhere.level, Level::Error);
        assert!(elsewhere.right.unwrap().contains("--metrics"));
    }

    #[test]
    fn a_role_is_asked_of_every_address_that_it_listens_at() {
        let mut config = Config::default();
        config.endpoints.learner_listen = "127.0.0.1:0".into();
        config.endpoints.reward_listen = "127.0.0.1:0".into();
        let keys = |config: &Config, role| {
            let config = config.clone();
            let found = ports(&Job { config, role }).into_iter();
            found.map(|finding| finding.subject).collect::<Vec<_>>()
        };
        assert_eq!(
            keys(&config, Some(Starter::Learner)),
            ["endpoints.learner_listen"]
        );
        config.dashboard.listen = "127.0.0.1:0".into();
        config.telemetry.metrics_listen = "127.0.0.1:0".into();
        assert_eq!(
            keys(&config, Some(Starter::Learner)),
            [
                "endpoints.learner_listen",
                "dashboard.listen",
                "telemetry.metrics_listen"
            ]
        );
        assert_eq!(
            keys(&config, Some(Starter::Actor)),
            ["endpoints.actor_listen", "telemetry.metrics_listen"]
        );
        assert_eq!(
            keys(&config, Some(Starter::Evaluator)),
            ["telemetry.metrics_listen"]
        );
        assert_eq!(keys(&config, None).len(), 5);
    }

    #[test]
    fn a_token_that_the_dashboard_would_refuse_is_a_mistake() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let mut config = Config::default();
        let none = Job {
            config: config.clone(),
            role: None,
        };
        assert!(dashboard(&none).is_empty());
        config.dashboard.listen = "0.0.0.0:7403".into();
        config.dashboard.token_file = file.display().to_string();
        let job = Job {
            config,
            role: Some(Starter::Learner),
        };
        for (token, level) in [("sh0rt", Level::Error), ("correct-horse-battery", Level::Ok)] {
            std::fs::write(&file, token).unwrap();
            let found = dashboard(&job);
            assert_eq!(found[0].level, level, "{found:?}");
            assert!(!found[0].found.contains(token));
        }
    }

    #[test]
    fn room_is_told_of_the_disk_that_a_directory_will_be_on() {
        let parent = tempfile::tempdir().unwrap();
        let room = free(&parent.path().join("not/yet/there")).unwrap();
        assert!(room > 0);
        assert!(!parent.path().join("not").exists());
    }

    #[test]
    fn a_certificate_says_how_long_it_lasts_and_warns_when_that_is_less_than_a_week() {
        let run = RunId::new("spring").unwrap();
        let found = |days: u32| {
            let place = tempfile::tempdir().unwrap();
            let authority = Authority::new(&run, days * DAY).unwrap();
            store(&authority.issue(PeerRole::Actor, &[]).unwrap(), place.path()).unwrap();
            let file = |name: &str| place.path().join(name).display().to_string();
            let mut config = Config::default();
            config.run.id = "spring".into();
            config.tls.cert = file("tls.crt");
            config.tls.key = file("tls.key");
            config.tls.ca = file("ca.crt");
            let role = Some(Starter::Actor);
            certificates(&Job { config, role }).remove(0)
        };
        let month = found(30);
        assert!(
            month.level == Level::Ok && month.found.contains("ends in 29 days"),
            "{month:?}"
        );
        let days = found(5);
        assert!(
            days.level == Level::Warning && days.found.contains("ends in 4 days"),
            "{days:?}"
        );
        let hours = found(1);
        assert!(
            hours.level == Level::Warning && hours.found.contains("ends in 23 hours"),
            "{hours:?}"
        );
        let never = lasting("tls.crt", None);
        assert!(
            never.level == Level::Ok && never.found.contains("never"),
            "{never:?}"
        );
    }
}
