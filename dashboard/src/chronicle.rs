//! What is remembered of a run for those who look at it: curves, tallies, the newest creatives. All of it is bounded.
//!
//! It is filled from two sides at once: with what the ledger has of earlier starts, and with what comes. So nothing here depends on
//! the order in which things come.

use crate::moments::Moments;
use crate::tallies::{Tallies, VersionTally};
use crate::view::Creative;
use common::PolicyVersion;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Points of a curve. A screen shows no more; when there are more, every second one goes.
const MOST_POINTS: usize = 512;

/// Creatives that are kept to be shown at once.
pub(crate) const NEWEST: usize = 24;

/// Groups that "now" is the mean of.
const RECENT: usize = 256;

/// What was measured of a version: in its training, or by an evaluator.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionPoint {
    /// The version.
    pub version: PolicyVersion,
    /// By the name of the metric (docs/metrics.md).
    pub values: BTreeMap<String, f64>,
}

/// What is remembered of a run.
#[derive(Debug, Default)]
pub struct Chronicle {
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    /// By the version's number.
    points: Thinned<Arc<VersionPoint>>,
    /// The same by evaluators.
    evaluated: Thinned<Arc<VersionPoint>>,
    /// The same of what was sampled by versions of the run's lineage, in which a number is one version.
    sampled: Thinned<VersionTally>,
    tallies: Tallies,
    newest: BTreeMap<u64, Arc<Creative>>,
    /// Mean rewards of the newest groups, by their places in the ledger.
    recent: BTreeMap<u64, f64>,
    reading: Option<Reading>,
    revision: u64,
}

/// How far the reading of what an earlier start recorded has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Records read.
    pub(crate) done: u64,
    /// Records to read.
    pub(crate) all: u64,
}

/// A moment of it, for a page.
#[derive(Debug, Clone)]
pub(crate) struct Excerpt {
    /// What training measured, oldest version first.
    pub(crate) points: Vec<Arc<VersionPoint>>,
    /// What evaluators found of versions, oldest first.
    pub(crate) evaluated: Vec<Arc<VersionPoint>>,
    /// What was sampled by the versions of the run's lineage around a number.
    pub(crate) sampled: Vec<(u64, VersionTally)>,
    /// Newest first.
    pub(crate) newest: Vec<Arc<Creative>>,
    /// Rewards of the groups that came last.
    pub(crate) recent: Moments,
    /// Set while earlier records are still being read.
    pub(crate) reading: Option<Reading>,
}

impl Chronicle {
    /// Takes in what became of a task.
    pub fn add(&self, creative: Creative) {
        let mut book = self.book();
        if let Some(version) = creative.version {
            book.sampled.add(version.number, &creative);
        }
        book.add(creative);
    }

    /// Takes in what became of a task that a retired version sampled, one that the run's weights did not come through: it is in no curve.
    pub fn add_retired(&self, creative: Creative) {
        self.book().add(creative);
    }

    /// Takes in what the training of a version measured.
    pub fn add_version(&self, point: VersionPoint) {
        let mut book = self.book();
        book.revision += 1;
        book.points.put(point.version.number, Arc::new(point));
    }

    /// Takes in what an evaluator found of a version.
    pub fn add_evaluation(&self, point: VersionPoint) {
        let mut book = self.book();
        book.revision += 1;
        book.evaluated.put(point.version.number, Arc::new(point));
    }

    /// So many of so many records of earlier starts have been read.
    pub fn reading(&self, done: u64, all: u64) {
        let mut book = self.book();
        book.revision += 1;
        book.reading = (done < all).then_some(Reading { done, all });
    }

    /// One of the newest creatives, by its place in the ledger.
    pub fn recall(&self, sequence: u64) -> Option<Arc<Creative>> {
        self.book().newest.get(&sequence).cloned()
    }

    /// Changes whenever something was taken in.
    pub(crate) fn revision(&self) -> u64 {
        self.book().revision
    }

    /// Rewards by version.
    pub(crate) fn tallies(&self) -> Tallies {
        self.book().tallies.clone()
    }

    /// What a page shows of it.
    pub(crate) fn excerpt(&self) -> Excerpt {
        let book = self.book();
        let mut recent = Moments::default();
        book.recent.values().for_each(|&reward| recent.add(reward));
        Excerpt {
            points: book.points.kept.values().cloned().collect(),
            evaluated: book.evaluated.kept.values().cloned().collect(),
            sampled: book
                .sampled
                .kept
                .iter()
                .map(|(number, tally)| (*number, tally.clone()))
                .collect(),
            newest: book.newest.values().rev().cloned().collect(),
            recent,
            reading: book.reading,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn add(&mut self, creative: Creative) {
        self.revision += 1;
        self.tallies.add(&creative);
        if let Some(mean) = creative.mean_reward() {
            self.recent.insert(creative.sequence, mean);
            if self.recent.len() > RECENT {
                self.recent.pop_first();
            }
        }
        self.newest.insert(creative.sequence, Arc::new(creative));
        if self.newest.len() > NEWEST {
            self.newest.pop_first();
        }
    }
}

/// What is known by number, thinned out when it becomes too much. The highest number always stays.
#[derive(Debug)]
struct Thinned<T> {
    kept: BTreeMap<u64, T>,
    /// Numbers that are no multiple of it are left out, or counted under the next lower multiple.
    stride: u64,
}

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Self {
            kept: BTreeMap::new(),
            stride: 1,
        }
    }
}

impl Thinned<Arc<VersionPoint>> {
    fn put(&mut self, number: u64, point: Arc<VersionPoint>) {
        let last = self.kept.last_key_value().map(|(last, _)| *last);
        if last.is_some_and(|last| last > number) && !number.is_multiple_of(self.stride) {
            return;
        }
        if let Some(last) = last.filter(|&last| last < number && !last.is_multiple_of(self.stride)) {
            self.kept.remove(&last);
        }
        self.kept.insert(number, point);
        if self.kept.len() > MOST_POINTS {
            self.stride *= 2;
            let (stride, last) = (self.stride, number.max(last.unwrap_or(number)));
            self.kept
                .retain(|number, _| number.is_multiple_of(stride) || *number == last);
        }
    }
}

impl Thinned<VersionTally> {
    fn add(&mut self, number: u64, creative: &Creative) {
        let place = number - number % self.stride;
        // Names are told apart in the tallies; here they would be many times the points.
        self.kept.entry(place).or_default().count(creative);
        if self.kept.len() > MOST_POINTS {
            self.stride *= 2;
            for (number, tally) in std::mem::take(&mut self.kept) {
                let place = number - number % self.stride;
                self.kept.entry(place).or_default().merge(&tally);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_run::{creative, version};

    fn point(number: u64) -> VersionPoint {
        VersionPoint {
            version: version(number),
            values: [("loss".into(), number as f64)].into(),
        }
    }

    #[test]
    fn curves_of_a_long_run_are_thinned_out_and_keep_their_ends_in_whatever_order_they_come() {
        let numbers: Vec<u64> = (1..=10_001).collect();
        let backwards = numbers.iter().rev().copied().collect();
        for numbers in [numbers, backwards] {
            let chronicle = Chronicle::default();
            numbers
                .iter()
                .for_each(|&number| chronicle.add_version(point(number)));
            let points = chronicle.excerpt().points;
            let shown: Vec<u64> = points.iter().map(|point| point.version.number).collect();
            assert!(
                (MOST_POINTS / 4..=MOST_POINTS).contains(&shown.len()),
                "{}",
                shown.len()
            );
            assert_eq!(shown.last(), Some(&10_001));
            assert!(shown.is_sorted() && shown[0] < 64, "{}", shown[0]);
        }
    }

    #[test]
    fn nothing_that_was_sampled_is_lost_by_thinning_and_the_newest_creatives_come_first() {
        let chronicle = Chronicle::default();
        for number in 0..3000 {
            chronicle.add(creative(number, number, "a", &[1.0, 2.0]));
        }
        let excerpt = chronicle.excerpt();
        assert!(excerpt.sampled.len() <= MOST_POINTS);
        let groups: u64 = excerpt.sampled.iter().map(|(_, tally)| tally.reward().n()).sum();
        assert_eq!(groups, 3000);
        assert_eq!((excerpt.newest.len(), excerpt.newest[0].sequence), (NEWEST, 2999));
        assert_eq!(
            (excerpt.recent.n(), excerpt.recent.mean()),
            (RECENT as u64, Some(1.5))
        );
        // What an earlier start recorded comes later and is older.
        chronicle.add(creative(3, 3, "a", &[9.0]));
        assert_eq!(chronicle.excerpt().recent.mean(), Some(1.5));
        assert!(chronicle.recall(2999).is_some() && chronicle.recall(3).is_none());
    }

    #[test]
    fn what_a_retired_version_sampled_is_counted_under_its_name_and_in_no_curve() {
        let chronicle = Chronicle::default();
        let epoch = |epoch, number| PolicyVersion {
            epoch: common::LearnerEpoch(epoch),
            number,
        };
        let of = |sequence, version: PolicyVersion, defects| {
            let mut creative = creative(sequence, version.number, "a", &[1.0, 2.0]);
            creative.version = Some(version);
            creative.candidates[0].defects = defects;
            creative
        };
        chronicle.add_retired(of(0, epoch(1, 6), 1));
        chronicle.add(of(1, epoch(2, 6), 0));
        let excerpt = chronicle.excerpt();
        let (number, tally) = &excerpt.sampled[0];
        assert_eq!((*number, tally.defective_share()), (6, Some(0.0)));
        let tallies = chronicle.tallies();
        let share = |version| tallies.version(version).unwrap().defective_share();
        assert_eq!((share(epoch(1, 6)), share(epoch(2, 6))), (Some(0.5), Some(0.0)));
        assert_eq!(excerpt.newest.len(), 2);
    }

    #[test]
    fn what_comes_while_earlier_records_are_read_does_not_keep_the_newest_of_those_from_being_recent() {
        let chronicle = Chronicle::default();
        chronicle.add(creative(1000, 9, "a", &[2.0]));
        for number in 0..1000 {
            chronicle.add(creative(
                number,
                1,
                "a",
                &[if number < 500 { -50.0 } else { 2.0 }],
            ));
        }
        let recent = chronicle.excerpt().recent;
        assert_eq!((recent.n(), recent.mean()), (RECENT as u64, Some(2.0)));
    }
}
