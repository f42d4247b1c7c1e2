//! Scores that are remembered, and those that are being computed: a question that is asked twice is computed once.
//!
//! A question is a model, a caption and the bytes of the images, told apart by digest. It is not its asker's: as long as
//! somebody listens it is worked on, whoever asked first, and when nobody does any more it is dropped before it costs a pass
//! through the model. Failures are not remembered: what the model could not do once it may do again.

use crate::budget::Budget;
use crate::scorer::{GroupScores, ScoreFailure, ScoreResult};
use common::{Digest, LastUsed, Sides};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// What an entry takes beside its rewards: key, scores, the nodes of list and table.
const ENTRY_BYTES: usize = 192;

/// The digest of a question to the model `model`. An image is known by the digest of its bytes.
pub(crate) fn question(model: Digest, caption: &str, images: &[bytes::Bytes]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(model.as_bytes());
    hasher
        .update(&(caption.len() as u64).to_le_bytes())
        .update(caption.as_bytes());
    for image in images {
        hasher.update(blake3::hash(image).as_bytes());
    }
    Digest::from_bytes(hasher.finalize().into())
}

/// Every answer that is known or on its way.
#[derive(Debug)]
pub(crate) struct Answers {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: LastUsed<Digest, GroupScores>,
    pending: HashMap<Digest, Pending>,
    /// The number of the next ticket.
    next: u64,
    counts: AnswerCounts,
}

#[derive(Debug)]
struct Pending {
    ticket: u64,
    listeners: Vec<oneshot::Sender<ScoreResult>>,
}

/// How questions were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AnswerCounts {
    /// Questions that are being computed or wait for it now.
    pub(crate) waiting: u64,
    /// Answers that were remembered.
    pub(crate) hits: u64,
    /// Questions that were being computed for somebody else.
    pub(crate) joined: u64,
    /// Questions that the model was asked.
    pub(crate) computed: u64,
    /// Questions that nobody wanted answered any more.
    pub(crate) abandoned: u64,
    /// Answers that are remembered now.
    pub(crate) kept: u64,
    /// What they take, in bytes.
    pub(crate) kept_bytes: u64,
}

/// What is known of a question.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Its answer.
    Known(GroupScores),
    /// It is being computed.
    Joined(oneshot::Receiver<ScoreResult>),
    /// It is the asker's to have it computed.
    New(Ticket, oneshot::Receiver<ScoreResult>),
}

/// A question that is to be computed. Dropped without an answer, it is answered with a failure.
#[derive(Debug)]
pub(crate) struct Ticket {
    answers: Arc<Answers>,
    question: Digest,
    number: u64,
    budget: Arc<Budget>,
    units: usize,
}

impl Answers {
    /// Remembers at most `bytes` of answers.
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            state: Mutex::new(State {
                kept: LastUsed::within(bytes),
                pending: HashMap::new(),
                next: 0,
                counts: AnswerCounts::default(),
            }),
        }
    }

    /// Asks. A new question counts as `units` in the backlog of `budget` until it is answered or dropped.
    pub(crate) fn ask(self: &Arc<Self>, question: Digest, units: usize, budget: &Arc<Budget>) -> Asked {
        let mut state = self.state();
        if let Some(scores) = state.kept.get(&question).cloned() {
            state.counts.hits += 1;
            return Asked::Known(scores);
        }
        let (answer, answered) = oneshot::channel();
        if let Some(pending) = state.pending.get_mut(&question) {
            pending.listeners.push(answer);
            state.counts.joined += 1;
            return Asked::Joined(answered);
        }
        let number = state.next;
        state.next += 1;
        let pending = Pending {
            ticket: number,
            listeners: vec![answer],
        };
        state.pending.insert(question, pending);
        drop(state);
        budget.backlog().came(units);
        let ticket = Ticket {
            answers: self.clone(),
            question,
            number,
            budget: budget.clone(),
            units,
        };
        Asked::New(ticket, answered)
    }

    /// Remembers nothing from now on.
    pub(crate) fn forget(&self) {
        self.state().kept = LastUsed::within(0);
    }

    /// How questions were answered so far.
    pub(crate) fn counts(&self) -> AnswerCounts {
        let state = self.state();
        AnswerCounts {
            waiting: state.pending.len() as u64,
            kept: state.kept.len() as u64,
            kept_bytes: state.kept.bytes() as u64,
            ..state.counts
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// What it counts for in a batch.
    pub(crate) fn units(&self) -> usize {
        self.units
    }

    /// Whether anybody listens for the answer; a question that nobody does is forgotten.
    pub(crate) fn is_wanted(&self) -> bool {
        let mut state = self.answers.state();
        let State { pending, counts, .. } = &mut *state;
        let Some(entry) = pending.get_mut(&self.question) else {
            return false;
        };
        if entry.ticket != self.number {
            return false;
        }
        entry.listeners.retain(|listener| !listener.is_closed());
        if entry.listeners.is_empty() {
            pending.remove(&self.question);
            counts.abandoned += 1;
            return false;
        }
        true
    }

    /// Tells everybody who listens, and remembers scores.
    pub(crate) fn answer(self, result: ScoreResult) {
        self.settle(result, true);
    }

    fn settle(&self, result: ScoreResult, computed: bool) {
        let mut state = self.answers.state();
        let own = state.pending.get(&self.question);
        let own = own.is_some_and(|pending| pending.ticket == self.number);
        let listeners = match own {
            true => state
                .pending
                .remove(&self.question)
                .map_or_else(Vec::new, |pending| pending.listeners),
            false => vec![],
        };
        if computed {
            state.counts.computed += 1;
            if let Ok(scores) = &result {
                let bytes = entry_bytes(scores);
                state.kept.put(self.question, scores.clone(), bytes);
            }
        }
        drop(state);
        for listener in listeners {
            // Whoever asked may have gone.
            let _ = listener.send(result.clone());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.budget.backlog().gone(self.units);
        self.settle(Err(ScoreFailure::unanswered()), false);
    }
}

fn entry_bytes(scores: &GroupScores) -> usize {
    let sides = scores.sides.as_ref().map_or(0, Vec::len);
    ENTRY_BYTES + scores.rewards.len() * size_of::<f64>() + sides * size_of::<Sides>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use futures::FutureExt as _;
    use proptest::prelude::*;

    fn scores(reward: f64) -> GroupScores {
        GroupScores {
            rewards: vec![reward, -reward],
            confidence: 0.75,
            orientation_flips: 0.0,
            sides: None,
        }
    }

    fn digest(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    struct Desk {
        answers: Arc<Answers>,
        budget: Arc<Budget>,
    }

    impl Desk {
        fn of(bytes: usize) -> Self {
            Self {
                answers: Arc::new(Answers::new(bytes)),
                budget: Arc::new(Budget::new(1, 1)),
            }
        }

        fn ask(&self, number: u8) -> Asked {
            self.answers.ask(digest(number), 1, &self.budget)
        }

        fn ask_new(&self, number: u8) -> (Ticket, oneshot::Receiver<ScoreResult>) {
            match self.ask(number) {
                Asked::New(ticket, answered) => (ticket, answered),
                other => panic!("{other:?}"),
            }
        }

        fn compute(&self, number: u8) {
            let (ticket, _listener) = self.ask_new(number);
            ticket.answer(Ok(scores(f64::from(number))));
        }
    }

    #[test]
    fn a_question_that_is_being_computed_is_not_computed_again_and_its_answer_is_remembered_exactly() {
        let desk = Desk::of(1 << 20);
        let (ticket, first) = desk.ask_new(1);
        let Asked::Joined(second) = desk.ask(1) else {
            panic!("it was not known to be under way")
        };
        let exact = scores(0.1 + 0.2);
        ticket.answer(Ok(exact.clone()));
        for answered in [first, second] {
            assert_eq!(answered.now_or_never(), Some(Ok(Ok(exact.clone()))));
        }
        assert!(matches!(desk.ask(1), Asked::Known(known) if known == exact));
        let counts = desk.answers.counts();
        assert_eq!(
            (counts.computed, counts.joined, counts.hits, counts.kept),
            (1, 1, 1, 1)
        );
    }

    #[test]
    fn a_failure_reaches_everybody_and_is_not_remembered() {
        let desk = Desk::of(1 << 20);
        let (ticket, answered) = desk.ask_new(1);
        let failure = ScoreFailure::of_model("no luck");
        ticket.answer(Err(failure.clone()));
        assert_eq!(answered.now_or_never(), Some(Ok(Err(failure))));
        let (lost, answered) = desk.ask_new(1);
        drop(lost);
        assert_eq!(answered.now_or_never(), Some(Ok(Err(ScoreFailure::unanswered()))));
        assert_eq!(desk.answers.counts().kept, 0);
    }

    #[test]
    fn a_question_lives_as_long_as_anybody_listens() {
        let desk = Desk::of(1 << 20);
        let (ticket, first) = desk.ask_new(1);
        let Asked::Joined(second) = desk.ask(1) else {
            panic!("it was not known to be under way")
        };
        drop(first);
        assert!(ticket.is_wanted());
        drop(second);
        assert!(!ticket.is_wanted());
        assert_eq!(desk.answers.counts().abandoned, 1);
        // Somebody asks again: the forgotten ticket must not answer in the new one's place.
        let (_again, mut answered) = desk.ask_new(1);
        assert!(!ticket.is_wanted());
        drop(ticket);
        assert!(answered.try_recv().is_err());
    }

    #[test]
    fn what_is_remembered_stays_within_its_bytes_and_the_longest_unused_goes_first() {
        let desk = Desk::of(3 * entry_bytes(&scores(0.0)));
        (0..3).for_each(|number| desk.compute(number));
        assert!(matches!(desk.ask(0), Asked::Known(_)));
        desk.compute(3);
        assert!(matches!(desk.ask(0), Asked::Known(_)) && matches!(desk.ask(3), Asked::Known(_)));
        assert!(matches!(desk.ask(1), Asked::New(..)));
        let counts = desk.answers.counts();
        assert_eq!(
            (counts.kept, counts.kept_bytes),
            (3, 3 * entry_bytes(&scores(0.0)) as u64)
        );
        let none = Desk::of(0);
        none.compute(1);
        assert!(matches!(none.ask(1), Asked::New(..)));
    }

    #[test]
    fn waiting_questions_are_in_the_backlog_until_they_are_answered_or_dropped() {
        let desk = Desk::of(0);
        desk.budget.backlog().scored(1, std::time::Duration::from_secs(1));
        let waits = || desk.budget.backlog().waiting();
        let (first, _) = desk.ask_new(1);
        let (second, _) = desk.ask_new(2);
        assert_eq!(waits(), 2);
        first.answer(Ok(scores(1.0)));
        drop(second);
        assert_eq!(waits(), 0);
    }

    proptest! {
        #[test]
        fn two_questions_are_one_only_if_model_caption_and_images_are_the_same(
            model in any::<[u8; 2]>(), caption in any::<[u8; 2]>(), images in any::<[[u8; 2]; 2]>(),
        ) {
            let [of, other] = [0, 1].map(|i| {
                let images = images[i].map(|image| Bytes::from(vec![image % 3; 4]));
                let caption = "a".repeat(usize::from(caption[i] % 4));
                (digest(model[i] % 2), caption, images)
            });
            let digest = |(model, caption, images): &(Digest, String, [Bytes; 2])| question(*model, caption, images);
            prop_assert_eq!(digest(&of) == digest(&other), of == other);
        }
    }
}
