//! What earlier starts of a run left behind, taken up again.

use crate::checkpoint::{Checkpoint, Checkpoints, Manifest};
use crate::config::{LearnerConfig, RetiredPairs, fixed_changes};
use crate::error::LearnerError;
use crate::ledger::{Identity, Ledger, Record, StartNote};
use crate::lineage::Lineage;
use crate::pair_buffer::PairBuffer;
use crate::run::LearnerInputs;
use common::{Digest, LearnerEpoch, PolicyVersion, RolloutOutcome};
use proto::InvalidMessage;
use std::time::Duration;
use store::{Journal, Store, StoreError};

/// A run's ledger, open to this start of its learner alone.
pub(crate) struct OpenLedger {
    /// Where records are written.
    pub(crate) journal: Journal,
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
}

/// Opens a run's ledger, which fences every earlier start, finds the newest checkpoint, and reads what the ledger holds.
///
/// # Errors
/// [`LearnerError::AnotherRun`] when the ledger was begun with another seed, [`LearnerError::Ledger`] naming a record that
/// cannot be read, [`LearnerError::Checkpoint`] when there are checkpoints and none can be read, [`LearnerError::Store`].
pub(crate) async fn open(
    store: &Store,
    identity: &Identity,
    flush: Duration,
) -> Result<OpenLedger, LearnerError> {
    let key = Identity::ledger_of(&identity.run);
    let journal = store.open_journal(&key, flush).await?;
    let damaged = |source: InvalidMessage| LearnerError::Ledger {
        key: key.clone(),
        url: store.url().to_string(),
        source,
    };
    match journal.records(Identity::keys()).await?.next().await? {
        None => journal.append([identity.stored()]).await?,
        Some((_, content)) => same_run(&Identity::read(&content).map_err(damaged)?, identity, store)?,
    }
    let checkpoint = Checkpoints::of(store, &identity.run).newest().await?;
    let cursor = checkpoint
        .as_ref()
        .map_or(0, |found| found.manifest.account.cursor);
    let epoch = LearnerEpoch(journal.epoch());
    let lineage = checkpoint
        .as_ref()
        .map_or_else(Lineage::default, |found| found.manifest.lineage());
    let note = StartNote {
        epoch,
        lineage: lineage.clone(),
    };
    journal.append([note.stored()]).await?;
    let ledger = Ledger::new(epoch);
    let mut untrained = vec![];
    let mut records = journal.records(Record::keys()).await?;
    while let Some((_, content)) = records.next().await? {
        let record = Record::read(&content).map_err(damaged)?;
        ledger.restore(&record);
        if record.sequence >= cursor {
            untrained.push(record);
        }
    }
    Ok(OpenLedger {
        journal,
        ledger,
        epoch,
        checkpoint,
        lineage,
        untrained,
    })
}

/// Refuses to take over a run that was begun with another seed, with other settings or on another base. Nothing is written and
/// nobody fenced: the learner of a run goes on when somebody starts another one by mistake.
///
/// # Errors
/// [`LearnerError::AnotherRun`], [`LearnerError::ChangedSettings`], [`LearnerError::ChangedBase`], [`LearnerError::Ledger`],
/// [`LearnerError::Store`].
pub(crate) async fn check(
    inputs: &LearnerInputs,
    identity: &Identity,
    config: &LearnerConfig,
    base: Digest,
) -> Result<(), LearnerError> {
    let key = Identity::ledger_of(&identity.run);
    match inputs.store.read_journal(&key).await {
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
        Ok(reader) => {
            if let Some((_, content)) = reader.records(Identity::keys()).await?.next().await? {
                let url = inputs.store.url().to_string();
                let found =
                    Identity::read(&content).map_err(|source| LearnerError::Ledger { key, url, source })?;
                same_run(&found, identity, &inputs.store)?;
            }
        }
    }
    let checkpoints = Checkpoints::of(&inputs.store, &identity.run);
    for version in checkpoints.order().await?.versions {
        // One that cannot be read is passed over, as it is when the run goes on.
        if let Ok(manifest) = checkpoints.manifest(version).await {
            return same_training(&manifest, config, base, inputs);
        }
    }
    Ok(())
}

fn same_run(found: &Identity, identity: &Identity, store: &Store) -> Result<(), LearnerError> {
    if found == identity {
        return Ok(());
    }
    Err(LearnerError::AnotherRun {
        run: identity.run.clone(),
        url: store.url().to_string(),
        found: found.run_seed,
        expected: identity.run_seed,
    })
}

fn same_training(
    manifest: &Manifest,
    config: &LearnerConfig,
    base: Digest,
    inputs: &LearnerInputs,
) -> Result<(), LearnerError> {
    let (run, version) = (inputs.run_id.clone(), manifest.version);
    let changes = fixed_changes(&manifest.start.config, config);
    if !changes.is_empty() {
        return Err(LearnerError::ChangedSettings {
            run,
            version,
            changes,
        });
    }
    if manifest.start.base != base {
        let policy = inputs.policy_dir.clone();
        return Err(LearnerError::ChangedBase { run, version, policy });
    }
    Ok(())
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
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::account::Refused;
    use crate::checkpoint::Start;
    use crate::pair_buffer::BatchRule;
    use crate::test_outcomes::{no_pair, pair, record, task, version};
    use crate::training_pair::PairSource as _;
    use common::RunId;

    const FLUSH: Duration = Duration::from_millis(5);

    fn identity(run_seed: u64) -> Identity {
        Identity {
            run: RunId::new("spring").unwrap(),
            run_seed,
        }
    }

    #[tokio::test]
    async fn i1_what_an_earlier_start_acknowledged_is_taken_up_from_the_cursor_on() {
        let store = Store::open("memory:///").unwrap();
        let first = open(&store, &identity(7), FLUSH).await.unwrap();
        assert_eq!((first.epoch, first.untrained.len()), (LearnerEpoch(1), 0));
        for number in [4, 0, 1] {
            first.ledger.record(pair(number, 0), task(number), None);
        }
        let recorded = first.ledger.waiting();
        first
            .journal
            .append(recorded.iter().map(Record::stored))
            .await
            .unwrap();
        let account = Account {
            cursor: 1,
            trained: 1,
            refused: Refused::default(),
        };
        let manifest = Manifest::new(version(1), 2, account, Start::of_test(Lineage::default()));
        let checkpoint = manifest.with("adapter".into(), "moments".into());
        let checkpoints = Checkpoints::of(&store, &identity(7).run);
        checkpoints.write(checkpoint.clone()).await.unwrap();
        let later = open(&store, &identity(7), FLUSH).await.unwrap();
        assert_eq!(later.checkpoint, Some(checkpoint));
        assert_eq!(later.epoch, LearnerEpoch(2));
        assert_eq!(later.untrained, recorded[1..]);
        assert!(later.ledger.has(common::TaskId(4)));
        // The earlier start can write nothing more.
        first.ledger.record(pair(9, 0), task(9), None);
        let late = first.ledger.waiting();
        assert!(
            first
                .journal
                .append(late.iter().map(Record::stored))
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_run_of_the_same_name_and_another_seed_is_refused_with_both_seeds() {
        let store = Store::open("memory:///").unwrap();
        open(&store, &identity(7), FLUSH).await.unwrap();
        let refusal = open(&store, &identity(8), FLUSH).await.err().unwrap().to_string();
        assert!(
            refusal.contains("spring") && refusal.contains('7') && refusal.contains('8'),
            "{refusal}"
        );
    }

    #[test]
    fn i3_pairs_of_versions_that_a_crash_has_lost_are_refused_and_counted_or_trained_as_the_rule_says() {
        let batch = BatchRule {
            pairs_per_version: 2,
            max_staleness: 0,
            deterministic: false,
            max_tasks: 9,
        };
        let outcomes = [pair(0, 1), pair(1, 2), no_pair(2, 2), pair(3, 1), pair(4, 0)];
        let untrained = || {
            (7..)
                .zip(outcomes.clone())
                .map(|(sequence, outcome)| record(sequence, outcome))
        };
        for (rule, tasks, retired) in [
            (RetiredPairs::Refuse, [0, 3], 1),
            (RetiredPairs::Train, [0, 1], 0),
        ] {
            let buffer = PairBuffer::new(batch, version(1));
            let lineage = Lineage::default().going_on_from(version(1));
            take_up(&buffer, untrained().collect(), &lineage, rule);
            let taken = (&buffer).next_batch(version(1)).unwrap();
            assert_eq!(
                taken.pairs.iter().map(|pair| pair.task.0).collect::<Vec<_>>(),
                tasks,
                "{rule:?}"
            );
            let refused = buffer.progress().refused;
            assert_eq!((refused.retired, refused.stale), (retired, 1), "{rule:?}");
        }
    }
}
