//! Arguments of the commands that read, ask and write model directories.

use super::{ComputeArgs, ConfigArgs, seeds};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `adwright evaluate`.
#[derive(Debug, Args)]
pub(crate) struct EvaluateArgs {
    /// Directory of the policy, or its URL (docs/models.md)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: Option<PathBuf>,
    /// An adapter in PEFT's layout or its URL, measured beside the policy; may be given several times
    #[arg(long = "adapter", value_name = "DIR")]
    pub(crate) adapters: Vec<PathBuf>,
    /// Directory of the reward model, or its URL
    #[arg(long, value_name = "DIR")]
    pub(crate) reward_model: Option<PathBuf>,
    /// Measure the versions of a run as they are published, until its last, and tell its learner what they do
    #[arg(long, conflicts_with = "adapters")]
    pub(crate) follow: bool,
    /// The learner of that run
    #[arg(long, value_name = "URL", requires = "follow")]
    pub(crate) learner: Option<String>,
    /// Serve GET /metrics and health checks here meanwhile, in plain text; port 0 takes a free one, which the log names
    #[arg(long, value_name = "HOST:PORT", requires = "follow")]
    pub(crate) metrics: Option<String>,
    /// Exit status when it was asked to stop before the last version was measured; a Kubernetes Job takes 0 for a finished one
    #[arg(long, value_name = "STATUS", default_value_t = 0, requires = "follow")]
    pub(crate) unfinished_status: u8,
    /// Products of a JSON catalogue ([{id, image, new_caption}]), or of its URL, instead of the simulated shop's
    #[arg(long, value_name = "FILE")]
    pub(crate) catalog: Option<PathBuf>,
    /// Seed of products, prompts and sampling
    #[arg(long, value_name = "N", value_parser = seeds(), allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Arguments of `adwright inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Directory of a policy, of a reward model, of an adapter in PEFT's layout, or of what paints, its URL (docs/models.md), or one
    /// file that paints
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a model is asked.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// A model directory: llava-hf, the LLaVA repository's layout, or one of ours; or its URL (docs/models.md)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// An adapter in PEFT's layout, or its URL
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: Option<PathBuf>,
    /// A picture: PNG or JPEG
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// What to ask
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: String,
    /// The prompt is templated already, with `<image>` where the picture goes
    #[arg(long)]
    pub(crate) raw_prompt: bool,
}

/// Arguments of `adwright generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Take the most probable token at every step
    #[arg(long, conflicts_with_all = ["temperature", "top_p"])]
    pub(crate) greedy: bool,
    /// Divides the logits before drawing
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) temperature: f64,
    /// Share of probability that tokens are drawn from
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub(crate) top_p: f64,
    /// Longest completion, in tokens
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(crate) max_new_tokens: usize,
    /// Seed of the draws
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Completions to draw
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub(crate) num: u64,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Arguments of `adwright logprob`.
#[derive(Debug, Args)]
pub(crate) struct LogprobArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// The completion; its end token is added
    #[arg(
        long,
        value_name = "TEXT",
        required_unless_present = "completion_ids",
        conflicts_with = "completion_ids"
    )]
    pub(crate) completion: Option<String>,
    /// The completion as tokens, to which none is added
    #[arg(long, value_name = "ID,ID,...", value_delimiter = ',', num_args = 1)]
    pub(crate) completion_ids: Option<Vec<u32>>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// Arguments of `adwright init`.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The shape
    #[arg(long, value_enum)]
    pub(crate) preset: InitPreset,
    /// Seed of the weights
    #[arg(long, value_name = "N", value_parser = seeds(), allow_negative_numbers = true)]
    pub(crate) seed: Option<u64>,
    /// Number format of the files: f32 or bf16
    #[arg(long, value_name = "DTYPE")]
    pub(crate) dtype: Option<String>,
    /// Where it goes; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Shapes of fresh checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InitPreset {
    /// The demo's policy, half a million parameters
    Tiny,
    /// LLaVA-1.5-7B in transformers' layout
    #[value(name = "llava-1.5-7b")]
    Llava15,
    /// LLaVA-v1.6-Vicuna-7B in transformers' layout
    #[value(name = "llava-1.6-7b")]
    Llava16,
    /// Stable Diffusion 1.5 in diffusers' layout
    #[value(name = "sd15")]
    StableDiffusion15,
    /// The ControlNet for edges that goes with it
    #[value(name = "controlnet-canny")]
    ControlNetCanny,
    /// Both in miniature, the ControlNet in controlnet/: paints in seconds on a CPU
    #[value(name = "tiny-sd")]
    TinyDiffusion,
    /// CAIG's reward model
    #[value(name = "caig-reward-7b")]
    CaigReward,
}

/// Arguments of `adwright convert`.
#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The policy's directory, or its URL (docs/models.md)
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// The layout to write
    #[arg(long, value_enum)]
    pub(crate) to: ConvertTo,
    /// Where it goes; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Layouts that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ConvertTo {
    /// transformers'
    LlavaHf,
    /// The LLaVA repository's
    LlavaOriginal,
}

/// Arguments of `adwright export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The adapter, in PEFT's layout, or its URL
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// The base it belongs to, or its URL
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// Fold the adapter into the base: a whole checkpoint in the base's own layout
    #[arg(long)]
    pub(crate) merge: bool,
    /// Where it goes; must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// Arguments of `adwright score`.
#[derive(Debug, Args)]
pub(crate) struct ScoreArgs {
    /// Directory of a reward model, CAIG's or your own, or its URL (docs/models.md)
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// A creative: PNG or JPEG
    #[arg(long, value_name = "FILE")]
    pub(crate) left: PathBuf,
    /// The other one
    #[arg(long, value_name = "FILE")]
    pub(crate) right: PathBuf,
    /// The product's caption, which the question then names
    #[arg(long, value_name = "TEXT", conflicts_with = "question")]
    pub(crate) caption: Option<String>,
    /// What is asked about the two; models that were trained here from nothing read no question
    #[arg(long, value_name = "TEXT")]
    pub(crate) question: Option<String>,
    /// How transparent pixels are shown
    #[arg(long, value_enum, default_value = "default")]
    pub(crate) preprocess: Preprocess,
    /// One JSON object on standard output
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    #[command(flatten)]
    pub(crate) compute: ComputeArgs,
}

/// How transparent pixels are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Preprocess {
    /// On the mean colour
    Default,
    /// With the colour that lies under them, as the reference does
    Compat,
}
