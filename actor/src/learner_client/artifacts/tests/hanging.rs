//! Relays that keep their connections and bring nothing, or next to nothing. The clock stands still, so that what is borne is what is
//! written in `relay/terms.rs`, to the second.

use super::*;
use crate::{
    health::Health,
    relay::{Part, Relay},
    scripted_learner::{join_at, serve_to},
    scripted_network::{InMemory, at},
    shelf::Shelf,
};
use common::ActorId;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use proto::AllowNetwork;
use proto::pb::relay_service_server::{RelayService, RelayServiceServer};
use std::future::pending;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::time::sleep;
use tonic::{Request, Response};

const LEARNER: u16 = 1;
const RELAY: u16 = 2;
const BELOW: u16 = 3;

/// Bytes of a message. An artifact's chunks are of eight.
const MESSAGE: usize = 4;

/// How a relay that lives hangs.
#[derive(Clone, Copy)]
enum Manner {
    /// It does not begin to answer.
    Mute,
    /// It brings so many bytes and then nothing.
    Halfway(usize),
    /// It sends messages without bytes.
    Hollow,
    /// It sends a message after each pause.
    Trickles(Duration),
}

#[tonic::async_trait]
impl RelayService for Manner {
    type FetchArtifactStream = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let messages = |bytes: &[u8]| {
            let messages = bytes.chunks(MESSAGE).enumerate();
            let messages = messages.map(|(index, data)| {
                Ok(pb::ArtifactChunk {
                    offset: (index * MESSAGE) as u64,
                    data: data.to_vec().into(),
                })
            });
            messages.collect::<Vec<_>>()
        };
        assert_eq!(request.into_inner().offset, 0);
        Ok(Response::new(match *self {
            Self::Mute => pending().await,
            Self::Halfway(bytes) => stream::iter(messages(&BYTES[..bytes]))
                .chain(stream::pending())
                .boxed(),
            Self::Hollow => paced(
                Duration::from_millis(500),
                vec![Ok(pb::ArtifactChunk::default()); 100],
            ),
            Self::Trickles(pause) => paced(pause, messages(BYTES)),
        }))
    }
}

fn paced<T: Send + 'static>(pause: Duration, items: Vec<T>) -> BoxStream<'static, T> {
    let after = move |item| async move {
        sleep(pause).await;
        item
    };
    stream::iter(items).then(after).boxed()
}

/// A learner that has `BYTES`, on a network of its own.
struct Place {
    network: InMemory,
    script: Arc<Mutex<Script>>,
}

/// What came of a fetch.
struct Fetched {
    client: Arc<LearnerClient>,
    took: Duration,
}

impl Place {
    fn set() -> Self {
        let network = InMemory::default();
        let (incoming, first) = (network.listen(LEARNER), manifest(2, 0, b""));
        let script = serve_to(incoming, first, serving(BYTES, None));
        Self { network, script }
    }

    /// A relay that hangs.
    fn hangs(self, manner: Manner) -> Self {
        let server = tonic::transport::Server::builder().add_service(RelayServiceServer::new(manner));
        tokio::spawn(server.serve_with_incoming(self.network.listen(RELAY)));
        self
    }

    /// One whose process was stopped before anybody called.
    fn with_a_stopped_relay(self) -> Self {
        let calls = self.network.listen(RELAY);
        tokio::spawn(held(calls));
        self.network.stop(RELAY);
        self
    }

    async fn client(&self) -> Arc<LearnerClient> {
        let url = format!("http://{}", at(LEARNER));
        join_at(&url, Arc::new(self.network.clone())).await.0
    }

    /// Fetches from the relay, of which a learner that brought so many bytes a second is known.
    async fn fetched(&self, learners_rate: Option<f64>) -> Fetched {
        let client = self.client().await;
        if let Some(rate) = learners_rate {
            client.transfers.learner_rate(rate);
        }
        let (mut kept, began) = (Kept::default(), Instant::now());
        let (artifact, relays) = (artifact(BYTES), [at(RELAY)]);
        client
            .fetch(&artifact, Payload::Adapter, &relays, &mut kept)
            .await
            .unwrap();
        assert_eq!(kept.0, BYTES);
        Fetched {
            client,
            took: began.elapsed(),
        }
    }

    /// From where on the learner was asked.
    fn offsets(&self) -> Vec<u64> {
        self.script.lock().unwrap().offsets.clone()
    }
}

/// Holds what comes and reads nothing.
async fn held<T>(calls: impl Stream<Item = T>) {
    let mut calls = Box::pin(calls);
    let mut all = vec![];
    while let Some(call) = calls.next().await {
        all.push(call);
    }
}

/// Whether a time is that, and not a second more.
fn is_about(took: Duration, expected: Duration) -> bool {
    took >= expected && took < expected + Duration::from_secs(1)
}

#[tokio::test(start_paused = true)]
async fn a_relay_whose_process_is_stopped_is_given_up_when_it_does_not_say_that_it_lives() {
    let gone = terms::LIVES.silence + terms::LIVES.answer;
    let place = Place::set().with_a_stopped_relay();
    let fetched = place.fetched(None).await;
    assert!(is_about(fetched.took, gone), "{:?}", fetched.took);
    assert_eq!(place.offsets(), [0]);
    assert!(fetched.client.transfers.is_avoided(at(RELAY), Instant::now()));
    assert_eq!(fetched.client.relays_given_up(), 1);

    let pause = Duration::from_millis(300);
    let place = Place::set().hangs(Manner::Trickles(pause));
    let stopping = async {
        sleep(Duration::from_secs(2)).await;
        place.network.stop(RELAY);
    };
    let (fetched, ()) = tokio::join!(place.fetched(None), stopping);
    // Six messages had come, which make three chunks.
    assert!(is_about(fetched.took, pause * 6 + gone), "{:?}", fetched.took);
    assert_eq!(place.offsets(), [24]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_lives_and_brings_nothing_is_given_up_in_time() {
    for (manner, time, resumed) in [
        (Manner::Mute, terms::ANSWERED_WITHIN, 0),
        (Manner::Halfway(0), terms::STRETCH, 0),
        (Manner::Halfway(20), terms::STRETCH, 16),
        (Manner::Hollow, terms::STRETCH, 0),
    ] {
        let place = Place::set().hangs(manner);
        let fetched = place.fetched(None).await;
        assert!(is_about(fetched.took, time), "{:?}", fetched.took);
        assert_eq!(place.offsets(), [resumed]);
        assert_eq!(fetched.client.relays_given_up(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_trickles_is_held_to_a_pace_whether_the_learners_rate_is_known_or_not() {
    let trickling = || Place::set().hangs(Manner::Trickles(Duration::from_secs(2)));
    let place = trickling();
    let fetched = place.fetched(None).await;
    assert!(is_about(fetched.took, terms::STRETCH), "{:?}", fetched.took);
    assert_eq!(place.offsets(), [16]);
    // A quarter of what the learner brings is what it brings.
    let place = trickling();
    let fetched = place
        .fetched(Some(8.0 / terms::STRETCH.as_secs_f64() * 4.0))
        .await;
    assert!(
        is_about(fetched.took, Duration::from_secs(22)),
        "{:?}",
        fetched.took
    );
    assert_eq!(
        (place.offsets(), fetched.client.relays_given_up()),
        (vec![], 0),
        "a relay as slow as its learner was given up"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_is_below_a_relay_that_waits_for_one_that_is_stopped_keeps_its_own() {
    let place = Place::set().with_a_stopped_relay();
    let (above, below) = (place.client().await, place.client().await);
    let (shelf, part) = (Arc::new(Shelf::new()), Arc::new(OnceLock::new()));
    let of = Part {
        run: above.run().clone(),
        actor: ActorId::new("above").unwrap(),
    };
    part.set(of).unwrap();
    let relay = Relay::new(shelf.clone(), Arc::new(AllowNetwork), part);
    let _serving = Health::serve(place.network.listen(BELOW), 64, Some(relay)).await;
    let artifact = artifact(BYTES);
    let (mut receiving, mut kept) = (shelf.receive(&artifact), Kept::default());
    let (stopped, waiting) = ([at(RELAY)], [at(BELOW)]);
    let (one, other) = tokio::join!(
        above.fetch(&artifact, Payload::Adapter, &stopped, &mut receiving),
        below.fetch(&artifact, Payload::Adapter, &waiting, &mut kept),
    );
    one.unwrap();
    other.unwrap();
    assert_eq!(kept.0, BYTES);
    let given_up = [&above, &below].map(|client| client.relays_given_up());
    assert_eq!((given_up, place.offsets()), ([1, 0], vec![0]));
}
