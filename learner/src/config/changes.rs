//! Which settings a run may go on with changed.

use super::LearnerConfig;
use models::optimizer::Schedule;
use serde_json::Value;
use std::collections::BTreeMap;

/// They decide when, where and how fast things are done, not what is learned from what.
pub(crate) const FREE: [&str; 28] = [
    "activation_checkpointing",
    "checkpoint_every",
    "drain_ms",
    "evaluation_linger_ms",
    "feature_cache_bytes",
    "keep_checkpoints",
    "keep_images_days",
    "keep_versions",
    "lease_grace_ms",
    "lease_ttl_ms",
    "ledger_flush_ms",
    "linger_ms",
    "max_attempts",
    "max_connections",
    "max_staleness",
    "max_tasks_per_pair",
    "memory_bytes",
    "retired_pairs",
    "retry_after_ms",
    "reward_model",
    "relay_branches",
    "optimizer.total_steps",
    "scaling.cold_start_s",
    "scaling.horizon_s",
    "scaling.hysteresis",
    "scaling.max_actors",
    "scaling.min_actors",
    "versions",
];

/// What of `now` a run that was begun with `begun` cannot go on with: each key with both values.
pub(crate) fn fixed_changes(begun: &LearnerConfig, now: &LearnerConfig) -> Vec<String> {
    // What was begun has been written down and read, which may cost a number its last bit.
    let (before, after) = (flat(begun), flat(&written_and_read(now)));
    let keys = before
        .keys()
        .chain(after.keys().filter(|key| !before.contains_key(*key)));
    let changed = keys.filter(|key| before.get(*key) != after.get(*key));
    // The length of a cosine is that of the run: another one would bend what has been walked already.
    let bends = now.optimizer.schedule == Schedule::Cosine && begun.optimizer() != now.optimizer();
    let is_free =
        |key: &str| FREE.contains(&key) && !(bends && matches!(key, "versions" | "optimizer.total_steps"));
    let shown = |values: &BTreeMap<String, Value>, key: &str| {
        values
            .get(key)
            .map_or_else(|| "absent".to_owned(), Value::to_string)
    };
    let told = |key: &String| {
        let why = if FREE.contains(&key.as_str()) {
            ", the length of its cosine"
        } else {
            ""
        };
        let (begun, now) = (shown(&before, key), shown(&after, key));
        format!("learner.{key} = {now}: the run was begun with {begun}{why}")
    };
    changed.filter(|key| !is_free(key)).map(told).collect()
}

fn written_and_read(config: &LearnerConfig) -> LearnerConfig {
    let text = serde_json::to_vec(config).expect("plain values have a JSON form");
    serde_json::from_slice(&text).expect("what was written can be read")
}

/// Every setting by its key.
fn flat(config: &LearnerConfig) -> BTreeMap<String, Value> {
    fn enter(key: &str, value: Value, into: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(table) => table.into_iter().for_each(|(name, value)| {
                let key = if key.is_empty() {
                    name
                } else {
                    format!("{key}.{name}")
                };
                enter(&key, value, into);
            }),
            value => drop(into.insert(key.to_owned(), value)),
        }
    }
    let mut settings = BTreeMap::new();
    let value = serde_json::to_value(config).expect("plain values have a JSON form");
    enter("", value, &mut settings);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(change: impl FnOnce(&mut LearnerConfig)) -> Vec<String> {
        let begun = LearnerConfig::default();
        let mut now = begun.clone();
        change(&mut now);
        fixed_changes(&begun, &now)
    }

    #[test]
    fn what_decides_when_and_where_may_change_and_what_is_learned_may_not() {
        assert!(changes(|_| ()).is_empty());
        assert!(changes(|config| (config.lease_ttl_ms, config.max_staleness) = (9, 3)).is_empty());
        let refused = changes(|config| (config.passes, config.loss.beta) = (7, 0.25));
        assert_eq!(
            refused,
            [
                "learner.loss.beta = 0.25: the run was begun with 1.0",
                "learner.passes = 7: the run was begun with 2"
            ]
        );
    }

    #[test]
    fn no_number_changes_by_being_written_down() {
        for rate in [0.1 + 0.2, 1.0 / 3.0, 7.038_531e-26, 8.41e21, f64::MIN_POSITIVE] {
            let mut config = LearnerConfig::default();
            config.optimizer.learning_rate = rate;
            assert!(
                fixed_changes(&written_and_read(&config), &config).is_empty(),
                "{rate}"
            );
        }
    }

    #[test]
    fn a_run_may_be_made_longer_unless_that_bends_its_cosine() {
        let refused = changes(|config| config.versions = 40);
        assert_eq!(
            refused,
            ["learner.versions = 40: the run was begun with 28, the length of its cosine"]
        );
        let mut begun = LearnerConfig::default();
        begun.optimizer.schedule = Schedule::Constant;
        let longer = LearnerConfig {
            versions: 40,
            ..begun.clone()
        };
        assert!(fixed_changes(&begun, &longer).is_empty());
    }

    #[test]
    fn every_free_setting_is_one() {
        let settings = flat(&LearnerConfig::default());
        for key in FREE {
            assert!(settings.contains_key(key), "{key}");
        }
    }
}
