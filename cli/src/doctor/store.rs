//! The run's store: one small object is written, read, listed and removed below the run's prefix, as the run itself will do.

use super::{Check, Finding, Job};
use crate::locations;
use crate::ready::Role;
use ::store::{Store, StoreError};
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Clocks that differ by more than this deserve a look: lifetimes are counted by both.
const SKEW_NOTED: Duration = Duration::from_secs(30);

/// Beyond this a bucket's server refuses signatures.
const SKEW_REFUSED: Duration = Duration::from_secs(15 * 60);

const RIGHT: &str =
    "a store in which this machine may write, read, list and remove below the run's prefix (docs/stores.md)";

/// The run's store for all who use it, and where the adapter goes for the learner.
pub(super) fn checks(job: &Arc<Job>) -> Vec<Check> {
    if !job.concerns(Role::Learner) && !job.concerns(Role::Actor) {
        return vec![];
    }
    let subject = match job.concerns(Role::Learner) {
        true => "store.url, then paths.adapter",
        false => "store.url",
    };
    let job = job.clone();
    // One after the other: each takes away the directories that were not there before it.
    let examined = async move {
        let mut found = examine(&job, "store.url", &job.config.store.url).await;
        if job.concerns(Role::Learner) {
            found.extend(examine(&job, "paths.adapter", &job.config.paths.adapter).await);
        }
        found
    };
    vec![("store", subject, Box::pin(examined))]
}

async fn examine(job: &Job, key: &'static str, location: &str) -> Vec<Finding> {
    let made = Made::before(location, &job.config.run.id);
    // As a role asks at its start.
    let checked = locations::check_store(key, location, &job.quick());
    let store = match checked.and_then(|()| locations::open_store(key, location, &job.quick())) {
        Ok(store) => store,
        Err(failure) => return vec![Finding::mistake("store", key, failure.reason()).right(RIGHT)],
    };
    let probe = format!("runs/{}/doctor/{}", job.config.run.id, name());
    let found = match probe_it(&store, &probe).await {
        Ok(written) => {
            let found = format!("{}: written once, read, listed and removed", store.url());
            vec![Finding::ok("store", key, found), skew(key, written)]
        }
        Err(error) => {
            // What could be written should not stay.
            store.delete(&probe).await.ok();
            vec![Finding::error("store", key, format!("{:#}", anyhow::Error::from(error))).right(RIGHT)]
        }
    };
    made.take_away();
    found
}

/// When the object was written, by the store's clock.
async fn probe_it(store: &Store, key: &str) -> Result<Duration, StoreError> {
    let bytes = key.as_bytes().to_vec();
    store.create(key, bytes.clone()).await?;
    match store.create(key, "another").await {
        Err(StoreError::Exists { .. }) => {}
        Ok(()) => {
            return Err(unlike(
                key,
                store,
                "it was written twice, although only the first writer may",
            ));
        }
        Err(error) => return Err(error),
    }
    if store.get(key).await? != bytes {
        return Err(unlike(key, store, "other bytes come back than were written"));
    }
    let prefix = key.rsplit_once('/').map_or("", |(prefix, _)| prefix);
    let listed = store
        .find_below(prefix)
        .await?
        .into_iter()
        .find(|found| found.key == key);
    let listed = listed.ok_or_else(|| unlike(key, store, "it is not listed after it was written"))?;
    store.delete(key).await?;
    match store.exists(key).await? {
        true => Err(unlike(key, store, "it is there after it was removed")),
        false => Ok(listed.written),
    }
}

fn unlike(key: &str, store: &Store, reason: &str) -> StoreError {
    StoreError::Key {
        key: format!("{key} in {}", store.url()),
        reason: reason.to_owned(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the machine's clock is what is examined"
)]
fn skew(key: &str, written: Duration) -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    skew_between(key, now, written)
}

fn skew_between(key: &str, now: Duration, written: Duration) -> Finding {
    let skew = now.abs_diff(written);
    let found = format!("clocks differ by {} s", skew.as_secs());
    let right = format!("at most {} s: set the machine's clock", SKEW_NOTED.as_secs());
    match skew {
        skew if skew > SKEW_REFUSED => Finding::error("clock", key, found).right(right),
        skew if skew > SKEW_NOTED => Finding::warning("clock", key, found).right(right),
        _ => Finding::ok("clock", key, found),
    }
}

/// A name that nobody else writes: the hasher's keys come from the system's random numbers.
fn name() -> String {
    let process = std::process::id();
    format!("{process}-{:016x}", RandomState::new().hash_one(process))
}

/// The directories of a local store that only this check has made.
struct Made {
    deepest: Option<PathBuf>,
    kept: Option<PathBuf>,
}

impl Made {
    fn before(location: &str, run: &str) -> Self {
        let root = locations::directory(location).and_then(|path| std::path::absolute(path).ok());
        let deepest = root.map(|root| root.join("runs").join(run).join("doctor"));
        let there = |path: &PathBuf| path.ancestors().find(|path| path.exists()).map(Path::to_owned);
        Self {
            kept: deepest.as_ref().and_then(there),
            deepest,
        }
    }

    /// Removes them, from the deepest on, as long as they are empty: what is not is somebody's.
    fn take_away(self) {
        let (Some(deepest), Some(kept)) = (self.deepest, self.kept) else {
            return;
        };
        let made = deepest.ancestors().take_while(|path| *path != kept);
        // The first that cannot be removed ends it.
        made.map(std::fs::remove_dir)
            .take_while(Result::is_ok)
            .for_each(drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::doctor::{Fault, Level};

    fn job(location: &Path) -> Job {
        let mut config = Config::default();
        config.store.url = location.display().to_string();
        Job { config, role: None }
    }

    #[tokio::test]
    async fn a_store_is_left_as_it_was() {
        let parent = tempfile::tempdir().unwrap();
        let place = parent.path().join("a/store");
        let job = job(&place);
        let found = examine(&job, "store.url", &job.config.store.url).await;
        assert!(
            found.iter().all(|finding| finding.level == Level::Ok),
            "{found:?}"
        );
        assert_eq!(found.len(), 2);
        assert!(!parent.path().join("a").exists());
    }

    #[tokio::test]
    async fn what_others_have_written_stays() {
        let parent = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(parent.path().join("runs/demo/ledger")).unwrap();
        let job = job(parent.path());
        examine(&job, "store.url", &job.config.store.url).await;
        assert!(parent.path().join("runs/demo/ledger").exists());
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_a_store_is_an_error() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let job = job(&file);
        let found = examine(&job, "store.url", &job.config.store.url).await;
        assert_eq!(
            (found[0].level, found[0].fault),
            (Level::Error, Some(Fault::Configuration)),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn what_the_store_does_not_do_is_told() {
        let store = Store::open("memory:///").unwrap();
        assert!(probe_it(&store, "runs/demo/doctor/1").await.is_ok());
        store.put("runs/demo/doctor/2", "somebody's").await.unwrap();
        let message = probe_it(&store, "runs/demo/doctor/2")
            .await
            .unwrap_err()
            .to_string();
        assert!(message.contains("already"), "{message}");
    }

    #[test]
    fn clocks_that_differ_are_noted_and_then_refused() {
        let levels = [10, 60, 3600].map(|seconds| {
            skew_between(
                "k",
                Duration::from_secs(1_000_000),
                Duration::from_secs(1_000_000 - seconds),
            )
            .level
        });
        assert_eq!(levels, [Level::Ok, Level::Warning, Level::Error]);
    }
}
