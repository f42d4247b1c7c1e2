//! `report.json`: what a demo found, in the documented form. Plain values and the arithmetic between them; who measured
//! them and how is elsewhere.

use crate::evaluation::MeasuredOn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One run of stage C with the stages before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Seed of everything.
    pub(crate) seed: u64,
    /// The loss mode.
    pub(crate) mode: String,
    /// `true` for a run with random preference labels; absent otherwise.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) control: bool,
    /// Name of the catalogue.
    pub(crate) catalogue: String,
    /// Whether products are held out; otherwise what is called test products here are those that were trained on. Reports of earlier
    /// versions do not say it, and call them test products.
    #[serde(default = "held_out")]
    pub(crate) held_out: bool,
    /// The roles' processes.
    pub(crate) processes: Vec<Process>,
    /// How long each part took.
    pub(crate) wall_seconds: WallSeconds,
    /// How good the reward model is.
    pub(crate) reward_model: reward_server::RewardReport,
    /// One entry a version; the first is the untrained start.
    pub(crate) rounds: Vec<Round>,
    /// The start, on test products.
    pub(crate) baseline: Quality,
    /// The end, on test products.
    #[serde(rename = "final")]
    pub(crate) last: Quality,
    /// The best that any policy could do.
    pub(crate) oracle: OracleQuality,
    /// `(final - baseline) / (oracle - baseline)` of the true click-through rate.
    pub(crate) headroom_share: Option<f64>,
    /// Preference pairs the learner recorded.
    pub(crate) pairs_submitted: u64,
    /// Preference pairs the learner trained on.
    pub(crate) pairs_trained: u64,
    /// The adapter's directory, relative to the report.
    pub(crate) adapter: String,
    /// Digest of the adapter's weights.
    pub(crate) adapter_blake3: String,
    /// What crossed the wire.
    pub(crate) weights: Weights,
}

/// One process of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// `learner`, `reward-server` or `actor`.
    pub(crate) role: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// Where it listened.
    pub(crate) endpoint: String,
}

/// Seconds of wall-clock time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct WallSeconds {
    /// Stage A. Stages that ran side by side overlap.
    pub(crate) pretrain: f64,
    /// Stage B.
    pub(crate) reward: f64,
    /// Stage C, from the first process to the last.
    pub(crate) rl: f64,
    /// Stages A, B and C and everything between, up to this report.
    pub(crate) total: f64,
}

/// One policy version, measured on test products, and the batch it was trained from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Round {
    /// 0 for the untrained start.
    pub(crate) round: u64,
    /// The version's number.
    pub(crate) version: u64,
    /// Mean reward of the groups this version was trained from; none for the start.
    pub(crate) reward: Option<f64>,
    /// Mean reward on test products.
    pub(crate) reward_test_products: f64,
    /// Mean true click-through rate, a fraction; only a simulator knows.
    pub(crate) true_ctr: Option<f64>,
    /// Share of descriptions whose scene is native to the product; only a simulator knows.
    pub(crate) match_rate: Option<f64>,
    /// Mean over completions of log pi - log ref, nats per completion.
    pub(crate) kl: f64,
    /// Nats per token.
    pub(crate) entropy: f64,
    /// Mean tokens of a completion, end token included.
    pub(crate) completion_tokens: f64,
    /// Share of descriptions with a part that cannot be rendered, or without an end.
    pub(crate) invalid_rate: f64,
    /// Different valid descriptions on the test products.
    pub(crate) distinct_descriptions: u64,
    /// How much likelier a description is under its own product than under one of another category, in nats per
    /// completion; none with fewer than two products.
    pub(crate) product_nats: Option<f64>,
    /// Share of pairs of test products whose descriptions go with them when image and caption are swapped.
    pub(crate) swap_followed: Option<f64>,
    /// Pairs this version was trained from.
    pub(crate) pairs: u64,
    /// Tasks that ended without a pair meanwhile.
    pub(crate) no_pairs: u64,
    /// Highest staleness of a trained pair.
    pub(crate) staleness_max: u64,
}

/// How good a policy is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quality {
    /// See [`Round::true_ctr`].
    pub(crate) true_ctr: Option<f64>,
    /// See [`Round::match_rate`].
    pub(crate) match_rate: Option<f64>,
}

/// The bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct OracleQuality {
    /// Mean over test products of the best description's rate.
    pub(crate) true_ctr: Option<f64>,
}

/// Adapter traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Weights {
    /// Bytes of one published adapter.
    pub(crate) bytes_per_publish: u64,
    /// Versions published, the initial one included.
    pub(crate) publishes: u64,
    /// Adoptions by all actors.
    pub(crate) adoptions: u64,
    /// Adapter bytes each actor received.
    pub(crate) bytes_received: BTreeMap<String, u64>,
}

impl From<&Round> for Quality {
    fn from(round: &Round) -> Self {
        Self {
            true_ctr: round.true_ctr,
            match_rate: round.match_rate,
        }
    }
}

fn held_out() -> bool {
    true
}

impl Report {
    /// What its figures are of.
    pub(crate) fn measured_on(&self) -> MeasuredOn {
        match self.held_out {
            true => MeasuredOn::TestProducts,
            false => MeasuredOn::ItsProducts,
        }
    }

    /// How much the true click-through rate rose, relative to the start.
    pub(crate) fn gain(&self) -> Option<f64> {
        Some(self.last.true_ctr? / self.baseline.true_ctr? - 1.0)
    }
}

/// The share of what was possible that was reached; none without an oracle, or when nothing was possible.
pub(crate) fn headroom_share(baseline: Quality, last: Quality, oracle: OracleQuality) -> Option<f64> {
    let start = baseline.true_ctr?;
    let room = oracle.true_ctr? - start;
    (room > 0.0).then_some((last.true_ctr? - start) / room)
}

/// `compare.json`: several modes from one start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// Seed of everything.
    pub(crate) seed: u64,
    /// One entry a mode, in the order asked for.
    pub(crate) modes: Vec<ModeResult>,
}

/// One mode of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModeResult {
    /// The loss mode.
    pub(crate) mode: String,
    /// Its start.
    pub(crate) baseline: Quality,
    /// Its end.
    #[serde(rename = "final")]
    pub(crate) last: Quality,
    /// See [`Report::headroom_share`].
    pub(crate) headroom_share: Option<f64>,
    /// Its versions.
    pub(crate) rounds: Vec<Round>,
}

impl Comparison {
    /// Puts reports of one seed side by side.
    pub(crate) fn of(seed: u64, reports: &[Report]) -> Self {
        let modes = reports.iter().map(|report| ModeResult {
            mode: report.mode.clone(),
            baseline: report.baseline,
            last: report.last,
            headroom_share: report.headroom_share,
            rounds: report.rounds.clone(),
        });
        Self {
            seed,
            modes: modes.collect(),
        }
    }
}

#[cfg(test)]
pub(super) mod examples {
    use super::*;

    /// A run of no rounds.
    pub(crate) fn report() -> Report {
        let start = round(0, 0.03);
        Report {
            seed: 7,
            mode: "joint_swap".into(),
            control: false,
            catalogue: "shopworld".into(),
            held_out: true,
            processes: vec![Process {
                role: "learner".into(),
                pid: 1,
                endpoint: "http://127.0.0.1:1".into(),
            }],
            wall_seconds: WallSeconds {
                pretrain: 1.0,
                reward: 2.0,
                rl: 3.0,
                total: 6.0,
            },
            reward_model: reward_server::RewardReport {
                pair_accuracy: 0.7,
                pair_accuracy_ci: [0.6, 0.8],
                label_ceiling: 0.85,
                swap_consistency: 1.0,
                calibration_error: 0.02,
                pairs: 10,
                products: 2,
            },
            baseline: (&start).into(),
            last: (&start).into(),
            rounds: vec![start],
            oracle: OracleQuality { true_ctr: Some(0.06) },
            headroom_share: Some(0.0),
            pairs_submitted: 256,
            pairs_trained: 256,
            adapter: "adapter".into(),
            adapter_blake3: "blake3:00".into(),
            weights: Weights {
                bytes_per_publish: 1,
                publishes: 2,
                adoptions: 4,
                bytes_received: BTreeMap::new(),
            },
        }
    }

    pub(crate) fn round(number: u64, true_ctr: f64) -> Round {
        Round {
            round: number,
            version: number,
            reward: (number > 0).then_some(0.1 * number as f64),
            reward_test_products: 0.1 * number as f64,
            true_ctr: Some(true_ctr),
            match_rate: Some(0.8 + 0.02 * number as f64),
            kl: 0.3 * number as f64,
            entropy: 0.7,
            completion_tokens: 14.2,
            invalid_rate: 0.04,
            distinct_descriptions: 500,
            product_nats: Some(4.0 + number as f64),
            swap_followed: Some(1.0),
            pairs: 256 * number.min(1),
            no_pairs: 3 * number,
            staleness_max: number.min(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(true_ctr: Option<f64>) -> Quality {
        Quality {
            true_ctr,
            match_rate: None,
        }
    }

    #[test]
    fn headroom_is_the_share_of_the_way_to_the_oracle() {
        let oracle = OracleQuality { true_ctr: Some(0.05) };
        let share = headroom_share(quality(Some(0.03)), quality(Some(0.04)), oracle).unwrap();
        assert!((share - 0.5).abs() < 1e-9);
        assert_eq!(
            headroom_share(quality(Some(0.05)), quality(Some(0.05)), oracle),
            None
        );
        assert_eq!(
            headroom_share(quality(None), quality(None), OracleQuality { true_ctr: None }),
            None
        );
    }

    fn keys(value: &serde_json::Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn a_report_has_the_documented_keys_and_is_read_back() {
        let report = examples::report();
        let mut value = serde_json::to_value(&report).unwrap();
        let documented = [
            "adapter",
            "adapter_blake3",
            "baseline",
            "catalogue",
            "final",
            "headroom_share",
            "held_out",
            "mode",
            "oracle",
            "pairs_submitted",
            "pairs_trained",
            "processes",
            "reward_model",
            "rounds",
            "seed",
            "wall_seconds",
            "weights",
        ];
        assert_eq!(keys(&value), documented);
        assert_eq!(
            keys(&value["wall_seconds"]),
            ["pretrain", "reward", "rl", "total"]
        );
        assert_eq!(
            keys(&value["weights"]),
            ["adoptions", "bytes_per_publish", "bytes_received", "publishes"]
        );
        value.as_object_mut().unwrap().remove("held_out");
        assert_eq!(serde_json::from_value::<Report>(value).unwrap(), report);
        let odd = Report {
            control: true,
            held_out: false,
            ..report
        };
        let value = serde_json::to_value(&odd).unwrap();
        assert_eq!([&value["control"], &value["held_out"]], [true, false]);
        assert_eq!(serde_json::from_value::<Report>(value).unwrap(), odd);
    }

    #[test]
    fn a_round_has_exactly_the_documented_keys() {
        let value = serde_json::to_value(examples::round(0, 0.03)).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut documented = [
            "round",
            "version",
            "reward",
            "reward_test_products",
            "true_ctr",
            "match_rate",
            "kl",
            "entropy",
            "completion_tokens",
            "invalid_rate",
            "distinct_descriptions",
            "product_nats",
            "swap_followed",
            "pairs",
            "no_pairs",
            "staleness_max",
        ];
        documented.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, documented);
        assert!(value["reward"].is_null(), "the start was trained from nothing");
    }
}
