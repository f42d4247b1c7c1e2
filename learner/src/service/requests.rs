//! What requests ask for and who may send them, each said once. Only what a request itself can get wrong: what the run has to say to it
//! is the control plane's.

use crate::actors::Adoption;
use common::{
    ActorId, CanaryReport, DecidingSettings, Digest, LearnerEpoch, PolicyVersion, RolloutOutcome, TaskId,
};
use proto::{Caller, InvalidMessage, WireError, pb, required};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// The longest word of an actor about what it waits for, in bytes.
const MAX_WAITING_BYTES: usize = 1 << 10;

/// A request to the learner.
pub(crate) trait Asking: Sized {
    /// The method that it is sent to, as `Service/Method`.
    const METHOD: &'static str;
    /// Who may send it: any [`Caller`], or an [`ActorId`], which takes part in the run.
    type Sender: Sender;
    /// What it asks for.
    type Asked;

    /// Takes the header out of it.
    fn take_header(&mut self) -> Option<pb::RequestHeader>;

    /// What it asks for: all of it well formed, or nothing.
    fn asked(self) -> Result<Self::Asked, InvalidMessage>;
}

/// Whoever sends a request.
pub(crate) trait Sender: Sized {
    /// Who calls, and the newest start of the learner that it knows, where it must know that. Whoever only looks on, or joins, learns of a
    /// later start by the answer; who takes part must know it.
    fn of(caller: Caller) -> Result<(Self, Option<LearnerEpoch>), WireError>;
}

impl Sender for Caller {
    fn of(caller: Caller) -> Result<(Self, Option<LearnerEpoch>), WireError> {
        Ok((caller, None))
    }
}

impl Sender for ActorId {
    fn of(caller: Caller) -> Result<(Self, Option<LearnerEpoch>), WireError> {
        let (Some(_), Some(epoch)) = (caller.run, caller.epoch) else {
            return Err(WireError::NotJoined);
        };
        let actor = ActorId::new(caller.id).map_err(|e| InvalidMessage::new("header.caller_id", e))?;
        Ok((actor, Some(epoch)))
    }
}

macro_rules! asking {
    ($method:literal, $request:ty, by $sender:ty, for $asked:ty, $read:expr) => {
        impl Asking for $request {
            const METHOD: &'static str = $method;
            type Sender = $sender;
            type Asked = $asked;

            fn take_header(&mut self) -> Option<pb::RequestHeader> {
                self.header.take()
            }

            fn asked(self) -> Result<Self::Asked, InvalidMessage> {
                let read: fn(Self) -> Result<Self::Asked, InvalidMessage> = $read;
                read(self)
            }
        }
    };
}

asking!("LearnerService/Join", pb::JoinRequest, by Caller, for DecidingSettings, |m| {
    proto::deciding_settings("join_request.settings", m.settings)
});
asking!("LearnerService/LeaseTasks", pb::LeaseTasksRequest, by ActorId, for Wanted, wanted);
asking!("LearnerService/SubmitOutcomes", pb::SubmitOutcomesRequest, by ActorId, for Submission, submission);
asking!("LearnerService/ReturnTasks", pb::ReturnTasksRequest, by ActorId, for Returned, returned);
asking!("LearnerService/WatchPolicy", pb::WatchPolicyRequest, by Caller, for Watch, watch);
asking!("LearnerService/FetchArtifact", pb::FetchArtifactRequest, by Caller, for (Digest, u64), |m| {
    Ok((proto::fetched(m.digest)?, m.offset))
});
asking!(
    "LearnerService/ReportAdoption",
    pb::ReportAdoptionRequest,
    by ActorId,
    for (Adoption, Option<String>),
    adoption
);
asking!(
    "LearnerService/ReportEvaluation",
    pb::ReportEvaluationRequest,
    by Caller,
    for (PolicyVersion, BTreeMap<String, f64>),
    evaluation
);
asking!("LearnerService/GetRunStatus", pb::GetRunStatusRequest, by Caller, for u64, |m| Ok(m.metrics_from));

/// How many tasks, to be sampled with which version.
pub(crate) struct Wanted {
    pub(crate) tasks: usize,
    pub(crate) policy: PolicyVersion,
}

fn wanted(request: pb::LeaseTasksRequest) -> Result<Wanted, InvalidMessage> {
    let tasks = request.max_tasks as usize;
    InvalidMessage::check_batch("lease_tasks_request.max_tasks", tasks)?;
    let policy = required("lease_tasks_request.policy", request.policy)?.try_into()?;
    Ok(Wanted { tasks, policy })
}

/// Outcomes, and the seconds of computing and of scoring that the actor tells with them.
pub(crate) struct Submission {
    pub(crate) outcomes: Vec<RolloutOutcome>,
    pub(crate) seconds: [f64; 2],
}

fn submission(request: pb::SubmitOutcomesRequest) -> Result<Submission, InvalidMessage> {
    InvalidMessage::check_batch("submit_outcomes_request.outcomes", request.outcomes.len())?;
    let outcomes = request.outcomes.into_iter().map(RolloutOutcome::try_from);
    Ok(Submission {
        outcomes: outcomes.collect::<Result<_, _>>()?,
        seconds: [request.compute_seconds, request.scoring_seconds],
    })
}

/// The tasks that are handed back: some, unless the actor leaves.
pub(crate) struct Returned {
    pub(crate) tasks: Vec<TaskId>,
    pub(crate) leaves: bool,
}

fn returned(request: pb::ReturnTasksRequest) -> Result<Returned, InvalidMessage> {
    if !(request.leaves && request.tasks.is_empty()) {
        InvalidMessage::check_batch("return_tasks_request.tasks", request.tasks.len())?;
    }
    Ok(Returned {
        tasks: request.tasks.into_iter().map(TaskId).collect(),
        leaves: request.leaves,
    })
}

/// What whoever follows the announcements has, and offers.
pub(crate) struct Watch {
    /// The version that it has.
    pub(crate) after: Option<PolicyVersion>,
    /// The port on which it passes on what it has; 0 when it does not.
    relay_port: u16,
    /// Whether it measures versions.
    pub(crate) evaluates: bool,
    /// On what it does.
    pub(crate) settings: DecidingSettings,
}

impl Watch {
    /// Where it passes on what it has: at the address that it calls from. One of IPv4 that comes to a listener of both is told as what it is.
    pub(crate) fn relay(&self, from: Option<IpAddr>) -> Option<SocketAddr> {
        let from = from.filter(|_| self.relay_port > 0);
        from.map(|from| SocketAddr::new(from.to_canonical(), self.relay_port))
    }
}

fn watch(request: pb::WatchPolicyRequest) -> Result<Watch, InvalidMessage> {
    let relay_port = u16::try_from(request.relay_port).map_err(|_| {
        let reason = format!("{} is no port", request.relay_port);
        InvalidMessage::new("watch_policy_request.relay_port", reason)
    })?;
    Ok(Watch {
        after: request.after.map(PolicyVersion::try_from).transpose()?,
        relay_port,
        evaluates: request.evaluates,
        settings: proto::deciding_settings("watch_policy_request.settings", request.settings)?,
    })
}

/// What an actor reports of a version, and what it says that it waits for.
fn adoption(request: pb::ReportAdoptionRequest) -> Result<(Adoption, Option<String>), InvalidMessage> {
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
fn evaluation(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_where_its_actor_calls_from() {
        let request = |relay_port| pb::WatchPolicyRequest {
            relay_port,
            ..Default::default()
        };
        let relay = |from: &str| watch(request(7402)).unwrap().relay(from.parse().ok());
        for (from, expected) in [
            ("10.0.0.3", "10.0.0.3:7402"),
            ("::ffff:10.0.0.3", "10.0.0.3:7402"),
            ("fd00::3", "[fd00::3]:7402"),
        ] {
            assert_eq!(relay(from), expected.parse().ok(), "{from}");
        }
        assert_eq!(relay(""), None);
        assert_eq!(watch(request(0)).unwrap().relay("10.0.0.3".parse().ok()), None);
    }
}
