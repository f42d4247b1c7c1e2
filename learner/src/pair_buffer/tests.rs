//! Batches from outcomes in any order, stale ones among them.

use super::*;
use crate::test_outcomes::{all_barred_but_one, failed, group_of, no_pair, pair, version};
use crate::training_pair::Sampled;
use common::{CandidateGroup, TaskId};
use std::collections::BTreeMap;

fn buffer(max_staleness: u64, deterministic: bool) -> PairBuffer {
    let rule = BatchRule {
        pairs_per_version: 3,
        max_staleness,
        deterministic,
        max_tasks: 12,
    };
    PairBuffer::new(rule, version(0))
}

fn tasks(batch: &PairBatch) -> Vec<u64> {
    batch.pairs.iter().map(|pair| pair.task.0).collect()
}

#[test]
fn a_batch_is_the_next_pairs_in_order_of_arrival() {
    let buffer = buffer(1, false);
    for outcome in [
        pair(5, 0),
        no_pair(1, 0),
        pair(2, 0),
        failed(7, false),
        pair(9, 0),
        pair(4, 0),
    ] {
        buffer.arrive(outcome);
    }
    let batch = (&buffer).next_batch(version(0)).unwrap();
    assert_eq!(tasks(&batch), [5, 2, 9]);
    let sampled = Sampled {
        mean_reward: 0.5,
        no_pairs: 2,
        barred: BTreeMap::new(),
        staleness_max: 0,
        account: Account {
            cursor: 5,
            trained: 3,
            refused: Refused::default(),
        },
    };
    assert_eq!(batch.sampled, Some(sampled));
    let expected = Progress {
        version: version(0),
        training: true,
        fresh: 1,
        trained: 0,
        refused: Refused::default(),
    };
    assert_eq!(buffer.progress(), expected);
    buffer.published(version(1));
    assert!(!buffer.progress().training);
    assert_eq!(buffer.progress().trained, 3);
}

#[test]
fn i8_a_group_that_nobody_scored_counts_as_one_without_a_pair_and_not_for_the_mean() {
    let buffer = buffer(1, false);
    for outcome in [
        pair(5, 0),
        all_barred_but_one(1, 0),
        pair(2, 0),
        all_barred_but_one(3, 0),
        pair(9, 0),
    ] {
        buffer.arrive(outcome);
    }
    let sampled = (&buffer).next_batch(version(0)).unwrap().sampled.unwrap();
    assert_eq!((sampled.mean_reward, sampled.no_pairs), (0.5, 2));
    let expected = [("halo".to_owned(), 2), ("text_blocklist".to_owned(), 2)];
    assert_eq!(sampled.barred, expected.into());
}

#[test]
fn i7_pairs_staler_than_allowed_are_refused_and_counted() {
    let buffer = buffer(1, false);
    for (task, sampled_by) in [(0, 0), (1, 2), (2, 1), (3, 3), (4, 2)] {
        buffer.arrive(pair(task, sampled_by));
    }
    let batch = (&buffer).next_batch(version(3)).unwrap();
    assert_eq!(tasks(&batch), [1, 3, 4]);
    assert_eq!(batch.sampled.unwrap().staleness_max, 1);
    assert_eq!(buffer.progress().refused.stale, 2);
}

#[test]
fn i7_a_pair_is_as_stale_as_the_older_of_its_completions() {
    let mixed = |task, sampled_by: [u64; 2]| {
        let [rejected, chosen] =
            sampled_by.map(|version| group_of(task, version, [&[5, 2], &[6, 2]]).candidates().to_vec());
        let candidates = vec![rejected[0].clone(), chosen[1].clone()];
        let model = Some(common::Digest::from_bytes([9; 32]));
        let group = CandidateGroup::from_candidates(TaskId(task), candidates, model).unwrap();
        RolloutOutcome::Pair(PreferencePair::new(group, 1, 0, 1.0).unwrap())
    };
    let buffer = buffer(1, false);
    for (task, sampled_by) in [(0, [1, 3]), (1, [3, 1]), (2, [2, 3]), (3, [3, 2]), (4, [3, 3])] {
        buffer.arrive(mixed(task, sampled_by));
    }
    let batch = (&buffer).next_batch(version(3)).unwrap();
    assert_eq!(tasks(&batch), [2, 3, 4]);
    assert_eq!(batch.sampled.unwrap().staleness_max, 1);
    assert_eq!(buffer.progress().refused.stale, 2);
}

#[test]
fn i3_each_pair_is_trained_once_or_refused_once_with_its_reason() {
    let buffer = buffer(0, false);
    (0..3).for_each(|task| buffer.arrive(pair(task, 0)));
    (&buffer).next_batch(version(0)).unwrap();
    buffer.published(version(1));
    for (task, sampled_by) in [(3, 0), (4, 1), (5, 1), (6, 1), (7, 1)] {
        buffer.arrive(pair(task, sampled_by));
    }
    (&buffer).next_batch(version(1)).unwrap();
    buffer.published(version(2));
    // Task 7 is left over, and task 8 comes too late.
    buffer.end(true);
    buffer.arrive(pair(8, 1));
    let Progress {
        fresh,
        trained,
        refused,
        ..
    } = buffer.progress();
    let expected = Refused {
        stale: 1,
        run_ended: 2,
        retired: 0,
    };
    assert_eq!((fresh, trained, refused), (0, 6, expected));
    let stale = Refusal::Stale {
        lag: 1,
        max_staleness: 0,
    };
    let noted = [
        (3, version(1), stale, Some(version(2))),
        (7, version(2), Refusal::RunEnded, None),
        (8, version(2), Refusal::RunEnded, None),
    ];
    assert_eq!(noted_by(&buffer), noted);
    assert_eq!(noted_by(&buffer), []);
}

/// What is noted of refused pairs: record, version, reason, and the version that left it behind.
fn noted_by(buffer: &PairBuffer) -> Vec<(u64, PolicyVersion, Refusal, Option<PolicyVersion>)> {
    let told = |note: RefusalNote| {
        let RefusedPair {
            sequence,
            version,
            refusal,
        } = note.pair;
        (sequence, version, refusal, note.settled_by)
    };
    buffer.take_refusals().into_iter().map(told).collect()
}

#[test]
fn i3_a_refusal_is_noted_once_when_the_cursor_passes_its_pair_and_not_before() {
    let buffer = buffer(1, false);
    buffer.refuse_retired(0);
    // The second and the last of these are too stale; the batch ends before the last.
    for (task, sampled_by) in [(0, 2), (1, 0), (2, 2), (3, 2), (4, 0)] {
        buffer.arrive(pair(task, sampled_by));
    }
    (&buffer).next_batch(version(2)).unwrap();
    let stale = Refusal::Stale {
        lag: 2,
        max_staleness: 1,
    };
    let expected = [
        (0, version(0), Refusal::Retired, Some(version(3))),
        (2, version(2), stale, Some(version(3))),
    ];
    assert_eq!(noted_by(&buffer), expected);
    buffer.published(version(3));
    // A later start decides about the last one anew: nothing is noted of it.
    buffer.end(false);
    assert_eq!(noted_by(&buffer), []);
}

#[test]
fn i3_pairs_that_a_stop_leaves_over_wait_for_the_next_start_and_are_not_refused() {
    let buffer = buffer(1, false);
    (0..5).for_each(|task| buffer.arrive(pair(task, 0)));
    (&buffer).next_batch(version(0)).unwrap();
    buffer.end(false);
    buffer.arrive(pair(5, 0));
    let Progress { fresh, refused, .. } = buffer.progress();
    assert_eq!((fresh, refused), (3, Refused::default()));
    assert_eq!(noted_by(&buffer), []);
}

#[test]
fn i3_the_account_of_a_batch_holds_what_lies_before_its_cursor_and_no_more() {
    let buffer = buffer(1, false);
    // Of seven records the third and the last but one are too stale; the batch ends with the fifth.
    for (task, sampled_by) in [(0, 1), (1, 2), (2, 0), (3, 2), (4, 2), (5, 0), (6, 2)] {
        buffer.arrive(pair(task, sampled_by));
    }
    let account = |batch: PairBatch| batch.sampled.unwrap().account;
    let refused = |stale| Refused {
        stale,
        ..Refused::default()
    };
    let first = account((&buffer).next_batch(version(2)).unwrap());
    let expected = Account {
        cursor: 4,
        trained: 3,
        refused: refused(1),
    };
    assert_eq!(first, expected);
    buffer.published(version(3));
    for task in 7..10 {
        buffer.arrive(pair(task, 3));
    }
    let second = account((&buffer).next_batch(version(3)).unwrap());
    let expected = Account {
        cursor: 8,
        trained: 6,
        refused: refused(2),
    };
    assert_eq!(second, expected);
}

#[test]
fn a_deterministic_batch_is_its_whole_block_in_task_order() {
    let buffer = buffer(0, true);
    for outcome in [pair(2, 0), no_pair(1, 0), pair(0, 0)] {
        buffer.arrive(outcome);
    }
    assert_eq!(tasks(&(&buffer).next_batch(version(0)).unwrap()), [0, 2]);
}

#[test]
fn i3_blocks_that_a_rollback_left_behind_are_trained_one_by_one_and_each_owns_its_cursor() {
    let buffer = buffer(0, true);
    let blocks = [
        [pair(1, 0), pair(0, 0), no_pair(2, 0)],
        [no_pair(5, 1), pair(3, 1), pair(4, 1)],
        [pair(8, 2), pair(6, 2), pair(7, 2)],
    ];
    for (sequence, outcome) in (20..).zip(blocks.into_iter().flatten()) {
        buffer.push(crate::test_outcomes::record(sequence, outcome));
    }
    for (number, expected, cursor) in [(0, &[0, 1][..], 23), (1, &[3, 4], 26), (2, &[6, 7, 8], 29)] {
        let batch = (&buffer).next_batch(version(number)).unwrap();
        assert_eq!(tasks(&batch), expected);
        assert_eq!(batch.sampled.unwrap().account.cursor, cursor);
        buffer.published(version(number + 1));
    }
    assert_eq!(
        (buffer.progress().trained, buffer.progress().refused.total()),
        (7, 0)
    );
}

#[test]
fn a_block_without_a_pair_and_endless_ties_end_the_run() {
    let block = buffer(0, true);
    (0..3).for_each(|task| block.arrive(no_pair(task, 0)));
    let message = (&block).next_batch(version(0)).unwrap_err().to_string();
    assert!(
        message.contains("3 tasks ended with 0 pairs, 1 are needed (pairs 0, tie 3"),
        "{message}"
    );
    let endless = buffer(0, false);
    endless.arrive(pair(0, 0));
    (1..12).for_each(|task| endless.arrive(no_pair(task, 0)));
    let message = (&endless).next_batch(version(0)).unwrap_err().to_string();
    assert!(
        message.contains("12 tasks ended with 1 pairs, 3 are needed (pairs 1, tie 11"),
        "{message}"
    );
}

#[test]
fn closing_wakes_the_waiting_thread() {
    let buffer = buffer(0, false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (&buffer).next_batch(version(0)));
        buffer.close();
        assert!(matches!(waiting.join().unwrap(), Err(LearnerError::Cancelled)));
    });
}

#[test]
fn a_push_wakes_the_waiting_thread() {
    let buffer = buffer(0, false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| (&buffer).next_batch(version(0)));
        (0..3).for_each(|task| buffer.arrive(pair(task, 0)));
        assert!(waiting.join().unwrap().is_ok());
    });
}
