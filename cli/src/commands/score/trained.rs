//! The same of a reward model that was trained here from nothing: it is asked nothing but about a caption, and knows how sure it is.

use super::Score;
use crate::args::ScoreArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use anyhow::{Context as _, anyhow};
use common::{Digest, Sides};
use image::RgbaImage;
use models::ctr::{CtrForm, RewardModel};
use models::device::{Placement, parse_device};
use reward_server::{CreativeGroup, score_groups};
use std::path::Path;

/// Both creatives, or both orders of them, in one pass.
const AT_ONCE: usize = 2;

/// Whether it can be asked so. It is small: all of it is read.
///
/// # Errors
/// A mistake of configuration.
pub(super) fn look(args: &ScoreArgs, directory: &Path) -> Outcome<()> {
    let cpu = parse_device("cpu").or_configuration()?;
    let model = RewardModel::load(directory, &cpu).context("--model");
    check(args, directory, &model.or_configuration()?)
}

fn check(args: &ScoreArgs, directory: &Path, model: &RewardModel) -> Outcome<()> {
    if args.question.is_none() {
        return Ok(());
    }
    Err(anyhow!(
        "--question: {} holds a reward model of form {}, which reads no question; name the product with --caption",
        directory.display(),
        model.form()
    ))
    .or_configuration()
}

/// What it says.
///
/// # Errors
/// A mistake of configuration: a question, or a directory that holds no whole model; a model that gives no number.
pub(super) fn score(
    args: &ScoreArgs,
    directory: &Path,
    placement: &Placement,
    creatives: [&RgbaImage; 2],
) -> Outcome<Score> {
    let model = RewardModel::load(directory, &placement.device).or_configuration()?;
    check(args, directory, &model)?;
    let group = CreativeGroup {
        caption: args.caption.clone().unwrap_or_default(),
        creatives: creatives
            .map(|creative| model.processor.composite(creative))
            .to_vec(),
    };
    let scores = score_groups(&model, &[group], AT_ONCE).remove(0)?;
    let rewards = [scores.rewards[0], scores.rewards[1]];
    // Without a taste for sides, both orders say the same.
    let sides = scores.sides.unwrap_or_else(|| {
        let alike = |&reward: &f64| Sides {
            left: reward,
            right: reward,
        };
        rewards.iter().map(alike).collect()
    });
    Ok(Score {
        logits: [sides[0].left, sides[1].right],
        swapped_logits: [sides[0].right, sides[1].left],
        p_left: match rewards[0] > rewards[1] {
            true => scores.confidence,
            false => 1.0 - scores.confidence,
        },
        // One that compares says nothing of a creative alone.
        ctr: (model.form() == CtrForm::Siamese).then(|| rewards.map(|reward| model.calibration.ctr(reward))),
        model_digest: Digest::from_bytes(model.digest()?).to_string(),
    })
}
