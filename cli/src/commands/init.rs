//! `adwright init`: a checkpoint of a named shape with fresh weights.

use crate::args::{InitArgs, InitPreset};
use crate::config::Layers;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::{locations, output, shop, telemetry};
use common::Purpose;
use data::Corpus as _;
use models::checkpoint;
use models::device::Placement;
use models::diffusion::presets::{self, DiffusionPreset};
use models::presets::Preset;

/// Runs the command.
pub(super) fn run(args: &InitArgs) -> Outcome<()> {
    let config = Layers::default()
        .flag("--seed", "run.seed", super::seed(args.seed))
        .flag("--dtype", "compute.dtype", args.dtype.clone())
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::QUIET)?;
    locations::check_vacant(&args.out)?;
    let Placement { dtype, .. } = Placement::parse("cpu", &config.compute.dtype).or_configuration()?;
    let texts = shop::world(&config)?.corpus().texts();
    let seed = shop::seed(&config, Purpose::Initialisation, 0);
    let mut stage = Progress::detect().stage("weights");
    let told = &mut |done, all| stage.update(done, all, "");
    match Shape::from(args.preset) {
        Shape::Language(preset) => {
            let tokenizer = preset.tokenizer(texts.iter())?;
            checkpoint::init(preset, tokenizer, seed, dtype, &args.out, told)?;
        }
        Shape::Diffusion(preset) => presets::init(preset, texts.iter(), seed, dtype, &args.out, told)?,
    }
    drop(stage);
    output::line(&args.out.display().to_string())?;
    Ok(())
}

/// Language models read pictures, diffusion models paint them.
enum Shape {
    Language(Preset),
    Diffusion(DiffusionPreset),
}

impl From<InitPreset> for Shape {
    fn from(preset: InitPreset) -> Self {
        match preset {
            InitPreset::Tiny => Self::Language(Preset::Tiny),
            InitPreset::Llava15 => Self::Language(Preset::Llava15),
            InitPreset::Llava16 => Self::Language(Preset::Llava16),
            InitPreset::CaigReward => Self::Language(Preset::CaigReward),
            InitPreset::StableDiffusion15 => Self::Diffusion(DiffusionPreset::StableDiffusion15),
            InitPreset::ControlNetCanny => Self::Diffusion(DiffusionPreset::ControlNetCanny),
            InitPreset::TinyDiffusion => Self::Diffusion(DiffusionPreset::Tiny),
        }
    }
}
