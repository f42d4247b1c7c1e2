//! Which requests take a place and are charged their bytes: those to score. A request to score takes a place at once or is turned
//! away, and its bytes are charged as they arrive.

use crate::budget::{Budget, Charge, Place};
use proto::{Admission, Meter, WireError};
use std::sync::Arc;
use tokio::time::Instant;

/// The method whose requests are large.
const SCORE_GROUPS: &str = "/adwright.v1.RewardService/ScoreGroups";

/// What a request to score has been given: handed to its handler among the request's extensions.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Its place.
    pub(crate) place: Arc<Place>,
    /// Its bytes.
    pub(crate) charge: Arc<Charge>,
    /// When it was let in.
    pub(crate) since: Instant,
}

/// Lets in whoever finds room in a budget.
#[derive(Debug, Clone)]
pub(crate) struct RoomToScore(pub(crate) Arc<Budget>);

impl Admission for RoomToScore {
    type Meter = Arc<Charge>;

    fn admit(
        &self,
        method: &str,
        extensions: &mut http::Extensions,
    ) -> Result<Option<Arc<Charge>>, WireError> {
        if method != SCORE_GROUPS {
            return Ok(None);
        }
        let (place, charge) = self.0.enter()?;
        let charge = Arc::new(charge);
        extensions.insert(Admitted {
            place: Arc::new(place),
            charge: charge.clone(),
            since: Instant::now(),
        });
        Ok(Some(charge))
    }
}

impl Meter for Charge {
    fn count(&self, bytes: usize) -> Result<(), WireError> {
        self.add(bytes)
    }
}
