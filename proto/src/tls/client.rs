//! Connections to who is proven to be expected.

use super::credentials::Credentials;
use super::error::HandshakeError;
use super::names::names_of;
use crate::attached::{Attached, Attachment};
use crate::{Answering, Destination, Duplex, Network, RoleName};
use futures::future::{BoxFuture, FutureExt as _};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// TLS over another network.
#[derive(Debug, Clone)]
pub struct Tls {
    over: Arc<dyn Network>,
    credentials: Credentials,
}

impl Tls {
    /// Over `over`, showing `credentials`.
    pub fn new(over: Arc<dyn Network>, credentials: Credentials) -> Self {
        Self { over, credentials }
    }
}

impl Network for Tls {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let connection = self.over.connect(to.clone());
        let credentials = self.credentials.clone();
        async move {
            let connection = secured(connection.await?, &to, &credentials).await?;
            let attachment = Proving;
            Ok(Box::new(Attached {
                connection,
                attachment,
            }) as Box<dyn Duplex>)
        }
        .boxed()
    }
}

/// This side has proven who it is when the other side has said something: a refusal comes behind this side's handshake.
struct Proving;

impl Attachment for Proving {
    fn broken(&mut self, error: io::Error) -> io::Error {
        match HandshakeError::of(&error) {
            refused @ HandshakeError::Refused { .. } => refused.into(),
            _ => error,
        }
    }
}

/// The connection once the other side has proven who it is.
async fn secured(
    connection: Box<dyn Duplex>,
    to: &Destination,
    credentials: &Credentials,
) -> Result<TlsStream<Box<dyn Duplex>>, HandshakeError> {
    let expected = match to.who {
        Answering::Role(role) => Some(RoleName {
            role,
            run: credentials.run().clone(),
        }),
        Answering::Host => None,
    };
    let name = expected
        .as_ref()
        .map_or_else(|| to.host.clone(), ToString::to_string);
    let server = ServerName::try_from(name.clone()).map_err(|error| HandshakeError::Name {
        name,
        reason: error.to_string(),
    })?;
    let connector = TlsConnector::from(credentials.current().client.clone());
    let stream = connector.connect(server, connection).await;
    let stream = stream.map_err(|error| HandshakeError::of(&error))?;
    match expected {
        Some(expected) => answered_by(&expected, stream),
        None => Ok(stream),
    }
}

/// The library compares names as hosts' are compared, whatever their case and with wildcards. A run's name is exact.
fn answered_by(
    expected: &RoleName,
    stream: TlsStream<Box<dyn Duplex>>,
) -> Result<TlsStream<Box<dyn Duplex>>, HandshakeError> {
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| HandshakeError::Certificate {
        reason: "it shows none".into(),
    })?;
    let names = names_of(shown)?;
    match names.roles.contains(expected) {
        true => Ok(stream),
        false => Err(HandshakeError::OtherRole {
            expected: expected.clone(),
            found: names.all,
        }),
    }
}
