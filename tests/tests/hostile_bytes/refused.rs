//! Messages that decode and that the program refuses, each for one field: a door that only decodes lets them in.

use super::{samples, states};
use prost::Message;
use proto::pb;

/// Names of doors, and what they must not let in.
pub(super) fn refused() -> Vec<(&'static str, Vec<u8>)> {
    let headers = vec![("retry-after-ms", b"soon".to_vec())];
    [
        of_requests(),
        of_learners_answers(),
        of_states(),
        of_scores(),
        of_pictures(),
        headers,
    ]
    .concat()
}

fn changed<M: Message>(mut message: M, change: impl FnOnce(&mut M)) -> Vec<u8> {
    change(&mut message);
    message.encode_to_vec()
}

fn of_requests() -> Vec<(&'static str, Vec<u8>)> {
    let stranger = |header: &mut Option<pb::RequestHeader>| {
        header.as_mut().expect("samples have headers").run_id = String::new();
    };
    vec![
        (
            "JoinRequest",
            changed(samples::join_request(), |m| {
                m.settings.insert("no key".into(), "1".into());
            }),
        ),
        (
            "JoinRequest",
            changed(samples::join_request(), |m| {
                m.settings.insert("actor.top_p".into(), "1".repeat(8193));
            }),
        ),
        (
            "LeaseTasksRequest",
            changed(samples::lease_request(), |m| m.policy = None),
        ),
        (
            "LeaseTasksRequest",
            changed(samples::lease_request(), |m| stranger(&mut m.header)),
        ),
        (
            "ReturnTasksRequest",
            changed(samples::returned(), |m| m.tasks.clear()),
        ),
        (
            "WatchPolicyRequest",
            changed(samples::watch_request(), |m| m.relay_port = 1 << 16),
        ),
        (
            "WatchPolicyRequest",
            changed(samples::watch_request(), |m| {
                m.settings.insert("no key".into(), "1".into());
            }),
        ),
        (
            "FetchArtifactRequest",
            changed(samples::fetch_request(), |m| m.digest = None),
        ),
        (
            "ReportAdoptionRequest",
            changed(samples::adoption(), |m| m.version = None),
        ),
        (
            "ReportAdoptionRequest",
            changed(samples::adoption(), |m| m.waiting_for = "x".repeat(1025)),
        ),
        (
            "ReportEvaluationRequest",
            changed(samples::evaluation(), |m| m.version = None),
        ),
        (
            "ScoreGroupsRequest",
            changed(samples::score_request(), |m| m.groups[0].images.truncate(1)),
        ),
        (
            "ScoreGroupsRequest",
            changed(samples::score_request(), |m| {
                m.groups[0].images = vec![Default::default(); 65];
            }),
        ),
        (
            "GetMetricsRequest",
            changed(samples::metrics_request(), |m| m.metric_name.clear()),
        ),
        (
            "GetMetricsRequest",
            changed(samples::metrics_request(), |m| {
                let object = m.scaled_object_ref.get_or_insert_default();
                object.scaler_metadata = [("run".to_owned(), "another".to_owned())].into();
            }),
        ),
    ]
}

fn of_learners_answers() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "PolicyManifest",
            changed(samples::manifest(), |m| m.relays = vec!["learner:7000".into()]),
        ),
        ("ArtifactChunk", changed(samples::chunk(), |m| m.offset = 9)),
        (
            "ArtifactChunk",
            changed(samples::chunk(), |m| m.data = vec![7; 30].into()),
        ),
        (
            "LeaseTasksResponse",
            changed(samples::lease(), |m| m.answer = None),
        ),
        (
            "SubmitOutcomesResponse",
            changed(samples::receipts(), |m| m.receipts[0].task = 5),
        ),
    ]
}

/// What is told to whoever looks on.
fn of_states() -> Vec<(&'static str, Vec<u8>)> {
    let not_a_number = || pb::VersionMetrics {
        version: states::run().version,
        values: [("loss".to_owned(), f64::NAN)].into(),
    };
    let outcomes = |counts: [(&str, u64); 2]| pb::OutcomeCounts {
        failures: counts.map(|(name, count)| (name.to_owned(), count)).into(),
        ..Default::default()
    };
    let statuses: [&dyn Fn(&mut pb::RunStatus); 9] = [
        &|m| m.run_id = "\u{1b}]0;mine\u{7}".into(),
        &|m| m.version = None,
        &|m| m.actors[0].actor_id = "actor\u{1b}[2J".into(),
        &|m| m.actors = vec![pb::ActorStatus::default(); 1_000_000],
        &|m| m.metrics = vec![not_a_number()],
        &|m| m.held_out = Some(not_a_number()),
        &|m| m.metrics = vec![pb::VersionMetrics::default(); 1_000_000],
        &|m| m.outcomes = Some(outcomes([("\u{9b}31m", 1), ("storage", 1)])),
        &|m| m.outcomes = Some(outcomes([("sampling", u64::MAX), ("storage", 1)])),
    ];
    let statuses = statuses.map(|change| ("RunStatus", changed(states::run(), change)));
    let models = [
        ("RewardModel", changed(states::model(), |m| m.digest = None)),
        (
            "RewardServerStatus",
            changed(states::server(), |m| m.reward_model = None),
        ),
    ];
    statuses.into_iter().chain(models).collect()
}

fn of_scores() -> Vec<(&'static str, Vec<u8>)> {
    let scores = |change: fn(&mut pb::Scores)| {
        changed(samples::scores(), |m| {
            let Some(pb::group_score::Result::Scores(scores)) = &mut m.scores[0].result else {
                panic!("the first group of the sample is scored")
            };
            change(scores);
        })
    };
    let answers = [
        scores(|m| m.rewards[0] = f64::NAN),
        scores(|m| m.rewards.truncate(1)),
        scores(|m| m.sides.truncate(1)),
        changed(samples::scores(), |m| m.scores[1].result = None),
        changed(samples::scores(), |m| m.scores.truncate(1)),
        changed(samples::scores(), |m| m.reward_model = None),
    ];
    answers.map(|answer| ("ScoreGroupsResponse", answer)).into()
}

fn of_pictures() -> Vec<(&'static str, Vec<u8>)> {
    let rendered = |change: fn(&mut pb::RenderedImage)| {
        changed(samples::generated(), |m| {
            let Some(pb::image_result::Result::Image(rendered)) = &mut m.results[0].result else {
                panic!("the first description of the sample has a picture")
            };
            change(rendered);
        })
    };
    let answers = [
        rendered(|m| m.image = m.image.slice(..m.image.len() / 2)),
        rendered(|m| m.placed = m.placed.slice(..m.placed.len() / 2)),
        changed(samples::generated(), |m| m.results[1].result = None),
        changed(samples::generated(), |m| m.results.truncate(1)),
    ];
    answers.map(|answer| ("GenerateGroupResponse", answer)).into()
}
