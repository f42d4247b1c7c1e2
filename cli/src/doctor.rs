//! What is looked at before a job is launched, each thing by itself and all at the same time.
//!
//! A check says what it found and what would be right; it repairs nothing, and what it writes (one object in the store) it takes
//! away again, unless the store stops answering meanwhile. None of them prints a credential: texts of the store and of the
//! services name keys and addresses only.

mod endpoints;
mod finding;
mod local;
mod machine;
mod models;
mod sources;
mod store;

pub(crate) use finding::{Fault, Finding, Level};

use crate::args::Starter;
use crate::config::Config;
use crate::ready::Role;
use futures::future::{BoxFuture, join_all};
use std::sync::Arc;
use std::time::Duration;

/// What the checks are told.
#[derive(Debug)]
pub(crate) struct Job {
    /// The configuration; it was checked.
    pub(crate) config: Config,
    /// Whose start is examined; none: that of all roles.
    pub(crate) role: Option<Starter>,
}

impl Job {
    /// Whether the role's needs are looked at.
    fn concerns(&self, role: Role) -> bool {
        self.role.is_none_or(|asked| asked.service() == Some(role))
    }

    /// Whether an evaluator's needs are looked at.
    fn concerns_evaluator(&self) -> bool {
        self.role.is_none_or(|asked| asked == Starter::Evaluator)
    }

    /// How stores are asked: a run's patience is minutes, which would hide what is wrong behind the deadline.
    fn quick(&self) -> ::store::StoreSettings {
        ::store::StoreSettings {
            max_retries: self.config.store.max_retries.min(1),
            ..self.config.store.settings()
        }
    }
}

/// A check: its name, what it is about where that is known before, and what it comes to.
type Check = (&'static str, &'static str, BoxFuture<'static, Vec<Finding>>);

/// Runs every check that concerns the job. One that takes longer than `patience` is a finding too, so the whole takes no longer.
pub(crate) async fn examine(job: Job, patience: Duration) -> Vec<Finding> {
    let job = Arc::new(job);
    let mut checks: Vec<Check> = vec![
        ("compute", "", aside(&job, machine::compute)),
        ("threads", "", aside(&job, machine::threads)),
        ("memory", "", aside(&job, machine::memory)),
        ("disk", "", aside(&job, local::disks)),
        ("ports", "", aside(&job, local::ports)),
        ("tls", "", aside(&job, local::certificates)),
        ("dashboard", "", aside(&job, local::dashboard)),
        ("sources", "", aside(&job, sources::examine)),
    ];
    checks.extend(models::checks(&job));
    checks.extend(store::checks(&job));
    checks.extend(endpoints::checks(&job));
    settle(checks, patience).await
}

/// All checks at the same time, each with its own deadline.
async fn settle(checks: Vec<Check>, patience: Duration) -> Vec<Finding> {
    let timed = checks.into_iter().map(|(name, subject, check)| async move {
        let done = tokio::time::timeout(patience, check).await;
        done.unwrap_or_else(|_| vec![late(name, subject, patience)])
    });
    join_all(timed).await.into_iter().flatten().collect()
}

/// A check that reads files or computes, on a thread of its own.
fn aside(
    job: &Arc<Job>,
    check: impl FnOnce(&Job) -> Vec<Finding> + Send + 'static,
) -> BoxFuture<'static, Vec<Finding>> {
    let job = job.clone();
    Box::pin(async move {
        let done = tokio::task::spawn_blocking(move || check(&job)).await;
        done.unwrap_or_else(|error| {
            vec![Finding::error(
                "doctor",
                "",
                format!("a check broke off: {error}"),
            )]
        })
    })
}

fn late(name: &'static str, subject: &str, patience: Duration) -> Finding {
    let seconds = patience.as_secs_f64();
    Finding::error(name, subject, format!("not done within {seconds} s"))
        .right("an answer sooner, or a longer --timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_a_finding_after_the_deadline_and_holds_nobody_up() {
        let fine = Finding::ok("disk", "", "room");
        let told = fine.clone();
        let checks: Vec<Check> = vec![
            ("store", "store.url", Box::pin(std::future::pending())),
            ("disk", "", Box::pin(async move { vec![told] })),
        ];
        let found = settle(checks, Duration::from_secs(3)).await;
        assert_eq!((found[0].level, found[0].check), (Level::Error, "store"));
        assert_eq!(found[0].subject, "store.url");
        assert!(found[0].found.contains("3 s"), "{found:?}");
        assert_eq!(found[1..], [fine]);
    }
}
