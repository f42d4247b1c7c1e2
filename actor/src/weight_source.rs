//! A version's weights: the adapter fetched, built into something to sample from beside what is sampled from today, and asked by the
//! canary. What the weights are is the builder's affair (`policy_builder.rs`).

use crate::{
    ActorError,
    learner_client::{LearnerClient, Payload},
    manifest::Manifest,
    shelf::{Adapter, Shelf},
};
use common::{CanaryReport, CanaryVerdict, PolicyVersion};
use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

/// A version ready to be sampled from.
pub(crate) struct Adapted<W> {
    pub(crate) version: PolicyVersion,
    /// What is sampled from.
    pub(crate) weights: W,
    /// What the canary says of it; `None` from a learner that publishes none.
    pub(crate) canary: Option<CanaryReport>,
    /// Whether the run publishes no version after this one.
    pub(crate) last: bool,
}

/// The version that does not take effect here, and what was compared: set before the learner hears of it.
pub(crate) type Mismatch = Arc<OnceLock<(PolicyVersion, CanaryReport)>>;

/// What turns a version's bytes into something to sample from.
pub(crate) trait BuildWeights: Send + Sync + 'static {
    /// What that is.
    type Weights: Send + Sync + 'static;

    /// Builds the weights beside those that are sampled from, and asks the canary.
    ///
    /// # Errors
    /// [`ActorError`] when the bytes make no weights of this policy.
    fn build(
        &mut self,
        received: Arc<Adapter>,
        manifest: &Manifest,
    ) -> impl Future<Output = Result<Built<Self::Weights>, ActorError>> + Send;
}

/// Weights, and what the canary says of them.
pub(crate) struct Built<W> {
    pub(crate) weights: W,
    pub(crate) canary: Option<CanaryReport>,
}

/// Fetches and builds versions.
pub(crate) struct WeightSource<B> {
    pub(crate) learner: Arc<LearnerClient>,
    pub(crate) mismatch: Mismatch,
    shelf: Arc<Shelf>,
    builder: B,
}

impl<B: BuildWeights> WeightSource<B> {
    pub(crate) fn new(learner: Arc<LearnerClient>, shelf: Arc<Shelf>, builder: B) -> Self {
        Self {
            learner,
            mismatch: Mismatch::default(),
            shelf,
            builder,
        }
    }

    /// Fetches, checks and builds the newest version.
    ///
    /// # Errors
    /// As [`build`](Self::build), for a version that is gone only when no newer one has taken its place.
    pub(crate) async fn newest(&mut self) -> Result<Arc<Adapted<B::Weights>>, ActorError> {
        let mut gone = None;
        loop {
            let manifest = self.learner.newest_policy().await?;
            let version = manifest.version;
            match self.build(manifest).await {
                Err(error) if error.is_not_found() && gone < Some(version) => gone = Some(version),
                built => return built,
            }
        }
    }

    /// Fetches, checks and builds one version.
    ///
    /// # Errors
    /// [`ActorError`] when its bytes do not come, are not those promised, or do not fit the base model.
    pub(crate) async fn build(&mut self, manifest: Manifest) -> Result<Arc<Adapted<B::Weights>>, ActorError> {
        let received = self.receive(&manifest).await?;
        let Built { weights, canary } = self.builder.build(received, &manifest).await?;
        if let Some(report) = canary {
            self.check(manifest.version, report).await?;
        }
        Ok(Arc::new(Adapted {
            version: manifest.version,
            weights,
            canary,
            last: manifest.last,
        }))
    }

    /// The version's adapter, from the shelf or from whoever has it.
    async fn receive(&self, manifest: &Manifest) -> Result<Arc<Adapter>, ActorError> {
        if let Some(adapter) = self.shelf.whole(&manifest.adapter.digest()) {
            return Ok(adapter);
        }
        let mut receiving = self.shelf.receive(&manifest.adapter);
        let (adapter, relays) = (&manifest.adapter, &manifest.relays);
        self.learner
            .fetch(adapter, Payload::Adapter, relays, &mut receiving)
            .await?;
        Ok(receiving.adapter())
    }

    /// Refuses a version that does not take effect.
    ///
    /// # Errors
    /// [`ActorError::Canary`], of which the learner is told.
    async fn check(&self, version: PolicyVersion, report: CanaryReport) -> Result<(), ActorError> {
        tracing::debug!(%version, ?report, "canary");
        if report.verdict != CanaryVerdict::Mismatch {
            return Ok(());
        }
        // The learner refuses this actor as soon as it hears of it: whoever is refused knows why.
        self.mismatch.get_or_init(|| (version, report));
        if let Err(error) = self.learner.report_adoption(version, Some(report), "").await {
            tracing::warn!(%error, "the learner was not told that a version does not take effect");
        }
        Err(ActorError::Canary { version, report })
    }
}
