//! Callers that prove who they are, several at the same time.
//!
//! Who takes long keeps nobody out. When all places are taken and another caller comes, the one that has been at it longest makes room,
//! unless it came only just now: who has a certificate needs milliseconds. So a stranger that says nothing holds a place until somebody
//! wants it. Nothing is counted by address: a stranger may have many, and actors behind one gateway share theirs.

use super::error::HandshakeError;
use super::refusals::Refusals;
use futures::future::{AbortHandle, Abortable, BoxFuture, FutureExt as _};
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Nobody makes room for another one earlier.
const LEAST_TIME: Duration = Duration::from_secs(1);

/// What a handshake comes to.
pub(super) type Proven<A> = Result<A, HandshakeError>;

/// Of the connections that come in, those that `prove` answers for.
pub(super) struct Handshakes<I: Stream, P, C, A> {
    incoming: Pin<Box<I>>,
    prove: P,
    places: usize,
    under_way: FuturesUnordered<BoxFuture<'static, (u64, Option<Proven<A>>)>>,
    /// Those that have a place, by number: the first came first.
    placed: BTreeMap<u64, UnderWay>,
    came: u64,
    /// Whoever has no place yet. Others are in the system's queue.
    newcomer: Option<C>,
    /// When it may have one.
    room: Option<Pin<Box<Sleep>>>,
    is_over: bool,
    /// How many made room.
    cut: u64,
    refusals: Refusals,
}

struct UnderWay {
    since: Instant,
    address: Option<SocketAddr>,
    end: AbortHandle,
}

impl<I, P, C, A, F> Handshakes<I, P, C, A>
where
    I: Stream<Item = io::Result<C>>,
    P: Fn(C) -> F,
    C: Connected<ConnectInfo = TcpConnectInfo>,
    A: 'static,
    F: Future<Output = Proven<A>> + Send + 'static,
{
    /// With so many `places`.
    pub(super) fn of(incoming: I, places: usize, prove: P) -> Self {
        Self {
            incoming: Box::pin(incoming),
            prove,
            places,
            under_way: FuturesUnordered::new(),
            placed: BTreeMap::new(),
            came: 0,
            newcomer: None,
            room: None,
            is_over: false,
            cut: 0,
            refusals: Refusals::default(),
        }
    }

    fn begin(&mut self, connection: C) {
        let (number, address) = (self.came, connection.connect_info().remote_addr());
        self.came += 1;
        let (end, registration) = AbortHandle::new_pair();
        let proven = Abortable::new((self.prove)(connection), registration);
        let proven = proven.map(move |proven| (number, proven.ok()));
        self.under_way.push(proven.boxed());
        let since = Instant::now();
        self.placed.insert(number, UnderWay { since, address, end });
    }

    /// Whether there is a place, made if need be; `context` is woken when there may be one.
    fn has_room(&mut self, context: &mut Context<'_>) -> bool {
        if self.placed.len() < self.places {
            return true;
        }
        let Some(longest) = self.placed.first_entry() else {
            return false;
        };
        let until = longest.get().since + LEAST_TIME;
        if Instant::now() < until {
            let room = self.room.get_or_insert_with(|| Box::pin(sleep_until(until)));
            room.as_mut().reset(until);
            // When it is ready already, the next look finds the time over.
            if room.as_mut().poll(context).is_ready() {
                context.waker().wake_by_ref();
            }
            return false;
        }
        let UnderWay { address, end, .. } = longest.remove();
        end.abort();
        self.cut += 1;
        let (places, cut) = (self.places, self.cut);
        self.refusals
            .tell(address, &HandshakeError::Crowded { places, cut });
        true
    }
}

impl<I, P, C, A, F> Stream for Handshakes<I, P, C, A>
where
    I: Stream<Item = io::Result<C>>,
    P: Fn(C) -> F + Unpin,
    C: Connected<ConnectInfo = TcpConnectInfo> + Unpin,
    A: 'static,
    F: Future<Output = Proven<A>> + Send + 'static,
{
    type Item = io::Result<A>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(Some((number, proven))) = this.under_way.poll_next_unpin(context) {
                let address = this.placed.remove(&number).and_then(|placed| placed.address);
                match proven {
                    Some(Ok(proven)) => return Poll::Ready(Some(Ok(proven))),
                    Some(Err(refused)) => this.refusals.tell(address, &refused),
                    // It made room for another, which is told already.
                    None => {}
                }
                continue;
            }
            if this.newcomer.is_none() && !this.is_over {
                match this.incoming.as_mut().poll_next(context) {
                    Poll::Ready(Some(Ok(connection))) => this.newcomer = Some(connection),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(None) => this.is_over = true,
                    Poll::Pending => {}
                }
            }
            match this.newcomer.take() {
                Some(newcomer) if this.has_room(context) => this.begin(newcomer),
                Some(newcomer) => {
                    this.newcomer = Some(newcomer);
                    return Poll::Pending;
                }
                None if this.is_over && this.under_way.is_empty() => return Poll::Ready(None),
                None => return Poll::Pending,
            }
        }
    }
}
