//! The end of a run as it stands in the run's store, for an actor whose learner does not answer: it may have ended with its run.
//!
//! A learner that answers is believed before any record. So nobody looks before the learner is missed; then soon, and again after
//! pauses that grow and are this actor's own. A record that is none, or of another run or epoch than this actor knows, is told once and
//! ends nothing.

use crate::{
    ActorError,
    learner_client::LearnerClient,
    peer::{Peer, Presence},
    rollout_loop::RolloutLoop,
    stages::{Behaviour, Gather, Render, Score},
};
use common::run_end::{RunEnd, complete_key, end_prefix, standing_end};
use common::{LearnerEpoch, RunId, with_causes};
use proto::Pauses;
use serde::Deserialize;
use std::{future::Future, sync::Arc, time::Duration};
use store::{Store, StoreError};
use tokio::time::{sleep, timeout};

/// The pauses before a missed learner's run is looked for in the store: half of it at least. The first outlasts a hiccup; the longest costs
/// a hundred actors four or five requests a second.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long one look may take: a store that is away too is asked again later.
const LOOK: Duration = Duration::from_secs(10);

/// The longest record that is read, in bytes.
const LONGEST: u64 = 64 << 10;

/// The run that an actor is to take part in, as it is known before any learner has told which run it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedRun {
    /// Its name.
    pub id: RunId,
    /// With how many versions it is complete. An end at fewer is that of a run which is to go on.
    pub versions: u64,
}

/// Why the store does not tell whether a run is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndError {
    /// It does not answer, or may not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What lies there is no record of this run's end.
    #[error("{key} in {url} is no record of the run's end: {reason}")]
    NoRecord {
        /// Its key.
        key: String,
        /// The store.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// The end of a run that stands in its store and is one at as many versions as are expected; `None` when none stands there. For whoever
/// was never told of the run by a learner.
///
/// # Errors
/// Why none can be told, for people: also an end at fewer versions, and a store that does not answer in time.
pub async fn end_of(store: Store, expected: ExpectedRun) -> Result<Option<RunEnd>, String> {
    Place::of(store, expected).look().await
}

/// The end of `run` that stands in its store; `None` when none does.
///
/// # Errors
/// [`EndError`].
pub(crate) async fn recorded_end(store: &Store, run: &RunId) -> Result<Option<RunEnd>, EndError> {
    let found = store.find_below(&end_prefix(run)).await?;
    let Some(epoch) = standing_end(found.iter().map(|found| found.key.as_str())) else {
        return Ok(None);
    };
    let key = complete_key(run, epoch);
    let no_record = |reason| EndError::NoRecord {
        key: key.clone(),
        url: store.url().to_string(),
        reason,
    };
    let size = found.iter().find(|found| found.key == key);
    if let Some(found) = size.filter(|found| found.size > LONGEST) {
        let reason = format!("it has {} bytes, expected at most {LONGEST}", found.size);
        return Err(no_record(reason));
    }
    match store.get(&key).await {
        // Somebody has taken the run up meanwhile.
        Err(StoreError::NotFound { .. }) => Ok(None),
        json => read(&json?, run, epoch).map(Some).map_err(no_record),
    }
}

/// The end of `run` by `epoch` that stands in some JSON.
fn read(json: &[u8], run: &RunId, epoch: LearnerEpoch) -> Result<RunEnd, String> {
    #[derive(Deserialize)]
    struct Form {
        format: u32,
    }
    let told = |error: serde_json::Error| error.to_string();
    let Form { format } = serde_json::from_slice(json).map_err(told)?;
    if format != RunEnd::FORMAT {
        return Err(format!("format {format}, expected {}", RunEnd::FORMAT));
    }
    let end: RunEnd = serde_json::from_slice(json).map_err(told)?;
    end.of(run, epoch).map_err(|other| other.to_string())
}

/// Looks whether the run is over while its learner is missed.
pub(crate) struct EndWatch {
    /// `None`: nobody looks.
    place: Option<Place>,
    presence: Presence,
    pauses: Pauses,
    /// Why nothing came of the last look, if it was told.
    told: Option<String>,
}

/// Where a run's end is looked for.
struct Place {
    store: Store,
    run: RunId,
    counts: Counts,
}

/// Which ends are those of the run that an actor means.
enum Counts {
    /// Those of as many versions, for one that no learner has told of the run.
    OfVersions(u64),
    /// Those by the learner that was joined, or by a later start.
    OfEpoch(Arc<LearnerClient>),
}

impl EndWatch {
    /// Of a run in its store, whose `learner` nobody has joined yet; `None`: nobody looks.
    pub(crate) fn new(place: Option<(Store, ExpectedRun)>, learner: &Peer) -> Self {
        Self {
            place: place.map(|(store, expected)| Place::of(store, expected)),
            presence: learner.presence().clone(),
            pauses: Pauses::between(FIRST_PAUSE, LONGEST_PAUSE, learner.jitter_seed()),
            told: None,
        }
    }

    /// From now on the run is the one that this learner serves.
    pub(crate) fn joined(&mut self, learner: &Arc<LearnerClient>) {
        if let Some(place) = &mut self.place {
            place.run = learner.run().clone();
            place.counts = Counts::OfEpoch(learner.clone());
        }
    }

    /// What `work` comes to; `None` where the learner is missed and the run's end stands in its store.
    ///
    /// # Errors
    /// Those of `work`.
    pub(crate) async fn unless_over<T>(
        &mut self,
        work: impl Future<Output = Result<T, ActorError>>,
    ) -> Result<Option<T>, ActorError> {
        let done = tokio::select! {
            biased;
            done = work => done,
            () = self.until_over() => return Ok(None),
        };
        match done {
            // The patience may have ended between two looks.
            Err(error) if error.is_absence() && self.is_over().await => Ok(None),
            done => done.map(Some),
        }
    }

    /// Rolls out until the run is complete or the actor is asked to stop, or is found to be over.
    ///
    /// # Errors
    /// Those of [`RolloutLoop::run`].
    pub(crate) async fn while_rolling_out<G: Gather, P: Behaviour, R: Render, S: Score>(
        &mut self,
        rollouts: &mut RolloutLoop<G, P, R, S>,
    ) -> Result<(), ActorError> {
        if self.unless_over(rollouts.run()).await?.is_none() {
            rollouts.drop_last_tasks("the learner is gone, and the run's end stands in its store");
        }
        Ok(())
    }

    async fn until_over(&mut self) {
        loop {
            self.presence.until_missed().await;
            sleep(self.pauses.next_pause(None)).await;
            if !self.presence.is_missed() {
                self.pauses.over();
            } else if self.is_over().await {
                return;
            }
        }
    }

    /// Whether the run's end stands in its store, and the learner is missed before and after that was looked up.
    async fn is_over(&mut self) -> bool {
        let Some(place) = self.place.as_ref().filter(|_| self.presence.is_missed()) else {
            return false;
        };
        match place.look().await {
            Ok(None) => false,
            Ok(Some(_)) if !self.presence.is_missed() => false,
            Ok(Some(end)) => {
                let (run, url) = (&place.run, place.store.url());
                tracing::info!(%run, %url, version = %end.version, steps = end.steps, "the run's end stands in its store");
                true
            }
            Err(reason) => {
                if self.told.as_ref() != Some(&reason) {
                    tracing::warn!(run = %place.run, reason, "the store does not tell whether the run is over: waiting for its learner");
                    self.told = Some(reason);
                }
                false
            }
        }
    }
}

impl Place {
    /// Of a run that no learner has told of yet.
    fn of(store: Store, expected: ExpectedRun) -> Self {
        Self {
            store,
            run: expected.id,
            counts: Counts::OfVersions(expected.versions),
        }
    }

    /// The end that stands and counts, or why none can be told.
    async fn look(&self) -> Result<Option<RunEnd>, String> {
        let looked = timeout(LOOK, recorded_end(&self.store, &self.run)).await;
        let late = |_| format!("{}: no answer within {} s", self.store.url(), LOOK.as_secs());
        let end = looked.map_err(late)?.map_err(|error| with_causes(&error))?;
        match end
            .as_ref()
            .and_then(|end| Some((end.version.epoch, self.counts.objection(end)?)))
        {
            None => Ok(end),
            Some((epoch, objection)) => {
                let key = complete_key(&self.run, epoch);
                Err(format!("{key} in {}: {objection}", self.store.url()))
            }
        }
    }
}

impl Counts {
    /// Why an end does not count.
    fn objection(&self, end: &RunEnd) -> Option<String> {
        let version = end.version;
        match self {
            Self::OfVersions(versions) if version.number < *versions => Some(format!(
                "the run was complete with {version}, and learner.versions = {versions}: it is to go on"
            )),
            Self::OfEpoch(learner) if version.epoch < learner.epoch() => Some(format!(
                "it is of {}, and the learner was at {}",
                version.epoch,
                learner.epoch()
            )),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
