//! A host's line: what all its connections together may carry a second, each way, and what they have carried.
//!
//! All hosts of a measurement share one machine, whose loopback is as fast as its memory; with a line of its own each has what a
//! network card would give it.

use anyhow::Context as _;
use futures::future::{BoxFuture, FutureExt as _};
use futures::{Stream, StreamExt as _};
use proto::{Destination, Duplex, Network};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::transport::server::{Connected, TcpConnectInfo, TcpIncoming};

/// How far a line may be ahead of its rate: timers are no finer than a millisecond.
const AHEAD: Duration = Duration::from_millis(4);

/// About as many bytes pass at once on the way out, so that connections take turns.
const TURN: usize = 64 << 10;

/// One host's line.
#[derive(Debug, Clone)]
pub(super) struct Line {
    out: Arc<Way>,
    into: Arc<Way>,
}

/// One way of it.
#[derive(Debug)]
struct Way {
    /// Bytes a second; `None` as many as there are.
    rate: Option<f64>,
    carried: AtomicU64,
    /// When all that has passed would have passed at the rate.
    clear: Mutex<Instant>,
}

impl Line {
    /// A line of `rate` bytes a second each way; `None` does not hold anything back.
    pub(super) fn new(rate: Option<f64>) -> Self {
        let way = || {
            Arc::new(Way {
                rate,
                carried: AtomicU64::new(0),
                clear: Mutex::new(Instant::now()),
            })
        };
        Self {
            out: way(),
            into: way(),
        }
    }

    /// Bytes that have left the host.
    pub(super) fn sent(&self) -> u64 {
        self.out.carried.load(Relaxed)
    }

    /// Listens on a port of its own.
    ///
    /// # Errors
    /// When the system gives none.
    pub(super) async fn listen(
        &self,
    ) -> anyhow::Result<(
        impl Stream<Item = io::Result<Carried>> + Send + 'static,
        SocketAddr,
    )> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen")?;
        let address = listener.local_addr().context("cannot listen")?;
        let line = self.clone();
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Ok((
            incoming.map(move |stream| stream.map(|stream| line.carry(stream))),
            address,
        ))
    }

    fn carry(&self, stream: TcpStream) -> Carried {
        Carried {
            stream,
            out: Turn::of(self.out.clone()),
            into: Turn::of(self.into.clone()),
        }
    }
}

impl Network for Line {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let line = self.clone();
        async move {
            let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(line.carry(stream)) as Box<dyn Duplex>)
        }
        .boxed()
    }
}

/// A connection over a line.
pub(super) struct Carried {
    stream: TcpStream,
    out: Turn,
    into: Turn,
}

/// A connection's turn on one way of a line.
struct Turn {
    way: Arc<Way>,
    waits: Option<Pin<Box<Sleep>>>,
}

impl Turn {
    fn of(way: Arc<Way>) -> Self {
        Self { way, waits: None }
    }

    /// Returns when the way is clear.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(waits) = &mut self.waits {
                ready!(waits.as_mut().poll(context));
                self.waits = None;
            }
            if self.way.rate.is_none() {
                return Poll::Ready(());
            }
            let clear = *self.way.clear.lock().unwrap_or_else(PoisonError::into_inner);
            if clear <= Instant::now() + AHEAD {
                return Poll::Ready(());
            }
            self.waits = Some(Box::pin(sleep_until(clear)));
        }
    }

    fn carried(&self, bytes: usize) {
        self.way.carried.fetch_add(bytes as u64, Relaxed);
        if let Some(rate) = self.way.rate {
            let mut clear = self.way.clear.lock().unwrap_or_else(PoisonError::into_inner);
            *clear = (*clear).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate);
        }
    }

    /// How much may pass at once.
    fn most(&self) -> usize {
        self.way.rate.map_or(usize::MAX, |_| TURN)
    }
}

impl Connected for Carried {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Carried {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.into.poll(context));
        let before = into.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, into))?;
        let read = into.filled().len() - before;
        this.into.carried(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.out.poll(context));
        let bytes = &bytes[..bytes.len().min(this.out.most())];
        let written = ready!(Pin::new(&mut this.stream).poll_write(context, bytes))?;
        this.out.carried(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.out.poll(context));
        let within = parts.iter().scan(0, |before, part| {
            let fits = *before < this.out.most();
            *before += part.len();
            fits.then_some(())
        });
        let parts = &parts[..within.count()];
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(context, parts))?;
        this.out.carried(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn all_connections_of_a_host_share_its_line_and_every_byte_is_counted() {
        const BYTES: usize = 200_000;
        let (host, free) = (Line::new(Some(1e6)), Line::new(None));
        let (incoming, address) = free.listen().await.unwrap();
        let receiver = tokio::spawn(async move {
            let streams = incoming.take(2).collect::<Vec<_>>().await;
            let all = streams.into_iter().map(|stream| async {
                let mut received = vec![];
                stream.unwrap().read_to_end(&mut received).await.unwrap();
                received
            });
            futures::future::join_all(all).await
        });
        let begun = Instant::now();
        let senders = (0..2u8).map(|content| {
            let host = host.clone();
            async move {
                let mut stream = host.carry(TcpStream::connect(address).await.unwrap());
                stream.write_all(&vec![content; BYTES]).await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        futures::future::join_all(senders).await;
        let mut received = receiver.await.unwrap();
        received.sort();
        assert_eq!(received, [vec![0; BYTES], vec![1; BYTES]]);
        assert_eq!(host.sent(), 2 * BYTES as u64);
        // Never faster than the line; how much slower is the machine's affair.
        let least = Duration::from_secs_f64(2.0 * (BYTES - TURN) as f64 / 1e6) - AHEAD;
        assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
    }
}
