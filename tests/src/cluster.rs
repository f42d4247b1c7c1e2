//! A run whose services can be started, and what they are given.

use crate::running::{ActorHandle, Learner, RewardServer, Running};
use crate::{Gate, TextPainter, networks};
use actor::{ActorConfig, ActorInputs, ActorSummary, ExpectedRun, Guardrails, RemoteGenerator};
use anyhow::{Context, Result};
use common::{ActorId, DecidingSettings, RunId};
use data::ImageGenerator;
use learner::{LearnerConfig, LearnerInputs, LedgerLine, LedgerView, RunSummary};
use models::{ctr::RewardModel, device::Placement, lora::LoraConfig, policy::PolicyReading};
use proto::AllowLoopback;
use reward_server::{RewardServerConfig, RewardServerInputs, ServedModel};
use shopworld::{ShopWorld, ShopWorldConfig};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use store::Store;
use tempfile::TempDir;
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;

/// The run's name.
const RUN: &str = "test-run";

/// A run that can be started: everything but its processes.
pub struct TestCluster {
    /// Settings of the learner.
    pub learner: LearnerConfig,
    /// Settings of every actor.
    pub actor: ActorConfig,
    /// Settings of the reward-server.
    pub reward_server: RewardServerConfig,
    /// The run's seed.
    pub seed: u64,
    world: ShopWorld,
    reward_model: RewardModel,
    store: Store,
    directory: TempDir,
}

/// What a run left behind.
pub struct Finished {
    /// The learner's account.
    pub run: RunSummary,
    /// Each actor's account.
    pub actors: Vec<ActorSummary>,
    /// The bytes of the final adapter.
    pub adapter: Vec<u8>,
}

impl TestCluster {
    /// A run of two versions of eight pairs each, on 16 products.
    pub fn new(seed: u64) -> Result<Self> {
        let shop = ShopWorldConfig {
            products: 16,
            product_size: 16,
            ..ShopWorldConfig::default()
        };
        let world = ShopWorld::new(shop, seed)?;
        let directory = tempfile::tempdir()?;
        networks::policy(&world.corpus(), seed)?.save(&directory.path().join("policy"))?;
        Ok(Self {
            learner: LearnerConfig {
                versions: 2,
                pairs_per_version: 8,
                minibatch_pairs: 4,
                passes: 1,
                linger_ms: 30_000,
                lora: LoraConfig::new(2, 2.0).with_head(),
                ..LearnerConfig::default()
            },
            actor: ActorConfig {
                tasks_per_lease: 4,
                max_new_tokens: 6,
                learner_timeout_s: 10.0,
                reward_timeout_s: 10.0,
                ..ActorConfig::default()
            },
            reward_server: RewardServerConfig::default(),
            seed,
            reward_model: networks::reward_model(&world.corpus(), seed)?,
            store: Store::open("memory:///")?,
            world,
            directory,
        })
    }

    /// The same with the policy of another directory.
    pub fn with_policy(seed: u64, policy: &Path) -> Result<Self> {
        let cluster = Self::new(seed)?;
        let target = cluster.directory.path().join("policy");
        std::fs::remove_dir_all(&target)?;
        copy(policy, &target)?;
        Ok(cluster)
    }

    /// Where the policy lies that actors fetch.
    pub fn policy_dir(&self) -> PathBuf {
        self.directory.path().join("policy")
    }

    /// Where the trained adapter goes.
    pub fn adapter_dir(&self) -> PathBuf {
        self.directory.path().join("adapter")
    }

    /// Runs it with so many actors until it is complete.
    pub async fn run(&self, actors: usize) -> Result<Finished> {
        self.run_rewarded_by(self.start_reward().await?, actors).await
    }

    /// The same with a reward-server of the test's own, which is stopped at the end.
    pub async fn run_rewarded_by(&self, reward: RewardServer, actors: usize) -> Result<Finished> {
        // However long one takes to start, the others do not complete the run without it.
        let gate = Gate::default();
        let painters = (0..actors).map(|_| TextPainter::behind(&gate)).collect();
        self.run_painted_by(painters, reward, async |learner| {
            learner.has_actors(actors).await?;
            drop(gate);
            Ok(())
        })
        .await
    }

    /// The same with so many actors that render in step, a group at a time: each version needs them all. For runs that are deterministic.
    pub async fn run_in_step(&self, actors: usize) -> Result<Finished> {
        let (painters, reward) = (TextPainter::in_step(actors), self.start_reward().await?);
        self.run_painted_by(painters, reward, async |_| Ok(())).await
    }

    async fn run_painted_by(
        &self,
        painters: Vec<TextPainter>,
        reward: RewardServer,
        once_started: impl AsyncFnOnce(&Learner) -> Result<()>,
    ) -> Result<Finished> {
        let learner = self.start_learner().await?;
        let mut handles = Vec::new();
        for (number, painter) in painters.into_iter().enumerate() {
            let (name, painter) = (format!("actor-{number}"), Arc::new(painter));
            let actor = self.start_actor_with(&name, learner.address, reward.address, painter);
            handles.push(actor.await?);
        }
        once_started(&learner).await?;
        let run = learner.joined().await?.context("the learner failed")?;
        let mut actors = Vec::new();
        for handle in handles {
            actors.push(handle.joined().await?.context("an actor failed")?);
        }
        reward.stopped().await?.context("the reward-server failed")?;
        self.finished(run, actors)
    }

    /// What the run's ledger has, in the order of arrival.
    pub async fn ledger(&self) -> Result<Vec<LedgerLine>> {
        let view = LedgerView::open(&self.store, &RunId::new(RUN)?).await?;
        let (mut lines, mut reading) = (Vec::new(), view.lines().await?);
        while let Some(line) = reading.next().await? {
            lines.push(line);
        }
        Ok(lines)
    }

    /// What a complete run left behind.
    pub fn finished(&self, run: RunSummary, actors: Vec<ActorSummary>) -> Result<Finished> {
        let adapter = std::fs::read(self.directory.path().join("adapter/adapter_model.safetensors"))?;
        Ok(Finished { run, actors, adapter })
    }

    /// Starts the learner.
    pub async fn start_learner(&self) -> Result<Learner> {
        let inputs = LearnerInputs {
            run_id: RunId::new(RUN)?,
            run_seed: self.seed,
            completion_tokens: self.actor.max_new_tokens,
            settings: self.actor.deciding().and(self.reward_server.deciding()),
            catalogue: Arc::new(self.world.catalogue()),
            store: self.store.clone(),
            policy_dir: self.directory.path().join("policy"),
            policy_reading: PolicyReading::default(),
            base_model: "policy".into(),
            adapter: Store::open(&format!(
                "file://{}",
                self.directory.path().join("adapter").display()
            ))?,
            steps_file: None,
            pairs_dir: None,
            placement: Placement::cpu(),
            threads: 1,
            authorizer: Arc::new(AllowLoopback),
            transport: proto::tls::Transport::plain(),
            tensorboard_dir: None,
            instruments: learner::Instruments::default(),
        };
        let config = self.learner.clone();
        Running::start(bind().await?, |listener, shutdown| {
            learner::run(config, inputs, listener, shutdown)
        })
    }

    /// Starts the reward-server.
    pub async fn start_reward(&self) -> Result<RewardServer> {
        self.start_reward_at(bind().await?)
    }

    /// Starts the reward-server on a listener of the test's own.
    pub fn start_reward_at(&self, listener: TcpListener) -> Result<RewardServer> {
        serve_model_with(
            self.reward_server.clone(),
            self.reward_model.clone(),
            self.learner.deterministic,
            listener,
        )
    }

    /// Starts an actor with an empty directory.
    pub async fn start_actor(
        &self,
        name: &str,
        learner: SocketAddr,
        reward: SocketAddr,
    ) -> Result<ActorHandle> {
        self.start_actor_with(name, learner, reward, Arc::new(TextPainter::default()))
            .await
    }

    /// Starts an actor whose images come from the service at `images`.
    pub async fn start_actor_served_by(
        &self,
        name: &str,
        learner: SocketAddr,
        reward: SocketAddr,
        images: SocketAddr,
    ) -> Result<ActorHandle> {
        let (url, runtime) = (format!("http://{images}"), Handle::current());
        let generator = RemoteGenerator::new(
            &url,
            Arc::new(proto::Tcp),
            &ActorId::new(name)?,
            &self.actor,
            runtime,
        )?;
        self.start_actor_with(name, learner, reward, Arc::new(generator))
            .await
    }

    /// Starts an actor with an image generator of the test's own.
    pub async fn start_actor_with(
        &self,
        name: &str,
        learner: SocketAddr,
        reward: SocketAddr,
        image_generator: Arc<dyn ImageGenerator>,
    ) -> Result<ActorHandle> {
        let guardrails = Guardrails::open(&self.actor.guardrails);
        let guardrails = guardrails.map_err(|mut unusable| unusable.remove(0))?;
        let inputs = ActorInputs {
            actor_id: ActorId::new(name)?,
            expected: ExpectedRun {
                id: RunId::new(RUN)?,
                versions: self.learner.versions,
            },
            learner_url: format!("http://{learner}"),
            reward_url: format!("http://{reward}"),
            store: self.store.clone(),
            image_generator,
            rendering: DecidingSettings::default(),
            guardrails: Arc::new(guardrails),
            work_dir: self.directory.path().join(name),
            placement: Placement::cpu(),
            authorizer: Arc::new(AllowLoopback),
            transport: proto::tls::Transport::plain(),
            instruments: actor::Instruments::default(),
        };
        let config = self.actor.clone();
        Running::start(bind().await?, |listener, shutdown| {
            actor::run(config, inputs, listener, shutdown)
        })
    }
}

/// Serves any reward model.
///
/// # Errors
/// When the listener has no address.
pub fn serve_model(model: impl ServedModel, listener: TcpListener) -> Result<RewardServer> {
    serve_model_with(RewardServerConfig::default(), model, false, listener)
}

/// The same with settings; of a `deterministic` run or not.
///
/// # Errors
/// When the listener has no address.
pub fn serve_model_with(
    config: RewardServerConfig,
    model: impl ServedModel,
    deterministic: bool,
    listener: TcpListener,
) -> Result<RewardServer> {
    let inputs = RewardServerInputs {
        model,
        source: None,
        placement: Placement::cpu(),
        run_complete: CancellationToken::new(),
        deterministic,
        authorizer: Arc::new(AllowLoopback),
        transport: proto::tls::Transport::plain(),
        instruments: reward_server::Instruments::default(),
    };
    Running::start(listener, |listener, shutdown| {
        reward_server::run(config, inputs, listener, shutdown)
    })
}

/// A directory with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// A listener on a free port of the loopback.
async fn bind() -> Result<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}
