//! A run's ledger as people and scripts read it, beside its writer or when there is none.

mod line;
mod standing;

pub use line::{BarredLine, LedgerLine, RefusedLine, Seeds, SidesLine};

use super::{ExpiryNote, Identity, OutcomeCounts, Record, RefusalNote, StartNote, TrainingNote};
use crate::error::LearnerError;
use crate::images::{ImageCounts, ToldImages};
use common::{LearnerEpoch, PolicyVersion, RunId, TaskId};
use proto::{InvalidMessage, required};
use serde::Serialize;
use standing::{TrainedAt, by_task, kept, standing};
use std::collections::BTreeMap;
use store::{JournalReader, Records, Store};

/// A run's ledger, open to read.
pub struct LedgerView {
    reader: JournalReader,
    identity: Identity,
    trained: BTreeMap<TaskId, Vec<TrainedAt>>,
    /// Why pairs are not trained on, by the sequence of their records.
    refused: BTreeMap<u64, RefusedLine>,
    /// `None` where nothing is noted of one.
    newest_start: Option<LearnerEpoch>,
    store: Store,
    /// The images of the records before it may be gone.
    expired_before: u64,
    place: (String, String),
}

/// Its outcomes, one after the other.
pub struct LedgerLines<'a> {
    view: &'a LedgerView,
    records: Records,
    images: ToldImages,
}

/// What a ledger holds, in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerSummary {
    /// The run.
    pub run_id: RunId,
    /// Its seed.
    pub run_seed: u64,
    /// The newest start of its learner, or rollback, that recorded something, be it only that; 0 when nothing is recorded.
    pub epoch: u64,
    /// Tasks with a terminal outcome.
    pub tasks: u64,
    /// How they ended.
    pub outcomes: OutcomeCounts,
    /// Pairs that a version was trained from which no crash has lost.
    pub pairs_trained: u64,
    /// Pairs that none is trained from, by reason: `stale`, `retired`, `run_ended`. What an earlier version of the program refused is
    /// in no count.
    pub pairs_refused: BTreeMap<&'static str, u64>,
    /// The newest of the versions that were trained; `None` when there is none.
    pub version: Option<PolicyVersion>,
    /// What became of the candidates' images.
    pub images: ImageCounts,
}

impl LedgerView {
    /// Opens the ledger of `run` in `store`.
    ///
    /// # Errors
    /// [`LearnerError::Store`] when there is none or it cannot be read, [`LearnerError::Ledger`] for a damaged record.
    pub async fn open(store: &Store, run: &RunId) -> Result<Self, LearnerError> {
        let key = Identity::ledger_of(run);
        let place = (key.clone(), store.url().to_string());
        let reader = store.read_journal(&key).await?;
        let found = reader.records(Identity::keys()).await?.next().await?;
        let identity = required("ledger_identity", found).and_then(|(_, content)| Identity::read(&content));
        let identity = identity.map_err(|source| damaged(&place, source))?;
        let (mut notes, mut reading) = (vec![], reader.records(TrainingNote::keys()).await?);
        while let Some((_, content)) = reading.next().await? {
            notes.push(TrainingNote::read(&content).map_err(|source| damaged(&place, source))?);
        }
        let start = reader.records(StartNote::keys()).await?.next().await?;
        let start = start.map(|(_, content)| StartNote::read(&content)).transpose();
        let start = start.map_err(|source| damaged(&place, source))?;
        let (mut refusals, mut reading) = (vec![], reader.records(RefusalNote::keys()).await?);
        while let Some((_, content)) = reading.next().await? {
            refusals.push(RefusalNote::read(&content).map_err(|source| damaged(&place, source))?);
        }
        let expiry = reader.records(ExpiryNote::keys()).await?.next().await?;
        let expiry = expiry.map_or(Ok(ExpiryNote::default()), |(_, content)| {
            ExpiryNote::read(&content)
        });
        Ok(Self {
            reader,
            identity,
            trained: by_task(notes, start.as_ref()),
            refused: standing(&refusals, start.as_ref()),
            newest_start: start.map(|start| start.epoch),
            store: store.clone(),
            expired_before: expiry.map_err(|source| damaged(&place, source))?.before,
            place,
        })
    }

    /// What it holds, in short.
    ///
    /// # Errors
    /// As [`LedgerLines::next`].
    pub async fn summary(&self) -> Result<LedgerSummary, LearnerError> {
        let (mut outcomes, mut tasks) = (OutcomeCounts::default(), 0);
        let mut epoch = self.newest_start.map_or(0, |start| start.0);
        let mut images = ImageCounts::default();
        let mut lines = self.lines().await?;
        while let Some(record) = lines.next_record().await? {
            outcomes.add(&record.outcome);
            epoch = epoch.max(record.epoch.0);
            tasks += 1;
            let states = lines.images.of(&record).await?;
            states.into_iter().flatten().for_each(|state| images.add(state));
        }
        let mut pairs_refused = BTreeMap::new();
        for refused in self.refused.values() {
            *pairs_refused.entry(refused.reason).or_default() += 1;
        }
        Ok(LedgerSummary {
            run_id: self.identity.run.clone(),
            run_seed: self.identity.run_seed,
            epoch,
            tasks,
            outcomes,
            pairs_trained: self
                .trained
                .values()
                .filter(|trained| kept(trained).is_some())
                .count() as u64,
            pairs_refused,
            version: self
                .trained
                .values()
                .filter_map(|trained| kept(trained))
                .map(|trained| trained.version)
                .max(),
            images,
        })
    }

    /// Every outcome with its pedigree, in the order of arrival.
    ///
    /// # Errors
    /// [`LearnerError::Store`] when it cannot be read.
    pub async fn lines(&self) -> Result<LedgerLines<'_>, LearnerError> {
        let records = self.reader.records(Record::keys()).await?;
        Ok(LedgerLines {
            view: self,
            records,
            images: ToldImages::look(&self.store, &self.identity.run, self.expired_before).await?,
        })
    }
}

impl LedgerLines<'_> {
    /// The next outcome.
    ///
    /// # Errors
    /// [`LearnerError::Store`] when it cannot be read, [`LearnerError::Ledger`] for a damaged record.
    pub async fn next(&mut self) -> Result<Option<LedgerLine>, LearnerError> {
        let Some(record) = self.next_record().await? else {
            return Ok(None);
        };
        let images = self.images.of(&record).await?;
        let (task, seed) = (record.outcome.task(), self.view.identity.run_seed);
        let trained = self.view.trained.get(&task).map_or(&[][..], Vec::as_slice);
        let refused = self.view.refused.get(&record.sequence).copied();
        Ok(Some(LedgerLine::of(&record, images, trained, refused, seed)))
    }

    async fn next_record(&mut self) -> Result<Option<Record>, LearnerError> {
        let Some((_, content)) = self.records.next().await? else {
            return Ok(None);
        };
        let record = Record::read(&content);
        Ok(Some(record.map_err(|source| damaged(&self.view.place, source))?))
    }
}

fn damaged((key, url): &(String, String), source: InvalidMessage) -> LearnerError {
    LearnerError::Ledger {
        key: key.clone(),
        url: url.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Refusal, RefusedPair};
    use crate::ledger::Beginning;
    use crate::test_outcomes::{all_barred_but_one, failed, no_pair, pair, record, version};
    use common::{Purpose, derive_seed};
    use std::time::Duration;

    #[tokio::test]
    async fn every_outcome_is_told_with_its_pedigree_and_what_became_of_it() {
        let store = Store::open("memory:///").unwrap();
        let identity = Identity {
            run: RunId::new("spring").unwrap(),
            run_seed: 7,
        };
        let key = Identity::ledger_of(&identity.run);
        let missing = LedgerView::open(&store, &identity.run).await.err().unwrap();
        assert!(missing.to_string().contains("runs/spring/ledger"), "{missing}");
        let journal = store.open_journal(&key, Duration::from_millis(5)).await.unwrap();
        let records = [
            pair(4, 2),
            no_pair(0, 2),
            failed(9, false),
            all_barred_but_one(6, 2),
            pair(5, 1),
        ];
        let records = (0..)
            .zip(records)
            .map(|(sequence, outcome)| record(sequence, outcome).stored());
        let note = |number, step| TrainingNote {
            version: version(number),
            step,
            tasks: vec![TaskId(4)],
            metrics: BTreeMap::new(),
        };
        let refused = RefusalNote {
            pair: RefusedPair {
                sequence: 4,
                version: version(3),
                refusal: Refusal::Stale {
                    lag: 2,
                    max_staleness: 1,
                },
            },
            settled_by: Some(version(4)),
        };
        let notes = [note(3, 24).stored(), note(4, 32).stored(), refused.stored()];
        let beginning = Beginning::of_earlier_version(identity.clone()).stored();
        // A start that found nothing to do.
        let start = StartNote {
            epoch: LearnerEpoch(3),
            lineage: vec![version(4)].into(),
        };
        journal
            .append(records.chain([beginning, start.stored()]).chain(notes))
            .await
            .unwrap();
        let view = LedgerView::open(&store, &identity.run).await.unwrap();
        let (mut lines, mut reading) = (vec![], view.lines().await.unwrap());
        while let Some(line) = reading.next().await.unwrap() {
            lines.push(line);
        }
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line.task.0, line.outcome, line.reason, line.trained_step))
            .collect();
        let expected = [
            (4, "pair", None, Some(32)),
            (0, "no_pair", Some("tie"), None),
            (9, "failed", Some("reward_unavailable"), None),
            (6, "no_pair", Some("guardrail"), None),
            (5, "pair", None, None),
        ];
        assert_eq!(told, expected);
        assert_eq!(
            (lines[0].rewards.as_slice(), lines[0].image_digests.len()),
            (&[Some(0.0), Some(1.0)][..], 2)
        );
        assert_eq!(lines[0].behaviour_version, Some(version(2)));
        let sampling = derive_seed(7, TaskId(4), version(2), Purpose::Sampling);
        assert_eq!(lines[0].seeds.unwrap().sampling, sampling);
        assert_eq!((lines[2].seeds, lines[2].reward_model_digest), (None, None));
        let exported = serde_json::to_value(lines[4].refused).unwrap();
        let version_3 = serde_json::json!({ "epoch": 1, "number": 3 });
        assert_eq!(
            exported,
            serde_json::json!({ "reason": "stale", "version": version_3, "lag": 2, "max_staleness": 1 })
        );
        assert!(lines[..4].iter().all(|line| line.refused.is_none()));
        // What is known of a candidate stays in its place.
        let barred = &lines[3];
        assert_eq!(
            (barred.rewards.as_slice(), barred.reward_model_digest),
            (&[None; 3][..], None)
        );
        let told: Vec<_> = barred
            .barred
            .iter()
            .map(|barred| barred.map(|b| (b.guardrail, b.measured)))
            .collect();
        let expected = [Some(("halo", Some(0.25))), None, Some(("text_blocklist", None))];
        assert_eq!(told, expected);
        let made: Vec<bool> = barred.image_digests.iter().map(Option::is_some).collect();
        let looked_for: Vec<bool> = barred.images.iter().map(Option::is_some).collect();
        assert_eq!((made.as_slice(), &looked_for), (&[true, true, false][..], &made));
        let summary = view.summary().await.unwrap();
        assert_eq!(
            (summary.tasks, summary.outcomes.pairs, summary.pairs_trained),
            (5, 2, 1)
        );
        assert_eq!((summary.epoch, summary.pairs_refused), (3, [("stale", 1)].into()));
        assert_eq!(summary.version, Some(version(4)));
        assert_eq!(
            summary.outcomes.barred,
            [("halo".into(), 1), ("text_blocklist".into(), 1)].into()
        );
        assert_eq!(summary.images.missing, 8);
    }
}
