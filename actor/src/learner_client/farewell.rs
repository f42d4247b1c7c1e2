//! What an actor says last: that it leaves, and which leases it hands back.

use super::LearnerClient;
use proto::pb;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Status;

/// How long a learner that may be gone is given to hear that an actor is done.
const LEAVE_TAKING: Duration = Duration::from_secs(1);

/// How long it may take to take leases back. Whoever is asked to stop has 30 s in all where an orchestrator asks, and drains for 10 of them;
/// what is not handed back expires.
const HANDED_BACK_WITHIN: Duration = Duration::from_secs(5);

impl LearnerClient {
    /// Forgets every open lease, of a learner that is gone or a run that is complete; answers how many those were.
    pub(crate) fn forget_leases(&self) -> u64 {
        std::mem::take(&mut *self.open()).len() as u64
    }

    /// Hands back every open lease and says that this actor leaves, in one attempt; answers how many leases the learner took. Where there
    /// is none, nobody need be there to hear it.
    pub(crate) async fn leave(&self) -> Result<u64, Box<Status>> {
        let tasks: Vec<u64> = std::mem::take(&mut *self.open())
            .into_iter()
            .map(|task| task.0)
            .collect();
        let holds_none = tasks.is_empty();
        let request = self.request(pb::ReturnTasksRequest {
            header: Some(self.header()),
            tasks,
            leaves: true,
        });
        let mut client = self.client.clone();
        let answered = client.return_tasks(request);
        if holds_none {
            let _unheard = timeout(LEAVE_TAKING, answered).await;
            return Ok(0);
        }
        let late = |_| {
            let seconds = HANDED_BACK_WITHIN.as_secs();
            Err(Status::deadline_exceeded(format!("no answer in {seconds} s")))
        };
        let answer = timeout(HANDED_BACK_WITHIN, answered).await.unwrap_or_else(late);
        Ok(answer.map_err(Box::new)?.into_inner().returned.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_learner::{Script, join_at, manifest, serve_to};
    use crate::scripted_network::{InMemory, at};
    use common::TaskId;
    use std::sync::Arc;
    use tokio::time::Instant;

    const LEARNER: u16 = 1;

    #[tokio::test(start_paused = true)]
    async fn a_learner_that_is_stopped_does_not_keep_an_actor_that_leaves() {
        let network = InMemory::default();
        serve_to(network.listen(LEARNER), manifest(2, 0, b""), Script::default());
        let url = format!("http://{}", at(LEARNER));
        let (learner, _) = join_at(&url, Arc::new(network.clone())).await;
        network.stop(LEARNER);
        for (tasks, handed_back, within) in [
            (vec![], Some(0), LEAVE_TAKING),
            (vec![TaskId(7)], None, HANDED_BACK_WITHIN),
        ] {
            learner.open().extend(tasks);
            let began = Instant::now();
            assert_eq!(learner.leave().await.ok(), handed_back);
            let took = began.elapsed();
            assert!(
                took >= within && took < within + Duration::from_secs(1),
                "{took:?}"
            );
        }
    }
}
