//! Who is let in before a byte of a request is read, and how many bytes are read before one is turned away.
//!
//! A handler sees a request when all of it lies in memory, which is too late to count it. So the gate stands before the
//! decoder: a request to score takes a place at once or is turned away, and its bytes are charged as they arrive.

use crate::budget::{Budget, Charge, Place};
use http_body::{Frame, SizeHint};
use proto::{InvalidMessage, WireError};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready as ready_or_return};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

/// The method whose requests are large.
const SCORE_GROUPS: &str = "/adwright.v1.RewardService/ScoreGroups";

/// The most bytes of a request that only asks: a header is far below.
const QUESTION_BYTES: usize = 64 << 10;

/// What a request to score has been given: handed to its handler among the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Its place.
    pub(crate) place: Arc<Place>,
    /// Its bytes.
    pub(crate) charge: Arc<Charge>,
}

/// A service behind a budget.
#[derive(Debug, Clone)]
pub(crate) struct Gate<S> {
    inner: S,
    budget: Arc<Budget>,
}

impl<S> Gate<S> {
    /// Lets in to `inner` whoever finds room in `budget`.
    pub(crate) fn before(inner: S, budget: Arc<Budget>) -> Self {
        Self { inner, budget }
    }
}

impl<S: NamedService> NamedService for Gate<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<http::Response<Body>, Infallible>;

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = futures::future::Either<S::Future, Ready<Answer>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let scores = request.uri().path() == SCORE_GROUPS;
        let admitted = scores.then(|| self.budget.enter()).transpose();
        let (mut request, meter) = match admitted {
            Err(overloaded) => {
                let refusal = Status::from(overloaded).into_http();
                return futures::future::Either::Right(ready(Ok(refusal)));
            }
            Ok(None) => (request, Meter::Question(0)),
            Ok(Some((place, charge))) => {
                let charge = Arc::new(charge);
                let admitted = Admitted {
                    place: Arc::new(place),
                    charge: charge.clone(),
                };
                let mut request = request;
                request.extensions_mut().insert(admitted);
                (request, Meter::Charged(charge))
            }
        };
        let body = std::mem::replace(request.body_mut(), Body::empty());
        *request.body_mut() = Body::new(Metered { body, meter });
        futures::future::Either::Left(self.inner.call(request))
    }
}

/// A body whose bytes are counted as they arrive.
struct Metered {
    body: Body,
    meter: Meter,
}

enum Meter {
    /// Charged to a budget.
    Charged(Arc<Charge>),
    /// Bytes so far, at most [`QUESTION_BYTES`].
    Question(usize),
}

impl Meter {
    fn count(&mut self, bytes: usize) -> Result<(), WireError> {
        match self {
            Self::Charged(charge) => charge.add(bytes),
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

impl http_body::Body for Metered {
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
            this.meter.count(frame.data_ref().map_or(0, bytes::Bytes::len))?;
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
