//! The gRPC face of the scorer: check the message, ask the authorizer, decode, score, answer.
//!
//! A malformed request is refused as a whole; a broken picture fails its own group only.

use crate::scorer::{GroupScores, ScoreFailure, ScoreResult, Scorer};
use crate::served::{CreativeGroup, Preparation, ServedModel};
use data::cutout;
use failpoint::Point;
use proto::pb::reward_service_server::RewardService;
use proto::pb::{self, ScoreFailureReason, group_score};
use proto::{Authorizer, Call, Caller, InvalidMessage, WireError, trace};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use tracing::Instrument;

/// Pictures of one group, as the wire's definition has it.
const GROUP_IMAGES: RangeInclusive<usize> = 2..=64;

pub(crate) struct Service<M: ServedModel> {
    scorer: Scorer<M>,
    authorizer: Arc<dyn Authorizer>,
    /// Requests that may be decoded, waiting or scored at the same time.
    places: Semaphore,
}

impl<M: ServedModel> Service<M> {
    /// Serves at most `places` requests at the same time.
    pub(crate) fn new(scorer: Scorer<M>, authorizer: Arc<dyn Authorizer>, places: usize) -> Self {
        Self {
            scorer,
            authorizer,
            places: Semaphore::new(places),
        }
    }

    fn admit(
        &self,
        method: &'static str,
        header: Option<pb::RequestHeader>,
        peer: Option<SocketAddr>,
    ) -> Result<Caller, WireError> {
        let caller = Caller::try_from(header)?;
        self.authorizer.authorize(&Call {
            method,
            caller: &caller.id,
            peer,
        })?;
        Ok(caller)
    }

    async fn score(&self, groups: Vec<pb::ImageGroup>) -> Result<Vec<ScoreResult>, WireError> {
        let place = self.places.acquire().await;
        let _place = place.map_err(|error| WireError::Unavailable(error.to_string()))?;
        let preparation = self.scorer.preparation().clone();
        let prepare = move || {
            groups
                .into_iter()
                .map(|group| decode(group, &preparation))
                .collect::<Vec<_>>()
        };
        let span = tracing::Span::current();
        let prepared = tokio::task::spawn_blocking(move || span.in_scope(prepare)).await;
        let prepared = prepared.map_err(|error| WireError::Internal(error.to_string()))?;
        self.scorer.score(prepared).await.map_err(|error| {
            tracing::error!(%error, "scoring failed");
            WireError::Internal(error.to_string())
        })
    }
}

#[tonic::async_trait]
impl<M: ServedModel> RewardService for Service<M> {
    async fn score_groups(
        &self,
        request: Request<pb::ScoreGroupsRequest>,
    ) -> Result<Response<pb::ScoreGroupsResponse>, Status> {
        let span = trace::span("RewardService/ScoreGroups", request.metadata());
        let peer = request.remote_addr();
        let pb::ScoreGroupsRequest { header, groups } = request.into_inner();
        async {
            let caller = self.admit("RewardService/ScoreGroups", header, peer)?;
            check(&groups)?;
            failpoint::reach(Point::Scoring);
            let scores = self.score(groups).await?;
            failpoint::reach(Point::ScoredUnanswered);
            let failed = scores.iter().filter(|score| score.is_err()).count();
            tracing::info!(caller = caller.id, groups = scores.len(), failed, "groups scored");
            Ok(Response::new(pb::ScoreGroupsResponse {
                scores: scores.into_iter().map(to_wire).collect(),
                reward_model: Some(self.scorer.digest().into()),
            }))
        }
        .instrument(span)
        .await
    }

    async fn get_reward_model(
        &self,
        request: Request<pb::GetRewardModelRequest>,
    ) -> Result<Response<pb::RewardModel>, Status> {
        let peer = request.remote_addr();
        self.admit("RewardService/GetRewardModel", request.into_inner().header, peer)?;
        Ok(Response::new(pb::RewardModel {
            digest: Some(self.scorer.digest().into()),
            form: self.scorer.form().to_owned(),
        }))
    }
}

fn check(groups: &[pb::ImageGroup]) -> Result<(), WireError> {
    InvalidMessage::check_batch("groups", groups.len())?;
    match groups
        .iter()
        .position(|group| !GROUP_IMAGES.contains(&group.images.len()))
    {
        None => Ok(()),
        Some(position) => {
            let found = groups[position].images.len();
            let reason = format!("group {position} has {found} images, expected 2 to 64");
            Err(InvalidMessage::new("groups.images", reason).into())
        }
    }
}

/// Decodes and prepares a group's pictures; the first that is none fails the group.
fn decode<Creative>(
    group: pb::ImageGroup,
    preparation: &Preparation<Creative>,
) -> Result<CreativeGroup<Creative>, ScoreFailure> {
    let creative = |(position, bytes): (usize, &Vec<u8>)| match cutout::decode_rgb(bytes) {
        Ok(picture) => Ok(preparation(&picture)),
        Err(error) => Err(ScoreFailure::InvalidImage {
            position,
            reason: error.to_string(),
        }),
    };
    let creatives = group
        .images
        .iter()
        .enumerate()
        .map(creative)
        .collect::<Result<_, _>>()?;
    Ok(CreativeGroup {
        caption: group.caption,
        creatives,
    })
}

fn to_wire(result: ScoreResult) -> pb::GroupScore {
    let result = match result {
        Ok(GroupScores {
            rewards,
            confidence,
            orientation_flips,
        }) => group_score::Result::Scores(pb::Scores {
            rewards,
            confidence,
            orientation_flips,
        }),
        Err(failure) => {
            let reason = match failure {
                ScoreFailure::InvalidImage { .. } => ScoreFailureReason::InvalidImage,
                ScoreFailure::Model { .. } => ScoreFailureReason::Model,
                ScoreFailure::Abstained { .. } => ScoreFailureReason::Abstained,
            };
            group_score::Result::Failure(pb::ScoreFailure {
                reason: reason.into(),
                detail: failure.to_string(),
            })
        }
    };
    pb::GroupScore { result: Some(result) }
}
