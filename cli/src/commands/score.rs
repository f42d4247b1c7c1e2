//! `adwright score`: which of two creatives a reward model takes to attract more clicks.

mod trained;

use super::model::read_picture;
use crate::args::{Preprocess, ScoreArgs};
use crate::checks::Checks;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::{locations, node_cache, output, role, telemetry};
use anyhow::{Context as _, anyhow};
use common::Digest;
use image::RgbaImage;
use models::ctr::{CAIG_QUESTION, CAIG_QUESTION_WITH_CAPTION, CaigReward, RewardModel};
use models::device::Placement;
use serde::Serialize;
use std::path::Path;

/// What `--json` prints. Index 0 belongs to the picture given as `--left`, in every field.
#[derive(Serialize)]
struct Score {
    logits: [f64; 2],
    /// With the right picture on the left, mapped back.
    swapped_logits: [f64; 2],
    /// Softmax of the mean of both; of a model that was trained here from nothing its calibrated probability.
    p_left: f64,
    ctr: Option<[f64; 2]>,
    model_digest: String,
}

/// Runs the command.
pub(super) fn run(args: &ScoreArgs) -> Outcome<()> {
    let mut checks = Checks::of(super::layers(&args.config, &args.compute).sets(&args.config.sets))?;
    checks.argument(telemetry::check());
    checks.placement();
    let creatives = [("--left", &args.left), ("--right", &args.right)]
        .map(|(flag, path)| checks.argument(creative(flag, path, args.preprocess)));
    if let Some(directory) = locations::local_model(&args.model.to_string_lossy()) {
        checks.argument(look(args, &directory));
    }
    let config = checks.finish()?;
    let [Some(left), Some(right)] = creatives else {
        return Err(anyhow!("a picture was neither read nor refused").into());
    };
    telemetry::init(telemetry::QUIET)?;
    let _kernels = role::runtime(&config)?;
    let directory = node_cache::model(&config, "--model", &args.model)?.directory;
    let placement = config.compute.placement().or_configuration()?;
    let score = match RewardModel::is_meant_by(&directory) {
        true => trained::score(args, &directory, &placement, [&left, &right])?,
        false => score(args, &directory, &placement, [&left, &right])?,
    };
    if args.json {
        output::json(&score)?;
    } else {
        output::line(&format!(
            "left {:.1} %, right {:.1} %",
            100.0 * score.p_left,
            100.0 * (1.0 - score.p_left)
        ))?;
    }
    Ok(())
}

/// Whether a directory holds a model that can be asked so; of a large one, whether it is there.
fn look(args: &ScoreArgs, directory: &Path) -> Outcome<()> {
    if !directory.is_dir() {
        return Err(anyhow!("--model: {} is no model directory", directory.display())).or_configuration();
    }
    match RewardModel::is_meant_by(directory) {
        true => trained::look(args, directory),
        false => Ok(()),
    }
}

/// What a model in CAIG's form says.
fn score(
    args: &ScoreArgs,
    directory: &Path,
    placement: &Placement,
    [left, right]: [&RgbaImage; 2],
) -> Outcome<Score> {
    let mut stage = Progress::detect().stage("weights");
    let progress = &mut |done, all| stage.update(done, all, "");
    let Placement { device, dtype } = placement;
    let model = CaigReward::load(directory, device, *dtype, progress).or_configuration()?;
    drop(stage);
    let question = question(args);
    let compare = |left: &RgbaImage, right: &RgbaImage| {
        model
            .compare(left, right, &question)
            .context("--question")
            .or_configuration()
    };
    let (there, back) = (compare(left, right)?, compare(right, left)?);
    let swapped_logits = [back.logits[1], back.logits[0]];
    let margin = (there.logits[0] - there.logits[1] + swapped_logits[0] - swapped_logits[1]) / 2.0;
    Ok(Score {
        logits: there.logits,
        swapped_logits,
        p_left: 1.0 / (1.0 + (-margin).exp()),
        ctr: there.ctr,
        model_digest: Digest::from_bytes(model.digest).to_string(),
    })
}

fn question(args: &ScoreArgs) -> String {
    match (&args.question, &args.caption) {
        (Some(question), _) => question.clone(),
        (None, Some(caption)) => CaigReward::question_about(CAIG_QUESTION_WITH_CAPTION, caption),
        (None, None) => CAIG_QUESTION.to_owned(),
    }
}

/// The reference shows whatever lies under transparent pixels.
fn creative(flag: &str, path: &Path, preprocess: Preprocess) -> Outcome<RgbaImage> {
    let mut picture = read_picture(flag, path)?;
    if preprocess == Preprocess::Compat {
        picture.pixels_mut().for_each(|pixel| pixel[3] = 255);
    }
    Ok(picture)
}
