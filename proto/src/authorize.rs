//! The one seam where a server decides whether a caller may call.

use std::net::SocketAddr;

/// What is known of one call before it is served.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The method, as `Service/Method`.
    pub method: &'static str,
    /// Who says they call.
    pub caller: &'a str,
    /// Where the connection comes from; `None` for an in-process connection.
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

/// Decides who may call what. Every handler asks it first.
pub trait Authorizer: Send + Sync {
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
    fn authorize(&self, call: &Call<'_>) -> Result<(), Denied> {
        match call.peer {
            Some(peer) if !peer.ip().to_canonical().is_loopback() => Err(Denied {
                method: call.method,
                caller: call.caller.to_owned(),
                reason: format!(
                    "{} is not on this machine, and without certificates only loopback may call",
                    peer.ip()
                ),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(peer: &str) -> Result<(), Denied> {
        let peer = Some(peer.parse().unwrap());
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
}
