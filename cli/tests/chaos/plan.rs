//! What is still to be killed, and when: drawn from a seed.

use crate::place::Role;
use failpoint::Point;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The reaches that a point may be hit at.
const REACHES: std::ops::RangeInclusive<u32> = 1..=2;

/// The points that a run reaches at its end only, in this order.
const LAST: [Point; 2] = [Point::EndRecorded, Point::AdapterWrite];

/// The deaths that are still to come.
pub(crate) struct Plan {
    kills: BTreeMap<Role, u32>,
    points: BTreeMap<Role, VecDeque<Point>>,
    longest_peace: Duration,
    /// Somebody is to die as a relay. A second one would serve nobody.
    relay_is_armed: bool,
    draws: ChaCha8Rng,
}

impl Plan {
    /// So many kills of each role, and each point so many times. A role that does its work is left alone for at most
    /// `longest_peace`.
    pub(crate) fn new(kills: u32, each_point: u32, longest_peace: Duration, seed: u64) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        let mut points: BTreeMap<Role, VecDeque<Point>> = BTreeMap::new();
        for _ in 0..each_point {
            for &point in Point::ALL.iter().filter(|point| !LAST.contains(point)) {
                let of_role = points.entry(Role::of(point)).or_default();
                of_role.insert(draws.random_range(0..=of_role.len()), point);
            }
        }
        if each_point > 0 {
            points.entry(Role::Learner).or_default().extend(LAST);
        }
        Self {
            kills: Role::ALL.map(|role| (role, kills)).into(),
            points,
            longest_peace,
            relay_is_armed: false,
            draws,
        }
    }

    /// Whether somebody is still to die.
    pub(crate) fn is_pending(&self) -> bool {
        self.kills.values().any(|&kills| kills > 0) || self.points.values().any(|points| !points.is_empty())
    }

    /// The points that somebody is still to die at.
    pub(crate) fn points(&self) -> impl Iterator<Item = Point> {
        self.points.values().flatten().copied()
    }

    /// The point that the next process of a role is to die at, and at which reach.
    pub(crate) fn next_point(&mut self, role: Role) -> Option<(Point, u32)> {
        let kills = self.kills[&role];
        let points = self.points.get_mut(&role)?;
        // Whoever waits for the end of the run cannot be killed before.
        let point = match points.front()? {
            point if LAST.contains(point) && kills > 0 => return None,
            Point::RelayChunk if self.relay_is_armed => return None,
            _ => points.pop_front()?,
        };
        self.relay_is_armed |= point == Point::RelayChunk;
        let once = matches!(
            point,
            Point::Fenced | Point::CheckpointRetire | Point::EndRecorded | Point::AdapterWrite
        );
        Some((point, if once { 1 } else { self.draws.random_range(REACHES) }))
    }

    /// The point of a role's first process in a run: kills, after which the next process has one, are over.
    pub(crate) fn first_point(&mut self, role: Role) -> Option<(Point, u32)> {
        (self.kills[&role] == 0).then(|| self.next_point(role)).flatten()
    }

    /// A process died at its point.
    pub(crate) fn hit(&mut self, point: Point) {
        self.relay_is_armed &= point != Point::RelayChunk;
    }

    /// A process did not come to its point.
    pub(crate) fn missed(&mut self, point: Point) {
        self.hit(point);
        let of_role = self.points.entry(Role::of(point)).or_default();
        match point {
            point if LAST.contains(&point) => of_role.push_back(point),
            _ => of_role.push_front(point),
        }
    }

    /// How long a process of a role that works now is left alone; `None` for good.
    pub(crate) fn peace(&mut self, role: Role) -> Option<Duration> {
        let longest = self.longest_peace.as_micros() as u64;
        (self.kills[&role] > 0).then(|| Duration::from_micros(self.draws.random_range(0..longest)))
    }

    /// A process of a role is about to be killed; whether it may.
    pub(crate) fn take_kill(&mut self, role: Role) -> bool {
        let kills = self.kills.get_mut(&role).expect("every role has a number");
        let left = *kills > 0;
        *kills = kills.saturating_sub(1);
        left
    }

    /// A process that was to be killed had ended before.
    pub(crate) fn spare(&mut self, role: Role) {
        *self.kills.entry(role).or_default() += 1;
    }
}
