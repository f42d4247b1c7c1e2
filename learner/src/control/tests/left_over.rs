//! Pairs that a complete run did not come to.

use super::*;
use crate::account;
use crate::ledger::Note;
use crate::test_outcomes::task;
use futures::FutureExt as _;

/// A task ends with a pair, durably, and the pair goes to training.
fn arrives(control: &ControlPlane, number: u64) {
    control.ledger.record(pair(number, 0), task(number), None);
    control.deliver(control.ledger.waiting());
}

/// The records whose pairs are noted as left over since this was asked last.
fn noted(control: &ControlPlane) -> Vec<u64> {
    let notes = control.ledger.arrivals().now_or_never().flatten();
    let notes = notes.map_or_else(Vec::new, |(_, notes)| notes).into_iter();
    let left_over = notes.map(|note| match note {
        Note::Refusal(note) if note.pair.refusal == account::Refusal::RunEnded => note.pair.sequence,
        other => panic!("{other:?}"),
    });
    left_over.collect()
}

#[tokio::test]
async fn i3_what_is_left_of_a_complete_run_is_noted_also_when_it_comes_late_and_what_a_stop_leaves_is_not() {
    for complete in [true, false] {
        let control = run(|_| ()).await.control;
        arrives(&control, 0);
        if complete {
            control.buffer.published(version(2));
        }
        control.training_is_over();
        assert_eq!(noted(&control), if complete { vec![0] } else { vec![] });
        arrives(&control, 1);
        assert_eq!(noted(&control), if complete { vec![1] } else { vec![] });
    }
}
