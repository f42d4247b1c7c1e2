//! How a starting actor shows that it comes along.
//!
//! To wait for another role is no stall: how long that is borne is configured, and ends the actor by itself. To fetch is one when no
//! bytes come.

use crate::learner_client::LearnerClient;
use proto::observe::Pulse;
use std::{future::Future, pin::pin, time::Duration};
use tokio::time::sleep;

/// How often it is looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// Waits for `work`, which has a limit of its own.
pub(crate) async fn patient<T>(pulse: &Pulse, work: impl Future<Output = T>) -> T {
    watched(work, || pulse.beat()).await
}

/// Waits for `work`, which fetches: only what the learner's client has received is progress.
pub(crate) async fn as_bytes_come<T>(
    pulse: &Pulse,
    learner: &LearnerClient,
    work: impl Future<Output = T>,
) -> T {
    let mut before = 0;
    let look = || {
        let received = learner.received();
        let now = received.base + received.adapter;
        if std::mem::replace(&mut before, now) != now {
            pulse.beat();
        }
    };
    watched(work, look).await
}

async fn watched<T>(work: impl Future<Output = T>, mut look: impl FnMut()) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = sleep(INTERVAL) => look(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_learner::{Script, join, manifest};

    #[tokio::test]
    async fn waiting_for_a_role_is_progress_and_a_fetch_without_bytes_is_none() {
        let (learner, _, _) = join(manifest(2, 3, b"x"), Script::default()).await;
        tokio::time::pause();
        let pulse = Pulse::default();
        as_bytes_come(&pulse, &learner, sleep(Duration::from_millis(3500))).await;
        assert_eq!(pulse.beats(), 0);
        patient(&pulse, sleep(Duration::from_millis(3500))).await;
        assert_eq!(pulse.beats(), 3);
    }
}
