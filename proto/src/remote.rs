//! Who is at the other end of a connection, as far as it is known.

use crate::RoleName;
use std::net::SocketAddr;
use std::sync::Arc;
use tonic::Request;

/// The other end of a connection that a server has accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remote {
    /// Where it comes from; `None` for an address that is not known.
    pub address: Option<SocketAddr>,
    /// The roles that its certificate names; `None` where it has shown none.
    pub roles: Option<Arc<[RoleName]>>,
}

impl Remote {
    /// Who sent a request.
    pub fn of<T>(request: &Request<T>) -> Self {
        let told = request.extensions().get::<Self>().cloned();
        told.unwrap_or_else(|| Self {
            address: request.remote_addr(),
            roles: None,
        })
    }

    /// The address for people.
    pub fn shown(&self) -> String {
        self.address
            .map_or_else(|| "an unknown address".into(), |address| address.to_string())
    }
}

impl From<Option<SocketAddr>> for Remote {
    fn from(address: Option<SocketAddr>) -> Self {
        Self { address, roles: None }
    }
}
