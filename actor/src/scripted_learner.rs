//! For tests: a learner that hands out weights, and perhaps one lease, and does so as badly as a test wants.

use crate::{ActorConfig, background::Background, learner_client::LearnerClient, manifest::Manifest};
use common::{ActorId, Artifact, DecidingSettings, Digest, LearnerEpoch, PolicyVersion};
use futures::stream::{self, BoxStream, StreamExt};
use proto::pb::{
    self,
    learner_service_server::{LearnerService, LearnerServiceServer},
    relay_service_server::{RelayService, RelayServiceServer},
};
use proto::{Incoming, Network, Tcp};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

/// What the learner holds and how it misbehaves.
#[derive(Default)]
pub(crate) struct Script {
    /// Bytes served under a digest, whether they match it or not.
    pub(crate) artifacts: BTreeMap<Digest, Vec<u8>>,
    /// Bytes sent in each stream before it breaks.
    pub(crate) break_after: Option<usize>,
    /// How long each message of a stream takes.
    pub(crate) pause: Duration,
    /// What whoever joins is told, instead of the first version.
    pub(crate) newest: Option<pb::PolicyManifest>,
    /// Whoever joins is told this instead.
    pub(crate) refuses_to_join: Option<Status>,
    /// The settings that those who joined have stated.
    pub(crate) stated: Vec<DecidingSettings>,
    /// How many streams of announcements are closed at once.
    pub(crate) closes: usize,
    /// Announced to whoever watches.
    pub(crate) announced: Vec<pb::PolicyManifest>,
    /// Offsets asked for so far.
    pub(crate) offsets: Vec<u64>,
    /// Leased to whoever asks first.
    pub(crate) lease: Option<pb::TaskLease>,
    /// What all who ask later, and all who submit, are told; that nobody serves where there is none.
    pub(crate) refusal: Option<Status>,
    /// How often outcomes were submitted.
    pub(crate) submitted: usize,
    /// What was handed back.
    pub(crate) returned: Vec<pb::ReturnTasksRequest>,
}

#[derive(Clone)]
pub(crate) struct ScriptedLearner {
    script: Arc<Mutex<Script>>,
    first: pb::PolicyManifest,
}

/// The manifest of a version whose adapter has these bytes.
pub(crate) fn manifest(epoch: u64, number: u64, adapter: &[u8]) -> pb::PolicyManifest {
    pb::PolicyManifest {
        version: Some(
            PolicyVersion {
                epoch: LearnerEpoch(epoch),
                number,
            }
            .into(),
        ),
        base: vec![],
        adapter: Some((&artifact(adapter)).into()),
        adapter_config_json:
            r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}"#.into(),
        last: false,
        canary: None,
        relays: vec![],
    }
}

/// An artifact with these bytes, in chunks of eight.
pub(crate) fn artifact(bytes: &[u8]) -> Artifact {
    let chunks = bytes.chunks(8).map(store::digest).collect();
    Artifact::new("weights", bytes.len() as u64, store::digest(bytes), 8, chunks).unwrap()
}

/// Serves a script's artifacts as a relay would.
pub(crate) fn serve_relay(listener: TcpListener, script: Script) {
    let relay = ScriptedLearner {
        script: Arc::new(Mutex::new(script)),
        first: pb::PolicyManifest::default(),
    };
    let server = tonic::transport::Server::builder().add_service(RelayServiceServer::new(relay));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
}

/// Serves a scripted learner whose first version is `first`; answers where.
pub(crate) async fn serve(first: pb::PolicyManifest, script: Script) -> (String, Arc<Mutex<Script>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, serve_to(TcpListenerStream::new(listener), first, script))
}

/// The same to who comes in.
pub(crate) fn serve_to(
    incoming: impl Incoming,
    first: pb::PolicyManifest,
    script: Script,
) -> Arc<Mutex<Script>> {
    let script = Arc::new(Mutex::new(script));
    let service = LearnerServiceServer::new(ScriptedLearner {
        script: script.clone(),
        first,
    });
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    script
}

/// Joins a scripted learner whose first version is `first`.
pub(crate) async fn join(
    first: pb::PolicyManifest,
    script: Script,
) -> (Arc<LearnerClient>, Manifest, Arc<Mutex<Script>>) {
    let (url, script) = serve(first, script).await;
    let (client, manifest) = join_at(&url, Arc::new(Tcp)).await;
    (client, manifest, script)
}

/// Joins the learner at `url`.
pub(crate) async fn join_at(url: &str, network: Arc<dyn Network>) -> (Arc<LearnerClient>, Manifest) {
    let config = ActorConfig {
        learner_timeout_s: 1.0,
        ..ActorConfig::default()
    };
    let name = ActorId::new("actor-0").unwrap();
    let peer = LearnerClient::at(url, network, &name, &config);
    let joined = LearnerClient::join(peer, name, config.deciding(), 0, &config, &Background::shared()).await;
    let (client, manifest) = joined.unwrap();
    (Arc::new(client), manifest)
}

#[tonic::async_trait]
impl LearnerService for ScriptedLearner {
    type WatchPolicyStream = BoxStream<'static, Result<pb::PolicyManifest, Status>>;
    type FetchArtifactStream = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

    async fn join(&self, request: Request<pb::JoinRequest>) -> Answer<pb::JoinResponse> {
        let mut script = self.script.lock().unwrap();
        script.stated.push(request.into_inner().settings.into());
        if let Some(refusal) = &script.refuses_to_join {
            return Err(refusal.clone());
        }
        let newest = script.newest.clone();
        let policy = newest.or_else(|| Some(self.first.clone()));
        Ok(Response::new(pb::JoinResponse {
            run_id: "run-1".into(),
            learner_epoch: 2,
            run_seed: 7,
            policy,
            deterministic: false,
        }))
    }

    async fn watch_policy(&self, _: Request<pb::WatchPolicyRequest>) -> Answer<Self::WatchPolicyStream> {
        let mut script = self.script.lock().unwrap();
        if script.closes > 0 {
            script.closes -= 1;
            return Ok(Response::new(stream::empty().boxed()));
        }
        let announced = std::mem::take(&mut script.announced);
        Ok(Response::new(
            stream::iter(announced).map(Ok).chain(stream::pending()).boxed(),
        ))
    }

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Answer<Self::FetchArtifactStream> {
        self.stream(request.into_inner())
    }

    async fn lease_tasks(&self, _: Request<pb::LeaseTasksRequest>) -> Answer<pb::LeaseTasksResponse> {
        let lease = self.script.lock().unwrap().lease.take();
        let lease = lease.ok_or_else(|| self.refusal())?;
        let answer = Some(pb::lease_tasks_response::Answer::Lease(lease));
        Ok(Response::new(pb::LeaseTasksResponse { answer }))
    }

    async fn submit_outcomes(
        &self,
        _: Request<pb::SubmitOutcomesRequest>,
    ) -> Answer<pb::SubmitOutcomesResponse> {
        self.script.lock().unwrap().submitted += 1;
        Err(self.refusal())
    }

    async fn return_tasks(
        &self,
        request: Request<pb::ReturnTasksRequest>,
    ) -> Answer<pb::ReturnTasksResponse> {
        let request = request.into_inner();
        let returned = request.tasks.len() as u32;
        self.script.lock().unwrap().returned.push(request);
        Ok(Response::new(pb::ReturnTasksResponse { returned }))
    }

    async fn report_adoption(
        &self,
        request: Request<pb::ReportAdoptionRequest>,
    ) -> Answer<pb::ReportAdoptionResponse> {
        // That a version does not take effect is heard, and never answered.
        let canary = request.into_inner().canary;
        if canary.is_some_and(|canary| canary.verdict() == pb::CanaryVerdict::Mismatch) {
            return std::future::pending().await;
        }
        Ok(Response::new(pb::ReportAdoptionResponse {}))
    }

    async fn report_evaluation(
        &self,
        _: Request<pb::ReportEvaluationRequest>,
    ) -> Answer<pb::ReportEvaluationResponse> {
        Err(Status::unimplemented("not in this script"))
    }

    async fn get_run_status(&self, _: Request<pb::GetRunStatusRequest>) -> Answer<pb::RunStatus> {
        Err(Status::unimplemented("not in this script"))
    }
}

#[tonic::async_trait]
impl RelayService for ScriptedLearner {
    type FetchArtifactStream = BoxStream<'static, Result<pb::ArtifactChunk, Status>>;

    async fn fetch_artifact(
        &self,
        request: Request<pb::FetchArtifactRequest>,
    ) -> Answer<BoxStream<'static, Result<pb::ArtifactChunk, Status>>> {
        self.stream(request.into_inner())
    }
}

impl ScriptedLearner {
    fn refusal(&self) -> Status {
        let refusal = self.script.lock().unwrap().refusal.clone();
        refusal.unwrap_or_else(|| Status::unavailable("nobody serves"))
    }

    /// An artifact in messages of four bytes, as long as the script lets it.
    fn stream(
        &self,
        request: pb::FetchArtifactRequest,
    ) -> Answer<BoxStream<'static, Result<pb::ArtifactChunk, Status>>> {
        let pb::FetchArtifactRequest { digest, offset, .. } = request;
        let digest = Digest::try_from(digest.unwrap()).unwrap();
        let mut script = self.script.lock().unwrap();
        script.offsets.push(offset);
        let bytes = script
            .artifacts
            .get(&digest)
            .ok_or_else(|| Status::not_found("no such artifact"))?;
        let end = script
            .break_after
            .map_or(bytes.len(), |n| (offset as usize + n).min(bytes.len()));
        let chunks: Vec<_> = (offset as usize..end)
            .step_by(4)
            .map(|at| pb::ArtifactChunk {
                offset: at as u64,
                data: bytes[at..end.min(at + 4)].to_vec().into(),
            })
            .map(Ok)
            .collect();
        let broken = (end < bytes.len()).then(|| Err(Status::internal("stream broken by the script")));
        let pause = script.pause;
        let after = move |message| async move {
            sleep(pause).await;
            message
        };
        let messages = stream::iter(chunks.into_iter().chain(broken));
        Ok(Response::new(messages.then(after).boxed()))
    }
}
