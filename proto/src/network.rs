//! How the roles reach each other: over TCP, unless whoever puts them together has another network.

use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

/// What connections are made over.
pub trait Network: fmt::Debug + Send + Sync {
    /// A connection to `endpoint` that is made at the first request, and again after it broke.
    fn channel(&self, endpoint: Endpoint) -> Channel;
}

/// The machine's network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn channel(&self, endpoint: Endpoint) -> Channel {
        endpoint.connect_lazy()
    }
}

/// Connections that a server accepts, such as tonic's `TcpIncoming`.
pub trait Incoming: Stream<Item = io::Result<<Self as Incoming>::Connection>> + Send + 'static {
    /// One of them.
    type Connection: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static;
}

impl<S, C> Incoming for S
where
    S: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    type Connection = C;
}
