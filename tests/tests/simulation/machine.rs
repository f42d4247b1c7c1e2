//! What the operating system tells a process of chance and time, the same every time.
//!
//! The hashers of maps, and the order in which the runtime looks at branches, are seeded with its random numbers; HTTP answers carry
//! its date. The standard library and whoever else asks find these functions where the C library's would be; until [`hold`] they
//! answer as those do. The roles' own clock is the runtime's, which stands still between steps.

#![allow(unsafe_code, reason = "they stand in for functions of the C library")]

use rustix::rand::GetRandomFlags;
use rustix::time::ClockId;
use std::ffi::{c_int, c_long, c_uint, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Whether chance and time are held.
static HELD: AtomicBool = AtomicBool::new(false);

/// How far the generator has come.
static STATE: AtomicU64 = AtomicU64::new(0);

/// Microseconds since the process began, one a question; the origin of every clock is a day in 2026.
static CLOCK: AtomicU64 = AtomicU64::new(0);
const ORIGIN_S: u64 = 1_790_000_000;
const MICROS_PER_S: u64 = 1_000_000;

/// From now on this process hears the same of chance and time as every other one. A thread that has asked before remembers.
pub(crate) fn hold() {
    HELD.store(true, Ordering::Relaxed);
}

/// As in `getrandom(2)`.
#[unsafe(no_mangle)]
extern "C" fn getrandom(buffer: *mut c_void, length: usize, _flags: c_uint) -> isize {
    if !HELD.load(Ordering::Relaxed) {
        // SAFETY: the caller promises `length` bytes that it owns at `buffer`.
        let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<MaybeUninit<u8>>(), length) };
        let drawn = rustix::rand::getrandom(buffer, GetRandomFlags::empty());
        return drawn.map_or(-1, |(drawn, _)| drawn.len() as isize);
    }
    for at in 0..length {
        // SAFETY: the caller promises `length` bytes that it owns at `buffer`.
        unsafe { buffer.cast::<u8>().add(at).write(random_byte()) };
    }
    length as isize
}

/// A byte of SplitMix64.
fn random_byte() -> u8 {
    let state = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 56) as u8
}

/// `CLOCK_REALTIME`.
const REALTIME: c_int = 0;

/// `struct timespec` of 64-bit Linux.
#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

/// As in `clock_gettime(2)`.
#[unsafe(no_mangle)]
extern "C" fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int {
    let now = if HELD.load(Ordering::Relaxed) {
        let micros = CLOCK.fetch_add(1, Ordering::Relaxed);
        Timespec {
            seconds: (ORIGIN_S + micros / MICROS_PER_S) as c_long,
            nanoseconds: (micros % MICROS_PER_S * 1_000) as c_long,
        }
    } else {
        let clock = match clock {
            REALTIME => ClockId::Realtime,
            _ => ClockId::Monotonic,
        };
        let now = rustix::time::clock_gettime(clock);
        Timespec {
            seconds: now.tv_sec,
            nanoseconds: now.tv_nsec,
        }
    };
    // SAFETY: the caller promises room for one at `time`.
    unsafe { time.write(now) };
    0
}
