//! Zip files made by hand: their directory, and what it says wrongly.

use super::pickles::{dict_of, tensor};
use super::*;

/// Name and data of a zip entry.
type Part<'a> = (&'a str, &'a [u8]);

/// A zip file of stored entries; `edit` may change the records of the directory.
pub(super) fn zip_of(entries: &[Part], edit: impl Fn(&str, &mut [u8])) -> Vec<u8> {
    let (mut bytes, mut directory) = (vec![], vec![]);
    for (name, data) in entries {
        let len = (data.len() as u32).to_le_bytes();
        let header = [
            &[0; 12][..], // Flags, method, time, checksum.
            &len,
            &len,
            &(name.len() as u16).to_le_bytes(),
        ]
        .concat();
        let mut record = [
            b"PK\x01\x02\x14\0\x14\0",
            &header[..],
            &[0; 12],
            &(bytes.len() as u32).to_le_bytes(),
        ]
        .concat();
        edit(name, &mut record);
        directory.extend([&record, name.as_bytes()].concat());
        bytes.extend([b"PK\x03\x04\x14\0", &header[..], &[0; 2], name.as_bytes(), data].concat());
    }
    let (at, len) = (bytes.len() as u32, directory.len() as u32);
    bytes.extend(directory);
    let count = (entries.len() as u16).to_le_bytes();
    bytes.extend(
        [
            b"PK\x05\x06\0\0\0\0",
            &count[..],
            &count,
            &len.to_le_bytes(),
            &at.to_le_bytes(),
            &[0; 2],
        ]
        .concat(),
    );
    bytes
}

#[test]
fn zip_files_that_lie_are_errors() {
    let pickle = dict_of(&tensor(4, 0, &[4], &[1]));
    let entries = [("m/data.pkl", &pickle[..]), ("m/data/0", &[0; 16])];
    let opened =
        |entries: &[Part], edit: &dyn Fn(&str, &mut [u8])| TorchFile::new(Cursor::new(zip_of(entries, edit)));
    assert!(opened(&entries, &|_, _| {}).is_ok());

    // Sizes, offset, checks of the record in the directory.
    let edits: [(&str, usize, &[u8], &str); 8] = [
        (
            "m/data/0",
            20,
            &[17, 0, 0, 0, 17, 0, 0, 0],
            "entry \"m/data/0\" is misplaced or cut off",
        ),
        (
            "m/data/0",
            20,
            &[15, 0, 0, 0, 15, 0, 0, 0],
            "the file has 3 of them",
        ),
        ("m/data/0", 20, &[15, 0, 0, 0], "entry 1 of its directory"),
        ("m/data/0", 20, &[0xff; 8], "entry 1 of its directory"),
        ("m/data/0", 42, &[1, 0, 0, 0], "entry \"m/data/0\" is misplaced"),
        (
            "m/data/0",
            42,
            &[0xfe, 0xff, 0xff, 0xff],
            "entry \"m/data/0\" is misplaced",
        ),
        (
            "m/data.pkl",
            8,
            &[1, 0],
            "entry 0 of its directory is cut off, compressed or encrypted",
        ),
        (
            "m/data.pkl",
            10,
            &[8, 0],
            "entry 0 of its directory is cut off, compressed or encrypted",
        ),
    ];
    for (name, at, bytes, expected) in edits {
        let edit = |found: &str, record: &mut [u8]| {
            if found == name {
                record[at..at + bytes.len()].copy_from_slice(bytes);
            }
        };
        let message = message(opened(&entries, &edit));
        assert!(message.contains(expected), "{name} {at}: {message}");
    }

    let pickle = entries[0];
    let lies: [(&[Part], &str); 6] = [
        (&[pickle], "key \"a\": its storage is not in the file"),
        (&[pickle, pickle], "two entries \"m/data.pkl\""),
        (&[entries[1]], "expected one entry data.pkl"),
        (&[pickle, ("data.pkl", pickle.1)], "expected one entry data.pkl"),
        (&[pickle, ("m/byteorder", b"big")], "byteorder is not little"),
        (
            &[pickle, ("m/byteorder", &[b'l'; 17])],
            "is 17 bytes, expected at most 16",
        ),
    ];
    for (entries, expected) in lies {
        let message = message(opened(entries, &|_, _| {}));
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn sizes_and_offsets_in_zip64_fields_are_read() {
    // What a shard of more than 4 GiB has: a record with all three numbers in the extra field, behind another.
    let field = [
        &b"ab\x03\0xyz\x01\0\x18\0"[..],
        &(5u64 << 32).to_le_bytes(),
        &(5u64 << 32).to_le_bytes(),
        &(6u64 << 32).to_le_bytes(),
    ]
    .concat();
    let mut record = [0; 46];
    record[..4].copy_from_slice(b"PK\x01\x02");
    record[20..28].fill(0xff);
    record[28..32].copy_from_slice(&[1, 0, field.len() as u8, 0]);
    record[42..].fill(0xff);
    let directory = [&record, &b"n"[..], &field, b"rest"].concat();
    let mut rest = &directory[..];
    assert_eq!(zip::next_entry(&mut rest), Some(("n", (6 << 32, 5 << 32))));
    assert_eq!(rest, b"rest");
}
