//! `adwright generate`: completions of one prompt.

use super::model::Asked;
use crate::args::GenerateArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;
use anyhow::anyhow;
use models::ModelError;
use models::policy::{Policy, Prompt, SamplingParams};
use models::sampling::Finish;
use serde::Serialize;

/// What `--json` prints.
#[derive(Serialize)]
struct Completions {
    completions: Vec<Completion>,
}

#[derive(Serialize)]
struct Completion {
    /// The end token included when it was drawn.
    token_ids: Vec<u32>,
    text: String,
    /// Natural-log softmax of the raw logits, whatever the sampling flags.
    log_probs: Vec<f32>,
    finish: Finish,
}

/// What is wrong with a setting, by the flag that it was given by.
fn by_flag(error: ModelError) -> anyhow::Error {
    let setting = match &error {
        ModelError::Sampling { key, .. } => key,
        ModelError::Room { .. } => "max_new_tokens",
        _ => return error.into(),
    };
    // Their messages begin with it.
    let told = error.to_string();
    anyhow!(
        "--{}{}",
        setting.replace('_', "-"),
        told.strip_prefix(setting).unwrap_or(&told)
    )
}

/// Runs the command.
pub(super) fn run(args: &GenerateArgs) -> Outcome<()> {
    let params = SamplingParams {
        temperature: if args.greedy { 0.0 } else { args.temperature },
        top_p: args.top_p,
        max_new_tokens: args.max_new_tokens,
    };
    let settings = params.check().map_err(by_flag).or_configuration();
    let fits = |policy: &Policy, prompt: usize| {
        let fits = policy.config.row_limits().check(prompt, args.max_new_tokens);
        fits.map_err(|long| by_flag(long.of_sampling()))
            .or_configuration()
    };
    let asked = Asked::read(&args.model, &args.config, &args.compute, settings, fits)?;
    let prompt = |number: u64| Prompt {
        ids: asked.prompt_ids.clone(),
        image: asked.features.as_ref().map(|_| 0),
        // The generator expands its seed, so that neighbouring seeds give unrelated streams.
        seed: args.seed.wrapping_add(number),
    };
    let prompts: Vec<Prompt> = (0..args.num).map(prompt).collect();
    let drawn = asked
        .policy
        .sample(&prompts, asked.features.as_ref(), &params)
        .or_configuration()?;
    if !args.json {
        for completion in drawn {
            output::line(&completion.text)?;
        }
        return Ok(());
    }
    let completions = drawn.into_iter().map(|completion| Completion {
        token_ids: completion.token_ids,
        text: completion.text,
        log_probs: completion.log_probs,
        finish: completion.finish,
    });
    output::json(&Completions {
        completions: completions.collect(),
    })?;
    Ok(())
}
