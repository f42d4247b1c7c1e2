//! The file is read back here, and was read by TensorBoard itself: `learner/parity/tensorboard/`.

use super::*;

/// The directory of the fixture that TensorBoard was asked about, and what it said.
const PARITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/parity/tensorboard");

/// The events of a file; every length and checksum is checked.
fn events(mut bytes: &[u8]) -> Vec<Event> {
    let mut events = vec![];
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(8);
        let (checksum, rest) = rest.split_at(4);
        assert_eq!(masked(length).to_le_bytes(), checksum);
        let (message, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
        let (checksum, rest) = rest.split_at(4);
        assert_eq!(masked(message).to_le_bytes(), checksum);
        events.push(Event::decode(message).unwrap());
        bytes = rest;
    }
    events
}

/// Every scalar of the files in `directory`, in the order of the files: its step, its name and its value.
pub(crate) fn scalars_in(directory: &Path) -> Vec<(i64, String, f32)> {
    let files = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    let read = files
        .iter()
        .flat_map(|file| scalars(&events(&std::fs::read(file).unwrap())));
    read.collect()
}

fn scalars(events: &[Event]) -> Vec<(i64, String, f32)> {
    let values = events.iter().flat_map(|event| {
        let values = event
            .summary
            .clone()
            .map(|summary| summary.value)
            .unwrap_or_default();
        values
            .into_iter()
            .map(move |value| (event.step, value.tag, value.simple_value))
    });
    values.collect()
}

fn written(directory: &Path) -> Vec<u8> {
    let mut file = EventFile::create_at(directory, 4, 1_700_000_000.5).unwrap();
    for at in 5..8 {
        let values = [("loss", 1.0 / at as f64), ("grad_norm", at as f64)];
        file.scalars("step", at, values.into_iter()).unwrap();
    }
    file.scalars("version", 7, [("reward", -0.25)].into_iter())
        .unwrap();
    // Held-out results come late.
    for at in [5, 7] {
        let values = [("reward", at as f64 / 8.0)];
        file.scalars("held_out", at, values.into_iter()).unwrap();
    }
    std::fs::read(&file.path).unwrap()
}

#[test]
fn a_file_says_where_it_begins_and_has_every_scalar_once() {
    let directory = tempfile::tempdir().unwrap();
    let events = events(&written(directory.path()));
    assert_eq!(events[0].file_version.as_deref(), Some(FILE_VERSION));
    assert_eq!(
        (events[1].step, events[1].session_log.clone()),
        (5, Some(SessionLog { status: START }))
    );
    let scalars = scalars(&events);
    assert_eq!(scalars.len(), 9);
    assert_eq!(scalars[0], (5, "step/loss".into(), 0.2));
    assert_eq!(scalars[6], (7, "version/reward".into(), -0.25));
    assert_eq!(scalars[7], (5, "held_out/reward".into(), 0.625));
    assert!(events[2].wall_time > 1.7e9);
}

#[test]
fn results_stand_once_at_the_steps_of_their_versions_and_none_behind_a_newer_one() {
    for (measured, holds_out, expected) in [
        (false, true, &[(4, 2.0), (6, 3.0), (10, 5.0)][..]),
        (true, true, &[(6, 3.0), (10, 5.0)]),
        (true, false, &[(6, 3.0), (10, 5.0)]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let board = Board::default();
        let value = |number: u64| [("reward", number as f64)].into_iter();
        let told = |number: u64| board.evaluated(crate::test_outcomes::version(number), value(number));
        told(2);
        assert!(!board.is_open(), "nothing is written before there is a file");
        let file = EventFile::create(directory.path(), 4).unwrap();
        board.open(file, crate::test_outcomes::version(2), 4, measured, holds_out);
        told(2);
        for step in [6, 8, 10] {
            board.step(step, value(0));
            board.version(step, value(0));
        }
        // The last one is not there yet.
        [3, 5, 4, 5, 6].into_iter().for_each(told);
        // What nothing is held out of is not called so.
        let (own, other) = match holds_out {
            true => ("held_out/reward", "on_its_products/reward"),
            false => ("on_its_products/reward", "held_out/reward"),
        };
        let found = scalars_in(directory.path());
        assert!(found.iter().all(|(_, tag, _)| tag != other));
        let found = found.into_iter().filter(|(_, tag, _)| tag == own);
        let found: Vec<(i64, f32)> = found.map(|(step, _, value)| (step, value)).collect();
        assert_eq!(found, expected, "{measured}");
    }
}

#[test]
fn a_checksum_is_that_of_the_published_example() {
    // RFC 3720, B.4: 32 bytes of zeros.
    assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(
        masked(&[0; 32]),
        0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8)
    );
}

/// What TensorBoard's own reader made of the fixture, and that this build writes the fixture's bytes but for the clock.
#[test]
fn tensorboard_reads_what_is_written() {
    let fixture = std::fs::read(format!("{PARITY}/events.out.tfevents.fixture")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let without_clock = |bytes: &[u8]| -> Vec<Event> {
        let events = events(bytes).into_iter();
        events
            .map(|event| Event {
                wall_time: 0.0,
                ..event
            })
            .collect()
    };
    assert_eq!(without_clock(&written(directory.path())), without_clock(&fixture));
    let read = std::fs::read_to_string(format!("{PARITY}/read.json")).unwrap();
    let read: Vec<(String, i64, f32)> = serde_json::from_str(&read).unwrap();
    let scalars = scalars(&events(&fixture)).into_iter();
    let mut scalars: Vec<_> = scalars.map(|(step, tag, value)| (tag, step, value)).collect();
    scalars.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    assert_eq!(read, scalars);
}

/// Writes the fixture again; run it by hand.
#[test]
#[ignore = "writes the fixture that learner/parity/tensorboard/read.py asks TensorBoard about"]
fn write_the_fixture() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        format!("{PARITY}/events.out.tfevents.fixture"),
        written(directory.path()),
    )
    .unwrap();
}
