//! From questions to answers: groups are decoded as they come, collected, put through the model together, and answered each
//! to whoever asked.
//!
//! One task per model. It never computes and never waits for anybody in particular: pictures are decoded on the blocking
//! pool, the model has a thread of its own, and while that works the next groups are prepared. At most two batches lie
//! prepared, so what a request's pictures become when they are decoded is bounded too.

mod rule;

pub(crate) use rule::{BatchRule, Sharing};

use crate::answers::Ticket;
use crate::budget::{Budget, Charge};
use crate::scorer::{ScoreFailure, ScoreResult, score_prepared};
use crate::served::{CreativeGroup, Preparation, ServedModel};
use bytes::Bytes;
use data::cutout;
use futures::StreamExt as _;
use futures::future::{BoxFuture, FutureExt as _, OptionFuture};
use futures::stream::FuturesOrdered;
use models::compute_thread::{ComputeError, ComputeThread};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use proto::observe;
use rule::{Member, Next};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

/// A group that is to be scored.
#[derive(Debug)]
pub(crate) struct Question {
    /// Who is told.
    pub(crate) ticket: Ticket,
    /// The seller's caption.
    pub(crate) caption: String,
    /// Encoded images.
    pub(crate) images: Vec<Bytes>,
    /// The room that they take, given back when they are decoded.
    pub(crate) charge: Arc<Charge>,
    /// The request that it came with.
    pub(crate) request: u64,
    /// When it came.
    pub(crate) arrived: Instant,
    /// Where what happens to it is logged.
    pub(crate) span: Span,
    /// Where the model's time for it is added up, in microseconds.
    pub(crate) spent: Arc<AtomicU64>,
}

/// A group as the model reads it.
struct Prepared<Creative> {
    ticket: Ticket,
    group: CreativeGroup<Creative>,
    member: Member,
    spent: Arc<AtomicU64>,
}

/// How many batches there were, and of what size.
#[derive(Debug)]
pub(crate) struct BatchCounts {
    /// All of them.
    pub(crate) all: AtomicU64,
    /// Those that had groups of several requests.
    pub(crate) shared: AtomicU64,
    /// Groups of one.
    pub(crate) groups: Histogram,
    /// How long one took.
    pub(crate) seconds: Histogram,
    /// How long all of them took, in seconds.
    pub(crate) spent: Counter<f64, AtomicU64>,
}

impl Default for BatchCounts {
    fn default() -> Self {
        Self {
            all: AtomicU64::default(),
            shared: AtomicU64::default(),
            groups: observe::sizes(),
            seconds: observe::seconds(),
            spent: Counter::default(),
        }
    }
}

/// What a batcher needs beside its model.
#[derive(Debug, Clone)]
pub(crate) struct BatchSettings {
    /// When a batch goes.
    pub(crate) rule: BatchRule,
    /// Groups decoded at the same time.
    pub(crate) decodes: usize,
    /// Where the time that scoring takes is noted.
    pub(crate) budget: Arc<Budget>,
    /// Where batches are counted.
    pub(crate) counts: Arc<BatchCounts>,
    /// Ends the batcher when the running batch is done.
    pub(crate) stop: CancellationToken,
}

/// Takes questions to one model.
pub(crate) struct Batcher<M: ServedModel> {
    thread: Arc<ComputeThread<M>>,
    preparation: Preparation<M::Creative>,
    settings: BatchSettings,
    /// Not begun.
    waiting: VecDeque<Question>,
    /// Being decoded, in the order of arrival; the request and the units of each beside it.
    preparing: FuturesOrdered<JoinHandle<Option<Prepared<M::Creative>>>>,
    in_preparation: VecDeque<(u64, usize)>,
    /// Decoded.
    ready: VecDeque<Prepared<M::Creative>>,
    running: OptionFuture<BoxFuture<'static, ()>>,
}

impl<M: ServedModel> Batcher<M> {
    /// A batcher for the model of `thread`, whose creatives are prepared by `preparation`.
    pub(crate) fn new(
        thread: ComputeThread<M>,
        preparation: Preparation<M::Creative>,
        settings: BatchSettings,
    ) -> Self {
        Self {
            thread: Arc::new(thread),
            preparation,
            settings,
            waiting: VecDeque::new(),
            preparing: FuturesOrdered::new(),
            in_preparation: VecDeque::new(),
            ready: VecDeque::new(),
            running: None.into(),
        }
    }

    /// Answers `questions` until there will be no more, or `stop`; then ends the model's thread.
    pub(crate) async fn run(mut self, mut questions: mpsc::Receiver<Vec<Question>>) {
        let (mut open, mut idle) = (true, true);
        loop {
            // Whatever has come by now is looked at before the model begins.
            while let Ok(arrived) = questions.try_recv() {
                self.waiting.extend(arrived);
            }
            self.prepare_more();
            let next = match idle {
                true => self.begin(),
                false => Next::Wait,
            };
            idle = idle && !matches!(next, Next::Go(_));
            if idle && !open && self.is_empty() {
                break;
            }
            tokio::select! {
                arrived = questions.recv(), if open => match arrived {
                    Some(arrived) => self.waiting.extend(arrived),
                    None => open = false,
                },
                Some(prepared) = self.preparing.next(), if !self.preparing.is_empty() => {
                    self.in_preparation.pop_front();
                    // A preparation that panicked has answered already, by dropping its ticket.
                    self.ready.extend(prepared.ok().flatten());
                }
                Some(()) = &mut self.running, if !idle => {
                    self.running = None.into();
                    idle = true;
                }
                () = until(next) => {}
                () = self.settings.stop.cancelled() => break,
            }
        }
        if !idle {
            self.running.await;
        }
        let thread = self.thread;
        // Ending the thread waits for it.
        let ended = tokio::task::spawn_blocking(move || drop(thread)).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the reward model's thread did not end well");
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.preparing.is_empty() && self.ready.is_empty()
    }

    /// Decodes the next groups, unless two batches lie prepared.
    fn prepare_more(&mut self) {
        let prepared = |batcher: &Self| {
            let decoded = batcher.ready.iter().map(|ready| ready.member.units);
            let decoding = batcher.in_preparation.iter().map(|(_, units)| *units);
            decoded.chain(decoding).fold(0, usize::saturating_add)
        };
        let most = self.settings.rule.max_units.saturating_mul(2);
        while self.in_preparation.len() < self.settings.decodes && prepared(self) < most {
            let Some(question) = self.waiting.pop_front() else {
                return;
            };
            if !question.ticket.is_wanted() {
                continue;
            }
            self.in_preparation
                .push_back((question.request, question.ticket.units()));
            let preparation = self.preparation.clone();
            let span = question.span.clone();
            self.preparing.push_back(tokio::task::spawn_blocking(move || {
                span.in_scope(|| prepare(question, &preparation))
            }));
        }
    }

    /// Has the idle model begin with a batch, if it should.
    fn begin(&mut self) -> Next {
        self.ready.retain(|ready| ready.ticket.is_wanted());
        let behind = self.in_preparation.front().map(|(request, _)| *request);
        let behind = behind.or_else(|| self.waiting.front().map(|question| question.request));
        let members = self.ready.iter().map(|ready| &ready.member);
        let next = self.settings.rule.next(members, behind, Instant::now());
        if let Next::Go(count) = next {
            let batch: Vec<_> = self.ready.drain(..count).collect();
            self.running = Some(self.score(batch).boxed()).into();
        }
        next
    }

    /// Scores a batch and tells everybody.
    fn score(&self, batch: Vec<Prepared<M::Creative>>) -> impl Future<Output = ()> + Send + 'static + use<M> {
        let units: usize = batch.iter().map(|prepared| prepared.member.units).sum();
        let shared = batch
            .iter()
            .any(|prepared| prepared.member.request != batch[0].member.request);
        let span = tracing::debug_span!("batch", groups = batch.len(), units, shared);
        let (thread, settings) = (self.thread.clone(), self.settings.clone());
        let work = async move {
            let begun = Instant::now();
            let (askers, groups): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|prepared| ((prepared.ticket, prepared.spent), prepared.group))
                .unzip();
            let results = score_batch(&thread, groups.into(), settings.rule.max_units).await;
            let took = begun.elapsed();
            settings.budget.backlog().scored(units, took);
            settings.counts.groups.observe(askers.len() as f64);
            settings.counts.seconds.observe(took.as_secs_f64());
            settings.counts.spent.inc_by(took.as_secs_f64());
            settings.counts.all.fetch_add(1, Relaxed);
            settings.counts.shared.fetch_add(u64::from(shared), Relaxed);
            for ((ticket, spent), result) in askers.into_iter().zip(results) {
                let share = took.mul_f64(ticket.units() as f64 / units.max(1) as f64);
                spent.fetch_add(share.as_micros() as u64, Relaxed);
                ticket.answer(result);
            }
            tracing::debug!(ms = begun.elapsed().as_millis() as u64, "batch scored");
        };
        work.instrument(span)
    }
}

/// Waits as long as an idle model does; for ever, where something else must happen first.
async fn until(next: Next) {
    match next {
        Next::Until(instant) => sleep_until(instant).await,
        Next::Go(_) | Next::Wait => std::future::pending().await,
    }
}

/// Has the model score groups together. A panic is that of one group: each then goes alone, and who panics again has failed.
async fn score_batch<M: ServedModel>(
    thread: &ComputeThread<M>,
    groups: Arc<[CreativeGroup<M::Creative>]>,
    max_units: usize,
) -> Vec<ScoreResult> {
    let together = groups.clone();
    let scored = thread
        .call(move |model| score_prepared(model, &together, max_units))
        .await;
    let failed = |error: ComputeError| {
        tracing::error!(%error, "the reward model failed");
        vec![Err(ScoreFailure::of_model(error))]
    };
    match scored {
        Ok(results) => results,
        Err(error) if groups.len() == 1 => failed(error),
        Err(error) => {
            tracing::warn!(%error, groups = groups.len(), "a batch failed; its groups are scored one by one");
            let mut results = Vec::with_capacity(groups.len());
            for place in 0..groups.len() {
                let groups = groups.clone();
                let alone = thread
                    .call(move |model| score_prepared(model, &groups[place..=place], max_units))
                    .await;
                results.extend(alone.unwrap_or_else(failed));
            }
            results
        }
    }
}

/// Decodes a group's pictures and makes of them what the model reads. The first that is none fails the group; a group that
/// nobody wants any more is left where it is.
fn prepare<Creative>(question: Question, preparation: &Preparation<Creative>) -> Option<Prepared<Creative>> {
    let Question {
        ticket,
        caption,
        images,
        charge,
        request,
        arrived,
        spent,
        ..
    } = question;
    let mut creatives = Vec::with_capacity(images.len());
    for (position, image) in images.iter().enumerate() {
        if !ticket.is_wanted() {
            return None;
        }
        // A decoder that panics on a stranger's bytes fails that picture.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            cutout::decode_rgb(image).map(|picture| preparation(&picture))
        }));
        let reason = match decoded {
            Ok(Ok(creative)) => {
                creatives.push(creative);
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its decoder panicked".to_owned(),
        };
        ticket.answer(Err(ScoreFailure::InvalidImage { position, reason }));
        return None;
    }
    drop((images, charge));
    let member = Member {
        request,
        units: ticket.units(),
        arrived,
    };
    Some(Prepared {
        ticket,
        group: CreativeGroup { caption, creatives },
        member,
        spent,
    })
}
