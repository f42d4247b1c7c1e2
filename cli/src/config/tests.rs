//! Layers, mistakes told together, the bounds of every number, and the files that are shipped.

use super::*;

fn resolve(text: &str, sets: &[&str]) -> Result<Config, ConfigError> {
    let sets: Vec<String> = sets.iter().map(|&s| s.to_owned()).collect();
    Layers::default().preset("test.toml", text).sets(&sets).resolve()
}

fn messages(text: &str, sets: &[&str]) -> Vec<String> {
    resolve(text, sets)
        .unwrap_err()
        .mistakes
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(resolve("", &[]).unwrap(), Config::default());
}

#[test]
fn the_printed_configuration_is_read_back_unchanged() {
    let config = resolve(
        "[run]\nseed = 9\n[shopworld]\nlog_match = 0.5\n",
        &["demo.actors=3"],
    )
    .unwrap();
    assert_eq!(resolve(&config.to_toml(), &[]).unwrap(), config);
}

#[test]
fn later_layers_win() {
    let config = Layers::default()
        .preset("a", "[run]\nseed = 1\nid = \"a\"")
        .flag("--seed", "run.seed", Some(2))
        .sets(&["run.seed=3".into()])
        .resolve()
        .unwrap();
    assert_eq!((config.run.seed, config.run.id.as_str()), (3, "a"));
}

#[test]
fn a_later_file_overrides_keys_and_a_mistake_names_the_file_that_it_is_in() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = place.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let first = write(
        "b.toml",
        "[run]\nseed = 1\nid = \"first\"\n[actor]\ngroup_size = 2\n",
    );
    let second = write("a.toml", "[run]\nseed = 2\n");
    let both = |paths: &[PathBuf]| Layers::default().files(paths).resolve().unwrap();
    let config = both(&[first.clone(), second.clone()]);
    assert_eq!(
        (config.run.seed, config.run.id.as_str(), config.actor.group_size),
        (2, "first", 2)
    );
    // In the order in which they are given; in a directory by name.
    assert_eq!(both(&[second.clone(), first.clone()]).run.seed, 1);
    assert_eq!(both(&[place.path().to_owned()]).run.seed, 1);

    let layers = Layers::default()
        .files(&[first, second])
        .sets(&["run.id=x".into()]);
    let told = layers.origins();
    let of = |key: &str| told.lines().find(|line| line.starts_with(key)).unwrap();
    assert!(of("run.seed = 2").ends_with("a.toml"), "{told}");
    assert!(of("actor.group_size = 2").ends_with("b.toml"), "{told}");
    assert!(of("run.id = \"x\"").ends_with("# --set run.id=x"), "{told}");
    assert_eq!(resolve(&told, &[]).unwrap(), layers.resolve().unwrap());

    let wrong = write("c.toml", "[actor]\ngroup_size = 1\n");
    let right = write("d.toml", "[run]\nseed = 3\n");
    let mistakes = Layers::default()
        .files(&[wrong, right])
        .resolve()
        .unwrap_err()
        .mistakes;
    assert!(
        mistakes.len() == 1 && mistakes[0].to_string().contains("c.toml: actor.group_size = 1"),
        "{mistakes:?}"
    );
}

#[test]
fn all_mistakes_are_reported_at_once_with_key_and_origin() {
    let text = "[run]\nsede = 4\nseed = \"four\"\n[shopworld]\nlog_match = 3\n[nothing]\nx = 1\n";
    let found = messages(text, &["demo.actors=0", "compute.threads=none", "no-equals-sign"]);
    let expected = [
        ("no-equals-sign", "key=value"),
        ("test.toml: run.sede", "run.seed"),
        ("test.toml: run.seed", "a whole number"),
        ("test.toml: nothing", "unknown"),
        ("test.toml: shopworld.log_match = 3", "0 to 1"),
        ("--set demo.actors=0: demo.actors", "1"),
        ("--set compute.threads=none: compute.threads", "a whole number"),
    ];
    for (key, right) in expected {
        let hit = found.iter().any(|m| m.contains(key) && m.contains(right));
        assert!(hit, "{key:?} with {right:?} is not in {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn what_kind_of_number_is_wanted_is_said_in_words() {
    for (set, words) in [
        (
            "learner.versions=-1",
            "integer `-1`, expected a whole number that is not negative",
        ),
        ("learner.loss.beta=high", "string \"high\", expected a number"),
        (
            "actor.group_size=[1]",
            "sequence, expected a whole number that is not negative (given: [1])",
        ),
        ("run.id=5", "integer `5`, expected a string"),
    ] {
        let said = messages("", &[set]);
        assert!(said.len() == 1 && said[0].ends_with(words), "{said:?}");
    }
}

#[test]
fn a_syntax_error_names_file_and_line() {
    let found = messages("[run]\nseed = \n", &[]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("test.toml: line 2: not valid TOML"),
        "{found:?}"
    );
}

#[test]
fn text_needs_no_quotes_on_the_command_line() {
    let config = resolve("", &["run.id=night-7", "paths.policy = /models/base model"]).unwrap();
    assert_eq!(
        (config.run.id.as_str(), config.paths.policy.as_str()),
        ("night-7", "/models/base model")
    );
}

#[test]
fn the_shipped_files_are_valid_and_demo_toml_is_the_default() {
    let demo = include_str!("../../../configs/demo.toml");
    let resolved = resolve(demo, &[]).unwrap();
    assert_eq!(resolved, Config::default());
    for (name, text) in [
        ("quick", QUICK),
        ("caig", include_str!("../../../configs/caig.toml")),
    ] {
        // A machine without a GPU checks the rest.
        let resolved = resolve(text, &["compute.device=cpu"]);
        assert!(resolved.is_ok(), "{name}: {}", resolved.unwrap_err());
    }
}

/// Numbers that no setting was made for, put into every numeric key, one at a time. What is accepted must be in one of
/// this list, by the documentation of its field.
#[test]
fn every_number_is_bounded_on_both_sides() {
    const MAY_BE_0: &[&str] = &[
        "catalogue.test_share",
        "diffusion.attention_bytes",
        "diffusion.control_scale",
        "diffusion.guidance",
        "diffusion.lora_scale",
        "diffusion.tile",
        "run.seed",
        "shopworld.caption_dropout",
        "shopworld.hot",
        "shopworld.log_match",
        "shopworld.mismatch",
        "shopworld.position_bias",
        "shopworld.sft_match",
        "pretrain.lora.dropout",
        "pretrain.optimizer.beta_1",
        "pretrain.optimizer.beta_2",
        "pretrain.optimizer.learning_rate",
        "pretrain.optimizer.total_steps",
        "pretrain.optimizer.warmup_steps",
        "pretrain.optimizer.weight_decay",
        "reward.caption_dropout",
        "reward.dropout",
        "reward.lora.dropout",
        "reward.min_impressions",
        "reward.pair_weight",
        "reward.pixel_noise",
        "reward.point_weight",
        "reward.validation_share",
        "reward.warmup_steps",
        "reward.weight_decay",
        "reward_server.batch_wait_ms",
        "reward_server.cache_bytes",
        "reward_server.drain_timeout_s",
        "reward_server.linger_s",
        "reward_server.reload_poll_s",
        "learner.drain_ms",
        "learner.evaluation_linger_ms",
        "learner.feature_cache_bytes",
        "learner.keep_images_days",
        "learner.lease_grace_ms",
        "learner.linger_ms",
        "learner.max_staleness",
        "learner.relay_branches",
        "learner.lora.dropout",
        "learner.loss.importance_clip",
        "learner.loss.mask.ratio",
        "learner.loss.nll_weight",
        "learner.loss.pcpo_weight",
        "learner.loss.support_weight",
        "learner.scaling.cold_start_s",
        "learner.scaling.hysteresis",
        "actor.defect_penalty",
        "actor.feature_cache_bytes",
        "actor.guardrails.image_blocklist_bits",
        "actor.guardrails.max_black_share",
        "actor.guardrails.max_changed",
        "actor.guardrails.max_halo",
        "actor.guardrails.min_distinct_outline",
        "actor.guardrails.min_product_area",
        "actor.guardrails.min_spread",
        "actor.guardrails.near_duplicate_bits",
        "actor.min_margin",
        "actor.product_cache_bytes",
        "demo.drain_timeout_s",
        "store.max_retries",
        "store.retry_timeout_s",
        "learner.optimizer.beta_1",
        "learner.optimizer.beta_2",
        "learner.optimizer.learning_rate",
        "learner.optimizer.total_steps",
        "learner.optimizer.warmup_steps",
        "learner.optimizer.weight_decay",
    ];
    let mut accepted = Vec::new();
    let numbers = numeric_leaves();
    assert!(numbers.len() > 100, "{}", numbers.len());
    for key in &numbers {
        for value in ["nan", "inf", "-inf", "-1", "0", "9223372036854775807", "1e300"] {
            if resolve("", &[&format!("{key}={value}")]).is_ok() {
                accepted.push((key.as_str(), value));
            }
        }
    }
    let mut expected: Vec<(&str, &str)> = MAY_BE_0.iter().map(|key| (*key, "0")).collect();
    expected.push(("run.seed", "9223372036854775807"));
    accepted.sort();
    expected.sort();
    assert_eq!(accepted, expected);
}

#[test]
fn all_numbers_at_their_largest_together_are_refused_without_overflow() {
    for value in ["9223372036854775807", "1e300", "0"] {
        let sets: Vec<String> = numeric_leaves()
            .iter()
            .map(|key| format!("{key}={value}"))
            .collect();
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        assert!(messages("", &sets).len() > 50);
    }
}

fn numeric_leaves() -> Vec<String> {
    let all: toml::Table = Config::default().to_toml().parse().unwrap();
    let is_number = |key: &String| document::is_number(&all, key);
    document::leaves(&all).into_iter().filter(is_number).collect()
}

#[test]
fn texts_that_name_nothing_are_refused_with_the_rest() {
    let sets = [
        "catalogue.source=",
        "click_log.source=  ",
        "paths.policy=",
        "paths.adapter=",
        "paths.reward_model=hf:org/name/x",
        "paths.cache=s3://bucket/x",
        "store.url=ftp://host/x",
        "demo.actors=0",
    ];
    let found = messages("", &sets);
    for (set, message) in sets.iter().zip(&found) {
        let key = set.split('=').next().unwrap();
        assert!(
            found.iter().any(|m| m.contains(&format!("{key} = "))),
            "{key}: {message}"
        );
    }
    assert_eq!(found.len(), sets.len(), "{found:#?}");
}

#[test]
fn a_store_that_other_processes_cannot_read_is_refused() {
    for url in [
        "memory:///",
        "s3://key:word@bucket/x",
        "az://container/x?sig=word",
        "file://relative/x",
        "",
    ] {
        let found = messages("", &[&format!("store.url={url}")]);
        assert!(found[0].contains("file:///absolute/directory"), "{found:?}");
    }
    for url in [
        "file:///var/lib/adwright",
        "s3://bucket/x",
        "gs://bucket/x",
        "az://container/x",
    ] {
        assert!(resolve("", &[&format!("store.url={url}")]).is_ok(), "{url}");
    }
}

#[test]
fn a_run_that_certificates_cannot_name_is_no_secured_one() {
    let secured = "[endpoints]\nlearner = \"https://l\"\nreward = \"https://r\"\n[tls]\ncert = \"c\"\nkey = \"k\"\nca = \"a\"\n";
    let named = |text: &str, run: &str| resolve(text, &[&format!("run.id=\"{run}\"")]);
    for run in ["20270115", "spring.2"] {
        assert!(named("", run).is_ok(), "{run}");
        let told = named(secured, run).unwrap_err().to_string();
        let key = format!("run.id: run id {run:?} cannot be in certificates");
        assert!(told.contains(&key), "{told}");
    }
    assert!(named(secured, "2027-01-15").is_ok());
}

#[test]
fn demo_toml_shows_every_key() {
    let shown: toml::Table = include_str!("../../../configs/demo.toml").parse().unwrap();
    let all: toml::Table = Config::default().to_toml().parse().unwrap();
    assert_eq!(document::leaves(&shown), document::leaves(&all));
}

#[test]
fn a_mode_decides_the_weights_that_nobody_set() {
    let weights = |text: &str, sets: &[&str]| {
        let loss = resolve(text, sets).unwrap().learner.loss;
        (loss.mode.as_str(), loss.beta, loss.pcpo_weight, loss.nll_weight)
    };
    assert_eq!(weights("", &["loss.mode=compat"]), ("compat", 0.5, 1.0, 0.0));
    assert_eq!(weights("", &["loss.mode=dpo"]), ("dpo", 1.0, 60.0, 10.0));
    let file = "[learner.loss]\nbeta = 0.7\nmask.ratio = 0.5\n";
    assert_eq!(weights(file, &["loss.mode=compat"]), ("compat", 0.7, 1.0, 0.0));
    // A stored configuration names every weight.
    let stored = resolve("", &["loss.mode=compat"]).unwrap();
    assert_eq!(resolve(&stored.to_toml(), &[]).unwrap(), stored);
    let wrong = messages(file, &["loss.mode=ppo", "loss.beta=-1"]);
    assert!(
        wrong.len() == 2 && wrong.iter().any(|m| m.contains("joint_swap")),
        "{wrong:?}"
    );
}
