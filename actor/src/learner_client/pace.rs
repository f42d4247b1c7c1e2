//! How much of a stream must come in how long. Pure: whoever asks brings the time.

use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;

/// What is borne from who sends: no stretch of time without at least so many bytes, or the rest of an artifact where that is less.
/// `n` bytes take no longer than `n / least + 1` stretches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long.
    pub(super) stretch: Duration,
    /// How many.
    pub(super) least: u64,
}

/// A stream that is held to its pace.
#[derive(Debug)]
pub(super) struct Paced {
    pace: Pace,
    /// When the stretch is over.
    until: Instant,
    /// What has come in it.
    came: u64,
}

impl Pace {
    /// A stream that begins now.
    pub(super) fn from(self, now: Instant) -> Paced {
        Paced {
            pace: self,
            until: now + self.stretch,
            came: 0,
        }
    }
}

impl Paced {
    /// When the stream is given up unless more comes.
    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// Bytes came. A message without any is no sign of going on.
    pub(super) fn bring(&mut self, bytes: u64, now: Instant) {
        self.came += bytes;
        if self.came >= self.pace.least {
            *self = self.pace.from(now);
        }
    }

    /// Why the stream is given up.
    pub(super) fn too_late(&self) -> Status {
        let Pace { stretch, least } = self.pace;
        let (came, seconds) = (self.came, stretch.as_secs_f64());
        Status::deadline_exceeded(match came {
            0 => format!("the stream stands still: nothing came in {seconds} s"),
            _ => format!(
                "the stream is too slow: {came} bytes came in {seconds} s, where {least} or the rest should have"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STRETCH: Duration = Duration::from_secs(10);

    fn begun(least: u64) -> (Paced, Instant) {
        let (pace, now) = (
            Pace {
                stretch: STRETCH,
                least,
            },
            Instant::now(),
        );
        (pace.from(now), now)
    }

    #[test]
    fn only_what_is_enough_begins_another_stretch() {
        let (mut paced, begin) = begun(10);
        let after = |seconds| begin + Duration::from_secs(seconds);
        for (at, bytes, until) in [(3, 9, 10), (4, 0, 10), (5, 1, 15), (14, 9, 15), (15, 30, 25)] {
            paced.bring(bytes, after(at));
            assert_eq!(paced.until(), after(until), "after {bytes} bytes at {at} s");
        }
    }

    #[test]
    fn what_is_said_tells_a_stream_that_stands_still_from_one_that_is_too_slow() {
        let (mut paced, begin) = begun(10);
        assert!(paced.too_late().message().contains("nothing came in 10 s"));
        paced.bring(4, begin);
        let slow = paced.too_late();
        assert!(
            slow.message().contains("4 bytes came in 10 s, where 10"),
            "{slow}"
        );
    }

    proptest! {
        #[test]
        fn a_stream_that_is_never_too_late_is_whole_in_time(
            least in 1u64..1_000,
            steps in prop::collection::vec((0u64..12_000, 0u64..500), 1..200),
        ) {
            let (mut paced, begin) = begun(least);
            let (mut now, mut whole) = (begin, 0);
            for (pause, bytes) in steps {
                now += Duration::from_millis(pause);
                if now >= paced.until() {
                    break;
                }
                paced.bring(bytes, now);
                whole += bytes;
                let longest = STRETCH * u32::try_from(whole / least + 1).unwrap();
                prop_assert!(now <= begin + longest, "{whole} bytes in {:?}", now - begin);
            }
        }
    }
}
