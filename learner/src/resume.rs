//! What earlier starts of a run left behind, taken up again.

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
    match journal.records(Identity::keys()).await?.next().await? {
        None => journal.append([beginning.stored()]).await?,
        Some((_, content)) => same_run(&Beginning::read(&content).map_err(damaged)?, beginning, store)?,
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
/// version of the program tells the seed only; then settings and base are those of its newest checkpoint.
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
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::account::Refused;
    use crate::assortment::test_catalogue::catalogue;
    use crate::checkpoint::{Manifest, Start};
    use crate::config::LearnerConfig;
    use crate::ledger::CatalogueDigests;
    use crate::pair_buffer::BatchRule;
    use crate::test_outcomes::{no_pair, pair, record, task, version};
    use crate::training_pair::PairSource as _;
    use common::RunId;

    const FLUSH: Duration = Duration::from_millis(5);

    fn beginning(run_seed: u64) -> Beginning {
        Beginning::of_earlier_version(Identity {
            run: RunId::new("spring").unwrap(),
            run_seed,
        })
    }

    #[tokio::test]
    async fn i1_what_an_earlier_start_acknowledged_is_taken_up_from_the_cursor_on() {
        let store = Store::open("memory:///").unwrap();
        let first = open(&store, &beginning(7), FLUSH).await.unwrap();
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
        let checkpoints = Checkpoints::of(&store, &beginning(7).identity.run);
        checkpoints.write(checkpoint.clone()).await.unwrap();
        let later = open(&store, &beginning(7), FLUSH).await.unwrap();
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
        open(&store, &beginning(7), FLUSH).await.unwrap();
        let refusal = open(&store, &beginning(8), FLUSH)
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            refusal.contains("spring") && refusal.contains('7') && refusal.contains('8'),
            "{refusal}"
        );
    }

    #[tokio::test]
    async fn what_a_ledger_of_an_earlier_version_of_the_program_does_not_tell_is_not_compared() {
        let now = Beginning {
            base: Some(store::digest(b"base")),
            catalogue: Some(CatalogueDigests::of(&catalogue(&[None; 3]))),
            config: Some(LearnerConfig::default()),
            ..beginning(7)
        };
        let mut config = LearnerConfig::default();
        config.loss.beta = 0.25;
        let other_settings = Beginning {
            config: Some(config),
            ..now.clone()
        };
        let earlier = Store::open("memory:///").unwrap();
        open(&earlier, &beginning(7), FLUSH).await.unwrap();
        for beginning in [&now, &other_settings] {
            open(&earlier, beginning, FLUSH).await.unwrap();
        }
        let todays = Store::open("memory:///").unwrap();
        open(&todays, &now, FLUSH).await.unwrap();
        let refusal = open(&todays, &other_settings, FLUSH).await.err().unwrap();
        assert!(
            matches!(refusal, LearnerError::ChangedSettings { .. }),
            "{refusal}"
        );
        open(&todays, &now, FLUSH).await.unwrap();
    }

    #[tokio::test]
    async fn settings_of_other_tables_are_compared_by_key_where_the_run_was_begun_with_them() {
        let now = |margin: &str| Beginning {
            settings: DecidingSettings::of_table(
                "actor",
                [
                    ("labels", "\"reward\"".to_owned()),
                    ("min_margin", margin.to_owned()),
                ],
            ),
            ..beginning(7)
        };
        let earlier = Store::open("memory:///").unwrap();
        for beginning in [beginning(7), now("0.0"), now("0.5")] {
            open(&earlier, &beginning, FLUSH).await.unwrap();
        }
        let todays = Store::open("memory:///").unwrap();
        open(&todays, &now("0.0"), FLUSH).await.unwrap();
        let refusal = open(&todays, &now("0.5"), FLUSH).await.err().unwrap();
        assert!(refusal.is_configuration());
        let refusal = refusal.to_string();
        assert!(
            refusal.contains("\nactor.min_margin = 0.5: the run was begun with 0.0\nonly these may change: ")
                && refusal.ends_with("so none of actor.labels, actor.min_margin"),
            "{refusal}"
        );
        // A later version of the program may know more settings than the run was begun with, and an earlier one fewer.
        let more = DecidingSettings::of_table("actor", [("nucleus", "1".to_owned())]);
        let settings = now("0.0").settings.and(more);
        for settings in [settings, DecidingSettings::default()] {
            let beginning = Beginning {
                settings,
                ..now("0.0")
            };
            open(&todays, &beginning, FLUSH).await.unwrap();
        }
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
