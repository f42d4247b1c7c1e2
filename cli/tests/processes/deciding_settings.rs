//! Settings that decide what becomes of a task are the run's: nobody takes part in it, or goes on with it, with others.

use crate::stage::{Place, Stage, configured};
use std::fs;
use std::path::Path;

/// The configuration is at fault.
const CONFIGURATION: i32 = 64;

/// What a role says that is refused, with `settings`, beside those of the run.
fn refused(directory: &Path, arguments: &[&str], settings: &[&str]) -> String {
    let always = ["--listen=127.0.0.1:0", "--deterministic", "--store=store"];
    let output = configured(directory, &[arguments, &always].concat())
        .args(settings.iter().map(|set| format!("--set={set}")))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(CONFIGURATION), "{settings:?}: {said}");
    said
}

/// Where nobody listens.
fn gone(place: Place<'_>) {
    drop(place);
}

#[test]
fn an_actor_or_a_learner_that_comes_with_other_settings_than_its_run_is_refused_by_their_keys() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    let (reward, learner) = (stage.reward_server(), stage.learner("kept", &[]));
    let [at, scorer] =
        [("learner", &learner), ("reward", &reward)].map(|(name, place)| format!("--{name}={}", place.url()));
    let said = refused(
        directory,
        &["actor", "--id=other", &at, &scorer],
        &[
            "actor.temperature=0.5",
            "actor.guardrails.min_spread=3",
            "actor.tasks_per_lease=1",
        ],
    );
    let error = said.lines().filter(|line| line.contains("actor.temperature"));
    let [error] = error.collect::<Vec<_>>()[..] else {
        panic!("not one line: {said}");
    };
    for words in [
        learner.url().as_str(),
        "other has other settings than the run",
        "actor.guardrails.min_spread = 3.0, the run has 2.0",
        "actor.temperature = 0.5, the run has 1.0",
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    assert!(!error.contains("tasks_per_lease"), "{error}");
    let warned = learner.line_with("refused: other settings than the run's");
    assert!(warned.contains("actor.temperature"), "{warned}");
    gone(learner);

    let role = ["learner", "--policy=policy", "--adapter=adapter-kept"];
    let others = [
        "run.id=kept",
        "actor.min_margin=0.25",
        "reward_server.min_confidence=0.75",
    ];
    let said = refused(directory, &role, &others);
    for words in [
        "actor.min_margin = 0.25: the run was begun with 0.0",
        "reward_server.min_confidence = 0.75: the run was begun with 0.5",
        "only these may change: ",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    // What says when and where may be each one's own.
    let learner = stage.learner_with("kept", &["actor.tasks_per_lease=4".into()]);
    let _actor = stage.actor_with("b", &learner, &reward, &["actor.concurrent_renders=1"]);
    stage.adapter_of("kept", learner);
}

#[test]
fn an_actor_whose_list_holds_something_else_than_its_runs_is_refused_with_both_digests_also_by_a_later_start()
{
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    let (list, named) = (
        directory.join("words.txt"),
        "actor.guardrails.text_blocklist=words.txt",
    );
    let [begun, changed] = ["beer\n", "beer\nwine\n"];
    fs::write(&list, begun).unwrap();
    let reward = stage.reward_server();
    let mut learner = stage.learner_with("listed", &[named.to_owned()]);
    let first = stage.actor_with("first", &learner, &reward, &[named]);
    learner.line_with("what files hold is the run's from here on");
    gone(first);

    fs::write(&list, changed).unwrap();
    let shown = |words: &str| store::digest(words.as_bytes()).to_string()[..40].to_owned();
    let told = format!(
        "actor.guardrails.text_blocklist.digest = {}…, the run has {}…",
        shown(changed),
        shown(begun)
    );
    for later in [false, true] {
        if later {
            learner.restart();
        }
        let [at, scorer] = [("learner", &learner), ("reward", &reward)]
            .map(|(name, place)| format!("--{name}={}", place.url()));
        let said = refused(directory, &["actor", "--id=other", &at, &scorer], &[named]);
        assert!(said.contains(&told), "{told}: {said}");
    }

    // How a list lies in its file says nothing of what it lists.
    fs::write(&list, format!("# drinks\n\n{begun}")).unwrap();
    let _actor = stage.actor_with("second", &learner, &reward, &[named]);
    stage.adapter_of("listed", learner);
}
