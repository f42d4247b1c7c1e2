//! What became of a run's pairs, and up to which record of the ledger that is settled.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a run stands in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Account {
    /// The records before it are trained on or refused for good.
    pub(crate) cursor: u64,
    /// Pairs trained on.
    pub(crate) trained: u64,
    /// Pairs refused among the records before the cursor.
    pub(crate) refused: Refused,
}

/// Pairs that were not trained on, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// They lay too many versions behind.
    pub(crate) stale: u64,
    /// The run, or this start of its learner, ended before they were trained on. A later start trains on them: they lie behind
    /// every checkpoint's cursor.
    pub(crate) run_ended: u64,
    /// The version that sampled them is no part of the run any more.
    pub(crate) retired: u64,
}

impl Refused {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.stale + self.run_ended + self.retired
    }

    /// All of them by the reason's name.
    pub(crate) fn by_reason(self) -> BTreeMap<String, u64> {
        [
            ("stale", self.stale),
            ("run_ended", self.run_ended),
            ("retired", self.retired),
        ]
        .map(|(reason, count)| (reason.to_owned(), count))
        .into()
    }
}

/// Why a pair is not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It lies too many versions behind.
    Stale,
    /// The version that sampled it is no part of the run any more.
    Retired,
}

/// Refused pairs. Those behind the cursor are kept apart: a later start would refuse them again, so no checkpoint may count
/// them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    settled: Refused,
    ahead: Vec<(u64, Refusal)>,
}

impl Refusals {
    /// Goes on from those that a checkpoint counts.
    pub(crate) fn after(settled: Refused) -> Self {
        Self {
            settled,
            ahead: vec![],
        }
    }

    /// The pair of this record is refused.
    pub(crate) fn refuse(&mut self, sequence: u64, refusal: Refusal) {
        self.ahead.push((sequence, refusal));
    }

    /// So many pairs are left over. No checkpoint follows.
    pub(crate) fn run_ended(&mut self, pairs: u64) {
        self.settled.run_ended += pairs;
    }

    /// The records before `cursor` are done with: what was refused of them, and of those settled before.
    pub(crate) fn settle(&mut self, cursor: u64) -> Refused {
        let settled = &mut self.settled;
        self.ahead.retain(|&(sequence, refusal)| {
            if sequence < cursor {
                settled.count(refusal);
            }
            sequence >= cursor
        });
        self.settled
    }

    /// All of them, settled or not.
    pub(crate) fn all(&self) -> Refused {
        let mut all = self.settled;
        self.ahead.iter().for_each(|&(_, refusal)| all.count(refusal));
        all
    }
}

impl Refused {
    fn count(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Stale => self.stale += 1,
            Refusal::Retired => self.retired += 1,
        }
    }
}
