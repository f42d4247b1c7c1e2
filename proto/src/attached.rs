//! A connection with something attached to it, such as its place among a server's connections or who calls: it hears what the other
//! side says, and may end the connection over it. What is said to the other side is no concern of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What can be attached to a connection. By default it hears nothing.
pub trait Attachment {
    /// Called before each read; `context` wakes the reader when this is to be asked again.
    ///
    /// # Errors
    /// Why nothing is read of the connection any more.
    fn before_read(&mut self, _context: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    /// The other side said `bytes`; none when it will say nothing more.
    ///
    /// # Errors
    /// Why they do not count, and the connection ends.
    fn heard(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// The connection broke with `error`; what to call that.
    fn broken(&mut self, error: io::Error) -> io::Error {
        error
    }
}

/// A connection with what is attached to it.
#[derive(Debug)]
pub struct Attached<C, A> {
    pub(crate) connection: C,
    pub(crate) attachment: A,
}

impl<C: AsyncRead + Unpin, A: Attachment + Unpin> AsyncRead for Attached<C, A> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.attachment.before_read(context)?;
        let filled = into.filled().len();
        let read = ready!(Pin::new(&mut this.connection).poll_read(context, into));
        read.map_err(|error| this.attachment.broken(error))?;
        let bytes = into.filled().get(filled..).unwrap_or_default();
        Poll::Ready(this.attachment.heard(bytes))
    }
}

impl<C: AsyncWrite + Unpin, A: Unpin> AsyncWrite for Attached<C, A> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
