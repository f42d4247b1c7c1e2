//! For tests that push strangers' bytes in: whether the learner takes a request in, as far as the request alone decides that. Each is
//! what the service does with the request before it looks at its run.

use crate::service::{requests, scaler};
use common::RunId;
use proto::{Caller, keda, pb};

/// A request to join.
pub fn join(m: pb::JoinRequest) -> bool {
    calls(m.header)
}

/// A request for tasks.
pub fn lease_tasks(m: pb::LeaseTasksRequest) -> bool {
    takes_part(m.header.clone()) && requests::lease(m).is_ok()
}

/// Outcomes.
pub fn submit_outcomes(m: pb::SubmitOutcomesRequest) -> bool {
    takes_part(m.header) && requests::outcomes(m.outcomes).is_ok()
}

/// Tasks that are handed back.
pub fn return_tasks(m: pb::ReturnTasksRequest) -> bool {
    takes_part(m.header.clone()) && requests::returned(m).is_ok()
}

/// A request for the announcements.
pub fn watch_policy(m: pb::WatchPolicyRequest) -> bool {
    calls(m.header.clone()) && requests::following(None, &m).is_ok()
}

/// A request for an artifact.
pub fn fetch_artifact(m: pb::FetchArtifactRequest) -> bool {
    calls(m.header) && proto::fetched(m.digest).is_ok()
}

/// An actor's report.
pub fn report_adoption(m: pb::ReportAdoptionRequest) -> bool {
    takes_part(m.header.clone()) && requests::adoption(m).is_ok()
}

/// An evaluator's report.
pub fn report_evaluation(m: pb::ReportEvaluationRequest) -> bool {
    calls(m.header.clone()) && requests::evaluation(m).is_ok()
}

/// A request for the run's status.
pub fn get_run_status(m: pb::GetRunStatusRequest) -> bool {
    calls(m.header)
}

/// An autoscaler's question to the learner of `run`.
pub fn scaled_object(run: &RunId, m: &keda::ScaledObjectRef) -> bool {
    scaler::check_run(run, m).is_ok()
}

/// An autoscaler's question for a figure, to the learner of `run`.
pub fn get_metrics(run: &RunId, m: keda::GetMetricsRequest) -> bool {
    let object = m.scaled_object_ref.unwrap_or_default();
    scaled_object(run, &object) && scaler::check_metric(&m.metric_name).is_ok()
}

fn calls(header: Option<pb::RequestHeader>) -> bool {
    Caller::try_from(header).is_ok()
}

fn takes_part(header: Option<pb::RequestHeader>) -> bool {
    Caller::try_from(header).is_ok_and(|caller| requests::participant(caller).is_ok())
}
