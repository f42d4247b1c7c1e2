//! Another model takes the place of the served one.

use super::served::{Served, Start, rewards, shades};
use crate::scripted::Scripted;
use crate::{ModelSource, RewardError};
use common::Digest;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Reads a scripted model: the first letter of a file is its name, what follows its form.
fn read(directory: &Path) -> Result<Scripted, RewardError> {
    let text = std::fs::read_to_string(directory.join("model")).unwrap_or_default();
    match text.as_bytes() {
        [name, b' ', form @ ..] => {
            let mut model = Scripted::named(*name);
            model.form = if form.is_empty() { "scripted" } else { "other" };
            Ok(model)
        }
        _ => Err(RewardError::Changing {
            directory: directory.to_owned(),
        }),
    }
}

async fn serve(directory: &Path, first: Scripted, poll_s: f64) -> (Served, Arc<Notify>) {
    let place = directory.to_owned();
    let source = ModelSource::new(directory, move || read(&place));
    let asked = source.asked.clone();
    let start = Start::with(|config| config.reload_poll_s = poll_s);
    (start.serve_from(first, Some(source)).await, asked)
}

fn write(directory: &Path, text: &str) {
    std::fs::write(directory.join("new"), text).unwrap();
    std::fs::rename(directory.join("new"), directory.join("model")).unwrap();
}

async fn served(server: &Served) -> Digest {
    let model = server.status().await.reward_model.unwrap();
    model.digest.unwrap().try_into().unwrap()
}

#[tokio::test]
async fn a_new_model_takes_over_between_batches_and_a_request_sees_one_model_only() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a ");
    let old = Scripted::named(b'a');
    let (server, asked) = serve(directory.path(), old.clone(), 0.0).await;
    server.ask(shades(&[&[1, 2]])).await.unwrap().unwrap();
    old.close();
    // Two batches of one request, the first of which runs when the new model comes.
    let pairs: Vec<Vec<u8>> = (100..250u8).map(|shade| vec![shade, shade + 1]).collect();
    let groups: Vec<&[u8]> = pairs.iter().map(Vec::as_slice).collect();
    let long = server.ask(shades(&groups));
    server.until_waiting(150).await;
    write(directory.path(), "b ");
    asked.notify_one();
    server
        .until("the new one serves", |status| status.reloads == 1)
        .await;
    let new = server.ask(shades(&[&[1, 2]])).await.unwrap().unwrap();
    let digest = |answer: &proto::pb::ScoreGroupsResponse| answer.reward_model.clone().unwrap().blake3;
    assert_eq!(digest(&new), [b'b'; 32]);
    // What the old model said is not remembered for the new one.
    assert_eq!(rewards(&new), [Ok(vec![1.098, 2.098])]);
    old.open();
    let long = long.await.unwrap().unwrap();
    assert_eq!(digest(&long), [b'a'; 32]);
    for (reward, pair) in rewards(&long).into_iter().zip(&pairs) {
        let expected: Vec<f64> = pair.iter().map(|shade| f64::from(*shade) + 0.097).collect();
        assert_eq!(reward.unwrap(), expected);
    }
    assert!(old.passes().len() > 2, "{}", old.passes().len());
    server.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_leaves_the_old_model_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a ");
    let (server, _) = serve(directory.path(), Scripted::named(b'a'), 0.02).await;
    for (content, word) in [("", "written to"), ("c x", "of form other")] {
        write(directory.path(), content);
        server
            .until(word, |status| status.reload_failure.contains(word))
            .await;
        assert_eq!(served(&server).await, Digest::from_bytes([b'a'; 32]));
        let answer = server.ask(shades(&[&[3, 4]])).await.unwrap().unwrap();
        assert!(rewards(&answer)[0].is_ok());
    }
    std::fs::remove_file(directory.path().join("model")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(served(&server).await, Digest::from_bytes([b'a'; 32]));
    write(directory.path(), "b ");
    server
        .until("the next one is served", |status| status.reloads == 1)
        .await;
    assert_eq!(served(&server).await, Digest::from_bytes([b'b'; 32]));
    assert_eq!(server.status().await.reload_failure, "");
    // Back again: its answers are remembered.
    write(directory.path(), "a ");
    server
        .until("the first one is served", |status| status.reloads == 2)
        .await;
    let before = server.status().await.cache_hits;
    server.ask(shades(&[&[3, 4]])).await.unwrap().unwrap();
    assert_eq!(server.status().await.cache_hits, before + 1);
    server.stop().await;
}

#[tokio::test]
async fn a_model_that_gives_no_number_is_not_served() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut model = crate::toy_log::model(models::ctr::CtrForm::Siamese, 3);
    model.calibration.reward_scale = f64::INFINITY;
    let inputs = crate::RewardServerInputs {
        model,
        source: None,
        placement: models::device::Placement::cpu(),
        run_complete: tokio_util::sync::CancellationToken::new(),
        deterministic: false,
        authorizer: Arc::new(proto::AllowLoopback),
        transport: proto::tls::Transport::plain(),
        instruments: crate::Instruments::default(),
    };
    let stop = tokio_util::sync::CancellationToken::new();
    let refusal = crate::run(crate::RewardServerConfig::default(), inputs, listener, stop).await;
    assert!(refusal.is_err());
}
