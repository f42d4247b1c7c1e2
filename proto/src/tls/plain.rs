//! Connections in plain text that notice when the other side speaks TLS.

use super::error::HandshakeError;
use crate::{Destination, Duplex, Network};
use futures::future::{BoxFuture, FutureExt as _};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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
            let begun = false;
            Ok(Box::new(PlainText { connection, begun }) as Box<dyn Duplex>)
        }
        .boxed()
    }
}

/// A connection.
struct PlainText<C> {
    connection: C,
    /// Whether the other side has said something.
    begun: bool,
}

impl<C: AsyncRead + Unpin> AsyncRead for PlainText<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = into.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(context, into))?;
        if let Some(&first) = into.filled().get(filled).filter(|_| !self.begun) {
            self.begun = true;
            if first == ALERT {
                // Whoever waits for a call may only hear that the connection is gone.
                tracing::warn!("{}", HandshakeError::Secured);
                return Poll::Ready(Err(HandshakeError::Secured.into()));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for PlainText<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
