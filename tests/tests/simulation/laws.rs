//! What must hold when a simulated run is over, whatever happened to it.

use crate::scenario::Scenario;
use crate::trace::Facts;
use learner::{LearnerError, LedgerLine, LedgerView, RunSummary};
use std::collections::BTreeMap;
use store::Store;

/// What of it does not.
///
/// # Errors
/// When the ledger cannot be read.
pub(crate) async fn broken(
    scenario: &Scenario,
    store: &Store,
    facts: &Facts,
    summary: &RunSummary,
) -> Result<Vec<String>, LearnerError> {
    let view = LedgerView::open(store, &summary.run_id).await?;
    let (mut lines, mut reading) = (vec![], view.lines().await?);
    while let Some(line) = reading.next().await? {
        lines.push(line);
    }
    let mut broken = vec![];
    acknowledged(facts, &lines, &mut broken);
    trained_once(scenario, summary, &lines, &mut broken);
    let taken_since = view.summary().await?.epoch > summary.version.epoch.0;
    refused_with_a_reason(summary, &lines, taken_since, &mut broken);
    lines
        .iter()
        .for_each(|line| in_its_time(scenario, line, &mut broken));
    Ok(broken)
}

/// I1 and I2: what was acknowledged is in the ledger, and a task once.
fn acknowledged(facts: &Facts, lines: &[LedgerLine], broken: &mut Vec<String>) {
    let mut recorded = BTreeMap::new();
    for line in lines {
        if recorded.insert(line.task.0, line.digest.to_string()).is_some() {
            broken.push(format!("I2: task {} is recorded twice", line.task.0));
        }
    }
    for (task, digest) in &facts.acknowledged {
        match recorded.get(task) {
            Some(found) if found == digest => {}
            found => broken.push(format!(
                "I1: {digest} was acknowledged for task {task}, recorded is {found:?}"
            )),
        }
    }
}

/// I3: each pair is trained once, or refused once.
fn trained_once(scenario: &Scenario, summary: &RunSummary, lines: &[LedgerLine], broken: &mut Vec<String>) {
    let pairs = lines.iter().filter(|line| line.outcome == "pair").count() as u64;
    let (trained, refused) = (summary.pairs_trained, summary.pairs_refused);
    if trained + refused != pairs {
        broken.push(format!(
            "I3: of {pairs} pairs {trained} were trained and {refused} refused"
        ));
    }
    let in_weights = lines.iter().filter(|line| line.trained_step.is_some()).count() as u64;
    if in_weights != trained {
        broken.push(format!(
            "I3: {in_weights} pairs are in the weights, {trained} were trained"
        ));
    }
    let needed = scenario.learner.versions * scenario.learner.pairs_per_version as u64;
    if !scenario.learner.deterministic && trained != needed {
        broken.push(format!(
            "I3: {trained} pairs were trained in batches that take {needed}"
        ));
    }
}

/// I3: what became of each pair is on record: the weights were trained on it, or it is refused with its reason. Behind the last one
/// that they were trained on, pairs wait again when another start has `taken` the complete run `since`: all of them, until that start ends.
fn refused_with_a_reason(
    summary: &RunSummary,
    lines: &[LedgerLine],
    taken_since: bool,
    broken: &mut Vec<String>,
) {
    let is_trained = |line: &LedgerLine| line.trained_step.is_some();
    let (settled, left) = lines.split_at(lines.iter().rposition(is_trained).map_or(0, |last| last + 1));
    for line in settled {
        match (&line.refused, line.outcome == "pair" && !is_trained(line)) {
            (Some(refused), true) if refused.reason != "run_ended" => {}
            (None, false) => {}
            (refused, _) => broken.push(format!(
                "I3: task {}, a {} trained at {:?}, is refused for {refused:?}",
                line.task.0, line.outcome, line.trained_step
            )),
        }
    }
    let pairs_left = left.iter().filter(|line| line.outcome == "pair").count();
    let refused_left = left.iter().filter(|line| line.refused.is_some()).count();
    let mut refused = BTreeMap::new();
    for line in lines.iter().filter_map(|line| line.refused) {
        *refused.entry(line.reason.to_owned()).or_insert(0) += 1;
    }
    let mut counted = summary.pairs_refused_by_reason.clone();
    counted.retain(|_, count| *count > 0);
    let is_told = match (refused_left == pairs_left, taken_since) {
        (true, false) => refused == counted,
        // A start of a complete run trains nothing: it finds nothing stale, only left over.
        (true, true) => refused.values().sum::<u64>() == summary.pairs_refused,
        (false, true) => refused_left == 0,
        (false, false) => false,
    };
    if !is_told {
        broken.push(format!(
            "I3: the ledger tells {refused:?} of refused pairs, {refused_left} of {pairs_left} left over, the learner {counted:?}"
        ));
    }
}

/// I6 and I7: nothing is recorded of a start that is over, and nothing trained that is too old. A version is a step here.
fn in_its_time(scenario: &Scenario, line: &LedgerLine, broken: &mut Vec<String>) {
    let task = line.task.0;
    let Some(behaviour) = line.behaviour_version else {
        return;
    };
    if behaviour.epoch.0 != line.epoch {
        broken.push(format!(
            "I6: epoch {} recorded task {task}, sampled by {behaviour}",
            line.epoch
        ));
    }
    let Some(step) = line.trained_step else { return };
    match scenario.learner.deterministic {
        true => {
            let block = task / scenario.learner.pairs_per_version as u64;
            if step != block + 1 || behaviour.number != block {
                broken.push(format!(
                    "task {task} of block {block}, sampled by {behaviour}, is in version {step}"
                ));
            }
        }
        false => {
            let lag = (step - 1).saturating_sub(behaviour.number);
            if lag > scenario.learner.max_staleness {
                broken.push(format!("I7: task {task} was trained {lag} versions late"));
            }
        }
    }
}
