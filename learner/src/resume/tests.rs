//! What a later start takes up, and what it is refused for.

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
async fn what_a_ledger_of_an_earlier_version_of_the_program_does_not_tell_is_compared_from_the_next_start_on()
{
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
    let other_products = Beginning {
        catalogue: Some(CatalogueDigests::of(&catalogue(&[None; 4]))),
        ..now.clone()
    };
    for begun in [beginning(7), now.clone()] {
        let store = Store::open("memory:///").unwrap();
        open(&store, &begun, FLUSH).await.unwrap();
        assert_eq!(open(&store, &now, FLUSH).await.unwrap().begun, now);
        let refusal = open(&store, &other_settings, FLUSH).await.err().unwrap();
        assert!(
            matches!(refusal, LearnerError::ChangedSettings { .. }),
            "{refusal}"
        );
        let refusal = open(&store, &other_products, FLUSH).await.err().unwrap();
        assert!(
            matches!(refusal, LearnerError::ChangedCatalogue { .. }),
            "{refusal}"
        );
        open(&store, &now, FLUSH).await.unwrap();
    }
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
    for beginning in [beginning(7), now("0.0")] {
        open(&earlier, &beginning, FLUSH).await.unwrap();
    }
    assert!(open(&earlier, &now("0.5"), FLUSH).await.is_err());
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
