//! A run's versions as they are published: each is measured on the test products (on all where none are held out), and the learner is told what it does there.
//!
//! Only the newest is measured: those that come while one is being measured are passed over but for the last. Asked to stop, it drops
//! what it is measuring: the next start measures the newest version anew.

use super::{Models, too_late};
use crate::args::EvaluateArgs;
use crate::checks::Checks;
use crate::evaluation::Evaluator;
use crate::failure::{Failure, OrConfiguration as _, Outcome, ended};
use crate::monitoring::Watched;
use crate::observer::Observer;
use crate::role::Host;
use crate::{output, telemetry};
use anyhow::{Context as _, anyhow};
use common::{Artifact, DecidingSettings, PolicyVersion};
use futures::FutureExt as _;
use models::checkpoint::{WeightFile, weight_files};
use models::compute_thread::ComputeThread;
use models::peft::{Adapter, read_adapter_config};
use models::weights::from_safetensors;
use proto::observe::Pulse;
use proto::tls::Transport;
use proto::{Manifest, pb};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    version: PolicyVersion,
    #[serde(flatten)]
    values: &'a BTreeMap<String, f64>,
}

/// The name of its role.
const NAME: &str = "evaluator";

/// How long the learner may take to confirm what it was being told when the evaluator was asked to stop.
const LAST_REPORT: Duration = Duration::from_secs(2);

/// Follows the run of the configured learner until its last version is measured, or until it is asked to stop. Where the learner does not
/// answer because its run is over, nothing is measured.
///
/// # Errors
/// Configuration at fault: all that can be known to be, then that the run is measured on other products, or its base is not the configured
/// policy; else when the learner does not answer, or a version cannot be measured.
pub(super) fn run(mut checks: Checks, args: &EvaluateArgs) -> Outcome<()> {
    let security = checks.looking_on();
    let Some(security) = security.filter(|_| checks.are_passed()) else {
        // Nothing is started with these; what else is wrong is told with them.
        checks.evaluator();
        return checks.finish().map(drop);
    };
    let config = &checks.config().clone();
    let telemetry = telemetry::start(config, NAME)?;
    let host = Host::start(config, args.compute.with_parent)?;
    let pulse = Pulse::default();
    let watched = Watched::of(NAME, &pulse, &telemetry, &security, |_| ());
    host.watch(config, watched)?;
    let beats = pulse.clone();
    let (network, handle) = (security.transport.network(), host.handle());
    let load = move || {
        let shop = checks.evaluator();
        let given = checks.finish()?;
        let models = Models::bring(&given)?;
        let evaluator = models.evaluator(&given, shop, network, handle, &beats)?;
        let measured = evaluator.measured_products();
        let evaluator = ComputeThread::spawn("evaluation", 1, move || Ok::<_, anyhow::Error>(evaluator))?;
        Ok((models.policy.directory, measured, evaluator))
    };
    let Some((policy, measured, evaluator)) = host.prepare(load)? else {
        return host.stop_early(args.unfinished_status);
    };
    let drain = host.shutdown();
    host.run(async {
        security.keep_renewed();
        let evaluator = Measuring(Some(evaluator));
        let joining = Joined::join(&security.transport, &config.endpoints.learner, policy, measured);
        let complete = match drain.run_until_cancelled(joining).await {
            Some(Ok(joined)) => {
                pulse.set_ready(true);
                follow(joined, &evaluator, &drain, args.json).await?
            }
            Some(Err(failure)) => {
                let over = drain.run_until_cancelled(too_late::is_over(config, &failure));
                match over.await {
                    Some(true) => true,
                    Some(false) => return Err(failure),
                    None => false,
                }
            }
            None => false,
        };
        pulse.set_ready(false);
        tracing::info!(complete, "evaluator finished");
        ended(complete, args.unfinished_status)
    })
}

/// The models. Nobody waits for what they compute when this is dropped: it may take minutes.
struct Measuring(Option<ComputeThread<Evaluator>>);

impl Measuring {
    /// What a version does.
    async fn measured(
        &self,
        observer: &Observer,
        version: PolicyVersion,
        manifest: &Manifest,
    ) -> Outcome<BTreeMap<String, f64>> {
        let adapter = observer.adapter(manifest).await;
        let adapter = adapter.with_context(|| format!("adapter of {version}"))?;
        tracing::info!(%version, "measuring");
        let described = manifest.adapter_config_json.clone();
        let thread = self.0.as_ref().context("the evaluation's thread is gone")?;
        let measured = thread.call(move |evaluator| measure(evaluator, &described, &adapter));
        Ok(measured.await.map_err(anyhow::Error::from)??)
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        let thread = self.0.take();
        drop(tokio::task::spawn_blocking(move || drop(thread)));
    }
}

/// A run that is followed.
struct Joined {
    observer: Observer,
    announced: Streaming<pb::PolicyManifest>,
    newest: Option<Manifest>,
}

impl Joined {
    /// Asks the learner for its announcements, as one who measures on these products, and compares the run's base with the policy in
    /// `policy`.
    async fn join(
        transport: &Transport,
        learner: &str,
        policy: PathBuf,
        measured: DecidingSettings,
    ) -> Outcome<Self> {
        let observer = Observer::connect("evaluate", transport, learner).await?;
        let mut announced = observer.announcements_to(measured).await?;
        let newest = next(&mut announced, &observer).await?;
        if let Some(manifest) = &newest {
            let base = manifest.base.clone();
            let checked = tokio::task::spawn_blocking(move || check_base(&base, &policy)).await;
            checked.map_err(anyhow::Error::from)??;
        }
        Ok(Self {
            observer,
            announced,
            newest,
        })
    }
}

/// Measures version after version; answers whether the last one was, which it is not when `drain` is asked for before. What is being
/// measured then is dropped.
async fn follow(
    joined: Joined,
    evaluator: &Measuring,
    drain: &CancellationToken,
    json: bool,
) -> Outcome<bool> {
    let Joined {
        observer,
        mut announced,
        mut newest,
    } = joined;
    while let Some(manifest) = newest {
        let version = manifest.version;
        let measured = evaluator.measured(&observer, version, &manifest);
        let Some(values) = drain.run_until_cancelled(measured).await else {
            tracing::info!(%version, "stopped while it was being measured: nobody is told of it");
            return Ok(false);
        };
        let values = values?;
        let reporting = observer.report(version, values.clone());
        if !report(reporting, version, &values, drain).await? {
            return Ok(false);
        }
        tell(version, &values, json)?;
        if manifest.last {
            return Ok(true);
        }
        newest = match drain.run_until_cancelled(next(&mut announced, &observer)).await {
            Some(newest) => newest?,
            None => return Ok(false),
        };
    }
    Err(anyhow!(
        "{}: its announcements ended before the last version",
        observer.lost()
    )
    .into())
}

/// Tells the learner what a version does by `reporting`; answers whether it has confirmed that, for which it has a moment once `drain` is
/// asked for. A learner that fails to then is no failure: it may be stopped as well.
async fn report(
    reporting: impl Future<Output = anyhow::Result<()>>,
    version: PolicyVersion,
    values: &BTreeMap<String, f64>,
    drain: &CancellationToken,
) -> anyhow::Result<bool> {
    let too_late = async {
        drain.cancelled().await;
        tokio::time::sleep(LAST_REPORT).await;
    };
    let reported = tokio::select! {
        reported = reporting => reported,
        () = too_late => Err(anyhow!("no answer in time")),
    };
    match reported {
        Ok(()) => Ok(true),
        Err(error) if drain.is_cancelled() => {
            let error = format!("{error:#}");
            tracing::warn!(%version, ?values, error, "measured, and the learner has not confirmed it");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The newest version that has been announced, or else the next one; `None` when there will be none.
async fn next(
    announced: &mut Streaming<pb::PolicyManifest>,
    observer: &Observer,
) -> anyhow::Result<Option<Manifest>> {
    let mut newest = announced.message().await.with_context(|| observer.lost())?;
    while newest.is_some()
        && let Some(Ok(Some(newer))) = announced.message().now_or_never()
    {
        newest = Some(newer);
    }
    let newest = newest.map(Manifest::try_from).transpose();
    newest.context("the learner announced something malformed")
}

/// What the policy does with an adapter as it was announced.
fn measure(
    evaluator: &mut Evaluator,
    described: &str,
    adapter: &[u8],
) -> anyhow::Result<BTreeMap<String, f64>> {
    let adapter = Adapter::new(read_adapter_config(described)?, from_safetensors(adapter)?);
    Ok(evaluator.evaluate_with(&adapter)?.told())
}

/// Refuses another base than the run's: its adapters would fit, and do something else.
fn check_base(base: &[Artifact], policy: &Path) -> Outcome<()> {
    for WeightFile { name, path } in weight_files(policy).or_configuration()? {
        let own = store::artifact_of_file(&name, &path);
        let own = own.with_context(|| format!("cannot read {}", path.display()))?;
        let theirs = base.iter().find(|artifact| artifact.name() == name);
        if theirs.map(Artifact::digest) != Some(own.digest()) {
            return Err(Failure::Configuration(anyhow!(
                "{} is not the run's base: expected the policy that the learner was given (paths.policy)",
                path.display()
            )));
        }
    }
    Ok(())
}

fn tell(version: PolicyVersion, values: &BTreeMap<String, f64>, json: bool) -> Outcome<()> {
    if json {
        return Ok(output::json(&Line { version, values })?);
    }
    let values = values.iter().map(|(name, value)| format!("{name} {value:.4}"));
    let values: Vec<String> = values.collect();
    output::line(&format!("{version}  {}", values.join("  ")))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::LearnerEpoch;
    use std::future::{pending, ready};

    /// What becomes of a report, by an evaluator that drains or not.
    async fn reported(
        reporting: impl Future<Output = anyhow::Result<()>>,
        drains: bool,
    ) -> anyhow::Result<bool> {
        let (epoch, drain) = (LearnerEpoch(1), CancellationToken::new());
        if drains {
            drain.cancel();
        }
        let version = PolicyVersion { epoch, number: 3 };
        report(reporting, version, &BTreeMap::new(), &drain).await
    }

    #[tokio::test]
    async fn a_report_that_fails_is_a_failure_unless_the_evaluator_drains() {
        let gone = || ready(Err(anyhow!("gone")));
        assert!(reported(gone(), false).await.is_err());
        assert!(!reported(gone(), true).await.unwrap());
        assert!(reported(ready(Ok(())), true).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_learner_that_does_not_answer_keeps_a_draining_evaluator_no_longer_than_a_moment() {
        let asked = tokio::time::timeout(2 * LAST_REPORT, reported(pending(), true));
        assert!(!asked.await.expect("it waits on").unwrap());
    }
}
