//! Decoding: a batch of prompts to completions, one token per row and step.
//!
//! The device computes logits, the host draws: one random stream per row, keyed by the row's seed, so that what a row
//! draws does not depend on its neighbours. Equal prompts share one prefill. Rows that have finished are computed along
//! and their tokens dropped; decoding ends with the last row. Which product or version a prompt belongs to is not known
//! here.

mod decoder;
mod draw;
mod row;

use burn::module::Module;
use serde::{Deserialize, Serialize};

use crate::batch::RowLimits;
use crate::error::ModelError;
use crate::image_features::ImageFeatures;
use crate::llava::Llava;
use decoder::Decoder;
use row::Row;

/// How tokens are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingParams {
    /// Divides the logits; 1 samples the model as it is, 0 takes the most probable token. Other values are at least
    /// [`LOWEST_TEMPERATURE`](Self::LOWEST_TEMPERATURE).
    pub temperature: f64,
    /// Share of probability the drawn-from tokens must reach, largest first; in (0, 1], 1 cuts nothing.
    pub top_p: f64,
    /// Longest completion, end token counted; at least 1.
    pub max_new_tokens: usize,
}

impl SamplingParams {
    /// Below this the most probable token is as good as certain, and not far below it logits divided by the temperature
    /// leave f32.
    pub const LOWEST_TEMPERATURE: f64 = 1e-6;

    /// The most probable token at every step.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            temperature: 0.0,
            top_p: 1.0,
            max_new_tokens,
        }
    }

    /// The model's own distribution.
    pub fn plain(max_new_tokens: usize) -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            max_new_tokens,
        }
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`ModelError::Sampling`] with the key, its value and what would be right.
    pub fn check(&self) -> Result<(), ModelError> {
        let failed = |key, value, expected| Err(ModelError::Sampling { key, value, expected });
        let drawn = self.temperature >= Self::LOWEST_TEMPERATURE && self.temperature.is_finite();
        if !(drawn || self.temperature == 0.0) {
            return failed("temperature", self.temperature, "0, or 1e-6 and more");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return failed("top_p", self.top_p, "above 0 and at most 1");
        }
        if self.max_new_tokens == 0 {
            return failed("max_new_tokens", 0.0, "1 or more");
        }
        Ok(())
    }
}

/// One completion to be drawn. Several completions of one prompt are several rows with different seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// Tokens with the begin token; one image placeholder where the image goes, or none.
    pub ids: Vec<u32>,
    /// Place among the image features of what the placeholder stands for.
    pub image: Option<usize>,
    /// Key of the row's random stream.
    pub seed: u64,
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The end token was drawn.
    Stop,
    /// The longest completion was reached.
    Length,
}

/// A completion as tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct SampledTokens {
    /// The end token included when it was drawn.
    pub token_ids: Vec<u32>,
    /// Natural-log softmax of the raw logits (temperature 1, nothing cut off) of each token.
    pub log_probs: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Completions of `prompts`, in their order. `features` are those the prompts' images index; `drawn` is called each time a token has
/// been drawn for every row.
///
/// # Errors
/// [`ModelError::Sampling`] for settings out of range, [`ModelError::Room`] when a completion may grow longer than the context has
/// room for, [`ModelError::Row`] for a prompt that cannot be laid out or whose logits are not numbers.
pub fn sample_tokens(
    model: &Llava,
    prompts: &[Prompt],
    features: Option<&ImageFeatures>,
    params: &SamplingParams,
    end_id: u32,
    limits: &RowLimits,
    drawn: &mut dyn FnMut(),
) -> Result<Vec<SampledTokens>, ModelError> {
    params.check()?;
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    let features = features.map(|features| features.clone().without_autodiff());
    let mut rows: Vec<Row> = prompts
        .iter()
        .map(|prompt| Row::new(prompt.seed, end_id, params))
        .collect();
    // Weights on an autodiff device would record every step.
    let model = model.valid();
    let (mut decoder, mut logits) =
        Decoder::prefill(&model, prompts, features.as_ref(), params.max_new_tokens, limits)?;
    loop {
        for (index, row) in rows.iter_mut().enumerate() {
            row.take(logits.of(index), params, index)?;
        }
        drawn();
        if rows.iter().all(|row| row.finish.is_some()) {
            break;
        }
        logits = decoder.step(rows.iter().map(Row::last));
    }
    Ok(rows.into_iter().map(Row::into_tokens).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{CompletionRow, collate};
    use crate::policy::Policy;
    use crate::presets::tests::{grouped_and_adapted, picture, policy};

    const IMAGE: u32 = 3;

    fn prompt(ids: &[u32], image: Option<usize>, seed: u64) -> Prompt {
        Prompt {
            ids: ids.to_vec(),
            image,
            seed,
        }
    }

    fn prompts() -> Vec<Prompt> {
        vec![
            prompt(&[1, IMAGE, 20, 21], Some(1), 7),
            prompt(&[1, 20], None, 8),
            prompt(&[1, IMAGE, 20, 21], Some(1), 9),
            prompt(&[1, IMAGE, 20, 21], Some(0), 7),
        ]
    }

    fn sample(policy: &Policy, prompts: &[Prompt], params: &SamplingParams) -> Vec<SampledTokens> {
        let features = policy
            .image_features(&[&picture(255, 0, 0), &picture(0, 0, 255)])
            .unwrap();
        let limits = policy.config.row_limits();
        sample_tokens(
            &policy.model,
            prompts,
            Some(&features),
            params,
            2,
            &limits,
            &mut || (),
        )
        .unwrap()
    }

    /// Decoding is cached, training reads whole padded rows.
    #[test]
    fn recorded_log_probs_are_those_that_training_computes() {
        let params = SamplingParams {
            temperature: 0.7,
            top_p: 0.9,
            max_new_tokens: 6,
        };
        for policy in [policy(1), grouped_and_adapted(1)] {
            let (prompts, sampled) = (prompts(), sample(&policy, &prompts(), &params));
            let rows: Vec<_> = prompts
                .iter()
                .zip(&sampled)
                .map(|(prompt, sampled)| CompletionRow {
                    prompt_ids: &prompt.ids,
                    image: prompt.image,
                    completion_ids: &sampled.token_ids,
                })
                .collect();
            let batch = collate(&rows, &[16; 2], &policy.config.row_limits()).unwrap();
            let features = policy
                .image_features(&[&picture(255, 0, 0), &picture(0, 0, 255)])
                .unwrap();
            let scored = policy.model.completion_log_probs(&batch, Some(&features));
            let tokens: Vec<f32> = scored.token_log_probs.into_data().try_into_vec().unwrap();
            for (sampled, row) in sampled.iter().zip(tokens.chunks(batch.completion_length())) {
                assert!(sampled.log_probs.len() > 1, "one token needs no cache");
                for (cached, full) in sampled.log_probs.iter().zip(row) {
                    assert!((cached - full).abs() < 1e-4, "{cached} {full}");
                }
            }
        }
    }

    #[test]
    fn a_row_draws_the_same_whatever_its_neighbours() {
        let policy = policy(1);
        let together = sample(&policy, &prompts(), &SamplingParams::plain(8));
        for (prompt, together) in prompts().iter().zip(&together) {
            let alone = sample(&policy, std::slice::from_ref(prompt), &SamplingParams::plain(8)).remove(0);
            assert_eq!(alone.token_ids, together.token_ids);
        }
    }

    #[test]
    fn the_same_seeds_give_the_same_completions_and_other_seeds_others() {
        let policy = policy(1);
        let first = sample(&policy, &prompts(), &SamplingParams::plain(8));
        assert_eq!(first, sample(&policy, &prompts(), &SamplingParams::plain(8)));
        assert_ne!(first[0].token_ids, first[2].token_ids);
    }

    #[test]
    fn greedy_takes_the_most_probable_token_of_every_step() {
        let policy = policy(1);
        let sampled = sample(&policy, &[prompt(&[1, 20], None, 1)], &SamplingParams::greedy(3)).remove(0);
        let mut ids = vec![1, 20];
        for (&token, &log_prob) in sampled.token_ids.iter().zip(&sampled.log_probs) {
            for other in 0..policy.config.text.vocab_size as u32 {
                let row = CompletionRow {
                    prompt_ids: &ids,
                    image: None,
                    completion_ids: &[other],
                };
                let batch = collate(&[row], &[], &policy.config.row_limits()).unwrap();
                let value = policy
                    .model
                    .completion_log_probs(&batch, None)
                    .sums()
                    .into_scalar::<f32>();
                assert!(value <= log_prob + 1e-5);
            }
            ids.push(token);
        }
    }

    #[test]
    fn a_completion_ends_with_the_end_token_or_at_its_length() {
        let policy = policy(1);
        let seeds: Vec<Prompt> = (0..64).map(|seed| prompt(&[1, 20], None, seed)).collect();
        let limits = policy.config.row_limits();
        // With a frequent token as the end token both endings occur.
        let probe = sample(&policy, &seeds, &SamplingParams::plain(12));
        let end = probe[0].token_ids[3];
        let sampled = sample_tokens(
            &policy.model,
            &seeds,
            None,
            &SamplingParams::plain(12),
            end,
            &limits,
            &mut || (),
        )
        .unwrap();
        for completion in &sampled {
            let stops = completion.token_ids.iter().filter(|&&id| id == end).count();
            match completion.finish {
                Finish::Stop => assert_eq!((stops, completion.token_ids.last()), (1, Some(&end))),
                Finish::Length => assert_eq!((stops, completion.token_ids.len()), (0, 12)),
            }
            assert_eq!(completion.token_ids.len(), completion.log_probs.len());
        }
        assert!(sampled.iter().any(|completion| completion.finish == Finish::Stop));
    }

    #[test]
    fn who_watches_is_told_of_every_step_until_the_last_row_ends() {
        let policy = policy(1);
        let (limits, mut steps) = (policy.config.row_limits(), 0);
        let sampled = sample_tokens(
            &policy.model,
            &[prompt(&[1, 20], None, 1), prompt(&[1, 20], None, 2)],
            None,
            &SamplingParams::plain(7),
            2,
            &limits,
            &mut || steps += 1,
        );
        let longest = sampled.unwrap().iter().map(|row| row.token_ids.len()).max();
        assert_eq!(longest, Some(steps));
    }

    #[test]
    fn weights_on_an_autodiff_device_sample_the_same() {
        let policy = policy(1);
        let training = Policy {
            model: policy.model.clone().train(),
            ..policy.clone()
        };
        let params = SamplingParams::plain(5);
        assert_eq!(
            sample(&policy, &prompts(), &params),
            sample(&training, &prompts(), &params)
        );
    }

    #[test]
    fn a_completion_without_room_blames_its_length_and_a_prompt_without_room_its_row() {
        let policy = policy(1);
        let limits = RowLimits {
            max_length: 10,
            ..policy.config.row_limits()
        };
        let prompts = [
            prompt(&[1, 20], None, 1),
            prompt(&[1, 20], None, 2),
            prompt(&[1; 9], None, 3),
        ];
        let too_long = [prompt(&[1, 20], None, 1), prompt(&[1; 11], None, 2)];
        let run = |prompts: &[Prompt], length| {
            sample_tokens(
                &policy.model,
                prompts,
                None,
                &SamplingParams::plain(length),
                2,
                &limits,
                &mut || (),
            )
        };
        for length in [3, 100_000] {
            let refusal = run(&prompts, length).unwrap_err().to_string();
            let blamed = format!("max_new_tokens = {length}: expected at most 2, ");
            assert!(refusal.contains(&blamed), "{refusal}");
        }
        assert!(run(&prompts, 2).is_ok());
        let refusal = run(&too_long, 1).unwrap_err();
        assert!(
            matches!(refusal, ModelError::Row { row: 1, .. }) && refusal.to_string().contains("11 positions"),
            "{refusal}"
        );
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let params = |temperature, top_p, max_new_tokens| SamplingParams {
            temperature,
            top_p,
            max_new_tokens,
        };
        for bad in [
            params(-0.1, 1.0, 1),
            params(f64::NAN, 1.0, 1),
            params(1.0, 0.0, 1),
            params(1.0, 1.1, 1),
            params(1.0, f64::NAN, 1),
            params(1.0, 1.0, 0),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
