use super::*;
use crate::account::{Account, Refused};
use crate::lineage::Lineage;

fn version(epoch: u64, number: u64) -> PolicyVersion {
    PolicyVersion {
        epoch: LearnerEpoch(epoch),
        number,
    }
}

fn checkpoint(epoch: u64, number: u64) -> Checkpoint {
    let account = Account {
        cursor: 9,
        trained: 8,
        refused: Refused::default(),
    };
    let start = Start::of_test(Lineage::default());
    let manifest = Manifest::new(version(epoch, number), 16, account, start);
    manifest.with(
        format!("adapter {number}").into(),
        format!("moments {epoch} {number}").into(),
    )
}

fn checkpoints(run: &str, store: &Store) -> Checkpoints {
    Checkpoints::of(store, &RunId::new(run).unwrap())
}

#[tokio::test]
async fn i10_the_newest_whole_checkpoint_is_found_and_a_damaged_one_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let file = Store::open(&format!("file://{}", directory.path().display())).unwrap();
    for store in [Store::open("memory:///").unwrap(), file] {
        let run = checkpoints("a", &store);
        assert_eq!(run.newest().await.unwrap(), None);
        for (epoch, number) in [(1, 9), (1, 10), (2, 3)] {
            run.write(checkpoint(epoch, number)).await.unwrap();
        }
        let newest = run.newest().await.unwrap().unwrap();
        assert_eq!(newest, checkpoint(2, 3));
        assert_eq!(checkpoints("b", &store).newest().await.unwrap(), None);
        // Its weights are lost, the next one's are not what they were.
        store
            .delete(&content_key(&run.parts(), &newest.manifest.adapter))
            .await
            .unwrap();
        assert_eq!(run.newest().await.unwrap(), Some(checkpoint(1, 10)));
        let damaged = content_key(&run.parts(), &checkpoint(1, 10).manifest.optimizer);
        store.put(&damaged, &b"something else"[..]).await.unwrap();
        assert_eq!(run.newest().await.unwrap(), Some(checkpoint(1, 9)));
        store.put(&run.key(version(1, 9)), &b"{}"[..]).await.unwrap();
        let error = run.newest().await.unwrap_err().to_string();
        assert!(error.contains("runs/a/checkpoints"), "{error}");
    }
}

#[tokio::test]
async fn i4_the_checkpoint_of_a_version_is_never_replaced() {
    let store = Store::open("memory:///").unwrap();
    let run = checkpoints("a", &store);
    run.write(checkpoint(1, 1)).await.unwrap();
    // A write whose answer was lost is repeated, and changes nothing.
    run.write(checkpoint(1, 1)).await.unwrap();
    let mut other = checkpoint(1, 1);
    other.manifest.account.cursor += 1;
    let refusal = run.write(other).await.unwrap_err();
    assert!(
        matches!(refusal, LearnerError::Store(StoreError::Exists { .. })),
        "{refusal}"
    );
    assert_eq!(run.newest().await.unwrap(), Some(checkpoint(1, 1)));
}

#[tokio::test]
async fn old_ones_go_with_what_they_alone_refer_to() {
    let store = Store::open("memory:///").unwrap();
    let run = checkpoints("a", &store);
    for (epoch, number) in [(1, 1), (1, 2), (2, 2), (2, 3)] {
        run.write(checkpoint(epoch, number)).await.unwrap();
        run.retain(2).await.unwrap();
    }
    let order = run.order().await.unwrap();
    assert_eq!(order.versions, [version(2, 3), version(2, 2)]);
    // Version 2 of both epochs has the same adapter.
    assert_eq!(store.list(&run.parts()).await.unwrap().len(), 4);
    for (epoch, number) in [(2, 2), (2, 3)] {
        assert_eq!(
            run.read(version(epoch, number)).await.unwrap(),
            checkpoint(epoch, number)
        );
    }
}

async fn of_version(run: &Checkpoints, epoch: u64, number: u64, lineage: &Lineage) -> Checkpoint {
    let mut written = checkpoint(epoch, number);
    written.manifest.start.lineage = lineage.clone();
    run.write(written.clone()).await.unwrap();
    written
}

#[tokio::test]
async fn damaged_checkpoints_push_no_good_one_out() {
    let store = Store::open("memory:///").unwrap();
    let run = checkpoints("a", &store);
    for number in 1..=4 {
        run.write(checkpoint(1, number)).await.unwrap();
    }
    // One is none, the contents of another are lost: only two can be gone on from.
    store.put(&run.key(version(1, 4)), &b"{}"[..]).await.unwrap();
    let lost = content_key(&run.parts(), &checkpoint(1, 3).manifest.adapter);
    store.delete(&lost).await.unwrap();
    run.retain(1).await.unwrap();
    assert_eq!(run.newest().await.unwrap(), Some(checkpoint(1, 2)));
    assert!(run.read(version(1, 1)).await.is_err());
    // When none is good, none goes.
    let lost = content_key(&run.parts(), &checkpoint(1, 2).manifest.optimizer);
    store.delete(&lost).await.unwrap();
    run.retain(1).await.unwrap();
    let order = run.order().await.unwrap();
    assert_eq!(order.versions, [version(1, 4), version(1, 3), version(1, 2)]);
}

#[tokio::test]
async fn a_checkpoint_stays_while_it_is_read_and_contents_of_no_manifest_for_a_day() {
    let store = Store::open("memory:///").unwrap();
    let run = checkpoints("a", &store);
    run.write(checkpoint(1, 1)).await.unwrap();
    let (_, pin) = run.pin(version(1, 1)).await.unwrap();
    // Another process is about to write the manifest of these.
    let being_written = content_key(&run.parts(), &store::digest(b"new"));
    store.put(&being_written, &b"new"[..]).await.unwrap();
    run.write(checkpoint(1, 2)).await.unwrap();
    run.write(checkpoint(1, 3)).await.unwrap();
    run.retain(1).await.unwrap();
    assert_eq!(
        run.order().await.unwrap().versions,
        [version(1, 3), version(1, 1)]
    );
    assert_eq!(run.read(version(1, 1)).await.unwrap(), checkpoint(1, 1));
    pin.release().await;
    run.retain(1).await.unwrap();
    assert_eq!(run.order().await.unwrap().versions, [version(1, 3)]);
    assert_eq!(store.list(&run.parts()).await.unwrap().len(), 3);
    assert!(store.exists(&being_written).await.unwrap());
    assert_eq!(store.list(&run.pins()).await.unwrap(), [""; 0]);
    // What has gone cannot be held.
    assert!(run.pin(version(1, 1)).await.is_err());
}

#[tokio::test]
async fn i10_after_a_rollback_the_newest_is_the_one_it_names_until_a_later_start_writes_one() {
    let store = Store::open("memory:///").unwrap();
    let run = checkpoints("a", &store);
    let id = RunId::new("a").unwrap();
    let flush = std::time::Duration::from_millis(5);
    let ledger = crate::ledger::Identity::ledger_of(&id);
    let first = store.open_journal(&ledger, flush).await.unwrap();
    let mut lineage = Lineage::default();
    for number in 1..=3 {
        of_version(&run, 1, number, &lineage).await;
    }
    lineage = lineage.going_on_from(version(1, 3));
    for number in 4..=6 {
        of_version(&run, 2, number, &lineage).await;
    }
    drop(store.open_journal(&ledger, flush).await.unwrap());
    assert!(roll_back(&store, &id, version(2, 9)).await.is_err());
    let done = roll_back(&store, &id, version(2, 4)).await.unwrap();
    assert_eq!((done.epoch, done.cursor), (3, 9));
    assert_eq!(done.left_behind, [version(2, 5), version(2, 6)]);
    // Whoever still ran writes one more, which nobody goes on from.
    assert!(
        first
            .append([(bytes::Bytes::from_static(b"o"), bytes::Bytes::new())])
            .await
            .is_err()
    );
    of_version(&run, 2, 7, &lineage).await;
    let newest = run.newest().await.unwrap().unwrap();
    assert_eq!(newest.manifest.version, version(2, 4));
    // The next start.
    let lineage = newest.manifest.lineage();
    assert_eq!(
        of_version(&run, 4, 5, &lineage).await,
        run.newest().await.unwrap().unwrap()
    );
    // Were that damaged, the run would go on from the one that was named, then from those before it.
    for (damaged, next) in [((4, 5), (2, 4)), ((2, 4), (1, 3))] {
        store
            .put(&run.key(version(damaged.0, damaged.1)), &b"{}"[..])
            .await
            .unwrap();
        let newest = run.newest().await.unwrap().unwrap();
        assert_eq!(newest.manifest.version, version(next.0, next.1));
    }
    // What was left behind can be gone back to.
    roll_back(&store, &id, version(2, 6)).await.unwrap();
    let newest = run.newest().await.unwrap().unwrap();
    assert_eq!(newest.manifest.version, version(2, 6));
    assert_eq!(
        run.order().await.unwrap().left_behind,
        [version(4, 5), version(2, 7)]
    );
}

#[tokio::test]
async fn a_rollback_outlives_retention_and_one_that_cannot_be_read_is_no_rollback_overlooked() {
    let store = Store::open("memory:///").unwrap();
    let run = checkpoints("a", &store);
    let id = RunId::new("a").unwrap();
    let ledger = crate::ledger::Identity::ledger_of(&id);
    let flush = std::time::Duration::from_millis(5);
    store
        .open_journal(&ledger, flush)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    for number in 1..=5 {
        of_version(&run, 1, number, &Lineage::default()).await;
    }
    roll_back(&store, &id, version(1, 2)).await.unwrap();
    run.retain(3).await.unwrap();
    assert_eq!(
        run.newest().await.unwrap().unwrap().manifest.version,
        version(1, 2)
    );
    let lineage = Lineage::default().going_on_from(version(1, 2));
    for number in 3..=4 {
        of_version(&run, 3, number, &lineage).await;
        run.retain(3).await.unwrap();
    }
    let order = run.order().await.unwrap();
    assert_eq!(order.versions, [version(3, 4), version(3, 3), version(1, 2)]);
    assert_eq!(order.left_behind, []);
    store
        .put(&format!("{}/rollback-2.json", run.place), &b"{}"[..])
        .await
        .unwrap();
    let error = run.newest().await.unwrap_err().to_string();
    assert!(error.contains("rollback-2.json"), "{error}");
}

#[tokio::test]
async fn what_a_rollback_names_is_there_afterwards_and_should_it_be_lost_the_run_does_not_begin_anew() {
    let store = Store::open("memory:///").unwrap();
    let (run, id) = (checkpoints("a", &store), RunId::new("a").unwrap());
    let flush = std::time::Duration::from_millis(5);
    let ledger = crate::ledger::Identity::ledger_of(&id);
    drop(store.open_journal(&ledger, flush).await.unwrap());
    for number in 1..=3 {
        of_version(&run, 1, number, &Lineage::default()).await;
    }
    let (manifest, pin) = run.pin(version(1, 2)).await.unwrap();
    // The retention of a learner that looked for readers before.
    store.delete(&run.key(version(1, 2))).await.unwrap();
    rollback::roll_back_to(&store, &id, &manifest).await.unwrap();
    pin.release().await;
    let newest = run.newest().await.unwrap().unwrap();
    assert_eq!(newest.manifest.version, version(1, 2));

    // One on the way to it does where it is gone, but nothing is not enough.
    store.delete(&run.key(version(1, 2))).await.unwrap();
    let newest = run.newest().await.unwrap().unwrap();
    assert_eq!(newest.manifest.version, version(1, 1));
    store.delete(&run.key(version(1, 1))).await.unwrap();
    let error = run.newest().await.unwrap_err().to_string();
    assert!(
        error.contains("manifest-1-2.json") && error.contains("rolled back to v1.2"),
        "{error}"
    );
    // It can be helped.
    roll_back(&store, &id, version(1, 3)).await.unwrap();
    let newest = run.newest().await.unwrap().unwrap();
    assert_eq!(newest.manifest.version, version(1, 3));
}

#[tokio::test]
async fn a_pulled_checkpoint_is_whole_or_not_there_and_goes_on_where_it_broke() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open("memory:///").unwrap();
    let (run, id) = (checkpoints("a", &store), RunId::new("a").unwrap());
    let out = directory.path().join("pulled");
    let missing = pull_checkpoint(&store, &id, None, &out).await.unwrap_err();
    assert!(missing.to_string().contains("runs/a/checkpoints"), "{missing}");
    for number in 1..=2 {
        run.write(checkpoint(1, number)).await.unwrap();
    }
    let damaged = content_key(&run.parts(), &checkpoint(1, 2).manifest.optimizer);
    store.put(&damaged, &b"something else"[..]).await.unwrap();
    assert!(
        pull_checkpoint(&store, &id, Some(version(1, 2)), &out)
            .await
            .is_err()
    );
    assert!(!out.exists());
    // An earlier try of the other one brought five bytes of its adapter.
    let partial = directory.path().join("pulled.partial");
    std::fs::remove_dir_all(&partial).unwrap();
    std::fs::create_dir(&partial).unwrap();
    let expected = checkpoint(1, 1);
    std::fs::write(
        partial.join("adapter_model.safetensors.part"),
        &expected.adapter[..5],
    )
    .unwrap();
    let pulled = pull_checkpoint(&store, &id, Some(version(1, 1)), &out)
        .await
        .unwrap();
    let bytes = (expected.adapter.len() + expected.optimizer.len()) as u64;
    assert_eq!(
        (pulled.version, pulled.bytes, pulled.fetched),
        (version(1, 1), bytes, bytes - 5)
    );
    assert_eq!(
        std::fs::read(out.join("adapter_model.safetensors")).unwrap(),
        expected.adapter
    );
    assert_eq!(
        std::fs::read(out.join("optimizer.safetensors")).unwrap(),
        expected.optimizer
    );
    let manifest: Manifest =
        serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest, expected.manifest);
    assert!(!partial.exists());
    assert_eq!(store.list(&run.pins()).await.unwrap(), [""; 0]);
    // Without a version: the newest that is whole.
    let newest = pull_checkpoint(&store, &id, None, &directory.path().join("newest"))
        .await
        .unwrap();
    assert_eq!(newest.version, version(1, 1));
}
