//! How many tasks an actor takes on at a time: as many as have room in `actor.memory_bytes`.
//!
//! An actor works on one lease at a time and holds its cut-outs, completions and pictures until its outcomes are submitted. What a task
//! takes is known once its pictures are there. So as many tasks are leased as have room by the largest parts of one so far, and what
//! a lease holds is counted as it comes: what was larger than expected fails its own task, and the next lease is smaller.
//! What is kept for later has bounds of its own; weights are not counted here.

use crate::{ActorConfig, ActorError, failure::Failure};
use common::FailureReason;
use proto::{ByteBudget, ByteCharge};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What a pixel of a picture takes at most until its outcome is submitted: the picture, the product as it stands in it, the PNG and
/// the request in which that is sent.
const BYTES_PER_PIXEL: usize = 3 + 4 + 2 * 3;

/// A usual picture's pixels: until one is known.
const USUAL_PICTURE: usize = 512 * 512;

/// A usual cut-out's bytes: until one is known.
const USUAL_CUT_OUT: usize = 800 * 800 * 4;

/// What a token takes: its number and log-probability, its text, and the same in the request in which they are sent.
const BYTES_PER_TOKEN: usize = 32;

/// The bound of an actor.
#[derive(Debug)]
pub(crate) struct Room {
    budget: Arc<ByteBudget>,
    most: usize,
    group_size: usize,
    /// The most that a group's completions take.
    completions: usize,
    /// The most that a task has taken, by part; 0 before there was one.
    cut_out: AtomicUsize,
    pictures: AtomicUsize,
    /// What a group took that has no room even alone.
    too_large: OnceLock<usize>,
}

impl Room {
    /// As an actor is told.
    pub(crate) fn of(config: &ActorConfig) -> Self {
        Self::new(config.memory_bytes, config.group_size, config.max_new_tokens)
    }

    /// Room for `most` bytes of tasks with so many completions of so many tokens at most.
    pub(crate) fn new(most: usize, group_size: usize, tokens: usize) -> Self {
        Self {
            budget: Arc::new(ByteBudget::new(most)),
            most,
            group_size,
            completions: group_size * tokens * BYTES_PER_TOKEN,
            cut_out: AtomicUsize::new(0),
            pictures: AtomicUsize::new(0),
            too_large: OnceLock::new(),
        }
    }

    /// How many tasks may be leased where `wanted` are: at least one.
    pub(crate) fn tasks(&self, wanted: usize) -> usize {
        let known = |part: &AtomicUsize, usual: usize| match part.load(Relaxed) {
            0 => usual,
            largest => largest,
        };
        let pictures = self.group_size * USUAL_PICTURE * BYTES_PER_PIXEL;
        let each = known(&self.cut_out, USUAL_CUT_OUT) + known(&self.pictures, pictures) + self.completions;
        let tasks = (self.most / each).clamp(1, wanted);
        if tasks < wanted {
            tracing::debug!(
                tasks,
                wanted,
                each,
                most = self.most,
                "fewer tasks leased: actor.memory_bytes"
            );
        }
        tasks
    }

    /// What a lease holds, of which nothing has come yet.
    pub(crate) fn lease(&self) -> ByteCharge {
        self.budget.charge()
    }

    /// Counts the cut-out of a task.
    ///
    /// # Errors
    /// [`Failure`] of the task when there is no room for it: another actor may have some.
    pub(crate) fn cut_out(&self, lease: &ByteCharge, bytes: usize) -> Result<(), Failure> {
        let needed = bytes + self.completions;
        if needed <= self.most {
            self.cut_out.fetch_max(bytes, Relaxed);
        }
        let what = "its product's cut-out";
        self.count(lease, needed, needed, what, FailureReason::Storage)
    }

    /// Counts the pictures of a task whose cut-out, of so many bytes, is counted.
    ///
    /// # Errors
    /// [`Failure`] of the task when there is no room for them, and [`check`](Self::check)'s when there never will be.
    pub(crate) fn pictures(&self, lease: &ByteCharge, cut_out: usize, bytes: usize) -> Result<(), Failure> {
        let alone = cut_out + self.completions + bytes;
        if alone <= self.most {
            self.pictures.fetch_max(bytes, Relaxed);
        } else {
            // Of several the first one's size does.
            let _told = self.too_large.set(alone);
        }
        let what = "its pictures";
        self.count(lease, bytes, alone, what, FailureReason::Rendering)
    }

    /// Whether every group so far would have room alone.
    ///
    /// # Errors
    /// [`ActorError::GroupTooLarge`]: its pictures are as large as those of any other.
    pub(crate) fn check(&self) -> Result<(), ActorError> {
        match self.too_large.get() {
            None => Ok(()),
            Some(&bytes) => Err(ActorError::GroupTooLarge {
                bytes,
                most: self.most,
                group_size: self.group_size,
            }),
        }
    }

    fn count(
        &self,
        lease: &ByteCharge,
        bytes: usize,
        alone: usize,
        what: &str,
        reason: FailureReason,
    ) -> Result<(), Failure> {
        let most = self.most;
        lease.add(bytes).map_err(|full| {
            let detail = match alone > most {
                true => {
                    format!("with {what} the task takes {alone} bytes, more than actor.memory_bytes = {most}")
                }
                false => format!(
                    "no room for the {bytes} bytes of {what}: the lease holds {} of actor.memory_bytes = {most}",
                    full.held
                ),
            };
            Failure::retryable(reason, detail)
        })
    }
}

/// What a picture takes until its outcome is submitted: itself and the product that stands in it, in bytes, and its PNG.
pub(crate) fn picture_bytes(picture: usize, placed: usize, png: usize) -> usize {
    picture + placed + 2 * png
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn room(most: usize) -> Room {
        Room::new(most, 2, 4)
    }

    #[test]
    fn by_default_a_lease_of_usual_pictures_has_room() {
        let config = ActorConfig::default();
        assert_eq!(
            Room::of(&config).tasks(config.tasks_per_lease),
            config.tasks_per_lease
        );
    }

    #[test]
    fn as_many_tasks_are_leased_as_have_room_by_the_largest_so_far_and_at_least_one() {
        let room = room(64 * MIB);
        // Before anything is known, pictures are usual ones: 6.5 MiB a group and 2.4 MiB a cut-out.
        assert_eq!((room.tasks(16), room.tasks(3)), (7, 3));
        let lease = room.lease();
        room.cut_out(&lease, MIB).unwrap();
        room.pictures(&lease, MIB, 3 * MIB - room.completions).unwrap();
        assert_eq!(room.tasks(100), 16);
        room.pictures(&lease, MIB, 7 * MIB - room.completions).unwrap();
        assert_eq!(room.tasks(100), 8);
        // A smaller one afterwards changes nothing.
        room.pictures(&lease, MIB, MIB).unwrap();
        assert_eq!(room.tasks(100), 8);
        room.pictures(&lease, MIB, 40 * MIB).unwrap();
        assert_eq!(room.tasks(100), 1);
    }

    #[test]
    fn what_finds_no_room_beside_others_fails_alone_and_the_next_lease_is_smaller() {
        let room = room(10 * MIB);
        let lease = room.lease();
        for _ in 0..2 {
            room.cut_out(&lease, MIB).unwrap();
            room.pictures(&lease, MIB, 2 * MIB).unwrap();
        }
        let failure = room.pictures(&lease, MIB, 5 * MIB).unwrap_err();
        assert!(
            failure
                .detail()
                .contains("no room for the 5242880 bytes of its pictures"),
            "{}",
            failure.detail()
        );
        assert!(!failure.outcome(common::TaskId(3)).is_terminal());
        assert_eq!(room.tasks(16), 1);
        room.check().unwrap();
        drop(lease);
        let lease = room.lease();
        room.pictures(&lease, MIB, 5 * MIB).unwrap();
    }

    #[test]
    fn a_group_that_has_no_room_alone_ends_the_actor_and_a_cut_out_fails_its_task_only() {
        let room = room(10 * MIB);
        let lease = room.lease();
        let failure = room.cut_out(&lease, 11 * MIB).unwrap_err();
        assert!(
            failure
                .detail()
                .contains("more than actor.memory_bytes = 10485760"),
            "{}",
            failure.detail()
        );
        room.check().unwrap();
        assert!(room.pictures(&lease, MIB, 11 * MIB).is_err());
        let error = room.check().unwrap_err();
        assert!(matches!(error, ActorError::GroupTooLarge { group_size: 2, .. }));
        let told = error.to_string();
        assert!(
            told.contains("actor.memory_bytes = 10485760") && told.contains("actor.group_size"),
            "{told}"
        );
    }
}
