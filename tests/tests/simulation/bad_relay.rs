//! An actor that is of no use as a relay: it passes on other bytes than it should, or hangs and closes nothing.

use crate::network::{Links, PORT, listen};
use common::{LearnerEpoch, RunId};
use futures::stream::{self, BoxStream, StreamExt as _};
use proto::header;
use proto::pb::relay_service_server::{RelayService, RelayServiceServer};
use proto::pb::{self, learner_service_client::LearnerServiceClient};
use std::future::pending;
use std::time::Duration;
use tokio::time::sleep;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

type Said<T> = Result<T, Box<dyn std::error::Error>>;

/// Bytes of a message of one that trickles, and the pause before each.
const TRICKLE: usize = 50;
const PAUSE: Duration = Duration::from_millis(900);

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadRelay {
    /// It passes on other bytes.
    Lies,
    /// It takes connections and reads nothing, as a process that is stopped.
    Stopped,
    /// It does not begin to answer.
    Mute,
    /// It begins to answer and goes no further.
    Idle,
    /// It brings a little now and then.
    Trickles,
}

impl BadRelay {
    pub(crate) const ALL: [Self; 5] = [Self::Lies, Self::Stopped, Self::Mute, Self::Idle, Self::Trickles];

    /// Follows the announcements for a place among the relays, for good, and is of no use to whoever comes.
    pub(crate) async fn take_a_place(self, run: RunId, links: Links, adapter_bytes: usize) -> Said<()> {
        let incoming = listen().await?;
        match self {
            Self::Stopped => drop(tokio::spawn(async move {
                let mut held = vec![];
                let mut incoming = Box::pin(incoming);
                while let Some(link) = incoming.next().await {
                    held.push(link);
                }
            })),
            manner => {
                let relay = Relay {
                    manner,
                    adapter_bytes,
                };
                let server = Server::builder().add_service(RelayServiceServer::new(relay));
                tokio::spawn(server.serve_with_incoming(incoming));
            }
        }
        let mut client = LearnerServiceClient::new(links.to_learner(|endpoint| endpoint)?);
        loop {
            if let Err(error) = follow(&run, &mut client).await {
                tracing::debug!(target: "simulation", %error, "the bad relay was not served");
            }
            sleep(Duration::from_millis(300)).await;
        }
    }
}

async fn follow(run: &RunId, client: &mut LearnerServiceClient<Channel>) -> Said<()> {
    let stranger = pb::JoinRequest {
        header: Some(header(None, None, "bad-relay")),
        ..pb::JoinRequest::default()
    };
    let joined = client.join(stranger).await?.into_inner();
    let request = pb::WatchPolicyRequest {
        header: Some(header(
            Some(run),
            Some(LearnerEpoch(joined.learner_epoch)),
            "bad-relay",
        )),
        after: None,
        relay_port: PORT.into(),
        evaluates: false,
        settings: Default::default(),
    };
    let mut news = client.watch_policy(request).await?.into_inner();
    while news.message().await?.is_some() {}
    Ok(())
}

struct Relay {
    manner: BadRelay,
    adapter_bytes: usize,
}

#[tonic::async_trait]
impl RelayService for Relay {
    type FetchArtifactStream = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let offset = request.into_inner().offset as usize;
        let end = self.adapter_bytes;
        let wrong = |from: usize, to: usize| {
            let (offset, data) = (from as u64, vec![7; to.saturating_sub(from)].into());
            Ok(pb::ArtifactChunk { offset, data })
        };
        Ok(Response::new(match self.manner {
            BadRelay::Mute | BadRelay::Stopped => pending().await,
            BadRelay::Lies => stream::iter([wrong(offset, end)]).boxed(),
            BadRelay::Idle => stream::pending().boxed(),
            // An artifact of a simulation is a chunk or two: nobody sees that the bytes are wrong before they are given up.
            BadRelay::Trickles => stream::iter((offset..end).step_by(TRICKLE))
                .then(move |from| async move {
                    sleep(PAUSE).await;
                    wrong(from, end.min(from + TRICKLE))
                })
                .boxed(),
        }))
    }
}
