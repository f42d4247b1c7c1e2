//! For tests: a network in memory, on which a clock that stands still is enough, and whose processes can be stopped.

use futures::{
    future::{BoxFuture, FutureExt},
    stream::{self, Stream},
};
use proto::{Destination, Duplex, Network};
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// Bytes on their way on a connection, and connections on theirs to who listens: as many as a test has.
const UNDER_WAY: usize = 64 << 10;
const QUEUE: usize = 64;

/// The network. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct InMemory(Arc<Mutex<BTreeMap<u16, Listener>>>);

#[derive(Debug)]
struct Listener {
    queue: mpsc::Sender<DuplexStream>,
    stopped: CancellationToken,
}

/// Where whoever listens at a port is.
pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl InMemory {
    /// Who comes to a port.
    pub(crate) fn listen(
        &self,
        port: u16,
    ) -> impl Stream<Item = io::Result<DuplexStream>> + Send + use<> + 'static {
        let (queue, came) = mpsc::channel(QUEUE);
        let stopped = CancellationToken::new();
        self.0.lock().unwrap().insert(port, Listener { queue, stopped });
        stream::unfold(
            came,
            |mut came| async move { Some((Ok(came.recv().await?), came)) },
        )
    }

    /// Whoever listens at a port reads and writes no more, and closes nothing: as a process is after SIGSTOP, whose system takes
    /// connections in.
    pub(crate) fn stop(&self, port: u16) {
        self.0.lock().unwrap()[&port].stopped.cancel();
    }
}

impl Network for InMemory {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let listener = self.0.lock().unwrap();
        let listener = listener
            .get(&to.port)
            .map(|found| (found.queue.clone(), found.stopped.clone()));
        async move {
            let (queue, stopped) = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, mut near) = duplex(UNDER_WAY);
            let (mut far, theirs) = duplex(UNDER_WAY);
            tokio::spawn(async move {
                tokio::select! {
                    biased;
                    () = stopped.cancelled() => std::future::pending().await,
                    _ended = copy_bidirectional(&mut near, &mut far) => {}
                }
            });
            let taken = queue.send(theirs).await;
            taken.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(ours) as Box<dyn Duplex>)
        }
        .boxed()
    }
}
