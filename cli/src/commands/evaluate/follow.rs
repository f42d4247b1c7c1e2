//! A run's versions as they are published: each is measured on the test products, and the learner is told what it does there.
//!
//! Only the newest is measured: those that come while one is being measured are passed over but for the last.

use crate::config::Config;
use crate::evaluation::Evaluator;
use crate::failure::{Failure, OrConfiguration as _, Outcome};
use crate::observer::Observer;
use crate::output;
use crate::security::Security;
use anyhow::{Context as _, anyhow};
use common::PolicyVersion;
use futures::FutureExt as _;
use models::checkpoint::{WeightFile, weight_files};
use models::compute_thread::ComputeThread;
use models::peft::{Adapter, read_adapter_config};
use models::weights::from_safetensors;
use proto::pb;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use tonic::Streaming;

/// A line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    version: PolicyVersion,
    #[serde(flatten)]
    values: &'a BTreeMap<String, f64>,
}

/// Follows the run of the configured learner until its last version is measured.
///
/// # Errors
/// Configuration at fault when the run's base is not the policy in `policy`; else when the learner does not answer, or a version cannot be
/// measured.
pub(super) async fn follow(config: &Config, evaluator: Evaluator, policy: &Path, json: bool) -> Outcome<()> {
    let transport = Security::asking(config)?;
    let observer = Observer::connect("evaluate", &transport, &config.endpoints.learner).await?;
    let mut announced = observer.announcements().await?;
    let evaluator = ComputeThread::spawn("evaluation", 1, move || Ok::<_, anyhow::Error>(evaluator))?;
    let mut newest = next(&mut announced, &observer).await?;
    if let Some(manifest) = &newest {
        let (base, policy) = (manifest.base.clone(), policy.to_owned());
        let checked = tokio::task::spawn_blocking(move || check_base(&base, &policy)).await;
        checked.map_err(anyhow::Error::from)??;
    }
    while let Some(manifest) = newest {
        let version = manifest.version.context("a manifest names no version")?;
        let version = PolicyVersion::try_from(version).map_err(anyhow::Error::from)?;
        let adapter = observer.adapter(&manifest).await;
        let adapter = adapter.with_context(|| format!("adapter of {version}"))?;
        let described = manifest.adapter_config_json;
        let measured = evaluator.call(move |evaluator| measure(evaluator, &described, &adapter));
        let values = measured.await.map_err(anyhow::Error::from)??;
        tell(version, &values, json)?;
        observer.report(version, values).await?;
        if manifest.last {
            return Ok(());
        }
        newest = next(&mut announced, &observer).await?;
    }
    Err(anyhow!(
        "{}: its announcements ended before the last version",
        observer.lost()
    )
    .into())
}

/// The newest version that has been announced, or else the next one; `None` when there will be none.
async fn next(
    announced: &mut Streaming<pb::PolicyManifest>,
    observer: &Observer,
) -> anyhow::Result<Option<pb::PolicyManifest>> {
    let mut newest = announced.message().await.with_context(|| observer.lost())?;
    while newest.is_some()
        && let Some(Ok(Some(newer))) = announced.message().now_or_never()
    {
        newest = Some(newer);
    }
    Ok(newest)
}

/// What the policy does with an adapter as it was announced.
fn measure(
    evaluator: &mut Evaluator,
    described: &str,
    adapter: &[u8],
) -> anyhow::Result<BTreeMap<String, f64>> {
    let adapter = Adapter {
        config: read_adapter_config(described)?,
        weights: from_safetensors(adapter)?,
    };
    Ok(evaluator.evaluate_with(&adapter)?.held_out())
}

/// Refuses another base than the run's: its adapters would fit, and do something else.
fn check_base(base: &[pb::Artifact], policy: &Path) -> Outcome<()> {
    for WeightFile { name, path } in weight_files(policy).or_configuration()? {
        let own = store::artifact_of_file(&name, &path);
        let own = own.with_context(|| format!("cannot read {}", path.display()))?;
        let theirs = base.iter().find(|artifact| artifact.name == name);
        let theirs = theirs.and_then(|artifact| artifact.digest.clone());
        if theirs != Some(own.digest().into()) {
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
