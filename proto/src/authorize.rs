//! The one seam where a server decides whether a caller may call.

use crate::WireError;
use std::{net::SocketAddr, sync::Arc};
use tonic::{Request, Status, service::Interceptor};

/// What is known of one call before it is served.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method, as `Service/Method`.
    pub method: &'static str,
    /// Who says they call.
    pub caller: &'a str,
    /// Where the connection comes from; `None` for an address that is not known.
    pub peer: Option<SocketAddr>,
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
    pub fn new(peer: Option<SocketAddr>, reason: impl Into<String>) -> Self {
        let peer = peer.map_or_else(|| "an unknown address".into(), |peer| peer.to_string());
        let reason = reason.into();
        Self { peer, reason }
    }
}

/// Decides who may call what. The learner and the reward-server ask it twice: at the [`Door`], before anything of a
/// message is read, and in every handler, once the caller's name is known.
pub trait Authorizer: Send + Sync {
    /// Lets in or turns away whoever calls from `peer`; `None` for an address that is not known.
    ///
    /// # Errors
    /// [`PeerDenied`] with the reason.
    fn admit(&self, peer: Option<SocketAddr>) -> Result<(), PeerDenied>;

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
    fn admit(&self, peer: Option<SocketAddr>) -> Result<(), PeerDenied> {
        match peer {
            Some(peer) if peer.ip().to_canonical().is_loopback() => Ok(()),
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
    fn admit(&self, _: Option<SocketAddr>) -> Result<(), PeerDenied> {
        Ok(())
    }

    fn authorize(&self, _: &Call<'_>) -> Result<(), Denied> {
        Ok(())
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
        let admitted = self.authorizer.admit(request.remote_addr());
        admitted.map_err(WireError::from)?;
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(peer: &str) -> Result<(), Denied> {
        let peer = peer.parse().ok();
        AllowLoopback.authorize(&Call {
            method: "LearnerService/Join",
            caller: "actor-0",
            peer,
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
        let far = Some(SocketAddr::from(([192, 168, 7, 9], 4000)));
        let call = Call {
            method: "RewardService/ScoreGroups",
            caller: "actor-1",
            peer: far,
        };
        assert!(AllowLoopback.admit(far).is_err() && AllowLoopback.authorize(&call).is_err());
        assert!(AllowNetwork.admit(far).is_ok() && AllowNetwork.authorize(&call).is_ok());
    }
}
