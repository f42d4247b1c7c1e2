//! A run as the dashboard shows it: where it stands, what the ledger has of each creative, and its pictures.
//!
//! It reads and counts; nothing of a run depends on whether somebody looks. What earlier starts recorded is read beside the run
//! (`shown/past.rs`), what comes is heard of when it is durable ([`Audience`]).

mod creative;
mod past;

use crate::actors::Sighting;
use crate::assortment::{Assortment, PRODUCTS};
use crate::clock;
use crate::config::{LearnerConfig, MOST_STALENESS};
use crate::control::ControlPlane;
use crate::error::LearnerError;
use crate::images::Images;
use crate::ledger::{ExpiryNote, Identity, OutcomeCounts, Record, RefusalNote, StartNote, TrainingNote};
use async_trait::async_trait;
use bytes::Bytes;
use common::{LearnerEpoch, PolicyVersion};
use dashboard::{
    Actor, Chronicle, Creative, Door, Ending, History, MOST_PICTURE_BYTES, Overview, PictureOf, RunState,
    RunView, TrainedIn, VersionPoint, ViewError,
};
use proto::InvalidMessage;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use store::{Journal, Store, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Whoever is told of what is recorded.
#[derive(Debug, Clone)]
pub(crate) struct Audience(Arc<Chronicle>);

impl Audience {
    /// The records of these creatives are durable.
    pub(crate) fn hear(&self, creatives: Vec<Creative>) {
        creatives.into_iter().for_each(|creative| self.0.add(creative));
    }

    /// A version is published, with what its training measured.
    pub(crate) fn hear_of_version(&self, version: PolicyVersion, values: BTreeMap<String, f64>) {
        self.0.add_version(VersionPoint { version, values });
    }

    /// What a version does on held-out products was reported.
    pub(crate) fn hear_of_evaluation(&self, version: PolicyVersion, values: BTreeMap<String, f64>) {
        self.0.add_evaluation(VersionPoint { version, values });
    }
}

/// Records as creatives, for an [`Audience`].
pub(crate) fn creatives(records: &[Record], run: &Identity, assortment: &Assortment) -> Vec<Creative> {
    let creative = |record| creative::creative(record, assortment, run.run_seed);
    records.iter().map(creative).collect()
}

/// A run that is shown.
pub(crate) struct Shown {
    control: Arc<ControlPlane>,
    journal: Arc<Journal>,
    store: Store,
    images: Images,
    chronicle: Arc<Chronicle>,
    pairs_per_version: u64,
}

/// Shows a run at `door` until `stop`, beside the run. It must be called before the run records anything: what is there by now
/// is read, what comes is heard of.
pub(crate) fn open(
    door: Door,
    control: &Arc<ControlPlane>,
    journal: &Arc<Journal>,
    store: &Store,
    config: &LearnerConfig,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let chronicle = Arc::new(Chronicle::default());
    let recorded = control.ledger.recorded();
    control.tell(Audience(chronicle.clone()));
    let shown = Arc::new(Shown {
        control: control.clone(),
        journal: journal.clone(),
        store: store.clone(),
        images: Images::of(store, &control.identity.run),
        chronicle,
        pairs_per_version: config.pairs_per_version as u64,
    });
    tracing::info!(url = door.url(), "dashboard");
    tokio::spawn(async move {
        let reading = async {
            let read = past::read(&shown, recorded).await;
            if let Err(error) = read {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "dashboard: what was recorded before is not shown"
                );
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = dashboard::serve(door, shown.clone(), stop) => {}
            () = reading => {}
        }
    })
}

#[async_trait]
impl RunView for Shown {
    fn overview(&self) -> Overview {
        let control = &self.control;
        let progress = control.buffer.progress();
        let state = match control.failure() {
            Some(failure) => RunState::Failed(failure.to_string()),
            None if control.is_complete() => RunState::Complete,
            None if progress.training => RunState::Training,
            None => RunState::Collecting,
        };
        Overview {
            run: control.identity.run.clone(),
            epoch: control.epoch().0,
            state,
            version: progress.version,
            versions: control.versions(),
            pairs_per_version: self.pairs_per_version,
            holds_out: control.assortment().holds_out(),
            pairs_waiting: progress.fresh as u64,
            pairs_trained: progress.trained,
            pairs_refused: progress.refused.total(),
            leased: control.open_leases() as u64,
            recorded: control.ledger.recorded(),
            not_durable: control.ledger.depth().waiting,
            endings: endings(&control.outcomes()),
            actors: control
                .actors
                .sightings(clock::now(), control.lease_ttl())
                .into_iter()
                .map(actor)
                .collect(),
        }
    }

    fn chronicle(&self) -> &Chronicle {
        &self.chronicle
    }

    async fn history(&self, sequence: u64) -> Result<Option<History>, ViewError> {
        let Some(record) = self.record(sequence).await.map_err(told)? else {
            return Ok(None);
        };
        let creative = Arc::new(self.creative(&record));
        let gone = self.gone(&creative).await.map_err(told)?;
        let start = self.start().await.map_err(told)?;
        let trained = self.trained(&record, start.as_ref()).await.map_err(told)?;
        let refused = self.refused(&record, start.as_ref()).await.map_err(told)?;
        Ok(Some(History {
            creative,
            trained,
            refused: refused.map(|note| note.to_string()),
            gone,
        }))
    }

    async fn creatives(&self, from: u64, until: u64) -> Result<Vec<Creative>, ViewError> {
        let mut records = self
            .journal
            .records(Record::keys_between(from, until))
            .await
            .map_err(told)?;
        let mut creatives = vec![];
        while let Some((_, content)) = records.next().await.map_err(told)? {
            let record = Record::read(&content).map_err(|source| told(self.damaged(source)))?;
            creatives.push(self.creative(&record));
        }
        Ok(creatives)
    }

    async fn picture(&self, sequence: u64, of: PictureOf) -> Result<Option<Bytes>, ViewError> {
        let creative = match self.chronicle.recall(sequence) {
            Some(creative) => creative,
            None => match self.record(sequence).await.map_err(told)? {
                Some(record) => Arc::new(self.creative(&record)),
                None => return Ok(None),
            },
        };
        let read = match of {
            PictureOf::Product => {
                let task = self.control.assortment().task(creative.task);
                // The catalogue may have changed: another product's picture is none of this one's.
                match task.product.as_str() == creative.product {
                    true => self.store.get_content(PRODUCTS, &task.image).await.map(Some),
                    false => Ok(None),
                }
            }
            PictureOf::Candidate(place) => match creative.candidates.get(place).and_then(|c| c.image) {
                Some(image) => self.images.read(&image, MOST_PICTURE_BYTES as u64).await,
                None => Ok(None),
            },
        };
        match read {
            Err(StoreError::NotFound { .. }) => Ok(None),
            read => read.map_err(told),
        }
    }
}

impl Shown {
    fn creative(&self, record: &Record) -> Creative {
        creative::creative(record, self.control.assortment(), self.control.identity.run_seed)
    }

    async fn record(&self, sequence: u64) -> Result<Option<Record>, LearnerError> {
        let keys = Record::keys_between(sequence, sequence.saturating_add(1));
        self.first(keys, Record::read).await
    }

    /// The newest start of the run's learner, where one is noted.
    async fn start(&self) -> Result<Option<StartNote>, LearnerError> {
        self.first(StartNote::keys(), StartNote::read).await
    }

    /// The first entry of the journal under these keys.
    async fn first<T>(
        &self,
        keys: Range<Bytes>,
        read: fn(&[u8]) -> Result<T, InvalidMessage>,
    ) -> Result<Option<T>, LearnerError> {
        let found = self.journal.records(keys).await?.next().await?;
        let entry = found.map(|(_, content)| read(&content)).transpose();
        entry.map_err(|source| self.damaged(source))
    }

    /// The versions that were trained from a pair. A version of the epoch that recorded it, or of a later one; after the version that
    /// sampled it, where that is of the same epoch, and not more versions later than a pair can be behind: so little is read, however
    /// long the run is.
    async fn trained(
        &self,
        record: &Record,
        start: Option<&StartNote>,
    ) -> Result<Vec<TrainedIn>, LearnerError> {
        let group = record.outcome.group().filter(|_| record.outcome.is_pair());
        let sampled = group.and_then(|group| group.candidates().first());
        let Some(sampled) = sampled.map(|candidate| candidate.trajectory.behaviour()) else {
            return Ok(vec![]);
        };
        let (mut trained, until) = (vec![], sampled.number.saturating_add(MOST_STALENESS + 2));
        for epoch in record.epoch.0..=self.control.epoch().0 {
            // A later start may have gone on from a version before the one that sampled.
            let from = if epoch == sampled.epoch.0 {
                sampled.number
            } else {
                0
            };
            let keys = TrainingNote::keys_between(LearnerEpoch(epoch), from, until);
            let mut notes = self.journal.records(keys).await?;
            while let Some((_, content)) = notes.next().await? {
                let note = TrainingNote::read(&content).map_err(|source| self.damaged(source))?;
                if note.tasks.contains(&record.outcome.task()) {
                    let lost = start.is_some_and(|start| !start.holds(note.version));
                    let TrainingNote { version, step, .. } = note;
                    trained.push(TrainedIn { version, step, lost });
                }
            }
        }
        Ok(trained)
    }

    /// Why no version is trained from a pair, as far as the run's weights go.
    async fn refused(
        &self,
        record: &Record,
        start: Option<&StartNote>,
    ) -> Result<Option<RefusalNote>, LearnerError> {
        if !record.outcome.is_pair() {
            return Ok(None);
        }
        let keys = RefusalNote::keys_of_record(record.sequence);
        let (mut refused, mut notes) = (None, self.journal.records(keys).await?);
        while let Some((_, content)) = notes.next().await? {
            let note = RefusalNote::read(&content).map_err(|source| self.damaged(source))?;
            if start.is_none_or(|start| note.stands(start)) {
                refused = Some(note);
            }
        }
        Ok(refused)
    }

    /// What became of each candidate's image, where it is not there.
    async fn gone(&self, creative: &Creative) -> Result<Vec<Option<&'static str>>, LearnerError> {
        let note = self.first(ExpiryNote::keys(), ExpiryNote::read).await?;
        let why = if creative.sequence < note.unwrap_or_default().before {
            "expired"
        } else {
            "missing"
        };
        let mut gone = vec![];
        for image in creative.candidates.iter().map(|candidate| candidate.image) {
            let is_there = match image {
                Some(image) => self.images.is_there(&image).await?,
                // None was made.
                None => true,
            };
            gone.push((!is_there).then_some(why));
        }
        Ok(gone)
    }

    fn damaged(&self, source: InvalidMessage) -> LearnerError {
        LearnerError::Ledger {
            key: Identity::ledger_of(&self.control.identity.run),
            url: self.store.url().to_string(),
            source,
        }
    }
}

fn told(error: impl std::error::Error + Send + Sync + 'static) -> ViewError {
    ViewError(Box::new(error))
}

fn actor(sighting: Sighting) -> Actor {
    let Sighting {
        summary,
        silent,
        presence,
    } = sighting;
    Actor {
        id: summary.actor_id,
        version: summary.version,
        canary: summary.canary,
        outcomes: summary.outcomes,
        quarantine: summary.quarantine,
        waiting_for: summary.waiting_for,
        presence,
        silent,
    }
}

/// How tasks ended, what happened at least once.
fn endings(counts: &OutcomeCounts) -> Vec<Ending> {
    let one = |kind, count| (kind, String::new(), count);
    let by_reason = |kind, reasons: &BTreeMap<String, u64>| {
        let named = reasons
            .iter()
            .map(move |(reason, &count)| (kind, reason.clone(), count));
        named.collect::<Vec<_>>()
    };
    let all = [
        vec![one("Pair", counts.pairs)],
        by_reason("No pair", &counts.no_pairs),
        by_reason("Failed", &counts.failures),
        by_reason("Candidate barred", &counts.barred),
        vec![
            one("Lease ran out", counts.expired),
            one("Recorded before", counts.duplicates),
            one("Refused", counts.refused),
        ],
    ];
    let ending = |(kind, reason, count)| Ending { kind, reason, count };
    all.into_iter()
        .flatten()
        .filter(|(_, _, count)| *count > 0)
        .map(ending)
        .collect()
}
