mod pace;
mod slow;

use super::*;
use crate::account::{Account, Refused};
use crate::checkpoint::{Manifest, Start};
use crate::images::ImageState::{self, Expired, Missing, Present};
use crate::ledger::{Beginning, LedgerView};
use crate::lineage::Lineage;
use crate::test_outcomes::{failed, pair_of, record, version};
use common::{Candidate, CandidateGroup, PreferencePair, RolloutOutcome, RunId};
use store::StoreError;

/// How long images are kept here.
const KEEP: Duration = Duration::from_secs(1);

/// The run of a learner that lets images go.
struct Run {
    store: Store,
    expiry: Expiry,
}

fn run_id() -> RunId {
    RunId::new("spring").unwrap()
}

/// The run's ledger, open.
async fn journal(store: &Store) -> Journal {
    let key = Identity::ledger_of(&run_id());
    store.open_journal(&key, Duration::from_millis(5)).await.unwrap()
}

impl Run {
    /// One in `store` whose ledger is `journal`.
    fn of(store: &Store, journal: Journal) -> Self {
        Self {
            store: store.clone(),
            expiry: Expiry::new(store, &run_id(), Arc::new(journal), KEEP),
        }
    }

    /// What the ledger tells of the images of each record.
    async fn told(&self) -> Vec<Vec<ImageState>> {
        let view = LedgerView::open(&self.store, &run_id()).await.unwrap();
        let (mut told, mut lines) = (vec![], view.lines().await.unwrap());
        while let Some(line) = lines.next().await.unwrap() {
            told.push(line.images.into_iter().flatten().collect());
        }
        told
    }
}

/// An image of these bytes, in the store.
async fn painted(store: &Store, name: &str) -> Digest {
    let bytes = bytes::Bytes::from(name.to_owned());
    store.renew_content("runs/spring/images", bytes).await.unwrap()
}

/// The pair of a task with two images.
async fn pair(store: &Store, task: u64, images: [&str; 2]) -> RolloutOutcome {
    let group = pair_of(task, 0, [&[5, 2], &[6, 2]]).group().clone();
    let mut candidates = vec![];
    for (candidate, name) in group.candidates().iter().zip(images) {
        candidates.push(Candidate {
            image: Some(painted(store, name).await),
            ..candidate.clone()
        });
    }
    let group = CandidateGroup::from_candidates(group.task(), candidates, group.reward_model()).unwrap();
    RolloutOutcome::Pair(PreferencePair::new(group, 1, 0, 1.0).unwrap())
}

/// A ledger of six records, the last one's images young, and a checkpoint that has settled five.
async fn recorded(store: &Store, journal: &Journal) {
    let mut outcomes = vec![
        pair(store, 0, ["a", "b"]).await,
        pair(store, 1, ["c", "shared"]).await,
        failed(2, false),
        pair(store, 3, ["d", "e"]).await,
    ];
    tokio::time::sleep(KEEP * 3 / 2).await;
    // Ages count from here.
    checkpoint(store, 1, 5).await;
    outcomes.push(pair(store, 4, ["f", "g"]).await);
    // Its record lies behind the cursor, and one of its images is an old one.
    let mut unsettled = pair(store, 5, ["h", "late"]).await;
    if let RolloutOutcome::Pair(of_five) = &unsettled {
        let mut candidates = of_five.group().candidates().to_vec();
        candidates[1].image = Some(store::digest(b"shared"));
        let group =
            CandidateGroup::from_candidates(of_five.group().task(), candidates, Some(store::digest(b"r")));
        unsettled = RolloutOutcome::Pair(PreferencePair::new(group.unwrap(), 1, 0, 1.0).unwrap());
    }
    outcomes.push(unsettled);
    recorded_as(journal, outcomes).await;
}

/// A run's first records.
async fn recorded_as(journal: &Journal, outcomes: Vec<RolloutOutcome>) {
    let identity = Identity {
        run: run_id(),
        run_seed: 1,
    };
    let records = (0..)
        .zip(outcomes)
        .map(|(sequence, outcome)| record(sequence, outcome).stored());
    let beginning = Beginning::of_earlier_version(identity).stored();
    journal.append(records.chain([beginning])).await.unwrap();
}

async fn checkpoint(store: &Store, number: u64, cursor: u64) {
    let account = Account {
        cursor,
        trained: cursor,
        refused: Refused::default(),
    };
    let manifest = Manifest::new(version(number), 2, account, Start::of_test(Lineage::default()));
    let checkpoint = manifest.with("adapter".into(), "moments".into());
    Checkpoints::of(store, &run_id()).write(checkpoint).await.unwrap();
}

#[tokio::test]
async fn old_images_go_and_none_that_somebody_needs() {
    let directory = tempfile::tempdir().unwrap();
    let file = Store::open(&format!("file://{}", directory.path().display())).unwrap();
    for store in [Store::open("memory:///").unwrap(), file] {
        let journal = journal(&store).await;
        // What other runs have of the same bytes, and products.
        for place in ["runs/autumn/images", "images", "products"] {
            store.put_content(place, &b"a"[..]).await.unwrap();
        }
        recorded(&store, &journal).await;
        let mut run = Run::of(&store, journal);
        let whole = [Present, Present];
        assert_eq!(
            run.told().await,
            [&whole[..], &whole, &[], &whole, &whole, &whole]
        );
        assert!(run.expiry.expire().await.unwrap());
        let (gone, half) = ([Expired, Expired], [Expired, Present]);
        assert_eq!(run.told().await, [&gone[..], &half, &[], &gone, &whole, &whole]);
        assert!(!run.expiry.expire().await.unwrap());
        for place in ["runs/autumn/images", "images", "products"] {
            store
                .get_content(place, &store::digest(b"a"))
                .await
                .unwrap_or_else(|error| panic!("{error}"));
        }
        // What goes otherwise is told apart.
        run.expiry.images.remove(&store::digest(b"f")).await.unwrap();
        assert_eq!(run.told().await[4], [Missing, Present]);
        let summary = LedgerView::open(&store, &run_id())
            .await
            .unwrap()
            .summary()
            .await
            .unwrap();
        let counts = summary.images;
        assert_eq!((counts.present, counts.expired, counts.missing), (4, 5, 1));
    }
}

#[tokio::test]
async fn as_long_as_one_checkpoint_has_not_settled_a_record_its_images_stay() {
    let store = Store::open("memory:///").unwrap();
    let journal = journal(&store).await;
    recorded(&store, &journal).await;
    // A rollback may go on from it.
    checkpoint(&store, 0, 1).await;
    let mut run = Run::of(&store, journal);
    assert!(run.expiry.expire().await.unwrap());
    assert!(!run.expiry.expire().await.unwrap());
    let whole = [Present, Present];
    assert_eq!(
        run.told().await,
        [&[Expired, Expired][..], &whole, &[], &whole, &whole, &whole]
    );
}

#[tokio::test]
async fn a_crash_in_the_middle_of_it_is_harmless_and_the_next_start_finishes() {
    let store = Store::open("memory:///").unwrap();
    let first = journal(&store).await;
    recorded(&store, &first).await;
    // It has died with the note written and one image gone.
    first
        .append([ExpiryNote { from: 0, before: 4 }.stored()])
        .await
        .unwrap();
    let place = Images::of(&store, &run_id());
    place.remove(&store::digest(b"a")).await.unwrap();
    let mut run = Run::of(&store, journal(&store).await);
    let whole = [Present, Present];
    let told = run.told().await;
    assert_eq!(
        told,
        [&[Expired, Present][..], &whole, &[], &whole, &whole, &whole]
    );
    assert!(!run.expiry.expire().await.unwrap());
    let (gone, half) = ([Expired, Expired], [Expired, Present]);
    assert_eq!(run.told().await, [&gone[..], &half, &[], &gone, &whole, &whole]);
}

#[tokio::test]
async fn a_learner_that_was_superseded_removes_nothing() {
    let store = Store::open("memory:///").unwrap();
    let first = journal(&store).await;
    recorded(&store, &first).await;
    let mut run = Run::of(&store, first);
    let _second = journal(&store).await;
    let refusal = run.expiry.expire().await.unwrap_err();
    assert!(
        matches!(refusal, LearnerError::Store(StoreError::Fenced { .. })),
        "{refusal}"
    );
    assert_eq!(run.told().await[0], [Present, Present]);
}

#[tokio::test]
async fn an_image_that_is_painted_again_and_again_does_not_hold_up_those_behind_it() {
    let store = Store::open("memory:///").unwrap();
    let journal = journal(&store).await;
    let mut outcomes = vec![];
    for task in 0..4 {
        let own = format!("own {task}");
        let images = if task == 0 {
            ["plain", "plain"]
        } else {
            ["plain", own.as_str()]
        };
        outcomes.push(pair(&store, task, images).await);
    }
    tokio::time::sleep(KEEP * 3 / 2).await;
    checkpoint(&store, 1, 4).await;
    painted(&store, "plain").await;
    recorded_as(&journal, outcomes).await;
    let mut run = Run::of(&store, journal);
    assert!(run.expiry.expire().await.unwrap());
    let half = [Present, Expired];
    assert_eq!(run.told().await, [[Present, Present], half, half, half]);
}

#[tokio::test]
async fn an_image_that_no_record_names_goes_later_than_others() {
    let store = Store::open("memory:///").unwrap();
    let journal = journal(&store).await;
    let orphan = painted(&store, "orphan").await;
    recorded(&store, &journal).await;
    let young = painted(&store, "not yet named").await;
    let mut run = Run::of(&store, journal);
    while run.expiry.expire().await.unwrap() {}
    let told = run.told().await;
    assert_eq!(run.expiry.remove_unnamed().await.unwrap(), 0);
    run.expiry.unnamed = Duration::ZERO;
    assert_eq!(run.expiry.remove_unnamed().await.unwrap(), 1);
    let is_there = async |image| run.expiry.images.find(image).await.unwrap().is_some();
    assert!(!is_there(&orphan).await && is_there(&young).await);
    assert_eq!(run.told().await, told);
    assert_eq!(run.expiry.remove_unnamed().await.unwrap(), 0);
}

#[tokio::test]
async fn while_no_image_is_that_old_no_record_is_read_for_those_that_nobody_names() {
    let store = Store::open("memory:///").unwrap();
    let journal = journal(&store).await;
    painted(&store, "orphan").await;
    recorded_as(&journal, vec![]).await;
    checkpoint(&store, 1, 0).await;
    let (key, _) = record(0, failed(0, false)).stored();
    journal
        .append([(key, Bytes::from_static(b"\xff"))])
        .await
        .unwrap();
    let mut run = Run::of(&store, journal);
    assert_eq!(run.expiry.remove_unnamed().await.unwrap(), 0);
    (run.expiry.keep, run.expiry.unnamed) = (Duration::ZERO, Duration::ZERO);
    let refusal = run.expiry.remove_unnamed().await.unwrap_err();
    assert!(matches!(refusal, LearnerError::Ledger { .. }), "{refusal}");
}
