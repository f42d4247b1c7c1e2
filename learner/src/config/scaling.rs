//! The table `[learner.scaling]`: between which bounds, and how quickly, the wanted number of actors may change.

use crate::actors::MOST;
use common::SettingsCheck;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Seconds of a day.
const DAY_S: f64 = 86_400.0;

/// How many actors a run asks for. Whoever starts actors (KEDA, a horizontal autoscaler, a person) reads the figure; the learner
/// starts none. docs/scaling.md says how it is computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingConfig {
    /// Fewest actors that are wanted while the run goes on, 1 to 4096. Default 1: with none a run would never end.
    pub min_actors: usize,
    /// Most actors that are wanted, `min_actors` to 4096. Default 64.
    pub max_actors: usize,
    /// Within which time sampling should catch up with training, and for how long fewer actors must do before fewer are wanted; in
    /// seconds, 1 to a day, and at least the cold start: it counts as that where it is less. Default 120.
    pub horizon_s: f64,
    /// How long an actor takes from the decision to start it to its first outcome, in seconds, 0 to a day. What the learner measures,
    /// from an actor's Join to its first outcome, counts where it is longer. Default 60: a pod is scheduled and an image pulled before
    /// that.
    pub cold_start_s: f64,
    /// By which share the need may differ from what is wanted before that changes, 0 to 1. Default 0.1.
    pub hysteresis: f64,
}

impl Default for ScalingConfig {
    fn default() -> Self {
        Self {
            min_actors: 1,
            max_actors: 64,
            horizon_s: 120.0,
            cold_start_s: 60.0,
            hysteresis: 0.1,
        }
    }
}

impl ScalingConfig {
    /// Notes every mistake.
    pub(super) fn check(&self, check: &mut SettingsCheck) {
        check.within("scaling.min_actors", self.min_actors, 1..=MOST, "");
        check.within("scaling.max_actors", self.max_actors, 1..=MOST, "");
        check.require(
            self.max_actors >= self.min_actors,
            "scaling.max_actors",
            self.max_actors,
            "at least scaling.min_actors",
        );
        check.within("scaling.horizon_s", self.horizon_s, 1.0..=DAY_S, "seconds");
        check.within("scaling.cold_start_s", self.cold_start_s, 0.0..=DAY_S, "seconds");
        check.within("scaling.hysteresis", self.hysteresis, 0.0..=1.0, "");
    }

    pub(crate) fn horizon(&self) -> Duration {
        Duration::from_secs_f64(self.horizon_s)
    }

    pub(crate) fn cold_start(&self) -> Duration {
        Duration::from_secs_f64(self.cold_start_s)
    }
}
