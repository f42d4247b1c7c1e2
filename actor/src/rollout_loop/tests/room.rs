//! The room that a lease takes, from stage to stage.

use super::*;
use crate::{
    failure::Failure,
    rollout_loop::RolloutLoop,
    scripted_learner::join,
    stages::{Behaviour, Gather},
    weight_source::Adapted,
};
use common::{CanaryReport, FailureReason, LearnerEpoch, PolicyVersion, ProductTask};
use image::RgbaImage;
use proto::ByteBudget;

/// The share of one task.
const SHARE: usize = 10;

/// All stages of a loop; each writes down what is held while it is at work, and none comes to anything.
#[derive(Clone)]
struct Watched {
    room: Arc<ByteBudget>,
    seen: Arc<Mutex<Vec<(&'static str, usize)>>>,
}

impl Watched {
    fn new() -> Self {
        Self {
            room: Arc::new(ByteBudget::new(100)),
            seen: Arc::default(),
        }
    }

    fn at(&self, stage: &'static str) {
        self.seen.lock().unwrap().push((stage, self.room.held()));
    }
}

fn nothing<T>(tasks: usize) -> PerTask<T> {
    let nothing = || Err(Failure::retryable(FailureReason::Sampling, "nothing comes of it"));
    (0..tasks).map(|_| nothing()).collect()
}

impl Gather for Watched {
    fn has_room_for(&self, wanted: usize) -> usize {
        wanted
    }

    async fn gather(&self, tasks: &[ProductTask]) -> PerTask<Arc<CutOut>> {
        self.at("gather");
        let cut_out = || {
            let (image, share) = (Arc::new(RgbaImage::new(1, 1)), self.room.charge());
            share.add(SHARE).unwrap();
            Ok(Arc::new(CutOut { image, share }))
        };
        tasks.iter().map(|_| cut_out()).collect()
    }
}

impl Behaviour for Watched {
    type Weights = ();

    fn version(&self) -> PolicyVersion {
        PolicyVersion::initial(LearnerEpoch(2))
    }

    fn canary(&self) -> Option<CanaryReport> {
        None
    }

    fn is_last(&self) -> bool {
        false
    }

    async fn sample(&self, tasks: &[ProductTask], _: &PerTask<Arc<CutOut>>) -> PerTask<Vec<Trajectory>> {
        self.at("sample");
        nothing(tasks.len())
    }

    async fn adopt(&mut self, _: Arc<Adapted<()>>) -> Result<(), ActorError> {
        Ok(())
    }

    async fn unload(self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl Service for Watched {
    async fn recovered(&mut self) -> Result<(), ActorError> {
        Ok(())
    }
}

impl Render for Watched {
    async fn render(
        &mut self,
        lease: &Lease,
        _: &PerTask<Arc<CutOut>>,
        _: &PerTask<Vec<Trajectory>>,
    ) -> PerTask<RenderedGroup> {
        self.at("render");
        nothing(lease.tasks.len())
    }
}

impl Score for Watched {
    async fn score(&mut self, lease: &Lease, _: &PerTask<RenderedGroup>) -> PerTask<Option<GroupRewards>> {
        self.at("score");
        nothing(lease.tasks.len())
    }
}

#[tokio::test]
async fn the_cut_outs_of_a_lease_are_gathered_once_and_have_their_room_until_its_outcomes_are_submitted() {
    let task = crate::product_images::tests::task(Digest::from_bytes([1; 32]));
    let lease = Lease::of(vec![task.clone(), task], Duration::from_secs(60));
    let RolloutLoop { weights, rule, .. } = rollouts(manifest(2, 3, b"x"), (), ()).await;
    let (learner, _, script) = join(manifest(2, 3, b"x"), Script::default()).await;
    let watched = Watched::new();
    let mut rollouts = RolloutLoop {
        learner,
        products: watched.clone(),
        policy: watched.clone(),
        renderer: watched.clone(),
        reward: watched.clone(),
        weights,
        rule,
        tasks_per_lease: 2,
        patience: Duration::from_secs(1),
        shutdown: CancellationToken::new(),
        summary: ActorSummary::default(),
        instruments: crate::Instruments::default(),
    };
    let submitting = async {
        while script.lock().unwrap().submitted == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        watched.at("submit");
    };
    // Nobody takes them.
    let (ended, ()) = tokio::join!(rollouts.work_on(lease), submitting);
    assert!(matches!(ended, Err(ActorError::Unreachable { .. })), "{ended:?}");
    let held = 2 * SHARE;
    assert_eq!(
        *watched.seen.lock().unwrap(),
        [
            ("gather", 0),
            ("sample", held),
            ("render", held),
            ("score", held),
            ("submit", held)
        ]
    );
    assert_eq!(watched.room.held(), 0);
}
