//! The canary and what came of it.

use super::plain::MAX_TEXT_BYTES;
use super::{InvalidMessage, required};
use crate::pb;
use common::{Canary, CanaryQuestion, CanaryReport, CanaryVerdict};

/// The most questions, and the most tokens of one completion, that a message may carry.
const MAX_QUESTIONS: usize = 64;
const MAX_TOKENS: usize = 16 << 10;

impl From<&Canary> for pb::Canary {
    fn from(canary: &Canary) -> Self {
        let answers = canary.reference.iter().zip(&canary.version);
        let question = |(question, (reference, version)): (&CanaryQuestion, (&Vec<f32>, &Vec<f32>))| {
            pb::CanaryQuestion {
                instruction: question.instruction.clone(),
                image: Some(question.image.into()),
                completion_ids: question.completion_ids.clone(),
                reference_log_probs: reference.clone(),
                log_probs: version.clone(),
            }
        };
        Self {
            questions: canary.questions.iter().zip(answers).map(question).collect(),
        }
    }
}

impl TryFrom<pb::Canary> for Canary {
    type Error = InvalidMessage;

    fn try_from(message: pb::Canary) -> Result<Self, InvalidMessage> {
        let count = message.questions.len();
        if !(1..=MAX_QUESTIONS).contains(&count) {
            let reason = format!("{count}, expected 1 to {MAX_QUESTIONS}");
            return Err(InvalidMessage::new("canary.questions", reason));
        }
        let mut canary = Self {
            questions: Vec::with_capacity(count),
            reference: Vec::with_capacity(count),
            version: Vec::with_capacity(count),
        };
        for question in message.questions {
            if question.completion_ids.len() > MAX_TOKENS || question.instruction.len() > MAX_TEXT_BYTES {
                let reason = format!("more than {MAX_TOKENS} tokens or 64 KiB of instruction");
                return Err(InvalidMessage::new("canary.questions", reason));
            }
            canary.questions.push(CanaryQuestion {
                instruction: question.instruction,
                image: required("canary_question.image", question.image)?.try_into()?,
                completion_ids: question.completion_ids,
            });
            canary.reference.push(question.reference_log_probs);
            canary.version.push(question.log_probs);
        }
        let checked = canary.check();
        checked.map_err(|e| InvalidMessage::new("canary", e))?;
        Ok(canary)
    }
}

impl From<CanaryReport> for pb::CanaryReport {
    fn from(report: CanaryReport) -> Self {
        let verdict = match report.verdict {
            CanaryVerdict::Ok => pb::CanaryVerdict::Ok,
            CanaryVerdict::Mismatch => pb::CanaryVerdict::Mismatch,
            CanaryVerdict::Inconclusive => pb::CanaryVerdict::Inconclusive,
        };
        Self {
            verdict: verdict.into(),
            deviation: report.deviation,
            tolerance: report.tolerance,
            separation: report.separation,
        }
    }
}

impl TryFrom<pb::CanaryReport> for CanaryReport {
    type Error = InvalidMessage;

    fn try_from(message: pb::CanaryReport) -> Result<Self, InvalidMessage> {
        let verdict = match message.verdict() {
            pb::CanaryVerdict::Ok => CanaryVerdict::Ok,
            pb::CanaryVerdict::Mismatch => CanaryVerdict::Mismatch,
            pb::CanaryVerdict::Inconclusive => CanaryVerdict::Inconclusive,
            pb::CanaryVerdict::Unspecified => return Err(InvalidMessage::missing("canary_report.verdict")),
        };
        Ok(Self {
            verdict,
            deviation: message.deviation,
            tolerance: message.tolerance,
            separation: message.separation,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Digest;

    fn canary() -> Canary {
        let question = CanaryQuestion {
            instruction: "describe the lamp".into(),
            image: Digest::from_bytes([2; 32]),
            completion_ids: vec![7, 8],
        };
        Canary {
            questions: vec![question],
            reference: vec![vec![-1.0, -2.0]],
            version: vec![vec![-1.5, -0.5]],
        }
    }

    #[test]
    fn a_canary_and_its_report_survive_the_wire() {
        assert_eq!(Canary::try_from(pb::Canary::from(&canary())).unwrap(), canary());
        let report = CanaryReport {
            verdict: CanaryVerdict::Mismatch,
            deviation: f64::INFINITY,
            tolerance: 1e-4,
            separation: 0.5,
        };
        assert_eq!(
            CanaryReport::try_from(pb::CanaryReport::from(report)).unwrap(),
            report
        );
        assert!(CanaryReport::try_from(pb::CanaryReport::default()).is_err());
    }

    #[test]
    fn a_canary_without_questions_or_with_a_number_too_few_is_refused() {
        assert!(Canary::try_from(pb::Canary::default()).is_err());
        let mut short = pb::Canary::from(&canary());
        short.questions[0].log_probs.pop();
        let refusal = Canary::try_from(short).unwrap_err();
        assert_eq!(refusal.field, "canary");
    }
}
