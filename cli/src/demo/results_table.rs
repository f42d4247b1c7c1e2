//! Several demos side by side in Markdown: a row each, and a mean where all know the truth.

use super::report::{Report, Round, Weights};
use crate::evaluation::MeasuredOn;

const HEAD: [&str; 2] = [
    "| seed | mode | true CTR, test products | gain | match rate | invalid | distinct | swap followed, nats | headroom share | reward model / ceiling | swap consistency | calibration error | weights received | seconds |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
];

/// The table, line by line.
pub(crate) fn results_table(reports: &[Report]) -> Vec<String> {
    let rows = reports.iter().map(row);
    let gains: Option<Vec<f64>> = reports.iter().map(Report::gain).collect();
    let mean = gains.filter(|gains| gains.len() > 1).map(|gains| {
        let mean = gains.iter().sum::<f64>() / gains.len() as f64;
        format!("| mean | | | {:+.1} %{} |", 100.0 * mean, " |".repeat(10))
    });
    HEAD.map(str::to_owned)
        .into_iter()
        .chain(rows)
        .chain(mean)
        .collect()
}

fn row(report: &Report) -> String {
    let (first, last) = (report.rounds.first(), report.rounds.last());
    let both = |of: &dyn Fn(&Round) -> String| {
        let of = |round: Option<&Round>| round.map_or_else(unknown, of);
        format!("{} → {}", of(first), of(last))
    };
    let model = &report.reward_model;
    let cells = [
        report.seed.to_string(),
        format!(
            "{}{}{}",
            report.mode,
            if report.control { ", random labels" } else { "" },
            match report.measured_on() {
                MeasuredOn::TestProducts => String::new(),
                on => format!(", on {}", on.words()),
            }
        ),
        both(&|round| known(round.true_ctr, |ctr| format!("{:.2} %", 100.0 * ctr))),
        known(report.gain(), |gain| format!("{:+.1} %", 100.0 * gain)),
        both(&|round| known(round.match_rate, |rate| format!("{rate:.3}"))),
        both(&|round| format!("{:.1} %", 100.0 * round.invalid_rate)),
        last.map_or_else(unknown, |round| round.distinct_descriptions.to_string()),
        known(last.and_then(|round| round.swap_followed), |share| {
            format!("{:.0} %", 100.0 * share)
        }) + ", "
            + &both(&|round| known(round.product_nats, |nats| format!("{nats:.1}"))),
        known(report.headroom_share, |share| format!("{share:.2}")),
        format!(
            "{:.3} / {:.3} = {:.2}",
            model.pair_accuracy,
            model.label_ceiling,
            model.pair_accuracy / model.label_ceiling
        ),
        format!("{:.3}", model.swap_consistency),
        format!("{:.3}", model.calibration_error),
        received(&report.weights),
        format!("{:.0}", report.wall_seconds.total),
    ];
    format!("| {} |", cells.join(" | "))
}

/// The least and the most adapter payload that an actor received, as a share of all that was published.
fn received(weights: &Weights) -> String {
    let published = (weights.publishes * weights.bytes_per_publish).max(1) as f64;
    let shares = || {
        weights
            .bytes_received
            .values()
            .map(|&bytes| bytes as f64 / published)
    };
    match (shares().reduce(f64::min), shares().reduce(f64::max)) {
        (Some(least), Some(most)) => format!("{least:.3} to {most:.3}"),
        _ => unknown(),
    }
}

fn known(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(unknown, show)
}

fn unknown() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::report::examples::report;
    use super::*;

    #[test]
    fn every_row_has_the_heads_columns_and_several_have_a_mean() {
        let one = report();
        let columns = |line: &String| line.matches('|').count();
        let single = results_table(std::slice::from_ref(&one));
        assert_eq!(single.len(), 3);
        let table = results_table(&[one.clone(), one.clone()]);
        assert_eq!(table.len(), 5);
        assert!(
            table.iter().all(|line| columns(line) == columns(&table[0])),
            "{table:#?}"
        );
        let gain = one.gain().unwrap();
        assert!(
            table[4].contains(&format!("{:+.1} %", 100.0 * gain)),
            "{}",
            table[4]
        );
    }

    #[test]
    fn what_actors_received_is_a_share_of_what_was_published() {
        let weights = Weights {
            bytes_per_publish: 100,
            publishes: 3,
            adoptions: 6,
            bytes_received: [("a".to_owned(), 300), ("b".to_owned(), 200)].into(),
        };
        assert_eq!(received(&weights), "0.667 to 1.000");
        assert_eq!(received(&report().weights), "-");
    }

    #[test]
    fn what_only_a_simulator_knows_is_a_dash_elsewhere() {
        let mut foreign = report();
        foreign.baseline.true_ctr = None;
        foreign.headroom_share = None;
        for round in &mut foreign.rounds {
            (round.true_ctr, round.match_rate) = (None, None);
        }
        foreign.held_out = false;
        let table = results_table(&[foreign.clone(), foreign]);
        assert!(
            table[2].contains("| joint_swap, on its products |"),
            "{}",
            table[2]
        );
        assert_eq!(table.len(), 4);
        assert!(table[2].contains("| - → - | - | - → - |"), "{}", table[2]);
    }
}
