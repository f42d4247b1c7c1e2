//! The final adapter in its place: PEFT's two files, and beside them `lineage.json`, which says where the weights come from.
//!
//! `adapter_config.json` marks the adapter as complete: it is taken away first and written last. Whether the place can be
//! used is asked before a run begins and not when hours of it would be lost: first whose it is, which leaves it as it was, and when
//! nothing else is in the way whether it can be written to.

use crate::checkpoint::BaseFile;
use crate::config::LearnerConfig;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use common::{Artifact, Digest, PolicyVersion, RunId};
use failpoint::Point;
use models::peft::{ADAPTER_CONFIG, ADAPTER_WEIGHTS};
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};

/// The file that says where an adapter comes from.
pub(crate) const LINEAGE: &str = "lineage.json";

/// What is written and removed again to see whether the place can be written to.
const PROBE: &str = "adapter.probe";

/// Content of `lineage.json`.
#[derive(Serialize)]
pub(crate) struct Lineage<'a> {
    #[serde(flatten)]
    pub(crate) origin: Origin,
    pub(crate) version: PolicyVersion,
    pub(crate) adapter: Digest,
    pub(crate) base: Vec<BaseFile>,
    pub(crate) config: &'a LearnerConfig,
}

/// The run that an adapter comes from.
#[derive(Serialize, Deserialize)]
pub(crate) struct Origin {
    pub(crate) run_id: RunId,
    pub(crate) run_seed: u64,
}

impl Lineage<'_> {
    /// As it is stored.
    pub(crate) fn json(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("plain values have a JSON form")
    }
}

impl From<&Artifact> for BaseFile {
    fn from(file: &Artifact) -> Self {
        Self {
            name: file.name().to_owned(),
            digest: file.digest(),
        }
    }
}

/// Refuses a place that holds an adapter of another run.
///
/// # Errors
/// [`LearnerError::AdapterPlace`]; [`LearnerError::Store`] when a store that is no directory does not answer.
pub async fn check_owner(place: &Store, run_id: &RunId, run_seed: u64) -> Result<(), LearnerError> {
    let complete = place.exists(ADAPTER_CONFIG).await;
    if !complete.map_err(|source| unusable(place, "it cannot be read", source))? {
        return Ok(());
    }
    let remedy = "name another place or remove it";
    match origin(place).await {
        Some(origin) if (&origin.run_id, origin.run_seed) == (run_id, run_seed) => Ok(()),
        Some(Origin { run_id, run_seed }) => {
            let found = format!("it holds the adapter of run {run_id}, seed {run_seed}; {remedy}");
            Err(fault(place, &found, None))
        }
        None => {
            let found = format!("it holds an adapter whose run is unknown; {remedy}");
            Err(fault(place, &found, None))
        }
    }
}

/// Refuses a place that cannot be written to.
///
/// # Errors
/// [`LearnerError::AdapterPlace`]; [`LearnerError::Store`] when a store that is no directory does not answer.
pub(crate) async fn check_writable(place: &Store) -> Result<(), LearnerError> {
    let probed = match place.put(PROBE, &b"probe"[..]).await {
        Ok(()) => place.delete(PROBE).await,
        failed => failed,
    };
    probed.map_err(|source| unusable(place, "it cannot be written to", source))
}

/// A directory of this machine is for the user to put right; a store may answer at another moment.
fn unusable(place: &Store, reason: &str, source: StoreError) -> LearnerError {
    match place.url().scheme() {
        "file" => fault(place, reason, Some(source)),
        _ => source.into(),
    }
}

fn fault(place: &Store, reason: &str, source: Option<StoreError>) -> LearnerError {
    LearnerError::AdapterPlace {
        place: place.url().to_string(),
        reason: reason.to_owned(),
        source: source.map(Box::new),
    }
}

async fn origin(place: &Store) -> Option<Origin> {
    serde_json::from_slice(&place.get(LINEAGE).await.ok()?).ok()
}

/// Writes the newest published version.
///
/// # Errors
/// [`LearnerError::Store`] naming the file that could not be written.
pub(crate) async fn write(
    place: &Store,
    config: &LearnerConfig,
    control: &ControlPlane,
) -> Result<(), LearnerError> {
    let broadcast = &control.broadcast;
    let (newest, bytes) = broadcast.newest_adapter();
    let lineage = Lineage {
        origin: Origin {
            run_id: control.identity.run.clone(),
            run_seed: control.identity.run_seed,
        },
        version: newest.version,
        adapter: newest.adapter.digest(),
        base: broadcast.base().map(BaseFile::from).collect(),
        config,
    };
    let lineage = lineage.json();
    place.delete(ADAPTER_CONFIG).await?;
    place.put(LINEAGE, lineage).await?;
    failpoint::during(Point::AdapterWrite, place.put(ADAPTER_WEIGHTS, bytes)).await?;
    let content = broadcast.adapter_config_json().to_owned();
    Ok(place.put(ADAPTER_CONFIG, content).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::RetryConfig;
    use object_store::aws::AmazonS3Builder;
    use std::sync::Arc;

    async fn refusal(place: &Store, run: &str, seed: u64) -> Option<String> {
        let run = RunId::new(run).unwrap();
        let checked = match check_owner(place, &run, seed).await {
            Ok(()) => check_writable(place).await,
            refused => refused,
        };
        checked.err().map(|error| {
            assert!(error.is_configuration());
            error.to_string()
        })
    }

    #[tokio::test]
    async fn only_an_adapter_of_the_same_run_may_be_replaced() {
        let place = Store::open("memory:///").unwrap();
        assert_eq!(refusal(&place, "night", 4).await, None);
        assert!(!place.exists(PROBE).await.unwrap());
        let lineage = &br#"{"run_id": "night", "run_seed": 4, "version": "v1.2"}"#[..];
        place.put(LINEAGE, lineage).await.unwrap();
        assert_eq!(refusal(&place, "day", 4).await, None, "not complete");
        place.put(ADAPTER_CONFIG, &b"{}"[..]).await.unwrap();
        assert_eq!(refusal(&place, "night", 4).await, None);
        for (run, seed) in [("day", 4), ("night", 5)] {
            let message = refusal(&place, run, seed).await.unwrap();
            assert!(message.contains("the adapter of run night, seed 4"), "{message}");
        }
        place.put(LINEAGE, &b"?"[..]).await.unwrap();
        let message = refusal(&place, "night", 4).await.unwrap();
        assert!(
            message.contains("memory:///") && message.contains("unknown"),
            "{message}"
        );
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_to_is_refused_before_the_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("adapter");
        let place = Store::open(&format!("file://{}", path.display())).unwrap();
        std::fs::write(&path, "a file in the way").unwrap();
        let checks = [
            (check_writable(&place).await, "/adapter: it cannot be written to"),
            (
                check_owner(&place, &RunId::new("night").unwrap(), 4).await,
                "/adapter: it cannot be read",
            ),
        ];
        for (checked, words) in checks {
            let refusal = checked.unwrap_err();
            assert!(refusal.is_configuration(), "{refusal:?}");
            assert!(refusal.to_string().ends_with(words), "{refusal}");
        }
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_no_mistake_of_who_starts_the_run() {
        // Opening one prepares the process for clients of clouds.
        Store::open("s3://bucket").unwrap();
        let client = AmazonS3Builder::new()
            // Nobody listens there.
            .with_endpoint("http://127.0.0.1:1")
            .with_allow_http(true)
            .with_bucket_name("bucket")
            .with_region("nowhere")
            .with_access_key_id("id")
            .with_secret_access_key("secret")
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .build()
            .unwrap();
        let place = Store::over(Arc::new(client), "s3://bucket".parse().unwrap());
        let night = RunId::new("night").unwrap();
        for checked in [check_owner(&place, &night, 4).await, check_writable(&place).await] {
            let failure = checked.unwrap_err();
            assert!(matches!(failure, LearnerError::Store(_)), "{failure:?}");
            assert!(!failure.is_configuration());
        }
    }
}
