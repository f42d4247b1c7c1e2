//! Starts that are refused: for all that is wrong at once, and before anything is taken or written.

use super::resumed::{Place, long};
use super::*;
use std::path::PathBuf;

/// A start that could write nothing beside its stores is refused.
pub(super) async fn nothing_can_be_written(inputs: LearnerInputs) {
    let nowhere = || Some(PathBuf::from("/proc/nowhere"));
    let unwritable = LearnerInputs {
        steps_file: nowhere(),
        pairs_dir: nowhere(),
        tensorboard_dir: nowhere(),
        ..inputs
    };
    let message = refusal(long(), unwritable).await;
    for name in ["--steps", "--pairs", "telemetry.tensorboard"] {
        let told = format!("{name}: cannot write to /proc/nowhere");
        assert!(message.contains(&told), "{message}");
    }
}

/// Why a start is refused.
pub(super) async fn refusal(config: LearnerConfig, inputs: LearnerInputs) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusal = run(config, inputs, listener, CancellationToken::new())
        .await
        .unwrap_err();
    assert!(refusal.is_configuration(), "{refusal}");
    refusal.to_string()
}

/// What is in a directory.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_start_leaves_nothing_not_even_a_directory() {
    let place = Place::new();
    nothing_can_be_written(place.inputs()).await;
    let masked = LearnerConfig {
        loss: LossConfig {
            mode: crate::config::LossMode::MaskOnly,
            mask: crate::config::MaskConfig {
                patch: 4,
                ..Default::default()
            },
            ..LossConfig::default()
        },
        ..config()
    };
    let inputs = LearnerInputs {
        completion_tokens: 1000,
        steps_file: Some("/proc/nowhere".into()),
        pairs_dir: Some(place.directory.path().join("pairs")),
        tensorboard_dir: Some(place.directory.path().join("board")),
        ..place.inputs()
    };
    let message = refusal(masked, inputs).await;
    for part in ["loss.mask.patch = 4", "1000", "--steps"] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    assert_eq!(names(place.directory.path()), ["policy"]);
}
