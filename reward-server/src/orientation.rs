//! Preferences within a group of creatives, free of the order in which two were shown to the model.
//!
//! Every ordered pair (left, right) has a margin. A siamese model's two orders agree exactly; a model that sees both
//! creatives at once has a taste for a side, so its two orders are averaged and the disagreements counted.

use common::Sides;

/// Margins of all ordered pairs of one group, on the model's raw scale.
#[derive(Debug, Clone, PartialEq)]
pub struct OrientedMargins {
    creatives: usize,
    /// Row: the left creative, column: the right one; positive when the left is preferred.
    placed: Vec<f64>,
}

impl OrientedMargins {
    /// Margins of `creatives` creatives; `placed(left, right)` is asked for every ordered pair of different ones.
    pub(crate) fn new(creatives: usize, mut placed: impl FnMut(usize, usize) -> f64) -> Self {
        let cells = (0..creatives * creatives).map(|cell| (cell / creatives, cell % creatives));
        let placed = cells
            .map(|(left, right)| if left == right { 0.0 } else { placed(left, right) })
            .collect();
        Self { creatives, placed }
    }

    /// The same from the margins of [`ordered_pairs`], in their order; a missing one is no number.
    pub(crate) fn of_ordered(creatives: usize, margins: impl IntoIterator<Item = f64>) -> Self {
        let mut margins = margins.into_iter();
        Self::new(creatives, |_, _| margins.next().unwrap_or(f64::NAN))
    }

    /// How far `left` is preferred to `right` when placed so; positive: the left one.
    pub(crate) fn placed(&self, left: usize, right: usize) -> f64 {
        self.placed[left * self.creatives + right]
    }

    /// How far `a` is preferred to `b`, the mean over both orders.
    pub(crate) fn margin(&self, a: usize, b: usize) -> f64 {
        (self.placed(a, b) - self.placed(b, a)) / 2.0
    }

    /// Whether both orders of a pair prefer the same creative; an exact tie has no preference to contradict.
    pub(crate) fn agrees(&self, a: usize, b: usize) -> bool {
        self.placed(a, b) * self.placed(b, a) <= 0.0
    }

    /// The share of pairs whose preference flips when the two change places; 0 for fewer than two creatives.
    pub(crate) fn flip_share(&self) -> f64 {
        let pairs = pairs(self.creatives);
        let flips = pairs.iter().filter(|(a, b)| !self.agrees(*a, *b)).count();
        if pairs.is_empty() {
            0.0
        } else {
            flips as f64 / pairs.len() as f64
        }
    }

    /// What is said of each creative by the side on which it stood: its mean margin over the whole group, itself included, on the left
    /// and on the right. The mean of the two is its [`scores`](Self::scores). `None` when both orders of every pair agree exactly.
    pub(crate) fn sides(&self) -> Option<Vec<Sides>> {
        let agrees = |(a, b): (usize, usize)| self.placed(a, b) == -self.placed(b, a);
        if pairs(self.creatives).into_iter().all(agrees) {
            return None;
        }
        let mean = |margin: &dyn Fn(usize) -> f64| {
            (0..self.creatives).map(margin).sum::<f64>() / self.creatives as f64
        };
        let sides = |a| Sides {
            left: mean(&|b| self.placed(a, b)),
            right: mean(&|b| -self.placed(b, a)),
        };
        Some((0..self.creatives).map(sides).collect())
    }

    /// One number per creative whose differences are the margins as nearly as numbers can be (least squares): the mean
    /// margin over the whole group, itself included.
    pub(crate) fn scores(&self) -> Vec<f64> {
        let mean = |a| (0..self.creatives).map(|b| self.margin(a, b)).sum::<f64>() / self.creatives as f64;
        (0..self.creatives).map(mean).collect()
    }
}

/// All ordered pairs of different ones of `count` things, in the order in which [`OrientedMargins::new`] asks for them.
pub(crate) fn ordered_pairs(count: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count)
        .flat_map(move |left| (0..count).map(move |right| (left, right)))
        .filter(|(left, right)| left != right)
}

/// All unordered pairs of `count` things.
pub(crate) fn pairs(count: usize) -> Vec<(usize, usize)> {
    (0..count)
        .flat_map(|a| (a + 1..count).map(move |b| (a, b)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taste_for_the_left_side_cancels() {
        let quality = [0.5, -0.25, 0.0];
        let margins = OrientedMargins::new(3, |left, right| quality[left] - quality[right] + 0.6);
        assert!((margins.margin(0, 1) - 0.75).abs() < 1e-12);
        assert!((margins.margin(1, 0) + 0.75).abs() < 1e-12);
        // 0.5 and 0.25 are smaller than the taste, 0.75 is not.
        assert_eq!(margins.flip_share(), 2.0 / 3.0);
        let sides = margins.sides().unwrap();
        for (side, score) in sides.iter().zip(margins.scores()) {
            assert!(((side.left + side.right) / 2.0 - score).abs() < 1e-12);
            // The taste, at two of the three places of the mean.
            assert!(((side.left - side.right) / 2.0 - 0.4).abs() < 1e-12);
        }
    }

    #[test]
    fn consistent_margins_come_back_as_differences_of_scores() {
        let quality = [2.0, -1.0, 0.5, 0.0];
        let scores = OrientedMargins::new(4, |left, right| quality[left] - quality[right]).scores();
        for (a, b) in pairs(4) {
            assert!((scores[a] - scores[b] - (quality[a] - quality[b])).abs() < 1e-12);
        }
    }

    #[test]
    fn an_antisymmetric_model_never_flips_and_a_tie_is_no_flip() {
        assert_eq!(
            OrientedMargins::new(3, |left, right| left as f64 - right as f64).flip_share(),
            0.0
        );
        let indifferent = OrientedMargins::new(2, |_, _| 0.0);
        assert_eq!((indifferent.flip_share(), indifferent.sides()), (0.0, None));
    }
}
