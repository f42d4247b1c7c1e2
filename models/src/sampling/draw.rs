//! Choosing one token from the logits of one position, on the host.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::SamplingParams;

/// A token and its log-probability under the untouched distribution (temperature 1, nothing cut off).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drawn {
    pub(super) token: u32,
    pub(super) log_prob: f32,
}

/// Draws from `softmax(logits / temperature)` cut to the nucleus, or takes the largest logit (the first of equals) at
/// temperature 0, which uses no random number. `None` when a logit is NaN or none is finite.
pub(super) fn draw(logits: &[f32], params: &SamplingParams, rng: &mut ChaCha8Rng) -> Option<Drawn> {
    if logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    let best = (0..logits.len()).reduce(|best, id| if logits[id] > logits[best] { id } else { best })?;
    let max = logits[best];
    if !max.is_finite() {
        return None;
    }
    let weights: Vec<f32> = logits.iter().map(|logit| (logit - max).exp()).collect();
    let log_normalizer = total(&weights).ln() as f32;
    let token = if params.temperature == 0.0 {
        best
    } else if params.temperature == 1.0 {
        pick(&weights, params.top_p, rng)
    } else {
        let heat = params.temperature as f32;
        let weights: Vec<f32> = logits.iter().map(|logit| ((logit - max) / heat).exp()).collect();
        pick(&weights, params.top_p, rng)
    };
    Some(Drawn {
        token: token as u32,
        log_prob: logits[token] - max - log_normalizer,
    })
}

fn total(weights: &[f32]) -> f64 {
    weights.iter().map(|&weight| f64::from(weight)).sum()
}

fn pick(weights: &[f32], top_p: f64, rng: &mut ChaCha8Rng) -> usize {
    if top_p >= 1.0 {
        return walk(weights.iter().copied().enumerate(), total(weights), rng);
    }
    let nucleus = nucleus(weights, top_p);
    let mass = nucleus.iter().map(|&(_, weight)| f64::from(weight)).sum();
    walk(nucleus.into_iter(), mass, rng)
}

/// The fewest tokens, largest first (the lower id of equals), whose share is at least `top_p`; always one.
fn nucleus(weights: &[f32], top_p: f64) -> Vec<(usize, f32)> {
    let mut order: Vec<(usize, f32)> = weights.iter().copied().enumerate().collect();
    order.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let enough = top_p * total(weights);
    let mut mass = 0.0;
    let kept = order.iter().take_while(|(_, weight)| {
        let wanted = mass < enough;
        mass += f64::from(*weight);
        wanted
    });
    let kept = kept.count().max(1);
    order.truncate(kept);
    order
}

/// The token at a uniform point of the stacked weights.
fn walk(weights: impl Iterator<Item = (usize, f32)>, mass: f64, rng: &mut ChaCha8Rng) -> usize {
    let mut left = rng.random::<f64>() * mass;
    let mut last = 0;
    for (id, weight) in weights.filter(|(_, weight)| *weight > 0.0) {
        last = id;
        left -= f64::from(weight);
        if left < 0.0 {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn params(temperature: f64, top_p: f64) -> SamplingParams {
        SamplingParams {
            temperature,
            top_p,
            max_new_tokens: 1,
        }
    }

    fn shares(logits: &[f32], params: SamplingParams) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut shares = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            shares[draw(logits, &params, &mut rng).unwrap().token as usize] += 1.0 / 20_000.0;
        }
        shares
    }

    #[test]
    fn tokens_come_as_often_as_their_probability_says() {
        let logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
        for (share, expected) in shares(&logits, params(1.0, 1.0)).iter().zip([0.1, 0.6, 0.3]) {
            assert!((share - expected).abs() < 0.02, "{share} {expected}");
        }
        // Temperature 1/2 squares: 1 : 36 : 9.
        for (share, expected) in shares(&logits, params(0.5, 1.0)).iter().zip([1.0, 36.0, 9.0]) {
            assert!((share - expected / 46.0).abs() < 0.02, "{share} {expected}");
        }
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_reach_top_p() {
        let logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
        let shares = shares(&logits, params(1.0, 0.7));
        assert_eq!(shares[0], 0.0);
        assert!((shares[1] - 2.0 / 3.0).abs() < 0.02);
        assert_eq!(nucleus(&[0.1, 0.6, 0.3], 1e-9).len(), 1);
        assert_eq!(nucleus(&[0.5, 0.5], 0.4), [(0, 0.5)]);
    }

    #[test]
    fn log_probs_are_of_the_untouched_distribution_whatever_the_settings() {
        let logits = [1.0f32, 3.0, 2.0];
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        for settings in [
            params(0.0, 1.0),
            params(0.3, 1.0),
            params(1.0, 0.5),
            params(2.0, 0.9),
        ] {
            let drawn = draw(&logits, &settings, &mut ChaCha8Rng::seed_from_u64(3)).unwrap();
            let expected = logits[drawn.token as usize] - sum.ln();
            assert!((drawn.log_prob - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest_and_no_random_number() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        assert_eq!(
            draw(&[0.0, 2.0, 2.0], &params(0.0, 1.0), &mut rng).unwrap().token,
            1
        );
        assert_eq!(rng.random::<u64>(), ChaCha8Rng::seed_from_u64(5).random::<u64>());
    }

    #[test]
    fn broken_logits_are_noticed() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for logits in [
            vec![f32::NAN, 1.0],
            vec![1.0, f32::NAN],
            vec![f32::NEG_INFINITY; 2],
            vec![f32::INFINITY],
            vec![],
        ] {
            assert_eq!(draw(&logits, &params(1.0, 1.0), &mut rng), None, "{logits:?}");
        }
    }
}
