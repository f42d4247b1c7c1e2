//! What the loop does where somebody that it needs is away: a service, the learner, or the learner for good.

use super::RolloutLoop;
use crate::{
    ActorError,
    failure::cut,
    stages::{Behaviour, Gather, Render, Score},
    undone::Waiting,
};
use common::with_causes;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a learner may take to answer once the last version is announced: it may be gone.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// The longest word about what is waited for, in bytes.
const MAX_WAITING_BYTES: usize = 1 << 10;

impl<G: Gather, P: Behaviour, R: Render, S: Score> RolloutLoop<G, P, R, S> {
    /// Holds no lease until what left the last one undone serves again, and tells the learner so meanwhile.
    pub(super) async fn wait_for_services(&mut self) -> Result<(), ActorError> {
        let waiting_for = self.renderer.waits_for().or_else(|| self.reward.waits_for());
        if let Some(Waiting { what, again }) = &waiting_for {
            match again {
                false => tracing::warn!(waiting_for = what, "no tasks are leased meanwhile"),
                true => tracing::debug!(waiting_for = what, "no tasks are leased meanwhile, again"),
            }
            self.instruments.waits(true);
            self.report(&cut(what.clone(), MAX_WAITING_BYTES)).await?;
        }
        let (shutdown, over) = (self.shutdown.clone(), self.weights.until_run_is_over());
        let recovered = async {
            self.renderer.recovered().await?;
            self.reward.recovered().await
        };
        tokio::select! {
            biased;
            // Nobody needs it any more, whatever has become of it.
            () = over => {}
            () = shutdown.cancelled() => {}
            recovered = recovered => match recovered {
                Err(error) if self.weights.run_is_over() => {
                    tracing::info!(reason = %with_causes(&error), "the run is complete: what is lost is not needed any more");
                }
                recovered => recovered?,
            },
        }
        match waiting_for {
            Some(_) => {
                self.instruments.waits(false);
                self.report("").await
            }
            None => Ok(()),
        }
    }

    /// Waits for the weights of the learner's later start and takes them.
    ///
    /// # Errors
    /// `refusal` when none come for as long as an unreachable learner would be borne.
    pub(super) async fn follow_learner(&mut self, refusal: ActorError) -> Result<(), ActorError> {
        self.learner.forget_leases();
        let epoch = self.policy.version().epoch;
        let deadline = Instant::now() + self.patience;
        while self.policy.version().epoch == epoch && !self.shutdown.is_cancelled() {
            tokio::select! {
                () = sleep_until(deadline) => return Err(refusal),
                () = self.weights.changed() => {}
                () = self.shutdown.cancelled() => {}
            }
            self.adopt_newest().await?;
        }
        Ok(())
    }

    /// What the learner answers to a call; `None` where it is away and the run is over: it may be gone for good.
    pub(super) async fn unless_over<T>(
        &self,
        call: impl Future<Output = Result<T, ActorError>>,
    ) -> Result<Option<T>, ActorError> {
        tokio::select! {
            answer = call => match answer {
                Err(error) if error.is_absence() && self.weights.run_is_over() => {
                    tracing::info!(reason = %with_causes(&error), "the run is complete: the learner is not needed any more");
                    Ok(None)
                }
                answer => answer.map(Some),
            },
            () = self.weights.run_is_over_for(LAST_ANSWER) => Ok(None),
        }
    }
}
