//! The policy that is sampled from: one version at a time, on a thread of its own.
//!
//! A task's completions depend on the run's seed, the task and the version only; image features are computed once per
//! product, each picture alone, so that they do not depend on what else was leased.

use crate::{
    ActorConfig, ActorError,
    background::{Background, Disposal},
    decode_times::DecodeTimes,
    failure::{Failure, PerTask},
    products::CutOut,
    stages::Behaviour,
    weight_source::Adapted,
};
use common::{
    CanaryReport, Digest, FailureReason, Finish, LastUsed, PolicyVersion, ProductTask, Purpose, Trajectory,
    derive_seed, with_causes,
};
use failpoint::Point;
use image::RgbaImage;
use models::{
    ModelError,
    compute_thread::{ComputeError, ComputeThread},
    image_features::ImageFeatures,
    llava::Llava,
    policy::{Completion, Policy, Prompt, SamplingParams},
    sampling,
};
use std::{slice, sync::Arc};

/// Jobs that may wait for the thread: the loop has one at a time, an adoption may queue behind it.
const QUEUE_BOUND: usize = 2;

/// The policy that is sampled from.
pub(crate) struct BehaviourPolicy {
    thread: ComputeThread<Sampler>,
    disposal: Disposal,
    plan: SamplingPlan,
    version: PolicyVersion,
    canary: Option<CanaryReport>,
    last: bool,
}

/// How every lease is sampled.
#[derive(Debug, Clone, Copy)]
struct SamplingPlan {
    run_seed: u64,
    group_size: usize,
    params: SamplingParams,
}

/// A leased task with its product's cut-out.
type PicturedTask = (ProductTask, Arc<CutOut>);

/// What the thread owns.
struct Sampler {
    policy: Policy,
    /// Features of one product each, `[1, patches, hidden]`: adapters do not change them.
    features: LastUsed<Digest, ImageFeatures>,
    /// When tokens were drawn, where somebody wants to know.
    times: Option<DecodeTimes>,
}

impl BehaviourPolicy {
    /// Starts the thread on `policy`, sampling from `adapted`. Versions that are no longer sampled from are let go of in the background.
    ///
    /// # Errors
    /// [`ActorError::Compute`] when the thread cannot be started.
    pub(crate) async fn start(
        policy: Policy,
        adapted: Arc<Adapted<Llava>>,
        run_seed: u64,
        config: &ActorConfig,
        background: &Background,
        times: Option<DecodeTimes>,
    ) -> Result<Self, ActorError> {
        let features = LastUsed::within(config.feature_cache_bytes);
        let (temperature, top_p, max_new_tokens) = (config.temperature, config.top_p, config.max_new_tokens);
        let params = SamplingParams {
            temperature,
            top_p,
            max_new_tokens,
        };
        let plan = SamplingPlan {
            run_seed,
            group_size: config.group_size,
            params,
        };
        let version = adapted.version;
        let init = move || {
            Ok::<_, ComputeError>(Sampler {
                policy,
                features,
                times,
            })
        };
        let thread = ComputeThread::spawn("policy", QUEUE_BOUND, init)?;
        let mut started = Self {
            thread,
            disposal: background.disposal(),
            plan,
            version,
            canary: None,
            last: false,
        };
        started.adopt(adapted).await?;
        Ok(started)
    }
}

impl Behaviour for BehaviourPolicy {
    type Weights = Llava;

    fn version(&self) -> PolicyVersion {
        self.version
    }

    fn canary(&self) -> Option<CanaryReport> {
        self.canary
    }

    fn is_last(&self) -> bool {
        self.last
    }

    async fn sample(
        &self,
        tasks: &[ProductTask],
        cut_outs: &PerTask<Arc<CutOut>>,
    ) -> PerTask<Vec<Trajectory>> {
        let with_cut_out = tasks.iter().zip(cut_outs);
        let pictured = with_cut_out.filter_map(|(task, cut_out)| Some((task.clone(), cut_out.clone().ok()?)));
        let pictured: Vec<PicturedTask> = pictured.collect();
        let (plan, version, count) = (self.plan, self.version, pictured.len());
        let sampled = match self
            .thread
            .call(move |sampler| sampler.sample(&pictured, version, &plan))
            .await
        {
            Ok(sampled) => sampled,
            Err(error) => vec![Err(Failure::passing(FailureReason::Sampling, &error)); count],
        };
        let mut sampled = sampled.into_iter();
        let mut next = || sampled.next().expect("every task with a cut-out was sampled");
        let of_task = |cut_out: &Result<Arc<CutOut>, Failure>| match cut_out {
            Ok(_) => next(),
            Err(failure) => Err(failure.clone()),
        };
        cut_outs.iter().map(of_task).collect()
    }

    /// The swap moves a handle: the model was built before.
    async fn adopt(&mut self, adapted: Arc<Adapted<Llava>>) -> Result<(), ActorError> {
        let (version, canary, last) = (adapted.version, adapted.canary, adapted.last);
        let swap = move |sampler: &mut Sampler| {
            failpoint::reach(Point::AdoptSwap);
            std::mem::replace(&mut sampler.policy.model, adapted.weights.clone())
        };
        let before = self.thread.call(swap).await?;
        self.disposal.let_go_of(before);
        (self.version, self.canary, self.last) = (version, canary, last);
        let verdict = canary.map(|report| report.verdict);
        tracing::info!(%version, canary = ?verdict, "policy adopted");
        Ok(())
    }

    async fn unload(self) -> Result<(), ActorError> {
        // Dropping it waits for its thread.
        let dropped = tokio::task::spawn_blocking(move || drop(self)).await;
        dropped.map_err(|source| ActorError::Task {
            task: "policy unloading",
            source,
        })
    }
}

impl Sampler {
    /// One batch; when the batch cannot be sampled, each task alone, so that only those fail that must.
    fn sample(
        &mut self,
        tasks: &[PicturedTask],
        version: PolicyVersion,
        plan: &SamplingPlan,
    ) -> PerTask<Vec<Trajectory>> {
        match self.batch(tasks, version, plan) {
            Ok(groups) => tasks
                .iter()
                .zip(groups)
                .map(|((task, _), group)| trajectories(task, version, group))
                .collect(),
            Err(_) if tasks.len() > 1 => tasks
                .iter()
                .flat_map(|task| self.sample(slice::from_ref(task), version, plan))
                .collect(),
            Err(error) => vec![Err(Failure::lasting(
                FailureReason::Sampling,
                with_causes(&error),
            ))],
        }
    }

    fn batch(
        &mut self,
        tasks: &[PicturedTask],
        version: PolicyVersion,
        plan: &SamplingPlan,
    ) -> Result<Vec<Vec<Completion>>, ModelError> {
        if tasks.is_empty() {
            return Ok(Vec::new());
        }
        let mut prompts = Vec::with_capacity(tasks.len() * plan.group_size);
        let mut features = Vec::with_capacity(tasks.len());
        for (image, (task, cut_out)) in tasks.iter().enumerate() {
            features.push(self.features(&task.image, &cut_out.image)?);
            let ids = self.policy.prompt_ids(&task.instruction, true)?;
            let seed = derive_seed(plan.run_seed, task.id, version, Purpose::Sampling);
            for candidate in 0..plan.group_size as u64 {
                // The generator expands its seed, so that neighbouring seeds give unrelated streams.
                let seed = seed.wrapping_add(candidate);
                prompts.push(Prompt {
                    ids: ids.clone(),
                    image: Some(image),
                    seed,
                });
            }
        }
        let features = ImageFeatures::cat(features);
        let times = self.times.as_ref();
        if let Some(times) = times {
            times.begin();
        }
        let mut drawn = || {
            if let Some(times) = times {
                times.note();
            }
        };
        let sampled = self
            .policy
            .sample_watched(&prompts, Some(&features), &plan.params, &mut drawn);
        let mut completions = sampled?.into_iter();
        Ok(tasks
            .iter()
            .map(|_| completions.by_ref().take(plan.group_size).collect())
            .collect())
    }

    fn features(&mut self, digest: &Digest, picture: &RgbaImage) -> Result<ImageFeatures, ModelError> {
        if let Some(features) = self.features.get(digest) {
            return Ok(features.clone());
        }
        let features = self.policy.image_features(&[picture])?;
        self.features.put(*digest, features.clone(), features.bytes());
        Ok(features)
    }
}

/// The completions of one task as trajectories; impossible log-probabilities would come again.
fn trajectories(
    task: &ProductTask,
    version: PolicyVersion,
    group: Vec<Completion>,
) -> Result<Vec<Trajectory>, Failure> {
    let trajectory = |completion: Completion| {
        let Completion {
            token_ids,
            log_probs,
            text,
            finish,
        } = completion;
        let finish = match finish {
            sampling::Finish::Stop => Finish::Stop,
            sampling::Finish::Length => Finish::Length,
        };
        Trajectory::new(task.id, version, token_ids, log_probs, text, finish)
    };
    let group: Result<_, _> = group.into_iter().map(trajectory).collect();
    group.map_err(|error| Failure::lasting(FailureReason::Sampling, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use common::{LearnerEpoch, ProductId, RolloutOutcome, TaskId};
    use image::Rgba;
    use models::{
        presets::Preset,
        tokenizer::{SpecialTokens, Tokenizer},
    };

    const VERSION: PolicyVersion = PolicyVersion {
        epoch: LearnerEpoch(1),
        number: 0,
    };

    fn sampler() -> Sampler {
        let corpus = ["an oak desk in warm light", "a steel lamp by the sea"];
        let tokenizer = Tokenizer::train(corpus.iter(), 280, SpecialTokens::default()).unwrap();
        let policy = Preset::Tiny.policy(tokenizer, &Device::flex(), 5);
        Sampler {
            policy,
            features: LastUsed::within(1 << 20),
            times: None,
        }
    }

    fn plan() -> SamplingPlan {
        SamplingPlan {
            run_seed: 11,
            group_size: 2,
            params: SamplingParams::plain(5),
        }
    }

    fn task(number: u64, instruction: &str) -> PicturedTask {
        let (product, image) = (
            ProductId::new("lamp").unwrap(),
            Digest::from_bytes([number as u8; 32]),
        );
        let instruction = instruction.to_owned();
        let picture = RgbaImage::from_pixel(8, 8, Rgba([number as u8 * 40, 10, 200, 255]));
        let task = ProductTask {
            id: TaskId(number),
            product,
            caption: String::new(),
            instruction,
            image,
        };
        (task, Arc::new(CutOut::without_room(picture)))
    }

    fn tokens(sampled: &Result<Vec<Trajectory>, Failure>) -> Vec<Vec<u32>> {
        sampled
            .as_ref()
            .unwrap()
            .iter()
            .map(|t| t.token_ids().to_vec())
            .collect()
    }

    #[test]
    fn what_a_task_gets_does_not_depend_on_what_else_was_leased_or_how_often_it_is_tried() {
        let (one, two) = (task(1, "describe an oak desk"), task(2, "a lamp"));
        let together = sampler().sample(&[one.clone(), two.clone()], VERSION, &plan());
        let mut again = sampler();
        for _attempt in 0..2 {
            assert_eq!(
                tokens(&again.sample(slice::from_ref(&two), VERSION, &plan())[0]),
                tokens(&together[1])
            );
        }
        assert_eq!(
            tokens(&again.sample(&[one], VERSION, &plan())[0]),
            tokens(&together[0])
        );
    }

    #[test]
    fn candidates_tasks_and_versions_have_streams_of_their_own() {
        let (one, two) = (task(1, "a lamp"), task(2, "a lamp"));
        let sampled = sampler().sample(&[one.clone(), two], VERSION, &plan());
        assert_ne!(tokens(&sampled[0])[0], tokens(&sampled[0])[1]);
        assert_ne!(tokens(&sampled[0]), tokens(&sampled[1]));
        let newer = sampler().sample(&[one], VERSION.next(), &plan());
        assert_ne!(tokens(&sampled[0]), tokens(&newer[0]));
        assert_eq!(newer[0].as_ref().unwrap()[0].behaviour(), VERSION.next());
    }

    #[test]
    fn a_task_that_cannot_be_sampled_fails_alone_and_for_good() {
        let tasks = [
            task(1, "a lamp"),
            task(2, &"lamp ".repeat(2000)),
            task(3, "a desk"),
        ];
        let sampled = sampler().sample(&tasks, VERSION, &plan());
        assert!(sampled[0].is_ok() && sampled[2].is_ok());
        let outcome = sampled[1].clone().unwrap_err().outcome(TaskId(2));
        let RolloutOutcome::Failed {
            reason, retryable, ..
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!((reason, retryable), (FailureReason::Sampling, false));
    }

    #[test]
    fn nothing_leased_is_nothing_sampled() {
        assert!(sampler().sample(&[], VERSION, &plan()).is_empty());
    }
}
