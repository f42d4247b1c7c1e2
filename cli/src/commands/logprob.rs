//! `adwright logprob`: how likely a completion is under a prompt.

use super::model::Asked;
use crate::args::LogprobArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;
use anyhow::{Context as _, anyhow};
use models::ModelError;
use models::batch::CompletionRow;
use models::policy::Policy;
use serde::Serialize;

/// What `--json` prints: natural-log probabilities of raw logits, the end token's included.
#[derive(Serialize)]
struct LogProbs {
    token_ids: Vec<u32>,
    log_probs: Vec<f32>,
    sum: f64,
}

/// Runs the command.
pub(super) fn run(args: &LogprobArgs) -> Outcome<()> {
    let fits = |policy: &Policy, prompt: usize| {
        let completion = completion_ids(policy, args)?.len();
        let fits = policy.config.row_limits().check(prompt, completion);
        fits.context("--prompt and --completion").or_configuration()
    };
    let asked = Asked::read(&args.model, &args.config, &args.compute, Ok(()), fits)?;
    let token_ids = completion_ids(&asked.policy, args)?;
    let row = CompletionRow {
        prompt_ids: &asked.prompt_ids,
        image: asked.features.as_ref().map(|_| 0),
        completion_ids: &token_ids,
    };
    let log_probs = asked
        .policy
        .token_log_probs(&row, asked.features.as_ref())
        .map_err(|error| match error {
            // There is one row, and who asks knows it by these.
            ModelError::Row { reason, .. } => anyhow!("--prompt and --completion: {reason}"),
            other => other.into(),
        })
        .or_configuration()?;
    let sum = log_probs.iter().map(|&nats| f64::from(nats)).sum();
    if args.json {
        output::json(&LogProbs {
            token_ids,
            log_probs,
            sum,
        })?;
    } else {
        output::line(&format!("{sum:.4} nats over {} tokens", token_ids.len()))?;
    }
    Ok(())
}

/// The completion's tokens: those given, or the text's with their end token.
fn completion_ids(policy: &Policy, args: &LogprobArgs) -> Outcome<Vec<u32>> {
    match (&args.completion, &args.completion_ids) {
        (_, Some(ids)) => Ok(ids.clone()),
        (text, None) => policy
            .completion_ids(text.as_deref().unwrap_or_default())
            .context("--completion")
            .or_configuration(),
    }
}
