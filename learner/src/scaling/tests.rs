//! Rules at one moment: what is unknown, what is over, and when actors can be done without.

use super::*;

fn scaling(config: ScalingConfig) -> Scaling {
    Scaling::new(config, 80, false)
}

fn actor(name: &str) -> ActorId {
    ActorId::new(name).unwrap()
}

/// A run that trains eight pairs a second, of which one actor makes two.
fn measured(start: Instant) -> Scaling {
    let mut scaling = scaling(ScalingConfig::default());
    let second = |seconds| start + Duration::from_secs(seconds);
    scaling.leased(&actor("a"), start);
    scaling.look(start, &training(0));
    for _ in 0..20 {
        scaling.ended(&actor("a"), Work::Pair, second(10));
    }
    scaling.look(second(10), &training(80));
    scaling
}

fn training(trained: u64) -> Situation {
    Situation {
        trained,
        training: true,
        fresh: 80,
        present: 1,
        more_to_come: true,
        ..Situation::default()
    }
}

#[test]
fn until_both_rates_are_known_whoever_is_there_stays_wanted() {
    let (mut scaling, start) = (scaling(ScalingConfig::default()), Instant::now());
    let wanted = |scaling: &mut Scaling, present| {
        let situation = Situation {
            present,
            ..training(0)
        };
        scaling.look(start, &situation).wanted
    };
    assert_eq!(wanted(&mut scaling, 0), 1);
    assert_eq!(wanted(&mut scaling, 5), 5);
    // One that dies is still wanted.
    assert_eq!(wanted(&mut scaling, 4), 5);
    assert_eq!(wanted(&mut scaling, 900), 64);
}

#[test]
fn the_need_is_what_is_consumed_by_what_an_actor_makes_and_the_deficit_adds_to_it() {
    let start = Instant::now();
    let mut scaling = measured(start);
    let enough = scaling.look(start + Duration::from_secs(10), &training(80));
    assert_eq!(enough.consumed_pairs_per_s, Some(8.0));
    assert_eq!(enough.pairs_per_s_per_actor, Some(2.0));
    assert_eq!((enough.wanted, enough.deficit_pairs), (4, 0.0));
    // Training waits, and nothing is there: 80 pairs within 120 s are another third of an actor.
    let starved = Situation {
        training: false,
        fresh: 0,
        leasable: true,
        ..training(80)
    };
    let starved = scaling.look(start + Duration::from_secs(20), &starved);
    assert_eq!(starved.deficit_pairs, 80.0);
    assert_eq!(starved.wanted, 4, "4.33 lies within the band of a tenth");
}

#[test]
fn a_run_that_is_over_wants_nobody() {
    let start = Instant::now();
    let mut scaling = measured(start);
    let over = Situation {
        over: true,
        ..training(80)
    };
    let scale = scaling.look(start + Duration::from_secs(11), &over);
    assert_eq!((scale.wanted, scale.active), (0, false));
}

#[test]
fn actors_are_done_without_only_for_longer_than_a_cold_start_and_while_nobody_works() {
    let start = Instant::now();
    let second = |seconds| start + Duration::from_secs(seconds);
    let config = ScalingConfig {
        cold_start_s: 30.0,
        ..ScalingConfig::default()
    };
    let mut scaling = scaling(config);
    // Training takes a hundred seconds.
    scaling.look(start, &training(0));
    assert!(
        scaling.look(second(50), &training(0)).active,
        "its length is not known"
    );
    scaling.look(second(100), &training(80));
    let active = |scaling: &mut Scaling, at, situation| scaling.look(second(at), &situation).active;
    assert!(!active(&mut scaling, 110, training(80)));
    let busy = Situation {
        open: 1,
        ..training(80)
    };
    assert!(active(&mut scaling, 111, busy));
    let leasable = Situation {
        leasable: true,
        ..training(80)
    };
    assert!(active(&mut scaling, 112, leasable));
    assert!(!active(&mut scaling, 169, training(80)));
    // Who is started now is there when training ends.
    assert!(active(&mut scaling, 171, training(80)));
    let last = Situation {
        more_to_come: false,
        ..training(80)
    };
    assert!(!active(&mut scaling, 172, last));
}
