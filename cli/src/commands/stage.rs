//! What the trainings without actors have in common as commands: they tell all that is wrong at once, report progress, can be
//! interrupted, and end with one result.

use crate::args::TrainArgs;
use crate::checks::Checks;
use crate::config::{Config, Layers};
use crate::events::StageEvent;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::progress::{Progress, Stage};
use crate::role::Host;
use crate::{locations, output, telemetry};
use anyhow::Context as _;
use models::policy::Policy;
use std::path::{Path, PathBuf};
use tokio_util::sync::CancellationToken;

/// The exit status of a stage that was stopped before it began: that of one stopped later.
const STOPPED: u8 = 1;

/// Where a stage's progress goes.
pub(super) enum Reporter {
    /// To the person watching.
    Display(Stage),
    /// To the parent process, as JSON lines.
    Events,
}

impl Reporter {
    /// How far the stage is, and a word on it. A parent that is gone closes standard input as well: that ends the stage.
    pub(super) fn update(&mut self, done: u64, total: u64, note: String) {
        match self {
            Self::Display(stage) => stage.update(done, total, &note),
            Self::Events => _ = output::json(&StageEvent::Progress { done, total, note }),
        }
    }
}

/// The configuration of a training stage, with the `flags` that are its own.
///
/// # Errors
/// When it cannot be read.
pub(super) fn configured(args: &TrainArgs, flags: impl FnOnce(Layers) -> Layers) -> Outcome<Checks> {
    let layers = flags(super::layers(&args.config, &args.compute))
        .flag("--seed", "run.seed", super::seed(args.seed))
        .sets(&args.config.sets);
    Checks::of(layers)
}

/// The policy of a directory in any layout, as the configuration reads it. Loading it is progress too.
///
/// # Errors
/// A mistake of configuration that names the file.
pub(super) fn policy(config: &Config, directory: &Path, reporter: &mut Reporter) -> Outcome<Policy> {
    let placement = config.compute.placement().or_configuration()?;
    let progress = &mut |done, all| reporter.update(done, all, "weights".into());
    let policy = Policy::load_on(directory, &placement, progress).or_configuration()?;
    Ok(policy.read_as(&config.policy.reading()))
}

/// Looks at everything that is asked for (`look` at what it is trained from) and tells all that is wrong; brings here what is trained from,
/// then runs `train` on a blocking thread. All of it is interrupted by signals. Reports what `train` returns: a result for scripts, and a
/// line for people.
pub(super) fn run<T, G, L, B, F>(
    name: &'static str,
    args: &TrainArgs,
    mut checks: Checks,
    out: PathBuf,
    look: L,
    bring: B,
    train: F,
) -> Outcome<()>
where
    T: Send + 'static,
    G: Send + 'static,
    L: FnOnce(&mut Checks) -> T + Send + 'static,
    B: FnOnce(Config, T) -> Outcome<G> + Send + 'static,
    F: FnOnce(G, PathBuf, &mut Reporter, &CancellationToken) -> Outcome<(serde_json::Value, String)>,
    F: Send + 'static,
{
    checks.argument(telemetry::check());
    checks.argument(locations::check_vacant(&out));
    checks.placement();
    if !checks.in_range() {
        // Nothing can be started with these; what else is wrong is told with them.
        look(&mut checks);
        return checks.finish().map(drop);
    }
    let config = checks.config().clone();
    let host = Host::start(&config, args.compute.with_parent)?;
    let looked = host.prepare(move || {
        let looked = look(&mut checks);
        Ok((checks.finish()?, looked))
    });
    let Some((config, looked)) = looked? else {
        return host.stop_early(STOPPED);
    };
    telemetry::init(telemetry::QUIET)?;
    let shown = out.display().to_string();
    let Some(given) = host.prepare(move || bring(config, looked))? else {
        return host.stop_early(STOPPED);
    };
    let mut reporter = match args.events {
        true => Reporter::Events,
        false => Reporter::Display(Progress::detect().stage(name)),
    };
    let shutdown = host.shutdown();
    let (result, line) = host.run(async {
        let work = move || train(given, out, &mut reporter, &shutdown);
        tokio::task::spawn_blocking(work)
            .await
            .with_context(|| format!("{name} panicked"))?
    })?;
    if args.events {
        output::json(&StageEvent::Finished { result })?;
    } else if args.json {
        output::json(&result)?;
    } else {
        output::line(&line)?;
        output::line(&format!("written to {shown}"))?;
    }
    Ok(())
}
