//! What a point of reward costs, as the learner's page has it.

use super::*;
use prometheus_client::encoding::prometheus_text::encode;

/// The page's line of a number; nothing where the page has none.
fn shown(registry: &proto::observe::Registry, name: &str) -> Option<f64> {
    let mut page = String::new();
    encode(&mut page, registry).unwrap();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")))?;
    Some(line.parse().unwrap())
}

#[tokio::test]
async fn a_point_of_reward_costs_what_this_start_has_spent_since_its_first_version() {
    let run = run(|config| config.versions = 8).await;
    let control = Arc::new(run.control);
    let instruments = crate::Instruments::default();
    instruments.watch(&control);
    let mut registry = proto::observe::Registry::default();
    instruments.register(&mut registry);
    let published = |number: u64, reward: f64| {
        let metrics = VersionMetrics {
            version: version(number),
            values: BTreeMap::from([("reward".to_owned(), reward)]),
        };
        control.publish(version(number), weights(&format!("v{number}")), metrics);
    };
    let costs = || {
        ["rollout_images_per_reward", "rollout_compute_seconds_per_reward"].map(|name| shown(&registry, name))
    };
    let measured = &control.measured;
    measured.images.inc_by(240);
    for (sum, seconds) in [
        (&measured.training_seconds, 10.0),
        (&measured.actor_seconds, 20.0),
        (&measured.scoring_seconds, 30.0),
    ] {
        sum.inc_by(seconds);
    }
    // Before a version, with one alone, and where the reward has fallen or is as high as it was, nothing was bought.
    assert_eq!(costs(), [None; 2]);
    for (number, reward) in [(1, 1.5), (2, 1.25), (3, 1.5)] {
        published(number, reward);
        assert_eq!(costs(), [None; 2], "version {number}");
    }
    // Of the first version, not of the one before.
    published(4, 1.75);
    assert_eq!(costs(), [Some(960.0), Some(240.0)]);
    published(5, 2.0);
    assert_eq!(costs(), [Some(480.0), Some(120.0)]);
    measured.images.inc_by(10);
    measured.scoring_seconds.inc_by(1.0);
    assert_eq!(costs(), [Some(500.0), Some(122.0)]);
}
