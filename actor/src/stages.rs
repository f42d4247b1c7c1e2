//! The stages of a rollout, as the loop sees them. The loop knows what each takes and gives, not what it costs.

use crate::{
    ActorError, failure::PerTask, learner_client::Lease, products::CutOut, rendering::RenderedGroup,
    reward_client::GroupRewards, undone::Waiting, weight_source::Adapted,
};
use common::{CanaryReport, PolicyVersion, ProductTask, Trajectory};
use std::{future::Future, sync::Arc};

/// What has the pictures of the products that are leased.
pub(crate) trait Gather: Send + Sync {
    /// For how many tasks of those `wanted` it has room at the same time, now that none is at hand; at least one.
    fn has_room_for(&self, wanted: usize) -> usize;

    /// The cut-out of each task's product, which takes its room for as long as it is held.
    fn gather(&self, tasks: &[ProductTask]) -> impl Future<Output = PerTask<Arc<CutOut>>> + Send;
}

/// The policy whose completions are tried: in off-policy terms, the behaviour policy.
pub(crate) trait Behaviour: Send {
    /// What a version is sampled from.
    type Weights: Send + Sync + 'static;

    /// The version sampled from.
    fn version(&self) -> PolicyVersion;

    /// What the canary says of it.
    fn canary(&self) -> Option<CanaryReport>;

    /// Whether the run publishes no version after it.
    fn is_last(&self) -> bool;

    /// Samples a group of completions for every task, by its product's cut-out, all in one batch.
    fn sample(
        &self,
        tasks: &[ProductTask],
        cut_outs: &PerTask<Arc<CutOut>>,
    ) -> impl Future<Output = PerTask<Vec<Trajectory>>> + Send;

    /// Samples from `adapted` from now on. What is under way finishes on its version.
    ///
    /// # Errors
    /// [`ActorError`] when nothing can be sampled any more.
    fn adopt(
        &mut self,
        adapted: Arc<Adapted<Self::Weights>>,
    ) -> impl Future<Output = Result<(), ActorError>> + Send;

    /// Frees what it computes with.
    ///
    /// # Errors
    /// [`ActorError`] when that panicked.
    fn unload(self) -> impl Future<Output = Result<(), ActorError>> + Send;
}

/// A stage that depends on a service, which may be away.
pub(crate) trait Service: Send {
    /// What left the last lease undone and is not known to serve again; `None` when nothing did.
    fn waits_for(&self) -> Option<Waiting> {
        None
    }

    /// Waits until what left the last lease undone can serve again; no tasks should be held meanwhile.
    ///
    /// # Errors
    /// [`ActorError`] when it does not for too long.
    fn recovered(&mut self) -> impl Future<Output = Result<(), ActorError>> + Send;
}

/// What turns descriptions into images.
pub(crate) trait Render: Service {
    /// Whether this process does the work, and not a service that it waits for.
    fn is_own_work(&self) -> bool {
        true
    }

    /// What becomes of each trajectory: an image of its product's cut-out, or why there is none that can be used.
    fn render(
        &mut self,
        lease: &Lease,
        cut_outs: &PerTask<Arc<CutOut>>,
        sampled: &PerTask<Vec<Trajectory>>,
    ) -> impl Future<Output = PerTask<RenderedGroup>> + Send;
}

/// What says how good images are.
pub(crate) trait Score: Service {
    /// One reward per image that nothing bars; `None` for a group with fewer than two of those, which nobody is asked about.
    fn score(
        &mut self,
        lease: &Lease,
        rendered: &PerTask<RenderedGroup>,
    ) -> impl Future<Output = PerTask<Option<GroupRewards>>> + Send;
}
