//! The one seam where a server decides whether a caller may call.

use crate::{PeerRole, Remote, RoleName, WireError};
use common::RunId;
use std::sync::Arc;
use tonic::{Request, Status, service::Interceptor};

/// What is known of one call before it is served.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method, as `Service/Method`.
    pub method: &'static str,
    /// Who says they call.
    pub caller: &'a str,
    /// Whose connection it is.
    pub peer: &'a Remote,
}

/// A caller that may not call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{caller:?} may not call {method}: {reason}")]
pub struct Denied {
    /// The method.
    pub method: &'static str,
    /// Who called.
    pub caller: String,
    /// Why not, and what would be right.
    pub reason: String,
}

/// A connection whose calls are not even read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no call is taken from {peer}: {reason}")]
pub struct PeerDenied {
    /// Where the connection comes from.
    pub peer: String,
    /// Why not, and what would be right.
    pub reason: String,
}

impl PeerDenied {
    /// A refusal of this peer.
    pub fn new(peer: &Remote, reason: impl Into<String>) -> Self {
        let (peer, reason) = (peer.shown(), reason.into());
        Self { peer, reason }
    }
}

/// Decides who may call what. The learner and the reward-server ask it twice: at the [`Door`], before anything of a
/// message is read, and in every handler, once the caller's name is known.
pub trait Authorizer: Send + Sync {
    /// Lets in or turns away whoever is at the other end of a connection.
    ///
    /// # Errors
    /// [`PeerDenied`] with the reason.
    fn admit(&self, peer: &Remote) -> Result<(), PeerDenied>;

    /// Allows or denies one call.
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    fn authorize(&self, call: &Call<'_>) -> Result<(), Denied>;
}

/// Allows every caller that connects from this machine, and nobody else.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowLoopback;

impl Authorizer for AllowLoopback {
    fn admit(&self, peer: &Remote) -> Result<(), PeerDenied> {
        match peer.address {
            Some(address) if address.ip().to_canonical().is_loopback() => Ok(()),
            _ => Err(PeerDenied::new(
                peer,
                "without certificates only this machine may call",
            )),
        }
    }

    fn authorize(&self, call: &Call<'_>) -> Result<(), Denied> {
        self.admit(call.peer).map_err(|denied| Denied {
            method: call.method,
            caller: call.caller.to_owned(),
            reason: denied.to_string(),
        })
    }
}

/// Allows everybody who reaches this address: for networks on which whoever can connect may, such as a cluster's own behind a
/// policy of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowNetwork;

impl Authorizer for AllowNetwork {
    fn admit(&self, _: &Remote) -> Result<(), PeerDenied> {
        Ok(())
    }

    fn authorize(&self, _: &Call<'_>) -> Result<(), Denied> {
        Ok(())
    }
}

/// Allows callers by the roles that their certificates name, wherever they call from: each method is for some roles of this run.
#[derive(Debug, Clone)]
pub struct AllowRoles {
    run: RunId,
}

/// Which roles call what. A method that is not listed is for nobody. None administers a run: an admin's certificate is an observer's and
/// a scaler's in one, for a person, and what changes a run is its configuration and its store.
const CALLERS: [(&str, &[PeerRole]); 17] = {
    use PeerRole::{Actor, Admin, Learner, Observer, RewardServer, Scaler};
    [
        ("LearnerService/Join", &[Actor]),
        ("LearnerService/LeaseTasks", &[Actor]),
        ("LearnerService/SubmitOutcomes", &[Actor]),
        ("LearnerService/ReturnTasks", &[Actor]),
        ("LearnerService/ReportAdoption", &[Actor]),
        // By the last version a reward-server knows that its run is complete.
        (
            "LearnerService/WatchPolicy",
            &[Actor, RewardServer, Observer, Admin],
        ),
        ("LearnerService/FetchArtifact", &[Actor, Observer, Admin]),
        ("LearnerService/ReportEvaluation", &[Observer, Admin]),
        // A learner asks itself when it starts.
        ("LearnerService/GetRunStatus", &[Learner, Observer, Admin, Scaler]),
        ("RewardService/ScoreGroups", &[Actor]),
        (
            "RewardService/GetRewardModel",
            &[Actor, RewardServer, Observer, Admin],
        ),
        ("RewardService/GetServerStatus", &[RewardServer, Observer, Admin]),
        ("RelayService/FetchArtifact", &[Actor]),
        ("ExternalScaler/IsActive", &[Scaler, Admin]),
        ("ExternalScaler/StreamIsActive", &[Scaler, Admin]),
        ("ExternalScaler/GetMetricSpec", &[Scaler, Admin]),
        ("ExternalScaler/GetMetrics", &[Scaler, Admin]),
    ]
};

impl AllowRoles {
    /// For a server of `run`.
    pub fn of(run: RunId) -> Self {
        Self { run }
    }

    /// The roles of a peer in this run.
    fn roles<'a>(&'a self, peer: &'a Remote) -> impl Iterator<Item = PeerRole> + 'a {
        let all = peer.roles.as_deref().unwrap_or_default().iter();
        all.filter(|name| name.run == self.run).map(|name| name.role)
    }
}

impl Authorizer for AllowRoles {
    fn admit(&self, peer: &Remote) -> Result<(), PeerDenied> {
        if self.roles(peer).next().is_some() {
            return Ok(());
        }
        let found = peer
            .roles
            .as_deref()
            .map_or_else(|| "no certificate".into(), RoleName::list);
        let expected = format!("expected a certificate of run {}, found {found}", self.run);
        Err(PeerDenied::new(peer, expected))
    }

    fn authorize(&self, call: &Call<'_>) -> Result<(), Denied> {
        let denied = |reason| Denied {
            method: call.method,
            caller: call.caller.to_owned(),
            reason,
        };
        self.admit(call.peer)
            .map_err(|refused| denied(refused.to_string()))?;
        let callers = CALLERS.iter().find(|(method, _)| *method == call.method);
        let callers = callers.map_or(&[][..], |(_, callers)| callers);
        match self.roles(call.peer).any(|role| callers.contains(&role)) {
            true => Ok(()),
            false => {
                let found = call.peer.roles.as_deref().map(RoleName::list);
                let found = found.unwrap_or_default();
                let expected: Vec<&str> = callers.iter().map(|role| role.name()).collect();
                let reason = format!(
                    "its certificate names {found}, expected {}",
                    expected.join(" or ")
                );
                Err(denied(reason))
            }
        }
    }
}

/// Asks an [`Authorizer`] about the peer of each call before its message is read and decoded.
#[derive(Clone)]
pub struct Door {
    authorizer: Arc<dyn Authorizer>,
}

impl Door {
    /// The door that `authorizer` keeps.
    pub fn of(authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer }
    }
}

impl Interceptor for Door {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let admitted = self.authorizer.admit(&Remote::of(&request));
        admitted.map_err(WireError::from)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::SocketAddr;

    fn call(peer: &str) -> Result<(), Denied> {
        let peer = peer.parse().ok();
        AllowLoopback.authorize(&Call {
            method: "LearnerService/Join",
            caller: "actor-0",
            peer: &Remote::from(peer),
        })
    }

    #[test]
    fn only_this_machine_may_call_without_certificates() {
        assert!(call("127.0.0.1:4000").is_ok());
        assert!(call("[::1]:4000").is_ok());
        assert!(call("[::ffff:127.0.0.1]:4000").is_ok());
        assert!(
            call("10.0.0.7:4000")
                .unwrap_err()
                .to_string()
                .contains("10.0.0.7")
        );
    }

    #[test]
    fn a_peer_without_an_address_is_turned_away_at_the_door() {
        assert!(call("").is_err());
        let mut door = Door::of(Arc::new(AllowLoopback));
        let status = door.call(Request::new(())).unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
    }

    #[test]
    fn a_network_that_is_allowed_is_allowed_from_anywhere() {
        let far = &Remote::from(Some(SocketAddr::from(([192, 168, 7, 9], 4000))));
        let call = Call {
            method: "RewardService/ScoreGroups",
            caller: "actor-1",
            peer: far,
        };
        assert!(AllowLoopback.admit(far).is_err() && AllowLoopback.authorize(&call).is_err());
        assert!(AllowNetwork.admit(far).is_ok() && AllowNetwork.authorize(&call).is_ok());
    }

    fn certified(names: &[&str]) -> Remote {
        let roles = names.iter().map(|name| RoleName::parse(name).unwrap()).collect();
        Remote {
            address: Some(SocketAddr::from(([127, 0, 0, 1], 4000))),
            roles: Some(roles),
        }
    }

    fn may(names: &[&str], method: &'static str) -> Result<(), Denied> {
        AllowRoles::of(RunId::new("spring").unwrap()).authorize(&Call {
            method,
            caller: "somebody",
            peer: &certified(names),
        })
    }

    #[test]
    fn a_role_calls_what_is_its_own_and_nothing_else() {
        for (method, callers) in CALLERS {
            for role in PeerRole::ALL {
                let allowed = may(&[&format!("{role}.spring")], method).is_ok();
                assert_eq!(allowed, callers.contains(&role), "{role} {method}");
            }
        }
        let refused = may(&["actor.spring"], "LearnerService/GetRunStatus")
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("actor.spring") && refused.contains("observer or admin"),
            "{refused}"
        );
        assert!(may(&["admin.spring"], "LearnerService/Unknown").is_err());
    }

    #[test]
    fn an_admin_calls_what_observers_and_scalers_may_and_takes_no_part() {
        use PeerRole::{Admin, Observer, Scaler};
        for (method, callers) in CALLERS {
            let looks_on = callers.contains(&Observer) || callers.contains(&Scaler);
            assert_eq!(callers.contains(&Admin), looks_on, "{method}");
        }
        for method in [
            "LearnerService/Join",
            "LearnerService/LeaseTasks",
            "LearnerService/SubmitOutcomes",
            "LearnerService/ReturnTasks",
            "LearnerService/ReportAdoption",
            "RewardService/ScoreGroups",
        ] {
            assert!(may(&["admin.spring"], method).is_err(), "{method}");
        }
    }

    #[test]
    fn an_actor_calls_nothing_that_only_who_looks_on_may() {
        for method in [
            "LearnerService/GetRunStatus",
            "LearnerService/ReportEvaluation",
            "RewardService/GetServerStatus",
            "ExternalScaler/IsActive",
            "ExternalScaler/StreamIsActive",
            "ExternalScaler/GetMetricSpec",
            "ExternalScaler/GetMetrics",
        ] {
            assert!(may(&["admin.spring"], method).is_ok(), "{method}");
            assert!(may(&["actor.spring"], method).is_err(), "{method}");
        }
    }

    #[test]
    fn every_call_that_a_role_serves_has_its_callers() {
        let mut served = BTreeSet::new();
        for definition in [
            include_str!("../adwright/v1/learner.proto"),
            include_str!("../adwright/v1/relay.proto"),
            include_str!("../adwright/v1/reward.proto"),
            include_str!("../keda/externalscaler.proto"),
        ] {
            let mut service = "";
            for line in definition.lines() {
                let mut words = line.split([' ', '(']).filter(|word| !word.is_empty());
                match (words.next(), words.next()) {
                    (Some("service"), Some(name)) => service = name,
                    (Some("rpc"), Some(method)) => {
                        served.insert(format!("{service}/{method}"));
                    }
                    _ => {}
                }
            }
        }
        let listed: BTreeSet<String> = CALLERS.iter().map(|(method, _)| (*method).to_owned()).collect();
        assert_eq!(listed, served);
        assert_eq!(listed.len(), CALLERS.len(), "one is listed twice");
    }

    #[test]
    fn roles_of_another_run_are_none_here_and_an_address_is_no_proof() {
        assert!(may(&["actor.autumn"], "LearnerService/Join").is_err());
        assert!(may(&["learner.autumn", "actor.spring"], "LearnerService/Join").is_ok());
        let here = Remote::from(Some(SocketAddr::from(([127, 0, 0, 1], 4000))));
        let refused = AllowRoles::of(RunId::new("spring").unwrap())
            .admit(&here)
            .unwrap_err();
        assert!(refused.to_string().contains("no certificate"), "{refused}");
    }
}
