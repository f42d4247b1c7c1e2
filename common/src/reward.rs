//! What the reward model says of an image.

use serde::{Deserialize, Serialize};

/// A computed reward: always finite. What could not be computed has no `Reward` at all, never 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Reward(f64);

/// A number that is no reward.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("reward {given} is not finite")]
pub struct InvalidReward {
    /// What was given.
    pub given: f64,
}

impl Reward {
    /// Wraps a finite number.
    ///
    /// # Errors
    /// [`InvalidReward`] for NaN and infinities.
    pub fn new(value: f64) -> Result<Self, InvalidReward> {
        if value.is_finite() {
            Ok(Self(value))
        } else {
            Err(InvalidReward { given: value })
        }
    }

    /// The number, on the reward model's own scale (log-odds of a click, up to a constant per product).
    pub fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Reward {
    type Error = InvalidReward;
    fn try_from(value: f64) -> Result<Self, InvalidReward> {
        Self::new(value)
    }
}

impl From<Reward> for f64 {
    fn from(reward: Reward) -> f64 {
        reward.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_that_was_not_computed_cannot_be_written_as_a_number() {
        assert!(Reward::new(f64::NAN).is_err());
        assert!(Reward::new(f64::INFINITY).is_err());
        assert_eq!(Reward::new(-0.5).unwrap().value(), -0.5);
    }
}
