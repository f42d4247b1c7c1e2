//! A simulated learner and its simulated actors in this process, on loopback.

use super::line::Line;
use crate::authority::Authority;
use crate::config::Config;
use crate::failure::Outcome;
use crate::shop;
use actor::{
    ActorConfig, ActorError, ActorSummary, Background, CallTimes, Served, SimulatedActorInputs,
    SimulatedSampling,
};
use anyhow::{Context as _, anyhow, ensure};
use common::{ActorId, RunId};
use learner::{LearnerConfig, LearnerError, RunSummary, SimulatedAdapters, SimulatedInputs};
use proto::pb::{self, learner_service_client::LearnerServiceClient};
use proto::tls::{Credentials, Transport};
use proto::{ActorStatus, AllowLoopback, AllowRoles, Answering, Authorizer, PeerRole, RunStatus, header};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::Store;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// How long everybody may take to join.
const JOINING: Duration = Duration::from_secs(300);

/// How long certificates are valid for.
const CERTIFIED: Duration = Duration::from_secs(24 * 60 * 60);

/// How far the learner stands back where decoding is measured: it would have a machine of its own.
const NICEST: i32 = 19;

/// How often the learner is asked how far it is.
const ASKED_EVERY: Duration = Duration::from_millis(5);

/// What is set up.
pub(super) struct Plan {
    pub(super) learner: LearnerConfig,
    pub(super) actor: ActorConfig,
    pub(super) actors: usize,
    /// Whether each actor has a listener and passes weights on.
    pub(super) relays: bool,
    /// How actors sample.
    pub(super) sampling: SimulatedSampling,
    pub(super) adapters: SimulatedAdapters,
    /// What each host's line carries, in bytes a second each way; `None` as much as the machine can.
    pub(super) line: Option<f64>,
    /// Whether connections are TLS with certificates on both sides.
    pub(super) tls: bool,
    pub(super) store: Store,
}

/// A run that goes on.
pub(super) struct Rig {
    client: LearnerServiceClient<Channel>,
    run: RunId,
    actors: JoinSet<Result<(ActorSummary, CallTimes), ActorError>>,
    learner: JoinHandle<Result<RunSummary, LearnerError>>,
    /// What the learner runs on, where it is not what all run on.
    _aside: Option<Background>,
    begin: CancellationToken,
    timed: Arc<AtomicBool>,
    actors_stop: CancellationToken,
    learner_stop: CancellationToken,
    joined: usize,
    line: Line,
}

/// Who is believed by whom in the run.
struct Trust {
    run: RunId,
    /// `None`: everybody on this machine is.
    authority: Option<Authority>,
}

impl Trust {
    fn new(run: &RunId, tls: bool) -> anyhow::Result<Self> {
        let authority = tls.then(|| Authority::new(run, CERTIFIED)).transpose()?;
        let run = run.clone();
        Ok(Self { run, authority })
    }

    /// What connections of one in this role are made of, and whom it lets call.
    fn of(&self, role: PeerRole) -> anyhow::Result<(Transport, Arc<dyn Authorizer>)> {
        let Some(authority) = &self.authority else {
            return Ok((Transport::plain(), Arc::new(AllowLoopback)));
        };
        let credentials = Credentials::new(&authority.issue(role, &[])?)?;
        let authorizer = AllowRoles::of(self.run.clone());
        Ok((Transport::secured(credentials), Arc::new(authorizer)))
    }
}

impl Rig {
    /// Starts learner and actors; returns when every actor has the first version's weights.
    pub(super) async fn start(plan: Plan) -> Outcome<Self> {
        let run = RunId::new("bench").context("the run's name")?;
        let trust = Trust::new(&run, plan.tls)?;
        let (learner_transport, authorizer) = trust.of(PeerRole::Learner)?;
        let catalogue = Arc::new(shop::world(&Config::default())?.catalogue());
        let inputs = SimulatedInputs {
            run_id: run.clone(),
            run_seed: 1,
            settings: plan.actor.deciding(),
            catalogue,
            store: plan.store,
            authorizer,
            adapters: plan.adapters,
            step: Duration::ZERO,
        };
        let line = Line::new(plan.line);
        let (incoming, address) = line.listen().await?;
        let incoming = learner_transport.accept(incoming);
        let (begin, actors_stop, learner_stop) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let learner = learner::run_simulated(plan.learner, inputs, incoming, learner_stop.clone());
        let aside = match plan.sampling {
            SimulatedSampling::Pause(_) => None,
            SimulatedSampling::Decode(_) => Some(Background::start(NICEST).context("the learner's threads")?),
        };
        let learner = match &aside {
            Some(aside) => aside.spawn(learner),
            None => tokio::spawn(learner),
        };
        let url = format!("http://{address}");
        let (observer, _) = trust.of(PeerRole::Observer)?;
        let who = Answering::Role(PeerRole::Learner);
        let channel = proto::channel(&observer.network(), &url, who, |endpoint| endpoint);
        let channel = channel.context("the learner's address")?;
        let mut rig = Self {
            client: LearnerServiceClient::new(channel),
            run,
            actors: JoinSet::new(),
            learner,
            _aside: aside,
            begin: begin.clone(),
            timed: Arc::default(),
            actors_stop: actors_stop.clone(),
            learner_stop,
            joined: 0,
            line,
        };
        rig.until_all_have(0).await?;
        rig.joined = plan.actors;
        let one_lease = match plan.sampling {
            SimulatedSampling::Pause(time) => time,
            SimulatedSampling::Decode(_) => Duration::ZERO,
        };
        for number in 0..plan.actors {
            let line = Line::new(plan.line);
            let (transport, authorizer) = trust.of(PeerRole::Actor)?;
            let inputs = SimulatedActorInputs {
                actor_id: ActorId::new(format!("actor-{number}")).context("an actor's name")?,
                learner_url: url.clone(),
                network: transport.over(Arc::new(line.clone())),
                begin: begin.clone(),
                timed: rig.timed.clone(),
                // Evenly over the time that one lease takes.
                delay: one_lease.mul_f64(number as f64 / plan.actors as f64),
                sampling: plan.sampling.clone(),
                authorizer,
                looks_in: None,
            };
            let served = match plan.relays {
                true => {
                    let (incoming, address) = line.listen().await?;
                    let (incoming, port) = (transport.accept(incoming), address.port());
                    Some(Served { incoming, port })
                }
                false => None,
            };
            let (config, stop) = (plan.actor.clone(), actors_stop.clone());
            rig.actors
                .spawn(actor::run_simulated(config, inputs, served, stop));
        }
        let joined = tokio::time::timeout(JOINING, rig.until_all_have(0)).await;
        joined.map_err(|_| anyhow!("not every actor joined within {} s", JOINING.as_secs()))??;
        Ok(rig)
    }

    /// From now on actors ask for tasks.
    pub(super) fn begin(&self) {
        self.begin.cancel();
    }

    /// Whether calls that end now are timed.
    pub(super) fn time_calls(&self, on: bool) {
        self.timed.store(on, Ordering::Relaxed);
    }

    /// What the run has done so far.
    pub(super) async fn status(&mut self) -> anyhow::Result<RunStatus> {
        let request = pb::GetRunStatusRequest {
            header: Some(header(Some(&self.run), None, "bench")),
            metrics_from: 0,
        };
        let status = self.client.get_run_status(request).await;
        let status = status.context("the learner says nothing of the run")?;
        Ok(status.into_inner().try_into()?)
    }

    /// The same of a run that goes on.
    ///
    /// # Errors
    /// When it is complete, or the learner has failed or does not answer.
    pub(super) async fn lasting(&mut self) -> anyhow::Result<RunStatus> {
        let status = self.status().await;
        let finished = self.learner.is_finished();
        if finished {
            let ended = (&mut self.learner).await.context("the learner")?;
            ended.context("the learner")?;
        }
        ensure!(
            !finished && !status.as_ref().is_ok_and(|status| status.complete),
            "the run was complete before the end of the measurement: expected less time (--seconds) or a lower --rate"
        );
        status
    }

    /// Returns when every actor has adopted this version or a later one.
    pub(super) async fn until_all_have(&mut self, number: u64) -> anyhow::Result<()> {
        loop {
            if let Some(ended) = self.actors.try_join_next() {
                let (summary, _) = ended.context("an actor")?.context("an actor")?;
                let had = summary.version.map(|version| version.number);
                ensure!(
                    had >= Some(number),
                    "an actor left with version {had:?} before it had {number}"
                );
            }
            // Refused until the learner listens.
            if let Ok(status) = self.status().await {
                let has = |actor: &&ActorStatus| actor.version.is_some_and(|v| v.number >= number);
                if status.actors.iter().filter(has).count() >= self.joined {
                    return Ok(());
                }
            } else if self.learner.is_finished() {
                return Err(anyhow!("the learner ended early"));
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }

    /// Bytes that have left the learner's host.
    pub(super) fn sent(&self) -> u64 {
        self.line.sent()
    }

    /// Announcements from now on.
    pub(super) async fn announcements(&mut self) -> anyhow::Result<tonic::Streaming<pb::PolicyManifest>> {
        let after = self.status().await?.version;
        let request = pb::WatchPolicyRequest {
            header: Some(header(Some(&self.run), None, "bench")),
            after: Some(after.into()),
            relay_port: 0,
            evaluates: false,
            settings: Default::default(),
        };
        Ok(self.client.watch_policy(request).await?.into_inner())
    }

    /// Stops everybody; answers what each actor did and how long its calls took.
    pub(super) async fn stop(mut self) -> anyhow::Result<Vec<(ActorSummary, CallTimes)>> {
        self.actors_stop.cancel();
        let mut done = vec![];
        while let Some(ended) = self.actors.join_next().await {
            done.push(ended.context("an actor")?.context("an actor")?);
        }
        self.learner_stop.cancel();
        self.learner
            .await
            .context("the learner")?
            .context("the learner")?;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_run_that_is_complete_is_not_measured() {
        let plan = Plan {
            learner: LearnerConfig {
                versions: 1,
                pairs_per_version: 8,
                minibatch_pairs: 8,
                ..LearnerConfig::default()
            },
            actor: ActorConfig {
                group_size: 2,
                max_new_tokens: 16,
                relay: false,
                ..ActorConfig::default()
            },
            actors: 1,
            relays: false,
            sampling: SimulatedSampling::Pause(Duration::ZERO),
            adapters: SimulatedAdapters::Drawn(1 << 10),
            line: None,
            tls: false,
            store: Store::open("memory:///").unwrap(),
        };
        let mut rig = Rig::start(plan)
            .await
            .map_err(|failure| failure.reason())
            .unwrap();
        rig.lasting().await.unwrap();
        // The run's end can be asked for as long as somebody follows it.
        let _following = rig.announcements().await.unwrap();
        rig.begin();
        let over = async {
            loop {
                if let Err(error) = rig.lasting().await {
                    return error;
                }
                tokio::time::sleep(ASKED_EVERY).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(60), over).await;
        let told = format!("{:#}", told.expect("it goes on"));
        assert!(
            told.contains("complete before") && told.contains("--seconds"),
            "{told}"
        );
    }
}
