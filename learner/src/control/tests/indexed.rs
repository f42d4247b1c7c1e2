//! The ledger's index, as a run writes it.

use super::*;
use crate::ledger::{Record, keep, restore};
use crate::test_outcomes::task;
use std::time::Duration;

const FLUSH: Duration = Duration::from_millis(1);

#[tokio::test]
async fn what_a_run_records_is_in_the_index_for_a_start_that_reads_only_what_its_weights_do_not_contain() {
    let (store, control) = (
        Store::open("memory:///").unwrap(),
        Arc::new(run(|_| ()).await.control),
    );
    let records = 1100;
    let recording = async {
        for number in 0..records {
            control.ledger.record(no_pair(number, 0), task(number), None);
            // Written in many pieces, not at once.
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        control.ledger.close();
    };
    let journal = store.open_journal("ledger", FLUSH).await.unwrap();
    let (kept, ()) = tokio::join!(keep(control.clone(), Arc::new(journal)), recording);
    kept.unwrap();
    control.ledger.durable().await.unwrap();
    let journal = store.open_journal("ledger", FLUSH).await.unwrap();
    let mut stored = journal.records(Record::keys_between(0, 1024)).await.unwrap();
    let mut spoilt = vec![];
    while let Some((key, _)) = stored.next().await.unwrap() {
        spoilt.push((key, bytes::Bytes::from_static(b"\xff")));
    }
    assert_eq!(spoilt.len(), 1024);
    journal.append(spoilt).await.unwrap();
    let later = Ledger::new(LearnerEpoch(2));
    let damaged = |source| panic!("{source}");
    let untrained = restore(&later, &journal, 1024, damaged).await.unwrap();
    assert_eq!((untrained.len(), later.depth().recorded), (76, records));
    assert_eq!(
        (later.first_open(), later.counts()),
        (TaskId(records), control.ledger.counts())
    );
}
