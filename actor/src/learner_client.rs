//! The learner as an actor sees it: typed questions and answers, each repeated through short outages.
//!
//! It also remembers which leases are open, so that whatever ends the actor can hand them back, and what has been received.
//! Fetching artifacts is in `learner_client/artifacts.rs`.

mod artifacts;

pub(crate) use artifacts::Payload;

use crate::{ActorConfig, ActorError, config::seconds, manifest::Manifest, peer::Peer};
use common::{ActorId, LearnerEpoch, PolicyVersion, ProductTask, RolloutOutcome, RunId, TaskId};
use proto::{
    InvalidMessage, MAX_MESSAGE_BYTES, header,
    pb::{self, learner_service_client::LearnerServiceClient, lease_tasks_response::Answer},
    trace::{TraceId, inject},
};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tonic::{Request, Status, Streaming, transport::Channel};

/// The longest wait that a learner's answer can ask for: a damaged answer must not put an actor to sleep for days.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long a learner that may be gone is given to hear that an actor is done.
const LEAVE_TAKING: Duration = Duration::from_secs(1);

/// A run's learner, joined.
pub(crate) struct LearnerClient {
    peer: Peer,
    client: LearnerServiceClient<Channel>,
    request_timeout: Duration,
    actor: ActorId,
    run: RunId,
    run_seed: u64,
    epoch: AtomicU64,
    open: Mutex<BTreeSet<TaskId>>,
    adapter_bytes: AtomicU64,
    base_bytes: AtomicU64,
}

/// The learner's answer to a request for tasks.
#[derive(Debug)]
pub(crate) enum LeaseAnswer {
    /// Tasks, at least one.
    Tasks(Vec<ProductTask>),
    /// Nothing now; ask again after this long, or with newer weights.
    Wait(Duration),
    /// The run needs no more rollouts.
    Complete,
}

/// What became of submitted outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Receipts {
    pub(crate) recorded: u64,
    pub(crate) already_recorded: u64,
    pub(crate) reissued: u64,
    pub(crate) refused: u64,
}

impl LearnerClient {
    /// Takes part in the learner's run; answers with the policy to start from.
    ///
    /// # Errors
    /// [`ActorError`] when the learner stays unreachable, refuses, or answers with something malformed.
    pub(crate) async fn join(
        url: &str,
        actor: ActorId,
        config: &ActorConfig,
    ) -> Result<(Self, Manifest), ActorError> {
        let peer = Peer::new("learner", url, seconds(config.learner_timeout_s));
        let request_timeout = seconds(config.request_timeout_s);
        let client = LearnerServiceClient::new(peer.channel(request_timeout)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let request = pb::JoinRequest {
            header: Some(header(None, None, actor.as_str())),
        };
        let answer = peer.until_answered(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.join(request).await }
        });
        let answer = answer.await?.into_inner();
        let (run, manifest) = joined(answer.run_id, answer.policy).map_err(|e| peer.malformed(e))?;
        let joined = Self {
            peer,
            client,
            request_timeout,
            actor,
            run,
            run_seed: answer.run_seed,
            epoch: AtomicU64::new(answer.learner_epoch.max(manifest.version.epoch.0)),
            open: Mutex::default(),
            adapter_bytes: AtomicU64::new(0),
            base_bytes: AtomicU64::new(0),
        };
        Ok((joined, manifest))
    }

    /// The run.
    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// The run's seed.
    pub(crate) fn run_seed(&self) -> u64 {
        self.run_seed
    }

    /// The highest learner epoch known.
    pub(crate) fn epoch(&self) -> LearnerEpoch {
        LearnerEpoch(self.epoch.load(Ordering::Relaxed))
    }

    /// Remembers that a learner of this epoch exists.
    pub(crate) fn raise_epoch(&self, epoch: LearnerEpoch) {
        self.epoch.fetch_max(epoch.0, Ordering::Relaxed);
    }

    /// Adapter and base-model payload received so far, in bytes.
    pub(crate) fn received(&self) -> (u64, u64) {
        (
            self.adapter_bytes.load(Ordering::Relaxed),
            self.base_bytes.load(Ordering::Relaxed),
        )
    }

    /// Asks for tasks to sample with `policy`.
    pub(crate) async fn lease_tasks(
        &self,
        policy: PolicyVersion,
        max_tasks: usize,
    ) -> Result<LeaseAnswer, ActorError> {
        let answer = self.peer.until_answered(|| {
            let (mut client, request) = (self.client.clone(), self.lease_request(policy, max_tasks));
            async move { client.lease_tasks(request).await }
        });
        let answer = lease_answer(answer.await?.into_inner()).map_err(|e| self.peer.malformed(e))?;
        if let LeaseAnswer::Tasks(tasks) = &answer {
            self.open().extend(tasks.iter().map(|task| task.id));
        }
        Ok(answer)
    }

    /// Asks a complete run for tasks, so that the learner knows that this actor knows; nobody need be there to hear it.
    pub(crate) async fn take_leave(&self, policy: PolicyVersion) {
        let (mut client, request) = (self.client.clone(), self.lease_request(policy, 1));
        let _unheard = tokio::time::timeout(LEAVE_TAKING, client.lease_tasks(request)).await;
    }

    /// Ends leases with their outcomes.
    pub(crate) async fn submit(&self, outcomes: &[RolloutOutcome]) -> Result<Receipts, ActorError> {
        let trace = outcomes.first().map(|outcome| self.trace(outcome.task()));
        let answer = self.peer.until_answered(|| {
            let outcomes = outcomes.iter().map(Into::into).collect();
            let mut request = Request::new(pb::SubmitOutcomesRequest {
                header: Some(self.header()),
                outcomes,
            });
            trace
                .into_iter()
                .for_each(|trace| inject(trace, request.metadata_mut()));
            let mut client = self.client.clone();
            async move { client.submit_outcomes(request).await }
        });
        let receipts = answer.await?.into_inner().receipts;
        if receipts.len() != outcomes.len() {
            let reason = format!("{} receipts for {} outcomes", receipts.len(), outcomes.len());
            return Err(self
                .peer
                .malformed(InvalidMessage::new("submit_outcomes_response.receipts", reason)));
        }
        outcomes.iter().for_each(|outcome| {
            self.open().remove(&outcome.task());
        });
        Ok(count(&receipts))
    }

    /// Hands back every open lease, in one attempt; answers how many the learner took.
    pub(crate) async fn hand_back(&self) -> Result<u64, Box<Status>> {
        let tasks: Vec<u64> = std::mem::take(&mut *self.open())
            .into_iter()
            .map(|task| task.0)
            .collect();
        if tasks.is_empty() {
            return Ok(0);
        }
        let request = pb::ReturnTasksRequest {
            header: Some(self.header()),
            tasks,
        };
        let answer = self
            .client
            .clone()
            .return_tasks(request)
            .await
            .map_err(Box::new)?;
        Ok(answer.into_inner().returned.into())
    }

    /// Follows the announcements of versions after `after`.
    pub(crate) async fn watch_policy(
        &self,
        after: PolicyVersion,
    ) -> Result<Streaming<pb::PolicyManifest>, Status> {
        let request = pb::WatchPolicyRequest {
            header: Some(self.header()),
            after: Some(after.into()),
        };
        Ok(self.client.clone().watch_policy(request).await?.into_inner())
    }

    /// Tells the learner which version is sampled from now.
    pub(crate) async fn report_adoption(&self, version: PolicyVersion) -> Result<(), ActorError> {
        let answer = self.peer.until_answered(|| {
            let (adapter_bytes_received, base_bytes_received) = self.received();
            let request = pb::ReportAdoptionRequest {
                header: Some(self.header()),
                version: Some(version.into()),
                adapter_bytes_received,
                base_bytes_received,
            };
            let mut client = self.client.clone();
            async move { client.report_adoption(request).await }
        });
        answer.await.map(|_| ())
    }

    /// The learner as a peer, for whoever keeps its own count of outages.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The header of a request in this run.
    pub(crate) fn header(&self) -> pb::RequestHeader {
        header(Some(&self.run), Some(self.epoch()), self.actor.as_str())
    }

    fn lease_request(&self, policy: PolicyVersion, max_tasks: usize) -> pb::LeaseTasksRequest {
        let (header, policy) = (Some(self.header()), Some(policy.into()));
        pb::LeaseTasksRequest {
            header,
            policy,
            max_tasks: max_tasks as u32,
        }
    }

    /// The trace of the rollout that began with `task`.
    pub(crate) fn trace(&self, task: TaskId) -> TraceId {
        TraceId::of(self.run_seed, task.0)
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn joined(run: String, policy: Option<pb::PolicyManifest>) -> Result<(RunId, Manifest), InvalidMessage> {
    let run = RunId::new(run).map_err(|e| InvalidMessage::new("join_response.run_id", e))?;
    let policy = policy.ok_or_else(|| InvalidMessage::missing("join_response.policy"))?;
    Ok((run, policy.try_into()?))
}

fn lease_answer(response: pb::LeaseTasksResponse) -> Result<LeaseAnswer, InvalidMessage> {
    match response
        .answer
        .ok_or_else(|| InvalidMessage::missing("lease_tasks_response.answer"))?
    {
        Answer::Lease(lease) => {
            InvalidMessage::check_batch("task_lease.tasks", lease.tasks.len())?;
            let tasks = lease.tasks.into_iter().map(ProductTask::try_from);
            Ok(LeaseAnswer::Tasks(tasks.collect::<Result<_, _>>()?))
        }
        Answer::Wait(wait) => {
            let pause = Duration::from_millis(wait.retry_after_ms.max(1));
            Ok(LeaseAnswer::Wait(pause.min(LONGEST_WAIT)))
        }
        Answer::Complete(pb::RunComplete {}) => Ok(LeaseAnswer::Complete),
    }
}

fn count(receipts: &[pb::OutcomeReceipt]) -> Receipts {
    let mut counts = Receipts::default();
    for receipt in receipts {
        match receipt.disposition() {
            pb::Disposition::Recorded => counts.recorded += 1,
            pb::Disposition::AlreadyRecorded => counts.already_recorded += 1,
            pb::Disposition::Reissued => counts.reissued += 1,
            pb::Disposition::Refused | pb::Disposition::Unspecified => {
                counts.refused += 1;
                tracing::warn!(task = receipt.task, detail = receipt.detail, "outcome refused");
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(answer: Answer) -> Result<LeaseAnswer, InvalidMessage> {
        lease_answer(pb::LeaseTasksResponse { answer: Some(answer) })
    }

    #[test]
    fn an_answer_that_says_nothing_is_refused() {
        assert!(lease_answer(pb::LeaseTasksResponse { answer: None }).is_err());
        let empty = response(Answer::Lease(pb::TaskLease {
            tasks: vec![],
            ttl_ms: 5,
        }))
        .unwrap_err();
        assert_eq!(empty.field, "task_lease.tasks");
    }

    #[test]
    fn a_wait_is_neither_a_busy_loop_nor_days() {
        let wait = |retry_after_ms| {
            response(Answer::Wait(pb::Wait {
                retry_after_ms,
                reason: 1,
            }))
            .unwrap()
        };
        assert!(matches!(wait(0), LeaseAnswer::Wait(pause) if pause == Duration::from_millis(1)));
        assert!(matches!(wait(u64::MAX), LeaseAnswer::Wait(pause) if pause == LONGEST_WAIT));
    }

    #[test]
    fn each_receipt_is_counted_once_and_an_unknown_one_as_refused() {
        let receipts = [1, 1, 2, 3, 4, 0, 99].map(|disposition| pb::OutcomeReceipt {
            disposition,
            ..Default::default()
        });
        let expected = Receipts {
            recorded: 2,
            already_recorded: 1,
            reissued: 1,
            refused: 3,
        };
        assert_eq!(count(&receipts), expected);
    }
}
