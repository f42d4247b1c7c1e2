//! For tests that push strangers' bytes in: whether an actor takes an answer in, given what it asked for, and a request for what it passes
//! on. Each is what the actor does with the message before it uses anything of it. What an answer is to whoever asks, an actor or
//! another, is in `proto`.

use crate::learner_client::{LeaseAnswer, Receipts, continues, joined};
use crate::manifest::Manifest;
use crate::{relay, remote_generator, reward_client};
use common::Artifact;
use data::NoImage;
use proto::{Caller, pb};
use tokio::time::Instant;

/// A learner's answer to whoever joins.
pub fn join(m: pb::JoinResponse) -> bool {
    joined(m.run_id, m.policy).is_ok()
}

/// What a learner says that a version consists of.
pub fn policy_manifest(m: pb::PolicyManifest) -> bool {
    Manifest::try_from(m).is_ok()
}

/// A part of `artifact`, of which the first `received` bytes are here. Its digest is no matter: that is checked once a chunk is whole.
pub fn artifact_chunk(artifact: &Artifact, received: u64, m: pb::ArtifactChunk) -> bool {
    continues(artifact, received, m)
}

/// A learner's answer to a request for tasks.
pub fn lease_tasks(m: pb::LeaseTasksResponse) -> bool {
    LeaseAnswer::read(m, Instant::now(), 0).is_ok()
}

/// A learner's receipts for `outcomes`.
pub fn submit_outcomes(outcomes: &[pb::RolloutOutcome], m: &pb::SubmitOutcomesResponse) -> bool {
    Receipts::default().add(outcomes, &m.receipts).is_ok()
}

/// A reward-server's answer to groups with so many `images` each.
pub fn score_groups(images: &[usize], m: pb::ScoreGroupsResponse) -> bool {
    use reward_client::answer::{model_of, results};
    model_of(&m).is_ok_and(|model| results(model, images, m).is_ok())
}

/// An image service's answer to so many descriptions, and every picture in it.
pub fn generate_group(descriptions: usize, m: pb::GenerateGroupResponse) -> bool {
    let images = remote_generator::answer::images(descriptions, m);
    images.is_ok_and(|images| {
        let unusable = |image: &_| matches!(image, &Err(NoImage::Invalid(_)));
        !images.iter().any(unusable)
    })
}

/// Another actor's request for an artifact.
pub fn fetch_artifact(m: pb::FetchArtifactRequest) -> bool {
    let takes_part = Caller::try_from(m.header).is_ok_and(|caller| relay::run_of(caller).is_ok());
    takes_part && proto::fetched(m.digest).is_ok()
}
