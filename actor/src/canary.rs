//! The actor's side of the canary: asks the weights that it is about to sample from what the learner has asked its own.

use crate::{ActorError, product_images::ProductImages};
use common::{Canary, CanaryQuestion, CanaryReport, CompletionNats, OwnNats};
use models::{
    ModelError,
    compute_thread::ComputeThread,
    llava::Llava,
    policy::Policy,
    probe::{Probe, ProbeRow},
};
use std::sync::Arc;

/// Compares version after version with what the learner says of each.
pub(crate) struct CanaryCheck {
    policy: Policy,
    products: Arc<ProductImages>,
    thread: Arc<ComputeThread<()>>,
    /// The run's questions, prepared once.
    prepared: Option<Arc<Prepared>>,
    /// What the version before says of them.
    before: Option<CompletionNats>,
}

/// Questions that are ready for any weights.
struct Prepared {
    questions: Vec<CanaryQuestion>,
    probe: Probe,
    /// What the policy says with its adapter off.
    reference: CompletionNats,
}

impl CanaryCheck {
    /// A check for versions of `policy`, which are asked on `thread`.
    pub(crate) fn new(policy: Policy, products: Arc<ProductImages>, thread: Arc<ComputeThread<()>>) -> Self {
        Self {
            policy: policy.without_adapter(),
            products,
            thread,
            prepared: None,
            before: None,
        }
    }

    /// Asks `version`, built and not yet sampled from; computes off the runtime.
    ///
    /// # Errors
    /// [`ActorError::CanaryImage`] when a question's picture cannot be had, [`ActorError::Model`] when a question does not
    /// fit the policy.
    pub(crate) async fn check(
        &mut self,
        canary: &Arc<Canary>,
        version: &Llava,
    ) -> Result<CanaryReport, ActorError> {
        let prepared = self.prepare(&canary.questions).await?;
        let (probe, model) = (prepared.clone(), version.clone());
        let nats = self
            .thread
            .call(move |()| probe.probe.log_probs(&model))
            .await??;
        let report = canary.compare(OwnNats {
            reference: &prepared.reference,
            old: self.before.as_ref().unwrap_or(&prepared.reference),
            new: &nats,
        });
        self.before = Some(nats);
        Ok(report)
    }

    async fn prepare(&mut self, questions: &[CanaryQuestion]) -> Result<Arc<Prepared>, ActorError> {
        if let Some(prepared) = self.prepared.as_ref().filter(|p| p.questions == questions) {
            return Ok(prepared.clone());
        }
        let mut images = Vec::with_capacity(questions.len());
        for question in questions {
            let image = self.products.image(&question.image).await;
            images.push(image.map_err(|failure| ActorError::CanaryImage {
                digest: question.image,
                detail: failure.detail().to_owned(),
            })?);
        }
        let (policy, questions) = (self.policy.clone(), questions.to_vec());
        let prepare = move |_: &mut ()| -> Result<Prepared, ModelError> {
            let rows = questions.iter().zip(&images).map(|(question, image)| ProbeRow {
                instruction: &question.instruction,
                image,
                completion_ids: &question.completion_ids,
            });
            let probe = Probe::new(&policy, &rows.collect::<Vec<_>>())?;
            Ok(Prepared {
                reference: probe.log_probs(&policy.model)?,
                probe,
                questions,
            })
        };
        let prepared = Arc::new(self.thread.call(prepare).await??);
        self.before = None;
        Ok(self.prepared.insert(prepared).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use common::{CanaryVerdict, Digest};
    use image::{Rgba, RgbaImage};
    use models::{
        lora::LoraConfig,
        presets::Preset,
        tokenizer::{SpecialTokens, Tokenizer},
        weights::NamedTensors,
    };
    use store::Store;

    fn policy() -> Policy {
        let corpus = ["an oak desk in warm light", "a steel lamp by the sea"];
        let tokenizer = Tokenizer::train(corpus.iter(), 280, SpecialTokens::default()).unwrap();
        Preset::Tiny.policy(tokenizer, &Device::flex(), 5)
    }

    fn thread() -> Arc<ComputeThread<()>> {
        Arc::new(ComputeThread::spawn("weights", 1, || Ok::<_, ActorError>(())).unwrap())
    }

    /// The policy with every weight of its adapter at `value`, on these projections.
    fn adapted(policy: &Policy, value: f32, targets: [&str; 2]) -> Llava {
        let mut config = LoraConfig::new(2, 2.0);
        config.targets = targets.map(str::to_owned).to_vec();
        let model = policy.model.clone().with_adapter(&config, 1).unwrap();
        let flat: NamedTensors = model
            .adapter()
            .into_iter()
            .map(|(name, tensor)| {
                let values = vec![value; tensor.shape().num_elements()];
                (name, TensorData::new(values, tensor.shape().clone()))
            })
            .collect();
        model.load_adapter(&flat).unwrap()
    }

    /// What a learner whose version is `model` would publish.
    fn canary(policy: &Policy, model: &Llava, picture: &RgbaImage, image: Digest) -> Arc<Canary> {
        let question = CanaryQuestion {
            instruction: "describe an oak desk".into(),
            image,
            completion_ids: policy.completion_ids("warm light by the sea").unwrap(),
        };
        let row = ProbeRow {
            instruction: &question.instruction,
            image: picture,
            completion_ids: &question.completion_ids,
        };
        let probe = Probe::new(policy, &[row]).unwrap();
        let canary = Canary {
            reference: probe.log_probs(&policy.model).unwrap(),
            version: probe.log_probs(model).unwrap(),
            questions: vec![question],
        };
        Arc::new(canary)
    }

    #[tokio::test]
    async fn i5_what_is_not_bound_or_bound_elsewhere_is_a_mismatch_at_the_first_version() {
        let (policy, store) = (policy(), Store::open("memory:///").unwrap());
        let picture = RgbaImage::from_pixel(8, 8, Rgba([40, 10, 200, 255]));
        let stored = store
            .put_content("products", data::cutout::encode_png(&picture))
            .await;
        let (image, products) = (stored.unwrap(), Arc::new(ProductImages::new(store, 4)));
        let trained = adapted(&policy, 0.1, ["q_proj", "v_proj"]);
        let published = canary(&policy, &trained, &picture, image);
        for (name, bound, expected) in [
            ("as published", trained.clone(), CanaryVerdict::Ok),
            ("not bound", policy.model.clone(), CanaryVerdict::Mismatch),
            (
                "bound to other modules",
                adapted(&policy, 0.1, ["k_proj", "o_proj"]),
                CanaryVerdict::Mismatch,
            ),
            (
                "an older version",
                adapted(&policy, 0.09, ["q_proj", "v_proj"]),
                CanaryVerdict::Mismatch,
            ),
        ] {
            let mut check = CanaryCheck::new(policy.clone(), products.clone(), thread());
            let report = check.check(&published, &bound).await.unwrap();
            assert_eq!(report.verdict, expected, "{name}: {report:?}");
        }
        // The same version twice proves nothing the second time.
        let mut check = CanaryCheck::new(policy.clone(), products, thread());
        check.check(&published, &trained).await.unwrap();
        let again = check.check(&published, &trained).await.unwrap();
        assert_eq!(again.verdict, CanaryVerdict::Inconclusive);
    }

    #[tokio::test]
    async fn a_picture_that_is_not_in_the_store_is_named() {
        let policy = policy();
        let picture = RgbaImage::new(4, 4);
        let missing = Digest::from_bytes([6; 32]);
        let published = canary(&policy, &policy.model, &picture, missing);
        let store = Store::open("memory:///").unwrap();
        let products = Arc::new(ProductImages::new(store, 1 << 20));
        let refused = CanaryCheck::new(policy.clone(), products, thread())
            .check(&published, &policy.model)
            .await;
        let refusal = refused.unwrap_err().to_string();
        assert!(refusal.contains(&missing.to_string()), "{refusal}");
    }
}
