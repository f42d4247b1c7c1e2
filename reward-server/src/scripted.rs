//! For tests: a reward model whose score of a picture is its shade, and which does what a test wants.

use crate::orientation::OrientedMargins;
use crate::scorer::ScoreFailure;
use crate::served::{BatchUnit, CreativeGroup, Preparation, RawScores, ServedModel};
use common::Digest;
use models::ModelError;
use models::ctr::Calibration;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A picture of this shade makes the model panic.
pub(crate) const PANICS: u8 = 66;

/// One of this shade has no number for a score.
pub(crate) const NO_NUMBER: u8 = 77;

/// The shade of the first of the two pictures that every model is asked about when it is started.
pub(crate) const PROBED: u8 = 40;

/// A test that fails while the model is closed must not hang.
const LONGEST_PASS: Duration = Duration::from_secs(20);

/// The model. Its clones share what was asked of it.
#[derive(Clone, Default)]
pub(crate) struct Scripted {
    /// What its digest consists of.
    pub(crate) name: u8,
    /// Its form.
    pub(crate) form: &'static str,
    /// For each pass, the shades of its groups.
    asked: Arc<Mutex<Vec<Vec<Vec<u8>>>>>,
    closed: Arc<(Mutex<bool>, Condvar)>,
}

impl Scripted {
    /// One of this name.
    pub(crate) fn named(name: u8) -> Self {
        Self {
            name,
            form: "scripted",
            ..Self::default()
        }
    }

    /// Its digest.
    pub(crate) fn own_digest(&self) -> Digest {
        Digest::from_bytes([self.name; 32])
    }

    /// The passes so far, but for those of the start: the shades of each group.
    pub(crate) fn passes(&self) -> Vec<Vec<Vec<u8>>> {
        let asked = self.asked.lock().unwrap();
        let probe = |pass: &&Vec<Vec<u8>>| pass[0] != [PROBED, 200];
        asked.iter().filter(probe).cloned().collect()
    }

    /// How many of it there are, a served one included.
    pub(crate) fn copies(&self) -> usize {
        Arc::strong_count(&self.asked)
    }

    /// Passes that begin from now on last until [`open`](Self::open).
    pub(crate) fn close(&self) {
        *self.closed.0.lock().unwrap() = true;
    }

    /// Ends the passes that wait.
    pub(crate) fn open(&self) {
        *self.closed.0.lock().unwrap() = false;
        self.closed.1.notify_all();
    }
}

impl ServedModel for Scripted {
    type Creative = u8;

    fn form(&self) -> String {
        self.form.into()
    }

    fn digest(&self) -> Result<Digest, ModelError> {
        Ok(self.own_digest())
    }

    fn preparation(&self) -> Preparation<u8> {
        Arc::new(|creative| creative.get_pixel(0, 0).0[0])
    }

    fn calibration(&self) -> Calibration {
        Calibration::default()
    }

    fn batch_unit(&self) -> BatchUnit {
        BatchUnit::Creatives
    }

    fn raw_scores(
        &self,
        groups: &[CreativeGroup<u8>],
        _max_batch: usize,
    ) -> Vec<Result<RawScores, ScoreFailure>> {
        let shades: Vec<Vec<u8>> = groups.iter().map(|group| group.creatives.clone()).collect();
        self.asked.lock().unwrap().push(shades.clone());
        let (closed, opened) = &*self.closed;
        let mut closed = closed.lock().unwrap();
        while *closed {
            let (still, waited) = opened.wait_timeout(closed, LONGEST_PASS).unwrap();
            closed = still;
            assert!(!waited.timed_out(), "nobody opened the model");
        }
        drop(closed);
        assert!(!shades.concat().contains(&PANICS), "no picture of this shade");
        let score = |shade: &u8| match *shade {
            NO_NUMBER => f64::NAN,
            shade => f64::from(shade) + f64::from(self.name) / 1000.0,
        };
        let answer = |shades: Vec<u8>| {
            let scores: Vec<f64> = shades.iter().map(score).collect();
            let margins = OrientedMargins::new(scores.len(), |a, b| scores[a] - scores[b]);
            Ok(RawScores { scores, margins })
        };
        shades.into_iter().map(answer).collect()
    }
}
