//! Connections in plain text that notice when the other side speaks TLS.

use super::error::HandshakeError;
use crate::attached::{Attached, Attachment};
use crate::{Destination, Duplex, Network};
use futures::future::{BoxFuture, FutureExt as _};
use std::io;
use std::sync::Arc;

/// The first byte of a TLS record that says why a connection ends. HTTP/2 begins with the length of a few settings, whose first
/// byte is 0.
const ALERT: u8 = 0x15;

/// Plain text over another network.
#[derive(Debug, Clone)]
pub(super) struct Plain(pub(super) Arc<dyn Network>);

impl Network for Plain {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let connection = self.0.connect(to);
        async move {
            let connection = connection.await?;
            let attachment = Beginning::default();
            Ok(Box::new(Attached {
                connection,
                attachment,
            }) as Box<dyn Duplex>)
        }
        .boxed()
    }
}

/// What the other side begins with.
#[derive(Default)]
struct Beginning {
    /// Whether it has said something.
    heard: bool,
}

impl Attachment for Beginning {
    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(&first) = bytes.first().filter(|_| !self.heard) {
            self.heard = true;
            if first == ALERT {
                // Whoever waits for a call may only hear that the connection is gone.
                tracing::warn!("{}", HandshakeError::Secured);
                return Err(HandshakeError::Secured.into());
            }
        }
        Ok(())
    }
}
