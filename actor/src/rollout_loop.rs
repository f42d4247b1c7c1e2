//! The loop of an actor: lease, sample, render, score, pair, submit, adopt.
//!
//! Each step answers per task; what fails for one task travels on as that task's outcome. Leases are worked on one after the
//! other: while the reward-server scores, another actor's policy uses the machine.

mod candidates;

use crate::{
    ActorError, ActorSummary,
    failure::{PerTask, chain, cut},
    instruments::{ADOPT, Instruments},
    learner_client::{LearnerClient, Lease, LeaseAnswer},
    pairing::{PairingRule, rollout_outcome},
    rendering::RenderedGroup,
    reward_client::GroupRewards,
    stages::{Behaviour, Render, Score},
    weight_sync::WeightSync,
};
use candidates::candidate_group;
use common::{ProductTask, Purpose, RolloutOutcome, Trajectory, derive_seed};
use failpoint::Point;
use proto::trace::{Stage, TraceId};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// How long the last version is waited for once the learner needs no more rollouts. A learner lingers about as long.
const LAST_VERSION_PATIENCE: Duration = Duration::from_secs(10);

/// How long the tasks at hand may still take once the last version is announced. Nothing is trained on them any more, and learner and
/// reward-servers may be gone.
const LAST_TASKS: Duration = Duration::from_secs(30);

/// How long a learner may take to answer once the last version is announced: it may be gone.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// The longest word about what is waited for, in bytes.
const MAX_WAITING_BYTES: usize = 1 << 10;

/// The parts of the loop.
pub(crate) struct RolloutLoop<P: Behaviour, R, S> {
    pub(crate) learner: Arc<LearnerClient>,
    pub(crate) policy: P,
    pub(crate) renderer: R,
    pub(crate) reward: S,
    pub(crate) weights: WeightSync<P::Weights>,
    pub(crate) rule: PairingRule,
    pub(crate) tasks_per_lease: usize,
    /// How long a learner that is away is borne.
    pub(crate) patience: Duration,
    pub(crate) shutdown: CancellationToken,
    pub(crate) summary: ActorSummary,
    pub(crate) instruments: Instruments,
}

impl<P: Behaviour, R: Render, S: Score> RolloutLoop<P, R, S> {
    /// Turns leased tasks into outcomes until the run is complete or the actor is asked to stop. Of a run that is complete nobody need be
    /// there any more.
    ///
    /// # Errors
    /// [`ActorError`] when the learner, the image generator or the reward-server is lost, or the learner refuses or sends weights that cannot be
    /// used.
    pub(crate) async fn run(&mut self) -> Result<(), ActorError> {
        let too_late = self.weights.run_is_over_for(LAST_TASKS);
        let ended = tokio::select! {
            ended = self.roll_out() => ended,
            () = too_late => {
                self.drop_last_tasks("they took too long");
                return Ok(());
            }
        };
        match ended {
            Err(error) if error.is_absence() && self.weights.run_is_over() => {
                self.drop_last_tasks(&chain(&error));
                Ok(())
            }
            Err(refusal @ ActorError::Refused { .. }) => Err(self.weights.mismatch().unwrap_or(refusal)),
            ended => ended,
        }
    }

    async fn roll_out(&mut self) -> Result<(), ActorError> {
        self.report_adoption().await?;
        while let Some(lease) = self.lease().await? {
            let span = tracing::info_span!("rollout", trace_id = %lease.trace);
            self.work_on(lease).instrument(span).await?;
            self.wait_for_services().await?;
            self.adopt_newest().await?;
        }
        self.adopt_last().await
    }

    /// Holds no lease until what left the last one undone serves again, and tells the learner so meanwhile.
    async fn wait_for_services(&mut self) -> Result<(), ActorError> {
        let waiting_for = self.renderer.waits_for().or_else(|| self.reward.waits_for());
        if let Some(what) = &waiting_for {
            tracing::warn!(waiting_for = what, "no tasks are leased meanwhile");
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
                    tracing::info!(reason = %chain(&error), "the run is complete: what is lost is not needed any more");
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

    /// Turns the tasks of one lease into outcomes.
    async fn work_on(&mut self, lease: Lease) -> Result<(), ActorError> {
        let tasks = &lease.tasks;
        let begun = Instant::now();
        let sampled = self.policy.sample(tasks).await;
        let painting = self.over(Stage::Sample, begun, &lease);
        let rendered = self.renderer.render(&lease, &sampled).await;
        let began = self.over(Stage::Render, painting, &lease);
        let worked = if self.renderer.is_own_work() {
            began
        } else {
            painting
        };
        self.learner.computed.own.inc_by((worked - begun).as_secs_f64());
        self.count(&sampled, &rendered);
        let scored = self.reward.score(&lease, &rendered).await;
        let began = self.over(Stage::Score, began, &lease);
        failpoint::reach(Point::Scored);
        let outcomes = self.pair(tasks, sampled, rendered, scored);
        self.submit(lease.trace, &outcomes).await?;
        self.over(Stage::Submit, began, &lease);
        Ok(())
    }

    /// A stage of a lease is over that began then; answers when the next one begins.
    fn over(&self, stage: Stage, began: Instant, lease: &Lease) -> Instant {
        let now = Instant::now();
        self.instruments.over(stage, now - began, lease.samples());
        now
    }

    fn count(&self, sampled: &PerTask<Vec<Trajectory>>, rendered: &PerTask<RenderedGroup>) {
        let counts = &self.instruments.counts;
        let trajectories = sampled.iter().flatten().flatten();
        let tokens = trajectories.map(|trajectory| trajectory.token_ids().len() as u64);
        counts.tokens.inc_by(tokens.sum());
        let images = rendered.iter().flatten().flatten();
        let images = images.filter(|image| image.candidate.digest.is_some());
        counts.images.inc_by(images.count() as u64);
    }

    /// The next tasks; `None` when there will be none, or none should be begun.
    async fn lease(&mut self) -> Result<Option<Lease>, ActorError> {
        while !self.shutdown.is_cancelled() {
            if self.policy.is_last() {
                self.summary.complete = true;
                return Ok(None);
            }
            let tasks = self.renderer.has_room_for(self.tasks_per_lease);
            let asked = self.learner.lease_tasks(self.policy.version(), tasks);
            let answer = tokio::select! {
                answer = self.unless_over(asked) => match answer {
                    Err(error) if error.is_other_epoch() => {
                        self.follow_learner(error).await?;
                        continue;
                    }
                    answer => answer?.unwrap_or(LeaseAnswer::Complete),
                },
                () = shortly_after(self.shutdown.clone()) => return Ok(None),
            };
            match answer {
                LeaseAnswer::Lease(lease) => {
                    self.summary.leased += lease.tasks.len() as u64;
                    self.instruments.counts.leased.inc_by(lease.tasks.len() as u64);
                    self.instruments
                        .over(Stage::Lease, lease.since_asked(), lease.samples());
                    // Tasks that are not begun stay open and are handed back.
                    return Ok((!self.shutdown.is_cancelled()).then_some(lease));
                }
                LeaseAnswer::Wait(pause) => self.wait(pause).await?,
                LeaseAnswer::Complete => {
                    self.summary.complete = true;
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Waits, but no longer than until newer weights are there; takes them.
    async fn wait(&mut self, pause: Duration) -> Result<(), ActorError> {
        let begun = Instant::now();
        tokio::select! {
            () = sleep(pause) => {}
            () = self.weights.changed() => {}
            () = self.shutdown.cancelled() => {}
        }
        self.instruments
            .counts
            .waited
            .inc_by(begun.elapsed().as_secs_f64());
        self.adopt_newest().await
    }

    /// Joins what the steps have made of each task into its outcome.
    fn pair(
        &self,
        tasks: &[ProductTask],
        sampled: PerTask<Vec<Trajectory>>,
        rendered: PerTask<RenderedGroup>,
        scored: PerTask<Option<GroupRewards>>,
    ) -> Vec<RolloutOutcome> {
        let parts = tasks.iter().zip(sampled).zip(rendered).zip(scored);
        let outcome =
            |(((task, trajectories), images), rewards): (((&ProductTask, _), _), _)| match candidate_group(
                task,
                trajectories,
                images,
                rewards,
            ) {
                Ok(group) => {
                    let (run, version) = (self.learner.run_seed(), self.policy.version());
                    let coin = derive_seed(run, task.id, version, Purpose::ControlLabel);
                    rollout_outcome(group, &self.rule, coin)
                }
                Err(failure) => failure.outcome(task.id),
            };
        parts.map(outcome).collect()
    }

    async fn submit(&mut self, trace: TraceId, outcomes: &[RolloutOutcome]) -> Result<(), ActorError> {
        let epoch = self.policy.version().epoch;
        let submitted = self.learner.submit(trace, epoch, outcomes);
        let receipts = match self.unless_over(submitted).await {
            Err(error) if error.is_other_epoch() => {
                // Their leases ended with the learner that gave them; its successor leases the tasks anew.
                tracing::warn!(outcomes = outcomes.len(), %error, "outcomes dropped: the learner was started anew");
                self.summary.dropped += outcomes.len() as u64;
                return self.follow_learner(error).await;
            }
            Err(error) => return Err(error),
            Ok(None) => {
                self.drop_last_tasks("the learner does not take their outcomes");
                return Ok(());
            }
            Ok(Some(receipts)) => receipts,
        };
        let (mut pairs, mut no_pairs, mut failures) = (0, 0, 0);
        for outcome in outcomes {
            match outcome {
                RolloutOutcome::Pair(_) => pairs += 1,
                RolloutOutcome::NoPair { .. } => no_pairs += 1,
                RolloutOutcome::Failed {
                    task,
                    reason,
                    retryable,
                    detail,
                } => {
                    failures += 1;
                    tracing::warn!(task = task.0, ?reason, retryable, detail, "rollout failed");
                }
            }
        }
        self.summary.pairs += pairs;
        self.summary.no_pairs += no_pairs;
        self.summary.failures += failures;
        self.summary.refused += receipts.refused;
        let counts = &self.instruments.counts;
        counts.pairs.inc_by(pairs);
        counts.no_pairs.inc_by(no_pairs);
        counts.failures.inc_by(failures);
        counts.refused.inc_by(receipts.refused);
        let version = self.policy.version();
        tracing::info!(%version, pairs, no_pairs, failures, recorded = receipts.recorded, "outcomes submitted");
        Ok(())
    }

    /// Samples from the newest version that is ready.
    async fn adopt_newest(&mut self) -> Result<(), ActorError> {
        match self.weights.newest().await? {
            Some(newest) if newest.version > self.policy.version() => {
                let begun = Instant::now();
                self.policy.adopt(newest).await?;
                self.instruments.took(ADOPT, begun.elapsed());
                failpoint::reach(Point::Adopted);
                self.report_adoption().await
            }
            _ => Ok(()),
        }
    }

    /// Waits for the weights of the learner's later start and takes them.
    ///
    /// # Errors
    /// `refusal` when none come for as long as an unreachable learner would be borne.
    async fn follow_learner(&mut self, refusal: ActorError) -> Result<(), ActorError> {
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

    /// Adopts the run's last version before leaving a complete run, so that every actor ends on the same weights.
    async fn adopt_last(&mut self) -> Result<(), ActorError> {
        let deadline = Instant::now() + LAST_VERSION_PATIENCE;
        while self.summary.complete && !self.policy.is_last() && !self.shutdown.is_cancelled() {
            self.adopt_newest().await?;
            if self.policy.is_last() || self.weights.closed() || Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                () = sleep_until(deadline) => {}
                () = self.weights.changed() => {}
                () = self.shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn report_adoption(&mut self) -> Result<(), ActorError> {
        self.summary.adoptions += 1;
        self.summary.version = Some(self.policy.version());
        self.instruments.samples_from(self.policy.version());
        self.report("").await
    }

    /// Tells the learner what is sampled from and what keeps this actor from leasing.
    pub(crate) async fn report(&self, waiting_for: &str) -> Result<(), ActorError> {
        let (version, canary) = (self.policy.version(), self.policy.canary());
        let report = self.learner.report_adoption(version, canary, waiting_for);
        match self.unless_over(report).await {
            // The next lease finds out what has become of the learner.
            Err(error) if error.is_other_epoch() => Ok(()),
            reported => reported.map(drop),
        }
    }

    /// What the learner answers to a call; `None` where it is away and the run is over: it may be gone for good.
    async fn unless_over<T>(
        &self,
        call: impl Future<Output = Result<T, ActorError>>,
    ) -> Result<Option<T>, ActorError> {
        tokio::select! {
            answer = call => match answer {
                Err(error) if error.is_absence() && self.weights.run_is_over() => {
                    tracing::info!(reason = %chain(&error), "the run is complete: the learner is not needed any more");
                    Ok(None)
                }
                answer => answer.map(Some),
            },
            () = self.weights.run_is_over_for(LAST_ANSWER) => Ok(None),
        }
    }
}

/// A request for tasks that is under way when the actor is asked to stop is given this long: leases in an answer that
/// nobody reads would have to expire.
async fn shortly_after(shutdown: CancellationToken) {
    shutdown.cancelled().await;
    sleep(Duration::from_millis(500)).await;
}

#[cfg(test)]
mod tests;
