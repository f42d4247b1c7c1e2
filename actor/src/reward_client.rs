//! The reward-server as an actor sees it: one request a lease, one typed result a task.
//!
//! A reward that was not computed is a failure with its reason, never a number (I8). A reward-server that nobody can reach
//! ends the actor: the tasks at hand fail in time for another actor to take them, and without a lease the actor waits for
//! the server's return, but not for ever.

use crate::{
    ActorConfig, ActorError,
    config::seconds,
    failure::{Failure, PerTask},
    learner_client::{LearnerClient, Lease},
    peer::Peer,
    rendering::RenderedImage,
    stages::Score,
};
use bytes::Bytes;
use common::{Digest, FailureReason, ProductTask, Reward};
use proto::{
    InvalidMessage, MAX_BATCH, MAX_MESSAGE_BYTES,
    pb::{self, group_score, reward_service_client::RewardServiceClient},
    trace,
};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};
use tonic::{Status, transport::Channel};

/// The most image bytes in one request: half of what a message may hold leaves room for everything else in it.
const MAX_IMAGE_BYTES: usize = MAX_MESSAGE_BYTES / 2;

/// A reward-server that left so many leases in a row unscored is lost, even if it answers other questions.
const UNSCORED_LEASES: u32 = 3;

/// A reward-server.
pub(crate) struct RewardClient {
    peer: Peer,
    client: RewardServiceClient<Channel>,
    learner: Arc<LearnerClient>,
    /// Leases in a row that nobody scored, and what came of the last one.
    outage: Option<(u32, ActorError)>,
}

/// The rewards of one task's candidates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupRewards {
    /// One a candidate.
    pub(crate) rewards: Vec<Reward>,
    /// The model that computed them.
    pub(crate) model: Digest,
}

impl RewardClient {
    /// A client of the reward-server at `url`, once it answers.
    ///
    /// # Errors
    /// [`ActorError::Address`] when `url` is none, [`ActorError::Unreachable`] when nobody answers there for
    /// [`ActorConfig::reward_timeout_s`], [`ActorError::Refused`] when whoever does is no reward-server.
    pub(crate) async fn connect(
        url: &str,
        learner: Arc<LearnerClient>,
        config: &ActorConfig,
    ) -> Result<Self, ActorError> {
        let peer = Peer::new("reward-server", url, seconds(config.reward_timeout_s));
        let peer = peer.called_by(learner.caller());
        let client = RewardServiceClient::new(peer.channel(seconds(config.request_timeout_s))?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let client = Self {
            peer,
            client,
            learner,
            outage: None,
        };
        client.until_it_answers().await?;
        Ok(client)
    }

    /// Asks which model is served until there is an answer.
    async fn until_it_answers(&self) -> Result<(), ActorError> {
        let answer = self.peer.until_answered(|| {
            let header = Some(self.learner.header());
            let request = trace::request(self.learner.trace(), pb::GetRewardModelRequest { header });
            let mut client = self.client.clone();
            async move { client.get_reward_model(request).await }
        });
        let served = answer.await?.into_inner();
        let digest = served
            .digest
            .ok_or_else(|| InvalidMessage::missing("reward_model.digest"));
        let digest = digest
            .and_then(Digest::try_from)
            .map_err(|e| self.peer.malformed(e))?;
        tracing::info!(%digest, form = served.form, "reward-server answers");
        Ok(())
    }

    /// One request; its failure is every group's failure. Nobody is asked once the server is `lost` to this lease.
    async fn request(
        &self,
        lease: &Lease,
        groups: Vec<pb::ImageGroup>,
        lost: &mut Option<ActorError>,
    ) -> PerTask<GroupRewards> {
        let images: Vec<usize> = groups.iter().map(|group| group.images.len()).collect();
        let failed = |error: &ActorError| vec![Err(failure_of(error)); images.len()];
        if let Some(error) = lost {
            return failed(error);
        }
        let answer = self.ask(lease, groups).await;
        let results = answer.and_then(|response| self.results(lease.reward_model, &images, response));
        match results {
            Ok(results) => results,
            Err(error) => {
                let results = failed(&error);
                *lost = Some(error).filter(is_outage);
                results
            }
        }
    }

    /// Counts leases that nobody scored; one without a picture tells nothing.
    fn remember(&mut self, lost: Option<ActorError>, asked: bool) {
        let before = self.outage.as_ref().map_or(0, |(leases, _)| *leases);
        match lost {
            Some(error) => self.outage = Some((before + 1, error)),
            None if asked => self.outage = None,
            None => {}
        }
    }

    /// Repeated through an outage, but only for as long as the lease allows: what is submitted too late is refused.
    async fn ask(
        &self,
        lease: &Lease,
        groups: Vec<pb::ImageGroup>,
    ) -> Result<pb::ScoreGroupsResponse, ActorError> {
        let message = pb::ScoreGroupsRequest {
            header: Some(self.learner.header()),
            groups,
        };
        let began = Instant::now();
        let peer = self.peer.within(lease.patience());
        let answer = peer.until_answered(|| {
            let request = trace::request(lease.trace, message.clone());
            let mut client = self.client.clone();
            async move { client.score_groups(request).await }
        });
        match timeout_at(lease.ends(), answer).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => {
                let status = Status::deadline_exceeded("the lease has run out");
                Err(peer.unreachable(began.elapsed(), status))
            }
        }
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
        match expected {
            Some(expected) if expected != found => Err(ActorError::RewardModel {
                url: self.peer.url().to_owned(),
                expected,
                found,
            }),
            _ => results(found, images, response).map_err(malformed),
        }
    }
}

impl Score for RewardClient {
    /// Waits until a reward-server that left the last lease unscored answers again; no tasks should be held meanwhile.
    ///
    /// # Errors
    /// [`ActorError::Unreachable`] when it does not for [`ActorConfig::reward_timeout_s`], or answers but has left several
    /// leases in a row unscored.
    async fn recovered(&mut self) -> Result<(), ActorError> {
        match self.outage.take() {
            None => Ok(()),
            Some((UNSCORED_LEASES.., error)) => Err(error),
            Some(outage) => {
                self.until_it_answers().await?;
                self.outage = Some(outage);
                Ok(())
            }
        }
    }

    /// Scores the images of every task that has some: in one request, unless a message cannot hold them.
    async fn score(
        &mut self,
        lease: &Lease,
        rendered: &PerTask<Vec<RenderedImage>>,
    ) -> PerTask<GroupRewards> {
        let mut groups = Vec::new();
        for (task, images) in lease.tasks.iter().zip(rendered) {
            if let Ok(images) = images {
                groups.push(image_group(task, images));
            }
        }
        let mut scored = Vec::with_capacity(groups.len());
        let mut lost = None;
        for groups in split_by_size(groups, MAX_IMAGE_BYTES) {
            scored.extend(self.request(lease, groups, &mut lost).await);
        }
        self.remember(lost, !scored.is_empty());
        let mut scored = scored.into_iter();
        let result = |images: &Result<_, Failure>| match images {
            Ok(_) => scored.next().expect("every group that was sent has one result"),
            Err(failure) => Err(failure.clone()),
        };
        rendered.iter().map(result).collect()
    }
}

fn image_group(task: &ProductTask, images: &[RenderedImage]) -> pb::ImageGroup {
    let images = images.iter().map(|image| image.png.clone()).collect();
    pb::ImageGroup {
        caption: task.caption.clone(),
        images,
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

/// The model that computed an answer.
fn model_of(response: &pb::ScoreGroupsResponse) -> Result<Digest, InvalidMessage> {
    let model = response.reward_model.clone();
    let model = model.ok_or_else(|| InvalidMessage::missing("score_groups_response.reward_model"))?;
    Digest::try_from(model)
}

fn results(
    model: Digest,
    images: &[usize],
    response: pb::ScoreGroupsResponse,
) -> Result<PerTask<GroupRewards>, InvalidMessage> {
    if response.scores.len() != images.len() {
        let reason = format!("{} for {} groups", response.scores.len(), images.len());
        return Err(InvalidMessage::new("score_groups_response.scores", reason));
    }
    response
        .scores
        .into_iter()
        .zip(images)
        .map(|(score, images)| group_result(score, *images, model))
        .collect()
}

fn group_result(
    score: pb::GroupScore,
    images: usize,
    model: Digest,
) -> Result<Result<GroupRewards, Failure>, InvalidMessage> {
    match score
        .result
        .ok_or_else(|| InvalidMessage::missing("group_score.result"))?
    {
        group_score::Result::Failure(failure) => Ok(Err(score_failure(&failure))),
        group_score::Result::Scores(scores) if scores.rewards.len() != images => {
            let reason = format!("{} for {images} images", scores.rewards.len());
            Err(InvalidMessage::new("scores.rewards", reason))
        }
        group_score::Result::Scores(scores) => {
            let rewards = scores
                .rewards
                .into_iter()
                .map(Reward::new)
                .collect::<Result<_, _>>();
            let rewards = rewards.map_err(|e| InvalidMessage::new("scores.rewards", e))?;
            Ok(Ok(GroupRewards { rewards, model }))
        }
    }
}

/// Invalid images and abstentions would come again; a model's failure may pass.
fn score_failure(failure: &pb::ScoreFailure) -> Failure {
    let reason = FailureReason::RewardUnavailable;
    let detail = format!("{}: {}", failure.reason().as_str_name(), failure.detail);
    match failure.reason() {
        pb::ScoreFailureReason::InvalidImage | pb::ScoreFailureReason::Abstained => {
            Failure::lasting(reason, detail)
        }
        _ => Failure::retryable(reason, detail),
    }
}

/// Whether another server, or this one later, may score.
fn is_outage(error: &ActorError) -> bool {
    matches!(
        error,
        ActorError::Unreachable { .. } | ActorError::RewardModel { .. }
    )
}

/// An outage may pass; a refusal or a malformed answer would come again.
fn failure_of(error: &ActorError) -> Failure {
    match is_outage(error) {
        true => Failure::passing(FailureReason::RewardUnavailable, error),
        false => Failure::lasting(FailureReason::RewardUnavailable, crate::failure::chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{RolloutOutcome, TaskId};

    fn group(bytes: &[usize]) -> pb::ImageGroup {
        pb::ImageGroup {
            caption: String::new(),
            images: bytes.iter().map(|&n| vec![0; n].into()).collect(),
        }
    }

    fn response(scores: Vec<group_score::Result>) -> pb::ScoreGroupsResponse {
        let scores = scores
            .into_iter()
            .map(|result| pb::GroupScore { result: Some(result) })
            .collect();
        pb::ScoreGroupsResponse {
            scores,
            reward_model: Some(Digest::from_bytes([4; 32]).into()),
        }
    }

    fn checked(
        images: &[usize],
        response: pb::ScoreGroupsResponse,
    ) -> Result<PerTask<GroupRewards>, InvalidMessage> {
        results(model_of(&response)?, images, response)
    }

    fn rewards(rewards: &[f64]) -> group_score::Result {
        group_score::Result::Scores(pb::Scores {
            rewards: rewards.to_vec(),
            ..Default::default()
        })
    }

    fn refusal(reason: pb::ScoreFailureReason) -> group_score::Result {
        group_score::Result::Failure(pb::ScoreFailure {
            reason: reason.into(),
            detail: "because".into(),
        })
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

    #[test]
    fn i8_a_score_that_was_not_computed_is_a_failure_and_never_a_number() {
        let found = checked(
            &[2, 2],
            response(vec![
                rewards(&[0.5, -1.0]),
                refusal(pb::ScoreFailureReason::Model),
            ]),
        );
        let found = found.unwrap();
        assert_eq!(found[0].as_ref().unwrap().rewards[1].value(), -1.0);
        let outcome = found[1].clone().unwrap_err().outcome(TaskId(1));
        assert!(matches!(
            outcome,
            RolloutOutcome::Failed {
                reason: FailureReason::RewardUnavailable,
                retryable: true,
                ..
            }
        ));
    }

    #[test]
    fn an_invalid_image_is_not_tried_again() {
        let found = checked(
            &[2],
            response(vec![refusal(pb::ScoreFailureReason::InvalidImage)]),
        )
        .unwrap();
        let outcome = found[0].clone().unwrap_err().outcome(TaskId(1));
        assert!(
            matches!(outcome, RolloutOutcome::Failed { retryable: false, detail, .. } if detail.contains("because"))
        );
    }

    #[test]
    fn answers_that_do_not_fit_the_question_are_malformed() {
        for (images, answer) in [
            (vec![2, 2], response(vec![rewards(&[0.0, 1.0])])),
            (vec![2], response(vec![rewards(&[0.0])])),
            (vec![2], response(vec![rewards(&[0.0, f64::NAN])])),
            (vec![2], response(vec![rewards(&[0.0, f64::INFINITY])])),
            (vec![2], response(vec![rewards(&[0.0, 1.0]); 2])),
            (
                vec![2],
                pb::ScoreGroupsResponse {
                    reward_model: None,
                    ..response(vec![rewards(&[0.0, 1.0])])
                },
            ),
        ] {
            assert!(checked(&images, answer.clone()).is_err(), "{answer:?}");
        }
    }
}
