//! A hub's models, asked of a server on this machine.

mod server;

use super::{Hub, HubModel};
use crate::checksum::Checksum;
use crate::{Brought, StoreError, StoreSettings};
use server::{COMMIT, Server, checksum};
use std::path::Path;
use std::time::Duration;

const TOKEN: &str = "hf_word";

fn hub(server: &Server) -> Hub {
    let settings = StoreSettings {
        max_retries: 3,
        request_timeout: Duration::from_secs(5),
        ..StoreSettings::default()
    };
    Hub::at(&server.url, Some(TOKEN), Some("true"), &settings).unwrap()
}

fn model(text: &str) -> HubModel {
    text.parse().unwrap()
}

async fn pull(server: &Server, cache: &Path) -> Result<Brought, StoreError> {
    let hub = hub(server);
    let model = hub.resolve(&model("hf:org/model")).await?;
    assert_eq!(model.revision(), COMMIT);
    let wanted = |names: &[&str]| names.iter().map(|name| *name != "README.md").collect();
    hub.pull(&model, cache, wanted, &|done, all| assert!(done <= all))
        .await
}

fn weights() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

async fn serving() -> Server {
    let weights = weights();
    Server::start(&[
        ("README.md", b"words"),
        ("config.json", b"{}"),
        ("model.safetensors", &weights),
        ("tokenizer.json", b"{\"a\":1}"),
    ])
    .await
}

#[tokio::test]
async fn a_model_comes_by_its_commit_with_what_was_selected_and_the_token_stays_with_the_hub() {
    let (server, cache) = (serving().await, tempfile::tempdir().unwrap());
    server.with(|state| state.unavailable = 2);
    let pulled = pull(&server, cache.path()).await.unwrap();
    assert_eq!(
        (pulled.files, pulled.bytes, pulled.came),
        (3, 3_000_009, 3_000_009)
    );
    assert!(!pulled.directory.join("README.md").exists());
    assert_eq!(
        std::fs::read(pulled.directory.join("model.safetensors")).unwrap(),
        weights()
    );
    server.with(|state| {
        for asked in &state.asked {
            let expected = (!asked.path.starts_with("/cdn/")).then(|| format!("Bearer {TOKEN}"));
            assert_eq!(asked.token, expected, "{}", asked.path);
        }
        state.asked.clear();
    });
    assert!(!format!("{:?}", hub(&server)).contains(TOKEN));
    // A commit that is in the cache needs no hub.
    let there = hub(&server);
    let again = |cache| {
        let model = model(&format!("hf:org/model@{COMMIT}"));
        let there = there.clone();
        async move {
            there
                .pull(&model, cache, |_| panic!("nothing is selected again"), &|_, _| ())
                .await
        }
    };
    assert_eq!(again(cache.path()).await.unwrap().came, 0);
    server.with(|state| assert!(state.asked.is_empty()));
    // Damage is noticed, and costs one file.
    std::fs::write(pulled.directory.join("tokenizer.json"), b"{\"a\":2}").unwrap();
    assert_eq!(again(cache.path()).await.unwrap().came, 7);
    // So is that of the inventory.
    let mut inventories = std::fs::read_dir(cache.path()).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        path.extension().is_some_and(|end| end == "json").then_some(path)
    });
    let inventory = inventories.next().unwrap();
    let text = std::fs::read_to_string(&inventory)
        .unwrap()
        .replace("3000000", "3000001");
    std::fs::write(&inventory, text).unwrap();
    assert_eq!(
        pull(&server, cache.path()).await.unwrap(),
        Brought { came: 0, ..pulled }
    );
}

#[tokio::test]
async fn a_connection_that_is_cut_is_taken_up_where_it_broke_and_a_later_start_goes_on_there() {
    let (server, cache) = (serving().await, tempfile::tempdir().unwrap());
    let name = "model.safetensors";
    server.with(|state| {
        // One of these tries makes no headway; the pull fails at the fourth such in a row.
        state
            .cuts
            .insert(name.into(), vec![1_200_000, 0, 700_000, 0, 0, 0, 0]);
    });
    let failed = pull(&server, cache.path()).await.unwrap_err();
    assert!(
        matches!(&failed, StoreError::Backend { key, .. } if key == name),
        "{failed:?}"
    );
    let begun = server.offsets(name);
    assert_eq!(begun[0], 0);
    assert!(begun.windows(2).all(|pair| pair[0] <= pair[1]), "{begun:?}");
    let left = *begun.last().unwrap();
    assert!(left > 1_200_000, "{begun:?}");
    server.with(|state| {
        state.asked.clear();
        state.cuts.clear();
    });
    let pulled = pull(&server, cache.path()).await.unwrap();
    assert_eq!(server.offsets(name), [left]);
    assert_eq!(pulled.came, 3_000_000 - left);
    assert_eq!(std::fs::read(pulled.directory.join(name)).unwrap(), weights());
}

#[tokio::test]
async fn a_server_that_knows_no_ranges_costs_time_and_no_bytes() {
    let (server, cache) = (serving().await, tempfile::tempdir().unwrap());
    server.with(|state| {
        state.whole_only = true;
        state.cuts.insert("model.safetensors".into(), vec![2_000_000]);
    });
    let pulled = pull(&server, cache.path()).await.unwrap();
    assert_eq!(pulled.came, 3_000_009);
    assert_eq!(
        std::fs::read(pulled.directory.join("model.safetensors")).unwrap(),
        weights()
    );
}

#[tokio::test]
async fn other_bytes_than_the_hub_says_are_refused_with_file_and_digests() {
    let (mut flipped, right) = (weights(), weights());
    flipped[2_500_000] ^= 1;
    let lies = [
        (
            "model.safetensors",
            flipped,
            checksum(Checksum::Sha256([0; 32]), &right),
        ),
        (
            "config.json",
            b"[]".to_vec(),
            checksum(Checksum::GitBlob([0; 20]), b"{}"),
        ),
    ];
    for (name, lie, expected) in lies {
        let (server, cache) = (serving().await, tempfile::tempdir().unwrap());
        server.with(|state| state.lies.insert(name.into(), lie));
        let refusal = pull(&server, cache.path()).await.unwrap_err();
        assert!(matches!(refusal, StoreError::Damaged { .. }), "{refusal:?}");
        let told = refusal.to_string();
        for named in [name, &expected, "hf:org/model@"] {
            assert!(told.contains(named), "{told}");
        }
        // Nothing of it stays: told right, it is brought.
        server.with(|state| state.lies.clear());
        assert_eq!(pull(&server, cache.path()).await.unwrap().files, 3);
    }
}

#[tokio::test]
async fn a_tree_that_leads_elsewhere_or_says_no_digest_is_refused() {
    let sha = "0".repeat(64);
    let entry = |path: &str, more: &str| {
        let path = serde_json::to_string(path).unwrap();
        format!(r#"[{{"type":"file","path":{path},"size":1{more}}}]"#)
    };
    let large = |path: &str, size: u64| entry(path, &format!(r#","lfs":{{"oid":"{sha}","size":{size}}}"#));
    let trees = [
        large("../config.json", 1),
        large("/etc/config.json", 1),
        large("a/../../config.json", 1),
        large("config.json", 1 << 50),
        entry("config.json", ""),
        entry("config.json", r#","oid":"xyz""#),
        "[]".into(),
        "{}".into(),
        "words".into(),
    ];
    for tree in trees {
        let (server, cache) = (serving().await, tempfile::tempdir().unwrap());
        server.with(|state| state.tree = Some(tree.clone()));
        let refusal = pull(&server, cache.path()).await.unwrap_err();
        assert!(
            matches!(refusal, StoreError::Inventory { .. }),
            "{tree}: {refusal:?}"
        );
    }
    let (server, cache) = (serving().await, tempfile::tempdir().unwrap());
    server.with(|state| state.next_page = Some("http://elsewhere.example/tree".into()));
    let refusal = pull(&server, cache.path()).await.unwrap_err();
    assert!(refusal.to_string().contains("another address"), "{refusal}");
}

#[tokio::test]
async fn what_the_hub_does_not_have_or_show_is_told_apart() {
    let server = serving().await;
    let hub = hub(&server);
    let missing = hub.resolve(&model("hf:org/model@v9")).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound { .. }), "{missing:?}");
    assert_eq!(missing.to_string(), "revision v9 is not in hf:org/model@v9");
    let hidden = hub.resolve(&model("hf:org/hidden")).await.unwrap_err();
    assert!(matches!(hidden, StoreError::Denied { .. }), "{hidden:?}");
    let told = format!("{hidden} {hidden:?}");
    assert!(told.contains("HF_TOKEN") && !told.contains(TOKEN), "{told}");
}

#[test]
fn an_endpoint_needs_encryption_or_permission_and_holds_no_secret() {
    let settings = StoreSettings::default();
    assert!(Hub::at("https://hub.example/mirror", None, None, &settings).is_ok());
    for (endpoint, token) in [
        ("http://hub.example", None),
        ("https://user:word@hub.example", None),
        ("https://hub.example/?key=word", None),
        ("word", None),
        ("https://hub.example", Some("wo\nrd")),
    ] {
        let refusal = Hub::at(endpoint, token, None, &settings).unwrap_err();
        let told = format!("{refusal} {refusal:?}");
        assert!(!told.contains("word") && !told.contains("wo\\nrd"), "{told}");
    }
}
