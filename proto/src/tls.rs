//! Who proves whom to be who: TLS 1.3 with certificates on both sides, whose names are roles ([`RoleName`](crate::RoleName)).
//!
//! Files are not read here, and nothing is decided about which role may call what: that is
//! [`AllowRoles`](crate::AllowRoles).

mod client;
mod credentials;
mod error;
mod handshakes;
mod names;
mod plain;
mod refusals;
mod server;

pub use client::Tls;
pub use credentials::{Credentials, Pem};
pub use error::{CredentialsError, HandshakeError};
pub use server::{Accepted, Transport};

#[cfg(test)]
mod test_authority;
#[cfg(test)]
mod tests;
