//! Low-rank adaptation: which layers get a branch, and the branch itself.
//!
//! The product `A B` is never formed: the input goes through the narrow middle, so that a training step costs
//! `rank / width` of a dense one and the frozen weight can be shared between threads and versions.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::dropout::Dropout;
use crate::error::ModelError;
use crate::init;

/// The last name of the language model's head.
pub(crate) const HEAD: &str = "lm_head";

/// Which layers are adapted and how strongly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Width of the middle, at least 1. No default: the table that holds it has one (CAIG: 128).
    pub rank: usize,
    /// Strength: the branch is multiplied by `alpha / rank`, with `rslora` by `alpha / sqrt(rank)`. No default: the table that holds it has one (CAIG: 256).
    pub alpha: f64,
    /// Last names of the adapted layers; only those of the language model are looked at: the seven projections of its decoder, and its head,
    /// `lm_head`. Default: the seven, as the reference implementation chooses them (every linear layer but the head), if the table that holds it
    /// has no other.
    #[serde(default = "LoraConfig::all_projections")]
    pub targets: Vec<String>,
    /// Whether the strength falls with the root of the rank only ("rsLoRA",
    /// [arXiv 2312.03732](https://arxiv.org/abs/2312.03732)). Default no, as in PEFT.
    #[serde(default)]
    pub rslora: bool,
    /// Share of a branch's inputs that is dropped in training, at least 0 and below 1. Default 0, as in PEFT; CAIG's
    /// script asks for 0.05, which its trainer then switches off.
    #[serde(default)]
    pub dropout: f64,
}

impl LoraConfig {
    /// A configuration that adapts the seven projections of every decoder layer.
    pub fn new(rank: usize, alpha: f64) -> Self {
        Self {
            rank,
            alpha,
            targets: Self::all_projections(),
            rslora: false,
            dropout: 0.0,
        }
    }

    /// `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`.
    pub fn all_projections() -> Vec<String> {
        [
            "q_proj",
            "k_proj",
            "v_proj",
            "o_proj",
            "gate_proj",
            "up_proj",
            "down_proj",
        ]
        .map(String::from)
        .to_vec()
    }

    /// The same that adapts the head too.
    #[must_use]
    pub fn with_head(mut self) -> Self {
        self.targets.push(HEAD.into());
        self
    }

    /// What can be adapted.
    fn known() -> Vec<String> {
        let head = [HEAD.to_owned()];
        Self::all_projections().into_iter().chain(head).collect()
    }

    /// What of it a table of settings may not ask for: the field, its value and what would be right. Adapters beyond these
    /// bounds can still be read.
    pub fn mistakes(&self) -> Vec<(&'static str, String, String)> {
        let known = Self::known();
        let targets = !self.targets.is_empty() && self.targets.iter().all(|t| known.contains(t));
        let fields = [
            (
                (1..=1024).contains(&self.rank),
                "rank",
                self.rank.to_string(),
                "1 to 1024".to_owned(),
            ),
            (
                (1e-3..=1e6).contains(&self.alpha),
                "alpha",
                self.alpha.to_string(),
                "0.001 to 1000000".to_owned(),
            ),
            (
                (0.0..1.0).contains(&self.dropout),
                "dropout",
                self.dropout.to_string(),
                "at least 0 and below 1".to_owned(),
            ),
            (
                targets,
                "targets",
                format!("{:?}", self.targets),
                format!("one or more of {}", known.join(", ")),
            ),
        ];
        let wrong = fields.into_iter().filter(|(fine, ..)| !fine);
        wrong
            .map(|(_, field, value, wanted)| (field, value, wanted))
            .collect()
    }

    /// Refuses what cannot be attached.
    ///
    /// # Errors
    /// [`ModelError::Adapter`] with what is wrong and what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        let known = Self::known();
        let unknown = self.targets.iter().find(|target| !known.contains(target));
        let reason = match unknown {
            Some(target) => format!("target {target:?} is none of {}", known.join(", ")),
            None if self.targets.is_empty() => "no target given, expected at least one".into(),
            None if self.rank == 0 => "rank is 0, expected at least 1".into(),
            None if !(self.alpha > 0.0 && self.alpha.is_finite()) => {
                format!("alpha is {}, expected a finite number above 0", self.alpha)
            }
            None if !(0.0..1.0).contains(&self.dropout) => {
                format!("dropout is {}, expected at least 0 and below 1", self.dropout)
            }
            None => return Ok(()),
        };
        Err(ModelError::Adapter { reason })
    }

    /// Factor of the branch, `alpha / rank` or `alpha / sqrt(rank)`.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    pub(crate) fn targets(&self, layer: &str) -> bool {
        self.targets.iter().any(|target| target == layer)
    }
}

/// The branch beside a frozen weight ("LoRA", [arXiv 2106.09685](https://arxiv.org/abs/2106.09685), eq. 3):
/// `h = x W + (alpha / r) (x A) B`.
#[derive(Module, Debug)]
pub struct LoraBranch {
    /// `A`, `[input, rank]`.
    pub a: Param<Tensor<2>>,
    /// `B`, `[rank, output]`; zero at the start, so that a fresh adapter changes nothing.
    pub b: Param<Tensor<2>>,
    /// [`LoraConfig::scale`].
    pub scale: f64,
    /// Dropout of its input, for a pass of training only.
    #[module(skip)]
    pub dropout: Option<BranchDropout>,
}

/// Dropout of one branch in one pass. Every forward draws the same mask, so that a pass that computes a layer twice
/// computes the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BranchDropout {
    /// Share of the inputs that is dropped, at least 0 and below 1.
    pub rate: f64,
    /// Of the mask.
    pub seed: u64,
}

impl LoraBranch {
    /// A fresh branch: `A` uniform in ±1/sqrt(`input`) (PEFT's Kaiming initialisation with a = sqrt 5), `B` zero.
    pub fn init(input: usize, output: usize, config: &LoraConfig, seed: u64, device: &Device) -> Self {
        let bound = 1.0 / (input as f64).sqrt();
        Self {
            a: init::uniform_param([input, config.rank], bound, seed, device),
            b: init::constant_param([config.rank, output], 0.0, device),
            scale: config.scale(),
            dropout: None,
        }
    }

    /// `scale * (x A) B`; the factor is applied in the narrow middle. The branch computes in its own number format,
    /// so that f32 factors train beside a bf16 base.
    ///
    /// # Shapes
    /// `[rows, input]` -> `[rows, output]`
    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let (a, b, dtype) = (self.a.val(), self.b.val(), x.dtype());
        let x = x.cast(a.dtype());
        let x = match self.dropout {
            Some(BranchDropout { rate, seed }) => Dropout::new(rate, seed).apply(x),
            None => x,
        };
        let narrow = x.matmul(a);
        let narrow = if self.scale == 1.0 {
            narrow
        } else {
            narrow.mul_scalar(self.scale)
        };
        narrow.matmul(b).cast(dtype)
    }
}
