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
    let preset = Preset::from(args.preset);
    let texts = shop::world(&config)?.corpus().texts();
    let tokenizer = preset.tokenizer(texts.iter())?;
    let seed = shop::seed(&config, Purpose::Initialisation, 0);
    let mut stage = Progress::detect().stage("weights");
    checkpoint::init(preset, tokenizer, seed, dtype, &args.out, &mut |done, all| {
        stage.update(done, all, "");
    })?;
    drop(stage);
    output::line(&args.out.display().to_string())?;
    Ok(())
}

impl From<InitPreset> for Preset {
    fn from(preset: InitPreset) -> Self {
        match preset {
            InitPreset::Tiny => Self::Tiny,
            InitPreset::Llava15 => Self::Llava15,
            InitPreset::Llava16 => Self::Llava16,
            InitPreset::CaigReward => Self::CaigReward,
        }
    }
}
