//! The reward-servers as an actor sees them: one request a lease, one typed result a task.
//!
//! A reward that was not computed is a failure with its reason, never a number (I8). A reward-server that cannot be reached,
//! fails, has no room or serves another model than the run takes costs no task: the tasks at hand fail in time for another
//! actor to take them, and without a lease the actor waits for the server, but not for ever.

pub(crate) mod answer;
mod lookup;
mod servers;

use crate::{
    ActorConfig, ActorError,
    config::seconds,
    failure::{Failure, PerTask},
    learner_client::{LearnerClient, Lease},
    peer::Peer,
    rendering::{RenderedGroup, RenderedImage, comparable},
    stages::{Score, Service},
    undone::{UndoneLeases, Waiting},
};
use answer::{model_of, results};
use bytes::Bytes;
use common::{Digest, FailureReason, ProductTask, Reward};
use lookup::System;
use prometheus_client::metrics::counter::Counter;
use proto::{
    Answering, MAX_BATCH, MAX_MESSAGE_BYTES, Network, PeerRole, ServedModel,
    pb::{self, reward_service_client::RewardServiceClient},
    trace::{self, TraceId},
};
use servers::{Picked, Servers};
use std::sync::Arc;
use tokio::time::Instant;
use tonic::{Code, Status, transport::Channel};

/// The most image bytes in one request: half of what a message may hold leaves room for everything else in it.
const MAX_IMAGE_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// The reward-servers of a run.
pub(crate) struct RewardClient {
    peer: Peer,
    servers: Servers,
    learner: Arc<LearnerClient>,
    unscored: UndoneLeases<ActorError>,
}

/// What a reward model says of one task's candidates that can be compared.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupRewards {
    /// One for each that nothing bars, where it trusts its answer.
    pub(crate) rewards: Result<Vec<Reward>, Abstention>,
    /// The model that was asked.
    pub(crate) model: Digest,
}

/// A reward model does not trust its own answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Abstention {
    /// How sure it is that the best candidate beats the worst, where it says so: a probability.
    pub(crate) confidence: Option<f64>,
}

impl RewardClient {
    /// A client of the reward-servers behind `url`, reached over `network`, once one answers.
    ///
    /// # Errors
    /// [`ActorError::Address`] when `url` is none, [`ActorError::Unreachable`] when nobody answers there for
    /// [`ActorConfig::reward_timeout_s`], [`ActorError::Refused`] when whoever does is no reward-server,
    /// [`ActorError::ScoresTogether`] when the run is deterministic and it is not, for as long.
    pub(crate) async fn connect(
        url: &str,
        network: Arc<dyn Network>,
        learner: Arc<LearnerClient>,
        config: &ActorConfig,
    ) -> Result<Self, ActorError> {
        let who = Answering::Role(PeerRole::RewardServer);
        let patience = seconds(config.reward_timeout_s);
        let peer = Peer::new("reward-server", who, url, network, patience);
        let peer = peer.called_by(learner.caller()).that_may_fail();
        let (request_timeout, every) = (seconds(config.request_timeout_s), seconds(config.reward_lookup_s));
        let servers = Servers::find(peer.clone(), Arc::new(System), request_timeout, every).await?;
        let client = Self {
            unscored: UndoneLeases::drawn_from(peer.jitter_seed()),
            peer,
            servers,
            learner,
        };
        client.until_it_serves(None).await?;
        Ok(client)
    }

    /// Asks until the served model is `expected`, or any, and scores as the run needs it.
    async fn until_it_serves(&self, expected: Option<Digest>) -> Result<(), ActorError> {
        let mut outage = self.peer.outage();
        loop {
            let ServedModel {
                digest, scores_alone, ..
            } = self.served_model().await?;
            let Err(unfit) = self.check_fits(expected, digest, scores_alone) else {
                return Ok(());
            };
            if outage
                .pause(Status::unavailable(unfit.to_string()))
                .await
                .is_err()
            {
                return Err(unfit);
            }
        }
    }

    /// Asks which model is served until there is an answer.
    async fn served_model(&self) -> Result<ServedModel, ActorError> {
        let answer = self.peer.until_answered(|| {
            let header = Some(self.learner.header());
            let request = trace::request(self.learner.trace(), pb::GetRewardModelRequest { header });
            let picked = self.servers.pick();
            async move {
                let answer = client(&picked).get_reward_model(request).await;
                picked.ended(answer)
            }
        });
        let answer = answer.await?.into_inner();
        let served: ServedModel = answer.try_into().map_err(|e| self.peer.malformed(e))?;
        tracing::info!(digest = %served.digest, form = served.form, "reward-server answers");
        Ok(served)
    }

    /// Refuses the scores of another model than `expected`, and those that depend on who else asks where the run is deterministic.
    fn check_fits(
        &self,
        expected: Option<Digest>,
        found: Digest,
        scored_alone: bool,
    ) -> Result<(), ActorError> {
        let url = || self.peer.url().to_owned();
        match expected {
            Some(expected) if expected != found => Err(ActorError::RewardModel {
                url: url(),
                expected,
                found,
            }),
            _ if self.learner.deterministic() && !scored_alone => {
                Err(ActorError::ScoresTogether { url: url() })
            }
            _ => Ok(()),
        }
    }

    /// One request, begun before `last_start`; its failure is every group's failure. Nobody is asked once the server is `lost`
    /// to this lease.
    async fn request(
        &self,
        lease: &Lease,
        last_start: Instant,
        groups: Vec<pb::ImageGroup>,
        lost: &mut Option<ActorError>,
    ) -> PerTask<GroupRewards> {
        let images: Vec<usize> = groups.iter().map(|group| group.images.len()).collect();
        let failed = |error: &ActorError| vec![Err(failure_of(error)); images.len()];
        if let Some(error) = lost {
            return failed(error);
        }
        let answer = self.ask(lease, last_start, groups).await;
        let results = answer.and_then(|response| self.results(lease.reward_model, &images, response));
        match results {
            Ok(results) => results,
            Err(error) => {
                let results = failed(&error);
                *lost = Some(error).filter(blames_the_server);
                results
            }
        }
    }

    /// Repeated through an outage, but only for as long as the lease allows: what is submitted too late is refused.
    async fn ask(
        &self,
        lease: &Lease,
        last_start: Instant,
        groups: Vec<pb::ImageGroup>,
    ) -> Result<pb::ScoreGroupsResponse, ActorError> {
        let message = pb::ScoreGroupsRequest {
            header: Some(self.learner.header()),
            groups,
        };
        let answer = self.peer.until_answered_by(last_start, lease.scored_by(), || {
            let request = trace::request(lease.trace, message.clone());
            let picked = self.servers.pick();
            async move {
                let answer = client(&picked).score_groups(request).await;
                picked.ended(answer)
            }
        });
        let answer = answer.await?.into_inner();
        let told = answer.compute_seconds;
        if told.is_finite() && told > 0.0 {
            self.learner.computed.scoring.inc_by(told);
        }
        Ok(answer)
    }

    /// Attempts that were repeated, counted on.
    pub(crate) fn retries(&self) -> Counter {
        self.peer.retries()
    }

    /// The results of groups with so many `images` each, by the model `expected`, or any.
    fn results(
        &self,
        expected: Option<Digest>,
        images: &[usize],
        response: pb::ScoreGroupsResponse,
    ) -> Result<PerTask<GroupRewards>, ActorError> {
        let malformed = |invalid| self.peer.malformed(invalid);
        let found = model_of(&response).map_err(malformed)?;
        self.check_fits(expected, found, response.scored_alone)?;
        results(found, images, response).map_err(malformed)
    }
}

impl Service for RewardClient {
    fn waits_for(&self) -> Option<Waiting> {
        self.unscored.waits_for()
    }

    /// Waits until a reward-server that left the last lease unscored answers again, with the model that the run takes; one that had no
    /// room, for as long as it asks for first, since it answers questions all the same.
    ///
    /// # Errors
    /// [`ActorError::Unreachable`] when it does not for [`ActorConfig::reward_timeout_s`], [`ActorError::RewardModel`] when it
    /// serves another model for as long, [`ActorError::ScoresTogether`] when it is not the server of a deterministic run; what came of the last lease when several in a row were left unscored.
    async fn recovered(&mut self) -> Result<(), ActorError> {
        let expected = match self.unscored.bearable()? {
            None => return Ok(()),
            Some(ActorError::RewardModel { expected, .. }) => Some(*expected),
            Some(_) => None,
        };
        self.unscored.until_room().await;
        self.until_it_serves(expected).await
    }
}

impl Score for RewardClient {
    /// Scores the images of every task that has some to compare: in one request, unless a message cannot hold them.
    async fn score(
        &mut self,
        lease: &Lease,
        rendered: &PerTask<RenderedGroup>,
    ) -> PerTask<Option<GroupRewards>> {
        let mut groups = Vec::new();
        for (task, images) in lease.tasks.iter().zip(rendered) {
            if let Some(images) = images.as_ref().ok().and_then(comparable) {
                groups.push(image_group(lease.sample(task), task, &images));
            }
        }
        let mut scored = Vec::with_capacity(groups.len());
        let mut lost = None;
        let last_start = lease.scored_by().min(Instant::now() + self.peer.patience());
        for groups in split_by_size(groups, MAX_IMAGE_BYTES) {
            scored.extend(self.request(lease, last_start, groups, &mut lost).await);
        }
        self.unscored
            .remember(lost, !scored.is_empty(), ActorError::no_room);
        let mut scored = scored.into_iter();
        let mut sent = || scored.next().expect("every group that was sent has one result");
        let result = |images: &Result<RenderedGroup, Failure>| match images {
            Ok(images) if comparable(images).is_some() => sent().map(Some),
            Ok(_) => Ok(None),
            Err(failure) => Err(failure.clone()),
        };
        rendered.iter().map(result).collect()
    }
}

fn client(picked: &Picked) -> RewardServiceClient<Channel> {
    RewardServiceClient::new(picked.channel())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn image_group(sample: TraceId, task: &ProductTask, images: &[&RenderedImage]) -> pb::ImageGroup {
    let images = images.iter().map(|image| image.png.clone()).collect();
    pb::ImageGroup {
        caption: task.caption.clone(),
        images,
        trace_id: sample.to_bytes().to_vec(),
    }
}

/// Consecutive groups whose images have at most `limit` bytes together; a group of more is alone.
fn split_by_size(groups: Vec<pb::ImageGroup>, limit: usize) -> Vec<Vec<pb::ImageGroup>> {
    let mut requests: Vec<Vec<pb::ImageGroup>> = Vec::new();
    let mut filled = 0;
    for group in groups {
        let bytes: usize = group.images.iter().map(Bytes::len).sum();
        match requests.last_mut() {
            Some(request) if filled + bytes <= limit && request.len() < MAX_BATCH => {
                filled += bytes;
                request.push(group);
            }
            _ => {
                filled = bytes;
                requests.push(vec![group]);
            }
        }
    }
    requests
}

/// Whether another server, or this one later, may score. A request that is refused as malformed or too large would be refused
/// everywhere.
fn blames_the_server(error: &ActorError) -> bool {
    let of_request = [Code::InvalidArgument, Code::OutOfRange];
    !matches!(error, ActorError::Refused { code, .. } if of_request.contains(code))
}

/// What the server is to blame for may pass, even a malformed answer: the task is another server's, or this one's later.
fn failure_of(error: &ActorError) -> Failure {
    let reason = FailureReason::RewardUnavailable;
    match blames_the_server(error) {
        true => Failure::of_service(reason, error, error.no_room().is_some()),
        false => Failure::lasting(reason, common::with_causes(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(bytes: &[usize]) -> pb::ImageGroup {
        pb::ImageGroup {
            caption: String::new(),
            images: bytes.iter().map(|&n| vec![0; n].into()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn groups_share_a_request_until_it_is_full_and_keep_their_order() {
        let split = split_by_size(vec![group(&[3, 3]), group(&[4]), group(&[9, 9]), group(&[1])], 10);
        let sizes: Vec<Vec<usize>> = split
            .iter()
            .map(|r| r.iter().map(|g| g.images.iter().map(Bytes::len).sum()).collect())
            .collect();
        assert_eq!(sizes, [vec![6, 4], vec![18], vec![1]]);
        assert!(split_by_size(vec![], 10).is_empty());
    }
}
