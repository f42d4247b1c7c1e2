//! A run for tests, in which hostile words stand wherever words of others do.

use crate::chronicle::Chronicle;
use crate::view::{
    Actor, Candidate, Creative, Ending, History, Outcome, Overview, PictureOf, Role, RunState, RunView,
    TrainedIn, ViewError,
};
use async_trait::async_trait;
use bytes::Bytes;
use common::{
    ActorId, CanaryReport, CanaryVerdict, Digest, LearnerEpoch, PolicyVersion, Presence, RunId, Sides, TaskId,
};
use std::sync::Arc;
use std::time::Duration;

/// What somebody might write who wants to be a script.
pub(crate) const HOSTILE: &str =
    "</script><script>alert('x')</script><img src=x onerror=\"alert(1)\"> & \u{202e}";

pub(crate) fn version(number: u64) -> PolicyVersion {
    PolicyVersion {
        epoch: LearnerEpoch(1),
        number,
    }
}

/// A group of `actor` with these rewards: the first is chosen, the last rejected. Without rewards it is one of two that failed.
pub(crate) fn creative(sequence: u64, sampled_by: u64, actor: &str, rewards: &[f64]) -> Creative {
    let candidate = |place: usize, reward: Option<f64>| Candidate {
        text: HOSTILE.into(),
        tokens: 3,
        stopped: true,
        log_prob: -4.5,
        image: Some(Digest::from_bytes([place as u8; 32])),
        defects: 0,
        reward,
        sides: reward.map(|reward| Sides {
            left: reward + 0.25,
            right: reward - 0.25,
        }),
        barred: None,
        role: match place {
            0 => Role::Chosen,
            1 => Role::Rejected,
            _ => Role::Neither,
        },
    };
    let mut candidates: Vec<Candidate> = rewards
        .iter()
        .enumerate()
        .map(|(place, &reward)| candidate(place, Some(reward)))
        .collect();
    if rewards.is_empty() {
        candidates = (0..2).map(|place| candidate(place, None)).collect();
    }
    Creative {
        sequence,
        task: TaskId(sequence + 100),
        outcome: if rewards.is_empty() {
            Outcome::NoPair("guardrail")
        } else {
            Outcome::Pair
        },
        product: "lamp-7".into(),
        caption: HOSTILE.into(),
        category: Some("lamps".into()),
        instruction: format!("write about {HOSTILE}"),
        prompt: Digest::from_bytes([7; 32]),
        instruction_holds: true,
        actor: Some(ActorId::new(actor).unwrap()),
        version: Some(version(sampled_by)),
        epoch: 1,
        seeds: Some((11, 12)),
        reward_model: Some(Digest::from_bytes([9; 32])),
        margin: Some(0.5),
        candidates,
    }
}

pub(crate) fn overview() -> Overview {
    let actor = |id: &str| Actor {
        id: ActorId::new(id).unwrap(),
        version: Some(version(3)),
        canary: Some(CanaryReport {
            verdict: CanaryVerdict::Ok,
            deviation: 1e-6,
            tolerance: 1e-4,
            separation: 0.5,
        }),
        outcomes: 40,
        quarantine: None,
        waiting_for: None,
        presence: Presence::Here,
        silent: Duration::from_millis(300),
    };
    Overview {
        run: RunId::new("spring").unwrap(),
        epoch: 1,
        state: RunState::Collecting,
        version: version(3),
        versions: 12,
        pairs_per_version: 256,
        holds_out: true,
        pairs_waiting: 17,
        pairs_trained: 768,
        pairs_refused: 2,
        leased: 32,
        recorded: 1234,
        not_durable: 0,
        endings: vec![Ending {
            kind: "pair",
            reason: String::new(),
            count: 1200,
        }],
        actors: vec![
            actor("actor-1"),
            Actor {
                quarantine: Some(HOSTILE.into()),
                ..actor("actor-2")
            },
            Actor {
                waiting_for: Some(HOSTILE.into()),
                ..actor("actor-3")
            },
        ],
    }
}

/// A run that stands still: three versions, one creative with two pictures.
pub(crate) struct TestRun {
    pub(crate) chronicle: Chronicle,
    pub(crate) picture: Bytes,
}

impl TestRun {
    pub(crate) fn new() -> Arc<Self> {
        let chronicle = Chronicle::default();
        for number in 1..=3 {
            chronicle.add_version(crate::chronicle::VersionPoint {
                version: version(number),
                values: [
                    ("loss", 0.7),
                    ("reward", 0.1),
                    ("kl", 0.2),
                    ("staleness_max", 1.0),
                ]
                .map(|(name, value)| (name.to_owned(), value / number as f64))
                .into(),
            });
            chronicle.add_evaluation(crate::chronicle::VersionPoint {
                version: version(number),
                values: [("reward".to_owned(), 0.14 * number as f64)].into(),
            });
            chronicle.add(creative(
                number,
                number,
                "actor-1",
                &[0.25, -0.125 * number as f64],
            ));
        }
        let mut png = vec![];
        image::RgbaImage::from_pixel(40, 20, image::Rgba([1, 2, 3, 255]))
            .write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
            .unwrap();
        Arc::new(Self {
            chronicle,
            picture: png.into(),
        })
    }
}

#[async_trait]
impl RunView for TestRun {
    fn overview(&self) -> Overview {
        overview()
    }

    fn chronicle(&self) -> &Chronicle {
        &self.chronicle
    }

    async fn history(&self, sequence: u64) -> Result<Option<History>, ViewError> {
        Ok([1, 3].contains(&sequence).then(|| History {
            creative: Arc::new(creative(sequence, 1, "actor-1", &[0.25, -0.125])),
            trained: vec![TrainedIn {
                version: version(2),
                step: 16,
                lost: sequence == 3,
            }],
            refused: (sequence == 3).then(|| "stale: 3 versions behind v1.5".into()),
            gone: vec![None, Some("expired")],
        }))
    }

    async fn creatives(&self, from: u64, until: u64) -> Result<Vec<Creative>, ViewError> {
        Ok((from..until)
            .map(|sequence| creative(sequence, 1, "actor-1", &[0.5, 0.25]))
            .collect())
    }

    async fn picture(&self, sequence: u64, of: PictureOf) -> Result<Option<Bytes>, ViewError> {
        match (sequence, of) {
            (1, PictureOf::Candidate(0)) => Ok(Some(self.picture.clone())),
            (1, PictureOf::Candidate(1)) => Ok(Some(Bytes::from_static(b"<svg onload=alert(1)>"))),
            (9, _) => Err(ViewError("the disk is gone".into())),
            _ => Ok(None),
        }
    }
}
