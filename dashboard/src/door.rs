//! Where the dashboard is reached, before there is a run to show.

use crate::access::{Access, AccessError};
use crate::config::DashboardConfig;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// An open address, and who is let in.
#[derive(Debug)]
pub struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) access: Access,
    address: SocketAddr,
}

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// The token is at fault.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The address is taken, or not this machine's.
    #[error("dashboard.listen: cannot listen on {listen}; name another address with --dashboard")]
    Listen {
        /// The address.
        listen: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A name turned out to be reached from other machines.
    #[error("dashboard.token_file: {listen} is {found}, which other machines reach; expected a token's file")]
    Open {
        /// The address given.
        listen: String,
        /// What it stands for.
        found: SocketAddr,
    },
}

impl Door {
    /// Opens it.
    ///
    /// # Errors
    /// [`DoorError`] when the token cannot be used or the address not listened on.
    pub async fn open(config: &DashboardConfig) -> Result<Self, DoorError> {
        let access = Access::of(config)?;
        let failed = |source| DoorError::Listen {
            listen: config.listen.clone(),
            source,
        };
        let listener = TcpListener::bind(&config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        if !address.ip().is_loopback() && !access.has_token() {
            return Err(DoorError::Open {
                listen: config.listen.clone(),
                found: address,
            });
        }
        Ok(Self {
            listener,
            access,
            address,
        })
    }

    /// Where it is reached from this machine, as a URL. It has no token in it.
    pub fn url(&self) -> String {
        let port = self.address.port();
        match self.address.ip() {
            ip if ip.is_unspecified() => format!("http://localhost:{port}/"),
            _ => format!("http://{}/", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_is_named_and_a_free_one_has_a_url() {
        let config = |listen: &str| DashboardConfig {
            listen: listen.into(),
            token_file: String::new(),
        };
        let door = Door::open(&config("127.0.0.1:0")).await.unwrap();
        assert!(door.url().starts_with("http://127.0.0.1:") && door.url().ends_with('/'));
        let taken = door.address.to_string();
        let error = Door::open(&config(&taken)).await.unwrap_err().to_string();
        assert!(error.contains(&taken) && error.contains("--dashboard"), "{error}");
        let open = Door::open(&config("0.0.0.0:0")).await.unwrap_err();
        assert!(matches!(open, DoorError::Open { .. }), "{open}");
    }
}
