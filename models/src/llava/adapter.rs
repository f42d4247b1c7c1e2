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
mod tests;
