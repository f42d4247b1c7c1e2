//! Means with what is needed to say how sure they are. Sums of any order come to the same, up to rounding.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// Count, mean and spread of some numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Moments {
    n: u64,
    mean: f64,
    /// Sum of squared distances from the mean.
    m2: f64,
}

impl Moments {
    /// Takes in one more number.
    pub(crate) fn add(&mut self, value: f64) {
        self.n += 1;
        let distance = value - self.mean;
        self.mean += distance / self.n as f64;
        self.m2 += distance * (value - self.mean);
    }

    /// Takes in what others have counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        let n = self.n + other.n;
        if other.n == 0 {
            return;
        }
        let (own, theirs, all) = (self.n as f64, other.n as f64, n as f64);
        let distance = other.mean - self.mean;
        self.mean += distance * theirs / all;
        self.m2 += other.m2 + distance * distance * own * theirs / all;
        self.n = n;
    }

    /// How many.
    pub(crate) fn n(&self) -> u64 {
        self.n
    }

    /// Their mean; `None` of nothing.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.n > 0).then_some(self.mean)
    }

    /// Half the width of the 95 % interval of the mean, by Student's t; `None` of fewer than two.
    pub(crate) fn margin(&self) -> Option<f64> {
        let freedom = self.n.checked_sub(1).filter(|&freedom| freedom > 0)? as f64;
        let error = (self.m2 / freedom / self.n as f64).sqrt();
        Some(quantile(freedom) * error)
    }

    /// The difference of the mean from `before`, with half the width of its 95 % interval by Welch's t-test where both have two
    /// numbers or more; `None` when one has none.
    pub(crate) fn change_from(&self, before: &Self) -> Option<(f64, Option<f64>)> {
        let change = self.mean()? - before.mean()?;
        Some((change, self.welch(before)))
    }

    fn welch(&self, before: &Self) -> Option<f64> {
        let part = |moments: &Self| {
            let freedom = moments.n.checked_sub(1).filter(|&freedom| freedom > 0)? as f64;
            Some((moments.m2 / freedom / moments.n as f64, freedom))
        };
        let ((a, of_a), (b, of_b)) = (part(self)?, part(before)?);
        let spread = a + b;
        if spread <= 0.0 {
            return Some(0.0);
        }
        let freedom = spread * spread / (a * a / of_a + b * b / of_b);
        Some(quantile(freedom) * spread.sqrt())
    }
}

/// Degrees of freedom from which the series around the normal is exact to three millionths.
const MANY: f64 = 1000.0;

/// How many standard errors lie on either side of the mean in the 95 % interval of the normal.
const NORMAL: f64 = 1.959_963_984_540_054;

/// How many standard errors lie on either side of the mean in the 95 % interval. The library loses digits with many degrees of
/// freedom, and does not come to an end with tens of millions.
fn quantile(freedom: f64) -> f64 {
    if freedom > MANY {
        return NORMAL + (NORMAL.powi(3) + NORMAL) / (4.0 * freedom);
    }
    StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Moments {
        let mut moments = Moments::default();
        values.iter().for_each(|&value| moments.add(value));
        moments
    }

    #[test]
    fn parts_merged_are_the_whole() {
        let (mut left, right) = (of(&[1.0, 2.0, 4.5]), of(&[-3.0, 0.25]));
        left.merge(&right);
        let whole = of(&[1.0, 2.0, 4.5, -3.0, 0.25]);
        assert_eq!(left.n(), 5);
        assert!((left.mean - whole.mean).abs() < 1e-12 && (left.m2 - whole.m2).abs() < 1e-12);
        let mut none = Moments::default();
        none.merge(&Moments::default());
        assert_eq!((none.mean(), none.margin()), (None, None));
    }

    #[test]
    fn quantiles_come_from_one_curve_however_many_numbers_there_are() {
        // From tables of Student's t.
        for (freedom, expected) in [(1.0, 12.7062), (30.0, 2.0423), (100.0, 1.9840), (1e9, 1.9600)] {
            assert!((quantile(freedom) - expected).abs() < 1e-4, "{freedom}");
        }
        assert!((quantile(MANY) - quantile(MANY + 0.001)).abs() < 5e-6);
        assert!(quantile(1.5e7) < quantile(1e6) && quantile(1.5e7) > NORMAL);
    }

    #[test]
    fn intervals_are_students_and_welchs() {
        // The mean is 3, the standard deviation the root of 2.5, t of four degrees of freedom 2.776445.
        let one_to_five = of(&[1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!((one_to_five.margin().unwrap() - 2.776445 * (2.5f64 / 5.0).sqrt()).abs() < 1e-4);
        assert_eq!(of(&[7.0]).margin(), None);
        // Two samples of equal size and spread have eight degrees of freedom: t is 2.306004.
        let (change, margin) = of(&[3.0, 4.0, 5.0, 6.0, 7.0]).change_from(&one_to_five).unwrap();
        assert!((change - 2.0).abs() < 1e-12 && (margin.unwrap() - 2.306004).abs() < 1e-4);
        assert_eq!(one_to_five.change_from(&Moments::default()), None);
    }
}
