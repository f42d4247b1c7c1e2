//! Actors that fetch from one that is stopped and not dead: its connections stay, and nothing comes.

use crate::program::{line_in, signal, wait_until};
use crate::stage::{Place, SMALL_STEPS, Stage};
use std::fs;
use std::time::{Duration, Instant};

/// How long the others may take to go on: 4 s until the relay is given up, then three versions without the actor that is stopped, whose leases
/// end first, on a machine that tests other things. Without the rule it is for ever.
const SOON: Duration = Duration::from_secs(40);

/// More versions than are trained while somebody is looked at: the run is not waited for.
const VERSIONS: &str = "learner.versions=100000";

fn adoptions(actor: &Place<'_>) -> usize {
    let said = fs::read_to_string(actor.log()).unwrap();
    said.matches("policy adopted").count()
}

#[test]
fn a_stopped_relay_is_given_up_within_seconds_and_nobody_below_gives_up_another() {
    let stage = Stage::with_models();
    let reward = stage.reward_server();
    // One branch: each actor fetches from the one that came before it.
    let settings = [
        "learner.relay_branches=1".to_owned(),
        VERSIONS.into(),
        SMALL_STEPS.into(),
    ];
    let learner = stage.learner_with("stopped", &settings);
    let [first, second, third] = ["first", "second", "third"].map(|id| {
        let actor = stage.actor(id, &learner, &reward);
        wait_until("it adopts nothing", || adoptions(&actor) > 1);
        actor
    });

    let told = || fs::read_to_string(third.log()).unwrap();
    let told_before = told().len();
    signal(first.process(), "STOP");
    let (began, before) = (Instant::now(), [&second, &third].map(adoptions));
    // What was announced before may have come from the first one yet.
    wait_until("nobody adopts any more", || {
        [&second, &third]
            .map(adoptions)
            .iter()
            .zip(before)
            .all(|(now, before)| *now > before + 2)
    });
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    let given_up = line_in(&second.log(), "relay given up");
    for words in [
        &first.url()["http://".len()..],
        &format!("instead=\"{}\"", learner.url()),
    ] {
        assert!(given_up.contains(words), "{words} is not in {given_up}");
    }
    let said = told()[told_before..].to_owned();
    assert!(!said.contains("relay given up"), "{said}");
    let before = adoptions(&first);
    signal(first.process(), "CONT");
    wait_until("the first goes on", || adoptions(&first) > before);
}
