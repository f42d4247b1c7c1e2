//! What became of a run's pairs, and up to which record of the ledger that is settled.

use crate::ledger::RefusalNote;
use common::PolicyVersion;
use failpoint::Mutation;
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
    /// The run was complete before they were trained on. A later start that makes more versions trains on them: they lie behind
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
            (Refusal::STALE, self.stale),
            (Refusal::RUN_ENDED, self.run_ended),
            (Refusal::RETIRED, self.retired),
        ]
        .map(|(reason, count)| (reason.to_owned(), count))
        .into()
    }

    fn count(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Stale { .. } => self.stale += 1,
            Refusal::Retired => self.retired += 1,
            Refusal::RunEnded => self.run_ended += 1,
        }
    }
}

/// Why a pair is not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It lies too many versions behind.
    Stale {
        /// So many.
        lag: u64,
        /// So many are allowed.
        max_staleness: u64,
    },
    /// The version that sampled it is no part of the run any more.
    Retired,
    /// The run was complete before it was trained on.
    RunEnded,
}

impl Refusal {
    const STALE: &str = "stale";
    const RETIRED: &str = "retired";
    const RUN_ENDED: &str = "run_ended";

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stale { .. } => Self::STALE,
            Self::Retired => Self::RETIRED,
            Self::RunEnded => Self::RUN_ENDED,
        }
    }
}

/// A pair that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefusedPair {
    /// Of its record.
    pub(crate) sequence: u64,
    /// The newest version then.
    pub(crate) version: PolicyVersion,
    /// Why.
    pub(crate) refusal: Refusal,
}

/// Refused pairs. Those behind the cursor are kept apart: a later start decides about them anew, so no checkpoint may count
/// them. A refusal is noted when it is settled: once along the run's weights, with the version whose batch left the pair behind.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    settled: Refused,
    ahead: Vec<RefusedPair>,
    /// Settled, and not taken to be noted yet.
    notes: Vec<RefusalNote>,
    complete: bool,
}

impl Refusals {
    /// Goes on from those that a checkpoint counts.
    pub(crate) fn after(settled: Refused) -> Self {
        Self {
            settled,
            ..Self::default()
        }
    }

    /// A pair is refused.
    pub(crate) fn refuse(&mut self, pair: RefusedPair) {
        self.ahead.push(pair);
        if self.complete {
            self.note(pair, None);
        }
    }

    /// The records before `cursor` are done with once `version` is trained: what was refused of them, and of those settled before.
    pub(crate) fn settle(&mut self, cursor: u64, version: PolicyVersion) -> Refused {
        let refused = std::mem::take(&mut self.ahead).into_iter();
        let (settled, ahead): (Vec<_>, Vec<_>) = refused.partition(|pair| pair.sequence < cursor);
        self.ahead = ahead;
        for pair in settled {
            self.settled.count(pair.refusal);
            self.note(pair, Some(version));
        }
        self.settled
    }

    /// The run is complete: no cursor will pass those that are refused, nor those that still will be.
    pub(crate) fn complete(&mut self) {
        self.complete = true;
        for pair in self.ahead.clone() {
            self.note(pair, None);
        }
    }

    /// Whether the run is complete, so that nothing will be trained any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What is to be noted since this was asked last.
    pub(crate) fn take_notes(&mut self) -> Vec<RefusalNote> {
        std::mem::take(&mut self.notes)
    }

    /// All of them, settled or not.
    pub(crate) fn all(&self) -> Refused {
        let mut all = self.settled;
        self.ahead.iter().for_each(|pair| all.count(pair.refusal));
        all
    }

    fn note(&mut self, pair: RefusedPair, settled_by: Option<PolicyVersion>) {
        if !failpoint::breaks(Mutation::RefusalNotNoted) {
            self.notes.push(RefusalNote { pair, settled_by });
        }
    }
}
