//! The model that is served, and its change for another: a request is given the one that is current when it comes and keeps
//! it to its end, so no request sees two. What an old model has been given it still answers, beside the new one.

use crate::answers::Answers;
use crate::batching::{BatchCounts, BatchRule, BatchSettings, Batcher, Question, Sharing};
use crate::budget::Budget;
use crate::config::RewardServerConfig;
use crate::error::RewardError;
use crate::scorer::{ScoreFailure, score_groups};
use crate::served::{BatchUnit, CreativeGroup, ServedModel};
use common::Digest;
use image::{Rgb, RgbImage};
use models::compute_thread::ComputeThread;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A model that answers questions.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Which one it is.
    pub(crate) digest: Digest,
    /// Its kind.
    pub(crate) form: String,
    /// What its batches are counted in.
    pub(crate) unit: BatchUnit,
    /// Where questions go.
    pub(crate) questions: mpsc::Sender<Vec<Question>>,
}

/// What requests are given to.
#[derive(Debug, Clone, Default)]
enum Current {
    /// A model is being read.
    #[default]
    None,
    Serving(Arc<Serving>),
    /// There was one, and there will be no other.
    Unloaded,
}

/// Why no model takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoModel {
    /// It is being read.
    Loading,
    /// The run is complete.
    Unloaded,
}

/// The current model, and what all models of a server share.
#[derive(Debug)]
pub(crate) struct Models {
    /// Scores that are known or on their way.
    pub(crate) answers: Arc<Answers>,
    /// What there is room for.
    pub(crate) budget: Arc<Budget>,
    /// How many batches there were.
    pub(crate) batches: Arc<BatchCounts>,
    /// Whether every group goes through its model by itself.
    pub(crate) alone: bool,
    rule: BatchRule,
    queue: usize,
    decodes: usize,
    current: Mutex<Current>,
    batchers: Mutex<JoinSet<()>>,
    stop: CancellationToken,
}

impl Models {
    /// None yet. With `alone` every group goes through its model by itself.
    pub(crate) fn new(config: &RewardServerConfig, alone: bool) -> Self {
        let sharing = match config.batch_wait() {
            _ if alone => Sharing::Alone,
            None => Sharing::Request,
            Some(wait) => Sharing::Everybody { wait },
        };
        Self {
            alone,
            answers: Arc::new(Answers::new(config.cache_bytes)),
            budget: Arc::new(Budget::new(config.queue, config.memory_bytes)),
            batches: Arc::default(),
            rule: BatchRule {
                sharing,
                max_units: config.max_batch,
            },
            queue: config.queue,
            decodes: config.concurrent_decodes,
            current: Mutex::default(),
            batchers: Mutex::default(),
            stop: CancellationToken::new(),
        }
    }

    /// Starts a model beside the current one, without giving it anything yet.
    ///
    /// # Errors
    /// [`RewardError::Model`] when it has no digest (it holds NaN), [`RewardError::Compute`] when its thread cannot be started
    /// or it panics, [`RewardError::Unusable`] when it gives no number for two plain pictures.
    pub(crate) async fn start<M: ServedModel>(&self, model: M) -> Result<Serving, RewardError> {
        let (thread, preparation, serving, questions) = {
            let queue = self.queue;
            let start = move || {
                let (digest, form, unit) = (model.digest()?, model.form(), model.batch_unit());
                let preparation = model.preparation();
                let thread = ComputeThread::spawn("reward-model", 1, move || Ok::<_, RewardError>(model))?;
                thread.call_blocking(probe)??;
                let (sender, questions) = mpsc::channel(queue);
                let serving = Serving {
                    digest,
                    form,
                    unit,
                    questions: sender,
                };
                Ok::<_, RewardError>((thread, preparation, serving, questions))
            };
            tokio::task::spawn_blocking(start)
                .await
                .map_err(RewardError::starting)??
        };
        let settings = BatchSettings {
            rule: self.rule,
            decodes: self.decodes,
            budget: self.budget.clone(),
            counts: self.batches.clone(),
            stop: self.stop.clone(),
        };
        let batcher = Batcher::new(thread, preparation, settings);
        let mut batchers = self.batchers();
        // Those of models that are gone have ended.
        while batchers.try_join_next().is_some() {}
        batchers.spawn(batcher.run(questions));
        Ok(serving)
    }

    /// From now on requests are given to `serving`, unless models are unloaded.
    pub(crate) fn replace(&self, serving: Serving) {
        let mut current = self.current_place();
        if !matches!(*current, Current::Unloaded) {
            *current = Current::Serving(Arc::new(serving));
        }
    }

    /// The model for a request that comes now.
    pub(crate) fn current(&self) -> Result<Arc<Serving>, NoModel> {
        match &*self.current_place() {
            Current::None => Err(NoModel::Loading),
            Current::Serving(serving) => Ok(serving.clone()),
            Current::Unloaded => Err(NoModel::Unloaded),
        }
    }

    /// Gives no request to any model from now on, and ends them, with what they have computed, once every request under way is answered
    /// or `limit` is over.
    pub(crate) async fn unload(&self, limit: Duration) {
        *self.current_place() = Current::Unloaded;
        if timeout(limit, self.budget.answered()).await.is_err() {
            tracing::warn!("requests are left unanswered by the model that is unloaded");
        }
        self.answers.forget();
        self.end(limit).await;
    }

    /// Ends every model when the batch that it works on is done; waits for that no longer than `limit`.
    pub(crate) async fn end(&self, limit: Duration) {
        self.stop.cancel();
        let mut batchers = std::mem::take(&mut *self.batchers());
        let ended = async { while batchers.join_next().await.is_some() {} };
        if timeout(limit, ended).await.is_err() {
            tracing::warn!("the reward model is still at work");
            // Dropping them here would wait for their threads.
            batchers.detach_all();
        }
    }

    fn current_place(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn batchers(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.batchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a model about two plain pictures.
fn probe<M: ServedModel>(model: &mut M) -> Result<(), RewardError> {
    let picture = |shade: u8| RgbImage::from_fn(32, 32, |x, y| Rgb([shade, 4 * x as u8, 4 * y as u8]));
    let group = CreativeGroup {
        caption: String::new(),
        creatives: vec![picture(40), picture(200)],
    };
    let answer = score_groups(model, &[group], 2).pop();
    let scores = answer.unwrap_or_else(|| Err(ScoreFailure::unanswered()));
    scores.map(drop).map_err(RewardError::Unusable)
}
