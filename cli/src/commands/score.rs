//! `adwright score`: which of two creatives CAIG's reward model takes to attract more clicks.

use super::model::read_picture;
use crate::args::{Preprocess, ScoreArgs};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::Progress;
use crate::{output, role, telemetry};
use anyhow::Context as _;
use image::RgbaImage;
use models::checkpoint::weights_digest;
use models::ctr::CaigReward;
use models::device::{parse_device, parse_dtype};
use serde::Serialize;
use std::path::Path;

/// The first question of the reference's pool without a caption, and of that with one (`shuffle_ali_data_postprocess.py`).
const QUESTION: &str =
    "Comparing the left part and right part of this image, which part is more suitable for advertising?";
const QUESTION_OF_PRODUCT: &str =
    "Comparing the left part and right part of this image, which part is more suitable for the product '{}'?";

/// What `--json` prints. Index 0 belongs to the picture given as `--left`, in every field.
#[derive(Serialize)]
struct Score {
    logits: [f64; 2],
    /// With the right picture on the left, mapped back.
    swapped_logits: [f64; 2],
    /// Softmax of the mean of both.
    p_left: f64,
    ctr: Option<[f64; 2]>,
    model_digest: String,
}

/// Runs the command.
pub(super) fn run(args: &ScoreArgs) -> Outcome<()> {
    let config = super::layers(&args.config, &args.compute)
        .sets(&args.config.sets)
        .resolve()
        .or_configuration()?;
    telemetry::init(telemetry::QUIET)?;
    let _kernels = role::runtime(&config)?;
    let [left, right] = [
        creative(&args.left, args.preprocess)?,
        creative(&args.right, args.preprocess)?,
    ];
    let device = parse_device(&config.compute.device).or_configuration()?;
    let dtype = parse_dtype(&config.compute.dtype).or_configuration()?;
    let mut stage = Progress::detect().stage("weights");
    let progress = &mut |done, all| stage.update(done, all, "");
    let model = CaigReward::load(&args.model, &device, dtype, progress).or_configuration()?;
    drop(stage);
    let question = question(args);
    let compare = |left: &RgbaImage, right: &RgbaImage| {
        model
            .compare(left, right, &question)
            .context("--question")
            .or_configuration()
    };
    let (there, back) = (compare(&left, &right)?, compare(&right, &left)?);
    let swapped_logits = [back.logits[1], back.logits[0]];
    let margin = (there.logits[0] - there.logits[1] + swapped_logits[0] - swapped_logits[1]) / 2.0;
    let score = Score {
        logits: there.logits,
        swapped_logits,
        p_left: 1.0 / (1.0 + (-margin).exp()),
        ctr: there.ctr,
        model_digest: weights_digest(&args.model).or_configuration()?,
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

fn question(args: &ScoreArgs) -> String {
    match (&args.question, &args.caption) {
        (Some(question), _) => question.clone(),
        (None, Some(caption)) => QUESTION_OF_PRODUCT.replace("{}", caption),
        (None, None) => QUESTION.to_owned(),
    }
}

/// The reference shows whatever lies under transparent pixels.
fn creative(path: &Path, preprocess: Preprocess) -> Outcome<RgbaImage> {
    let mut picture = read_picture(path)?;
    if preprocess == Preprocess::Compat {
        picture.pixels_mut().for_each(|pixel| pixel[3] = 255);
    }
    Ok(picture)
}
