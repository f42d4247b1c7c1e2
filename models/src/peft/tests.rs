use super::*;
use crate::lora::HEAD;

#[test]
fn what_is_written_is_read_back() {
    let mut config = LoraConfig::new(4, 8.0);
    assert_eq!(
        read_adapter_config(&adapter_config(&config, "tiny")).unwrap(),
        config
    );
    config.targets = vec!["v_proj".into()];
    assert_eq!(
        read_adapter_config(&adapter_config(&config, "tiny")).unwrap(),
        config
    );
}

#[test]
fn a_hubs_model_is_named_as_peft_loads_it() {
    let written = |base| {
        let text = adapter_config(&LoraConfig::new(4, 8.0), base);
        let mut written: Value = serde_json::from_str(&text).unwrap();
        ["base_model_name_or_path", "revision"].map(|key| written[key].take())
    };
    assert_eq!(written("hf:org/name@abc"), [json!("org/name"), json!("abc")]);
    for path in ["out/policy", "s3://bucket/policy@2"] {
        assert_eq!(written(path), [json!(path), Value::Null]);
    }
}

/// Whether PEFT takes a module of this name for one that the adapter is beside.
fn is_adapted(config: &LoraConfig, name: &str) -> bool {
    let text = adapter_config(config, "out/policy");
    let written: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(written["base_model_name_or_path"], "out/policy");
    let pattern = written["target_modules"].as_str().unwrap();
    // It matches whole names.
    let whole = tokenizers::utils::SysRegex::new(&format!("^(?:{pattern})$")).unwrap();
    whole.find_iter(name).next().is_some()
}

#[test]
fn the_head_is_named_where_it_is_adapted_wherever_it_stands_and_read_again() {
    let all = LoraConfig::new(4, 8.0).with_head();
    let mut head = all.clone();
    head.targets.retain(|target| target == HEAD);
    for name in ["language_model.lm_head", "lm_head"] {
        assert!(is_adapted(&all, name) && is_adapted(&head, name), "{name}");
    }
    let projection = "model.language_model.layers.31.mlp.down_proj";
    assert!(is_adapted(&all, projection) && !is_adapted(&head, projection));
    assert!(!is_adapted(
        &all,
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj"
    ));
    for config in [all, head] {
        assert_eq!(
            read_adapter_config(&adapter_config(&config, "out/policy")).unwrap(),
            config
        );
    }
}

#[test]
fn the_expression_names_the_language_models_projections_and_not_the_towers() {
    let is_match = |name: &str| is_adapted(&LoraConfig::new(4, 8.0), name);
    for name in [
        "language_model.model.layers.0.self_attn.q_proj",
        "model.language_model.layers.31.mlp.down_proj",
    ] {
        assert!(is_match(name), "{name}");
    }
    for name in [
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj",
        "model.vision_tower.vision_model.encoder.layers.0.self_attn.v_proj",
        "language_model.lm_head",
        "language_model.model.layers.0.self_attn.q_proj.lora_A",
        "multi_modal_projector.linear_1",
    ] {
        assert!(!is_match(name), "{name}");
    }
}

/// The keys that PEFT 0.17 writes for a plain adapter of another program.
fn foreign() -> Value {
    json!({
        "alpha_pattern": {}, "auto_mapping": null, "base_model_name_or_path": "llava", "bias": "none",
        "corda_config": null, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
        "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
        "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 16, "lora_bias": false,
        "lora_dropout": 0.05, "megatron_config": null, "megatron_core": "megatron.core",
        "modules_to_save": null, "peft_type": "LORA", "qalora_group_size": 16, "r": 8, "rank_pattern": {},
        "revision": null, "target_modules": ["q_proj", "v_proj"], "target_parameters": null,
        "task_type": "CAUSAL_LM", "trainable_token_indices": null, "use_dora": false, "use_qalora": false,
        "use_rslora": false,
    })
}

#[test]
fn a_plain_adapter_of_another_program_is_read() {
    let config = read_adapter_config(&foreign().to_string()).unwrap();
    assert_eq!((config.rank, config.alpha, config.dropout), (8, 16.0, 0.05));
    assert_eq!(config.targets, ["q_proj", "v_proj"]);
}

#[test]
fn whatever_would_give_other_numbers_is_refused_by_key() {
    for (key, value) in [
        ("peft_type", json!("IA3")),
        ("bias", json!("lora_only")),
        ("use_dora", json!(true)),
        ("fan_in_fan_out", json!(true)),
        ("rank_pattern", json!({"q_proj": 4})),
        ("alpha_pattern", json!({"q_proj": 4})),
        ("modules_to_save", json!(["lm_head"])),
        ("layers_to_transform", json!([0, 1])),
        ("init_lora_weights", json!("pissa")),
        ("invented_later", json!("on")),
        ("r", json!(-1)),
        ("lora_alpha", Value::Null),
        ("target_modules", json!("all-linear")),
        ("target_modules", json!(7)),
    ] {
        let mut content = foreign();
        content[key] = value;
        let message = read_adapter_config(&content.to_string()).unwrap_err().to_string();
        assert!(
            message.contains(&format!("adapter_config.json: {key} = ")),
            "{message}"
        );
    }
    for (key, value) in [
        ("r", json!(0)),
        ("lora_alpha", json!(0.0)),
        ("lora_dropout", json!(1.0)),
        ("target_modules", json!(["embed_tokens"])),
        ("target_modules", json!([])),
    ] {
        let mut content = foreign();
        content[key] = value;
        assert!(read_adapter_config(&content.to_string()).is_err(), "{key}");
    }
    assert!(
        read_adapter_config("")
            .unwrap_err()
            .to_string()
            .contains(ADAPTER_CONFIG)
    );
}
