//! Outcomes on their way to the learner, as many in a request as it holds.

use super::{LearnerClient, receipts::Receipts};
use crate::ActorError;
use common::{LearnerEpoch, RolloutOutcome, TaskId};
use failpoint::Point;
use prost::Message as _;
use proto::{
    MAX_BATCH, MAX_OUTCOMES_BYTES, pb,
    trace::{self, TraceId},
};
use tokio::time::Instant;

/// The most bytes of outcomes in one request: the header needs little of what a message may hold.
const MAX_SUBMITTED_BYTES: usize = MAX_OUTCOMES_BYTES - (1 << 16);

impl LearnerClient {
    /// Ends leases with their outcomes, worked out under `trace` with a policy of `epoch`.
    pub(crate) async fn submit(
        &self,
        trace: TraceId,
        epoch: LearnerEpoch,
        outcomes: &[RolloutOutcome],
    ) -> Result<Receipts, ActorError> {
        let mut counts = Receipts::default();
        for part in parts(outcomes.iter().map(Into::into), MAX_SUBMITTED_BYTES) {
            let begun = Instant::now();
            self.submit_part(trace, epoch, &part, &mut counts).await?;
            self.stopwatch.submitted(begun.elapsed());
        }
        Ok(counts)
    }

    async fn submit_part(
        &self,
        trace: TraceId,
        epoch: LearnerEpoch,
        outcomes: &[pb::RolloutOutcome],
        counts: &mut Receipts,
    ) -> Result<(), ActorError> {
        let answer = self.peer.until_answered(|| {
            let message = pb::SubmitOutcomesRequest {
                header: Some(self.header_of(epoch)),
                outcomes: outcomes.to_vec(),
                compute_seconds: self.computed.own.get(),
                scoring_seconds: self.computed.scoring.get(),
            };
            let mut client = self.client.clone();
            async move { client.submit_outcomes(trace::request(trace, message)).await }
        });
        let receipts = answer.await?.into_inner().receipts;
        let counted = counts.add(outcomes, &receipts);
        counted.map_err(|e| self.peer.malformed(e))?;
        failpoint::reach(Point::Acknowledged);
        outcomes.iter().for_each(|outcome| {
            self.open().remove(&TaskId(outcome.task));
        });
        Ok(())
    }
}

/// Consecutive outcomes that have at most `limit` bytes together; one of more is alone.
fn parts(outcomes: impl Iterator<Item = pb::RolloutOutcome>, limit: usize) -> Vec<Vec<pb::RolloutOutcome>> {
    let mut parts: Vec<Vec<pb::RolloutOutcome>> = Vec::new();
    let mut filled = 0;
    for outcome in outcomes {
        // What a length and a field number add is below ten bytes.
        let bytes = outcome.encoded_len() + 10;
        match parts.last_mut() {
            Some(part) if filled + bytes <= limit && part.len() < MAX_BATCH => {
                filled += bytes;
                part.push(outcome);
            }
            _ => {
                filled = bytes;
                parts.push(vec![outcome]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_share_a_request_until_it_is_full_and_keep_their_order() {
        let outcome = |task, detail: usize| pb::RolloutOutcome {
            task,
            outcome: Some(pb::rollout_outcome::Outcome::Failed(pb::Failed {
                detail: "x".repeat(detail),
                ..Default::default()
            })),
        };
        let outcomes = [outcome(1, 20), outcome(2, 20), outcome(3, 500), outcome(4, 20)];
        let split = parts(outcomes.into_iter(), 100);
        let tasks: Vec<Vec<u64>> = split.iter().map(|p| p.iter().map(|o| o.task).collect()).collect();
        assert_eq!(tasks, [vec![1, 2], vec![3], vec![4]]);
        assert!(parts(std::iter::empty(), 100).is_empty());
    }
}
