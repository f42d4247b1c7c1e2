//! What the reward model says of an image.

/// A computed reward: always finite. What could not be computed has no `Reward` at all, never 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reward {
    value: f64,
    sides: Option<Sides>,
}

/// What a model that is shown two images at once says of one, by the side on which it stood: its mean margin over the others of its
/// group, in the reward's unit. The reward is the mean of the two; how far they differ is the model's taste for a side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sides {
    /// On the left, the image that is shown first.
    pub left: f64,
    /// On the right.
    pub right: f64,
}

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
            Ok(Self { value, sides: None })
        } else {
            Err(InvalidReward { given: value })
        }
    }

    /// The same with what the model said on either side.
    ///
    /// # Errors
    /// [`InvalidReward`] for NaN and infinities.
    pub fn with_sides(self, sides: Sides) -> Result<Self, InvalidReward> {
        match [sides.left, sides.right]
            .into_iter()
            .find(|side| !side.is_finite())
        {
            Some(given) => Err(InvalidReward { given }),
            None => Ok(Self {
                sides: Some(sides),
                ..self
            }),
        }
    }

    /// The number, on the reward model's own scale (log-odds of a click, up to a constant per product).
    pub fn value(self) -> f64 {
        self.value
    }

    /// What the model said on either side; `None` of a model for which sides make no difference.
    pub fn sides(self) -> Option<Sides> {
        self.sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_that_was_not_computed_cannot_be_written_as_a_number() {
        assert!(Reward::new(f64::NAN).is_err());
        assert!(Reward::new(f64::INFINITY).is_err());
        let reward = Reward::new(-0.5).unwrap();
        assert_eq!((reward.value(), reward.sides()), (-0.5, None));
        let (left, right) = (0.25, f64::NEG_INFINITY);
        assert!(reward.with_sides(Sides { left, right }).is_err());
    }
}
