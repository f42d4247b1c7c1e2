//! How many connections a server holds at the same time, and how long a new one may take to begin to speak.
//!
//! Wraps whatever connections come in, so what is inside may be encrypted or simulated. What a connection that speaks may ask is bounded
//! elsewhere: by the server's limits of streams, headers and time, by its [`Gate`](crate::Gate) for bytes.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::attached::{Attached, Attachment};
use crate::{Incoming, SparingLog};

/// What every connection begins with, in plain text or once it is proven: HTTP/2's preface and the head of its first frame.
const GREETING_BYTES: usize = 24 + 9;

/// How long a connection may take for that. A line of a byte a second, or one that says nothing, is cut.
const GREETING_TIME: Duration = Duration::from_secs(10);

/// Bounds of a server's connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimit {
    /// Most at the same time; one more is closed at once.
    pub most: usize,
    /// The setting that says so.
    pub setting: &'static str,
}

/// A connection that found no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{most} connections are open, as many as {setting} allows: one more was closed")]
pub struct TooManyConnections {
    /// How many there may be.
    pub most: usize,
    /// The setting that says so.
    pub setting: &'static str,
}

/// A connection that did not begin to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} of {GREETING_BYTES} bytes in {} s: this is no caller", GREETING_TIME.as_secs())]
pub struct NoGreeting {
    /// What it said.
    pub bytes: usize,
}

impl ConnectionLimit {
    /// The connections of `incoming` within this limit.
    pub fn around<I: Incoming>(self, incoming: I) -> Limited<I> {
        Limited {
            incoming: Box::pin(incoming),
            places: Arc::new(Semaphore::new(self.most)),
            limit: self,
            closed: SparingLog::default(),
        }
    }
}

/// Incoming connections of which there are not too many.
pub struct Limited<I> {
    incoming: Pin<Box<I>>,
    places: Arc<Semaphore>,
    limit: ConnectionLimit,
    /// Those that were closed at once.
    closed: SparingLog,
}

impl<I: Incoming> Stream for Limited<I> {
    type Item = io::Result<Placed<<I as Incoming>::Connection>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Some(came) = ready!(this.incoming.as_mut().poll_next(context)) else {
                return Poll::Ready(None);
            };
            let connection = match came {
                Ok(connection) => connection,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            match this.places.clone().try_acquire_owned() {
                Ok(permit) => {
                    let attachment = Place::new(permit);
                    return Poll::Ready(Some(Ok(Attached {
                        connection,
                        attachment,
                    })));
                }
                Err(_full) => this.tell_of_one_closed(),
            }
        }
    }
}

impl<I> Limited<I> {
    fn tell_of_one_closed(&self) {
        if let Some(untold) = self.closed.one_more() {
            let ConnectionLimit { most, setting } = self.limit;
            tracing::warn!(untold, "{}", TooManyConnections { most, setting });
        }
    }
}

/// A connection with its place.
pub type Placed<C> = Attached<C, Place>;

/// A connection's place, given back when it ends.
#[derive(Debug)]
pub struct Place {
    _permit: OwnedSemaphorePermit,
    /// Until it has greeted: by when it must have, and what it said so far.
    greeting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        let deadline = Box::pin(tokio::time::sleep(GREETING_TIME));
        Self {
            _permit: permit,
            greeting: Some((deadline, 0)),
        }
    }
}

impl Attachment for Place {
    fn before_read(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some((deadline, said)) = &mut self.greeting
            && deadline.as_mut().poll(context).is_ready()
        {
            let cut = NoGreeting { bytes: *said };
            tracing::debug!("connection cut: {cut}");
            return Err(io::Error::new(io::ErrorKind::TimedOut, cut));
        }
        Ok(())
    }

    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some((_, said)) = &mut self.greeting {
            *said += bytes.len();
            if *said >= GREETING_BYTES {
                self.greeting = None;
            }
        }
        Ok(())
    }
}

impl<C: Connected> Connected for Placed<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.connection.connect_info()
    }
}

#[cfg(test)]
mod tests;
