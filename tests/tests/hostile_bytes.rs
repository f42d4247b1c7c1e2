//! Bytes of strangers at every door: nothing panics, and nothing takes more memory than what came in and a bound. Arbitrary bytes, and
//! those that are nearly right: real messages and files with some of their bytes changed.

// What the fuzz targets call their fuzzer.
extern crate self as libfuzzer_sys;

#[path = "hostile_bytes/fuzz_targets.rs"]
mod fuzz_targets;
#[path = "hostile_bytes/refused.rs"]
mod refused;
#[path = "hostile_bytes/samples.rs"]
mod samples;
#[path = "hostile_bytes/states.rs"]
mod states;
#[path = "hostile_bytes/wire.rs"]
mod wire;

use cargo_metadata::{DependencyKind, MetadataCommand};
use integration_tests::{DOORS, Door, admits_tokenizer_json};
use peak_alloc::PeakAlloc;
use proptest::prelude::*;
use refused::refused;
use samples::sample;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Every test of this program takes a turn before it does anything, those too that knock at no door: memory is counted for the whole
/// process.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How much of what comes in a door may hold in its own form: a byte of a message can be an empty submessage of some hundred bytes.
const TIMES: usize = 512;

/// What can be wrong with bytes that were right.
#[derive(Debug, Clone)]
enum Damage {
    Byte {
        at: prop::sample::Index,
        value: u8,
    },
    Cut {
        at: prop::sample::Index,
    },
    Insert {
        at: prop::sample::Index,
        bytes: Vec<u8>,
    },
    Repeat {
        from: prop::sample::Index,
        to: prop::sample::Index,
    },
}

impl Damage {
    fn to(&self, bytes: &mut Vec<u8>) {
        let room = bytes.len() + 1;
        match self {
            Self::Byte { at, value } => {
                let at = at.index(room);
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *value);
            }
            Self::Cut { at } => bytes.truncate(at.index(room)),
            Self::Insert { at, bytes: more } => {
                let at = at.index(room);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeat { from, to } => {
                let (a, b) = (from.index(room), to.index(room));
                bytes.extend_from_within(a.min(b)..a.max(b));
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), any::<u8>()).prop_map(|(at, value)| Damage::Byte { at, value }),
        1 => at().prop_map(|at| Damage::Cut { at }),
        2 => (at(), prop::collection::vec(any::<u8>(), 1..24)).prop_map(|(at, bytes)| Damage::Insert { at, bytes }),
        1 => (at(), at()).prop_map(|(from, to)| Damage::Repeat { from, to }),
    ]
}

fn knock(door: &Door, bytes: &[u8]) -> Result<bool, TestCaseError> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let admitted = (door.admits)(bytes);
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let most = TIMES * bytes.len() + door.most;
    prop_assert!(
        taken <= most,
        "{}: {taken} bytes for {} that came in, at most {most}",
        door.name,
        bytes.len()
    );
    Ok(admitted)
}

#[test]
fn what_is_right_is_let_in() {
    let _turn = turn();
    for door in &DOORS {
        assert!(
            knock(door, &sample(door.name)).unwrap(),
            "{} is not let in",
            door.name
        );
    }
}

#[test]
fn what_the_program_refuses_its_door_does() {
    let _turn = turn();
    for (position, (name, bytes)) in refused().into_iter().enumerate() {
        let door = DOORS.iter().find(|door| door.name == name).unwrap();
        assert!(!knock(door, &bytes).unwrap(), "{name} is let in, case {position}");
    }
}

#[test]
fn what_the_fuzzer_found_breaks_nothing_any_more() {
    let _turn = turn();
    let table = br#"{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}"#;
    for tokenizer in [&b" { \"decoder\":   g\t\"{{"[..], b"{\"decoder\": {", table] {
        assert!(!admits_tokenizer_json(tokenizer));
    }
}

#[test]
fn every_door_is_one_of_a_fuzz_target() {
    let _turn = turn();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/fuzz_targets");
    let targets = std::fs::read_dir(directory).unwrap();
    let targets: String = targets
        .map(|target| std::fs::read_to_string(target.unwrap().path()).unwrap())
        .collect();
    for door in &DOORS {
        assert!(targets.contains(&format!("\"{}\"", door.name)), "{}", door.name);
    }
}

#[test]
fn the_doors_are_in_no_program() {
    let _turn = turn();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let workspace = MetadataCommand::new().manifest_path(manifest).no_deps().exec();
    for package in workspace.unwrap().packages {
        let needed = package.dependencies.iter();
        let mut needed = needed.filter(|needed| needed.kind != DependencyKind::Development);
        let has_doors = needed.any(|needed| needed.features.iter().any(|feature| feature == "testing"));
        assert_eq!(has_doors, package.name == "integration-tests", "{}", package.name);
        let mut features = package.features.values().flatten();
        assert!(
            !features.any(|feature| feature.ends_with("testing")),
            "{}",
            package.name
        );
    }
}

const CASES: u32 = 200;

#[test]
fn arbitrary_bytes_break_no_door() {
    // What is drawn takes memory too.
    let _turn = turn();
    let bytes = || prop::collection::vec(any::<u8>(), 0..2048);
    proptest!(ProptestConfig::with_cases(CASES), |(bytes in bytes())| {
        for door in &DOORS {
            knock(door, &bytes)?;
        }
        admits_tokenizer_json(&bytes);
    });
}

#[test]
fn bytes_that_are_nearly_right_break_no_door() {
    let _turn = turn();
    let damages = || prop::collection::vec(damage(), 1..8);
    proptest!(ProptestConfig::with_cases(CASES), |(damages in damages())| {
        for door in &DOORS {
            let mut bytes = sample(door.name);
            damages.iter().for_each(|damage| damage.to(&mut bytes));
            knock(door, &bytes)?;
        }
    });
}
