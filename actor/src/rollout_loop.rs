//! The loop of an actor: lease, sample, render, score, pair, submit, adopt.
//!
//! Each stage answers per task; what fails for one task travels on as that task's outcome. Leases are worked on one after the
//! other: while the reward-server scores, another actor's policy uses the machine. What is done where somebody is away is in
//! `rollout_loop/absence.rs`, how a run is left in `leaving.rs`.

mod absence;
mod candidates;

use crate::{
    ActorError, ActorSummary,
    failure::PerTask,
    instruments::{ADOPT, Instruments},
    learner_client::{LearnerClient, Lease, LeaseAnswer, Receipts},
    pairing::{PairingRule, rollout_outcome},
    rendering::RenderedGroup,
    reward_client::GroupRewards,
    stages::{Behaviour, Gather, Render, Score},
    weight_sync::WeightSync,
};
use candidates::candidate_group;
use common::{ProductTask, Purpose, RolloutOutcome, TaskId, Trajectory, derive_seed, with_causes};
use failpoint::Point;
use proto::trace::{Stage, TraceId};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// How long the tasks at hand may still take once the last version is announced. Nothing is trained on them any more, and learner and
/// reward-servers may be gone.
const LAST_TASKS: Duration = Duration::from_secs(30);

/// The parts of the loop.
pub(crate) struct RolloutLoop<G, P: Behaviour, R, S> {
    pub(crate) learner: Arc<LearnerClient>,
    pub(crate) products: G,
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

impl<G: Gather, P: Behaviour, R: Render, S: Score> RolloutLoop<G, P, R, S> {
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
        let ended = match ended {
            Ok(()) => self.adopt_last().await,
            failed => failed,
        };
        match ended {
            Err(error) if error.is_absence() && self.weights.run_is_over() => {
                self.drop_last_tasks(&with_causes(&error));
                Ok(())
            }
            Err(refusal @ ActorError::Refused { .. }) => Err(self.weights.mismatch().unwrap_or(refusal)),
            ended => ended,
        }
    }

    /// The loop itself, until no more tasks come.
    async fn roll_out(&mut self) -> Result<(), ActorError> {
        self.report_adoption().await?;
        while let Some(lease) = self.lease().await? {
            let span = tracing::info_span!("rollout", trace_id = %lease.trace);
            self.work_on(lease).instrument(span).await?;
            self.wait_for_services().await?;
            self.adopt_newest().await?;
        }
        Ok(())
    }

    /// The next tasks; `None` when there will be none, or none should be begun.
    async fn lease(&mut self) -> Result<Option<Lease>, ActorError> {
        while !self.shutdown.is_cancelled() {
            if self.policy.is_last() {
                self.summary.complete = true;
                return Ok(None);
            }
            let tasks = self.products.has_room_for(self.tasks_per_lease);
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

    /// Turns the tasks of one lease into outcomes.
    async fn work_on(&mut self, lease: Lease) -> Result<(), ActorError> {
        let (tasks, mut begun) = (&lease.tasks, Instant::now());
        // They, and all that is made of them, have their room until the outcomes are submitted.
        let cut_outs = self.products.gather(tasks).await;
        let sampled = self.policy.sample(tasks, &cut_outs).await;
        let sampling = self.over(Stage::Sample, &mut begun, &lease);
        let rendered = self.renderer.render(&lease, &cut_outs, &sampled).await;
        let rendering = self.over(Stage::Render, &mut begun, &lease);
        self.count(&sampled, sampling, &rendered, rendering);
        let scored = self.reward.score(&lease, &rendered).await;
        self.over(Stage::Score, &mut begun, &lease);
        failpoint::reach(Point::Scored);
        let outcomes = self.pair(tasks, sampled, rendered, scored);
        self.submit(lease.trace, &outcomes).await?;
        self.over(Stage::Submit, &mut begun, &lease);
        Ok(())
    }

    /// Joins what the stages have made of each task into its outcome.
    fn pair(
        &self,
        tasks: &[ProductTask],
        sampled: PerTask<Vec<Trajectory>>,
        rendered: PerTask<RenderedGroup>,
        scored: PerTask<Option<GroupRewards>>,
    ) -> Vec<RolloutOutcome> {
        let stages = tasks.iter().zip(sampled).zip(rendered).zip(scored);
        let outcomes = stages.map(|(((task, trajectories), images), rewards)| {
            match candidate_group(task, trajectories, images, rewards) {
                Ok(group) => rollout_outcome(group, &self.rule, self.coin(task.id)),
                Err(failure) => failure.outcome(task.id),
            }
        });
        outcomes.collect()
    }

    /// The coin that a task's preference is tossed with, where the reward does not prefer.
    fn coin(&self, task: TaskId) -> u64 {
        let (run, version) = (self.learner.run_seed(), self.policy.version());
        derive_seed(run, task, version, Purpose::ControlLabel)
    }

    /// Ends the leases of tasks with their outcomes.
    async fn submit(&mut self, trace: TraceId, outcomes: &[RolloutOutcome]) -> Result<(), ActorError> {
        let epoch = self.policy.version().epoch;
        let submitted = self.learner.submit(trace, epoch, outcomes);
        match self.unless_over(submitted).await {
            Ok(Some(receipts)) => self.tally(outcomes, &receipts),
            Ok(None) => self.drop_last_tasks("the learner does not take their outcomes"),
            Err(error) if error.is_other_epoch() => {
                // Their leases ended with the learner that gave them; its successor leases the tasks anew.
                tracing::warn!(outcomes = outcomes.len(), %error, "outcomes dropped: the learner was started anew");
                self.summary.dropped += outcomes.len() as u64;
                self.follow_learner(error).await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Samples from the newest version that is ready.
    pub(crate) async fn adopt_newest(&mut self) -> Result<(), ActorError> {
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

    /// Counts the version that is sampled from now, and tells the learner.
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

    /// A stage of a lease is over that began then, and the next one begins; answers how long it took.
    fn over(&self, stage: Stage, begun: &mut Instant, lease: &Lease) -> Duration {
        let now = Instant::now();
        let took = now - std::mem::replace(begun, now);
        self.instruments.over(stage, took, lease.samples());
        took
    }

    /// Counts what was sampled and rendered, and what of the time was this actor's work.
    fn count(
        &self,
        sampled: &PerTask<Vec<Trajectory>>,
        sampling: Duration,
        rendered: &PerTask<RenderedGroup>,
        rendering: Duration,
    ) {
        let counts = &self.instruments.counts;
        let trajectories = sampled.iter().flatten().flatten();
        let tokens = trajectories.map(|trajectory| trajectory.token_ids().len() as u64);
        counts.tokens.inc_by(tokens.sum());
        let images = rendered.iter().flatten().flatten();
        let images = images.filter(|image| image.candidate.digest.is_some());
        counts.images.inc_by(images.count() as u64);
        let own = match self.renderer.is_own_work() {
            true => sampling + rendering,
            false => sampling,
        };
        self.learner.computed.own.inc_by(own.as_secs_f64());
    }

    /// Counts outcomes that the learner has taken.
    fn tally(&mut self, outcomes: &[RolloutOutcome], receipts: &Receipts) {
        let (mut pairs, mut no_pairs, mut failures) = (0, 0, 0);
        for outcome in outcomes {
            match outcome {
                RolloutOutcome::Pair(_) => pairs += 1,
                RolloutOutcome::NoPair { .. } => no_pairs += 1,
                RolloutOutcome::Failed {
                    task,
                    reason,
                    retryable,
                    blame,
                    detail,
                } => {
                    failures += 1;
                    tracing::warn!(
                        task = task.0,
                        ?reason,
                        retryable,
                        ?blame,
                        detail,
                        "rollout failed"
                    );
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
