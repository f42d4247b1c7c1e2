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
use models::peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Adapter};
use proto::pb;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use tonic::Streaming;

/// A line of `--json`.
#[derive(Serialize)]
struct Line {
    version: PolicyVersion,
    #[serde(flatten)]
    values: BTreeMap<String, f64>,
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
    let mut is_checked = false;
    while let Some(manifest) = newest(&mut announced, &observer).await? {
        if !is_checked {
            check_base(&manifest, policy)?;
            is_checked = true;
        }
        let version: PolicyVersion = manifest
            .version
            .context("a manifest names no version")?
            .try_into()
            .map_err(anyhow::Error::from)?;
        let adapter = fetch(&observer, &manifest).await;
        let adapter = adapter.with_context(|| format!("adapter of {version}"))?;
        let figures = evaluator
            .call(move |evaluator| evaluator.evaluate_with(&adapter))
            .await
            .map_err(anyhow::Error::from)??;
        let values = figures.held_out();
        tell(
            &Line {
                version,
                values: values.clone(),
            },
            json,
        )?;
        observer.report(version, values).await?;
        if manifest.last {
            return Ok(());
        }
    }
    Err(anyhow!(
        "{}: its announcements ended before the last version",
        observer.lost()
    )
    .into())
}

/// The newest version that has been announced, or else the next one; `None` when there will be none.
async fn newest(
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

/// An announced adapter, by way of a directory in PEFT's layout.
async fn fetch(observer: &Observer, manifest: &pb::PolicyManifest) -> anyhow::Result<Adapter> {
    let bytes = observer.adapter(manifest).await?;
    let described = manifest.adapter_config_json.clone();
    let read = move || -> anyhow::Result<Adapter> {
        let directory = tempfile::tempdir().context("cannot make a temporary directory")?;
        std::fs::write(directory.path().join(ADAPTER_WEIGHTS), bytes)?;
        std::fs::write(directory.path().join(ADAPTER_CONFIG), described)?;
        Ok(Adapter::load(directory.path())?)
    };
    tokio::task::spawn_blocking(read).await?
}

/// Refuses another base than the run's: its adapters would fit, and do something else.
fn check_base(manifest: &pb::PolicyManifest, policy: &Path) -> Outcome<()> {
    for WeightFile { name, path } in weight_files(policy).or_configuration()? {
        let own = store::artifact_of_file(&name, &path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let theirs = manifest.base.iter().find(|artifact| artifact.name == name);
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

fn tell(line: &Line, json: bool) -> Outcome<()> {
    if json {
        return Ok(output::json(line)?);
    }
    let values = line
        .values
        .iter()
        .map(|(name, value)| format!("{name} {value:.4}"));
    let values: Vec<String> = values.collect();
    output::line(&format!("{}  {}", line.version, values.join("  ")))?;
    Ok(())
}
