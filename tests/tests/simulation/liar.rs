//! A relay that passes on other bytes than it should.

use crate::network::{Links, PORT, listen};
use common::{LearnerEpoch, RunId};
use futures::stream::{self, BoxStream, StreamExt as _};
use proto::header;
use proto::pb::relay_service_server::{RelayService, RelayServiceServer};
use proto::pb::{self, learner_service_client::LearnerServiceClient};
use std::time::Duration;
use tokio::time::sleep;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

type Said<T> = Result<T, Box<dyn std::error::Error>>;

/// Follows the announcements for a place among the relays, for good, and lies to whoever comes.
pub(crate) async fn lie(run: RunId, links: Links, adapter_bytes: usize) -> Said<()> {
    let liar = RelayServiceServer::new(Liar { adapter_bytes });
    tokio::spawn(
        Server::builder()
            .add_service(liar)
            .serve_with_incoming(listen().await?),
    );
    let mut client = LearnerServiceClient::new(links.to_learner(|endpoint| endpoint)?);
    loop {
        if let Err(error) = follow(&run, &mut client).await {
            tracing::debug!(target: "simulation", %error, "the liar was not served");
        }
        sleep(Duration::from_millis(300)).await;
    }
}

async fn follow(run: &RunId, client: &mut LearnerServiceClient<Channel>) -> Said<()> {
    let stranger = pb::JoinRequest {
        header: Some(header(None, None, "liar")),
    };
    let joined = client.join(stranger).await?.into_inner();
    let request = pb::WatchPolicyRequest {
        header: Some(header(
            Some(run),
            Some(LearnerEpoch(joined.learner_epoch)),
            "liar",
        )),
        after: None,
        relay_port: PORT.into(),
        evaluates: false,
    };
    let mut news = client.watch_policy(request).await?.into_inner();
    while news.message().await?.is_some() {}
    Ok(())
}

struct Liar {
    adapter_bytes: usize,
}

#[tonic::async_trait]
impl RelayService for Liar {
    type FetchArtifactStream = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        let offset = request.into_inner().offset;
        let data = vec![7; self.adapter_bytes.saturating_sub(offset as usize)].into();
        let chunk = pb::ArtifactChunk { offset, data };
        Ok(Response::new(stream::iter([Ok(chunk)]).boxed()))
    }
}
