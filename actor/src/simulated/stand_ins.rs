//! What a simulated actor has in the place of the stages that compute.

use crate::{
    ActorError,
    failure::PerTask,
    learner_client::Lease,
    manifest::Manifest,
    products::CutOut,
    rendering::{RenderedGroup, RenderedImage, comparable},
    reward_client::GroupRewards,
    shelf::Adapter,
    stages::{Behaviour, Gather, Render, Score, Service},
    weight_source::{Adapted, BuildWeights, Built},
};
use common::{
    CanaryReport, CandidateImage, Digest, Finish, PolicyVersion, ProductTask, Purpose, Reward, Trajectory,
    derive_seed,
};
use image::RgbaImage;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Tokens are below this, as in any vocabulary of LLaVA's.
const VOCABULARY: u32 = 32_000;

/// In the place of the products: pictures of nothing, which nobody looks at.
pub(crate) struct Unseen(Arc<CutOut>);

impl Unseen {
    pub(crate) fn new() -> Self {
        Self(Arc::new(CutOut::without_room(RgbaImage::new(0, 0))))
    }
}

impl Gather for Unseen {
    fn has_room_for(&self, wanted: usize) -> usize {
        wanted
    }

    async fn gather(&self, tasks: &[ProductTask]) -> PerTask<Arc<CutOut>> {
        tasks.iter().map(|_| Ok(self.0.clone())).collect()
    }
}

/// In the place of the policy that bytes would be built into.
pub(super) struct Unbuilt;

impl BuildWeights for Unbuilt {
    type Weights = ();

    async fn build(&mut self, adapter: Arc<Adapter>, manifest: &Manifest) -> Result<Built<()>, ActorError> {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let (version, adapter) = (manifest.version, store::digest(&adapter.chunks().concat()));
            tracing::debug!(%version, %adapter, "version received");
        }
        Ok(Built {
            weights: (),
            canary: None,
        })
    }
}

/// In the place of the policy.
pub(super) struct Pausing<W> {
    pub(super) adapted: Arc<Adapted<()>>,
    pub(super) run_seed: u64,
    pub(super) group_size: usize,
    pub(super) tokens: usize,
    /// What it does for each lease, beside drawing.
    pub(super) pause: W,
}

impl<F: Future<Output = ()> + Send, W: Fn() -> F + Send + Sync> Behaviour for Pausing<W> {
    type Weights = ();

    fn version(&self) -> PolicyVersion {
        self.adapted.version
    }

    fn canary(&self) -> Option<CanaryReport> {
        self.adapted.canary
    }

    fn is_last(&self) -> bool {
        self.adapted.last
    }

    async fn sample(&self, tasks: &[ProductTask], _: &PerTask<Arc<CutOut>>) -> PerTask<Vec<Trajectory>> {
        (self.pause)().await;
        tasks.iter().map(|task| Ok(self.group(task))).collect()
    }

    async fn adopt(&mut self, adapted: Arc<Adapted<()>>) -> Result<(), ActorError> {
        self.adapted = adapted;
        Ok(())
    }

    async fn unload(self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl<W> Pausing<W> {
    fn group(&self, task: &ProductTask) -> Vec<Trajectory> {
        let version = self.adapted.version;
        let seed = derive_seed(self.run_seed, task.id, version, Purpose::Sampling);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut trajectory = || {
            let ids: Vec<u32> = (0..self.tokens)
                .map(|_| random.random_range(0..VOCABULARY))
                .collect();
            let text = format!("{} {}", task.caption, ids[0]);
            let log_probs = vec![-1.0; ids.len()];
            let drawn = Trajectory::new(task.id, version, ids, log_probs, text, Finish::Stop);
            drawn.expect("as many finite log-probabilities as tokens")
        };
        (0..self.group_size).map(|_| trajectory()).collect()
    }
}

/// In the place of the image generator.
pub(crate) struct Unrendered;

impl Service for Unrendered {
    async fn recovered(&mut self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl Render for Unrendered {
    async fn render(
        &mut self,
        _: &Lease,
        _: &PerTask<Arc<CutOut>>,
        sampled: &PerTask<Vec<Trajectory>>,
    ) -> PerTask<RenderedGroup> {
        let image = |trajectory: &Trajectory| RenderedImage {
            candidate: CandidateImage {
                digest: Some(store::digest(trajectory.text().as_bytes())),
                defects: 0,
                barred: None,
            },
            png: bytes::Bytes::new(),
        };
        let group = |group: &Vec<Trajectory>| group.iter().map(image).collect();
        sampled
            .iter()
            .map(|sampled| sampled.as_ref().map(group).map_err(Clone::clone))
            .collect()
    }
}

/// In the place of the reward-server.
pub(crate) struct Unscored;

impl Service for Unscored {
    async fn recovered(&mut self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl Score for Unscored {
    async fn score(&mut self, _: &Lease, rendered: &PerTask<RenderedGroup>) -> PerTask<Option<GroupRewards>> {
        let rewards = |images: &RenderedGroup| {
            let images = comparable(images)?;
            let digests = images.iter().filter_map(|image| image.candidate.digest);
            Some(GroupRewards {
                rewards: Ok(digests.map(|digest| reward(&digest)).collect()),
                model: store::digest(b"simulated"),
            })
        };
        rendered
            .iter()
            .map(|images| images.as_ref().map(rewards).map_err(Clone::clone))
            .collect()
    }
}

/// A number between 0 and 1 that is an image's own.
fn reward(image: &Digest) -> Reward {
    let [high, low, ..] = *image.as_bytes();
    Reward::new(f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX)).expect("finite")
}
