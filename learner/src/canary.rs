//! The learner's side of the canary: completions that the untrained policy writes about the first tasks, and how likely each
//! version finds them.
//!
//! Training moves what the policy writes, so these move with every version; captions or other people's text might not.

use crate::assortment::Assortment;
use crate::error::LearnerError;
use common::{
    Canary, CanaryQuestion, CompletionNats, LearnerEpoch, PolicyVersion, ProductTask, Purpose, TaskId,
    derive_seed,
};
use image::RgbaImage;
use models::ModelError;
use models::image_features::ImageFeatures;
use models::llava::Llava;
use models::lora::LoraConfig;
use models::policy::{Policy, Prompt, SamplingParams};
use models::probe::{Probe, ProbeRow};
use models::weights::NamedTensors;

/// Completions: enough that one odd picture decides nothing, few enough that a 7B policy scores them in a second.
const QUESTIONS: u64 = 4;

/// Longest completion, in tokens.
const MAX_TOKENS: usize = 32;

/// Answers for any version of a run.
pub(crate) struct CanaryAnswers {
    questions: Vec<CanaryQuestion>,
    probe: Probe,
    reference: CompletionNats,
    /// The base with an adapter of the run's shape.
    model: Llava,
}

impl CanaryAnswers {
    /// Has the untrained `policy` write about the run's first tasks, at most `completion_tokens` tokens each. The same for
    /// every start of a run.
    ///
    /// # Errors
    /// [`LearnerError::Model`] when it cannot.
    pub(crate) fn new(
        policy: &Policy,
        lora: &LoraConfig,
        assortment: &Assortment,
        run_seed: u64,
        completion_tokens: usize,
    ) -> Result<Self, LearnerError> {
        let policy = policy.without_adapter();
        let tasks: Vec<ProductTask> = (0..QUESTIONS).map(|task| assortment.task(TaskId(task))).collect();
        let image = |task: &ProductTask| &assortment.product(assortment.subject(task.id).product).image;
        let images: Vec<&RgbaImage> = tasks.iter().map(image).collect();
        let tokens = completion_tokens.min(MAX_TOKENS);
        let completions = written_by(&policy, &tasks, &images, run_seed, tokens)?;
        let question = |(task, completion): (&ProductTask, &Vec<u32>)| CanaryQuestion {
            instruction: task.instruction.clone(),
            image: task.image,
            completion_ids: completion.clone(),
        };
        let questions: Vec<_> = tasks.iter().zip(&completions).map(question).collect();
        let rows = questions.iter().zip(&images).map(|(question, image)| ProbeRow {
            instruction: &question.instruction,
            image,
            completion_ids: &question.completion_ids,
        });
        let probe = Probe::new(&policy, &rows.collect::<Vec<_>>())?;
        Ok(Self {
            reference: probe.log_probs(&policy.model)?,
            model: policy.model.with_adapter(lora, run_seed)?,
            questions,
            probe,
        })
    }

    /// The canary of a version with this adapter.
    ///
    /// # Errors
    /// [`LearnerError::Model`] when the adapter is of another shape.
    pub(crate) fn of(&self, adapter: &NamedTensors) -> Result<Canary, LearnerError> {
        let version = self.model.clone().load_adapter(adapter)?;
        Ok(Canary {
            questions: self.questions.clone(),
            reference: self.reference.clone(),
            version: self.probe.log_probs(&version)?,
        })
    }
}

/// One completion a task.
fn written_by(
    policy: &Policy,
    tasks: &[ProductTask],
    images: &[&RgbaImage],
    run_seed: u64,
    max_new_tokens: usize,
) -> Result<Vec<Vec<u32>>, ModelError> {
    let start = PolicyVersion::initial(LearnerEpoch(1));
    let prompt = |(image, task): (usize, &ProductTask)| {
        Ok(Prompt {
            ids: policy.prompt_ids(&task.instruction, true)?,
            image: Some(image),
            seed: derive_seed(run_seed, task.id, start, Purpose::Canary),
        })
    };
    let prompts: Result<Vec<_>, ModelError> = tasks.iter().enumerate().map(prompt).collect();
    let features = images.iter().map(|image| policy.image_features(&[image]));
    let features = ImageFeatures::cat(features.collect::<Result<_, _>>()?);
    let params = SamplingParams::plain(max_new_tokens);
    let written = policy.sample(&prompts?, Some(&features), &params)?;
    Ok(written
        .into_iter()
        .map(|completion| completion.token_ids)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_policy::{assortment, policy};
    use burn::tensor::TensorData;
    use common::{CanaryVerdict, OwnNats};

    fn answers() -> CanaryAnswers {
        CanaryAnswers::new(&policy(), &LoraConfig::new(2, 2.0), &assortment(6), 7, 8).unwrap()
    }

    /// An adapter all of whose weights are `value`.
    fn flat(value: f32) -> NamedTensors {
        let fresh = answers().model.adapter().into_iter();
        let flat = fresh.map(|(name, tensor)| {
            let values = vec![value; tensor.shape().num_elements()];
            (name, TensorData::new(values, tensor.shape().clone()))
        });
        flat.collect()
    }

    #[test]
    fn every_start_of_a_run_asks_the_same_and_the_answers_move_with_the_weights() {
        let (first, second) = (answers(), answers());
        let (a, b) = (first.of(&flat(0.1)).unwrap(), second.of(&flat(0.1)).unwrap());
        assert_eq!(a, b);
        assert_eq!(a.check(), Ok(()));
        assert_eq!(a.questions.len() as u64, QUESTIONS);
        let other = first.of(&flat(0.2)).unwrap();
        assert_eq!(other.reference, a.reference);
        let own = OwnNats {
            reference: &a.reference,
            old: &a.version,
            new: &other.version,
        };
        assert_eq!(other.compare(own).verdict, CanaryVerdict::Ok);
        assert_eq!(a.compare(own).verdict, CanaryVerdict::Mismatch);
    }
}
