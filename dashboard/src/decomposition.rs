//! Who moved the mean reward between two versions.
//!
//! The change of a mean is what the means of its parts changed by, and what their shares did. With shares `p` and means `m` of
//! each name before and after, and bars for the average of the two, a name contributes `p̄ · Δm` by its own mean and
//! `Δp · (m̄ − M̄)` by how often it came, where `M̄` is that of the whole. The contributions of all names add up to the change.

use crate::moments::Moments;
use crate::tallies::{Kind, VersionTally};
use std::collections::BTreeSet;

/// What one name did to the mean.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    /// The name.
    pub(crate) name: String,
    /// Its groups before.
    pub(crate) before: Moments,
    /// Its groups after.
    pub(crate) after: Moments,
    /// By its own mean.
    pub(crate) own: f64,
    /// By how often it came.
    pub(crate) mix: f64,
}

impl Part {
    /// All that it contributes.
    pub(crate) fn total(&self) -> f64 {
        self.own + self.mix
    }
}

/// What each name of a kind did, the largest contribution first; nothing when one of the two has no scored group.
pub(crate) fn parts(before: &VersionTally, after: &VersionTally, kind: Kind) -> Vec<Part> {
    let (Some(whole_before), Some(whole_after)) = (before.reward().mean(), after.reward().mean()) else {
        return vec![];
    };
    let middle = (whole_before + whole_after) / 2.0;
    let names: BTreeSet<&String> = before.by(kind).keys().chain(after.by(kind).keys()).collect();
    let of = |tally: &VersionTally, name: &String| tally.by(kind).get(name).copied().unwrap_or_default();
    let share = |part: &Moments, tally: &VersionTally| part.n() as f64 / tally.reward().n() as f64;
    let part = |name: &String| {
        let (then, now) = (of(before, name), of(after, name));
        let (p, q) = (share(&then, before), share(&now, after));
        // One that was not there before, or is not any more, moved by its coming or going alone.
        let m = then.mean().or(now.mean()).unwrap_or(middle);
        let n = now.mean().unwrap_or(m);
        Part {
            name: name.clone(),
            before: then,
            after: now,
            own: (p + q) / 2.0 * (n - m),
            mix: (q - p) * ((m + n) / 2.0 - middle),
        }
    };
    let mut parts: Vec<Part> = names.into_iter().map(part).collect();
    parts.sort_by(|a, b| b.total().abs().total_cmp(&a.total().abs()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tallies::Tallies;
    use crate::test_run::{creative, version};

    #[test]
    fn the_parts_add_up_to_the_change_and_whoever_moved_it_comes_first() {
        let mut tallies = Tallies::default();
        let rewards = [
            (1, "steady", 0.5),
            (1, "steady", 0.5),
            (1, "falls", 1.0),
            (1, "leaves", 3.0),
            (2, "steady", 0.5),
            (2, "falls", -4.0),
            (2, "falls", -5.0),
            (2, "comes", 0.0),
        ];
        for (sequence, (number, actor, reward)) in (0..).zip(rewards) {
            tallies.add(&creative(sequence, number, actor, &[reward]));
        }
        let of = |number| tallies.version(version(number)).unwrap();
        let change = of(2).reward().mean().unwrap() - of(1).reward().mean().unwrap();
        for kind in Kind::ALL {
            let parts = parts(of(1), of(2), kind);
            let sum: f64 = parts.iter().map(Part::total).sum();
            assert!((sum - change).abs() < 1e-12, "{kind:?}: {sum} of {change}");
        }
        let actors = parts(of(1), of(2), Kind::Actor);
        assert_eq!(actors[0].name, "falls");
        assert!(actors[0].own < -1.0);
        let leaves = actors.iter().find(|part| part.name == "leaves").unwrap();
        assert!(leaves.own == 0.0 && leaves.mix < 0.0);
        assert_eq!(parts(of(1), &VersionTally::default(), Kind::Actor), []);
    }
}
