//! An evaluator that comes when the learner of its run has gone: whether the run is over, and nothing is left to be measured for anybody.

use crate::config::Config;
use crate::failure::Failure;
use crate::locations;
use ::actor::{ExpectedRun, end_of};
use anyhow::anyhow;
use common::RunId;
use common::run_end::RunEnd;
use proto::WireError;
use tonic::Status;

/// Whether `failure` is that of a learner that does not answer, and the end of its run stands in the run's store. An evaluator may have no
/// rights there: then nobody knows.
pub(super) async fn is_over(config: &Config, failure: &Failure) -> bool {
    if !is_absence(failure) {
        return false;
    }
    match stands(config).await {
        Ok(Some(end)) => {
            let (run, version) = (&end.run, end.version);
            tracing::info!(%run, %version, "the run was over before this evaluator could take part");
            true
        }
        Ok(None) => false,
        Err(error) => {
            let reason = format!("{error:#}");
            tracing::warn!(reason, "the store does not tell whether the run is over");
            false
        }
    }
}

fn is_absence(failure: &Failure) -> bool {
    let Failure::Run(error) = failure else {
        return false;
    };
    let status = error.chain().find_map(|cause| cause.downcast_ref::<Status>());
    status.is_some_and(WireError::is_outage)
}

async fn stands(config: &Config) -> anyhow::Result<Option<RunEnd>> {
    let expected = ExpectedRun {
        id: RunId::new(config.run.id.as_str())?,
        versions: config.learner.versions,
    };
    let store = locations::existing_store("store.url", &config.store.url, &config.store.settings());
    let store = store.map_err(|failure| anyhow!(failure.reason()))?;
    end_of(store, expected).await.map_err(|reason| anyhow!(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_learner_that_does_not_answer_is_absent() {
        let failed = |status: Status| Failure::Run(anyhow::Error::from(status).context("cannot reach it"));
        assert!(is_absence(&failed(Status::unavailable("connection refused"))));
        assert!(!is_absence(&failed(Status::permission_denied("another run"))));
        assert!(!is_absence(&Failure::Run(anyhow!("no digest"))));
        let configured = anyhow::Error::from(Status::unavailable("connection refused"));
        assert!(!is_absence(&Failure::Configuration(configured)));
    }
}
