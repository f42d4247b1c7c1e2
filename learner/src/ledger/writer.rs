//! What is recorded goes to the journal and, once it is durable, to training: in the order of the record.

use super::{Note, Record, Stored};
use crate::clock;
use crate::control::ControlPlane;
use crate::error::LearnerError;
use failpoint::Point;
use futures::stream::{FuturesOrdered, StreamExt as _};
use prometheus_client::metrics::histogram::Histogram;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use store::{Journal, StoreError};

/// How long a store may take before it is said that the run waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes what `control` records until its ledger is closed. Records that come while others are being written are written at
/// once: what waits for one flush of the journal becomes durable together.
///
/// # Errors
/// [`LearnerError::Store`] when another learner has taken the run over, or the store failed: nothing more is acknowledged.
pub(crate) async fn keep(control: Arc<ControlPlane>, journal: Arc<Journal>) -> Result<(), LearnerError> {
    let result = until_closed(&control, &journal).await;
    if result.is_err() {
        control.ledger.fail();
    }
    result?;
    Ok(journal.close().await?)
}

async fn until_closed(control: &ControlPlane, journal: &Journal) -> Result<(), StoreError> {
    let mut under_way = FuturesOrdered::new();
    let (mut open, mut index) = (true, vec![]);
    let flushes = &control.measured.flush_seconds;
    while open || !under_way.is_empty() {
        tokio::select! {
            arrivals = control.ledger.arrivals(), if open => match arrivals {
                Some((records, notes)) => under_way.push_back(append(journal, records, notes, std::mem::take(&mut index), flushes)),
                None => open = false,
            },
            Some(written) = under_way.next() => {
                let (records, notes) = written?;
                // The index names only what is durable. Nobody waits for it: it goes with whatever comes next.
                index.extend(control.ledger.index(&records));
                control.deliver(records);
                control.ledger.kept_notes(notes);
                // What came late may have been refused, which is noted also when nothing more is recorded.
                open = true;
            }
        }
    }
    match index.is_empty() {
        true => Ok(()),
        false => journal.append(index).await,
    }
}

async fn append(
    journal: &Journal,
    records: Vec<Record>,
    notes: Vec<Note>,
    index: Vec<Stored>,
    seconds: &Histogram,
) -> Result<(Vec<Record>, usize), StoreError> {
    let stored = records.iter().map(Record::stored);
    let stored: Vec<_> = stored
        .chain(notes.iter().map(Note::stored))
        .chain(index)
        .collect();
    let write = journal.append(stored);
    let mut written = pin!(failpoint::during(Point::LedgerWrite, write));
    let begun = clock::now();
    loop {
        match tokio::time::timeout(PATIENCE, &mut written).await {
            Ok(done) => {
                done?;
                seconds.observe(clock::now().saturating_duration_since(begun).as_secs_f64());
                return Ok((records, notes.len()));
            }
            // The engine tries again by itself; people are told what the run waits for.
            Err(_) => tracing::warn!(
                records = records.len(),
                "outcomes wait for the store to make them durable"
            ),
        }
    }
}
