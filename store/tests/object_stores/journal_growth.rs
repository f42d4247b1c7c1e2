//! What a journal takes on a directory: bytes and files by kind, while it grows and after it was opened again.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use store::{Journal, Store};
use tokio::time::Instant;

/// The bytes of a record of a run's ledger.
const RECORD: usize = 700;

/// What it takes besides: its key of eight bytes, lengths, sequence number, and its share of a table's index.
const AROUND: usize = 32;

const FLUSH: Duration = Duration::from_millis(5);

/// Files and bytes by the directory right below the journal's.
fn usage(journal: &Path) -> BTreeMap<String, (u64, u64)> {
    let mut usage = BTreeMap::new();
    for kind in std::fs::read_dir(journal).unwrap() {
        let kind = kind.unwrap().path();
        let files: Vec<u64> = std::fs::read_dir(&kind)
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        let name = kind.file_name().unwrap().to_string_lossy().into_owned();
        usage.insert(name, (files.len() as u64, files.iter().sum()));
    }
    usage
}

async fn append(journal: &Journal, first: u64, records: u64) {
    // What does not compress, as digests and seeds do not.
    let content = |key: u64| {
        let word = |i: usize| {
            (key + 1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .rotate_left(i as u32 % 63) as u8
        };
        Bytes::from((0..RECORD).map(word).collect::<Vec<u8>>())
    };
    let keys = first..first + records;
    let entries = keys.map(|key| (Bytes::copy_from_slice(&key.to_be_bytes()), content(key)));
    journal.append(entries).await.unwrap();
}

#[tokio::test]
async fn a_ledger_on_a_directory_takes_about_the_bytes_of_its_records_and_one_file_a_flush() {
    for (appends, records) in [(200, 1), (40, 256)] {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", directory.path().display())).unwrap();
        let journal = store.open_journal("ledger", FLUSH).await.unwrap();
        for number in 0..appends {
            append(&journal, number * records, records).await;
        }
        journal.close().await.unwrap();
        let begun = Instant::now();
        let journal = store.open_journal("ledger", FLUSH).await.unwrap();
        let opened = begun.elapsed();
        let mut found = 0;
        let mut all = journal
            .records(Bytes::from_static(&[0])..Bytes::from_static(&[255]))
            .await
            .unwrap();
        while all.next().await.unwrap().is_some() {
            found += 1;
        }
        let read = begun.elapsed();
        journal.close().await.unwrap();
        let usage = usage(&directory.path().join("ledger"));
        let content = appends * records * (RECORD + AROUND) as u64;
        let bytes: u64 = usage.values().map(|(_, bytes)| bytes).sum();
        println!(
            "{appends} appends of {records} records, {content} bytes: {usage:?}, {bytes} bytes, opened again in {opened:?}, read in {read:?}"
        );
        assert_eq!(found, appends * records);
        // Once in the write-ahead log, at most once in tables; a page of its own for every flush.
        assert!(bytes <= 2 * content + appends * 4096 + (1 << 20), "{bytes}");
        let (files, _) = usage["wal"];
        assert!(files <= appends + 8, "{files} files of {appends} appends");
    }
}
