//! Arguments of `adwright render`.

use super::{ComputeArgs, ConfigArgs};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `adwright render`.
#[derive(Debug, Args)]
pub(crate) struct RenderArgs {
    /// Stable Diffusion as diffusers lays it out, its URL, or a single .safetensors or .ckpt file (default: diffusion.model)
    #[arg(long, value_name = "DIR")]
    pub(crate) sd: Option<String>,
    /// A ControlNet for edges as diffusers lays it out, its URL, or a single .safetensors, .pth or .ckpt file (default: diffusion.controlnet)
    #[arg(long, value_name = "DIR")]
    pub(crate) controlnet: Option<String>,
    /// An adapter of the model: a .safetensors file, or the URL of a directory that has one (default: diffusion.lora)
    #[arg(long, value_name = "FILE")]
    pub(crate) lora: Option<String>,
    /// The product: a PNG with transparency, or a PNG or JPEG on pure white
    #[arg(long, value_name = "FILE")]
    pub(crate) product: PathBuf,
    /// What is around it
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// Steps (default: diffusion.steps)
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u32>,
    /// The sampler: euler-a, euler, ddim or dpmpp-2m (default: diffusion.sampler)
    #[arg(long, value_name = "NAME")]
    pub(crate) scheduler: Option<String>,
    /// Width in pixels (default: that of --latents, or diffusion.width)
    #[arg(long, value_name = "N")]
    pub(crate) width: Option<u32>,
    /// Height in pixels (default: that of --latents, or diffusion.height)
    #[arg(long, value_name = "N")]
    pub(crate) height: Option<u32>,
    /// Seed of the first picture's noise, as diffusers takes it; each further picture takes the next
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Pictures
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) num: u64,
    /// Noise to begin with instead of the seeds': a safetensors file with [1 or N, 4, height / 8, width / 8]
    #[arg(long, value_name = "FILE")]
    pub(crate) latents: Option<PathBuf>,
    /// Where the pictures go; made when it does not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}
