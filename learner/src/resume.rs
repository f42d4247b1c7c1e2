//! What earlier starts of a run left behind, taken up again.

mod earlier;

use crate::checkpoint::{Checkpoint, Checkpoints};
use crate::config::{RetiredPairs, fixed_changes};
use crate::error::LearnerError;
use crate::ledger::{Beginning, EvaluationNote, Identity, Ledger, Record, StartNote, restore};
use crate::lineage::Lineage;
use crate::pair_buffer::PairBuffer;
use crate::run::LearnerInputs;
use crate::run_end::EndRecord;
use common::{DecidingSettings, LearnerEpoch, OtherSetting, PolicyVersion, RolloutOutcome};
use proto::InvalidMessage;
use std::time::Duration;
use store::{Journal, Store, StoreError};

/// A run's ledger, open to this start of its learner alone.
pub(crate) struct OpenLedger {
    /// Where records are written.
    pub(crate) journal: Journal,
    /// What the run was begun with, as this start was compared with it.
    pub(crate) begun: Beginning,
    /// What is recorded.
    pub(crate) ledger: Ledger,
    /// Which start this is.
    pub(crate) epoch: LearnerEpoch,
    /// What the run goes on from; `None` at its beginning.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// The checkpoints that this start and earlier ones went on from.
    pub(crate) lineage: Lineage,
    /// Records that its weights do not contain, in their order.
    pub(crate) untrained: Vec<Record>,
    /// Whether an earlier start was told what the weights that this one begins with do on held-out products.
    pub(crate) measured: bool,
}

/// Opens a run's ledger, which fences every earlier start, takes the run, finds the newest checkpoint, and reads what the ledger holds.
/// Where that checkpoint completes the run its end is recorded again, as this start's.
///
/// # Errors
/// As [`check`], for a run that another start has begun since, the base apart; [`LearnerError::Ledger`] naming a record that
/// cannot be read, [`LearnerError::Checkpoint`] when there are checkpoints and none can be read, [`LearnerError::Store`].
pub(crate) async fn open(
    store: &Store,
    beginning: &Beginning,
    flush: Duration,
) -> Result<OpenLedger, LearnerError> {
    let run = &beginning.identity.run;
    let key = Identity::ledger_of(run);
    let journal = store.open_journal(&key, flush).await?;
    let damaged = |source: InvalidMessage| LearnerError::Ledger {
        key: key.clone(),
        url: store.url().to_string(),
        source,
    };
    let found = journal.records(Identity::keys()).await?.next().await?;
    let found = found.map(|(_, content)| Beginning::read(&content)).transpose();
    let found = found.map_err(damaged)?;
    if let Some(found) = &found {
        same_run(found, beginning, store)?;
        earlier::warn_of_untold(found, beginning);
    }
    let begun = found
        .as_ref()
        .map_or_else(|| beginning.clone(), |found| found.completed_by(beginning));
    if found.as_ref() != Some(&begun) {
        journal.append([begun.stored()]).await?;
    }
    let (epoch, end) = (LearnerEpoch(journal.epoch()), EndRecord::of(store, run));
    end.taken_by(epoch).await?;
    let checkpoint = Checkpoints::of(store, run).newest().await?;
    if let (Some(found), Some(config)) = (&checkpoint, &beginning.config)
        && config.is_last(found.manifest.version)
    {
        let number = found.manifest.version.number;
        let version = PolicyVersion { epoch, number };
        end.complete(version, found.manifest.adapter, found.manifest.steps)
            .await?;
    }
    let cursor = checkpoint
        .as_ref()
        .map_or(0, |found| found.manifest.account.cursor);
    let lineage = checkpoint
        .as_ref()
        .map_or_else(Lineage::default, |found| found.manifest.lineage());
    let note = StartNote {
        epoch,
        lineage: lineage.clone(),
    };
    journal.append([note.stored()]).await?;
    let first = checkpoint
        .as_ref()
        .map_or(0, |found| found.manifest.version.number);
    let mut measured = false;
    let mut evaluations = journal.records(EvaluationNote::keys()).await?;
    while let Some((_, content)) = evaluations.next().await? {
        let EvaluationNote { version, .. } = EvaluationNote::read(&content).map_err(damaged)?;
        measured |= version.number == first && lineage.holds(version);
    }
    let ledger = Ledger::new(epoch);
    let untrained = restore(&ledger, &journal, cursor, damaged).await?;
    Ok(OpenLedger {
        journal,
        begun,
        ledger,
        epoch,
        checkpoint,
        lineage,
        untrained,
        measured,
    })
}

/// Refuses to take over a run that was begun with another seed, another catalogue, other settings or on another base. Nothing is
/// written and nobody fenced: the learner of a run goes on when somebody starts another one by mistake. The ledger of an earlier
/// version of the program tells the seed only; then settings and base are those of its newest checkpoint, and the products those that its
/// records name.
///
/// # Errors
/// [`LearnerError::AnotherRun`], [`LearnerError::ChangedCatalogue`], [`LearnerError::ChangedSettings`],
/// [`LearnerError::ChangedBase`], [`LearnerError::Ledger`], [`LearnerError::Store`].
pub(crate) async fn check(inputs: &LearnerInputs, beginning: &Beginning) -> Result<(), LearnerError> {
    let (store, run) = (&inputs.store, &beginning.identity.run);
    let key = Identity::ledger_of(run);
    match store.read_journal(&key).await {
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(reader) => {
            if let Some((_, content)) = reader.records(Identity::keys()).await?.next().await? {
                let url = store.url().to_string();
                let found =
                    Beginning::read(&content).map_err(|source| LearnerError::Ledger { key, url, source })?;
                same_run(&found, beginning, store)?;
                same_base(&found, beginning, inputs)?;
                if found.catalogue.is_none() {
                    earlier::same_products(&reader, inputs).await?;
                }
            }
        }
    }
    let checkpoints = Checkpoints::of(store, run);
    for version in checkpoints.order().await?.versions {
        // One that cannot be read is passed over, as it is when the run goes on.
        if let Ok(manifest) = checkpoints.manifest(version).await {
            let found = Beginning {
                identity: Identity {
                    run: run.clone(),
                    run_seed: manifest.start.run_seed,
                },
                base: Some(manifest.start.base),
                catalogue: None,
                config: Some(manifest.start.config),
                settings: DecidingSettings::default(),
            };
            same_run(&found, beginning, store)?;
            return same_base(&found, beginning, inputs);
        }
    }
    Ok(())
}

fn same_run(found: &Beginning, now: &Beginning, store: &Store) -> Result<(), LearnerError> {
    let run = now.identity.run.clone();
    if found.identity != now.identity {
        return Err(LearnerError::AnotherRun {
            run,
            url: store.url().to_string(),
            found: found.identity.run_seed,
            expected: now.identity.run_seed,
        });
    }
    if let (Some(begun), Some(now)) = (&found.catalogue, &now.catalogue) {
        let changes = begun.changes(now);
        if !changes.is_empty() {
            return Err(LearnerError::ChangedCatalogue { run, changes });
        }
    }
    let mut changes = match (&found.config, &now.config) {
        (Some(begun), Some(now)) => fixed_changes(begun, now),
        _ => vec![],
    };
    let others = now.settings.others_than(&found.settings);
    changes.extend(others.iter().map(begun_with));
    if changes.is_empty() {
        return Ok(());
    }
    let fixed = found.settings.keys().map(str::to_owned).collect();
    Err(LearnerError::ChangedSettings { run, changes, fixed })
}

fn begun_with(other: &OtherSetting) -> String {
    format!("{other}: the run was begun with {}", other.expected)
}

fn same_base(found: &Beginning, now: &Beginning, inputs: &LearnerInputs) -> Result<(), LearnerError> {
    if found.base.is_none() || found.base == now.base {
        return Ok(());
    }
    let (run, policy) = (now.identity.run.clone(), inputs.policy_dir.clone());
    Err(LearnerError::ChangedBase { run, policy })
}

/// Hands the untrained records of earlier starts to training. What becomes of pairs of versions that are no part of the run
/// any more, because its weights did not come through them, is the rule's affair.
pub(crate) fn take_up(buffer: &PairBuffer, untrained: Vec<Record>, lineage: &Lineage, rule: RetiredPairs) {
    let records = untrained.len();
    for record in untrained {
        let retired = sampled_by(&record.outcome).is_some_and(|version| !lineage.holds(version));
        match retired && record.outcome.is_pair() && rule == RetiredPairs::Refuse {
            true => buffer.refuse_retired(record.sequence),
            false => buffer.push(record),
        }
    }
    if records > 0 {
        let refused = buffer.progress().refused.retired;
        tracing::info!(records, refused, "outcomes of an earlier start taken up");
    }
}

/// The newest version that an outcome was sampled from.
fn sampled_by(outcome: &RolloutOutcome) -> Option<PolicyVersion> {
    let candidates = outcome.group()?.candidates().iter();
    candidates.map(|candidate| candidate.trajectory.behaviour()).max()
}

#[cfg(test)]
mod tests;
