//! A view as lines of text: the whole as a table, or one line where a reading is one.

use super::actors::{self, taking_part};
use super::view::{HeldOut, RewardServer, View};
use proto::one_line;
use std::collections::BTreeMap;

/// Width of the names of rows.
const NAME: usize = 15;

/// The whole view.
pub(crate) fn table(view: &View) -> Vec<String> {
    let versions = view
        .versions
        .map_or_else(String::new, |versions| format!(" of {versions}"));
    let mut lines = vec![format!(
        "run {}, version {}{versions}: {}",
        view.run,
        view.version,
        state(view)
    )];
    let mut row = |name: &str, text: String| lines.push(format!("{name:<NAME$}{text}"));
    row("pairs", pairs(view));
    row(
        "without a pair",
        format!("{}, failed {}", counts(&view.no_pairs), counts(&view.failures)),
    );
    if !view.barred.is_empty() {
        row("barred", counts(&view.barred));
    }
    let (expired, duplicates, refused) = (view.expired, view.duplicates, view.outcomes_refused);
    row(
        "leases",
        format!("{expired} expired; outcomes: {duplicates} duplicate, {refused} refused"),
    );
    let (each, sent) = (bytes(view.bytes_per_publish), bytes(view.artifact_bytes_sent));
    row(
        "publishes",
        format!("{}, {each} each, {sent} sent", view.publishes),
    );
    let staleness = view.staleness.map_or("-".into(), |versions| {
        format!("at most {versions} versions in the newest batch")
    });
    row("staleness", staleness);
    row("reward models", counts(&view.reward_models));
    if let Some(HeldOut { version, values }) = &view.held_out {
        let values = values
            .iter()
            .map(|(name, value)| format!("{name} {}", short(*value)));
        let values: Vec<String> = values.collect();
        row("evaluated", format!("{version}: {}", values.join(", ")));
    }
    if let Some(server) = &view.reward_server {
        row("reward-server", self::server(server));
    }
    lines.extend(actors::rows(view));
    lines.extend(metrics(view));
    lines.iter().map(|line| one_line(line)).collect()
}

/// One reading as one line.
pub(crate) fn line(view: &View) -> String {
    let quarantined = view
        .actors
        .iter()
        .filter(|actor| actor.quarantine.is_some())
        .count();
    let of = |name: &str| view.metrics.get(name).map_or("-".into(), |value| short(*value));
    one_line(&format!(
        "{} version {} {} pairs {} ({}/s) trained {} refused {} actors {} quarantined {quarantined} loss {} reward {}",
        view.run,
        view.version,
        state(view),
        view.pairs,
        speed(view.pairs_per_s),
        view.pairs_trained,
        view.pairs_refused,
        taking_part(view),
        of("loss"),
        of("reward"),
    ))
}

fn state(view: &View) -> String {
    match (&view.failure, view.complete) {
        (Some(failure), _) => format!("failed: {failure}"),
        (None, true) => "complete".into(),
        (None, false) => "running".into(),
    }
}

fn pairs(view: &View) -> String {
    let refused = match view.pairs_refused_by_reason.is_empty() {
        true => view.pairs_refused.to_string(),
        false => counts(&view.pairs_refused_by_reason),
    };
    let (pairs, per_second, trained) = (view.pairs, speed(view.pairs_per_s), view.pairs_trained);
    format!("{pairs} submitted ({per_second}/s), {trained} trained, refused {refused}")
}

fn server(server: &RewardServer) -> String {
    match server {
        RewardServer::Away { error } => error.clone(),
        RewardServer::Serving {
            form,
            digest,
            groups_waiting,
            groups_computed,
            groups_per_s,
            cache_hits,
            requests_shed,
            reload_failure,
        } => {
            let failure = reload_failure
                .as_ref()
                .map(|failure| format!("; not reloaded: {failure}"));
            format!(
                "{form} {}, {groups_computed} groups ({}/s), {groups_waiting} waiting, {cache_hits} remembered, {requests_shed} requests turned away{}",
                cut(digest, 15),
                speed(*groups_per_s),
                failure.unwrap_or_default()
            )
        }
    }
}

fn metrics(view: &View) -> Vec<String> {
    if view.metrics.is_empty() {
        return vec![];
    }
    let mut lines = vec![
        String::new(),
        "metrics of the newest version (docs/metrics.md)".to_owned(),
    ];
    let cells: Vec<String> = view
        .metrics
        .iter()
        .map(|(name, value)| format!("{name:<28} {:>10}", short(*value)))
        .collect();
    lines.extend(cells.chunks(2).map(|pair| pair.join("   ")));
    lines
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    // Such counts have a sum: `RunStatus` is taken in with none else.
    let all: u64 = counts.values().sum();
    let each: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{} {count}", told_apart(name)))
        .collect();
    match each.is_empty() {
        true => "0".into(),
        false => format!("{all} ({})", each.join(", ")),
    }
}

pub(super) fn speed(per_second: Option<f64>) -> String {
    per_second.map_or("-".into(), |rate| format!("{rate:.1}"))
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && !(1e-3..1e6).contains(&size) => format!("{value:.3e}"),
        _ => format!("{value:.4}"),
    }
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// A reason as it is, and of a digest as much as tells two apart.
fn told_apart(name: &str) -> String {
    cut(name, if name.contains(':') { 15 } else { 32 })
}

fn cut(text: &str, width: usize) -> String {
    match text.chars().count() > width {
        true => text.chars().take(width).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{reading, reading_of, run_status};
    use super::*;
    use proto::pb;

    #[test]
    fn an_actor_says_what_keeps_it_and_a_run_what_failed() {
        let mut now = run_status(130, 60);
        now.actors[0].quarantine = "canary mismatch".into();
        now.actors[1].waiting_for = "the reward-server".into();
        now.failure = "no pairs".into();
        now.versions = 12;
        let outcomes = now.outcomes.get_or_insert_default();
        outcomes.failures.insert("reward_unavailable".into(), 2);
        outcomes
            .reward_models
            .insert(format!("blake3:{}", "7c".repeat(32)), 5);
        now.held_out = Some(pb::VersionMetrics {
            version: now.version,
            values: [("reward".into(), 0.25)].into(),
        });
        let view = View::of(&reading_of(2.0, now), Some(&reading(0.0, 100, 50)));
        let text = table(&view).join("\n");
        for part in [
            "run night, version v1.7 of 12: failed: no pairs",
            "130 submitted (15.0/s), 40 trained, refused 0",
            "canary mismatch",
            "for the reward-server",
            "3 (tie 3)",
            "2 (reward_unavailable 2)",
            "5 (blake3:7c7c7c7c 5)",
            "evaluated      v1.7: reward 0.25",
            "loss",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_reading_is_one_line_where_nobody_looks() {
        let view = View::of(&reading(2.0, 130, 60), None);
        let line = line(&view);
        assert!(
            line.starts_with("night version v1.7 running pairs 130 (-/s) trained 40"),
            "{line}"
        );
        assert!(!line.contains('\n'));
    }

    #[test]
    fn nothing_that_a_role_says_orders_a_terminal_about_or_breaks_a_line() {
        let orders = "\u{1b}[2J\u{9b}31m\n\u{202e}the reward-server";
        let mut now = run_status(130, 60);
        now.actors[0].quarantine = orders.into();
        now.actors[1].waiting_for = orders.into();
        now.failure = orders.into();
        let serving = pb::RewardServerStatus {
            reward_model: Some(pb::RewardModel {
                digest: Some(common::Digest::from_bytes([4; 32]).into()),
                form: orders.into(),
                ..Default::default()
            }),
            reload_failure: orders.into(),
            ..Default::default()
        };
        let mut now = reading_of(2.0, now);
        now.reward = Some(Ok(serving.try_into().unwrap()));
        let view = View::of(&now, None);
        let json = serde_json::to_string(&view).unwrap();
        let lines = [table(&view), vec![line(&view), json]].concat();
        let is_order = |c: char| c.is_control() || c == '\u{202e}';
        assert!(lines.iter().all(|line| !line.contains(is_order)), "{lines:#?}");
        let said = |line: &&String| line.contains(" [2J 31m  the reward-server");
        assert_eq!(lines.iter().filter(said).count(), 6, "{lines:#?}");
    }

    #[test]
    fn the_largest_status_that_is_taken_in_is_shown() {
        let most = u64::MAX;
        let version = Some(pb::PolicyVersion {
            epoch: most,
            number: most,
        });
        let named = |values: [f64; 2]| ["loss", "reward"].map(str::to_owned).into_iter().zip(values);
        let actor = |number| pb::ActorStatus {
            actor_id: format!("{number:x>128}"),
            version,
            adoptions: most,
            outcomes: most,
            waiting_for: "x".repeat(1 << 10),
            ..Default::default()
        };
        let counts = || std::collections::BTreeMap::from([("tie".to_owned(), most)]);
        let run = pb::RunStatus {
            run_id: "night".into(),
            version,
            outcomes: Some(pb::OutcomeCounts {
                pairs: most,
                no_pairs: counts(),
                failures: counts(),
                expired: most,
                duplicates: most,
                refused: most,
                reward_models: counts(),
                barred: counts(),
            }),
            pairs_trained: most,
            pairs_refused: most,
            pairs_refused_by_reason: counts(),
            publishes: most,
            bytes_per_publish: most,
            artifact_bytes_sent: most,
            actors: (0..proto::MAX_ACTORS).map(actor).collect(),
            metrics: vec![pb::VersionMetrics {
                version,
                values: named([f64::MAX, f64::MIN_POSITIVE]).collect(),
            }],
            ..Default::default()
        };
        let (before, now) = (reading(0.0, 0, 0), reading_of(f64::MIN_POSITIVE, run));
        let view = View::of(&now, Some(&before));
        assert!(table(&view).len() > proto::MAX_ACTORS && line(&view).len() < 1000);
        assert!(serde_json::to_string(&view).is_ok());
    }
}
