//! `adwright logprob`: how likely a completion is under a prompt.

use super::model::Asked;
use crate::args::LogprobArgs;
use crate::failure::{OrConfiguration as _, Outcome};
use crate::output;
use anyhow::{Context as _, anyhow};
use models::ModelError;
use models::batch::CompletionRow;
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
    let asked = Asked::read(&args.model, &args.config, &args.compute)?;
    let token_ids = match (&args.completion, &args.completion_ids) {
        (_, Some(ids)) => ids.clone(),
        (text, None) => asked
            .policy
            .completion_ids(text.as_deref().unwrap_or_default())
            .context("--completion")
            .or_configuration()?,
    };
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
