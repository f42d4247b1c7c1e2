//! How many actors a run asks for, with actors that are real but for their computing: the figure follows what they make, and an
//! autoscaler that speaks KEDA's contract reads it.

use actor::{ActorConfig, Served, SimulatedActorInputs, SimulatedSampling};
use anyhow::{Context as _, Result};
use common::{ActorId, RunId};
use learner::{LearnerConfig, LearnerError, RunSummary, ScalingConfig, SimulatedAdapters, SimulatedInputs};
use proto::keda::{self, external_scaler_client::ExternalScalerClient};
use proto::pb::{self, learner_service_client::LearnerServiceClient};
use proto::{AllowLoopback, Tcp, header};
use shopworld::{ShopWorld, ShopWorldConfig};
use std::net::SocketAddr;
use std::sync::{Arc, atomic::AtomicBool};
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, server::TcpIncoming};
use tonic::{Code, Streaming};

/// How long training a version of 16 pairs takes: 80 pairs a second.
const STEP: Duration = Duration::from_millis(200);

/// How long the figure may take to be what it should.
const PATIENCE: Duration = Duration::from_secs(30);

/// A run without actors.
struct Run {
    address: SocketAddr,
    client: LearnerServiceClient<Channel>,
    stop: CancellationToken,
    learner: JoinHandle<Result<RunSummary, LearnerError>>,
}

fn settings(versions: u64) -> LearnerConfig {
    LearnerConfig {
        versions,
        pairs_per_version: 16,
        minibatch_pairs: 16,
        max_staleness: 1,
        checkpoint_every: 100_000,
        linger_ms: 30_000,
        scaling: ScalingConfig {
            max_actors: 20,
            horizon_s: 1.0,
            cold_start_s: 0.0,
            ..ScalingConfig::default()
        },
        ..LearnerConfig::default()
    }
}

impl Run {
    async fn start(config: LearnerConfig) -> Result<Self> {
        let shop = ShopWorldConfig {
            products: 16,
            product_size: 16,
            ..ShopWorldConfig::default()
        };
        let inputs = SimulatedInputs {
            run_id: RunId::new("scaled")?,
            run_seed: 1,
            settings: common::DecidingSettings::default(),
            catalogue: Arc::new(ShopWorld::new(shop, 1)?.catalogue()),
            store: Store::open("memory:///")?,
            authorizer: Arc::new(AllowLoopback),
            adapters: SimulatedAdapters::Drawn(1 << 10),
            step: STEP,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, stop) = (listener.local_addr()?, CancellationToken::new());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let learner = tokio::spawn(learner::run_simulated(config, inputs, incoming, stop.clone()));
        // The listener is there; who dials early waits.
        let channel = Channel::from_shared(format!("http://{address}"))?.connect_lazy();
        Ok(Self {
            address,
            client: LearnerServiceClient::new(channel),
            stop,
            learner,
        })
    }

    /// An actor whose leases of four tasks take so long.
    fn actor(&self, name: &str, lease: Duration) -> Result<CancellationToken> {
        let config = ActorConfig {
            group_size: 2,
            max_new_tokens: 16,
            tasks_per_lease: 4,
            relay: false,
            ..ActorConfig::default()
        };
        let begin = CancellationToken::new();
        begin.cancel();
        let inputs = SimulatedActorInputs {
            actor_id: ActorId::new(name)?,
            learner_url: format!("http://{}", self.address),
            network: Arc::new(Tcp),
            begin,
            delay: Duration::ZERO,
            timed: Arc::new(AtomicBool::new(false)),
            sampling: SimulatedSampling::Pause(lease),
            authorizer: Arc::new(AllowLoopback),
            looks_in: None,
        };
        let stop = CancellationToken::new();
        let nowhere = None::<Served<TcpIncoming>>;
        tokio::spawn(actor::run_simulated(config, inputs, nowhere, stop.clone()));
        Ok(stop)
    }

    /// Somebody who follows the announcements: a complete run waits for those, as long as this stream is held.
    async fn follower(&mut self) -> Result<Streaming<pb::PolicyManifest>> {
        let request = pb::WatchPolicyRequest {
            header: Some(header(Some(&RunId::new("scaled")?), None, "follower")),
            ..pb::WatchPolicyRequest::default()
        };
        Ok(self.client.watch_policy(request).await?.into_inner())
    }

    async fn scaling(&mut self) -> Result<pb::Scaling> {
        let request = pb::GetRunStatusRequest {
            header: Some(header(Some(&RunId::new("scaled")?), None, "test")),
            metrics_from: 0,
        };
        let status = self.client.get_run_status(request).await?.into_inner();
        status.scaling.context("no scaling in the status")
    }

    /// The figures once they are as expected.
    async fn until(&mut self, expected: impl Fn(&pb::Scaling) -> bool) -> Result<pb::Scaling> {
        let mut last = None;
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let scaling = self.scaling().await?;
                if expected(&scaling) {
                    return anyhow::Ok(scaling);
                }
                last = Some(scaling);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        waited.await.with_context(|| format!("still {last:?}"))?
    }

    async fn ended(self) -> Result<RunSummary> {
        self.stop.cancel();
        Ok(self.learner.await??)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_actors_are_too_few_and_fast_ones_too_many() -> Result<()> {
    let mut run = Run::start(settings(10_000)).await?;
    // Ten pairs a second each, where eighty are trained.
    let slow = [run.actor("slow-0", ms(400))?, run.actor("slow-1", ms(400))?];
    let few = run.until(|scaling| scaling.rollout_actors_wanted >= 6).await?;
    assert!(few.active && few.rollout_actors == 2, "{few:?}");
    assert!(few.rollout_actors_wanted <= 20, "{few:?}");
    slow.iter().for_each(CancellationToken::cancel);
    // Four times as fast, and more than are needed.
    let names = ["fast-0", "fast-1", "fast-2", "fast-3", "fast-4", "fast-5"];
    let fast = names.map(|name| run.actor(name, ms(60)));
    let many = run.until(|scaling| scaling.rollout_actors_wanted <= 4).await?;
    assert!(many.rollout_actors_wanted >= 1 && many.active, "{many:?}");
    assert!(
        many.pairs_per_s_per_actor > few.pairs_per_s_per_actor,
        "{many:?} after {few:?}"
    );
    for actor in fast {
        actor?.cancel();
    }
    run.ended().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keda_is_told_what_is_wanted_and_when_nobody_is() -> Result<()> {
    let mut run = Run::start(settings(4)).await?;
    let channel = Channel::from_shared(format!("http://{}", run.address))?
        .connect()
        .await?;
    let mut scaler = ExternalScalerClient::new(channel);
    let object = keda::ScaledObjectRef {
        name: "actors".into(),
        namespace: "ads".into(),
        scaler_metadata: [("run".to_owned(), "scaled".to_owned())].into(),
    };
    let spec = scaler
        .get_metric_spec(object.clone())
        .await?
        .into_inner()
        .metric_specs;
    assert_eq!(spec.len(), 1);
    assert_eq!((spec[0].target_size, spec[0].target_size_float), (1, 1.0));
    let ask = |name: &str| keda::GetMetricsRequest {
        scaled_object_ref: Some(object.clone()),
        metric_name: name.into(),
    };
    // Nothing is measured yet: one actor has to begin.
    run.until(|scaling| scaling.rollout_actors_wanted == 1).await?;
    let metric = scaler.get_metrics(ask(&spec[0].metric_name)).await?.into_inner();
    assert_eq!(metric.metric_values[0].metric_value_float, 1.0);
    assert!(scaler.is_active(object.clone()).await?.into_inner().result);

    let wrong = scaler.get_metrics(ask("queue_length")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("rollout_actors_wanted"), "{wrong}");
    let mut other = object.clone();
    other.scaler_metadata.insert("run".into(), "another".into());
    let wrong = scaler.is_active(other).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("scaled"), "{wrong}");

    // The last figures can be asked for as long as somebody follows the run.
    let following = run.follower().await?;
    let mut active = scaler.stream_is_active(object.clone()).await?.into_inner();
    assert!(active.message().await?.context("the first word")?.result);
    let actor = run.actor("only", ms(50))?;
    // The run is complete, or its last version is being trained: no actor is of use any more.
    while active.message().await?.context("the last word")?.result {}
    run.until(|scaling| scaling.rollout_actors_wanted == 0 && !scaling.active)
        .await?;
    let metric = scaler.get_metrics(ask(&spec[0].metric_name)).await?.into_inner();
    assert_eq!(metric.metric_values[0].metric_value_float, 0.0);
    actor.cancel();
    drop(following);
    assert!(run.ended().await?.complete);
    Ok(())
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
