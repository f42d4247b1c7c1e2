//! The gRPC face of the reward models: check the message, ask the authorizer, ask the current model, answer.
//!
//! A malformed request is refused as a whole; a broken picture fails its own group only.

use crate::answers::{Asked, question};
use crate::batching::Question;
use crate::gate::Admitted;
use crate::reload::ReloadState;
use crate::scorer::{GroupScores, ScoreFailure, ScoreResult};
use crate::serving::{Models, NoModel, Serving};
use common::Digest;
use failpoint::Point;
use futures::future::join_all;
use prometheus_client::metrics::histogram::Histogram;
use proto::pb::reward_service_server::RewardService;
use proto::pb::{self, ScoreFailureReason, group_score};
use proto::trace::{Stage, TraceId};
use proto::{Authorizer, Call, Caller, InvalidMessage, Remote, WireError, trace};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use tracing::{Instrument, Span};

/// Pictures of one group, as the wire's definition has it.
const GROUP_IMAGES: RangeInclusive<usize> = 2..=64;

/// What the server needs for a group and for a picture beside their bytes.
const GROUP_BYTES: usize = 512;
const IMAGE_BYTES: usize = 64;

/// The service over the models of a server.
pub(crate) struct Service {
    models: Arc<Models>,
    reloads: Arc<ReloadState>,
    authorizer: Arc<dyn Authorizer>,
    min_confidence: f64,
    /// The number of the next request.
    requests: AtomicU64,
    /// How long requests take, from when they were let in.
    seconds: Histogram,
}

/// Where one group's answer comes from.
enum Answer {
    Known(GroupScores),
    Coming(oneshot::Receiver<ScoreResult>),
}

/// The answers to one request, all of one model.
struct Scored {
    results: Vec<ScoreResult>,
    model: Digest,
    /// Groups whose scores were remembered.
    hits: usize,
    /// Groups that were being computed for somebody else, or twice in the request.
    joined: usize,
    /// The model's time for those that were new.
    spent: Duration,
}

impl Service {
    /// Serves `models`; answers that are less sure than `min_confidence` are abstentions.
    pub(crate) fn new(
        models: Arc<Models>,
        reloads: Arc<ReloadState>,
        authorizer: Arc<dyn Authorizer>,
        min_confidence: f64,
        seconds: Histogram,
    ) -> Self {
        Self {
            models,
            reloads,
            authorizer,
            min_confidence,
            requests: AtomicU64::new(0),
            seconds,
        }
    }

    fn admit(
        &self,
        method: &'static str,
        header: Option<pb::RequestHeader>,
        peer: &Remote,
    ) -> Result<Caller, WireError> {
        // Anybody: a request belongs to no run here.
        let caller = Caller::try_from(header)?;
        self.authorizer.authorize(&Call {
            method,
            caller: &caller.id,
            peer,
        })?;
        Ok(caller)
    }

    fn serving(&self) -> Result<Arc<Serving>, WireError> {
        self.models.current().map_err(|none| match none {
            NoModel::Loading => WireError::Unavailable("the reward model is loading".into()),
            NoModel::Unloaded => WireError::RunComplete,
        })
    }

    async fn score(&self, groups: Vec<pb::ImageGroup>, admitted: Admitted) -> Result<Scored, WireError> {
        let Admitted { place, charge, since } = admitted;
        let images: usize = groups.iter().map(|group| group.images.len()).sum();
        charge.add(groups.len() * GROUP_BYTES + images * IMAGE_BYTES)?;
        let serving = self.serving()?;
        let model = serving.digest;
        let digests = move || -> Vec<(Digest, pb::ImageGroup)> {
            let digest = |group: pb::ImageGroup| (question(model, &group.caption, &group.images), group);
            groups.into_iter().map(digest).collect()
        };
        let digests = tokio::task::spawn_blocking(digests).await;
        let digests = digests.map_err(|error| WireError::Internal(error.to_string()))?;
        // From here to the sending nothing waits: a caller that goes leaves no question behind that nobody works on.
        let queue = serving.questions.reserve().await;
        let queue = queue.map_err(|_| WireError::Internal("the reward model's queue is gone".into()))?;
        let request = self.requests.fetch_add(1, Relaxed);
        let (mut answers, mut new) = (Vec::with_capacity(digests.len()), vec![]);
        let (mut hits, mut joined) = (0, 0);
        let spent = Arc::new(AtomicU64::new(0));
        let samples = digests
            .iter()
            .map(|(_, group)| TraceId::from_bytes(&group.trace_id));
        let samples: Vec<TraceId> = samples.flatten().collect();
        for (digest, group) in digests {
            let units = serving.unit.of_group(group.images.len());
            let answer = match self.models.answers.ask(digest, units, &self.models.budget) {
                Asked::Known(scores) => {
                    hits += 1;
                    Answer::Known(scores)
                }
                Asked::Joined(answer) => {
                    joined += 1;
                    Answer::Coming(answer)
                }
                Asked::New(ticket, answer) => {
                    new.push(Question {
                        ticket,
                        caption: group.caption,
                        images: group.images,
                        charge: charge.clone(),
                        request,
                        arrived: Instant::now(),
                        span: Span::current(),
                        spent: spent.clone(),
                    });
                    Answer::Coming(answer)
                }
            };
            answers.push(answer);
        }
        if !new.is_empty() {
            queue.send(new);
        }
        drop(charge);
        let results = join_all(answers.into_iter().map(Answer::get)).await;
        drop(place);
        let took = since.elapsed();
        self.seconds.observe(took.as_secs_f64());
        Stage::ScoreGroup.over(took, samples);
        let trusted = |scores: GroupScores| scores.trusted(self.min_confidence);
        Ok(Scored {
            results: results
                .into_iter()
                .map(|result| result.and_then(trusted))
                .collect(),
            model,
            hits,
            joined,
            spent: Duration::from_micros(spent.load(Relaxed)),
        })
    }

    fn reward_model(&self, serving: &Serving) -> pb::RewardModel {
        pb::RewardModel {
            digest: Some(serving.digest.into()),
            form: serving.form.clone(),
            scores_alone: self.models.alone,
        }
    }

    fn status(&self) -> Result<pb::RewardServerStatus, WireError> {
        let serving = self.serving()?;
        let (answers, budget) = (self.models.answers.counts(), &self.models.budget);
        let (reloads, reload_failure) = self.reloads.told();
        Ok(pb::RewardServerStatus {
            reward_model: Some(self.reward_model(&serving)),
            requests: budget.requests() as u64,
            bytes: budget.bytes() as u64,
            groups_waiting: answers.waiting,
            groups_computed: answers.computed,
            cache_hits: answers.hits,
            groups_joined: answers.joined,
            groups_abandoned: answers.abandoned,
            batches: self.models.batches.all.load(Relaxed),
            batches_shared: self.models.batches.shared.load(Relaxed),
            requests_shed: budget.shed(),
            cached_groups: answers.kept,
            cached_bytes: answers.kept_bytes,
            reloads,
            reload_failure: reload_failure.unwrap_or_default(),
        })
    }
}

impl Answer {
    async fn get(self) -> ScoreResult {
        match self {
            Self::Known(scores) => Ok(scores),
            Self::Coming(answer) => answer.await.unwrap_or_else(|_| Err(ScoreFailure::unanswered())),
        }
    }
}

#[tonic::async_trait]
impl RewardService for Service {
    async fn score_groups(
        &self,
        mut request: Request<pb::ScoreGroupsRequest>,
    ) -> Result<Response<pb::ScoreGroupsResponse>, Status> {
        let span = trace::span("RewardService/ScoreGroups", request.metadata());
        let peer = Remote::of(&request);
        let admitted = request.extensions_mut().remove::<Admitted>();
        let pb::ScoreGroupsRequest { header, groups } = request.into_inner();
        async {
            let caller = self.admit("RewardService/ScoreGroups", header, &peer)?;
            check(&groups).map_err(WireError::from)?;
            let admitted =
                admitted.ok_or_else(|| WireError::Internal("the request passed no gate".into()))?;
            failpoint::reach(Point::Scoring);
            let Scored {
                results,
                model,
                hits,
                joined,
                spent,
            } = self.score(groups, admitted).await?;
            failpoint::reach(Point::ScoredUnanswered);
            let failed = results.iter().filter(|score| score.is_err()).count();
            let groups = results.len();
            tracing::info!(caller = caller.id, groups, failed, hits, joined, %model, "groups scored");
            Ok(Response::new(pb::ScoreGroupsResponse {
                scores: results.into_iter().map(to_wire).collect(),
                reward_model: Some(model.into()),
                compute_seconds: spent.as_secs_f64(),
                scored_alone: self.models.alone,
            }))
        }
        .instrument(span)
        .await
    }

    async fn get_reward_model(
        &self,
        request: Request<pb::GetRewardModelRequest>,
    ) -> Result<Response<pb::RewardModel>, Status> {
        let peer = Remote::of(&request);
        self.admit("RewardService/GetRewardModel", request.into_inner().header, &peer)?;
        let serving = self.serving()?;
        Ok(Response::new(self.reward_model(&serving)))
    }

    async fn get_server_status(
        &self,
        request: Request<pb::GetServerStatusRequest>,
    ) -> Result<Response<pb::RewardServerStatus>, Status> {
        let peer = Remote::of(&request);
        self.admit(
            "RewardService/GetServerStatus",
            request.into_inner().header,
            &peer,
        )?;
        Ok(Response::new(self.status()?))
    }
}

/// Refuses groups that cannot be scored for what they are.
pub(crate) fn check(groups: &[pb::ImageGroup]) -> Result<(), InvalidMessage> {
    InvalidMessage::check_batch("groups", groups.len())?;
    match groups
        .iter()
        .position(|group| !GROUP_IMAGES.contains(&group.images.len()))
    {
        None => Ok(()),
        Some(position) => {
            let found = groups[position].images.len();
            let reason = format!("group {position} has {found} images, expected 2 to 64");
            Err(InvalidMessage::new("groups.images", reason))
        }
    }
}

fn to_wire(result: ScoreResult) -> pb::GroupScore {
    let result = match result {
        Ok(GroupScores {
            rewards,
            confidence,
            orientation_flips,
            sides,
        }) => group_score::Result::Scores(pb::Scores {
            rewards,
            confidence,
            orientation_flips,
            sides: sides.unwrap_or_default().into_iter().map(Into::into).collect(),
        }),
        Err(failure) => {
            let (reason, confidence) = match failure {
                ScoreFailure::InvalidImage { .. } => (ScoreFailureReason::InvalidImage, None),
                ScoreFailure::Model { .. } => (ScoreFailureReason::Model, None),
                ScoreFailure::Abstained { confidence, .. } => {
                    (ScoreFailureReason::Abstained, Some(confidence))
                }
            };
            group_score::Result::Failure(pb::ScoreFailure {
                reason: reason.into(),
                detail: failure.to_string(),
                confidence,
            })
        }
    };
    pb::GroupScore { result: Some(result) }
}
