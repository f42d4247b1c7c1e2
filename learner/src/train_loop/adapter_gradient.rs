//! The gradient of an adapter on the host, factor by factor under names that a failure can tell.

use crate::config::LossMode;
use burn::module::ParamId;
use burn::optim::GradientsParams;
use models::linear::Linear;
use models::llama::LlamaDecoderLayer;
use models::llava::Llava;
use models::lora::LoraBranch;
use std::collections::BTreeMap;

/// Gradients by the name of a factor.
pub(super) type Gradient = BTreeMap<String, Vec<f64>>;

/// Both factors of the branch beside each of the seven projections of every decoder layer, and beside the head.
fn factors(model: &Llava) -> Vec<(String, ParamId)> {
    let layers = model.language_model.model.layers.iter().enumerate();
    let of_layer = |(index, layer): (usize, &LlamaDecoderLayer)| {
        let (attention, mlp) = (&layer.self_attn, &layer.mlp);
        let linears = [
            ("q", &attention.q_proj),
            ("k", &attention.k_proj),
            ("v", &attention.v_proj),
            ("o", &attention.o_proj),
            ("gate", &mlp.gate_proj),
            ("up", &mlp.up_proj),
            ("down", &mlp.down_proj),
        ];
        let named = linears.map(|(name, linear)| both(&format!("{index}.{name}"), linear));
        named.into_iter().flatten().collect::<Vec<_>>()
    };
    let of_head = both("head", &model.language_model.lm_head);
    layers.flat_map(of_layer).chain(of_head).collect()
}

/// Both factors of the branch beside one of them.
fn both(name: &str, linear: &Linear) -> [(String, ParamId); 2] {
    let LoraBranch { a, b, .. } = linear.lora.as_ref().unwrap();
    [("A", a.id), ("B", b.id)].map(|(factor, id)| (format!("{name}.{factor}"), id))
}

/// The gradients of all factors, by layer, projection and factor.
pub(super) fn by_name(model: &Llava, gradients: &GradientsParams) -> Gradient {
    let factors = factors(model);
    assert_eq!(
        gradients.len(),
        factors.len(),
        "nothing but the adapter is trained"
    );
    let host = |id| -> Vec<f64> {
        gradients
            .get::<2>(id)
            .unwrap()
            .into_data()
            .iter::<f64>()
            .collect()
    };
    factors.into_iter().map(|(name, id)| (name, host(id))).collect()
}

/// Adds `coefficient` times a gradient.
pub(super) fn add(sum: &mut Gradient, coefficient: f64, gradient: &Gradient) {
    for (name, values) in gradient {
        let sum = sum.entry(name.clone()).or_insert_with(|| vec![0.0; values.len()]);
        sum.iter_mut()
            .zip(values)
            .for_each(|(sum, value)| *sum += coefficient * value);
    }
}

/// Every number is expected to be right to 1e-4 of the largest one of its factor.
pub(super) fn assert_close(found: &Gradient, expected: &Gradient, mode: LossMode) {
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, expected) in expected {
        let largest = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        assert!(largest > 1e-4, "{mode} {name}: the gradient is zero");
        for (found, expected) in found[name].iter().zip(expected) {
            let error = (found - expected).abs();
            assert!(error < 1e-4 * largest, "{mode} {name}: {found} is not {expected}");
        }
    }
}
