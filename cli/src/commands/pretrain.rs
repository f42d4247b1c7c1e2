//! `adwright pretrain`: stage A, from nothing or a loaded policy to the initial one.

use super::stage::{self, Reporter};
use crate::args::PretrainArgs;
use crate::checks::Checks;
use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::{node_cache, shop};
use anyhow::Context as _;
use common::Purpose;
use data::Corpus;
use learner::{PretrainProgress, PretrainStart, Pretraining};
use models::checkpoint::merge;
use models::device::parse_device;
use models::peft::Adapter;
use models::presets::Preset;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(super) fn run(args: &PretrainArgs) -> Outcome<()> {
    let (model, args) = (args.model.clone(), &args.train);
    let checks = stage::configured(args, |layers| layers.flag("--model", "policy.base", model))?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| checks.config().paths.policy.clone().into());
    stage::run("pre-training", args, checks, out, look, bring, train)
}

/// What is trained on, and whether the base can read it where that lies here.
fn look(checks: &mut Checks) -> Option<Box<dyn Corpus>> {
    let corpus = checks.corpus();
    if let (Some(base), Some(corpus)) = (checks.base_policy(), &corpus) {
        checks.corpus_fits(&base, corpus.as_ref());
    }
    corpus
}

/// With the base on this machine.
fn bring(mut config: Config, corpus: Option<Box<dyn Corpus>>) -> Outcome<(Config, Box<dyn Corpus>)> {
    config.policy.base = node_cache::base(&config, "policy.base", &config.policy.base)?;
    let corpus = corpus.context("the corpus was neither read nor refused")?;
    Ok((config, corpus))
}

fn train(
    (config, corpus): (Config, Box<dyn Corpus>),
    out: PathBuf,
    reporter: &mut Reporter,
    cancel: &CancellationToken,
) -> Outcome<(Value, String)> {
    let device = parse_device(&config.compute.device).or_configuration()?;
    let base = Some(Path::new(&config.policy.base)).filter(|base| !base.as_os_str().is_empty());
    let start = match base {
        None => PretrainStart::Fresh {
            preset: Preset::parse_trainable(&config.policy.preset).or_configuration()?,
            device: &device,
        },
        Some(base) => PretrainStart::Loaded(Box::new(stage::policy(&config, base, reporter)?)),
    };
    let mut last = None;
    let plan = Pretraining {
        config: &config.pretrain,
        start,
        corpus: corpus.as_ref(),
        seed: shop::seed(&config, Purpose::Pretraining, 0),
        threads: config.compute.threads,
    };
    let policy = learner::pretrain(
        plan,
        &mut |progress: PretrainProgress| {
            reporter.update(
                progress.step,
                progress.steps,
                format!("loss {:.3}", progress.loss),
            );
            last = Some(progress);
        },
        cancel,
    )
    .map_err(super::blame_learner)?;
    match base {
        None => policy.save(&out)?,
        Some(base) => {
            let adapter = Adapter::new(config.pretrain.lora.clone(), policy.model.adapter());
            merge(base, adapter, &out)?;
        }
    }
    let (steps, loss) = last.map_or((0, None), |progress| (progress.step, Some(progress.loss)));
    let parameters = policy.config.num_parameters();
    let line = format!(
        "{parameters} parameters, {steps} steps, loss {:.3} nats per token",
        loss.unwrap_or(f64::NAN)
    );
    Ok((
        json!({ "model": out, "steps": steps, "loss": loss, "parameters": parameters }),
        line,
    ))
}
