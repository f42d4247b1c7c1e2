//! The gRPC face of the control plane: authorise, convert, call, convert back. No rule is decided here.

mod announcements;
mod callers;
pub(crate) mod requests;
mod room;
pub(crate) mod scaler;
mod status;

use crate::actors::Following;
use crate::admission::Pause;
use crate::clock;
use crate::control::{ControlPlane, Failure, LeaseAnswer, LeaseDenied, Receipt};
pub(crate) use room::RoomForOutcomes;
pub(crate) use scaler::Scaler;

use announcements::{announcements, whole_manifest};
use common::{ActorId, RolloutOutcome, TaskId};
use failpoint::{Mutation, Point};
use futures::stream::{BoxStream, StreamExt, TryStreamExt as _};
use proto::pb::{self, learner_service_server::LearnerService, lease_tasks_response::Answer};
use proto::trace::Stage;
use proto::{Authorizer, Remote, WireError, artifact_stream};
use requests::{Returned, Submission, Wanted};
use room::Held;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

/// Serves a run's control plane.
pub(crate) struct Service {
    control: Arc<ControlPlane>,
    authorizer: Arc<dyn Authorizer>,
    /// When actors that got no lease should ask again.
    retry_after_ms: u64,
    /// Ends streams and refuses new leases.
    stop: CancellationToken,
}

impl Service {
    /// A service that stops streaming and leasing at `stop`.
    pub(crate) fn new(
        control: Arc<ControlPlane>,
        authorizer: Arc<dyn Authorizer>,
        retry_after_ms: u64,
        stop: CancellationToken,
    ) -> Self {
        Self {
            control,
            authorizer,
            retry_after_ms,
            stop,
        }
    }

    fn lease(&self, actor: &ActorId, wanted: &Wanted) -> Result<Answer, WireError> {
        if self.stop.is_cancelled() {
            return Err(WireError::Unavailable("the learner is stopping".into()));
        }
        match self.control.failure() {
            Some(Failure::Run(what)) => return Err(WireError::Internal(format!("the run failed: {what}"))),
            Some(Failure::Learner(what)) => {
                return Err(WireError::Unavailable(format!("the learner is ending: {what}")));
            }
            None => {}
        }
        let answer = self
            .control
            .lease(actor, wanted.policy, wanted.tasks, clock::now());
        Ok(match answer.map_err(|denied| lease_error(actor, denied))? {
            LeaseAnswer::Complete => Answer::Complete(pb::RunComplete {}),
            LeaseAnswer::Wait(pause) => Answer::Wait(pb::Wait {
                retry_after_ms: self.retry_after_ms,
                reason: wait_reason(pause).into(),
            }),
            LeaseAnswer::Tasks(tasks) => Answer::Lease(pb::TaskLease {
                tasks: tasks.iter().map(Into::into).collect(),
                ttl_ms: self.control.lease_ttl().as_millis() as u64,
                reward_model: self.control.reward_model().map(Into::into),
            }),
        })
    }

    fn hand_back(&self, actor: &ActorId, Returned { tasks, leaves }: &Returned) -> u32 {
        let returned = match tasks.is_empty() {
            true => 0,
            false => self.control.hand_back(actor, tasks, clock::now()),
        };
        if *leaves {
            self.control.leave(actor);
        }
        returned
    }

    async fn submit(
        &self,
        actor: &ActorId,
        outcomes: Vec<RolloutOutcome>,
    ) -> Result<pb::SubmitOutcomesResponse, WireError> {
        let now = clock::now();
        let tasks: Vec<TaskId> = outcomes.iter().map(RolloutOutcome::task).collect();
        let receipts = outcomes.into_iter().map(|outcome| {
            let task = outcome.task();
            receipt(task, &self.control.submit(actor, outcome, now))
        });
        let receipts: Vec<pb::OutcomeReceipt> = receipts.collect();
        // Nothing is acknowledged before it is durable, nor that it was recorded before.
        if !failpoint::breaks(Mutation::AckBeforeDurable) {
            let durable = self.control.ledger.durable().await;
            durable.map_err(|failed| WireError::Unavailable(failed.to_string()))?;
        }
        let recorded = |receipt: &&pb::OutcomeReceipt| receipt.disposition() == pb::Disposition::Recorded;
        let those = tasks
            .into_iter()
            .zip(&receipts)
            .filter(|(_, receipt)| recorded(receipt));
        let those: Vec<_> = those.map(|(task, _)| self.control.trace_of(task)).collect();
        let recorded = those.len();
        Stage::Durable.over(clock::now().saturating_duration_since(now), those);
        failpoint::reach(Point::SubmitDurable);
        tracing::info!(%actor, outcomes = receipts.len(), recorded, "outcomes taken in");
        Ok(pb::SubmitOutcomesResponse { receipts })
    }
}

#[tonic::async_trait]
impl LearnerService for Service {
    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinResponse>, Status> {
        let (caller, settings, span) = self.admit(request)?;
        let _span = span.entered();
        self.check_settings(&caller, &settings)?;
        tracing::debug!(caller = caller.id, "joined");
        // One that takes part asks for the newest version in this way, too.
        let is_new = caller.epoch.is_none();
        if let Ok(actor) = ActorId::new(caller.id) {
            self.control.note_join(&actor, clock::now());
            if is_new {
                self.control.begins(&actor);
            }
        }
        let own = &self.control.identity;
        let broadcast = &self.control.broadcast;
        Ok(Response::new(pb::JoinResponse {
            run_id: own.run.to_string(),
            learner_epoch: self.control.epoch().0,
            run_seed: own.run_seed,
            policy: Some(whole_manifest(broadcast, &broadcast.newest())),
            deterministic: self.control.deterministic(),
        }))
    }

    async fn lease_tasks(
        &self,
        request: Request<pb::LeaseTasksRequest>,
    ) -> Result<Response<pb::LeaseTasksResponse>, Status> {
        let (actor, wanted, span) = self.admit(request)?;
        let answer = span.in_scope(|| self.lease(&actor, &wanted))?;
        if matches!(answer, Answer::Lease(_)) {
            failpoint::reach(Point::Leased);
        }
        Ok(Response::new(pb::LeaseTasksResponse { answer: Some(answer) }))
    }

    async fn submit_outcomes(
        &self,
        mut request: Request<pb::SubmitOutcomesRequest>,
    ) -> Result<Response<pb::SubmitOutcomesResponse>, Status> {
        let _held = request.extensions_mut().remove::<Held>();
        let (actor, Submission { outcomes, seconds }, span) = self.admit(request)?;
        let [own, scoring] = self.control.actors.computed(&actor, clock::now(), seconds);
        self.control.measured.actor_seconds.inc_by(own);
        self.control.measured.scoring_seconds.inc_by(scoring);
        let submitted = self.submit(&actor, outcomes).instrument(span);
        Ok(Response::new(submitted.await?))
    }

    async fn return_tasks(
        &self,
        request: Request<pb::ReturnTasksRequest>,
    ) -> Result<Response<pb::ReturnTasksResponse>, Status> {
        let (actor, returned, span) = self.admit(request)?;
        let returned = span.in_scope(|| self.hand_back(&actor, &returned));
        Ok(Response::new(pb::ReturnTasksResponse { returned }))
    }

    type WatchPolicyStream = BoxStream<'static, Result<pb::PolicyManifest, Status>>;

    async fn watch_policy(
        &self,
        request: Request<pb::WatchPolicyRequest>,
    ) -> Result<Response<Self::WatchPolicyStream>, Status> {
        let peer = Remote::of(&request).address;
        let (caller, watch, span) = self.admit(request)?;
        span.in_scope(|| self.check_measuring(&caller, &watch.settings))?;
        span.in_scope(|| tracing::debug!(caller = caller.id, "follows"));
        let relay = watch.relay(peer.map(|peer| peer.ip()));
        let place = self.control.broadcast.relays.enter(relay);
        let following = Following::begin(&self.control, &caller.id, watch.evaluates);
        let (control, stop) = (self.control.clone(), self.stop.clone());
        let announced = announcements(control, place, following, watch.after, stop);
        Ok(Response::new(announced.boxed()))
    }

    type FetchArtifactStream = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let (caller, (digest, offset), span) = self.admit(request)?;
        let source = self.control.broadcast.source(&digest);
        let source = source.ok_or_else(|| WireError::NotFound(format!("artifact {digest}")))?;
        span.in_scope(|| tracing::debug!(caller = caller.id, %digest, offset, "fetches"));
        let (chunks, sent) = (
            artifact_stream::chunks(source, offset).await?,
            self.control.broadcast.meter(),
        );
        let metered = chunks.inspect_ok(move |chunk| {
            failpoint::reach(Point::ArtifactChunk);
            sent.fetch_add(chunk.data.len() as u64, Ordering::Relaxed);
        });
        Ok(Response::new(metered.boxed()))
    }

    async fn report_adoption(
        &self,
        request: Request<pb::ReportAdoptionRequest>,
    ) -> Result<Response<pb::ReportAdoptionResponse>, Status> {
        let (actor, (adoption, waiting_for), span) = self.admit(request)?;
        let _span = span.entered();
        let now = clock::now();
        let adopted = self.control.adopted(&actor, &adoption, now);
        adopted.map_err(|unknown| WireError::NotFound(unknown.to_string()))?;
        self.control.actors.waits(&actor, now, waiting_for);
        tracing::debug!(actor = %actor, ?adoption, "adoption reported");
        Ok(Response::new(pb::ReportAdoptionResponse {}))
    }

    async fn report_evaluation(
        &self,
        request: Request<pb::ReportEvaluationRequest>,
    ) -> Result<Response<pb::ReportEvaluationResponse>, Status> {
        let (_, (version, values), span) = self.admit(request)?;
        let told = values.clone();
        let evaluated = span.in_scope(|| self.control.evaluated(version, told));
        evaluated.map_err(|unknown| WireError::NotFound(unknown.to_string()))?;
        // An observer that reports faster than the store takes it in waits here.
        let durable = self.control.ledger.durable().await;
        durable.map_err(|failed| WireError::Unavailable(failed.to_string()))?;
        if self.control.board.is_open() {
            let board = self.control.board.clone();
            let write = move || {
                let values = values.iter().map(|(name, value)| (name.as_str(), *value));
                board.evaluated(version, values);
            };
            let written = tokio::task::spawn_blocking(write).await;
            written.map_err(|panic| WireError::Internal(panic.to_string()))?;
        }
        Ok(Response::new(pb::ReportEvaluationResponse {}))
    }

    async fn get_run_status(
        &self,
        request: Request<pb::GetRunStatusRequest>,
    ) -> Result<Response<pb::RunStatus>, Status> {
        let (_, metrics_from, _) = self.admit(request)?;
        let status = status::run_status(&self.control, metrics_from as usize);
        Ok(Response::new(status))
    }
}

fn lease_error(actor: &ActorId, denied: LeaseDenied) -> WireError {
    match denied {
        LeaseDenied::Version(unknown) => WireError::NotFound(unknown.to_string()),
        LeaseDenied::Quarantined(reason) => WireError::Quarantined {
            actor: actor.clone(),
            reason,
        },
    }
}

fn receipt(task: TaskId, receipt: &Receipt) -> pb::OutcomeReceipt {
    let (disposition, detail) = match receipt {
        Receipt::Recorded => (pb::Disposition::Recorded, String::new()),
        Receipt::AlreadyRecorded(digest) => (pb::Disposition::AlreadyRecorded, digest.to_string()),
        Receipt::Reissued => (pb::Disposition::Reissued, String::new()),
        Receipt::Refused(refusal) => (pb::Disposition::Refused, refusal.to_string()),
    };
    pb::OutcomeReceipt {
        task: task.0,
        disposition: disposition.into(),
        detail,
    }
}

fn wait_reason(pause: Pause) -> pb::WaitReason {
    match pause {
        Pause::Staleness => pb::WaitReason::Staleness,
        Pause::AllLeased => pb::WaitReason::AllLeased,
        Pause::PolicyBehind => pb::WaitReason::PolicyBehind,
    }
}
