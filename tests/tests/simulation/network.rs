//! The simulated network, as the roles see it: connections by name or address, some of which break after a while.

use crate::meddler;
use crate::scenario::Scenario;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, Stream};
use proto::{Answering, Destination, Duplex, Network, PeerRole};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::transport::{Channel, Endpoint};
use turmoil::net::{TcpListener, TcpStream};

/// The port that every role listens on.
pub(crate) const PORT: u16 = 7000;

/// How many bytes come in before a connection breaks, if it is to.
const BREAKS_WITHIN: std::ops::Range<usize> = 200..60_000;

/// What the draws of whoever meddles begin with, beside the seed: others must not depend on them.
const MEDDLING: u64 = 0x3edd;

/// The share of connections that somebody is in the middle of, where anybody is.
const MEDDLED: f64 = 0.7;

/// Connections between the hosts of a simulation.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    draws: Arc<Mutex<ChaCha8Rng>>,
    /// The share of connections that break.
    broken: f64,
    /// Of the requests on a connection that somebody is in the middle of, those that are meddled with; 0: nobody is.
    meddled: f64,
    meddling: Arc<Mutex<ChaCha8Rng>>,
}

impl Links {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let draws = |seed| Arc::new(Mutex::new(ChaCha8Rng::seed_from_u64(seed)));
        Self {
            draws: draws(scenario.seed),
            broken: scenario.broken_links,
            meddled: scenario.meddled,
            meddling: draws(scenario.seed ^ MEDDLING),
        }
    }

    /// Whether somebody is in the middle of the next connection.
    fn is_meddled(&self) -> bool {
        let mut draws = self.meddling.lock().unwrap_or_else(PoisonError::into_inner);
        self.meddled > 0.0 && draws.random_bool(MEDDLED)
    }

    /// How much the next connection brings before it breaks.
    fn life(&self) -> usize {
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        match draws.random_bool(self.broken) {
            true => draws.random_range(BREAKS_WITHIN),
            false => usize::MAX,
        }
    }
}

impl Network for Links {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let (life, meddled) = (self.life(), self.is_meddled().then(|| self.clone()));
        async move {
            let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
            let link = Link { stream, life };
            Ok(match meddled {
                Some(links) => Box::new(meddler::between(link, &to, links.meddling, links.meddled)?),
                None => Box::new(link) as Box<dyn Duplex>,
            })
        }
        .boxed()
    }
}

impl Links {
    /// A channel to the learner.
    pub(crate) fn to_learner(
        &self,
        settings: impl FnOnce(Endpoint) -> Endpoint,
    ) -> Result<Channel, tonic::transport::Error> {
        let network: Arc<dyn Network> = Arc::new(self.clone());
        let (url, who) = (
            format!("http://learner:{PORT}"),
            Answering::Role(PeerRole::Learner),
        );
        proto::channel(&network, &url, who, settings)
    }
}

/// Listens on the host's [`PORT`].
pub(crate) async fn listen() -> io::Result<impl Stream<Item = io::Result<Link>> + Send + 'static> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    Ok(stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await;
        let link = accepted.map(|(stream, _)| Link {
            stream,
            life: usize::MAX,
        });
        Some((link, listener))
    }))
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Link {
    stream: TcpStream,
    /// Bytes that still come in before it breaks.
    life: usize,
}

impl Link {
    fn check(&self) -> io::Result<()> {
        match self.life {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Ok(()),
        }
    }
}

impl Connected for Link {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.stream.local_addr().ok(),
            remote_addr: self.stream.peer_addr().ok(),
        }
    }
}

impl AsyncRead for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check()?;
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        if self.life != usize::MAX {
            self.life = self.life.saturating_sub(into.filled().len() - before);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
