//! Damaged and hostile checkpoints: each is read or an error, none a panic, and none takes much memory. Alone
//! in its process, because it looks at the process's memory.

#![allow(clippy::unwrap_used)]

use std::io::Cursor;

use models::weights::torch_bin::{TorchError, TorchFile};

fn fixture(name: &str) -> Vec<u8> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/torch_bin");
    std::fs::read(format!("{directory}/torch_bin_{name}.bin")).unwrap()
}

/// Opens the file and reads all its tensors; how many there are.
fn read_all(bytes: Vec<u8>) -> Result<usize, TorchError> {
    let mut file = TorchFile::new(Cursor::new(bytes))?;
    let names: Vec<_> = file.names().map(str::to_owned).collect();
    for name in &names {
        let bytes = file.read(name)?;
        let entry = file.entry(name).unwrap();
        assert_eq!(bytes.len(), entry.numel() * entry.dtype.size());
    }
    Ok(names.len())
}

/// A checkpoint of nothing but this pickle.
fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    let header = |start: &[u8], zeros: usize| {
        let len = (pickle.len() as u32).to_le_bytes();
        [start, &vec![0; zeros], &len, &len, &[8, 0, 0, 0]].concat()
    };
    let data = [&header(b"PK\x03\x04", 14), &b"data.pkl"[..], pickle].concat();
    let record = [&header(b"PK\x01\x02", 16), &[0; 14][..], b"data.pkl"].concat();
    let place = [
        (record.len() as u32).to_le_bytes(),
        (data.len() as u32).to_le_bytes(),
    ]
    .concat();
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &place[..], &[0; 2]].concat();
    [data, record, end].concat()
}

/// The most virtual memory that the process ever had, in MB.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmPeak:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[cfg(not(target_os = "linux"))]
fn peak() -> u64 {
    0
}

#[test]
fn no_damage_makes_the_reader_panic_or_take_much_memory() {
    let before = peak();
    for name in ["module", "views"] {
        let whole = fixture(name);
        assert!(read_all(whole.clone()).is_ok());
        for len in 0..whole.len() {
            assert!(read_all(whole[..len].to_vec()).is_err(), "{name}, {len} bytes");
        }
    }

    // Xorshift; a few bytes at once, since one alone is often in what nobody reads.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut read, mut refused) = (0, 0);
    let fixtures = ["module", "views", "wrapped"].map(fixture);
    for round in 0..20_000 {
        let mut bytes = fixtures[round % 3].clone();
        for _ in 0..=next(4) {
            let at = next(bytes.len());
            bytes[at] = if next(4) == 0 { 0xff } else { next(256) as u8 };
        }
        match read_all(bytes) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 1000 && refused > 1000, "{read} read, {refused} refused");
    let small = peak() - before;
    assert!(small < 64, "{small} MB for files of a few kB");

    // As deep, as many and as much shared as it gets: nesting, references to references, the largest pickle.
    let deep = [vec![b')'], vec![0x85; 3 << 20], b".".to_vec()].concat();
    let shared = [b")q\0", &b"h\0h\0\x86q\0".repeat(1 << 19)[..], b"."].concat();
    let lists = [b"]q\0", &b"h\0a".repeat(1 << 20)[..], b"."].concat();
    let itself = b"}q\0X\x01\0\0\0ah\0s.".to_vec();
    let many = [&b"}".repeat(5 << 20)[..], b"."].concat();
    let marks = [&b"(".repeat(5 << 20)[..], b"."].concat();
    let singles = [&b")\x85".repeat(3 << 20)[..], b"."].concat();
    let longest = vec![b'X'; 65 << 20];
    let dims = b"K\0K\0K\0K\0K\0K\0K\0K\0";
    let tensors = [
        b"ctorch._utils\n_rebuild_tensor_v2\nq\0((X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0\x30NK\0tQK\0(",
        &dims[..],
        b"tq\x02h\x02N}tq\x01",
        &b"h\0h\x01R".repeat((4 << 20) / 3),
        b".",
    ]
    .concat();
    for pickle in [
        deep, shared, lists, itself, many, marks, singles, longest, tensors,
    ] {
        let result = read_all(with_pickle(&pickle));
        assert!(
            result.is_err(),
            "{}",
            pickle[..40.min(pickle.len())].escape_ascii()
        );
    }
    let large = peak() - before;
    assert!(large < 512, "{large} MB");
}
