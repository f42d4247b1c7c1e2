//! Settings of an adapter and of its optimizer, which every training has: of a run, of a file of pairs, of stage A.

use common::SettingsCheck;
use models::lora::LoraConfig;
use models::optimizer::{AdamWConfig, Schedule};

/// Checks the settings of an adapter.
pub(crate) fn check_lora(lora: &LoraConfig, check: &mut SettingsCheck) {
    for (field, value, wanted) in lora.mistakes() {
        check.require(false, &format!("lora.{field}"), format_args!("{value}"), wanted);
    }
}

/// The settings for a run of `steps` steps. A length that is not set becomes that of the run, and the warm-up then takes
/// at most half of it, so that a short run needs no other settings.
pub(crate) fn for_run_of(steps: u64, optimizer: &AdamWConfig) -> AdamWConfig {
    // A run without steps is refused for that alone.
    let steps = steps.max(1);
    if optimizer.total_steps > 0 {
        return optimizer.clone();
    }
    let warmup_steps = optimizer.warmup_steps.min(steps / 2);
    AdamWConfig {
        total_steps: steps,
        warmup_steps,
        ..optimizer.clone()
    }
}

/// Says in the log when [`for_run_of`] made `asked` shorter.
pub(crate) fn tell_of_cut_warmup(asked: &AdamWConfig, used: &AdamWConfig) {
    if used.warmup_steps < asked.warmup_steps {
        tracing::warn!(
            warmup_steps = asked.warmup_steps,
            used = used.warmup_steps,
            total_steps = used.total_steps,
            "the warm-up was cut to half of the training's steps"
        );
    }
}

/// Checks an optimizer's settings as `given`, and that its schedule, once `filled` in, has room for the warm-up.
pub(crate) fn check_optimizer(given: &AdamWConfig, filled: &AdamWConfig, check: &mut SettingsCheck) {
    let numbers = [
        ("optimizer.learning_rate", given.learning_rate, 0.0..=1.0),
        // Single precision keeps these apart from 1, and an epsilon of this size apart from 0.
        ("optimizer.beta_1", given.beta_1, 0.0..=0.99999),
        ("optimizer.beta_2", given.beta_2, 0.0..=0.99999),
        ("optimizer.epsilon", given.epsilon, 1e-20..=1.0),
        ("optimizer.weight_decay", given.weight_decay, 0.0..=100.0),
    ];
    for (key, value, range) in numbers {
        check.within(key, value, range, "");
    }
    for (key, value) in [
        ("optimizer.warmup_steps", given.warmup_steps),
        ("optimizer.total_steps", given.total_steps),
    ] {
        check.within(key, value, 0..=1_000_000_000, "steps");
    }
    let in_time = filled.schedule == Schedule::Constant || filled.total_steps > filled.warmup_steps;
    check.require(
        in_time || filled.total_steps == 0,
        "optimizer.total_steps",
        given.total_steps,
        "more than warmup_steps: a cosine falls after the warm-up",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LearnerConfig;

    #[test]
    fn a_short_run_warms_up_for_at_most_half_of_its_steps() {
        let asked = LearnerConfig::default().optimizer;
        let used = for_run_of(40, &asked);
        assert_eq!(
            (asked.warmup_steps, used.warmup_steps, used.total_steps),
            (64, 20, 40)
        );
        assert_eq!(for_run_of(320, &asked).warmup_steps, 64);
    }
}
