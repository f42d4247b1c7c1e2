//! Connections from who is proven to take part.

use super::client::Tls;
use super::credentials::Credentials;
use super::error::HandshakeError;
use super::handshakes::Handshakes;
use super::names::names_of;
use super::plain::Plain;
use crate::attached::{Attached, Attachment};
use crate::{Incoming, Network, Remote, Tcp};
use futures::stream::Stream;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

/// How long a caller may take to prove who it is.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long one that has not is heard out, and how often, so that it learns why.
const PARTING_TIME: Duration = Duration::from_secs(1);
const LAST_READS: usize = 64;

/// Callers that prove who they are at the same time. Each holds some tens of kilobytes.
const HANDSHAKES: usize = 512;

/// What a process's connections are made of, both ways.
#[derive(Debug, Clone, Default)]
pub struct Transport {
    credentials: Option<Credentials>,
}

impl Transport {
    /// TCP as it is.
    pub fn plain() -> Self {
        Self::default()
    }

    /// TLS in which both sides show certificates.
    pub fn secured(credentials: Credentials) -> Self {
        Self {
            credentials: Some(credentials),
        }
    }

    /// What a URL begins with.
    pub fn scheme(&self) -> &'static str {
        match self.credentials {
            None => "http",
            Some(_) => "https",
        }
    }

    /// When the certificate that it shows ends: Unix time, in seconds. `None` in plain text, or never.
    pub fn ends(&self) -> Option<u64> {
        self.credentials.as_ref()?.ends()
    }

    /// What calls are made over on the machine's network.
    pub fn network(&self) -> Arc<dyn Network> {
        self.over(Arc::new(Tcp))
    }

    /// The same on another network.
    pub fn over(&self, network: Arc<dyn Network>) -> Arc<dyn Network> {
        match &self.credentials {
            None => Arc::new(Plain(network)),
            Some(credentials) => Arc::new(Tls::new(network, credentials.clone())),
        }
    }

    /// Who comes to `listener`.
    pub fn incoming(&self, listener: TcpListener) -> impl Incoming<Connection = Accepted<TcpStream>> + use<> {
        self.accept(TcpIncoming::from(listener).with_nodelay(Some(true)))
    }

    /// Of who comes in, those that prove to be somebody. Who does not is cut off, and the log says why.
    pub fn accept<I, C>(&self, incoming: I) -> impl Incoming<Connection = Accepted<C>> + use<I, C>
    where
        I: Stream<Item = io::Result<C>> + Send + 'static,
        C: Connected<ConnectInfo = TcpConnectInfo> + AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.accept_with(HANDSHAKES, incoming)
    }

    /// The same with room for so many handshakes.
    pub(super) fn accept_with<I, C>(
        &self,
        places: usize,
        incoming: I,
    ) -> impl Incoming<Connection = Accepted<C>> + use<I, C>
    where
        I: Stream<Item = io::Result<C>> + Send + 'static,
        C: Connected<ConnectInfo = TcpConnectInfo> + AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let credentials = self.credentials.clone();
        let prove = move |connection: C| {
            let credentials = credentials.clone();
            async move {
                match credentials {
                    Some(credentials) => proven(connection, &credentials).await,
                    None => Ok(unproven(connection)),
                }
            }
        };
        Handshakes::of(incoming, places, prove)
    }
}

fn unproven<C: Connected<ConnectInfo = TcpConnectInfo>>(connection: C) -> Accepted<C> {
    Attached {
        attachment: connection.connect_info().remote_addr().into(),
        connection: Either::Left(connection),
    }
}

/// The connection once its caller has shown a certificate that is believed.
async fn proven<C>(connection: C, credentials: &Credentials) -> Result<Accepted<C>, HandshakeError>
where
    C: Connected<ConnectInfo = TcpConnectInfo> + AsyncRead + AsyncWrite + Unpin,
{
    let address = connection.connect_info().remote_addr();
    match tokio::time::timeout(HANDSHAKE_TIME, handshake(connection, address, credentials)).await {
        Ok(proven) => proven,
        Err(_) => {
            let seconds = HANDSHAKE_TIME.as_secs();
            Err(HandshakeError::Late { seconds })
        }
    }
}

async fn handshake<C: AsyncRead + AsyncWrite + Unpin>(
    connection: C,
    address: Option<SocketAddr>,
    credentials: &Credentials,
) -> Result<Accepted<C>, HandshakeError> {
    let acceptor = TlsAcceptor::from(credentials.current().server.clone());
    let stream = match acceptor.accept(connection).into_fallible().await {
        Ok(stream) => stream,
        Err((error, connection)) => {
            part(connection).await;
            return Err(HandshakeError::of(&error));
        }
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let roles = shown.map(names_of).transpose()?.map(|names| names.roles.into());
    Ok(Attached {
        connection: Either::Right(stream),
        attachment: Remote { address, roles },
    })
}

/// Lets the other side read why: a connection that is closed while something of it is unread takes back what was said on it.
async fn part(mut connection: impl AsyncRead + AsyncWrite + Unpin) {
    let parted = async {
        let mut unread = [0; 1 << 10];
        connection.shutdown().await?;
        for _ in 0..LAST_READS {
            if connection.read(&mut unread).await? == 0 {
                break;
            }
        }
        io::Result::Ok(())
    };
    // Who has gone needs no farewell.
    let _gone = tokio::time::timeout(PARTING_TIME, parted).await;
}

/// A connection that was accepted, with who calls.
pub type Accepted<C> = Attached<Either<C, TlsStream<C>>, Remote>;

/// Who calls is known before it says anything.
impl Attachment for Remote {}

impl<C> Connected for Accepted<C> {
    type ConnectInfo = Remote;

    fn connect_info(&self) -> Remote {
        self.attachment.clone()
    }
}
