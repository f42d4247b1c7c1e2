//! The operating system's random numbers, as everything in this process gets them: the same ones every time.
//!
//! The hashers of maps, and the order in which the runtime looks at branches, are seeded with them. The standard library looks
//! this function up so that it can be put in its place.

#![allow(unsafe_code, reason = "it stands in for a function of the C library")]

use std::ffi::{c_uint, c_void};
use std::sync::atomic::{AtomicU64, Ordering};

/// How far the generator has come.
static STATE: AtomicU64 = AtomicU64::new(0);

/// As in `getrandom(2)`.
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    for at in 0..length {
        // SAFETY: the caller promises `length` bytes that it owns at `buffer`.
        unsafe { buffer.cast::<u8>().add(at).write(next()) };
    }
    length as isize
}

/// A byte of SplitMix64.
fn next() -> u8 {
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 56) as u8
}
