//! The fuzz targets themselves, built without a fuzzer: what they name is there, also where nobody has the compiler that `fuzz/` needs.

/// Stands in the place of the fuzzer's, by the same name: the crate is called `libfuzzer_sys` too.
#[macro_export]
macro_rules! fuzz_target {
    ($target:expr) => {
        pub(crate) fn run(bytes: &[u8]) {
            let target: fn(&[u8]) = $target;
            target(bytes);
        }
    };
}

#[path = "../../../fuzz/fuzz_targets"]
#[allow(
    unused_attributes,
    reason = "`no_main` is for programs, which these are to the fuzzer only"
)]
mod targets {
    pub(super) mod answers;
    pub(super) mod external_scaler;
    pub(super) mod learner_service;
    pub(super) mod pictures;
    pub(super) mod relay_service;
    pub(super) mod reward_service;
    pub(super) mod tokenizers;
    pub(super) mod traces;
    pub(super) mod weight_files;
}

/// A target, with its name.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 9] = [
    ("answers", targets::answers::run),
    ("external_scaler", targets::external_scaler::run),
    ("learner_service", targets::learner_service::run),
    ("pictures", targets::pictures::run),
    ("relay_service", targets::relay_service::run),
    ("reward_service", targets::reward_service::run),
    ("tokenizers", targets::tokenizers::run),
    ("traces", targets::traces::run),
    ("weight_files", targets::weight_files::run),
];

#[test]
fn every_fuzz_target_is_built_here_and_by_the_fuzzer_and_knows_its_doors() {
    let _turn = super::turn();
    let fuzz = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
    let files = std::fs::read_dir(format!("{fuzz}/fuzz_targets")).unwrap();
    let mut files: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, TARGETS.map(|(name, _)| format!("{name}.rs")));
    let manifest = std::fs::read_to_string(format!("{fuzz}/Cargo.toml")).unwrap();
    for (name, run) in TARGETS {
        let lines = format!("[[bin]]\nname = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"\n");
        assert!(manifest.contains(&lines), "fuzz/Cargo.toml has not\n{lines}");
        run(&[]);
        // The first byte chooses the door, and one that there is not panics.
        for first in 0..=u8::MAX {
            run(&[first]);
        }
    }
}
