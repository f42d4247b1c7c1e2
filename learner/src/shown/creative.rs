//! A record of the ledger as a creative with its pedigree. What the record has no words for (caption, instruction, category) comes
//! from the catalogue, and is said to be of today where it is another one than was put to the policy.

use crate::assortment::Assortment;
use crate::ledger::{Record, failure_name, no_pair_name};
use common::{Candidate as Sampled, CandidateGroup, Finish, Purpose, Reward, RolloutOutcome, derive_seed};
use dashboard::{Candidate, Creative, Outcome, Role};

/// A record as a creative.
pub(super) fn creative(record: &Record, assortment: &Assortment, run_seed: u64) -> Creative {
    let id = record.outcome.task();
    let task = assortment.task(id);
    let same_product = task.product == record.product;
    let product = assortment.product(assortment.subject(id).product);
    let group = record.outcome.group();
    let candidates = group.map_or(&[][..], CandidateGroup::candidates);
    let version = candidates
        .first()
        .map(|candidate| candidate.trajectory.behaviour());
    let seed = |version, purpose| derive_seed(run_seed, id, version, purpose);
    let role = roles(&record.outcome);
    Creative {
        sequence: record.sequence,
        task: id,
        outcome: outcome(&record.outcome),
        product: record.product.to_string(),
        caption: if same_product {
            task.caption
        } else {
            record.product.to_string()
        },
        category: product.category.clone().filter(|_| same_product),
        instruction_holds: store::digest(task.instruction.as_bytes()) == record.prompt,
        instruction: task.instruction,
        prompt: record.prompt,
        actor: record.actor.clone(),
        version,
        epoch: record.epoch.0,
        seeds: version.map(|version| {
            (
                seed(version, Purpose::Sampling),
                seed(version, Purpose::RenderNoise),
            )
        }),
        reward_model: group.and_then(CandidateGroup::reward_model),
        margin: match &record.outcome {
            RolloutOutcome::Pair(pair) => Some(pair.margin()),
            _ => None,
        },
        candidates: (0..)
            .zip(candidates)
            .map(|(place, sampled)| candidate(sampled, role(place)))
            .collect(),
    }
}

/// What the candidate at each place is to the pair.
fn roles(outcome: &RolloutOutcome) -> impl Fn(usize) -> Role {
    let pair = match outcome {
        RolloutOutcome::Pair(pair) => Some((pair.chosen_position(), pair.rejected_position())),
        _ => None,
    };
    move |place| match pair {
        Some((chosen, _)) if chosen == place => Role::Chosen,
        Some((_, rejected)) if rejected == place => Role::Rejected,
        _ => Role::Neither,
    }
}

fn outcome(outcome: &RolloutOutcome) -> Outcome {
    match outcome {
        RolloutOutcome::Pair(_) => Outcome::Pair,
        RolloutOutcome::NoPair { reason, .. } => Outcome::NoPair(no_pair_name(*reason)),
        RolloutOutcome::Failed { reason, detail, .. } => {
            Outcome::Failed(failure_name(*reason), detail.clone())
        }
    }
}

fn candidate(sampled: &Sampled, role: Role) -> Candidate {
    let trajectory = &sampled.trajectory;
    Candidate {
        text: trajectory.text().to_owned(),
        tokens: trajectory.token_ids().len(),
        stopped: trajectory.finish() == Finish::Stop,
        log_prob: trajectory.log_probs().iter().map(|&nats| f64::from(nats)).sum(),
        image: sampled.image,
        defects: sampled.defects,
        reward: sampled.reward().map(Reward::value),
        sides: sampled.reward().and_then(Reward::sides),
        barred: sampled
            .standing
            .barred()
            .map(|barred| (barred.guardrail.name(), barred.measured)),
        role,
    }
}
