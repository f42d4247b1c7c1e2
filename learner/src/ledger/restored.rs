//! What earlier starts of a run have recorded, taken in by a later one.

use super::{IndexPart, Ledger, Record};
use crate::error::LearnerError;
use proto::InvalidMessage;
use std::ops::Range;
use std::slice;
use store::Journal;

/// Parts of the index that are written together where earlier starts have left it unwritten: some megabytes.
const PARTS_AT_ONCE: usize = 64;

/// Takes in what earlier starts have recorded: in short what the index holds, and at length the records that are in none of its parts, which
/// come into the index by it. Returned are the records from `cursor` on.
///
/// # Errors
/// What `damaged` makes of a record that cannot be read; [`LearnerError::Store`].
pub(crate) async fn restore(
    ledger: &Ledger,
    journal: &Journal,
    cursor: u64,
    damaged: impl Fn(InvalidMessage) -> LearnerError,
) -> Result<Vec<Record>, LearnerError> {
    let mut parts = journal.records(IndexPart::keys()).await?;
    while let Some((_, content)) = parts.next().await? {
        match IndexPart::read(&content) {
            Ok(part) => {
                // Where a part is damaged, or a crash has lost a record.
                let between = ledger.recorded()..part.from;
                if !between.is_empty() {
                    at_length(ledger, journal, between, u64::MAX, &damaged).await?;
                }
                if let Some(before) = ledger.restore_index(part) {
                    journal.append([before]).await?;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger's index is damaged: the records are read, and it is written anew");
            }
        }
    }
    let rest = cursor.min(ledger.recorded())..u64::MAX;
    at_length(ledger, journal, rest, cursor, &damaged).await
}

/// Reads records at length. Those that the ledger does not know come into it and its index; returned are those from `cursor` on.
async fn at_length(
    ledger: &Ledger,
    journal: &Journal,
    sequences: Range<u64>,
    cursor: u64,
    damaged: impl Fn(InvalidMessage) -> LearnerError,
) -> Result<Vec<Record>, LearnerError> {
    let known = ledger.recorded();
    let (mut found, mut index) = (vec![], vec![]);
    let keys = Record::keys_between(sequences.start, sequences.end);
    let mut records = journal.records(keys).await?;
    while let Some((_, content)) = records.next().await? {
        let record = Record::read(&content).map_err(&damaged)?;
        if record.sequence >= known {
            ledger.restore(&record);
            index.extend(ledger.index(slice::from_ref(&record)));
        }
        if record.sequence >= cursor {
            found.push(record);
        }
        if index.len() >= PARTS_AT_ONCE {
            journal.append(std::mem::take(&mut index)).await?;
        }
    }
    if !index.is_empty() {
        journal.append(index).await?;
    }
    Ok(found)
}

#[cfg(test)]
#[allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement tells its figures, by the clock of the machine"
)]
mod tests {
    use super::*;
    use crate::test_outcomes::{all_barred_but_one, failed, no_pair, pair, pair_of, record};
    use bytes::Bytes;
    use common::{Digest, LearnerEpoch, TaskId};
    use std::time::Duration;
    use store::Store;

    /// Records of a part of the index.
    const PART: u64 = crate::ledger::index::RECORDS as u64;

    /// Records of the test: two full parts of the index and some.
    const RECORDS: u64 = 2 * PART + 9;

    fn records() -> Vec<Record> {
        let outcome = |task| match task % 4 {
            0 => no_pair(task, 0),
            1 => failed(task, false),
            2 => all_barred_but_one(task, 0),
            _ => pair(task, 0),
        };
        // They arrive in another order than their tasks have.
        let record = |sequence: u64| Record {
            digest: store::digest(&sequence.to_be_bytes()),
            ..record(sequence, outcome(RECORDS - 1 - sequence))
        };
        (0..RECORDS).map(record).collect()
    }

    /// A journal that an earlier version of the program has written.
    async fn journal() -> Journal {
        journal_of(|_| true).await
    }

    /// One of those records that it `has`.
    async fn journal_of(has: impl Fn(&Record) -> bool) -> Journal {
        let store = Store::open("memory:///").unwrap();
        let journal = store
            .open_journal("ledger", Duration::from_millis(1))
            .await
            .unwrap();
        journal
            .append(records().iter().filter(|r| has(r)).map(Record::stored))
            .await
            .unwrap();
        journal
    }

    async fn restored(journal: &Journal, cursor: u64) -> Result<(Ledger, Vec<Record>), LearnerError> {
        let damaged = |source| LearnerError::Ledger {
            key: "ledger".into(),
            url: "memory:///".into(),
            source,
        };
        let ledger = Ledger::new(LearnerEpoch(2));
        let untrained = restore(&ledger, journal, cursor, damaged).await?;
        Ok((ledger, untrained))
    }

    /// Makes records unreadable.
    async fn spoil(journal: &Journal, sequences: std::ops::Range<u64>) {
        let spoilt = |record: Record| (record.stored().0, Bytes::from_static(b"\xff"));
        let spoilt = records()
            .into_iter()
            .filter(|r| sequences.contains(&r.sequence))
            .map(spoilt);
        journal.append(spoilt).await.unwrap();
    }

    /// What a ledger knows of the earlier records.
    fn known(ledger: &Ledger) -> (u64, TaskId, String, Vec<Option<Digest>>) {
        let (depth, open, counts) = (ledger.depth(), ledger.first_open(), ledger.counts());
        assert_eq!(depth.waiting, 0);
        let counts = serde_json::to_string(&counts).unwrap();
        let ends = (0..RECORDS).map(|task| ledger.duplicate_of(TaskId(task)));
        (depth.recorded, open, counts, ends.collect())
    }

    #[tokio::test]
    async fn i2_a_start_reads_only_the_records_that_index_and_weights_do_not_contain_and_knows_all() {
        let journal = journal().await;
        let (at_length, untrained) = restored(&journal, 0).await.unwrap();
        assert_eq!(untrained, records());
        let (at_length, expected) = (known(&at_length), records());
        let digests: Vec<_> = expected.iter().rev().map(|record| Some(record.digest)).collect();
        assert_eq!(
            (at_length.0, at_length.1, &at_length.3),
            (RECORDS, TaskId(RECORDS), &digests)
        );
        let within = 2 * PART - 3;
        spoil(&journal, 0..within).await;
        // Also where the cursor lies before the end of the index, and behind it.
        for cursor in [within, 2 * PART, 2 * PART + 2, RECORDS] {
            let (ledger, untrained) = restored(&journal, cursor).await.unwrap();
            assert_eq!(untrained, expected[cursor as usize..], "{cursor}");
            assert_eq!(known(&ledger), at_length, "{cursor}");
        }
        // As after a rollback.
        assert!(restored(&journal, within - 1).await.is_err());
    }

    #[tokio::test]
    async fn a_damaged_index_counts_but_for_the_damage_and_is_made_whole() {
        let of_one = |sequence: u64| {
            let mut part = IndexPart::behind(sequence);
            part.add(&records()[sequence as usize]);
            part.stored()
        };
        // The second part cannot be read, and there is another behind its beginning, or none. One that begins within the first is passed over.
        for behind in [vec![of_one(PART + 6)], vec![]] {
            let journal = journal().await;
            let (whole, _) = restored(&journal, 0).await.unwrap();
            let expected = known(&whole);
            let mut keys = vec![];
            let mut parts = journal.records(IndexPart::keys()).await.unwrap();
            while let Some((key, _)) = parts.next().await.unwrap() {
                keys.push(key);
            }
            let second = (keys[1].clone(), Bytes::from_static(b"\xff"));
            journal
                .append([second, of_one(6)].into_iter().chain(behind))
                .await
                .unwrap();
            spoil(&journal, 0..PART).await;
            let (ledger, _) = restored(&journal, RECORDS).await.unwrap();
            assert_eq!(known(&ledger), expected);
            spoil(&journal, 0..2 * PART).await;
            let (ledger, _) = restored(&journal, RECORDS).await.unwrap();
            assert_eq!(known(&ledger), expected);
        }
    }

    #[tokio::test]
    async fn records_that_crashes_have_lost_cost_later_starts_nothing_of_what_lies_behind_them() {
        let lost = [0, PART + 3, PART + 4];
        let journal = journal_of(|record| !lost.contains(&record.sequence)).await;
        for start in 0..3 {
            let (ledger, _) = restored(&journal, RECORDS).await.unwrap();
            let counts = ledger.counts();
            let ends = [counts.no_pairs, counts.failures];
            let ends: u64 = ends.iter().flat_map(|ends| ends.values()).sum();
            assert_eq!(
                (ledger.depth().recorded, counts.pairs + ends),
                (RECORDS, RECORDS - 3),
                "{start}"
            );
            // Parts end before a gap: behind the last one is another full part.
            for indexed in [1..PART + 3, PART + 5..2 * PART + 5] {
                spoil(&journal, indexed).await;
            }
        }
    }

    #[tokio::test]
    async fn a_part_of_the_index_that_does_not_fit_together_is_refused_by_field() {
        let mut part = IndexPart::behind(7);
        records().iter().take(3).for_each(|record| drop(part.add(record)));
        let (key, content) = part.stored();
        assert!(IndexPart::keys().contains(&key) && !Record::keys().contains(&key));
        assert_eq!(IndexPart::read(&content).unwrap(), part);
        let refusal = |part: &[u8]| IndexPart::read(part).unwrap_err().to_string();
        assert!(refusal(&[]).contains("ledger_index.tasks"));
        let nowhere = IndexPart {
            from: u64::MAX - 2,
            ..part.clone()
        };
        assert!(refusal(&nowhere.stored().1).contains("ledger_index.from"));
        let mut counted_twice = part.clone();
        counted_twice.counts.pairs += 1;
        assert!(refusal(&counted_twice.stored().1).contains("ledger_index.pairs"));
        // One task more than there are digests: unknown to the encoding, messages are merged when they follow each other.
        let more = [&content[..], b"\x12\x01\x05"].concat();
        assert!(
            refusal(&more).contains("ledger_index.digests"),
            "{}",
            refusal(&more)
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "a measurement that takes minutes and a gigabyte; its figures are in docs/stores.md"]
    async fn measured_on_a_large_ledger() {
        const LARGE: u64 = 300_000;
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", directory.path().display())).unwrap();
        let open = || store.open_journal("ledger", Duration::from_millis(20));
        let journal = open().await.unwrap();
        let (chosen, rejected, mut bytes) = (vec![300; 100], vec![301; 100], 0);
        for from in (0..LARGE).step_by(1000) {
            let stored = (from..from + 1000).map(|number| {
                let outcome = common::RolloutOutcome::Pair(pair_of(number, 0, [&rejected, &chosen]));
                record(number, outcome).stored()
            });
            let stored: Vec<_> = stored.collect();
            bytes += stored.iter().map(|(_, content)| content.len()).sum::<usize>();
            journal.append(stored).await.unwrap();
        }
        journal.close().await.unwrap();
        println!("{LARGE} records, {bytes} bytes");
        for (name, cursor) in [
            ("without an index, which is written", LARGE),
            ("with it", LARGE),
            ("with it, once more", LARGE),
            ("with it, 10000 records untrained", LARGE - 10_000),
        ] {
            let begun = std::time::Instant::now();
            let journal = open().await.unwrap();
            let opened = begun.elapsed();
            let (ledger, untrained) = restored(&journal, cursor).await.unwrap();
            let restored = begun.elapsed();
            assert_eq!(
                (ledger.depth().recorded, untrained.len() as u64),
                (LARGE, LARGE - cursor)
            );
            let mut index = 0;
            let mut parts = journal.records(IndexPart::keys()).await.unwrap();
            while let Some((_, content)) = parts.next().await.unwrap() {
                index += content.len();
            }
            println!("{name}: opened in {opened:?}, restored in {restored:?}; index {index} bytes");
            journal.close().await.unwrap();
        }
    }
}
