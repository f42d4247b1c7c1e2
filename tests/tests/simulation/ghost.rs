//! Somebody who takes part without an actor's manners: holds leases for too long, submits late, twice, and for learners that
//! are gone.

use crate::network::Links;
use crate::scenario::Scenario;
use crate::trace::Recorder;
use common::{LearnerEpoch, RunId};
use prost::Message as _;
use proto::header;
use proto::pb::{self, learner_service_client::LearnerServiceClient, lease_tasks_response::Answer};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::time::Duration;
use tokio::time::sleep;
use tonic::transport::Channel;

/// What goes wrong on its side is nobody's fault.
type Said<T> = Result<T, Box<dyn std::error::Error>>;

struct Ghost {
    run: RunId,
    client: LearnerServiceClient<Channel>,
    recorder: Recorder,
    draws: ChaCha8Rng,
    /// Whether its failures are for good.
    terminal: bool,
    /// What it submitted last, and to whom.
    last: Option<(LearnerEpoch, pb::RolloutOutcome)>,
}

/// Takes part until the run is complete.
pub(crate) async fn haunt(scenario: Scenario, run: RunId, links: Links, recorder: Recorder) -> Said<()> {
    let channel = links.to_learner(|endpoint| endpoint.timeout(Duration::from_secs(3)))?;
    let mut ghost = Ghost {
        run,
        client: LearnerServiceClient::new(channel),
        recorder,
        draws: ChaCha8Rng::seed_from_u64(scenario.seed ^ 0x6057),
        // A block of a deterministic run in which nothing but failures is has nothing to train on.
        terminal: !scenario.learner.deterministic,
        last: None,
    };
    let ttl = scenario.learner.lease_ttl_ms;
    loop {
        sleep(Duration::from_millis(ghost.draws.random_range(300..2_500))).await;
        match ghost.visit(ttl).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => tracing::debug!(target: "simulation", %error, "the ghost was not served"),
        }
    }
}

impl Ghost {
    /// Comes once; whether the run is complete.
    async fn visit(&mut self, ttl: u64) -> Said<bool> {
        let stranger = pb::JoinRequest {
            header: Some(header(None, None, "ghost")),
            ..pb::JoinRequest::default()
        };
        let joined = self.client.join(stranger).await?.into_inner();
        let epoch = LearnerEpoch(joined.learner_epoch);
        self.come_back_late(epoch).await;
        let request = pb::LeaseTasksRequest {
            header: Some(self.header(epoch)),
            policy: joined.policy.and_then(|policy| policy.version),
            max_tasks: 1,
        };
        let answer = self.client.lease_tasks(request).await?.into_inner().answer;
        let lease = match answer {
            Some(Answer::Lease(lease)) => lease,
            Some(Answer::Complete(_)) => return Ok(true),
            _ => return Ok(false),
        };
        let Some(task) = lease.tasks.first() else {
            return Ok(false);
        };
        sleep(Duration::from_millis(self.draws.random_range(0..2 * ttl))).await;
        let outcome = pb::RolloutOutcome {
            task: task.task,
            outcome: Some(pb::rollout_outcome::Outcome::Failed(pb::Failed {
                reason: pb::FailureReason::Rendering.into(),
                retryable: !self.terminal,
                detail: "a ghost".into(),
                ..Default::default()
            })),
        };
        self.last = Some((epoch, outcome.clone()));
        let recorded = [
            self.submit(epoch, &outcome).await?,
            self.submit(epoch, &outcome).await?,
        ];
        if recorded == [true; 2] {
            self.broken(format!("I2: task {} was recorded twice", task.task));
        }
        Ok(false)
    }

    /// Submits its last outcome again, to a learner that has taken over since.
    async fn come_back_late(&mut self, epoch: LearnerEpoch) {
        let Some((earlier, outcome)) = self.last.clone().filter(|(earlier, _)| *earlier < epoch) else {
            return;
        };
        if self.submit(earlier, &outcome).await.is_ok() {
            self.broken(format!(
                "I6: the learner of epoch {} serves what is of epoch {}",
                epoch.0, earlier.0
            ));
        }
    }

    /// Whether it was recorded.
    async fn submit(&mut self, epoch: LearnerEpoch, outcome: &pb::RolloutOutcome) -> Said<bool> {
        let request = pb::SubmitOutcomesRequest {
            header: Some(self.header(epoch)),
            outcomes: vec![outcome.clone()],
            ..Default::default()
        };
        let answer = self.client.submit_outcomes(request).await?.into_inner();
        let receipt = answer.receipts.first().ok_or("no receipt")?;
        let recorded = receipt.disposition() == pb::Disposition::Recorded;
        if recorded {
            let digest = store::digest(&outcome.encode_to_vec());
            tracing::debug!(target: "simulation", task = outcome.task, %digest, "outcome acknowledged");
        }
        Ok(recorded)
    }

    fn header(&self, epoch: LearnerEpoch) -> pb::RequestHeader {
        header(Some(&self.run), Some(epoch), "ghost")
    }

    fn broken(&self, word: String) {
        self.recorder.facts().broken.push(word);
    }
}
