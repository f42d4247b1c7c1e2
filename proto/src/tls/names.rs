//! The names in a certificate.

use super::error::HandshakeError;
use crate::RoleName;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// The roles that a certificate names, and all its names for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) roles: Vec<RoleName>,
    pub(super) all: String,
}

/// Reads the names of a certificate whose signature has been checked, or is about to be.
///
/// # Errors
/// [`HandshakeError::Certificate`] when it is none.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> Result<Names, HandshakeError> {
    let certificate = EndEntityCert::try_from(certificate).map_err(|error| HandshakeError::Certificate {
        reason: error.to_string(),
    })?;
    let names: Vec<&str> = certificate.valid_dns_names().collect();
    let mut roles: Vec<RoleName> = names.iter().filter_map(|name| RoleName::parse(name)).collect();
    roles.sort();
    roles.dedup();
    let all = match names.as_slice() {
        [] => "nobody".into(),
        names => names.join(", "),
    };
    Ok(Names { roles, all })
}
