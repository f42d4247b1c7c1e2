//! What learning has to come to, as docs/results.md says: each seed's report is judged, alone or beside that of the same start trained
//! in the default way. Only the simulated shop knows whether a goal is reached.

use super::report::Report;
use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum;
use learner::LossMode;
use std::collections::BTreeSet;

/// A goal, by the kind of demo that it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// True CTR up by 30 % or more, match rate not below its start, at most 15 % invalid
    Default,
    /// True CTR up by 15 % or more, match rate at most 0.05 below its start
    Quick,
    /// --mode dpo against the default: the default's match rate is higher by 0.10 or more, and its true CTR not lower
    Dpo,
    /// --control against the default: at most half its gain
    Control,
}

/// Whether enough seeds reach a goal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) reached: bool,
    /// For people, on one line.
    pub(crate) told: String,
}

/// What of a run a goal is about.
#[derive(Debug, Clone, Copy)]
struct Learned {
    gain: f64,
    true_ctr: f64,
    match_rates: [f64; 2],
    invalid: f64,
}

impl Learned {
    fn of(report: &Report) -> anyhow::Result<Self> {
        let learned = || {
            Some(Self {
                gain: report.gain()?,
                true_ctr: report.last.true_ctr?,
                match_rates: [report.baseline.match_rate?, report.last.match_rate?],
                invalid: report.rounds.last()?.invalid_rate,
            })
        };
        let without = || {
            format!(
                "the demo of seed {} has no truth to be judged by: expected the simulated shop's",
                report.seed
            )
        };
        learned().with_context(without)
    }

    fn told(&self) -> String {
        let [start, end] = self.match_rates;
        let (gain, invalid) = (100.0 * self.gain, 100.0 * self.invalid);
        format!("gain {gain:+.1} %, match rate {start:.3} → {end:.3}, {invalid:.1} % invalid")
    }
}

impl Goal {
    /// Judges `reports`, those of a mode or of the control against the default's of the same seeds.
    ///
    /// # Errors
    /// When a report cannot be judged: it is of another kind of demo, of a seed that another one has, or without truth.
    pub(crate) fn judge(self, reports: &[Report], against: &[Report]) -> anyhow::Result<Verdict> {
        self.check(reports, against)?;
        let mut short = vec![];
        for report in reports {
            let learned = Learned::of(report)?;
            let (reached, beside) = match self {
                Self::Default => (is_default(&learned), None),
                Self::Quick => (is_quick(&learned), None),
                Self::Dpo | Self::Control => {
                    let of_seed = against.iter().find(|default| default.seed == report.seed);
                    let Some(default) = of_seed else {
                        bail!(
                            "seed {} is not among the demos --against which it is judged",
                            report.seed
                        );
                    };
                    let default = Learned::of(default)?;
                    (self.is_reached_beside(&learned, &default), Some(default))
                }
            };
            if !reached {
                let beside = beside.map(|default| format!("; default: {}", default.told()));
                short.push(format!(
                    "seed {}: {}{}",
                    report.seed,
                    learned.told(),
                    beside.unwrap_or_default()
                ));
            }
        }
        let (all, missed) = (reports.len(), short.len());
        let wanted = self.wanted_of(all);
        let mut told = format!("reached on {} of {all}, wanted {wanted}", all - missed);
        if missed > 0 {
            told = format!("{told}; not on {}", short.join(", nor on "));
        }
        Ok(Verdict {
            reached: all - missed >= wanted,
            told,
        })
    }

    /// Refuses demos that it does not judge, and seeds that would count twice.
    fn check(self, reports: &[Report], against: &[Report]) -> anyhow::Result<()> {
        let name = self.to_possible_value();
        let flag = format!("--goal {}", name.as_ref().map_or("", |name| name.get_name()));
        ensure!(
            against.is_empty() || matches!(self, Self::Dpo | Self::Control),
            "{flag} judges demos alone: leave out --against"
        );
        for (flag, demos, goal) in [
            (flag.as_str(), reports, self),
            ("--against", against, Self::Default),
        ] {
            let mut seeds = BTreeSet::new();
            for Report {
                seed, mode, control, ..
            } in demos
            {
                let found = (mode == LossMode::Dpo.as_str(), *control);
                let labels = if *control {
                    "random labels"
                } else {
                    "labels by reward"
                };
                ensure!(
                    goal.is_for(found),
                    "the demo of seed {seed} is of mode {mode} with {labels}: {flag} expects one {}",
                    goal.kind()
                );
                ensure!(
                    seeds.insert(seed),
                    "seed {seed} is given twice: {flag} expects each once"
                );
            }
        }
        Ok(())
    }

    /// Whether it judges demos of mode dpo, or not, with random labels, or not.
    fn is_for(self, (dpo, control): (bool, bool)) -> bool {
        match self {
            Self::Default | Self::Quick => !dpo && !control,
            Self::Dpo => dpo && !control,
            Self::Control => control,
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Default | Self::Quick => "without --mode dpo and without --control",
            Self::Dpo => "with --mode dpo, without --control",
            Self::Control => "with --control",
        }
    }

    /// On how many of so many seeds: seven of eight, the control on each.
    fn wanted_of(self, seeds: usize) -> usize {
        match self {
            Self::Control => seeds,
            _ => seeds - seeds / 8,
        }
    }

    fn is_reached_beside(self, learned: &Learned, default: &Learned) -> bool {
        let gap = default.match_rates[1] - learned.match_rates[1];
        match self {
            Self::Control => learned.gain <= default.gain / 2.0,
            _ => gap >= 0.10 && default.true_ctr >= learned.true_ctr,
        }
    }
}

fn is_default(learned: &Learned) -> bool {
    let [start, end] = learned.match_rates;
    learned.gain >= 0.30 && end >= start && learned.invalid <= 0.15
}

fn is_quick(learned: &Learned) -> bool {
    let [start, end] = learned.match_rates;
    learned.gain >= 0.15 && end >= start - 0.05
}

#[cfg(test)]
mod tests {
    use super::super::report::{Quality, examples::report};
    use super::*;

    /// From 3 % of true CTR and a match rate of 0.75.
    fn ended(seed: u64, true_ctr: f64, match_rate: f64, invalid_rate: f64) -> Report {
        let quality = |true_ctr, match_rate| Quality {
            true_ctr: Some(true_ctr),
            match_rate: Some(match_rate),
        };
        let mut report = Report {
            seed,
            baseline: quality(0.03, 0.75),
            last: quality(true_ctr, match_rate),
            ..report()
        };
        report.rounds.last_mut().unwrap().invalid_rate = invalid_rate;
        report
    }

    /// The same of the kind of demo that a goal is for.
    fn of(goal: Goal, report: Report) -> Report {
        let mode = match goal {
            Goal::Dpo => "dpo".into(),
            _ => report.mode.clone(),
        };
        Report {
            mode,
            control: goal == Goal::Control,
            ..report
        }
    }

    fn is_reached(goal: Goal, end: (f64, f64, f64), default: &[Report]) -> bool {
        let (true_ctr, match_rate, invalid) = end;
        let default = match goal {
            Goal::Dpo | Goal::Control => default,
            Goal::Default | Goal::Quick => &[],
        };
        let judged = goal.judge(&[of(goal, ended(1, true_ctr, match_rate, invalid))], default);
        judged.unwrap().reached
    }

    #[test]
    fn a_goal_is_reached_when_all_of_it_is() {
        let default = [ended(1, 0.0420, 0.90, 0.01)];
        for (goal, reached, short) in [
            (
                Goal::Default,
                (0.0395, 0.75, 0.15),
                vec![(0.0385, 0.9, 0.0), (0.04, 0.74, 0.0), (0.04, 0.9, 0.16)],
            ),
            (
                Goal::Quick,
                (0.0350, 0.71, 0.5),
                vec![(0.0340, 0.9, 0.0), (0.04, 0.69, 0.0)],
            ),
            (
                Goal::Dpo,
                (0.0420, 0.79, 0.0),
                vec![(0.0421, 0.5, 0.0), (0.04, 0.81, 0.0)],
            ),
            (Goal::Control, (0.0359, 0.9, 0.0), vec![(0.0361, 0.9, 0.0)]),
        ] {
            assert!(is_reached(goal, reached, &default), "{goal:?}");
            for end in short {
                assert!(!is_reached(goal, end, &default), "{goal:?}: {end:?}");
            }
        }
    }

    #[test]
    fn one_of_eight_seeds_may_fall_short_and_is_named() {
        let mut reports: Vec<Report> = (0..8).map(|seed| ended(seed, 0.04, 0.9, 0.0)).collect();
        reports[3] = ended(3, 0.03, 0.9, 0.0);
        let verdict = Goal::Default.judge(&reports, &[]).unwrap();
        assert!(verdict.reached);
        assert_eq!(
            verdict.told,
            "reached on 7 of 8, wanted 7; not on seed 3: gain +0.0 %, match rate 0.750 → 0.900, 0.0 % invalid"
        );
        assert!(!Goal::Default.judge(&reports[1..], &[]).unwrap().reached);
        reports[4] = ended(4, 0.03, 0.9, 0.0);
        assert!(!Goal::Default.judge(&reports, &[]).unwrap().reached);
    }

    #[test]
    fn what_cannot_be_judged_is_no_failure_to_learn() {
        let dpo = of(Goal::Dpo, ended(1, 0.04, 0.9, 0.0));
        let alone = Goal::Dpo.judge(&[dpo], &[ended(2, 0.04, 0.9, 0.0)]);
        assert!(alone.unwrap_err().to_string().contains("seed 1"));
        let mut own = ended(7, 0.04, 0.9, 0.0);
        own.last.true_ctr = None;
        assert!(
            Goal::Default
                .judge(&[own], &[])
                .unwrap_err()
                .to_string()
                .contains("seed 7")
        );
    }
    fn refused(goal: Goal, reports: &[Report], against: &[Report]) -> String {
        goal.judge(reports, against).unwrap_err().to_string()
    }

    #[test]
    fn only_demos_of_the_goals_own_kind_are_judged() {
        let plain = || ended(1, 0.04, 0.9, 0.0);
        let (dpo, control) = (of(Goal::Dpo, plain()), of(Goal::Control, plain()));
        let both = Report {
            control: true,
            ..dpo.clone()
        };
        for (goal, others) in [
            (Goal::Default, [&dpo, &control, &both].as_slice()),
            (Goal::Quick, &[&dpo, &control, &both]),
            (Goal::Dpo, &[&plain(), &control, &both]),
            (Goal::Control, &[&plain(), &dpo]),
        ] {
            for &other in others {
                let told = refused(goal, std::slice::from_ref(other), &[]);
                assert!(
                    told.contains("seed 1") && told.contains("--goal") && told.contains(goal.kind()),
                    "{told}"
                );
            }
        }
        for other in [&dpo, &control, &both] {
            let told = refused(
                Goal::Control,
                std::slice::from_ref(&control),
                std::slice::from_ref(other),
            );
            assert!(told.contains("--against expects one without"), "{told}");
        }
        assert!(Goal::Control.judge(&[both], &[plain()]).is_ok());
    }

    #[test]
    fn a_seed_counts_once_and_nothing_is_compared_in_vain() {
        let plain = || ended(3, 0.04, 0.9, 0.0);
        let told = refused(Goal::Default, &[plain(), plain()], &[]);
        assert!(told.contains("seed 3 is given twice"), "{told}");
        let control = of(Goal::Control, plain());
        let told = refused(Goal::Control, &[control], &[plain(), plain()]);
        assert!(told.contains("seed 3 is given twice: --against"), "{told}");
        for goal in [Goal::Default, Goal::Quick] {
            let told = refused(goal, &[plain()], &[plain()]);
            assert!(told.contains("leave out --against"), "{told}");
        }
    }
}
