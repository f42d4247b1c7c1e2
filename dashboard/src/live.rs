//! What changes, as server-sent events: the parts of a page that differ from what a listener was sent last.
//!
//! The overview is rendered once a beat for all listeners. Listeners are bounded, and each has no more waiting for it than the
//! newest beat.

use crate::page::{self, Section, Snapshot};
use crate::rates::{PerMinute, Rates};
use crate::view::{Overview, RunView};
use common::PolicyVersion;
use futures::stream::{self, Stream};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the run is looked at.
const BEAT: Duration = Duration::from_millis(500);

/// After how long without a change a listener is told that there is none.
const SILENCE: Duration = Duration::from_secs(5);

/// Pages that follow the run at the same time.
const LISTENERS: usize = 32;

/// What is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The run.
    Overview,
    /// What moved the reward between two versions; `None`: the oldest and the newest.
    Movement(Option<PolicyVersion>, Option<PolicyVersion>),
}

/// A run that is looked at.
pub(crate) struct Live {
    /// The run.
    pub(crate) run: Arc<dyn RunView>,
    room: Arc<Semaphore>,
    rates: Mutex<Rates>,
    /// What a listener of the overview sees.
    beat: watch::Sender<Arc<[Section]>>,
}

/// Who listens.
struct Listener {
    live: Arc<Live>,
    subject: Subject,
    beat: watch::Receiver<Arc<[Section]>>,
    sent: BTreeMap<&'static str, Arc<str>>,
    seen: u64,
    told: Instant,
    greeted: bool,
    ended: bool,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Live {
    /// Of a run.
    pub(crate) fn new(run: Arc<dyn RunView>) -> Self {
        Self {
            run,
            room: Arc::new(Semaphore::new(LISTENERS)),
            rates: Mutex::default(),
            beat: watch::Sender::new(Arc::default()),
        }
    }

    /// Looks at the run once a beat until `stop`.
    pub(crate) async fn tick(self: Arc<Self>, stop: CancellationToken) {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => {}
                () = stop.cancelled() => return,
            }
            if self.beat.receiver_count() == 0 {
                // For the rates that the next page shows.
                self.look();
            } else if let Some(sections) = self.rendered(Subject::Overview).await {
                self.beat.send_replace(sections);
            }
        }
    }

    /// Looks at the run as it is now.
    fn look(&self) -> (Overview, PerMinute) {
        let overview = self.run.overview();
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        let per_minute = rates.look(&overview, Instant::now());
        (overview, per_minute)
    }

    /// What a page shows now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let (overview, rates) = self.look();
        Snapshot {
            overview,
            rates,
            excerpt: self.run.chronicle().excerpt(),
        }
    }

    /// The changing parts of a page, rendered off the runtime; `None` when that panicked.
    pub(crate) async fn rendered(self: &Arc<Self>, subject: Subject) -> Option<Arc<[Section]>> {
        let live = self.clone();
        let render = move || page::sections(&live.snapshot(), live.run.chronicle(), subject);
        tokio::task::spawn_blocking(render).await.ok()
    }

    /// Follows a page until `stop`; `None` when too many do.
    pub(crate) fn follow(
        self: &Arc<Self>,
        subject: Subject,
        stop: CancellationToken,
    ) -> Option<impl Stream<Item = Result<String, Infallible>> + use<>> {
        let place = self.room.clone().try_acquire_owned().ok()?;
        let listener = Listener {
            live: self.clone(),
            subject,
            beat: self.beat.subscribe(),
            sent: BTreeMap::new(),
            seen: 0,
            told: Instant::now(),
            greeted: false,
            ended: false,
            stop,
            _place: place,
        };
        Some(stream::unfold(listener, |mut listener| async move {
            let event = listener.next().await?;
            Some((Ok(event), listener))
        }))
    }
}

impl Listener {
    /// The next event; `None` when there is none any more.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.greeted, true) {
            // After how long to come back when the learner is gone.
            return Some("retry: 1000\n\n".into());
        }
        while !self.ended {
            tokio::select! {
                changed = self.beat.changed() => changed.ok()?,
                // How a run ends is worth a last look.
                () = self.stop.cancelled() => self.ended = true,
            }
            let sections = self.sections().await;
            let changed: BTreeMap<&str, &str> = sections
                .iter()
                .filter(|section| self.sent.get(section.id).is_none_or(|sent| *sent != section.html))
                .map(|section| (section.id, &*section.html))
                .collect();
            let event = match changed.is_empty() {
                true if self.told.elapsed() < SILENCE => continue,
                true => "event: beat\ndata: {}\n\n".to_owned(),
                // JSON has no line breaks of its own.
                false => format!(
                    "event: change\ndata: {}\n\n",
                    serde_json::to_string(&changed).ok()?
                ),
            };
            let sent = sections.iter().map(|section| (section.id, section.html.clone()));
            self.sent.extend(sent);
            self.told = Instant::now();
            return Some(event);
        }
        None
    }

    async fn sections(&mut self) -> Arc<[Section]> {
        let beat = self.beat.borrow_and_update().clone();
        if self.ended {
            return self.live.rendered(self.subject).await.unwrap_or_default();
        }
        if self.subject == Subject::Overview {
            return beat;
        }
        let revision = self.live.run.chronicle().revision();
        if std::mem::replace(&mut self.seen, revision) == revision && !self.sent.is_empty() {
            // Where the run stands changes without anything being taken in.
            return beat
                .iter()
                .filter(|section| page::HEAD.contains(&section.id))
                .cloned()
                .collect();
        }
        self.live.rendered(self.subject).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_run::{TestRun, creative};
    use futures::StreamExt as _;
    use std::pin::pin;

    #[tokio::test]
    async fn listeners_hear_of_changes_within_two_seconds_and_of_nothing_else() {
        let (run, stop) = (TestRun::new(), CancellationToken::new());
        let live = Arc::new(Live::new(run.clone()));
        tokio::spawn(live.clone().tick(stop.clone()));
        let mut events = pin!(live.follow(Subject::Overview, stop.clone()).unwrap());
        assert_eq!(events.next().await.unwrap().unwrap(), "retry: 1000\n\n");
        let whole = events.next().await.unwrap().unwrap();
        assert!(whole.contains("\"creatives\"") && whole.contains("\"actors\""));
        assert_eq!(
            whole.trim_end().lines().count(),
            2,
            "one event is one line of data"
        );
        let changed = Instant::now();
        run.chronicle.add(creative(77, 3, "actor-1", &[0.5, 0.25]));
        let event = loop {
            let event = events.next().await.unwrap().unwrap();
            if event.contains("/creatives/77") {
                break event;
            }
        };
        assert!(changed.elapsed() < Duration::from_secs(2));
        assert!(!event.contains("\"endings\""), "{event}");
        run.chronicle.add(creative(78, 3, "actor-1", &[0.5, 0.25]));
        stop.cancel();
        let rest: Vec<_> = events.map(Result::unwrap).collect().await;
        assert!(rest.concat().contains("/creatives/78"), "the end is told");
    }

    #[tokio::test]
    async fn listeners_are_bounded_and_whoever_leaves_makes_room() {
        let live = Arc::new(Live::new(TestRun::new()));
        let follow = || live.follow(Subject::Movement(None, None), CancellationToken::new());
        let mut all: Vec<_> = std::iter::from_fn(follow).collect();
        assert_eq!(all.len(), LISTENERS);
        all.pop();
        assert!(follow().is_some());
    }
}
