//! What the stages and the roles of a demo would refuse at their starts, an hour from now: asked before the first one.

use super::earlier::Earlier;
use crate::checks::{Checks, LearnerFlags, listen};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::shop::{self, Shop};
use anyhow::Context as _;
use common::Purpose;
use data::Corpus;
use learner::LossConfig;
use models::device::parse_device;
use models::policy::Policy;
use models::presets::Preset;

/// What stages A and B are given, and whether the products can be trained on with each of the losses. The products.
pub(super) fn in_stages(
    checks: &mut Checks,
    earlier: Option<&Earlier>,
    losses: &[LossConfig],
) -> Option<Shop> {
    let shop = checks.brought_products();
    let policy = match earlier {
        // Neither stage runs: nobody reads what they would be given.
        Some(earlier) => checks.argument(earlier.policy(checks.config())),
        None => stages_inputs(checks),
    };
    let shop = shop?;
    for loss in losses {
        let mut settings = checks.config().learner.clone();
        settings.loss = loss.clone();
        checks.training(&settings, &shop, policy.as_ref());
    }
    Some(shop)
}

/// Texts, clicks and models that stages A and B read. The policy that stage A will make.
fn stages_inputs(checks: &mut Checks) -> Option<Policy> {
    let corpus = checks.corpus();
    checks.clicks();
    if !checks.config().reward.base.is_empty() {
        checks.model("reward.base", |config| &config.reward.base, "init");
    }
    let policy = initial_policy(checks, corpus.as_deref());
    if let (Some(policy), Some(corpus)) = (&policy, &corpus) {
        checks.corpus_fits(policy, corpus.as_ref());
    }
    policy
}

/// The policy that stage A will make, without the weights that it will have.
fn initial_policy(checks: &mut Checks, corpus: Option<&dyn Corpus>) -> Option<Policy> {
    if !checks.config().policy.base.is_empty() {
        return checks.base_policy();
    }
    let corpus = corpus?;
    checks.look("policy.preset", |config| -> Outcome<Policy> {
        let preset = Preset::parse_trainable(&config.policy.preset).or_configuration()?;
        let device = parse_device("cpu").or_configuration()?;
        let seed = shop::seed(config, Purpose::Pretraining, 0);
        // The process's own pool is started later, by whoever is not refused.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(config.demo.threads.pretrain);
        let pool = pool.build().context("cannot start threads for a tokenizer")?;
        let policy = pool.install(|| learner::fresh_policy(preset, &config.pretrain, corpus, &device, seed));
        Ok(policy.or_configuration()?.read_as(&config.policy.reading()))
    })
}

/// What the roles are given, and where they will listen.
pub(super) fn in_roles(checks: &mut Checks) {
    checks.placement();
    checks.outputs(&LearnerFlags::default());
    checks.dashboard();
    checks.guardrails();
    // Who asks for a demo is there to name another address: one that is taken is a mistake.
    let (dashboard, key) = (checks.config().dashboard.listen.clone(), "dashboard.listen");
    if !dashboard.is_empty() {
        checks.look(key, |_| listen(&dashboard, "--dashboard").or_configuration());
    }
    // Each process takes a free port of the host.
    let watched = checks.config().telemetry.metrics_listen.rsplit_once(':');
    if let Some(address) = watched.map(|(host, _)| format!("{host}:0")) {
        let key = "telemetry.metrics_listen";
        let flag = format!("--set {key}=HOST:PORT");
        checks.look(key, |_| listen(&address, &flag).or_configuration());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::demo::report::examples::report;

    #[test]
    fn what_an_earlier_demos_stages_read_is_not_asked_for_again() {
        let directory = tempfile::tempdir().unwrap();
        let json = serde_json::to_vec(&report()).unwrap();
        std::fs::write(directory.path().join("report.json"), json).unwrap();
        for model in ["policy", "reward-model"] {
            std::fs::create_dir(directory.path().join(model)).unwrap();
        }
        let earlier = Earlier::open(directory.path()).unwrap();
        let mut config = Config::default();
        config.shopworld.products = 16;
        config.corpus.source = "gone.json".into();
        config.click_log.source = "gone.jsonl".into();
        config.reward.base = "gone".into();
        config.policy.base = "gone".into();
        let wrong = |earlier: Option<&Earlier>| {
            let mut checks = Checks::on(config.clone());
            in_stages(&mut checks, earlier, &[]);
            checks.into_mistakes()
        };
        assert_eq!(wrong(None).len(), 4, "{:?}", wrong(None));
        // Its policy has no files.
        let found = wrong(Some(&earlier));
        assert!(
            found.len() == 1 && found[0].to_string().starts_with("--from"),
            "{found:?}"
        );
    }
}
