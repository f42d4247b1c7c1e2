//! A version's weights as a policy: the base with an adapter bound to it, asked by the canary before anybody samples from it.

use crate::{
    ActorError,
    canary::CanaryCheck,
    manifest::Manifest,
    product_images::ProductImages,
    shelf::Adapter,
    weight_source::{BuildWeights, Built},
};
use failpoint::Mutation;
use models::{
    ModelError,
    compute_thread::ComputeThread,
    llava::Llava,
    policy::Policy,
    weights::{self, NamedTensors},
};
use std::sync::Arc;

/// Builds versions of one policy.
pub(crate) struct PolicyBuilder {
    base: Llava,
    canary: CanaryCheck,
    thread: Arc<ComputeThread<()>>,
}

impl PolicyBuilder {
    /// For versions of `policy`, built and asked on `thread`.
    pub(crate) fn new(policy: &Policy, products: Arc<ProductImages>, thread: ComputeThread<()>) -> Self {
        let thread = Arc::new(thread);
        Self {
            base: policy.model.without_adapter(),
            canary: CanaryCheck::new(policy.clone(), products, thread.clone()),
            thread,
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
        let build = move |_: &mut ()| -> Result<Llava, ModelError> {
            let mut adapter = weights::from_safetensors_laid_out(&received.chunks())?;
            let model = base.with_adapter(&config, 0)?;
            if failpoint::breaks(Mutation::Unbound) {
                return Ok(model);
            }
            if failpoint::breaks(Mutation::WrongModules) {
                adapter = exchanged(adapter, "k_proj", "v_proj");
            }
            model.load_laid_out_adapter(adapter)
        };
        let weights = self.thread.call(build).await??;
        let canary = match &manifest.canary {
            None => None,
            Some(canary) => Some(self.canary.check(canary, &weights).await?),
        };
        Ok(Built { weights, canary })
    }
}

/// An adapter in which two projections, whose branches have the same shapes, have each other's.
fn exchanged(adapter: NamedTensors, one: &str, other: &str) -> NamedTensors {
    let renamed = |name: String| match name.contains(one) {
        true => name.replace(one, other),
        false => name.replace(other, one),
    };
    let tensors = adapter.into_iter();
    tensors.map(|(name, tensor)| (renamed(name), tensor)).collect()
}
