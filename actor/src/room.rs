//! How many tasks an actor takes on at a time: as many as have room in `actor.memory_bytes`.
//!
//! An actor works on one lease at a time. What is counted of each of its tasks, and when:
//! - its cut-out and its completions, from before anything is sampled until the outcomes are submitted;
//! - the pictures of its group, the products placed in them and the PNG that is being written, while they are made: as large as the
//!   largest so far before the image generator is asked, as large as they are once it has answered, and no longer once their PNGs are
//!   counted. Of a group that is given up they are counted until the generator is done with it, and the cut-out with them;
//! - PNGs, and as much again for the request that sends them, from then until the outcomes are submitted.
//!
//! So as many tasks are leased as have room by the largest parts of one so far, while `actor.concurrent_renders` groups are made. What is
//! larger than expected fails its own task, and the next lease is smaller. Not counted are the one cut-out that is being decoded and what
//! a generator takes beside its pictures. What is kept for later has bounds of its own; weights are not counted here.

use crate::{ActorConfig, ActorError, failure::Failure};
use common::FailureReason;
use proto::{ByteBudget, ByteCharge};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// What a pixel takes at most while its picture is made: the picture, and the product as it stands in it.
const RAW_BYTES_PER_PIXEL: usize = 3 + 4;

/// How many times the bytes of the largest picture of a group its PNG takes while it is written: in the encoder, and behind it. One is
/// hardly ever larger than its picture.
const WRITING: usize = 2;

/// What a pixel takes at most until its outcome is submitted: the PNG, and the request in which that is sent.
const PNG_BYTES_PER_PIXEL: usize = 2 * 3;

/// A usual picture's pixels: until one is known.
const USUAL_PICTURE: usize = 512 * 512;

/// A usual cut-out's bytes: until one is known.
const USUAL_CUT_OUT: usize = 800 * 800 * 4;

/// What a token takes: its number and log-probability, its text, and the same in the request in which they are sent.
const BYTES_PER_TOKEN: usize = 32;

/// What finds no room, for people.
const PICTURES: &str = "its pictures";

/// The bound of an actor.
#[derive(Debug)]
pub(crate) struct Room {
    budget: Arc<ByteBudget>,
    most: usize,
    group_size: usize,
    /// Groups whose pictures are made at the same time.
    renders: usize,
    /// The most that a group's completions take.
    completions: usize,
    /// The most that a task has taken, by part; 0 before there was one.
    cut_out: AtomicUsize,
    raw: AtomicUsize,
    pngs: AtomicUsize,
    /// What a task takes whose pictures have no room even alone.
    too_large: OnceLock<usize>,
}

/// The pictures of a group, from before they are made until their PNGs are counted.
#[derive(Debug)]
pub(crate) struct Making {
    charge: ByteCharge,
    /// Their task's cut-out, which that holds.
    cut_out: usize,
    /// What they take: as expected, then as found.
    raw: usize,
}

/// The pictures of a group as the image generator gives them, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Raw {
    /// Themselves.
    pub(crate) pictures: usize,
    /// The largest of them.
    pub(crate) largest: usize,
    /// The products as they stand in them.
    pub(crate) placed: usize,
}

impl Room {
    /// As an actor is told.
    pub(crate) fn of(config: &ActorConfig) -> Self {
        Self {
            renders: config.concurrent_renders,
            ..Self::new(config.memory_bytes, config.group_size, config.max_new_tokens)
        }
    }

    /// Room for `most` bytes of tasks with so many completions of so many tokens at most, of which one at a time is rendered.
    pub(crate) fn new(most: usize, group_size: usize, tokens: usize) -> Self {
        Self {
            budget: Arc::new(ByteBudget::new(most)),
            most,
            group_size,
            renders: 1,
            completions: group_size * tokens * BYTES_PER_TOKEN,
            cut_out: AtomicUsize::new(0),
            raw: AtomicUsize::new(0),
            pngs: AtomicUsize::new(0),
            too_large: OnceLock::new(),
        }
    }

    /// How many tasks may be leased where `wanted` are, beside what a group that was given up still holds: at least one.
    pub(crate) fn tasks(&self, wanted: usize) -> usize {
        let raw = self.expected_raw();
        let pngs = known(&self.pngs, self.group_size * USUAL_PICTURE * PNG_BYTES_PER_PIXEL);
        let each = known(&self.cut_out, USUAL_CUT_OUT) + self.completions + pngs;
        // Of a few tasks all may be rendered at the same time.
        let free = self.most.saturating_sub(self.budget.held());
        let few = free / (each + raw);
        let room = match few < self.renders {
            true => few,
            false => (free - self.renders * raw) / each,
        };
        let tasks = room.clamp(1, wanted);
        if tasks < wanted {
            tracing::debug!(
                tasks,
                wanted,
                each,
                raw,
                free,
                most = self.most,
                "fewer tasks leased: actor.memory_bytes"
            );
        }
        tasks
    }

    /// What the pictures of a group are expected to take while they are made.
    fn expected_raw(&self) -> usize {
        let usual = self.group_size * RAW_BYTES_PER_PIXEL + WRITING * 3;
        known(&self.raw, usual * USUAL_PICTURE)
    }

    /// Counts a task by its cut-out, before anything is made of it. What is answered is its share of the room for as long as it is at hand.
    ///
    /// # Errors
    /// [`Failure`] of the task when there is no room for it: another actor may have some.
    pub(crate) fn task(&self, bytes: usize) -> Result<ByteCharge, Failure> {
        let needed = bytes + self.completions;
        if needed <= self.most {
            self.cut_out.fetch_max(bytes, Relaxed);
        }
        let task = self.budget.charge();
        let what = "its product's cut-out";
        self.count(&task, needed, needed, what, FailureReason::Storage)?;
        Ok(task)
    }

    /// Counts the pictures of a task, whose cut-out of so many bytes is counted, before they are made. They are expected to be as large as
    /// the largest so far, but no larger than a task has room for alone: otherwise one of them could keep all later ones from being tried.
    ///
    /// # Errors
    /// [`Failure`] of the task when there is no room for them.
    pub(crate) fn make(&self, cut_out: usize) -> Result<Making, Failure> {
        let held = cut_out + self.completions;
        let raw = self.expected_raw().min(self.most.saturating_sub(held));
        let charge = self.budget.charge();
        self.count(&charge, raw, held + raw, PICTURES, FailureReason::Rendering)?;
        Ok(Making { charge, cut_out, raw })
    }

    /// Counts what the pictures that were made take in the place of what was expected.
    ///
    /// # Errors
    /// [`Failure`] of the task when there is no room for them, and [`check`](Self::check)'s when there never will be.
    pub(crate) fn made(&self, making: &mut Making, found: Raw) -> Result<(), Failure> {
        let raw = found.pictures + found.placed + WRITING * found.largest;
        let expected = std::mem::replace(&mut making.raw, raw);
        making.charge.give_back(expected.saturating_sub(raw));
        let more = raw.saturating_sub(expected);
        let held = making.cut_out + self.completions;
        let group = self.completions + raw;
        // No PNG is there yet.
        self.learn(&self.raw, raw, group, held + raw + 2 * found.pictures);
        self.count(
            &making.charge,
            more,
            held + raw,
            PICTURES,
            FailureReason::Rendering,
        )
    }

    /// Counts so many bytes of PNG, for as long as their `task` is, in the place of the pictures that they are made of.
    ///
    /// # Errors
    /// As [`made`](Self::made).
    pub(crate) fn encoded(&self, task: &ByteCharge, making: Making, png: usize) -> Result<(), Failure> {
        let pngs = 2 * png;
        // Both are counted for a moment: with the pictures gone first, another group could take the room.
        let group = self.completions + making.raw + pngs;
        let alone = making.cut_out + group;
        self.learn(&self.pngs, pngs, group, alone);
        self.count(task, pngs, alone, PICTURES, FailureReason::Rendering)
    }

    /// Remembers what a part of a group's pictures takes, or that no such group has room: one that takes `group` bytes without a cut-out, which
    /// is its product's alone, and `alone` with it.
    fn learn(&self, part: &AtomicUsize, bytes: usize, group: usize, alone: usize) {
        if group <= self.most {
            part.fetch_max(bytes, Relaxed);
        } else {
            // Of several the first one's size does.
            let _told = self.too_large.set(alone);
        }
    }

    /// Whether the pictures of every group so far would have room alone.
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

    /// What is held now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.budget.held()
    }

    fn count(
        &self,
        charge: &ByteCharge,
        bytes: usize,
        alone: usize,
        what: &str,
        reason: FailureReason,
    ) -> Result<(), Failure> {
        let most = self.most;
        charge.add(bytes).map_err(|full| match alone > most {
            true => Failure::retryable(
                reason,
                format!("with {what} the task takes {alone} bytes, more than actor.memory_bytes = {most}"),
            ),
            false => Failure::without_room(
                reason,
                format!(
                    "no room for the {bytes} bytes of {what}: {} are held of actor.memory_bytes = {most}",
                    full.held
                ),
            ),
        })
    }
}

/// The largest so far, or a usual one before there was any.
fn known(part: &AtomicUsize, usual: usize) -> usize {
    match part.load(Relaxed) {
        0 => usual,
        largest => largest,
    }
}

#[cfg(test)]
mod tests;
