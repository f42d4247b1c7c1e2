//! Who is let in before a byte of a request is read, and how many bytes are read before one is turned away.
//!
//! A handler sees a request when all of it lies in memory, which is too late to count it. So the gate stands before the
//! decoder. What a large request is and how many bytes of them a server holds, the server says.

use crate::{InvalidMessage, WireError};
use futures::future::Either;
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready as ready_or_return};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

/// The most bytes of a request that only asks: a header is far below.
pub const QUESTION_BYTES: usize = 64 << 10;

/// A server's bound for what it lets in.
pub trait Admission: Clone + Send + Sync + 'static {
    /// Counts the bytes of one large request.
    type Meter: Meter;

    /// Lets in a call of `method` (`/package.Service/Method`), of which no byte is held yet; what its handler has to hold meanwhile
    /// goes among its `extensions`. `None` where the request is a question of a few bytes.
    ///
    /// # Errors
    /// [`WireError`], with which it is turned away.
    fn admit(
        &self,
        method: &str,
        extensions: &mut http::Extensions,
    ) -> Result<Option<Self::Meter>, WireError>;
}

/// Counts the bytes of one request while they are read.
pub trait Meter: Send + Unpin + 'static {
    /// So many bytes more are held.
    ///
    /// # Errors
    /// [`WireError`], with which the request is turned away.
    fn count(&self, bytes: usize) -> Result<(), WireError>;
}

impl<M: Meter + Sync> Meter for Arc<M> {
    fn count(&self, bytes: usize) -> Result<(), WireError> {
        M::count(self, bytes)
    }
}

/// A service behind an [`Admission`].
#[derive(Debug, Clone)]
pub struct Gate<S, A> {
    inner: S,
    admission: A,
}

impl<S, A> Gate<S, A> {
    /// Lets in to `inner` whom `admission` does.
    pub fn before(inner: S, admission: A) -> Self {
        Self { inner, admission }
    }
}

impl<S: NamedService, A> NamedService for Gate<S, A> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<http::Response<Body>, Infallible>;

impl<S, A> Service<http::Request<Body>> for Gate<S, A>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    A: Admission,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Answer>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let counted = match self.admission.admit(head.uri.path(), &mut head.extensions) {
            Err(refused) => return Either::Right(ready(Ok(Status::from(refused).into_http()))),
            Ok(None) => Counted::Question(0),
            Ok(Some(meter)) => Counted::Metered(meter),
        };
        let body = Body::new(MeteredBody { body, counted });
        Either::Left(self.inner.call(http::Request::from_parts(head, body)))
    }
}

/// A body whose bytes are counted as they arrive.
struct MeteredBody<M> {
    body: Body,
    counted: Counted<M>,
}

enum Counted<M> {
    Metered(M),
    /// Bytes so far, at most [`QUESTION_BYTES`].
    Question(usize),
}

impl<M: Meter> Counted<M> {
    fn count(&mut self, bytes: usize) -> Result<(), WireError> {
        match self {
            Self::Metered(meter) => meter.count(bytes),
            Self::Question(read) => {
                *read = read.saturating_add(bytes);
                match *read > QUESTION_BYTES {
                    true => Err(InvalidMessage::new(
                        "request",
                        format!("more than {QUESTION_BYTES} bytes for a question that needs a header"),
                    )
                    .into()),
                    false => Ok(()),
                }
            }
        }
    }
}

impl<M: Meter> http_body::Body for MeteredBody<M> {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let this = &mut *self;
        let frame = ready_or_return!(Pin::new(&mut this.body).poll_frame(context));
        let counted = frame.map(|frame| {
            let frame = frame?;
            this.counted
                .count(frame.data_ref().map_or(0, bytes::Bytes::len))?;
            Ok(frame)
        });
        Poll::Ready(counted)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
