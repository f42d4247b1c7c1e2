//! Why certificates cannot be used, and why a connection was not made, in words that say what would be right.

use crate::RoleName;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use std::io::{self, ErrorKind};

/// Certificates that this process cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A part is not what it should be.
    #[error("{part}: {reason}")]
    Pem {
        /// `cert`, `key` or `ca`.
        part: &'static str,
        /// What was found, and what would be right.
        reason: String,
    },
    /// The certificate belongs to another key.
    #[error("key: it does not belong to the certificate")]
    OtherKey,
    /// No role of a run is named.
    #[error("cert: it names {found}; expected the DNS name of a role, such as learner.my-run")]
    NoRole {
        /// The names that it has.
        found: String,
    },
    /// The roles of more than one run are named.
    #[error("cert: it names roles of several runs, {found}; expected those of one")]
    SeveralRuns {
        /// The names that it has.
        found: String,
    },
    /// The certificate would be refused by everybody.
    #[error("cert: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// A later certificate is for something else.
    #[error("cert: it is for {found}, and this process is {expected}")]
    Other {
        /// What this process is.
        expected: String,
        /// What the later one says.
        found: String,
    },
}

/// A connection that was not made, or broke, because somebody was not proven to be who they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The other side does not speak TLS.
    #[error("the other side speaks plain text, and this side only TLS")]
    PlainText,
    /// The other side speaks TLS.
    #[error("the other side speaks TLS, and this side plain text; set [tls]")]
    Secured,
    /// The other side's certificate is not accepted.
    #[error("its certificate is not accepted: {reason}")]
    Certificate {
        /// Why.
        reason: String,
    },
    /// The other side has shown a certificate of somebody else.
    #[error("its certificate names {found}, expected {expected}")]
    OtherRole {
        /// Who was expected.
        expected: RoleName,
        /// Whom it names.
        found: String,
    },
    /// The other side does not accept ours.
    #[error("it does not accept this side's certificate: {reason}")]
    Refused {
        /// What it said.
        reason: String,
    },
    /// No certificate can have this name.
    #[error("{name:?} can be no name in a certificate: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why not.
        reason: String,
    },
    /// The other side has closed the connection without a word on it, before it had proven anything.
    #[error("it has left before it had proven who it is")]
    Left,
    /// It took too long.
    #[error("no handshake within {seconds} s")]
    Late {
        /// How long was waited.
        seconds: u64,
    },
    /// Others wait for its place.
    #[error(
        "it took longest to prove who it is and made room for another: {places} may at the same time, {cut} made room"
    )]
    Crowded {
        /// How many may be at it.
        places: usize,
        /// How many have made room by now.
        cut: u64,
    },
    /// Something else.
    #[error("{reason}")]
    Other {
        /// What.
        reason: String,
    },
}

impl HandshakeError {
    /// What the end of a handshake means.
    pub(super) fn of(error: &io::Error) -> Self {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let kind = error.kind();
        match tls {
            Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => Self::PlainText,
            Some(Error::InvalidCertificate(reason)) => Self::Certificate {
                reason: certificate_reason(reason),
            },
            Some(Error::NoCertificatesPresented) => Self::Certificate {
                reason: "it shows none".into(),
            },
            Some(Error::AlertReceived(alert)) => match refusal(*alert) {
                Some(reason) => Self::Refused {
                    reason: reason.into(),
                },
                None => Self::Other {
                    reason: format!("the other side has ended the handshake: {alert:?}"),
                },
            },
            Some(Error::PeerIncompatible(reason)) => Self::Other {
                reason: format!("the other side cannot do what TLS 1.3 needs: {reason:?}"),
            },
            // Some load balancers part so, who only look whether somebody listens.
            None if matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => Self::Left,
            _ => Self::Other {
                reason: error.to_string(),
            },
        }
    }
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, error)
    }
}

/// For people, and without the details of the library.
pub(super) fn certificate_reason(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".into()
        }
        // The second: by another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it is not signed by the run's authority (tls.ca)".into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for this purpose: server and client authentication are needed".into()
        }
        CertificateError::Revoked => "it is revoked".into(),
        other => Error::InvalidCertificate(other.clone()).to_string(),
    }
}

/// Why the other side does not accept this side's certificate, where that is what it says.
fn refusal(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::CertificateExpired => "it has expired",
        AlertDescription::UnknownCA => "it is signed by an authority that is not known there",
        // By another authority of the same name.
        AlertDescription::DecryptError => "it is not signed by the authority that is known there",
        AlertDescription::CertificateRequired => "none was shown",
        AlertDescription::BadCertificate => "it names nobody who is expected there",
        AlertDescription::UnsupportedCertificate => {
            "it is not for this purpose: server and client authentication are needed"
        }
        AlertDescription::CertificateRevoked => "it is revoked",
        AlertDescription::CertificateUnknown | AlertDescription::AccessDenied => "it is not believed there",
        _ => return None,
    })
}
