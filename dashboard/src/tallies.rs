//! Rewards by the version that sampled, and within a version by actor, reward model and category: what "why did it move" is
//! answered from.
//!
//! The unit is a candidate group, by the mean reward of its scored candidates; candidates of one group are no independent
//! observations. Memory is bounded: the newest versions are kept apart, older ones together, and names beyond a bound as one.

use crate::moments::Moments;
use crate::view::Creative;
use common::PolicyVersion;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Versions that are kept apart.
pub(crate) const MOST_VERSIONS: usize = 256;

/// Names of one kind that are kept apart within a version.
const MOST_NAMES: usize = 64;

/// What stands for all other names.
const OTHERS: &str = "(others)";

/// What the groups of a version are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Who sampled.
    Actor,
    /// What the product is.
    Category,
    /// Who scored.
    RewardModel,
}

impl Kind {
    /// All of them, in the order of the pages.
    pub(crate) const ALL: [Self; 3] = [Self::Actor, Self::Category, Self::RewardModel];

    /// As people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Category => "category",
            Self::RewardModel => "reward model",
        }
    }
}

/// Groups of one version, or of several together.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct VersionTally {
    reward: Moments,
    candidates: u64,
    barred: u64,
    defective: u64,
    by: [BTreeMap<String, Moments>; 3],
}

/// Groups by version. A copy shares all versions with the original but those that are counted in afterwards.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Tallies {
    versions: BTreeMap<PolicyVersion, Arc<VersionTally>>,
    /// Those of versions that are no longer kept apart, all of which are lower than those that are.
    earlier: Arc<VersionTally>,
    /// The highest of those.
    earlier_until: Option<PolicyVersion>,
}

impl VersionTally {
    /// Rewards of its groups.
    pub(crate) fn reward(&self) -> &Moments {
        &self.reward
    }

    /// The share of its candidates that a guardrail barred; `None` of none.
    pub(crate) fn barred_share(&self) -> Option<f64> {
        self.share(self.barred)
    }

    /// The share of its candidates with defects; `None` of none.
    pub(crate) fn defective_share(&self) -> Option<f64> {
        self.share(self.defective)
    }

    /// Rewards by the names of a kind.
    pub(crate) fn by(&self, kind: Kind) -> &BTreeMap<String, Moments> {
        &self.by[kind as usize]
    }

    /// Takes in what others have counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.reward.merge(&other.reward);
        self.candidates += other.candidates;
        self.barred += other.barred;
        self.defective += other.defective;
        for kind in Kind::ALL {
            for (name, moments) in other.by(kind) {
                named(&mut self.by[kind as usize], name).merge(moments);
            }
        }
    }

    fn share(&self, count: u64) -> Option<f64> {
        (self.candidates > 0).then(|| count as f64 / self.candidates as f64)
    }

    fn add(&mut self, creative: &Creative) {
        let Some(mean) = self.count(creative) else { return };
        let model = creative.reward_model.map(|model| model.to_string());
        let names = [
            creative
                .actor
                .as_ref()
                .map_or("(not recorded)", |actor| actor.as_str()),
            creative.category.as_deref().unwrap_or("(none)"),
            model.as_deref().unwrap_or("(none)"),
        ];
        for (kind, name) in Kind::ALL.into_iter().zip(names) {
            named(&mut self.by[kind as usize], name).add(mean);
        }
    }

    /// Takes in a group under no name; the mean of its rewards, where it has some.
    pub(crate) fn count(&mut self, creative: &Creative) -> Option<f64> {
        self.candidates += creative.candidates.len() as u64;
        let barred = creative
            .candidates
            .iter()
            .filter(|candidate| candidate.barred.is_some());
        self.barred += barred.count() as u64;
        let defective = creative
            .candidates
            .iter()
            .filter(|candidate| candidate.defects > 0);
        self.defective += defective.count() as u64;
        let mean = creative.mean_reward()?;
        self.reward.add(mean);
        Some(mean)
    }
}

impl Tallies {
    /// Takes in what became of a task. The order does not matter.
    pub(crate) fn add(&mut self, creative: &Creative) {
        let Some(version) = creative.version else { return };
        if self.earlier_until.is_some_and(|until| version <= until) {
            return Arc::make_mut(&mut self.earlier).add(creative);
        }
        Arc::make_mut(self.versions.entry(version).or_default()).add(creative);
        if self.versions.len() > MOST_VERSIONS
            && let Some((lowest, tally)) = self.versions.pop_first()
        {
            Arc::make_mut(&mut self.earlier).merge(&tally);
            self.earlier_until = Some(lowest);
        }
    }

    /// One version, where it is kept apart.
    #[cfg(test)]
    pub(crate) fn version(&self, version: PolicyVersion) -> Option<&VersionTally> {
        self.versions.get(&version).map(Arc::as_ref)
    }

    /// The versions that are kept apart, oldest first.
    pub(crate) fn versions(&self) -> impl DoubleEndedIterator<Item = (PolicyVersion, &VersionTally)> {
        self.versions.iter().map(|(version, tally)| (*version, &**tally))
    }

    /// Versions that are no longer kept apart, together, and the highest of them.
    pub(crate) fn earlier(&self) -> Option<(PolicyVersion, &VersionTally)> {
        Some((self.earlier_until?, &*self.earlier))
    }

    /// All versions together.
    pub(crate) fn all(&self) -> VersionTally {
        let mut all = VersionTally::clone(&self.earlier);
        self.versions.values().for_each(|tally| all.merge(tally));
        all
    }
}

/// The numbers of a name, or of the others where there are too many names.
fn named<'a>(names: &'a mut BTreeMap<String, Moments>, name: &str) -> &'a mut Moments {
    let known = names.contains_key(name) || names.len() < MOST_NAMES;
    let name = if known { name } else { OTHERS };
    names.entry(name.to_owned()).or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_run::{creative, version};

    #[test]
    fn groups_are_counted_once_by_their_mean_under_each_of_their_names() {
        let mut tallies = Tallies::default();
        tallies.add(&creative(0, 1, "a", &[0.0, 1.0]));
        tallies.add(&creative(1, 1, "b", &[2.0]));
        let mut barred = creative(2, 1, "b", &[]);
        barred.candidates[0].barred = Some(("halo", Some(0.5)));
        tallies.add(&barred);
        let tally = tallies.version(version(1)).unwrap();
        assert_eq!((tally.reward.n(), tally.reward.mean()), (2, Some(1.25)));
        assert_eq!(tally.by(Kind::Actor)["a"].mean(), Some(0.5));
        assert_eq!(tally.by(Kind::Category)["lamps"].n(), 2);
        assert_eq!(tally.barred_share(), Some(0.2));
    }

    #[test]
    fn a_run_of_a_week_takes_no_more_memory_than_the_bound_and_loses_no_count() {
        let (mut tallies, most) = (Tallies::default(), MOST_VERSIONS as u64);
        for number in 0..most + 10 {
            tallies.add(&creative(
                number,
                number,
                &format!("actor-{number}"),
                &[number as f64],
            ));
        }
        assert_eq!(tallies.versions().count(), MOST_VERSIONS);
        let (until, earlier) = tallies.earlier().unwrap();
        assert_eq!((until, earlier.reward.n()), (version(9), 10));
        // One that comes late is counted where its version is.
        tallies.add(&creative(most + 10, 3, "late", &[0.0]));
        assert_eq!(tallies.versions().count(), MOST_VERSIONS);
        let all = tallies.all();
        assert_eq!(all.reward.n(), most + 11);
        assert_eq!(all.by(Kind::Actor).len(), MOST_NAMES + 1);
        let counted: u64 = all.by(Kind::Actor).values().map(Moments::n).sum();
        assert_eq!(counted, most + 11);
    }
}
