//! How fast old images go: as fast as they come, and no faster than need be.

use super::slow::Objects;
use super::*;
use crate::ledger::Record;
use tokio::time::Instant;

/// How long each request to the store takes.
const REQUEST: Duration = Duration::from_millis(30);

/// Images of a record, and records of a second: 200 images a second.
const IMAGES: usize = 4;
const RECORDS: u64 = 50;

/// How long images are kept here, and how long after they were written they are taken for old.
const KEPT: Duration = Duration::from_secs(100);
const OLD: Duration = Duration::from_secs(110);

/// A run whose images come at that rate.
struct Painting {
    objects: Arc<Objects>,
    /// A way to its store on which nothing takes any time.
    aside: Store,
    journal: Journal,
    recorded: u64,
    checkpoints: u64,
}

impl Painting {
    async fn new() -> Self {
        let objects = Objects::new();
        let aside = objects.over(Duration::ZERO);
        Self {
            journal: journal(&aside).await,
            objects,
            aside,
            recorded: 0,
            checkpoints: 0,
        }
    }

    fn expiry(&self, journal: Journal, store: &Store) -> Expiry {
        Expiry::new(store, &run_id(), Arc::new(journal), KEPT)
    }

    /// So many records more, the last one's images written at `last`.
    async fn go_on(&mut self, records: u64, images: usize, last: Duration) {
        let mut stored = vec![];
        for more in 1..=records {
            let written = last - Duration::from_secs(records - more) / RECORDS as u32;
            let record = self.painted(images, written).await;
            stored.push(record.stored());
        }
        self.journal.append(stored).await.unwrap();
        self.checkpoints += 1;
        checkpoint(&self.aside, self.checkpoints, self.recorded).await;
        let checkpoints = Checkpoints::of(&self.aside, &run_id());
        checkpoints.retain(1).await.unwrap();
    }

    /// The next record, with images of its own.
    async fn painted(&mut self, images: usize, written: Duration) -> Record {
        let sequence = self.recorded;
        self.recorded += 1;
        let group = pair_of(sequence, 0, [&[5, 2], &[6, 2]]).group().clone();
        let mut candidates = vec![];
        for number in 0..images {
            let image = store::digest(format!("{sequence} {number}").as_bytes());
            let key = store::content_key("runs/spring/images", &image);
            self.objects.place(&key, written).await;
            candidates.push(Candidate {
                image: Some(image),
                ..group.candidates()[number.min(1)].clone()
            });
        }
        let group = CandidateGroup::from_candidates(group.task(), candidates, group.reward_model());
        let pair = PreferencePair::new(group.unwrap(), 1, 0, 1.0).unwrap();
        record(sequence, RolloutOutcome::Pair(pair))
    }

    /// How many images should have gone.
    fn overdue(&self) -> usize {
        let old = self.objects.now() - OLD;
        self.objects.written_before("runs/spring/images", old)
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_let_wait_goes_while_as_many_images_come_as_a_large_run_makes_and_the_store_is_slow() {
    let mut run = Painting::new().await;
    let (backlog, young) = (4 * BATCH, OLD.as_secs() * RECORDS);
    run.go_on(backlog + young, IMAGES, run.objects.now()).await;
    let at_first = run.overdue();
    assert!(
        at_first.abs_diff(backlog as usize * IMAGES) <= IMAGES,
        "{at_first}"
    );
    let slow = run.objects.over(REQUEST);
    let stop = CancellationToken::new();
    let expiry = run.expiry(journal(&slow).await, &slow);
    let removing = tokio::spawn(expiry.run(stop.clone()));
    let mut overdue = vec![at_first];
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        run.go_on(RECORDS, IMAGES, run.objects.now()).await;
        overdue.push(run.overdue());
    }
    assert!(overdue[10] < at_first * 3 / 4, "{overdue:?}");
    // Beyond what becomes old from one look to the next, and while it goes.
    let steady = overdue[40..].iter().max().unwrap();
    assert!(*steady <= 20 * RECORDS as usize * IMAGES, "{overdue:?}");
    assert!(run.objects.most_removals() <= AT_ONCE);
    stop.cancel();
    removing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn images_have_gone_in_less_than_half_the_time_in_which_they_came() {
    for records in [RECORDS * 16, BATCH, 2 * BATCH] {
        let mut run = Painting::new().await;
        run.go_on(records, IMAGES, run.objects.now() - 2 * OLD).await;
        run.go_on(1, 2, run.objects.now()).await;
        let slow = run.objects.over(REQUEST);
        let mut expiry = run.expiry(journal(&slow).await, &slow);
        let begun = Instant::now();
        assert!(expiry.expire().await.unwrap());
        let (took, came) = (begun.elapsed(), Duration::from_secs(records / RECORDS));
        assert_eq!(run.overdue(), 0);
        assert!(took < came / 2, "{records} records: {took:?} of {came:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn few_images_go_one_after_the_other() {
    let mut run = Painting::new().await;
    run.go_on(20, 2, run.objects.now() - 2 * OLD).await;
    run.go_on(1, 2, run.objects.now()).await;
    let quick = run.objects.over(Duration::from_millis(1));
    let mut expiry = run.expiry(journal(&quick).await, &quick);
    let begun = Instant::now();
    assert!(expiry.expire().await.unwrap());
    assert_eq!((run.overdue(), run.objects.most_removals()), (0, 1));
    assert!(begun.elapsed() >= 40 * PAUSE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_a_sweep_that_is_cut_off_leaves_goes_with_the_next() {
    let mut run = Painting::new().await;
    run.go_on(2 * BATCH, IMAGES, run.objects.now() - 2 * OLD).await;
    run.go_on(1, 2, run.objects.now()).await;
    let slow = run.objects.over(REQUEST);
    let mut expiry = run.expiry(journal(&slow).await, &slow);
    // The first note is written, and many removals are under way.
    let cut = tokio::time::timeout(Duration::from_secs(2), expiry.expire()).await;
    assert!(cut.is_err());
    let left = run.overdue();
    assert!(
        (BATCH as usize * IMAGES..2 * BATCH as usize * IMAGES).contains(&left),
        "{left}"
    );
    assert!(expiry.expire().await.unwrap());
    assert_eq!(run.overdue(), 0);
}
