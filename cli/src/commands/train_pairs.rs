//! `adwright train-pairs`: an adapter from a file of preference pairs, without actors and reward model.

use super::stage::{self, Reporter};
use crate::args::TrainPairsArgs;
use crate::checks::Checks;
use crate::config::Config;
use crate::failure::Outcome;
use crate::{locations, node_cache};
use anyhow::Context as _;
use data::PreferenceFile;
use learner::{OfflineInputs, OfflineProgress};
use models::peft::Adapter;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Runs the command.
pub(super) fn run(args: TrainPairsArgs) -> Outcome<()> {
    let TrainPairsArgs {
        pairs,
        policy,
        epochs,
        steps,
        train: common,
    } = args;
    let checks = stage::configured(&common, |layers| layers.flag("--policy", "paths.policy", policy))?;
    let out = common
        .out
        .clone()
        .unwrap_or_else(|| checks.config().paths.adapter.clone().into());
    let written = steps.clone();
    let look = move |checks: &mut Checks| {
        checks.steps(written.as_deref());
        if let Some(directory) = checks.model("paths.policy", |config| &config.paths.policy, "pretrain") {
            checks.policy_in("paths.policy", &directory);
        }
        checks.imported("--pairs", PreferenceFile::load(&pairs))
    };
    let bring = move |mut config: Config, pairs: Option<PreferenceFile>| {
        let policy = node_cache::model(&config, "paths.policy", &config.paths.policy)?;
        config.paths.policy = policy.directory.display().to_string();
        locations::check_model(Path::new(&config.paths.policy), "pretrain")?;
        let given = Pairs {
            pairs: Arc::new(pairs.context("the pairs were neither read nor refused")?),
            epochs,
            steps,
            base: policy.name,
        };
        Ok((config, given))
    };
    let train = |(config, given): (Config, Pairs),
                 out: PathBuf,
                 reporter: &mut Reporter,
                 cancel: &CancellationToken| train(&config, &out, given, reporter, cancel);
    stage::run("training on pairs", &common, checks, out, look, bring, train)
}

/// What is trained on, and how.
struct Pairs {
    pairs: Arc<PreferenceFile>,
    epochs: u64,
    steps: Option<PathBuf>,
    /// What the adapter says it belongs to.
    base: String,
}

fn train(
    config: &Config,
    out: &Path,
    pairs: Pairs,
    reporter: &mut Reporter,
    cancel: &CancellationToken,
) -> Outcome<(Value, String)> {
    let inputs = OfflineInputs {
        run_seed: config.run.seed,
        policy: stage::policy(config, Path::new(&config.paths.policy), reporter)?,
        pairs: pairs.pairs.clone(),
        epochs: pairs.epochs,
        steps_file: pairs.steps,
        threads: config.compute.threads,
    };
    let mut last = None;
    let weights = learner::train_on_pairs(
        &config.learner,
        inputs,
        &mut |progress: OfflineProgress| {
            let note = format!("loss {:.3}, accuracy {:.2}", progress.loss, progress.accuracy_dpo);
            reporter.update(progress.batches, progress.of, note);
            last = Some(progress);
        },
        cancel,
    )
    .map_err(super::blame_learner)?;
    let adapter = Adapter::new(config.learner.lora.clone(), weights);
    adapter.save(out, &pairs.base)?;
    let count = pairs.pairs.preferences().len();
    let (loss, accuracy) = last.map_or((f64::NAN, f64::NAN), |last| (last.loss, last.accuracy_dpo));
    let line = format!("{count} pairs, loss {loss:.3}, accuracy {accuracy:.2}");
    let result = json!({
        "adapter": out, "pairs": count, "epochs": pairs.epochs, "loss": loss, "accuracy_dpo": accuracy,
    });
    Ok((result, line))
}
