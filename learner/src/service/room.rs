//! How many bytes of outcomes a learner takes in at the same time. Who finds no room comes again; its tasks stay leased.

use proto::{Admission, ByteBudget, ByteCharge, Meter, SparingLog, WireError};
use std::sync::Arc;
use std::time::Duration;

/// The method whose requests are large.
const SUBMIT_OUTCOMES: &str = "/adwright.v1.LearnerService/SubmitOutcomes";

/// When whoever found no room should come again: outcomes are durable some flushes later.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Lets in whoever's outcomes find room.
#[derive(Debug, Clone)]
pub(crate) struct RoomForOutcomes {
    budget: Arc<ByteBudget>,
    full: Arc<SparingLog>,
}

/// The bytes of one request; its handler keeps them until it has answered.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    charge: Arc<ByteCharge>,
    full: Arc<SparingLog>,
}

impl RoomForOutcomes {
    /// Room for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            budget: Arc::new(ByteBudget::new(bytes)),
            full: Arc::default(),
        }
    }
}

impl Admission for RoomForOutcomes {
    type Meter = Held;

    fn admit(&self, method: &str, extensions: &mut http::Extensions) -> Result<Option<Held>, WireError> {
        if method != SUBMIT_OUTCOMES {
            return Ok(None);
        }
        let held = Held {
            charge: Arc::new(self.budget.charge()),
            full: self.full.clone(),
        };
        extensions.insert(held.clone());
        Ok(Some(held))
    }
}

impl Meter for Held {
    fn count(&self, bytes: usize) -> Result<(), WireError> {
        self.charge.add(bytes).map_err(|full| {
            if let Some(untold) = self.full.one_more() {
                let (held, most) = (full.held, full.most);
                tracing::warn!(held, most, untold, "outcomes turned away for now");
            }
            WireError::Overloaded {
                reason: format!("{full}: learner.memory_bytes"),
                retry_after: RETRY_AFTER,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_charged_until_their_handler_lets_go_and_questions_never() {
        let room = RoomForOutcomes::new(10);
        let mut asked = http::Extensions::new();
        let question = room.admit("/adwright.v1.LearnerService/LeaseTasks", &mut asked);
        assert!(question.unwrap().is_none() && asked.is_empty());

        let mut taken = http::Extensions::new();
        let reading = room.admit(SUBMIT_OUTCOMES, &mut taken).unwrap().unwrap();
        reading.count(8).unwrap();
        drop(reading);
        let other = room.admit(SUBMIT_OUTCOMES, &mut http::Extensions::new());
        let other = other.unwrap().unwrap();
        let refusal = other.count(3).unwrap_err();
        assert!(refusal.to_string().contains("learner.memory_bytes"), "{refusal}");
        drop(taken.remove::<Held>());
        other.count(10).unwrap();
    }
}
