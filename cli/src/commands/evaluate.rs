//! `adwright evaluate`: a policy, alone and with adapters, on the test products of a catalogue, or all where none
//! are held out, with fixed prompts and seeds; or the
//! versions of a run as they come.

mod follow;
mod too_late;

use crate::args::EvaluateArgs;
use crate::checks::Checks;
use crate::config::Config;
use crate::evaluation::{Evaluation, Evaluator, MeasuredOn, WinRate, win_rate};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::node_cache::Local;
use crate::progress::Progress;
use crate::shop::{self, Shop};
use crate::{locations, node_cache, output, role, telemetry};
use actor::Generator;
use anyhow::Context as _;
use common::Purpose;
use models::peft::Adapter;
use proto::Network;
use proto::observe::Pulse;
use proto::tls::Transport;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    reward_model: String,
    catalogue: String,
    /// Products that were measured on.
    products: usize,
    /// Whether those are held out of the catalogue; otherwise they are any of it.
    held_out: bool,
    /// Descriptions of each.
    samples: usize,
    /// The base first, then the adapters in the order in which they were given.
    policies: Vec<Figures>,
    /// Each adapter against each policy before it.
    comparisons: Vec<Comparison>,
}

#[derive(Serialize)]
struct Figures {
    /// `null` for the base.
    adapter: Option<String>,
    #[serde(flatten)]
    figures: Evaluation,
}

#[derive(Serialize)]
struct Comparison {
    adapter: Option<String>,
    against: Option<String>,
    #[serde(flatten)]
    rate: WinRate,
}

/// Runs the command.
pub(super) fn run(args: &EvaluateArgs) -> Outcome<()> {
    let path = |path: &Path| path.display().to_string();
    let layers = super::layers(&args.config, &args.compute)
        .flag("--model", "paths.policy", args.model.as_deref().map(path))
        .flag(
            "--reward-model",
            "paths.reward_model",
            args.reward_model.as_deref().map(path),
        )
        .flag("--catalog", "catalogue.source", args.catalog.as_deref().map(path))
        .flag("--learner", "endpoints.learner", args.learner.clone())
        .flag("--metrics", "telemetry.metrics_listen", args.metrics.clone())
        .flag("--seed", "run.seed", super::seed(args.seed))
        .sets(&args.config.sets);
    let mut checks = Checks::of(layers)?;
    checks.argument(telemetry::check());
    if args.follow {
        return follow::run(checks, args);
    }
    for adapter in &args.adapters {
        checks.adapter_of("--adapter", adapter);
    }
    let security = match checks.config().actor.image_generator {
        Generator::Remote => checks.looking_on(),
        Generator::Shopworld | Generator::Diffusion => None,
    };
    let shop = checks.evaluator();
    let config = checks.finish()?;
    telemetry::init(telemetry::QUIET)?;
    let _kernels = role::runtime(&config)?;
    let models = Models::bring(&config)?;
    let policy = models.policy.directory.as_path();
    let adapters: Vec<(Option<String>, Option<Adapter>)> = std::iter::once(Ok((None, None)))
        .chain(args.adapters.iter().map(|given| {
            let directory = node_cache::model(&config, "--adapter", given)?.directory;
            let adapter = Adapter::load_for(&directory, policy).or_configuration()?;
            Ok((Some(path(given)), Some(adapter)))
        }))
        .collect::<Outcome<_>>()?;
    let progress = Progress::detect();
    let runtime = role::small_runtime()?;
    let transport = security.map_or_else(Transport::plain, |security| security.transport);
    let (network, handle) = (transport.network(), runtime.handle().clone());
    let mut evaluator = models.evaluator(&config, shop, network, handle, &Pulse::default())?;
    let mut stage = progress.stage("evaluation");
    let mut policies = vec![];
    for (number, (name, adapter)) in adapters.into_iter().enumerate() {
        let figures = match &adapter {
            None => evaluator.evaluate_base()?,
            Some(adapter) => evaluator
                .evaluate_with(adapter)
                .with_context(|| name.clone().unwrap_or_default())
                .or_configuration()?,
        };
        stage.update(number as u64 + 1, args.adapters.len() as u64 + 1, "");
        policies.push(Figures {
            adapter: name,
            figures,
        });
    }
    drop(stage);
    let bootstrap = shop::seed(&config, Purpose::Bootstrap, 0);
    let samples = config.demo.samples;
    let pairs = (0..policies.len()).flat_map(|one| (0..one).map(move |other| (one, other)));
    let comparisons = pairs.map(|(one, other)| {
        let (one, other): (&Figures, &Figures) = (&policies[one], &policies[other]);
        Comparison {
            adapter: one.adapter.clone(),
            against: other.adapter.clone(),
            rate: win_rate(&one.figures.rewards, &other.figures.rewards, samples, bootstrap),
        }
    });
    let report = Report {
        model: models.policy.name,
        reward_model: models.reward.name,
        catalogue: config.catalogue.source.clone(),
        products: policies[0].figures.rewards.len() / samples,
        held_out: evaluator.measured_on() == MeasuredOn::TestProducts,
        samples,
        comparisons: comparisons.collect(),
        policies,
    };
    if args.json {
        output::json(&report)?;
        return Ok(());
    }
    describe(&report)?;
    Ok(())
}

/// What is measured, and what says how good that is: on this machine.
struct Models {
    policy: Local,
    reward: Local,
}

impl Models {
    /// Brings both here.
    ///
    /// # Errors
    /// As [`node_cache::model`]; configuration at fault when a directory holds no model.
    fn bring(config: &Config) -> Outcome<Self> {
        let policy = node_cache::model(config, "paths.policy", &config.paths.policy)?;
        let reward = node_cache::model(config, "paths.reward_model", &config.paths.reward_model)?;
        locations::check_model(&policy.directory, "pretrain")?;
        locations::check_model(&reward.directory, "train-reward")?;
        Ok(Self { policy, reward })
    }

    /// Loads them, and what actors render with; the products, where nobody has looked at them yet.
    ///
    /// # Errors
    /// Configuration at fault; an image service that does not serve.
    fn evaluator(
        &self,
        config: &Config,
        shop: Option<Shop>,
        network: Arc<dyn Network>,
        runtime: Handle,
        pulse: &Pulse,
    ) -> Outcome<Evaluator> {
        let shop = match shop {
            Some(shop) => shop,
            None => Shop::open(config)?,
        };
        let shop = shop.with_actors_generator(config, "evaluate", network, runtime)?;
        let (policy, reward) = (&self.policy.directory, &self.reward.directory);
        let evaluator = Evaluator::load(config, shop, policy, reward, pulse).or_configuration()?;
        evaluator.check_products().or_configuration()?;
        Ok(evaluator)
    }
}

fn describe(report: &Report) -> std::io::Result<()> {
    let (products, samples) = (report.products, report.samples);
    let kind = if report.held_out {
        "test products"
    } else {
        "products, none held out,"
    };
    output::line(&format!(
        "{} on {products} {kind} x {samples} descriptions",
        report.model
    ))?;
    output::line("   reward  true CTR    match  invalid  distinct  adapter")?;
    for Figures { adapter, figures } in &report.policies {
        let percent =
            |value: Option<f64>| value.map_or("-".into(), |value| format!("{:.2} %", 100.0 * value));
        output::line(&format!(
            "{:>9.3} {:>9} {:>8} {:>8} {:>9}  {}",
            figures.reward,
            percent(figures.true_ctr),
            figures.match_rate.map_or("-".into(), |rate| format!("{rate:.3}")),
            percent(Some(figures.invalid_rate)),
            figures.distinct_descriptions,
            name(adapter)
        ))?;
    }
    for Comparison {
        adapter,
        against,
        rate,
    } in &report.comparisons
    {
        let [low, high] = rate.win_rate_ci.map(|bound| 100.0 * bound);
        output::line(&format!(
            "{} scores above {} in {:.1} % [{low:.1}, {high:.1}]",
            name(adapter),
            name(against),
            100.0 * rate.win_rate
        ))?;
    }
    Ok(())
}

fn name(adapter: &Option<String>) -> &str {
    adapter.as_deref().unwrap_or("the base")
}
