//! A version's weights as a policy: the base with an adapter bound to it, asked by the canary before anybody samples from it.

use crate::{
    ActorError,
    canary::CanaryCheck,
    manifest::Manifest,
    shelf::Adapter,
    weight_source::{BuildWeights, Built},
};
use models::{ModelError, llava::Llava, policy::Policy, weights};
use std::sync::Arc;

/// Builds versions of one policy.
pub(crate) struct PolicyBuilder {
    base: Llava,
    canary: CanaryCheck,
}

impl PolicyBuilder {
    /// For versions of `policy`.
    pub(crate) fn new(policy: &Policy, canary: CanaryCheck) -> Self {
        Self {
            base: policy.model.without_adapter(),
            canary,
        }
    }
}

impl BuildWeights for PolicyBuilder {
    /// The base model's own weights, shared, with the version's adapter.
    type Weights = Llava;

    async fn build(
        &mut self,
        received: Arc<Adapter>,
        manifest: &Manifest,
    ) -> Result<Built<Llava>, ActorError> {
        let (base, config) = (self.base.clone(), manifest.adapter_config.clone());
        let build = move || -> Result<Llava, ModelError> {
            let adapter = weights::from_safetensors(&received.bytes())?;
            weights::check_finite(&adapter)?;
            base.with_adapter(&config, 0)?.load_adapter(&adapter)
        };
        let built = tokio::task::spawn_blocking(build).await;
        let weights = built.map_err(|source| ActorError::Task {
            task: "weight building",
            source,
        })??;
        let canary = match &manifest.canary {
            None => None,
            Some(canary) => Some(self.canary.check(canary, &weights).await?),
        };
        Ok(Built { weights, canary })
    }
}
