//! One run whose processes die and are started again, as whoever orchestrates them would: nobody looks why, and nothing is
//! changed in between.

use crate::lineage::Lineage;
use crate::place::{Acknowledged, End, Place, Role};
use crate::plan::Plan;
use anyhow::{Result, bail};
use failpoint::Point;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often it is looked what the processes do.
const TICK: Duration = Duration::from_millis(5);

/// How long a role may take to do its work again, and a process to come to its point.
const PATIENCE: Duration = Duration::from_secs(120);

/// What became of a run.
pub(crate) struct Storm {
    /// SIGKILLs that hit a process at work.
    pub(crate) kills: BTreeMap<Role, u32>,
    /// Deaths at a point.
    pub(crate) points: BTreeMap<Point, u32>,
    /// What actors were told is recorded.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// The longest time from a death to the role's next useful act, and whose it was.
    pub(crate) slowest: Option<(Duration, String)>,
    /// All such times.
    pub(crate) recoveries: u32,
    /// The checkpoints that later starts went on from.
    pub(crate) lineage: Lineage,
}

impl Storm {
    /// Starts the roles, kills them by the plan, and starts them again until the learner has ended.
    ///
    /// # Errors
    /// When a process fails, does not recover, or does not come to its point.
    pub(crate) fn blow(mut places: Vec<Place>, lineage: Lineage, plan: &mut Plan) -> Result<Self> {
        let mut storm = Self {
            kills: BTreeMap::new(),
            points: BTreeMap::new(),
            acknowledged: vec![],
            slowest: None,
            recoveries: 0,
            lineage,
        };
        for place in &mut places {
            place.start(plan.first_point(place.role), None)?;
        }
        while !storm.look(&mut places, plan)? {
            sleep(TICK);
        }
        // Actors that have not left yet are not needed any more; what they were told counts.
        for place in &mut places {
            if let Some(point) = place.armed() {
                plan.missed(point);
            }
            if place.is_taken() {
                place.kill()?;
                place.observe(&mut storm.acknowledged)?;
            }
        }
        storm.lineage.look()?;
        Ok(storm)
    }

    /// Looks at every place once; whether the run is over.
    fn look(&mut self, places: &mut [Place], plan: &mut Plan) -> Result<bool> {
        let mut over = false;
        for place in &mut *places {
            self.observe(place, plan)?;
            if let Some(end) = place.ended()? {
                self.observe(place, plan)?;
                over |= self.after(place, end, plan)?;
            } else if place.is_due(Instant::now()) {
                self.kill(place, plan)?;
            }
            if let Some(since) = place.missed_since().filter(|since| since.elapsed() > PATIENCE) {
                let waited = since.elapsed().as_secs();
                bail!(
                    "{} has not recovered in {waited} s: {}",
                    place.name,
                    place.last_words()
                );
            }
        }
        self.let_relay_lead(places, plan)?;
        Ok(over)
    }

    /// Actors fetch from one that came before them. So one that is to die as a relay comes first: the others die, and come again
    /// when it works.
    fn let_relay_lead(&mut self, places: &mut [Place], plan: &mut Plan) -> Result<()> {
        let leads = |place: &Place| place.armed() == Some(Point::RelayChunk);
        let waits = places.iter().any(|place| leads(place) && !place.works());
        for place in places.iter_mut().filter(|place| place.role == Role::Actor) {
            if !waits && place.is_held() {
                place.start(None, None)?;
            } else if waits && !leads(place) && place.is_taken() {
                self.make_way(place, plan)?;
            }
        }
        Ok(())
    }

    /// Kills a process whose place is to be empty for a while. It counts as a kill that was planned, if one is left.
    fn make_way(&mut self, place: &mut Place, plan: &mut Plan) -> Result<()> {
        let (armed, worked) = (place.armed(), place.works());
        // One that has ended by itself is looked at first.
        if !place.kill()? {
            return Ok(());
        }
        armed.into_iter().for_each(|point| plan.missed(point));
        if worked && plan.take_kill(place.role) {
            *self.kills.entry(place.role).or_default() += 1;
        }
        place.observe(&mut self.acknowledged)?;
        place.hold();
        Ok(())
    }

    fn observe(&mut self, place: &mut Place, plan: &mut Plan) -> Result<()> {
        if !place.observe(&mut self.acknowledged)? {
            return Ok(());
        }
        let now = Instant::now();
        self.recovered(place, now);
        if place.armed().is_none() {
            let peace = plan.peace(place.role);
            place.doom(peace.map(|peace| now + peace));
        }
        Ok(())
    }

    fn recovered(&mut self, place: &Place, now: Instant) {
        // The first process of a place follows no death.
        let Some(took) = place.follows().map(|death| now - death) else {
            return;
        };
        self.recoveries += 1;
        if self.slowest.as_ref().is_none_or(|(slowest, _)| took > *slowest) {
            self.slowest = Some((took, place.name.clone()));
        }
    }

    /// A process ended by itself.
    fn after(&mut self, place: &mut Place, end: End, plan: &mut Plan) -> Result<bool> {
        match end {
            End::At(point) => {
                plan.hit(point);
                *self.points.entry(point).or_default() += 1;
                self.restart(place, plan)?;
                Ok(false)
            }
            End::Done(missed) => {
                missed.into_iter().for_each(|point| plan.missed(point));
                // A learner that finds its run complete has recovered.
                if place.missed_since().is_some() {
                    self.recovered(place, Instant::now());
                }
                place.leave();
                Ok(place.role == Role::Learner)
            }
        }
    }

    fn kill(&mut self, place: &mut Place, plan: &mut Plan) -> Result<()> {
        place.doom(None);
        if !plan.take_kill(place.role) {
            return Ok(());
        }
        match place.kill()? {
            true => {
                *self.kills.entry(place.role).or_default() += 1;
                self.restart(place, plan)
            }
            false => {
                plan.spare(place.role);
                Ok(())
            }
        }
    }

    fn restart(&mut self, place: &mut Place, plan: &mut Plan) -> Result<()> {
        let died = Instant::now();
        place.observe(&mut self.acknowledged)?;
        if place.role == Role::Learner {
            self.lineage.look()?;
        }
        place.start(plan.next_point(place.role), Some(died))
    }
}
