//! Somebody between a caller and whom it calls, who does to requests what connections and those who ask again may do: a request is sent
//! twice, it or its answer is held back while later ones pass, a stream is cut that goes on at its other end. What is within a stream
//! comes once and in its order: TCP sees to that.

mod far;
mod fate;

use crate::network::Link;
use far::Far;
use fate::Fate;
use futures::future::{BoxFuture, pending};
use futures::stream::{self, BoxStream, StreamExt as _};
use integration_tests::Raw;
use proto::pb::{learner_service_server, relay_service_server};
use proto::{Destination, Duplex, Network, WireError};
use rand_chacha::ChaCha8Rng;
use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codegen::http::{self, uri::PathAndQuery};
use tonic::codegen::{Bytes, Service};
use tonic::server::{NamedService, ServerStreamingService};
use tonic::transport::{Channel, Server};
use tonic::{Extensions, Request, Response, Status, Streaming};

/// When it leaves everything alone: about when nothing else breaks any more.
const UNTIL: Duration = Duration::from_secs(40);

/// How much lies between it and its caller.
const BUFFER: usize = 1 << 16;

/// Messages as they come.
type Messages = BoxStream<'static, Result<Bytes, Status>>;

/// The only connection that it has to whom it speaks for.
#[derive(Debug)]
struct Only(Mutex<Option<Link>>);

impl Network for Only {
    fn connect(&self, _: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        let link = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        Box::pin(ready(
            link.map(|link| Box::new(link) as Box<dyn Duplex>)
                .ok_or_else(gone),
        ))
    }
}

#[derive(Clone)]
struct Meddler {
    upstream: Grpc<Channel>,
    draws: Arc<Mutex<ChaCha8Rng>>,
    /// Of its requests, those that it does something to.
    share: f64,
    /// Breaks the connection to its caller, as that to whom it speaks for is broken.
    broken: CancellationToken,
}

/// The caller's end of a connection with somebody in the middle, who meddles with a share of the requests.
///
/// # Errors
/// When the destination makes no URL.
pub(crate) fn between(
    link: Link,
    to: &Destination,
    draws: Arc<Mutex<ChaCha8Rng>>,
    share: f64,
) -> io::Result<DuplexStream> {
    let only: Arc<dyn Network> = Arc::new(Only(Mutex::new(Some(link))));
    let channel = proto::channel(&only, &format!("http://{to}"), to.who, |endpoint| endpoint);
    let broken = CancellationToken::new();
    let meddler = Meddler {
        upstream: Grpc::new(channel.map_err(io::Error::other)?),
        draws,
        share,
        broken: broken.clone(),
    };
    let (near, far) = tokio::io::duplex(BUFFER);
    let server = Server::builder()
        .add_service(Door::<0>(meddler.clone()))
        .add_service(Door::<1>(meddler));
    let far = stream::iter([io::Result::Ok(Far::new(far, broken))]);
    tokio::spawn(server.serve_with_incoming(far));
    Ok(near)
}

impl Meddler {
    /// What becomes of the next request.
    fn fate(&self) -> Fate {
        if turmoil::sim_elapsed().is_none_or(|now| now > UNTIL) {
            return Fate::Passes;
        }
        let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
        Fate::drawn(&mut draws, self.share)
    }

    async fn ask(
        mut self,
        path: PathAndQuery,
        request: Request<Bytes>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let ready = self.upstream.ready().await;
        ready.map_err(|error| Status::from_error(Box::new(error)))?;
        self.upstream.server_streaming(request, path, Raw).await
    }

    async fn answer(self, path: PathAndQuery, request: Request<Bytes>) -> Result<Response<Messages>, Status> {
        let fate = self.fate();
        fate.tell(&path);
        let answer = match fate {
            Fate::Passes => self.clone().ask(path, request).await.map(plainly),
            Fate::Late {
                request: before,
                answer: after,
                message,
            } => {
                let asking = self.clone();
                // It is asked also when its caller gives up meanwhile.
                let asked = tokio::spawn(async move {
                    sleep(before).await;
                    let answer = asking.ask(path, request).await;
                    sleep(after).await;
                    answer
                });
                joined(asked).await.map(|answer| slowly(answer, message))
            }
            Fate::Twice {
                after,
                second_counts,
                open,
            } => {
                let (first, second) = twice(request);
                let (asking, again, other_path) = (self.clone(), self.clone(), path.clone());
                let first = tokio::spawn(asking.ask(path, first));
                let second = tokio::spawn(async move {
                    sleep(after).await;
                    again.ask(other_path, second).await
                });
                let (counts, other) = match second_counts {
                    true => (second, first),
                    false => (first, second),
                };
                tokio::spawn(async move {
                    if let Ok(answer) = joined(other).await {
                        drain(answer.into_inner(), open).await;
                    }
                });
                joined(counts).await.map(plainly)
            }
            Fate::Cut { messages, open } => {
                let answer = self.clone().ask(path, request).await;
                answer.map(|answer| cut(answer, messages, open))
            }
        };
        match answer {
            Ok(answer) => {
                let broken = self.broken;
                Ok(answer.map(|messages| {
                    let checked = messages.then(move |message| unless_broken(message, broken.clone()));
                    checked.boxed()
                }))
            }
            Err(status) => unless_broken(Err(status), self.broken).await,
        }
    }
}

/// What an answerer said; what the transport says of a broken connection breaks the caller's.
async fn unless_broken<T>(said: Result<T, Status>, broken: CancellationToken) -> Result<T, Status> {
    match said {
        Err(status) if WireError::is_broken(&status) => {
            broken.cancel();
            pending().await
        }
        said => said,
    }
}

async fn joined<T>(asked: tokio::task::JoinHandle<Result<T, Status>>) -> Result<T, Status> {
    asked
        .await
        .unwrap_or_else(|error| Err(Status::from_error(Box::new(error))))
}

fn twice(request: Request<Bytes>) -> (Request<Bytes>, Request<Bytes>) {
    let (metadata, _, message) = request.into_parts();
    let again = Request::from_parts(metadata.clone(), Extensions::default(), message.clone());
    (
        Request::from_parts(metadata, Extensions::default(), message),
        again,
    )
}

fn plainly(answer: Response<Streaming<Bytes>>) -> Response<Messages> {
    answer.map(|messages| messages.boxed())
}

fn slowly(answer: Response<Streaming<Bytes>>, pause: Duration) -> Response<Messages> {
    answer.map(|messages| {
        let slow = messages.then(move |message| async move {
            sleep(pause).await;
            message
        });
        slow.boxed()
    })
}

/// The first messages; then the caller is told that the stream is over, and whoever answers goes on for a while.
fn cut(answer: Response<Streaming<Bytes>>, most: usize, open: Duration) -> Response<Messages> {
    answer.map(|messages| {
        let cut = stream::unfold(Some((messages, 0)), move |state| async move {
            let (mut messages, count) = state?;
            if count < most {
                let message = messages.next().await?;
                return Some((message, Some((messages, count + 1))));
            }
            tokio::spawn(drain(messages, open));
            Some((Err(Status::unavailable("the stream was cut")), None))
        });
        cut.boxed()
    })
}

async fn drain(mut messages: Streaming<Bytes>, time: Duration) {
    let all = async { while messages.next().await.is_some() {} };
    // It may not end by itself.
    let _ = timeout(time, all).await;
}

/// What it speaks for.
const SERVICES: [&str; 2] = [
    learner_service_server::SERVICE_NAME,
    relay_service_server::SERVICE_NAME,
];

#[derive(Clone)]
struct Door<const SERVICE: usize>(Meddler);

impl<const SERVICE: usize> NamedService for Door<SERVICE> {
    const NAME: &'static str = SERVICES[SERVICE];
}

impl<const SERVICE: usize> Service<http::Request<Body>> for Door<SERVICE> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = request.uri().path_and_query().cloned();
        let call = Call(self.0.clone(), path);
        Box::pin(async move {
            Ok(tonic::server::Grpc::new(Raw)
                .server_streaming(call, request)
                .await)
        })
    }
}

/// One request.
struct Call(Meddler, Option<PathAndQuery>);

impl ServerStreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = BoxFuture<'static, Result<Response<Messages>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let (meddler, path) = (self.0.clone(), self.1.clone());
        Box::pin(async move {
            let path = path.ok_or_else(|| Status::unimplemented("it names no method"))?;
            meddler.answer(path, request).await
        })
    }
}
