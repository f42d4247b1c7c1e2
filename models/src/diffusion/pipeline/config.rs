//! How pictures are made.

use crate::diffusion::attention::SliceBytes;
use crate::diffusion::prompt::PromptStyle;
use crate::diffusion::schedule::Sampler;

/// How pictures are made.
#[derive(Debug, Clone, PartialEq)]
pub struct PipelineConfig {
    /// The sampler.
    pub sampler: Sampler,
    /// Its steps.
    pub steps: usize,
    /// How strongly the description is followed; at most 1 means no guidance, which halves the work.
    pub guidance: f64,
    /// How strongly the edges are followed.
    pub control_scale: f64,
    /// What is not wanted.
    pub negative_prompt: String,
    /// How descriptions are read.
    pub prompts: PromptStyle,
    /// Descriptions painted at once. 1 gives every picture the same bits whatever is painted beside it, on a CPU any number does; more
    /// are faster on a card that one does not fill.
    pub batch: usize,
    /// The most scores of attention held at once; none leaves it to the device.
    pub slice: Option<SliceBytes>,
    /// Side of the autoencoder's tiles in latents; none reads and paints pictures whole.
    pub tile: Option<usize>,
    /// Whether a network's memory is given back after its part of every picture.
    pub release: bool,
}

impl Default for PipelineConfig {
    /// CAIG's settings: 30 steps of Euler a, guidance 7.5, edges at full strength, no negative prompt.
    fn default() -> Self {
        Self {
            sampler: Sampler::EulerA,
            steps: 30,
            guidance: 7.5,
            control_scale: 1.0,
            negative_prompt: String::new(),
            prompts: PromptStyle::default(),
            batch: 1,
            slice: None,
            tile: None,
            release: false,
        }
    }
}
