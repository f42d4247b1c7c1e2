//! For tests that push strangers' bytes in: whether the learner takes a request in, as far as the request alone decides that. Each is
//! what the service does with the request before it looks at its run.

use crate::service::requests::{Asking, Sender as _};
use crate::service::scaler;
use common::RunId;
use proto::{Caller, keda, pb};

/// A request to join.
pub fn join(m: pb::JoinRequest) -> bool {
    asks(m)
}

/// A request for tasks.
pub fn lease_tasks(m: pb::LeaseTasksRequest) -> bool {
    asks(m)
}

/// Outcomes.
pub fn submit_outcomes(m: pb::SubmitOutcomesRequest) -> bool {
    asks(m)
}

/// Tasks that are handed back.
pub fn return_tasks(m: pb::ReturnTasksRequest) -> bool {
    asks(m)
}

/// A request for the announcements.
pub fn watch_policy(m: pb::WatchPolicyRequest) -> bool {
    asks(m)
}

/// A request for an artifact.
pub fn fetch_artifact(m: pb::FetchArtifactRequest) -> bool {
    asks(m)
}

/// An actor's report.
pub fn report_adoption(m: pb::ReportAdoptionRequest) -> bool {
    asks(m)
}

/// An evaluator's report.
pub fn report_evaluation(m: pb::ReportEvaluationRequest) -> bool {
    asks(m)
}

/// A request for the run's status.
pub fn get_run_status(m: pb::GetRunStatusRequest) -> bool {
    asks(m)
}

/// An autoscaler's question to the learner of `run`.
pub fn scaled_object(run: &RunId, m: &keda::ScaledObjectRef) -> bool {
    scaler::check_run(run, m).is_ok()
}

/// An autoscaler's question for a figure, to the learner of `run`.
pub fn get_metrics(run: &RunId, m: &keda::GetMetricsRequest) -> bool {
    scaler::check_metrics(run, m).is_ok()
}

fn asks<M: Asking>(mut m: M) -> bool {
    let caller = Caller::try_from(m.take_header());
    caller.is_ok_and(|caller| M::Sender::of(caller).is_ok()) && m.asked().is_ok()
}
