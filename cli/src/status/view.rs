//! What a reading says, and what two of them say about speed.

use common::{ActorId, CanaryVerdict, PolicyVersion, Presence};
use proto::{ActorStatus, RewardServerStatus, RunStatus, VersionFigures};
use serde::Serialize;
use std::collections::BTreeMap;

/// The services' answers at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// The learner's.
    pub(crate) run: RunStatus,
    /// The reward-server's, or why there is none; none when it was not asked.
    pub(crate) reward: Option<Result<RewardServerStatus, String>>,
    /// When, in seconds from any fixed moment.
    pub(crate) at: f64,
}

/// How a run goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct View {
    /// Its id.
    pub(crate) run: String,
    /// The newest version.
    pub(crate) version: String,
    /// How many the run is to publish; none where the learner does not say.
    pub(crate) versions: Option<u64>,
    /// Whether nothing more is to be done.
    pub(crate) complete: bool,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    /// Versions that were published.
    pub(crate) publishes: u64,
    /// Adapter bytes of one publish.
    pub(crate) bytes_per_publish: u64,
    /// Weights that the learner has sent, in bytes.
    pub(crate) artifact_bytes_sent: u64,
    /// Pairs that actors have submitted.
    pub(crate) pairs: u64,
    /// Of these a second; none at the first reading.
    pub(crate) pairs_per_s: Option<f64>,
    /// Pairs that versions were trained from.
    pub(crate) pairs_trained: u64,
    /// Pairs that no version will be trained from.
    pub(crate) pairs_refused: u64,
    /// These by reason.
    pub(crate) pairs_refused_by_reason: BTreeMap<String, u64>,
    /// Tasks that ended without a pair, by reason.
    pub(crate) no_pairs: BTreeMap<String, u64>,
    /// Tasks that failed, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Barred candidates by guardrail.
    pub(crate) barred: BTreeMap<String, u64>,
    /// Leases that expired.
    pub(crate) expired: u64,
    /// Outcomes that came twice.
    pub(crate) duplicates: u64,
    /// Outcomes that were not accepted.
    pub(crate) outcomes_refused: u64,
    /// How many versions the stalest pair of the newest batch lay behind.
    pub(crate) staleness: Option<f64>,
    /// Scored groups by the digest of the reward model.
    pub(crate) reward_models: BTreeMap<String, u64>,
    /// Everybody who has joined.
    pub(crate) actors: Vec<Actor>,
    /// Means over the steps that led to the newest version that has them.
    pub(crate) metrics: BTreeMap<String, f64>,
    /// What an evaluator found of the newest version that it measured, on held-out products or on the run's own where none are held out;
    /// none before one was reported.
    pub(crate) held_out: Option<HeldOut>,
    /// The reward-server, where it was asked.
    pub(crate) reward_server: Option<RewardServer>,
}

/// What an evaluator found of a version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct HeldOut {
    /// The version.
    pub(crate) version: String,
    /// By name.
    pub(crate) values: BTreeMap<String, f64>,
}

/// One actor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Actor {
    /// Its name.
    pub(crate) actor: String,
    /// What it samples from; none before it has adopted any.
    pub(crate) version: Option<String>,
    /// How many versions that is behind the newest of the same epoch.
    pub(crate) behind: Option<u64>,
    /// Versions it has adopted.
    pub(crate) adoptions: u64,
    /// What its canary said: `ok`, `mismatch` or `inconclusive`.
    pub(crate) canary: Option<&'static str>,
    /// Why it gets no leases.
    pub(crate) quarantine: Option<String>,
    /// What keeps it from leasing, in its words.
    pub(crate) waiting_for: Option<String>,
    /// Whether it takes part; none where the learner does not say.
    pub(crate) presence: Option<Presence>,
    /// Seconds since it has called.
    pub(crate) silent_s: f64,
    /// What it has submitted.
    pub(crate) outcomes: u64,
    /// Of these a second; none at the first reading.
    pub(crate) outcomes_per_s: Option<f64>,
}

/// The reward-server, or why it does not answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum RewardServer {
    /// It answers.
    Serving {
        /// The form of its model.
        form: String,
        /// Its model's digest.
        digest: String,
        /// Groups that wait for their scores.
        groups_waiting: u64,
        /// Groups that its model was asked about.
        groups_computed: u64,
        /// Of these a second; none at the first reading.
        groups_per_s: Option<f64>,
        /// Groups whose scores were remembered.
        cache_hits: u64,
        /// Requests that were turned away.
        requests_shed: u64,
        /// Why the newest content of its directory is not served.
        reload_failure: Option<String>,
    },
    /// It does not.
    Away {
        /// Why.
        error: String,
    },
}

impl View {
    /// What `now` says, with rates since `before`.
    pub(crate) fn of(now: &Reading, before: Option<&Reading>) -> Self {
        let run = now.run.clone();
        let outcomes = run.outcomes;
        let metrics = run.metrics.into_iter().next_back();
        let metrics = metrics.map(|metrics| metrics.values).unwrap_or_default();
        let pairs_before = before.map(|before| before.run.outcomes.pairs);
        Self {
            run: run.run.to_string(),
            version: run.version.to_string(),
            versions: run.versions,
            complete: run.complete,
            failure: run.failure,
            publishes: run.publishes,
            bytes_per_publish: run.bytes_per_publish,
            artifact_bytes_sent: run.artifact_bytes_sent,
            pairs: outcomes.pairs,
            pairs_per_s: rate(now, before, outcomes.pairs, pairs_before),
            pairs_trained: run.pairs_trained,
            pairs_refused: run.pairs_refused,
            pairs_refused_by_reason: run.pairs_refused_by_reason,
            no_pairs: outcomes.no_pairs,
            failures: outcomes.failures,
            barred: outcomes.barred,
            expired: outcomes.expired,
            duplicates: outcomes.duplicates,
            outcomes_refused: outcomes.refused,
            staleness: metrics.get("staleness_max").copied(),
            reward_models: outcomes.reward_models,
            actors: actors(run.actors, run.version, now, before),
            metrics,
            held_out: run.held_out.map(|VersionFigures { version, values }| HeldOut {
                version: version.to_string(),
                values,
            }),
            reward_server: now.reward.as_ref().map(|answer| of_server(answer, now, before)),
        }
    }
}

fn actors(
    actors: Vec<ActorStatus>,
    newest: PolicyVersion,
    now: &Reading,
    before: Option<&Reading>,
) -> Vec<Actor> {
    // By name: there may be thousands.
    let then = before.iter().flat_map(|before| &before.run.actors);
    let then: BTreeMap<&ActorId, u64> = then.map(|actor| (&actor.actor, actor.outcomes)).collect();
    let rate = |actor: &ActorStatus| {
        let then = then.get(&actor.actor).copied();
        rate(now, before, actor.outcomes, then)
    };
    let actors = actors.into_iter();
    actors
        .map(|actor| Actor {
            outcomes_per_s: rate(&actor),
            ..of_actor(actor, newest)
        })
        .collect()
}

fn of_actor(actor: ActorStatus, newest: PolicyVersion) -> Actor {
    let same_epoch = actor.version.filter(|version| version.epoch == newest.epoch);
    Actor {
        actor: actor.actor.to_string(),
        version: actor.version.map(|version| version.to_string()),
        behind: same_epoch.and_then(|version| newest.number.checked_sub(version.number)),
        adoptions: actor.adoptions,
        canary: actor.canary.map(|verdict| match verdict {
            CanaryVerdict::Ok => "ok",
            CanaryVerdict::Mismatch => "mismatch",
            CanaryVerdict::Inconclusive => "inconclusive",
        }),
        quarantine: actor.quarantine,
        waiting_for: actor.waiting_for,
        presence: actor.presence,
        silent_s: actor.silent.as_secs_f64(),
        outcomes: actor.outcomes,
        outcomes_per_s: None,
    }
}

fn of_server(
    answer: &Result<RewardServerStatus, String>,
    now: &Reading,
    before: Option<&Reading>,
) -> RewardServer {
    let status = match answer {
        Ok(status) => status,
        Err(error) => return RewardServer::Away { error: error.clone() },
    };
    let then = before.and_then(|before| before.reward.as_ref()?.as_ref().ok());
    let then = then.map(|then| then.groups_computed);
    RewardServer::Serving {
        form: status.model.form.clone(),
        digest: status.model.digest.to_string(),
        groups_waiting: status.groups_waiting,
        groups_computed: status.groups_computed,
        groups_per_s: rate(now, before, status.groups_computed, then),
        cache_hits: status.cache_hits,
        requests_shed: status.requests_shed,
        reload_failure: status.reload_failure.clone(),
    }
}

/// How fast a count grows. One that has fallen belongs to a process that was started again: it has no rate yet.
fn rate(now: &Reading, before: Option<&Reading>, count: u64, then: Option<u64>) -> Option<f64> {
    let seconds = now.at - before?.at;
    let grown = count.checked_sub(then?)?;
    (seconds > 0.0).then(|| grown as f64 / seconds)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proto::pb;
    use serde_json::Value;

    pub(in crate::status) fn reading(at: f64, pairs: u64, outcomes: u64) -> Reading {
        reading_of(at, run_status(pairs, outcomes))
    }

    pub(in crate::status) fn reading_of(at: f64, run: pb::RunStatus) -> Reading {
        Reading {
            run: run.try_into().unwrap(),
            reward: None,
            at,
        }
    }

    /// What a learner says of the run `night` and its actors `a` and `b`.
    pub(in crate::status) fn run_status(pairs: u64, outcomes: u64) -> pb::RunStatus {
        let version = |number| {
            Some(pb::PolicyVersion::from(PolicyVersion {
                epoch: common::LearnerEpoch(1),
                number,
            }))
        };
        let actor = |id: &str, number, outcomes| pb::ActorStatus {
            actor_id: id.into(),
            version: version(number),
            outcomes,
            ..pb::ActorStatus::default()
        };
        let metrics = pb::VersionMetrics {
            version: version(7),
            values: [("loss".to_owned(), 0.5), ("staleness_max".to_owned(), 1.0)].into(),
        };
        pb::RunStatus {
            run_id: "night".into(),
            version: version(7),
            outcomes: Some(pb::OutcomeCounts {
                pairs,
                no_pairs: [("tie".to_owned(), 3)].into(),
                ..pb::OutcomeCounts::default()
            }),
            pairs_trained: 40,
            actors: vec![actor("a", 7, outcomes), actor("b", 5, 0)],
            metrics: vec![metrics],
            ..pb::RunStatus::default()
        }
    }

    #[test]
    fn rates_are_between_two_readings_and_none_from_one() {
        let (first, second) = (reading(10.0, 100, 50), reading(12.0, 130, 60));
        let alone = View::of(&first, None);
        assert_eq!((alone.pairs_per_s, alone.actors[0].outcomes_per_s), (None, None));
        let view = View::of(&second, Some(&first));
        assert_eq!(
            (view.pairs_per_s, view.actors[0].outcomes_per_s),
            (Some(15.0), Some(5.0))
        );
        assert_eq!((view.actors[0].behind, view.actors[1].behind), (Some(0), Some(2)));
        assert_eq!(view.staleness, Some(1.0));
    }

    #[test]
    fn a_count_that_has_fallen_has_no_rate() {
        let view = View::of(&reading(12.0, 20, 5), Some(&reading(10.0, 100, 50)));
        assert_eq!((view.pairs_per_s, view.actors[0].outcomes_per_s), (None, None));
    }

    #[test]
    fn a_reward_server_that_is_away_is_said_beside_the_run() {
        let mut away = reading(1.0, 1, 1);
        away.reward = Some(Err("nothing listens there".into()));
        let view = serde_json::to_value(View::of(&away, None)).unwrap();
        assert_eq!(view["reward_server"]["error"], "nothing listens there");
        assert_eq!(view["actors"][1]["behind"], 2);
        assert_eq!(
            view["actors"][1]["presence"],
            Value::Null,
            "an earlier learner does not say"
        );
    }
}
