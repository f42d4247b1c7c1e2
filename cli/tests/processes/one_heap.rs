//! A service's threads share one heap: each heap of its own would keep pages that nobody uses.

use crate::program::{Guarded, adwright, line_in, signal, wait_until};
use std::fs;

/// What glibc reserves for a heap that is not the first, and where it begins at a multiple of ([`arena.c`], `HEAP_MAX_SIZE`).
///
/// [`arena.c`]: https://sourceware.org/git/?p=glibc.git;a=blob;f=malloc/arena.c
const RESERVED: u64 = 64 << 20;

/// The beginnings of heaps beside the first: what is in use, then what is reserved, up to the next multiple.
fn further_heaps(maps: &str) -> Vec<u64> {
    let mappings: Vec<(u64, u64, &str)> = maps.lines().map(mapping).collect();
    let is_heap = |pair: &&[(u64, u64, &str)]| {
        let ((begins, ends, used), (reserved, until, rest)) = (pair[0], pair[1]);
        begins % RESERVED == 0
            && used == "rw-p"
            && ends == reserved
            && rest == "---p"
            && until == begins + RESERVED
    };
    mappings
        .windows(2)
        .filter(is_heap)
        .map(|pair| pair[0].0)
        .collect()
}

/// Of a line of `/proc/PID/maps`: from where to where, and what for.
fn mapping(line: &str) -> (u64, u64, &str) {
    let (range, rest) = line.split_once(' ').unwrap();
    let (begins, ends) = range.split_once('-').unwrap();
    let address = |digits| u64::from_str_radix(digits, 16).unwrap();
    (address(begins), address(ends), rest.split(' ').next().unwrap())
}

#[test]
fn a_services_threads_share_one_heap() {
    let directory = tempfile::tempdir().unwrap();
    // It waits for a learner that is not there, with every thread of its own.
    let arguments = [
        "actor",
        "--learner=http://127.0.0.1:9",
        "--store=store",
        "--id=one",
    ];
    let mut actor = Guarded(adwright(directory.path(), &arguments));
    line_in(
        &directory.path().join("stderr.log"),
        "waiting: the peer does not serve",
    );
    let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", actor.0.id())).unwrap();
    wait_until("its threads", || {
        fs::read_dir(format!("/proc/{}/task", actor.0.id()))
            .unwrap()
            .count()
            > 4
    });
    assert_eq!(further_heaps(&read("maps")), [0; 0], "{}", read("maps"));
    signal(actor.0.id(), "TERM");
    actor.0.wait().unwrap();
}

#[test]
fn heaps_are_told_from_stacks() {
    let maps = "\
555500000000-555500021000 rw-p 00000000 00:00 0                          [heap]
7f0004000000-7f0004021000 rw-p 00000000 00:00 0
7f0004021000-7f0008000000 ---p 00000000 00:00 0
7f0010000000-7f0010001000 ---p 00000000 00:00 0
7f0010001000-7f0010801000 rw-p 00000000 00:00 0
";
    assert_eq!(further_heaps(maps), [0x7f00_0400_0000]);
}
