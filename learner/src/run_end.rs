//! The end of a run in its store, for those who come when no learner is there any more. What counts of it is said in
//! [`common::run_end`].

use crate::error::LearnerError;
use common::run_end::{RunEnd, RunTaken, complete_key, end_prefix, left_by, taken_key};
use common::{Digest, LearnerEpoch, PolicyVersion, RunId};
use failpoint::{Mutation, Point};
use serde::Serialize;
use std::time::{SystemTime, UNIX_EPOCH};
use store::{Store, StoreError};

/// Where a run's end is recorded.
#[derive(Debug, Clone)]
pub(crate) struct EndRecord {
    store: Store,
    run: RunId,
}

impl EndRecord {
    /// That of a run in its store.
    pub(crate) fn of(store: &Store, run: &RunId) -> Self {
        Self {
            store: store.synced(),
            run: run.clone(),
        }
    }

    /// From now on no end that an earlier epoch has recorded, or will, counts. To be called by an epoch that has fenced those before it, and
    /// before it looks which checkpoints they have left: whoever still finds an end then finds one that this epoch will find too.
    ///
    /// # Errors
    /// [`LearnerError::Store`].
    pub(crate) async fn taken_by(&self, epoch: LearnerEpoch) -> Result<(), LearnerError> {
        let taken = RunTaken::new(self.run.clone(), epoch);
        let key = taken_key(&self.run, epoch);
        self.store.create(&key, json(&taken)).await?;
        for key in self.store.list(&end_prefix(&self.run)).await? {
            if left_by(&key).is_some_and(|earlier| earlier < epoch) {
                self.store.delete(&key).await?;
            }
        }
        Ok(())
    }

    /// The run is complete with `version`, whose adapter's bytes have this digest. Nobody has been told yet when this returns, and
    /// the record is durable and stands: a later epoch that takes the run finds what the run is complete with.
    ///
    /// # Errors
    /// [`LearnerError::Store`], which is [`StoreError::Fenced`] when a later epoch has taken the run: it may have looked for checkpoints
    /// before this one's last was there and be going on from an earlier one, so nobody may be told that the run is complete.
    pub(crate) async fn complete(
        &self,
        version: PolicyVersion,
        adapter: Digest,
        steps: u64,
    ) -> Result<(), LearnerError> {
        if failpoint::breaks(Mutation::EndNotRecorded) {
            return Ok(());
        }
        let end = RunEnd::new(self.run.clone(), version, adapter, steps, seconds_since_1970());
        let key = complete_key(&self.run, version.epoch);
        self.store.create(&key, json(&end)).await?;
        let names = self.store.list(&end_prefix(&self.run)).await?;
        let taken = names
            .into_iter()
            .find(|name| left_by(name).is_some_and(|later| later > version.epoch));
        if let Some(key) = taken {
            let url = self.store.url().to_string();
            return Err(StoreError::Fenced { key, url }.into());
        }
        tracing::info!(%version, steps, "the run's end is recorded");
        failpoint::reach(Point::EndRecorded);
        Ok(())
    }
}

fn json(words: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(words).expect("plain values have a JSON form")
}

#[expect(
    clippy::disallowed_methods,
    reason = "people read it, and nothing of ours does"
)]
fn seconds_since_1970() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_outcomes::version;
    use common::run_end::standing_end;

    fn end_of(name: &str, store: &Store) -> EndRecord {
        EndRecord::of(store, &RunId::new(name).unwrap())
    }

    fn of_epoch(epoch: u64, number: u64) -> PolicyVersion {
        PolicyVersion {
            epoch: LearnerEpoch(epoch),
            ..version(number)
        }
    }

    async fn stands(record: &EndRecord) -> Option<u64> {
        let keys = record.store.list(&end_prefix(&record.run)).await.unwrap();
        standing_end(keys.iter().map(String::as_str)).map(|epoch| epoch.0)
    }

    #[tokio::test]
    async fn i11_an_end_is_over_when_the_run_is_taken_up_and_a_superseded_learner_records_none_that_counts() {
        let directory = tempfile::tempdir().unwrap();
        let file = Store::open(&format!("file://{}", directory.path().display())).unwrap();
        let adapter = store::digest(b"adapter");
        for store in [Store::open("memory:///").unwrap(), file] {
            let (spring, autumn) = (end_of("spring", &store), end_of("autumn", &store));
            for run in [&spring, &autumn] {
                run.taken_by(LearnerEpoch(1)).await.unwrap();
                assert_eq!(stands(run).await, None);
                run.complete(of_epoch(1, 4), adapter, 8).await.unwrap();
            }
            assert_eq!(stands(&spring).await, Some(1));
            spring.taken_by(LearnerEpoch(2)).await.unwrap();
            assert_eq!((stands(&spring).await, stands(&autumn).await), (None, Some(1)));
            assert_eq!(store.list("runs/spring/end").await.unwrap().len(), 1);
            // The first learner is late, and may tell nobody.
            let late = spring.complete(of_epoch(1, 4), adapter, 8).await.unwrap_err();
            assert!(
                matches!(late, LearnerError::Store(StoreError::Fenced { .. })),
                "{late}"
            );
            assert_eq!(stands(&spring).await, None);
            spring.complete(of_epoch(2, 6), adapter, 12).await.unwrap();
            assert_eq!(stands(&spring).await, Some(2));
        }
    }

    #[tokio::test]
    async fn an_end_is_written_once_and_says_which_run_ended_with_what() {
        let store = Store::open("memory:///").unwrap();
        let (record, adapter) = (end_of("spring", &store), store::digest(b"adapter"));
        record.complete(version(4), adapter, 8).await.unwrap();
        let json = store.get("runs/spring/end/complete-1.json").await.unwrap();
        let end: RunEnd = serde_json::from_slice(&json).unwrap();
        let when = end.completed_at_s;
        assert_eq!(
            end,
            RunEnd::new(RunId::new("spring").unwrap(), version(4), adapter, 8, when)
        );
        assert!(when > 1_700_000_000, "{when}");
        let other = record.complete(version(5), adapter, 10).await.unwrap_err();
        assert!(
            matches!(other, LearnerError::Store(StoreError::Exists { .. })),
            "{other}"
        );
        assert_eq!(store.get("runs/spring/end/complete-1.json").await.unwrap(), json);
    }
}
