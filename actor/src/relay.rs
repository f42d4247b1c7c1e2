//! The service by which an actor passes on what it has fetched, so that the learner sends each version a few times only.
//!
//! Whoever fetches here checks every chunk against the learner's manifest: a relay can withhold, never lie. How long it may withhold is in
//! `relay/terms.rs`.

pub(crate) mod terms;

use crate::shelf::{Adapter, Offer, Shelf};
use common::{ActorId, RunId};
use failpoint::Point;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use proto::{
    Authorizer, Call, Caller, Door, InvalidMessage, QUESTION_BYTES, Remote, WireError, artifact_stream,
    artifact_stream::Source,
    pb::{
        self,
        relay_service_server::{RelayService, RelayServiceServer},
    },
};
use std::sync::{Arc, OnceLock};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tonic::{Request, Response, Status, service::interceptor::InterceptedService};

/// Streams served at the same time: the branches of the learner's tree, and some newcomers.
const MAX_STREAMS: usize = 8;

/// Which run an actor has joined, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) run: RunId,
    pub(crate) actor: ActorId,
}

/// Serves what is on the shelf.
pub(crate) struct Relay {
    shelf: Arc<Shelf>,
    authorizer: Arc<dyn Authorizer>,
    /// Known once the actor has joined.
    part: Arc<OnceLock<Part>>,
    streams: Arc<Semaphore>,
}

impl Relay {
    /// A relay for others who take `part`, as soon as it is known in what.
    pub(crate) fn new(shelf: Arc<Shelf>, authorizer: Arc<dyn Authorizer>, part: Arc<OnceLock<Part>>) -> Self {
        Self {
            shelf,
            authorizer,
            part,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        }
    }

    /// The service, which refuses peers before it reads what they say.
    pub(crate) fn behind_its_door(self) -> InterceptedService<RelayServiceServer<Self>, Door> {
        let door = Door::of(self.authorizer.clone());
        let service = RelayServiceServer::new(self).max_decoding_message_size(QUESTION_BYTES);
        InterceptedService::new(service, door)
    }

    fn admit(&self, request: &Request<pb::FetchArtifactRequest>) -> Result<(), WireError> {
        let caller = Caller::try_from(request.get_ref().header.clone())?;
        self.authorizer.authorize(&Call {
            method: "RelayService/FetchArtifact",
            caller: &caller.id,
            peer: &Remote::of(request),
        })?;
        let part = self.part.get();
        let Part { run, actor } =
            part.ok_or_else(|| WireError::Unavailable("this actor has not joined its run".into()))?;
        let is_own = caller.id == actor.as_str();
        let (expected, found) = (run.clone(), run_of(caller)?);
        match expected == found {
            // A learner that holds an earlier stream of this actor for open may send it here, where it would wait for itself.
            true if is_own => Err(WireError::Unavailable("its caller is this actor itself".into())),
            true => Ok(()),
            false => Err(WireError::WrongRun { expected, found }),
        }
    }
}

/// The run that a caller takes part in, which every caller of a relay names.
pub(crate) fn run_of(caller: Caller) -> Result<RunId, WireError> {
    caller.run.ok_or(WireError::NotJoined)
}

#[tonic::async_trait]
impl RelayService for Relay {
    type FetchArtifactStream = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        self.admit(&request)?;
        let place = self.streams.clone().try_acquire_owned();
        let place = place.map_err(|_| WireError::Unavailable(format!("{MAX_STREAMS} streams are open")))?;
        let pb::FetchArtifactRequest { digest, offset, .. } = request.into_inner();
        let digest = proto::fetched(digest).map_err(WireError::from)?;
        let offer = timeout(terms::ANNOUNCED_WITHIN, self.shelf.found(&digest)).await;
        let chunks = match offer.map_err(|_| WireError::NotFound(format!("artifact {digest}")))? {
            Offer::File(path) => artifact_stream::chunks(Source::File(path), offset).await?,
            Offer::Adapter(adapter) => passed_on(adapter, offset)?,
        };
        let chunks = chunks.inspect_ok(|_| failpoint::reach(Point::RelayChunk));
        Ok(Response::new(held(chunks.boxed(), place)))
    }
}

/// The chunks of an adapter from `offset` on, each as soon as it is here.
fn passed_on(
    adapter: Arc<Adapter>,
    offset: u64,
) -> Result<BoxStream<'static, Result<pb::ArtifactChunk, Status>>, WireError> {
    let chunk_bytes = adapter.artifact().chunk_bytes();
    if !offset.is_multiple_of(chunk_bytes) || offset > adapter.artifact().bytes() {
        let reason = format!("{offset} is no boundary of chunks of {chunk_bytes} bytes");
        return Err(InvalidMessage::new("fetch_artifact_request.offset", reason).into());
    }
    let chunks = (offset / chunk_bytes) as usize..adapter.artifact().chunks().len();
    let next = move |index: usize| {
        let adapter = adapter.clone();
        async move {
            let data = timeout(terms::PASSED_ON_WITHIN, adapter.chunk(index))
                .await
                .ok()
                .flatten();
            let data = data.ok_or_else(|| WireError::Unavailable("the rest has not arrived here".into()))?;
            Ok(pb::ArtifactChunk {
                offset: index as u64 * chunk_bytes,
                data,
            })
        }
    };
    Ok(stream::iter(chunks).then(next).boxed())
}

/// A stream that holds its place until it ends.
fn held<T: Send + 'static>(
    stream: BoxStream<'static, T>,
    place: OwnedSemaphorePermit,
) -> BoxStream<'static, T> {
    stream
        .map(move |item| {
            let _held = &place;
            item
        })
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{health::Health, scripted_learner::artifact};
    use common::{Artifact, Digest};
    use proto::{AllowLoopback, header, pb::relay_service_client::RelayServiceClient};
    use std::time::Duration;
    use tokio::net::TcpListener;
    use tonic::transport::server::TcpIncoming;
    use tonic::{Code, transport::Channel};

    const BYTES: &[u8] = b"some forty bytes of weights to pass on..";

    struct Served {
        shelf: Arc<Shelf>,
        client: RelayServiceClient<Channel>,
        _health: Health,
    }

    async fn serve() -> Served {
        let (shelf, part) = (Arc::new(Shelf::new()), Arc::new(OnceLock::new()));
        let of = Part {
            run: RunId::new("run-1").unwrap(),
            actor: ActorId::new("relay").unwrap(),
        };
        part.set(of).unwrap();
        let relay = Relay::new(shelf.clone(), Arc::new(AllowLoopback), part);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let health = Health::serve(TcpIncoming::from(listener), 64, Some(relay)).await;
        Served {
            shelf,
            client: RelayServiceClient::connect(url).await.unwrap(),
            _health: health,
        }
    }

    fn request(run: Option<&str>, digest: Digest, offset: u64) -> pb::FetchArtifactRequest {
        let run = run.map(|run| RunId::new(run).unwrap());
        pb::FetchArtifactRequest {
            header: Some(header(run.as_ref(), None, "actor-1")),
            digest: Some(digest.into()),
            offset,
        }
    }

    impl Served {
        async fn fetch(&self, artifact: &Artifact, offset: u64) -> Result<Vec<u8>, Status> {
            let request = request(Some("run-1"), artifact.digest(), offset);
            let mut stream = self.client.clone().fetch_artifact(request).await?.into_inner();
            let mut bytes = vec![];
            while let Some(chunk) = stream.message().await? {
                bytes.extend_from_slice(&chunk.data);
            }
            Ok(bytes)
        }
    }

    #[tokio::test]
    async fn an_adapter_is_passed_on_from_any_chunk_while_it_arrives() {
        let (served, adapter) = (serve().await, artifact(BYTES));
        let mut receiving = served.shelf.receive(&adapter);
        let put = async {
            for chunk in BYTES.chunks(8) {
                tokio::task::yield_now().await;
                receiving.put(bytes::Bytes::copy_from_slice(chunk));
            }
        };
        let (fetched, ()) = tokio::join!(served.fetch(&adapter, 0), put);
        assert_eq!(fetched.unwrap(), BYTES);
        assert_eq!(served.fetch(&adapter, 24).await.unwrap(), &BYTES[24..]);
        let odd = served.fetch(&adapter, 3).await.unwrap_err();
        assert_eq!(odd.code(), Code::InvalidArgument);
    }

    #[tokio::test]
    async fn an_actor_that_is_sent_to_itself_is_sent_on_at_once() {
        let (served, adapter) = (serve().await, artifact(BYTES));
        let _unfinished = served.shelf.receive(&adapter);
        let mut itself = request(Some("run-1"), adapter.digest(), 0);
        itself.header.as_mut().unwrap().caller_id = "relay".into();
        let refused = served.client.clone().fetch_artifact(itself).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("this actor itself"), "{refused}");
    }

    #[tokio::test]
    async fn what_does_not_come_here_sends_its_caller_elsewhere() {
        let (served, adapter) = (serve().await, artifact(BYTES));
        let unknown = served.fetch(&adapter, 0).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound);
        let mut receiving = served.shelf.receive(&adapter);
        receiving.put(bytes::Bytes::copy_from_slice(&BYTES[..8]));
        let request = request(Some("run-1"), adapter.digest(), 0);
        let passed_on = served.client.clone().fetch_artifact(request).await;
        let mut passed_on = passed_on.unwrap().into_inner();
        assert_eq!(passed_on.message().await.unwrap().unwrap().data, &BYTES[..8]);
        drop(receiving);
        assert_eq!(passed_on.message().await.unwrap_err().code(), Code::Unavailable);
    }

    #[tokio::test]
    async fn strangers_to_the_run_and_more_than_it_has_places_for_are_refused() {
        let (served, adapter) = (serve().await, artifact(BYTES));
        let _unfinished = served.shelf.receive(&adapter);
        for run in [None, Some("another")] {
            let refused = served
                .client
                .clone()
                .fetch_artifact(request(run, adapter.digest(), 0))
                .await;
            assert_eq!(refused.unwrap_err().code(), Code::FailedPrecondition);
        }
        let ask = || {
            let mut client = served.client.clone();
            let request = request(Some("run-1"), adapter.digest(), 0);
            async move { client.fetch_artifact(request).await }
        };
        let mut open = vec![];
        for _ in 0..MAX_STREAMS {
            open.push(ask().await.unwrap());
        }
        assert_eq!(ask().await.unwrap_err().code(), Code::Unavailable);
        open.pop();
        let again = async {
            while ask().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), again).await.unwrap();
    }
}
