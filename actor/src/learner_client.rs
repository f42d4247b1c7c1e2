//! The learner as an actor sees it: typed questions and answers, each repeated through short outages.
//!
//! It also remembers which leases are open, so that whatever ends the actor can hand them back, and what has been received.
//! Fetching artifacts is in `learner_client/artifacts.rs`. Each request names a trace: that of the rollout it belongs to, or
//! that of the actor.

mod artifacts;
mod call_times;
mod download;
mod farewell;
mod joining;
mod lease;
mod pace;
mod receipts;
mod submission;
mod transfers;

pub(crate) use artifacts::{ChunkSink, Payload};
pub use call_times::CallTimes;
#[cfg(feature = "testing")]
pub(crate) use download::continues;
pub(crate) use lease::{Lease, LeaseAnswer};
pub(crate) use receipts::Receipts;
pub(crate) use transfers::Received;

use crate::{
    ActorConfig, ActorError, background::Background, config::seconds, instruments::Sum, manifest::Manifest,
    peer::Peer,
};
use call_times::Stopwatch;
use common::{ActorId, Artifact, CanaryReport, DecidingSettings, LearnerEpoch, PolicyVersion, RunId, TaskId};
use joining::ask_to_join;
use proto::{
    Answering, InvalidMessage, MAX_MESSAGE_BYTES, Network, PeerRole, header,
    pb::{self, learner_service_client::LearnerServiceClient},
    required,
    trace::{self, TraceId},
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tonic::{Request, Status, Streaming, transport::Channel};
use transfers::Transfers;

/// A run's learner, joined.
pub(crate) struct LearnerClient {
    peer: Peer,
    client: LearnerServiceClient<Channel>,
    /// For artifacts: where sampling comes first, a connection of its own.
    artifacts: LearnerServiceClient<Channel>,
    request_timeout: Duration,
    actor: ActorId,
    /// What the learner is told of its settings, at each join.
    settings: DecidingSettings,
    run: RunId,
    run_seed: u64,
    /// Whether the run takes only scores that do not depend on who else asks.
    deterministic: bool,
    base: Vec<Artifact>,
    /// The trace of what belongs to no single rollout.
    trace: TraceId,
    epoch: AtomicU64,
    open: Mutex<BTreeSet<TaskId>>,
    transfers: Transfers,
    stopwatch: Stopwatch,
    /// The port on which this actor passes on what it has; 0 when it does not.
    relay_port: u16,
    /// What this actor's work has cost.
    pub(crate) computed: Computed,
}

/// Seconds of computing since the actor started; the learner is told with each submission.
#[derive(Debug, Default)]
pub(crate) struct Computed {
    /// Of sampling and rendering.
    pub(crate) own: Sum,
    /// Of reward models, as they tell.
    pub(crate) scoring: Sum,
}

impl std::fmt::Debug for LearnerClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("LearnerClient")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl LearnerClient {
    /// Who asks.
    pub(crate) fn caller(&self) -> &ActorId {
        &self.actor
    }

    /// The learner at `url`, reached over `network`, as `actor` calls it.
    pub(crate) fn at(url: &str, network: Arc<dyn Network>, actor: &ActorId, config: &ActorConfig) -> Peer {
        let (who, patience) = (
            Answering::Role(PeerRole::Learner),
            seconds(config.learner_timeout_s),
        );
        Peer::new("learner", who, url, network, patience).called_by(actor)
    }

    /// Takes part in the run of the learner `peer`, which is told the `settings` that decide what becomes of tasks; answers with the policy
    /// to start from. Artifacts come in the background.
    ///
    /// # Errors
    /// [`ActorError`] when the learner stays unreachable, refuses, or answers with something malformed; [`ActorError::OtherSettings`].
    pub(crate) async fn join(
        peer: Peer,
        actor: ActorId,
        settings: DecidingSettings,
        relay_port: u16,
        config: &ActorConfig,
        background: &Background,
    ) -> Result<(Self, Manifest), ActorError> {
        let request_timeout = seconds(config.request_timeout_s);
        let connect = || -> Result<_, ActorError> {
            Ok(LearnerServiceClient::new(peer.channel(request_timeout)?)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES))
        };
        let client = connect()?;
        let artifacts = match background.is_own() {
            true => background.make(connect)?,
            false => client.clone(),
        };
        let trace = actor_trace(&actor);
        let stranger = header(None, None, actor.as_str());
        let answer = ask_to_join(&peer, &client, trace, stranger, &settings).await?;
        let (run, manifest) = joined(answer.run_id, answer.policy).map_err(|e| peer.malformed(e))?;
        let joined = Self {
            base: manifest.base.clone(),
            trace,
            peer,
            client,
            artifacts,
            request_timeout,
            actor,
            settings,
            run,
            run_seed: answer.run_seed,
            deterministic: answer.deterministic,
            epoch: AtomicU64::new(answer.learner_epoch.max(manifest.version.epoch.0)),
            open: Mutex::default(),
            transfers: Transfers::default(),
            stopwatch: Stopwatch::default(),
            relay_port,
            computed: Computed::default(),
        };
        Ok((joined, manifest))
    }

    /// The policy that is newest now.
    ///
    /// # Errors
    /// As [`LearnerClient::join`]; [`ActorError::OtherBase`].
    pub(crate) async fn newest_policy(&self) -> Result<Manifest, ActorError> {
        let joining = ask_to_join(
            &self.peer,
            &self.client,
            self.trace,
            self.header(),
            &self.settings,
        );
        let answer = joining.await?;
        let (_, manifest) = joined(answer.run_id, answer.policy).map_err(|e| self.peer.malformed(e))?;
        self.check_base(&manifest)?;
        self.raise_epoch(manifest.version.epoch);
        Ok(manifest)
    }

    /// Refuses a version for another base model than the one that was fetched.
    ///
    /// # Errors
    /// [`ActorError::OtherBase`].
    pub(crate) fn check_base(&self, manifest: &Manifest) -> Result<(), ActorError> {
        let named = |base: &[Artifact]| -> Vec<_> {
            let named = base.iter().map(|file| (file.name().to_owned(), file.digest()));
            named.collect()
        };
        if named(&manifest.base) == named(&self.base) {
            return Ok(());
        }
        Err(ActorError::OtherBase {
            url: self.peer.url().to_owned(),
            version: manifest.version,
        })
    }

    /// The run.
    pub(crate) fn run(&self) -> &RunId {
        &self.run
    }

    /// The run's seed.
    pub(crate) fn run_seed(&self) -> u64 {
        self.run_seed
    }

    /// Whether equal seeds give equal bytes in this run.
    pub(crate) fn deterministic(&self) -> bool {
        self.deterministic
    }

    /// The highest learner epoch known.
    pub(crate) fn epoch(&self) -> LearnerEpoch {
        LearnerEpoch(self.epoch.load(Ordering::Relaxed))
    }

    /// Remembers that a learner of this epoch exists.
    pub(crate) fn raise_epoch(&self, epoch: LearnerEpoch) {
        self.epoch.fetch_max(epoch.0, Ordering::Relaxed);
    }

    /// From now on calls are timed that end while `on` is set.
    pub(crate) fn time_calls_while(&mut self, on: Arc<AtomicBool>) {
        self.stopwatch = Stopwatch::turned(on);
    }

    /// How long calls took so far.
    pub(crate) fn call_times(&self) -> CallTimes {
        self.stopwatch.times()
    }

    /// Payload received so far.
    pub(crate) fn received(&self) -> Received {
        self.transfers.received()
    }

    /// Relays given up so far.
    pub(crate) fn relays_given_up(&self) -> u64 {
        self.transfers.relays_given_up()
    }

    /// Asks for tasks to sample with `policy`.
    pub(crate) async fn lease_tasks(
        &self,
        policy: PolicyVersion,
        max_tasks: usize,
    ) -> Result<LeaseAnswer, ActorError> {
        let asked = Instant::now();
        let answer = self.peer.until_answered(|| {
            let (mut client, request) = (self.client.clone(), self.lease_request(policy, max_tasks));
            async move { client.lease_tasks(request).await }
        });
        let answer = answer.await?.into_inner();
        self.stopwatch.leased(asked.elapsed());
        let answer = LeaseAnswer::read(answer, asked, self.run_seed).map_err(|e| self.peer.malformed(e))?;
        if let LeaseAnswer::Lease(lease) = &answer {
            self.open().extend(lease.tasks.iter().map(|task| task.id));
        }
        Ok(answer)
    }

    /// Follows the announcements of versions after `after`, as one that others may fetch from or one that has nothing yet.
    pub(crate) async fn watch_policy(
        &self,
        after: PolicyVersion,
        as_relay: bool,
    ) -> Result<Streaming<pb::PolicyManifest>, Status> {
        let request = self.request(pb::WatchPolicyRequest {
            header: Some(self.header()),
            after: Some(after.into()),
            relay_port: if as_relay { self.relay_port.into() } else { 0 },
            evaluates: false,
            settings: Default::default(),
        });
        Ok(self.client.clone().watch_policy(request).await?.into_inner())
    }

    /// Tells the learner which version is sampled from now, or that one does not take effect, what the canary says, and what
    /// keeps this actor from leasing; nothing, if that is empty.
    pub(crate) async fn report_adoption(
        &self,
        version: PolicyVersion,
        canary: Option<CanaryReport>,
        waiting_for: &str,
    ) -> Result<(), ActorError> {
        let answer = self.peer.until_answered(|| {
            let received = self.received();
            let request = self.request(pb::ReportAdoptionRequest {
                header: Some(self.header_of(version.epoch)),
                version: Some(version.into()),
                adapter_bytes_received: received.adapter,
                base_bytes_received: received.base,
                relay_bytes_received: received.from_relays,
                canary: canary.map(Into::into),
                waiting_for: waiting_for.to_owned(),
            });
            let mut client = self.client.clone();
            async move { client.report_adoption(request).await }
        });
        answer.await.map(|_| ())
    }

    /// The learner as a peer, for whoever keeps its own count of outages.
    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The header of a request in this run.
    pub(crate) fn header(&self) -> pb::RequestHeader {
        self.header_of(self.epoch())
    }

    /// The same from somebody who works for a learner of this epoch: one of a later start must not take it for its own.
    fn header_of(&self, epoch: LearnerEpoch) -> pb::RequestHeader {
        header(Some(&self.run), Some(epoch), self.actor.as_str())
    }

    fn lease_request(&self, policy: PolicyVersion, max_tasks: usize) -> Request<pb::LeaseTasksRequest> {
        let (header, policy) = (Some(self.header_of(policy.epoch)), Some(policy.into()));
        self.request(pb::LeaseTasksRequest {
            header,
            policy,
            max_tasks: max_tasks as u32,
        })
    }

    /// A request that belongs to no single rollout.
    fn request<T>(&self, message: T) -> Request<T> {
        trace::request(self.trace, message)
    }

    /// The trace of what belongs to no single rollout.
    pub(crate) fn trace(&self) -> TraceId {
        self.trace
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<TaskId>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The run that was joined, and the policy to start from.
pub(crate) fn joined(
    run: String,
    policy: Option<pb::PolicyManifest>,
) -> Result<(RunId, Manifest), InvalidMessage> {
    let run = RunId::new(run).map_err(|e| InvalidMessage::new("join_response.run_id", e))?;
    let policy = required("join_response.policy", policy)?;
    Ok((run, policy.try_into()?))
}

/// The trace of an actor's own affairs, named after it.
fn actor_trace(actor: &ActorId) -> TraceId {
    let digest = store::digest(actor.as_str().as_bytes());
    let half = |from: usize| {
        digest.as_bytes()[from..from + 8]
            .iter()
            .fold(0, |n, &b| n << 8 | u64::from(b))
    };
    TraceId::of(half(0), half(8))
}
