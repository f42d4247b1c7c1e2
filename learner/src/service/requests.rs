//! What requests ask for, checked. Only what a request itself can get wrong: what the run has to say to it is the control plane's.

use crate::actors::Adoption;
use common::{ActorId, CanaryReport, LearnerEpoch, PolicyVersion, RolloutOutcome, TaskId};
use proto::{Caller, InvalidMessage, WireError, pb, required};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The longest word of an actor about what it waits for, in bytes.
const MAX_WAITING_BYTES: usize = 1 << 10;

/// Who takes part in a run, and the newest start of its learner that it knows.
pub(crate) fn participant(caller: Caller) -> Result<(ActorId, LearnerEpoch), WireError> {
    let (Some(_), Some(epoch)) = (caller.run, caller.epoch) else {
        return Err(WireError::NotJoined);
    };
    let actor = ActorId::new(caller.id).map_err(|e| InvalidMessage::new("header.caller_id", e))?;
    Ok((actor, epoch))
}

/// How many tasks, to be sampled with which version.
pub(crate) fn lease(request: pb::LeaseTasksRequest) -> Result<(usize, PolicyVersion), InvalidMessage> {
    let wanted = request.max_tasks as usize;
    InvalidMessage::check_batch("lease_tasks_request.max_tasks", wanted)?;
    let policy = required("lease_tasks_request.policy", request.policy)?.try_into()?;
    Ok((wanted, policy))
}

/// All of them, or none: a malformed request changes nothing.
pub(crate) fn outcomes(messages: Vec<pb::RolloutOutcome>) -> Result<Vec<RolloutOutcome>, InvalidMessage> {
    InvalidMessage::check_batch("submit_outcomes_request.outcomes", messages.len())?;
    messages.into_iter().map(RolloutOutcome::try_from).collect()
}

/// The tasks that are handed back: some, unless the actor leaves.
pub(crate) fn returned(request: pb::ReturnTasksRequest) -> Result<Vec<TaskId>, InvalidMessage> {
    if !(request.leaves && request.tasks.is_empty()) {
        InvalidMessage::check_batch("return_tasks_request.tasks", request.tasks.len())?;
    }
    Ok(request.tasks.into_iter().map(TaskId).collect())
}

/// The version that a caller has, and where it passes on what it has: at the address that it calls from.
pub(crate) fn following(
    from: Option<IpAddr>,
    request: &pb::WatchPolicyRequest,
) -> Result<(Option<PolicyVersion>, Option<SocketAddr>), InvalidMessage> {
    let after = request.after.map(PolicyVersion::try_from).transpose()?;
    let port = u16::try_from(request.relay_port).map_err(|_| {
        let reason = format!("{} is no port", request.relay_port);
        InvalidMessage::new("watch_policy_request.relay_port", reason)
    })?;
    let relay = from.filter(|_| port > 0).map(|from| SocketAddr::new(from, port));
    Ok((after, relay))
}

/// What an actor reports of a version, and what it says that it waits for.
pub(crate) fn adoption(
    request: pb::ReportAdoptionRequest,
) -> Result<(Adoption, Option<String>), InvalidMessage> {
    let adoption = Adoption {
        version: required("report_adoption_request.version", request.version)?.try_into()?,
        canary: request.canary.map(CanaryReport::try_from).transpose()?,
        adapter_bytes: request.adapter_bytes_received,
        base_bytes: request.base_bytes_received,
        relay_bytes: request.relay_bytes_received,
    };
    Ok((adoption, waiting_for(request.waiting_for)?))
}

/// The version that somebody measured, and its figures.
pub(crate) fn evaluation(
    request: pb::ReportEvaluationRequest,
) -> Result<(PolicyVersion, BTreeMap<String, f64>), InvalidMessage> {
    let version = required("report_evaluation_request.version", request.version)?.try_into()?;
    let values = proto::figures("report_evaluation_request.values", request.values)?;
    Ok((version, values))
}

fn waiting_for(text: String) -> Result<Option<String>, InvalidMessage> {
    match text.len() {
        0 => Ok(None),
        1..=MAX_WAITING_BYTES => Ok(Some(text)),
        bytes => {
            let reason = format!("{bytes} bytes, expected at most {MAX_WAITING_BYTES}");
            Err(InvalidMessage::new("report_adoption_request.waiting_for", reason))
        }
    }
}
