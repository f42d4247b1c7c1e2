//! What becomes of a server whose run is complete: it serves on until nobody asks any more, then ends, or holds nothing and waits to be
//! stopped.

use crate::config::{OnRunEnd, RewardServerConfig};
use crate::instruments::Instruments;
use crate::serving::Models;
use models::device::Placement;
use proto::observe::Pulse;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Whether the server takes requests, as it tells callers and its process.
pub(crate) struct Readiness {
    health: HealthReporter,
    pulse: Pulse,
}

impl Readiness {
    /// Told by both.
    pub(crate) fn of(health: HealthReporter, pulse: Pulse) -> Self {
        Self { health, pulse }
    }

    pub(crate) async fn set(&self, ready: bool) {
        let status = match ready {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        self.pulse.set_ready(ready);
        self.health.set_service_status("", status).await;
    }
}

/// What is to be done, and to what.
pub(crate) struct RunEnd<'a> {
    pub(crate) run_complete: CancellationToken,
    pub(crate) config: &'a RewardServerConfig,
    pub(crate) models: &'a Models,
    pub(crate) placement: Placement,
    /// Ends the looking for other models.
    pub(crate) watching: CancellationToken,
    pub(crate) readiness: &'a Readiness,
    pub(crate) instruments: &'a Instruments,
    /// Ends the serving.
    pub(crate) stop: CancellationToken,
}

impl RunEnd<'_> {
    /// Waits for the run's end and does what [`RewardServerConfig::on_run_end`] says; returns when the serving ends before that.
    pub(crate) async fn obey(self) {
        tokio::select! {
            () = self.over_and_quiet() => {}
            () = self.stop.cancelled() => return,
        }
        match self.config.on_run_end {
            OnRunEnd::Serve => {}
            OnRunEnd::Exit => self.stop.cancel(),
            OnRunEnd::Idle => self.idle().await,
        }
    }

    /// Waits until the run is complete, and nobody asks any more.
    async fn over_and_quiet(&self) {
        self.run_complete.cancelled().await;
        self.instruments.run_is_complete();
        let (linger_s, then) = (self.config.linger_s, self.config.on_run_end);
        tracing::info!(
            linger_s,
            ?then,
            "the run is complete; whoever still asks is served"
        );
        self.models.budget.quiet_for(self.config.linger()).await;
    }

    /// Holds nothing any more.
    async fn idle(&self) {
        self.readiness.set(false).await;
        self.watching.cancel();
        self.models.unload(self.config.drain_timeout()).await;
        let placement = self.placement.clone();
        let freed = tokio::task::spawn_blocking(move || placement.give_back_memory()).await;
        if let Err(error) = freed {
            tracing::warn!(%error, "the device did not give back what it keeps");
        }
        tracing::info!("idle until stopped: the model is unloaded");
    }
}
