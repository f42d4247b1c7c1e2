//! What every store promises, asked of memory, of a directory, and of a real S3 and a real Azure server.
//!
//! The servers are named by the environment: `ADWRIGHT_TEST_S3_URL` and `ADWRIGHT_TEST_AZURE_URL` with the credentials of their
//! chains, and `ADWRIGHT_TEST_S3_PROXY` and `ADWRIGHT_TEST_AZURE_PROXY` (`address to listen at=address of the server`) for the
//! proxy that the endpoint points to. `tests/object_stores.sh` starts both and sets all of it. A server that is not named is
//! skipped, with that line as the reason, or fails the test where `ADWRIGHT_TEST_STORES` is `required`.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test: where the servers are is known to the environment alone"
)]

mod journal_growth;
mod proxy;

use bytes::Bytes;
use proxy::Cuts;
use std::time::Duration;
use store::{Journal, PART, Store, StoreError, StoreSettings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const FLUSH: Duration = Duration::from_millis(20);

/// A store to ask, and the proxy in front of it.
struct Asked {
    name: &'static str,
    store: Store,
    cuts: Option<Cuts>,
    server: Option<String>,
    _directory: Option<TempDir>,
}

/// A store of each kind, empty: below a prefix that nobody had.
async fn stores(behaviour: &str) -> Vec<Asked> {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().display());
    let mut stores = vec![
        Asked {
            name: "memory",
            store: Store::open("memory:///").unwrap(),
            cuts: None,
            server: None,
            _directory: None,
        },
        Asked {
            name: "directory",
            store: Store::open(&url).unwrap(),
            cuts: None,
            server: None,
            _directory: Some(directory),
        },
    ];
    for (name, kind) in [("S3", "S3"), ("Azure", "AZURE")] {
        let Ok(url) = std::env::var(format!("ADWRIGHT_TEST_{kind}_URL")) else {
            let required = std::env::var("ADWRIGHT_TEST_STORES").is_ok_and(|it| it == "required");
            assert!(!required, "ADWRIGHT_TEST_{kind}_URL names no server");
            println!(
                "{behaviour}: {name} skipped: ADWRIGHT_TEST_{kind}_URL names no server (tests/object_stores.sh does)"
            );
            continue;
        };
        let proxied = std::env::var(format!("ADWRIGHT_TEST_{kind}_PROXY")).unwrap();
        let (from, to) = proxied.split_once('=').unwrap();
        let cuts = proxy::proxy(from, to).await;
        let unique = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let url = format!("{url}/{behaviour}-{}", unique.as_nanos());
        stores.push(Asked {
            name,
            store: Store::open_with(&url, &hasty()).unwrap(),
            cuts: Some(cuts),
            server: Some(to.to_owned()),
            _directory: None,
        });
    }
    stores
}

/// Settings that give up soon.
fn hasty() -> StoreSettings {
    StoreSettings {
        connect_timeout: Duration::from_secs(2),
        request_timeout: Duration::from_secs(20),
        max_retries: 2,
        retry_timeout: Duration::from_secs(5),
    }
}

/// Bytes that no compression and no shift leaves as they are.
fn bytes(count: usize) -> Bytes {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    };
    (0..count).map(|_| next()).collect::<Vec<_>>().into()
}

/// The servers are asked by one test at a time: the proxy has one address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_store_keeps_the_same_promises() {
    for asked in stores("suite").await {
        println!("asking {}", asked.name);
        let store = &asked.store;
        a_directory_comes_back(store).await;
        what_is_created_once_stays(store).await;
        of_many_creators_one_wins(store).await;
        keys_are_listed_below_whole_parts(store).await;
        ranges_are_cut_at_the_end(store).await;
        large_bytes_come_back(store).await;
        content_is_addressed_by_its_digest(store).await;
        a_second_writer_fences_the_first(store).await;
        an_abandoned_upload_leaves_nothing(&asked).await;
        if let Some(cuts) = &asked.cuts {
            a_cut_connection_leaves_nothing_and_the_retry_succeeds(&asked, cuts).await;
        }
        println!("{}: all held", asked.name);
    }
}

async fn what_is_created_once_stays(store: &Store) {
    store.create("once/a.json", &b"first"[..]).await.unwrap();
    let refusal = store.create("once/a.json", &b"second"[..]).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Exists { .. }), "{refusal:?}");
    assert_eq!(store.get("once/a.json").await.unwrap(), &b"first"[..]);
    store.put("once/a.json", &b"third"[..]).await.unwrap();
    assert_eq!(store.get("once/a.json").await.unwrap(), &b"third"[..]);
    store.delete("once/a.json").await.unwrap();
    store.delete("once/a.json").await.unwrap();
    assert!(!store.exists("once/a.json").await.unwrap());
    let missing = store.get("once/a.json").await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { .. }), "{missing:?}");
}

async fn of_many_creators_one_wins(store: &Store) {
    let creators = (0..8_u8).map(|number| {
        let store = store.clone();
        tokio::spawn(async move { store.create("race", vec![number]).await })
    });
    let mut won = 0;
    for creator in creators.collect::<Vec<_>>() {
        match creator.await.unwrap() {
            Ok(()) => won += 1,
            Err(StoreError::Exists { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(won, 1);
}

async fn keys_are_listed_below_whole_parts(store: &Store) {
    for key in ["list/b", "list/a/deep", "listed", "list/a b.json"] {
        store.put(key, &b"xyz"[..]).await.unwrap();
    }
    let below = store.list("list").await.unwrap();
    assert_eq!(below, ["list/a b.json", "list/a/deep", "list/b"]);
    assert_eq!(store.list("nothing").await.unwrap(), [""; 0]);
    let found = store.find("list/b").await.unwrap().unwrap();
    assert_eq!((found.key.as_str(), found.size), ("list/b", 3));
    assert!(found.written > Duration::from_secs(1));
    assert_eq!(store.find("list/c").await.unwrap(), None);
}

async fn ranges_are_cut_at_the_end(store: &Store) {
    store.put("range", &b"0123456789"[..]).await.unwrap();
    assert_eq!(store.get_range("range", 2..5).await.unwrap(), &b"234"[..]);
    assert_eq!(store.get_range("range", 8..99).await.unwrap(), &b"89"[..]);
    assert!(store.get_range("range", 99..100).await.is_err());
    let mut rest = store.download("range", 4).await.unwrap();
    let mut read = vec![];
    while let Some(bytes) = rest.next().await.unwrap() {
        read.extend_from_slice(&bytes);
    }
    assert_eq!((rest.size, &read[..]), (10, &b"456789"[..]));
}

async fn large_bytes_come_back(store: &Store) {
    let large = bytes(2 * PART + 12_345);
    store.put_large("large/memory", large.clone()).await.unwrap();
    assert_eq!(store.get("large/memory").await.unwrap(), large);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &large).unwrap();
    store.put_file("large/file", file.path()).await.unwrap();
    assert_eq!(store.get("large/file").await.unwrap(), large);
    // In pieces that do not fit its parts, over what was there.
    let mut upload = store.upload("large/memory").await.unwrap();
    let pieces = large.slice(..PART + 7);
    for piece in pieces.chunks(1_000_003) {
        upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    assert_eq!(
        store.get("large/memory").await.unwrap(),
        large,
        "before it is finished"
    );
    upload.finish().await.unwrap();
    assert_eq!(store.get("large/memory").await.unwrap(), pieces);
}

async fn content_is_addressed_by_its_digest(store: &Store) {
    let small = store.put_content("images", &b"picture"[..]).await.unwrap();
    assert_eq!(small, store.put_content("images", &b"picture"[..]).await.unwrap());
    let large = bytes(PART + 1);
    let digest = store::digest(&large);
    let key = store::content_key("parts", &digest);
    store.put_large(&key, large.clone()).await.unwrap();
    assert_eq!(store.get_content("parts", &digest).await.unwrap(), large);
    store
        .put(&store::content_key("images", &small), &b"forgery"[..])
        .await
        .unwrap();
    let refusal = store.get_content("images", &small).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal:?}");
}

async fn a_directory_comes_back(store: &Store) {
    let (here, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let large = bytes(2 * PART + 5);
    let mut files = std::collections::BTreeMap::new();
    for (name, content) in [("config.json", &b"{}"[..]), ("tower/weights", &large)] {
        let path = here.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        files.insert(name.to_owned(), path);
    }
    let pushed = store.push_directory(&files).await.unwrap();
    let partial = cache
        .path()
        .join(format!("{}.partial/tower", pushed.digest.hex()));
    std::fs::create_dir_all(&partial).unwrap();
    std::fs::write(partial.join("weights.part"), &large[..PART]).unwrap();
    let pull = || store.pull_directory(cache.path(), &|_, _| ());
    let pulled = pull().await.unwrap();
    assert_eq!(pulled.came, pushed.bytes - PART as u64);
    assert_eq!(
        std::fs::read(pulled.directory.join("tower/weights")).unwrap(),
        large
    );
    assert_eq!(pull().await.unwrap().came, 0);
    std::fs::write(&files["config.json"], "[]").unwrap();
    let refusal = store.push_directory(&files).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Exists { .. }), "{refusal:?}");
    store.put("config.json", &b"[]"[..]).await.unwrap();
    std::fs::remove_file(pulled.directory.join("config.json")).unwrap();
    let refusal = pull().await.unwrap_err();
    assert!(
        matches!(&refusal, StoreError::Damaged { key, .. } if key == "config.json"),
        "{refusal:?}"
    );
    for key in store.list("").await.unwrap() {
        store.delete(&key).await.unwrap();
    }
}

async fn a_second_writer_fences_the_first(store: &Store) {
    let record = |number: u8| [(Bytes::from(vec![b'r', number]), Bytes::from_static(b"record"))];
    let first = store.open_journal("runs/a/ledger", FLUSH).await.unwrap();
    first.append(record(1)).await.unwrap();
    let second = store.open_journal("runs/a/ledger", FLUSH).await.unwrap();
    let refusal = first.append(record(2)).await.unwrap_err();
    assert!(matches!(refusal, StoreError::Fenced { .. }), "{refusal:?}");
    second.append(record(3)).await.unwrap();
    second.close().await.unwrap();
    let third = store.open_journal("runs/a/ledger", FLUSH).await.unwrap();
    assert_eq!([first.epoch(), second.epoch(), third.epoch()], [1, 2, 3]);
    assert_eq!(numbers(&third).await, [1, 3]);
    let reader = store.read_journal("runs/a/ledger").await.unwrap();
    let mut records = reader.records(all()).await.unwrap();
    assert_eq!(records.next().await.unwrap().unwrap().0, &b"r\x01"[..]);
    third.close().await.unwrap();
}

fn all() -> std::ops::Range<Bytes> {
    Bytes::from_static(b"r")..Bytes::from_static(b"s")
}

async fn numbers(journal: &Journal) -> Vec<u8> {
    let mut records = journal.records(all()).await.unwrap();
    let mut numbers = vec![];
    while let Some((key, _)) = records.next().await.unwrap() {
        numbers.push(key[1]);
    }
    numbers
}

async fn an_abandoned_upload_leaves_nothing(asked: &Asked) {
    let store = &asked.store;
    let mut upload = store.upload("abandoned").await.unwrap();
    upload.write(bytes(2 * PART)).await.unwrap();
    let why = StoreError::NotFound {
        key: "its source".into(),
        url: String::new(),
    };
    assert!(matches!(upload.abandon(why).await, StoreError::NotFound { .. }));
    let mut upload = store.upload("abandoned").await.unwrap();
    upload.write(bytes(PART)).await.unwrap();
    drop(upload);
    // Nobody is told when what was dropped is given up at the server.
    let given_up = async {
        while has_parts(asked).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), given_up)
        .await
        .expect("its parts stay");
    assert!(!store.exists("abandoned").await.unwrap());
    assert_eq!(store.list("abandoned").await.unwrap(), [""; 0]);
}

async fn a_cut_connection_leaves_nothing_and_the_retry_succeeds(asked: &Asked, cuts: &Cuts) {
    let (store, large) = (&asked.store, bytes(3 * PART));
    // In the middle of a part, each time it is tried; the rest of the network is fine.
    cuts.parts(true);
    let failed = store.put_large("cut", large.clone()).await.unwrap_err();
    assert!(matches!(failed, StoreError::Backend { .. }), "{failed:?}");
    assert!(failed.to_string().contains("cut"), "{failed}");
    cuts.parts(false);
    assert!(!store.exists("cut").await.unwrap());
    no_parts_are_left(asked).await;
    store.put_large("cut", large.clone()).await.unwrap();
    assert_eq!(store.get("cut").await.unwrap(), large);
    // The whole network, in the middle of an upload.
    let mut upload = store.upload("gone").await.unwrap();
    upload.write(large.slice(..PART)).await.unwrap();
    cuts.everything(true);
    let failed = match upload.write(large.slice(PART..)).await {
        Ok(()) => upload.finish().await.unwrap_err(),
        Err(error) => upload.abandon(error).await,
    };
    assert!(matches!(failed, StoreError::Backend { .. }), "{failed:?}");
    cuts.everything(false);
    assert!(!store.exists("gone").await.unwrap());
    store.put_large("gone", large.clone()).await.unwrap();
    assert_eq!(store.get("gone").await.unwrap(), large);
}

async fn no_parts_are_left(asked: &Asked) {
    assert!(!has_parts(asked).await);
}

/// Whether uploads are under way at an S3 server. Azure keeps parts that belong to nothing for a week, and has no request
/// to remove them; directories and memory have none.
async fn has_parts(asked: &Asked) -> bool {
    let (Some(server), "S3") = (&asked.server, asked.name) else {
        return false;
    };
    let bucket = asked.store.url().host_str().unwrap();
    let mut connection = tokio::net::TcpStream::connect(server).await.unwrap();
    let request = format!("GET /{bucket}?uploads HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("ListMultipartUploadsResult"), "{answer}");
    answer.contains("<UploadId>")
}
