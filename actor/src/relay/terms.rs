//! What a relay owes whoever fetches from it, and how long it is waited for. The numbers of both sides are here, because they stand on each
//! other: a relay must not be given up for one above it that is stopped or does not answer.
//!
//! Two things go wrong without a connection being closed. A process that is stopped answers no ping; one that lives may still bring nothing,
//! or next to nothing. Below one that lives and falls silent within a stream all give up theirs, after [`PASSED_ON_WITHIN`].

use failpoint::Mutation;
use proto::KeepAlive;
use std::time::Duration;

/// How long a relay may take to be reached, and to prove who it is.
pub(crate) const REACHED_WITHIN: Duration = Duration::from_secs(2);

/// How long a version may take to be announced to a relay once somebody has asked it for that: all hear of it from one learner, at about
/// the same time.
pub(crate) const ANNOUNCED_WITHIN: Duration = Duration::from_secs(2);

/// How long a relay may take to begin its answer, from the first attempt to reach it on: both of the above, and a second for a machine
/// whose cores all sample.
pub(crate) const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// When a relay that is silent is asked whether it lives: one that is stopped is given up after four seconds. Sooner than of others,
/// because a version is wanted at once and the learner has it.
pub(crate) const LIVES: KeepAlive = KeepAlive {
    silence: Duration::from_secs(1),
    answer: Duration::from_secs(3),
};

/// How long the next chunk may take to arrive at a relay before it sends who waits for it elsewhere. By then it has given up the one above
/// it, if that is stopped or does not answer, and has gone on with the learner: whoever is below notices a pause.
pub(crate) const PASSED_ON_WITHIN: Duration = Duration::from_secs(8);

/// The stretch of time in which so much must come ([`least`]), the first byte with it. Longer than the above, so that a relay that lives
/// has said itself what it lacks.
pub(crate) const STRETCH: Duration = Duration::from_secs(10);

/// A relay must bring this share of what the learner last brought in the same time. It shares its own line among the branches
/// of the tree, and gets what it passes on from one that does: an equal rate would be too much to ask.
const SHARE: f64 = 0.25;

/// What the learner is taken to bring in a second as long as nothing of a size that tells has come from it: 34 Mbit/s. A relay then owes
/// 1 MiB a second, and an adapter below 10 MiB whole in one stretch. Where the lines are slower than that the first relay is given up for
/// no fault of its own, and then the learner's rate is known.
const ASSUMED_RATE: f64 = (4 << 20) as f64;

/// How long a relay that was given up is not asked again.
pub(crate) const AVOIDED: Duration = Duration::from_secs(300);

const _: () = {
    assert!(ANSWERED_WITHIN.as_millis() > REACHED_WITHIN.as_millis() + ANNOUNCED_WITHIN.as_millis());
    assert!(PASSED_ON_WITHIN.as_millis() > ANSWERED_WITHIN.as_millis());
    assert!(PASSED_ON_WITHIN.as_millis() > LIVES.silence.as_millis() + LIVES.answer.as_millis());
    assert!(STRETCH.as_millis() > PASSED_ON_WITHIN.as_millis());
};

/// The fewest bytes that a relay may bring in a [`STRETCH`], where the learner has last brought so many a second.
pub(crate) fn least(learners_rate: Option<f64>) -> u64 {
    let rate = learners_rate.unwrap_or(ASSUMED_RATE);
    ((rate * SHARE * STRETCH.as_secs_f64()) as u64).max(1)
}

/// As long as that, or without end in a build that is told so.
pub(crate) fn at_most(time: Duration) -> Duration {
    const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    match failpoint::breaks(Mutation::EndlessPatience) {
        true => A_YEAR,
        false => time,
    }
}

/// [`LIVES`], within [`at_most`].
pub(crate) fn lives() -> KeepAlive {
    KeepAlive {
        silence: at_most(LIVES.silence),
        answer: at_most(LIVES.answer),
    }
}
