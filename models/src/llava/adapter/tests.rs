use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::TensorData;

use super::*;
use crate::batch::{CompletionBatch, CompletionRow, collate};
use crate::presets::tests::policy;

fn batch() -> CompletionBatch {
    let row = CompletionRow {
        prompt_ids: &[1, 20, 21],
        image: None,
        completion_ids: &[22, 23, 2],
    };
    collate(&[row], &[], &policy(1).config.row_limits()).unwrap()
}

fn sums(model: &Llava) -> TensorData {
    model.completion_log_probs(&batch(), None).sums().into_data()
}

fn noisy(model: Llava) -> Llava {
    let noise = model.adapter().into_iter().map(|(name, data)| {
        let values: Vec<f32> = (0..data.num_elements())
            .map(|i| 0.01 * ((i % 7) as f32 - 3.0))
            .collect();
        (name, TensorData::new(values, data.shape().clone()))
    });
    model.load_adapter(&noise.collect()).unwrap()
}

#[test]
fn a_fresh_adapter_changes_nothing_and_a_loaded_one_does() {
    let base = policy(1).model;
    let adapted = base.clone().with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
    assert_eq!(sums(&adapted), sums(&base));
    assert_ne!(sums(&noisy(adapted)), sums(&base));
}

#[test]
fn without_its_adapter_the_model_is_exactly_the_base() {
    let base = policy(1).model;
    let adapted = noisy(base.clone().with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
    assert_eq!(sums(&adapted.without_adapter()), sums(&base));
    assert!(adapted.without_adapter().adapter().is_empty());
}

#[test]
fn the_branch_adds_scale_times_a_times_b_to_the_weight_and_can_be_folded_into_it() {
    let base = policy(1).model;
    let adapted = noisy(base.clone().with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
    let folded = adapted.clone().folded();
    assert!(folded.adapter().is_empty());
    let tolerance = burn::tensor::Tolerance::absolute(1e-4);
    sums(&adapted).assert_approx_eq::<f32>(&sums(&folded), tolerance);
    assert_ne!(sums(&folded), sums(&base));
}

#[test]
fn gradients_reach_every_factor_and_no_weight_of_the_base() {
    let adapted = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
    let model = noisy(adapted).trainable_adapter_only().train();
    let loss = model.completion_log_probs(&batch(), None).mean_negative();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    // Three layers, seven projections, two factors.
    assert_eq!(gradients.len(), 3 * 7 * 2);
    for layer in &model.language_model.model.layers {
        let mut layer = layer.clone();
        for (name, linear) in projections(&mut layer) {
            let lora = linear.lora.as_ref().unwrap();
            for (factor, id) in [("A", lora.a.id), ("B", lora.b.id)] {
                let norm = gradients
                    .get::<2>(id)
                    .unwrap()
                    .square()
                    .sum()
                    .into_scalar::<f32>();
                assert!(norm > 0.0, "{name} {factor}");
            }
        }
    }
}

#[test]
fn a_gradient_is_the_slope_of_the_loss() {
    let adapted = noisy(policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
    let loss = |model: &Llava| model.completion_log_probs(&batch(), None).mean_negative();
    let model = adapted.clone().trainable_adapter_only().train();
    let gradients = GradientsParams::from_grads(loss(&model).backward(), &model);
    let factor = |model: &Llava| {
        model.language_model.model.layers[1]
            .self_attn
            .v_proj
            .lora
            .clone()
            .unwrap()
            .a
    };
    let gradient = gradients.get::<2>(factor(&model).id).unwrap();
    let norm = gradient.clone().square().sum().sqrt().into_scalar::<f32>();
    let at = |step: f32| {
        let mut moved = adapted.clone();
        let value = factor(&adapted).val() + gradient.clone() * (step / norm);
        let branch = moved.language_model.model.layers[1]
            .self_attn
            .v_proj
            .lora
            .as_mut()
            .unwrap();
        branch.a = Param::from_tensor(value);
        loss(&moved).into_scalar::<f32>()
    };
    let slope = (at(0.5) - at(-0.5)) / 1.0;
    assert!(
        (slope / norm - 1.0).abs() < 0.02,
        "slope {slope}, gradient norm {norm}"
    );
}

#[test]
fn names_and_layout_are_those_of_peft() {
    let adapted = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
    let adapter = adapted.adapter();
    let name = "base_model.model.language_model.model.layers.2.mlp.down_proj.lora";
    assert_eq!(adapter[&format!("{name}_A.weight")].shape().as_slice(), [4, 256]);
    assert_eq!(adapter[&format!("{name}_B.weight")].shape().as_slice(), [96, 4]);
    assert_eq!(adapter.len(), 3 * 7 * 2);
    for (theirs, ours) in [
        (
            "model.language_model.layers.2.mlp.up_proj",
            "language_model.model.layers.2.mlp.up_proj",
        ),
        (
            "model.layers.2.mlp.up_proj",
            "language_model.model.layers.2.mlp.up_proj",
        ),
        ("lm_head", "language_model.lm_head"),
        ("language_model.lm_head", "language_model.lm_head"),
    ] {
        assert_eq!(adapted_module(&format!("base_model.model.{theirs}")), ours);
    }
}

#[test]
fn the_head_is_adapted_where_it_is_asked_for_and_everything_holds_of_it_too() {
    let base = policy(1).model;
    let config = LoraConfig::new(4, 8.0).with_head();
    let fresh = base.clone().with_adapter(&config, 7).unwrap();
    assert_eq!(sums(&fresh), sums(&base));
    let adapter = fresh.adapter();
    assert_eq!(adapter.len(), (3 * 7 + 1) * 2);
    let name = "base_model.model.language_model.lm_head.lora";
    assert_eq!(adapter[&format!("{name}_A.weight")].shape().as_slice(), [4, 96]);

    // Of the projections nothing, so that what changes is the head's.
    let alone = |names: &NamedTensors| -> NamedTensors {
        let zeroed = names.iter().map(|(name, data)| match name.contains("lm_head") {
            true => (name.clone(), data.clone()),
            false => (name.clone(), TensorData::zeros::<f32, _>(data.shape().clone())),
        });
        zeroed.collect()
    };
    let adapted = noisy(fresh.clone());
    let adapted = fresh.load_adapter(&alone(&adapted.adapter())).unwrap();
    assert_ne!(sums(&adapted), sums(&base));
    assert_eq!(sums(&adapted.without_adapter()), sums(&base));
    let folded = adapted.clone().folded();
    assert!(folded.adapter().is_empty());
    let tolerance = burn::tensor::Tolerance::absolute(1e-4);
    sums(&adapted).assert_approx_eq::<f32>(&sums(&folded), tolerance);

    let model = adapted
        .with_adapter_dropout(0.5, 3)
        .trainable_adapter_only()
        .train();
    let loss = model.completion_log_probs(&batch(), None).mean_negative();
    let gradients = GradientsParams::from_grads(loss.backward(), &model);
    let branch = model.language_model.lm_head.lora.as_ref().unwrap();
    assert!(branch.dropout.is_some());
    for id in [branch.a.id, branch.b.id] {
        let norm = gradients.get::<2>(id).unwrap().square().sum();
        assert!(norm.into_scalar::<f32>() > 0.0);
    }
}

#[test]
fn an_adapter_comes_back_as_it_left() {
    let adapted = noisy(policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap());
    let other = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 8).unwrap();
    assert_ne!(other.adapter(), adapted.adapter());
    assert_eq!(
        other.load_adapter(&adapted.adapter()).unwrap().adapter(),
        adapted.adapter()
    );
}

#[test]
fn an_adapter_of_another_rank_or_with_a_missing_factor_is_refused() {
    let adapted = policy(1).model.with_adapter(&LoraConfig::new(4, 8.0), 7).unwrap();
    let other = policy(1).model.with_adapter(&LoraConfig::new(2, 8.0), 7).unwrap();
    assert!(matches!(
        adapted.clone().load_adapter(&other.adapter()),
        Err(ModelError::WeightShape { .. })
    ));
    let mut short = adapted.adapter();
    short.pop_first();
    assert!(matches!(
        adapted.load_adapter(&short),
        Err(ModelError::WeightNames { .. })
    ));
}

#[test]
fn only_the_targets_get_a_branch_and_unknown_targets_are_refused() {
    let config = |targets: &[&str]| LoraConfig {
        targets: targets.iter().map(|target| target.to_string()).collect(),
        ..LoraConfig::new(4, 8.0)
    };
    let adapted = policy(1)
        .model
        .with_adapter(&config(&["q_proj", "v_proj"]), 7)
        .unwrap();
    assert_eq!(adapted.adapter().len(), 3 * 2 * 2);
    for (bad, word) in [(config(&["qproj"]), "qproj"), (config(&[]), "target")] {
        let error = policy(1).model.with_adapter(&bad, 7).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(policy(1).model.with_adapter(&LoraConfig::new(0, 8.0), 7).is_err());
}
