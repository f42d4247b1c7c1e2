//! What the learner has answered to outcomes: counted, and told one by one in the log.
//!
//! The lines (`outcome acknowledged`, at level debug) are an actor's own record of what it was promised: each names the task
//! and the digest of the outcome that stands, so that a ledger can be held against them; and whether it was handed in as a failure, which the
//! learner may have recorded as other bytes: as one that is not tried again.

use prost::Message as _;
use proto::{
    InvalidMessage,
    pb::{self, rollout_outcome::Outcome},
};

/// What became of submitted outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Receipts {
    pub(crate) recorded: u64,
    pub(crate) already_recorded: u64,
    pub(crate) reissued: u64,
    pub(crate) refused: u64,
}

impl Receipts {
    /// Takes in the receipts for `outcomes`, in their order.
    ///
    /// # Errors
    /// When they are not those of these outcomes.
    pub(crate) fn add(
        &mut self,
        outcomes: &[pb::RolloutOutcome],
        receipts: &[pb::OutcomeReceipt],
    ) -> Result<(), InvalidMessage> {
        let fault = |reason| InvalidMessage::new("submit_outcomes_response.receipts", reason);
        if receipts.len() != outcomes.len() {
            let reason = format!("{} receipts for {} outcomes", receipts.len(), outcomes.len());
            return Err(fault(reason));
        }
        for (outcome, receipt) in outcomes.iter().zip(receipts) {
            if receipt.task != outcome.task {
                let reason = format!("one of task {} for task {}", receipt.task, outcome.task);
                return Err(fault(reason));
            }
            self.count(outcome, receipt);
        }
        Ok(())
    }

    fn count(&mut self, outcome: &pb::RolloutOutcome, receipt: &pb::OutcomeReceipt) {
        let task = receipt.task;
        match receipt.disposition() {
            pb::Disposition::Recorded => {
                self.recorded += 1;
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let digest = store::digest(&outcome.encode_to_vec());
                    let failed = matches!(outcome.outcome, Some(Outcome::Failed(_)));
                    tracing::debug!(task, %digest, failed, "outcome acknowledged");
                }
            }
            pb::Disposition::AlreadyRecorded => {
                self.already_recorded += 1;
                // The digest is that of what is recorded.
                tracing::debug!(task, digest = %receipt.detail, failed = false, "outcome acknowledged");
            }
            pb::Disposition::Reissued => self.reissued += 1,
            pb::Disposition::Refused | pb::Disposition::Unspecified => {
                self.refused += 1;
                tracing::warn!(task, detail = proto::said(&receipt.detail), "outcome refused");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes<const N: usize>(tasks: [u64; N]) -> [pb::RolloutOutcome; N] {
        tasks.map(|task| pb::RolloutOutcome { task, outcome: None })
    }

    fn receipt(task: u64, disposition: i32) -> pb::OutcomeReceipt {
        pb::OutcomeReceipt {
            task,
            disposition,
            ..Default::default()
        }
    }

    #[test]
    fn each_receipt_is_counted_once_and_an_unknown_one_as_refused() {
        let receipts = [1, 1, 2, 3, 4, 0, 99].map(|disposition| receipt(7, disposition));
        let expected = Receipts {
            recorded: 2,
            already_recorded: 1,
            reissued: 1,
            refused: 3,
        };
        let mut counts = Receipts::default();
        counts.add(&outcomes([7; 7]), &receipts).unwrap();
        assert_eq!(counts, expected);
    }

    #[test]
    fn receipts_of_other_outcomes_are_refused_with_what_they_are_of() {
        let refusal = |receipts: &[pb::OutcomeReceipt]| {
            let refused = Receipts::default().add(&outcomes([3, 4]), receipts);
            refused.unwrap_err().to_string()
        };
        assert!(refusal(&[receipt(3, 1)]).contains("1 receipts for 2 outcomes"));
        assert!(refusal(&[receipt(3, 1), receipt(5, 1)]).contains("task 5 for task 4"));
    }
}
