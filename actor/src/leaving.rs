//! How an actor leaves its run: what it holds is handed back, whoever may wait for it is told, what was started is joined.

use crate::{ActorError, ActorSummary, rollout_loop::RolloutLoop, stages::Behaviour};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Hands open leases back, joins what was started, and sums up.
pub(crate) async fn leave<P: Behaviour, R, S>(
    rollouts: RolloutLoop<P, R, S>,
) -> Result<ActorSummary, ActorError> {
    let RolloutLoop {
        learner,
        policy,
        weights,
        mut summary,
        ..
    } = rollouts;
    // Whoever has reported the last version is waited for no longer.
    if !(summary.complete && policy.is_last()) {
        match learner.leave().await {
            Ok(handed_back) => summary.handed_back = handed_back,
            Err(status) => {
                tracing::warn!(
                    message = status.message(),
                    "leases were not handed back and will expire"
                )
            }
        }
    }
    weights.stop().await;
    policy.unload().await?;
    let received = learner.received();
    (summary.adapter_bytes_received, summary.base_bytes_received) = (received.adapter, received.base);
    summary.relay_bytes_received = received.from_relays;
    Ok(summary)
}

/// Returns once the time to finish after `shutdown` is over.
pub(crate) async fn drained(shutdown: CancellationToken, deadline: Duration) {
    shutdown.cancelled().await;
    tokio::time::sleep(deadline).await;
}
