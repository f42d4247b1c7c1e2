//! The proof that an actor's weights do what the learner's do: a few completions, and how likely each side finds them.
//!
//! The learner publishes its own log-probabilities beside each version; an actor compares them with its own before it
//! samples. How far two machines differ on the *same* weights is measured on the reference, which every actor has from the
//! start: what counts as a difference follows from that.

use crate::Digest;

/// Differences below this are rounding, in nats: sums of some thousand f32 products in another order.
const LEAST_TOLERANCE: f64 = 1e-4;

/// The tolerance is so many times what the reference was found to differ by: a version adds products of its own.
const TOLERANCE_FACTOR: f64 = 4.0;

/// A reference that differs by more, in nats at one token, is another model: bf16 against f32 stays below a tenth.
const MOST_NOISE: f64 = 0.25;

/// A version proves something only where the one before differs from it by so many tolerances.
const SEPARATION_FACTOR: f64 = 5.0;

/// Natural log-probabilities, one a token, of each question's completion.
pub type CompletionNats = Vec<Vec<f32>>;

/// A completion under its prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryQuestion {
    /// The instruction, caption filled in.
    pub instruction: String,
    /// The product's cut-out in the run's store.
    pub image: Digest,
    /// Tokens of a completion, end token included where it ends.
    pub completion_ids: Vec<u32>,
}

/// What the learner says of the questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// The same for every version of a run.
    pub questions: Vec<CanaryQuestion>,
    /// With the adapter off: the same for every version.
    pub reference: CompletionNats,
    /// With the version's adapter.
    pub version: CompletionNats,
}

/// A canary whose parts do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("question {question}: {tokens} tokens, but {reference} and {version} log-probabilities")]
pub struct InvalidCanary {
    question: usize,
    tokens: usize,
    reference: usize,
    version: usize,
}

/// What an actor's own models say of the questions.
#[derive(Debug, Clone, Copy)]
pub struct OwnNats<'a> {
    /// With the adapter off.
    pub reference: &'a CompletionNats,
    /// With the adapter that is sampled from today; where there is none yet, the reference.
    pub old: &'a CompletionNats,
    /// With the version's adapter.
    pub new: &'a CompletionNats,
}

/// Whether a version takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CanaryVerdict {
    /// The actor's weights do what the learner's do, and not what the version before did.
    Ok,
    /// They do something else: nothing may be sampled from them.
    Mismatch,
    /// They do what the learner's do, but so does the version before: nothing is proven.
    Inconclusive,
}

/// What came of the comparison; the numbers are the largest difference at any token, in nats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CanaryReport {
    /// Whether the version takes effect.
    pub verdict: CanaryVerdict,
    /// How far the actor's version is from the learner's.
    pub deviation: f64,
    /// How far it may be.
    pub tolerance: f64,
    /// How far the actor's version before is from the learner's version.
    pub separation: f64,
}

impl Canary {
    /// Refuses answers that do not belong to the questions.
    ///
    /// # Errors
    /// [`InvalidCanary`] naming the first question without one number a token from each side.
    pub fn check(&self) -> Result<(), InvalidCanary> {
        let count = |nats: &CompletionNats, question: usize| nats.get(question).map_or(0, Vec::len);
        let most = self
            .questions
            .len()
            .max(self.reference.len())
            .max(self.version.len());
        for question in 0..most {
            let tokens = self.questions.get(question).map_or(0, |q| q.completion_ids.len());
            let (reference, version) = (count(&self.reference, question), count(&self.version, question));
            if tokens == 0 || reference != tokens || version != tokens {
                return Err(InvalidCanary {
                    question,
                    tokens,
                    reference,
                    version,
                });
            }
        }
        Ok(())
    }

    /// Compares what an actor has computed with what the learner says.
    pub fn compare(&self, own: OwnNats<'_>) -> CanaryReport {
        let noise = largest_difference(own.reference, &self.reference);
        let is_other_base = noise > MOST_NOISE;
        let tolerance = LEAST_TOLERANCE.max(TOLERANCE_FACTOR * noise.min(MOST_NOISE));
        let of_version = largest_difference(own.new, &self.version);
        // What has another base deviates by as much at least, whatever its adapter makes up for.
        let deviation = if is_other_base {
            of_version.max(noise)
        } else {
            of_version
        };
        let separation = largest_difference(own.old, &self.version);
        let verdict = if is_other_base || deviation > tolerance {
            CanaryVerdict::Mismatch
        } else if separation < SEPARATION_FACTOR * tolerance {
            CanaryVerdict::Inconclusive
        } else {
            CanaryVerdict::Ok
        };
        CanaryReport {
            verdict,
            deviation,
            tolerance,
            separation,
        }
    }
}

/// Over all tokens; infinite where the two have different shapes or one is no number.
fn largest_difference(a: &CompletionNats, b: &CompletionNats) -> f64 {
    if a.len() != b.len() || a.iter().zip(b).any(|(a, b)| a.len() != b.len()) {
        return f64::INFINITY;
    }
    let differences = a.iter().flatten().zip(b.iter().flatten());
    differences
        .map(|(a, b)| f64::from((a - b).abs()))
        .map(|difference| {
            if difference.is_nan() {
                f64::INFINITY
            } else {
                difference
            }
        })
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use CanaryVerdict::{Inconclusive, Mismatch, Ok as Fine};

    fn nats(shift: f32) -> CompletionNats {
        vec![vec![-1.0 - shift, -2.0 + shift], vec![-0.5 - shift]]
    }

    fn canary(version: f32) -> Canary {
        let question = |tokens: u32| CanaryQuestion {
            instruction: "describe".into(),
            image: Digest::from_bytes([1; 32]),
            completion_ids: (0..tokens).collect(),
        };
        Canary {
            questions: vec![question(2), question(1)],
            reference: nats(0.0),
            version: nats(version),
        }
    }

    /// The verdict on (reference, old, new) as shifts.
    fn verdict(version: f32, own: [f32; 3]) -> CanaryReport {
        let [reference, old, new] = own.map(nats);
        let (reference, old, new) = (&reference, &old, &new);
        canary(version).compare(OwnNats { reference, old, new })
    }

    #[test]
    fn weights_that_take_effect_are_told_from_those_that_do_not() {
        for (name, version, own, expected) in [
            ("bound", 0.3, [0.0, 0.1, 0.3], Fine),
            ("not bound", 0.3, [0.0, 0.1, 0.0], Mismatch),
            ("the old one still", 0.3, [0.0, 0.1, 0.1], Mismatch),
            ("another base", 0.3, [0.4, 0.4, 0.3], Mismatch),
            ("no number", 0.3, [0.0, 0.1, f32::NAN], Mismatch),
            ("old and new alike", 0.3, [0.0, 0.3003, 0.3], Inconclusive),
            ("the first version", 0.0, [0.0, 0.0, 0.0], Inconclusive),
        ] {
            assert_eq!(verdict(version, own).verdict, expected, "{name}");
        }
    }

    #[test]
    fn the_tolerance_follows_from_how_far_the_reference_differs() {
        let report = verdict(0.3, [0.01, 0.0, 0.33]);
        assert!((report.tolerance - 0.04).abs() < 1e-6, "{report:?}");
        assert_eq!(report.verdict, Fine);
        assert_eq!(verdict(0.3, [0.001, 0.0, 0.33]).verdict, Mismatch);
        assert_eq!(verdict(0.3, [0.0, 0.0, 0.30005]).tolerance, LEAST_TOLERANCE);
    }

    #[test]
    fn answers_that_do_not_belong_to_the_questions_are_refused() {
        assert_eq!(canary(0.1).check(), Ok(()));
        let cut = |change: fn(&mut Canary)| {
            let mut canary = canary(0.1);
            change(&mut canary);
            canary.check().unwrap_err().to_string()
        };
        assert!(cut(|c| c.version[1].push(-1.0)).starts_with("question 1: 1 tokens, but 1 and 2"));
        assert!(cut(|c| c.reference.truncate(1)).starts_with("question 1"));
        assert!(cut(|c| c.version.push(vec![-1.0])).starts_with("question 2"));
        assert!(cut(|c| c.questions[0].completion_ids.clear()).starts_with("question 0"));
        let (a, b) = (nats(0.0), vec![vec![-1.0, -2.0]]);
        assert_eq!(largest_difference(&a, &b), f64::INFINITY);
    }
}
