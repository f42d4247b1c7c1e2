//! What is synced to the disk, with two memories in the place of a directory with and without that.

mod odd_bucket;

use super::*;
use object_store::memory::InMemory;
use std::time::Duration;

/// A store, and what of it a power cut would leave.
fn halves() -> (Store, Store) {
    let url: Url = "memory:///".parse().unwrap();
    let disk: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let store = Store {
        synced: disk.clone(),
        ..Store::over(Arc::new(InMemory::new()), url.clone())
    };
    (store, Store::over(disk, url))
}

#[tokio::test]
async fn content_and_journals_are_synced_and_what_else_is_written_only_where_it_is_asked_for() {
    let (store, disk) = halves();
    let image = store
        .renew_content("runs/spring/images", &b"rendered"[..])
        .await
        .unwrap();
    let product = store.put_content("products", &b"cut-out"[..]).await.unwrap();
    let synced = store.synced();
    synced.put("put", &b"1"[..]).await.unwrap();
    synced.create("created", &b"2"[..]).await.unwrap();
    let mut upload = synced.upload("uploaded").await.unwrap();
    upload.write(Bytes::from_static(b"3")).await.unwrap();
    upload.finish().await.unwrap();
    store.put("plain", &b"4"[..]).await.unwrap();
    let expected = [
        "created".to_owned(),
        content_key("products", &product),
        "put".to_owned(),
        content_key("runs/spring/images", &image),
        "uploaded".to_owned(),
    ];
    assert_eq!(disk.list("").await.unwrap(), expected);

    let journal = store
        .open_journal("ledger", Duration::from_millis(5))
        .await
        .unwrap();
    let record = (Bytes::from_static(b"key"), Bytes::from_static(b"record"));
    journal.append([record]).await.unwrap();
    assert!(!disk.list("ledger/wal").await.unwrap().is_empty());
    assert_eq!(store.list("").await.unwrap(), ["plain"]);
}

#[test]
fn a_directory_is_synced_by_the_backend_that_is_said_to() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", directory.path().display())).unwrap();
    // What the backend was told shows in no other way.
    let told = |store: &Store| format!("{:?}", store.backend).contains("fsync: true");
    assert!(told(&store.synced()) && !told(&store));
}
