//! Attaching, detaching, exporting and loading a LoRA adapter of the language model.
//!
//! An adapter travels under the names and in the layout of the PEFT library, so that its tools read our files:
//! `base_model.model.<module>.lora_A.weight`, `[rank, input]`, and `lora_B`, `[output, rank]`.

use burn::module::Param;
use burn::tensor::DType;

use super::Llava;
use crate::error::ModelError;
use crate::init::stream_seed;
use crate::linear::Linear;
use crate::llama::{LlamaDecoderLayer, LlamaForCausalLm};
use crate::lora::{BranchDropout, HEAD, LoraBranch, LoraConfig};
use crate::weights::{NamedTensors, apply_matching, collect, in_other_layout, swap_hf_layout, train_only};

/// Where PEFT puts the adapted model in its own module tree.
const PEFT_ROOT: &str = "base_model.model.";

/// The two factors: the end of our path, the end of PEFT's name.
const FACTORS: [(&str, &str); 2] = [(".lora.a", ".lora_A.weight"), (".lora.b", ".lora_B.weight")];

impl Llava {
    /// The model with a fresh branch beside every target, replacing any adapter it had. With `B` zero the outputs stay
    /// as they are.
    ///
    /// # Errors
    /// As [`LoraConfig::check`].
    pub fn with_adapter(mut self, config: &LoraConfig, seed: u64) -> Result<Self, ModelError> {
        config.check()?;
        let device = self.language_model.model.embed_tokens.weight.lazy_device();
        for Adaptable { place, name, linear } in adaptable(&mut self.language_model) {
            let (input, output) = linear.widths();
            let seed = stream_seed(seed, &place);
            linear.lora = config
                .targets(name)
                .then(|| LoraBranch::init(input, output, config, seed, &device));
        }
        Ok(self)
    }

    /// The model without its adapter: exactly the base, with which it shares every weight. Cheap.
    pub fn without_adapter(&self) -> Self {
        let mut base = self.clone();
        adaptable(&mut base.language_model).for_each(|layer| layer.linear.lora = None);
        base
    }

    /// The model for one pass of training in which every branch drops a share of its inputs, each by a mask of its own
    /// that follows from `seed`. All weights are shared.
    ///
    /// # Panics
    /// In the pass, when `rate` is not at least 0 and below 1.
    #[must_use]
    pub fn with_adapter_dropout(&self, rate: f64, seed: u64) -> Self {
        let mut model = self.clone();
        for Adaptable { place, linear, .. } in adaptable(&mut model.language_model) {
            let seed = stream_seed(seed, &place);
            if let Some(branch) = &mut linear.lora {
                branch.dropout = (rate > 0.0).then_some(BranchDropout { rate, seed });
            }
        }
        model
    }

    /// The model with its adapter folded into the weights, `W + scale · A B`, in their number format; the sum is made in
    /// f32. Weights beside which there is no branch are shared.
    #[must_use]
    pub fn folded(mut self) -> Self {
        for Adaptable { linear, .. } in adaptable(&mut self.language_model) {
            if let Some(LoraBranch { a, b, scale, .. }) = linear.lora.take() {
                let weight = linear.weight.val();
                let dtype = weight.dtype();
                let change = a.val().matmul(b.val()) * scale;
                linear.weight = Param::from_tensor((weight.cast(DType::F32) + change).cast(dtype));
            }
        }
        self
    }

    /// Marks the adapter's factors as the only parameters that get gradients. The marks take effect on an autodiff
    /// device: call `train()` (of [`Module`](burn::module::Module)) to go there.
    pub fn trainable_adapter_only(self) -> Self {
        train_only(self, is_factor)
    }

    /// The adapter under PEFT's names and in its layout; empty when there is none.
    pub fn adapter(&self) -> NamedTensors {
        let factors = collect(self, is_factor)
            .into_iter()
            .map(|(name, data)| (peft_name(&name), data));
        swap_hf_layout(factors.collect()).expect("the layout table knows the factors of an adapter")
    }

    /// The model with the values of `adapter`, which must hold exactly the factors attached by
    /// [`with_adapter`](Self::with_adapter). Parameters keep their identity, so optimizer state stays valid.
    ///
    /// # Errors
    /// [`ModelError::WeightNames`], [`ModelError::WeightShape`] or [`ModelError::WeightDtype`] when it does not fit.
    pub fn load_adapter(self, adapter: &NamedTensors) -> Result<Self, ModelError> {
        self.load_laid_out_adapter(in_other_layout(adapter)?)
    }

    /// The same with values that lie as in our modules already, under PEFT's names, and are taken as they lie
    /// ([`from_safetensors_laid_out`](crate::weights::from_safetensors_laid_out)).
    ///
    /// # Errors
    /// As [`load_adapter`](Self::load_adapter).
    pub fn load_laid_out_adapter(self, adapter: NamedTensors) -> Result<Self, ModelError> {
        let mut factors = adapter
            .into_iter()
            .map(|(name, data)| (module_path(&name), data))
            .collect();
        apply_matching(self, &mut factors, is_factor)
    }
}

/// A layer that a branch may stand beside.
struct Adaptable<'a> {
    /// Where it stands in the language model.
    place: String,
    /// Its last name.
    name: &'static str,
    linear: &'a mut Linear,
}

/// All of a language model, its head last.
fn adaptable(language_model: &mut LlamaForCausalLm) -> impl Iterator<Item = Adaptable<'_>> {
    let LlamaForCausalLm { model, lm_head } = language_model;
    let layers = model.layers.iter_mut().enumerate();
    let of_layer = |(index, layer)| {
        projections(layer).map(|(name, linear)| Adaptable {
            place: format!("layers.{index}.{name}"),
            name,
            linear,
        })
    };
    let head = Adaptable {
        place: HEAD.to_owned(),
        name: HEAD,
        linear: lm_head,
    };
    layers.flat_map(of_layer).chain([head])
}

/// The seven linear layers of a decoder layer by their last name.
fn projections(layer: &mut LlamaDecoderLayer) -> [(&'static str, &mut Linear); 7] {
    let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
    [
        ("q_proj", &mut attention.q_proj),
        ("k_proj", &mut attention.k_proj),
        ("v_proj", &mut attention.v_proj),
        ("o_proj", &mut attention.o_proj),
        ("gate_proj", &mut mlp.gate_proj),
        ("up_proj", &mut mlp.up_proj),
        ("down_proj", &mut mlp.down_proj),
    ]
}

/// Whether a parameter of this path is a factor of an adapter.
pub(crate) fn is_factor(path: &str) -> bool {
    FACTORS.iter().any(|(ours, _)| path.ends_with(ours))
}

fn peft_name(path: &str) -> String {
    let renamed = FACTORS
        .iter()
        .find_map(|(ours, theirs)| Some(format!("{}{theirs}", path.strip_suffix(ours)?)));
    format!("{PEFT_ROOT}{}", renamed.unwrap_or_else(|| path.to_owned()))
}

/// The inverse of [`peft_name`]; a name of another form stays as it is and is then reported as unused.
fn module_path(name: &str) -> String {
    let inner = name.strip_prefix(PEFT_ROOT).unwrap_or(name);
    // The decoder and the head of a base that transformers since 4.52 has loaded, or the LLaVA repository.
    let decoder = ["model.language_model.layers.", "model.layers."];
    let ours = decoder.iter().find_map(|theirs| {
        Some(format!(
            "language_model.model.layers.{}",
            inner.strip_prefix(theirs)?
        ))
    });
    let head = || {
        inner
            .starts_with("lm_head.")
            .then(|| format!("language_model.{inner}"))
    };
    let ours = ours.or_else(head);
    let inner = ours.as_deref().unwrap_or(inner);
    let renamed = FACTORS
        .iter()
        .find_map(|(ours, theirs)| Some(format!("{}{ours}", inner.strip_suffix(theirs)?)));
    renamed.unwrap_or_else(|| name.to_owned())
}

/// The module that a branch of PEFT's naming stands beside.
pub(crate) fn adapted_module(branch: &str) -> String {
    let path = module_path(&format!("{branch}.lora_A.weight"));
    path.strip_suffix(FACTORS[0].0).unwrap_or(&path).to_owned()
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::optim::GradientsParams;
    use burn::tensor::TensorData;

    use super::*;
    use crate::batch::{CompletionBatch, CompletionRow, collate};
    use crate::presets::tests::policy;

    fn batch() -> CompletionBatch {
        let row = CompletionRow {
            prompt_ids: &[1, 20, 21],
            image: None,
            completion_ids: &[22, 23, 2],
        };
        collate(&[row], &[], &policy(1).config.row_limits()).unwrap()
    }

    fn sums(model: &Llava) -> TensorData {
        model.completion_log_probs(&batch(), None).sums().into_data()
    }

    fn noisy(model: Llava) -> Llava {
        let noise = model.adapter().into_iter().map(|(name, data)| {
            let values: Vec<f32> = (0..data.num_elements())
                .map(|i| 0.01 * ((i % 7) as f32 - 3.0))
                .collect();
            (name, TensorData::new(values, data.shape().clone()))
        });
        model.load_adapter(&noise.collect()).unwrap()
    }

    #[test]
    fn a_fresh_adapter_changes_nothing_and_a_loaded_one_does() {
        let base = policy(1).model;
        let adapted = base.clone().with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
        assert_eq!(sums(&adapted), sums(&base));
        assert_ne!(sums(&noisy(adapted)), sums(&base));
    }

    #[test]
    fn without_its_adapter_the_model_is_exactly_the_base() {
        let base = policy(1).model;
        let adapted = noisy(base.clone().with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
        assert_eq!(sums(&adapted.without_adapter()), sums(&base));
        assert!(adapted.without_adapter().adapter().is_empty());
    }

    #[test]
    fn the_branch_adds_scale_times_a_times_b_to_the_weight_and_can_be_folded_into_it() {
        let base = policy(1).model;
        let adapted = noisy(base.clone().with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
        let folded = adapted.clone().folded();
        assert!(folded.adapter().is_empty());
        let tolerance = burn::tensor::Tolerance::absolute(1e-4);
        sums(&adapted).assert_approx_eq::<f32>(&sums(&folded), tolerance);
        assert_ne!(sums(&folded), sums(&base));
    }

    #[test]
    fn gradients_reach_every_factor_and_no_weight_of_the_base() {
        let adapted = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
        let model = noisy(adapted).trainable_adapter_only().train();
        let loss = model.completion_log_probs(&batch(), None).mean_negative();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        // Three layers, seven projections, two factors.
        assert_eq!(gradients.len(), 3 * 7 * 2);
        for layer in &model.language_model.model.layers {
            let mut layer = layer.clone();
            for (name, linear) in projections(&mut layer) {
                let lora = linear.lora.as_ref().unwrap();
                for (factor, id) in [("A", lora.a.id), ("B", lora.b.id)] {
                    let norm = gradients
                        .get::<2>(id)
                        .unwrap()
                        .square()
                        .sum()
                        .into_scalar::<f32>();
                    assert!(norm > 0.0, "{name} {factor}");
                }
            }
        }
    }

    #[test]
    fn a_gradient_is_the_slope_of_the_loss() {
        let adapted = noisy(policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
        let loss = |model: &Llava| model.completion_log_probs(&batch(), None).mean_negative();
        let model = adapted.clone().trainable_adapter_only().train();
        let gradients = GradientsParams::from_grads(loss(&model).backward(), &model);
        let factor = |model: &Llava| {
            model.language_model.model.layers[1]
                .self_attn
                .v_proj
                .lora
                .clone()
                .unwrap()
                .a
        };
        let gradient = gradients.get::<2>(factor(&model).id).unwrap();
        let norm = gradient.clone().square().sum().sqrt().into_scalar::<f32>();
        let at = |step: f32| {
            let mut moved = adapted.clone();
            let value = factor(&adapted).val() + gradient.clone() * (step / norm);
            let branch = moved.language_model.model.layers[1]
                .self_attn
                .v_proj
                .lora
                .as_mut()
                .unwrap();
            branch.a = Param::from_tensor(value);
            loss(&moved).into_scalar::<f32>()
        };
        let slope = (at(0.5) - at(-0.5)) / 1.0;
        assert!(
            (slope / norm - 1.0).abs() < 0.02,
            "slope {slope}, gradient norm {norm}"
        );
    }

    #[test]
    fn names_and_layout_are_those_of_peft() {
        let adapted = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
        let adapter = adapted.adapter();
        let name = "base_model.model.language_model.model.layers.2.mlp.down_proj.lora";
        assert_eq!(adapter[&format!("{name}_A.weight")].shape().as_slice(), [4, 256]);
        assert_eq!(adapter[&format!("{name}_B.weight")].shape().as_slice(), [96, 4]);
        assert_eq!(adapter.len(), 3 * 7 * 2);
        for (theirs, ours) in [
            (
                "model.language_model.layers.2.mlp.up_proj",
                "language_model.model.layers.2.mlp.up_proj",
            ),
            (
                "model.layers.2.mlp.up_proj",
                "language_model.model.layers.2.mlp.up_proj",
            ),
            ("lm_head", "language_model.lm_head"),
            ("language_model.lm_head", "language_model.lm_head"),
        ] {
            assert_eq!(adapted_module(&format!("base_model.model.{theirs}")), ours);
        }
    }

    #[test]
    fn the_head_is_adapted_where_it_is_asked_for_and_everything_holds_of_it_too() {
        let base = policy(1).model;
        let config = LoraConfig::new(4, 8.0).with_head();
        let fresh = base.clone().with_adapter(&config, 7).unwrap();
        assert_eq!(sums(&fresh), sums(&base));
        let adapter = fresh.adapter();
        assert_eq!(adapter.len(), (3 * 7 + 1) * 2);
        let name = "base_model.model.language_model.lm_head.lora";
        assert_eq!(adapter[&format!("{name}_A.weight")].shape().as_slice(), [4, 96]);

        // Of the projections nothing, so that what changes is the head's.
        let alone = |names: &NamedTensors| -> NamedTensors {
            let zeroed = names.iter().map(|(name, data)| match name.contains("lm_head") {
                true => (name.clone(), data.clone()),
                false => (name.clone(), TensorData::zeros::<f32, _>(data.shape().clone())),
            });
            zeroed.collect()
        };
        let adapted = noisy(fresh.clone());
        let adapted = fresh.load_adapter(&alone(&adapted.adapter())).unwrap();
        assert_ne!(sums(&adapted), sums(&base));
        assert_eq!(sums(&adapted.without_adapter()), sums(&base));
        let folded = adapted.clone().folded();
        assert!(folded.adapter().is_empty());
        let tolerance = burn::tensor::Tolerance::absolute(1e-4);
        sums(&adapted).assert_approx_eq::<f32>(&sums(&folded), tolerance);

        let model = adapted
            .with_adapter_dropout(0.5, 3)
            .trainable_adapter_only()
            .train();
        let loss = model.completion_log_probs(&batch(), None).mean_negative();
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        let branch = model.language_model.lm_head.lora.as_ref().unwrap();
        assert!(branch.dropout.is_some());
        for id in [branch.a.id, branch.b.id] {
            let norm = gradients.get::<2>(id).unwrap().square().sum();
            assert!(norm.into_scalar::<f32>() > 0.0);
        }
    }

    #[test]
    fn an_adapter_comes_back_as_it_left() {
        let adapted = noisy(policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
        let other = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 8).unwrap();
        assert_ne!(other.adapter(), adapted.adapter());
        assert_eq!(
            other.load_adapter(&adapted.adapter()).unwrap().adapter(),
            adapted.adapter()
        );
    }

    #[test]
    fn an_adapter_of_another_rank_or_with_a_missing_factor_is_refused() {
        let adapted = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
        let other = policy(1).model.with_adapter(&LoraConfig::new(2, 8.0), 7).unwrap();
        assert!(matches!(
            adapted.clone().load_adapter(&other.adapter()),
            Err(ModelError::WeightShape { .. })
        ));
        let mut short = adapted.adapter();
        short.pop_first();
        assert!(matches!(
            adapted.load_adapter(&short),
            Err(ModelError::WeightNames { .. })
        ));
    }

    #[test]
    fn only_the_targets_get_a_branch_and_unknown_targets_are_refused() {
        let config = |targets: &[&str]| LoraConfig {
            targets: targets.iter().map(|target| target.to_string()).collect(),
            ..LoraConfig::new(4, 8.0)
        };
        let adapted = policy(1)
            .model
            .with_adapter(&config(&["q_proj", "v_proj"]), 7)
            .unwrap();
        assert_eq!(adapted.adapter().len(), 3 * 2 * 2);
        for (bad, word) in [(config(&["qproj"]), "qproj"), (config(&[]), "target")] {
            let error = policy(1).model.with_adapter(&bad, 7).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(policy(1).model.with_adapter(&LoraConfig::new(0, 8.0), 7).is_err());
    }
}
