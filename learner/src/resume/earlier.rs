//! A ledger that an earlier version of the program began: what it does not tell of its beginning is asked of its records where they know,
//! told to people where nobody does, and recorded from then on.

use crate::assortment::Assortment;
use crate::error::LearnerError;
use crate::ledger::{Beginning, Identity, Record};
use crate::run::LearnerInputs;
use common::{ProductId, TaskId};
use store::JournalReader;

/// Records that are looked at: among other products, or as many in another order, few of so many tasks keep theirs by chance.
const LOOKED_AT: usize = 64;

/// Says what of a run's beginning could not be compared. It is recorded as it is now, so that it is said once.
pub(super) fn warn_of_untold(found: &Beginning, now: &Beginning) {
    let untold = found.untold(now);
    if !untold.is_empty() {
        let run = &now.identity.run;
        tracing::warn!(
            %run,
            ?untold,
            "the run was begun by a version that did not record these: they could not be compared, and are recorded as they are given now"
        );
    }
}

/// Refuses products of which the tasks that have ended would be about others than they were.
///
/// # Errors
/// [`LearnerError::ChangedCatalogue`], [`LearnerError::Ledger`], [`LearnerError::Store`].
pub(super) async fn same_products(
    reader: &JournalReader,
    inputs: &LearnerInputs,
) -> Result<(), LearnerError> {
    let now = Assortment::unstored(inputs.catalogue.clone(), inputs.run_seed);
    let mut records = reader.records(Record::keys()).await?;
    let mut ended = vec![];
    while ended.len() < LOOKED_AT
        && let Some((_, content)) = records.next().await?
    {
        let record = Record::read(&content).map_err(|source| LearnerError::Ledger {
            key: Identity::ledger_of(&inputs.run_id),
            url: inputs.store.url().to_string(),
            source,
        })?;
        ended.push((record.outcome.task(), record.product));
    }
    match other_products(&ended, &now) {
        Some(told) => Err(LearnerError::ChangedCatalogue {
            run: inputs.run_id.clone(),
            changes: vec![told],
        }),
        None => Ok(()),
    }
}

/// What tells that tasks were about other products than they would be about now.
fn other_products(ended: &[(TaskId, ProductId)], now: &Assortment) -> Option<String> {
    let would_be = |task| &now.product(now.subject(task).product).id;
    let others = ended.iter().filter(|(task, was)| would_be(*task) != was);
    let (count, (task, was)) = (others.clone().count(), others.clone().next()?);
    Some(format!(
        "catalogue: {task} was about product {was}, and would be about {} now; so it is of {count} of the {} tasks looked at; a run that was begun before products were held out goes on with catalogue.test_share = 0",
        would_be(*task),
        ended.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assortment::test_catalogue::{TestCatalogue, catalogue};
    use std::sync::Arc;

    #[test]
    fn what_tasks_were_about_tells_other_products_and_other_shares_of_them() {
        let of = |products: TestCatalogue| Assortment::unstored(Arc::new(products), 7);
        let begun = of(catalogue(&[None; 10]));
        let about = |task| begun.product(begun.subject(task).product).id.clone();
        let ended: Vec<_> = (0..9).map(TaskId).map(|task| (task, about(task))).collect();
        assert_eq!(other_products(&ended, &begun), None);
        assert_eq!(other_products(&[], &of(catalogue(&[None; 3]))), None);
        for other in [catalogue(&[None; 10]).holding_out(0.2), catalogue(&[None; 11])] {
            let told = other_products(&ended, &of(other)).unwrap();
            assert!(
                told.contains("of the 9 tasks looked at") && told.contains("catalogue.test_share = 0"),
                "{told}"
            );
        }
    }
}
