//! Who shares a pass through the model, and that nobody notices.

use super::served::{Start, rewards, shades};
use crate::scripted::{NO_NUMBER, PANICS, Scripted};
use crate::toy_log::{flat, model};
use crate::{CreativeGroup, ServedCaig, ServedModel, score_groups};
use burn::tensor::{DType, Device};
use data::cutout::encode_rgb_png;
use models::ctr::{CaigReward, CtrForm};
use proptest::prelude::*;
use proto::pb::{self, ScoreFailureReason};
use std::path::Path;
use std::time::Duration;

#[tokio::test]
async fn requests_that_come_together_share_a_pass_and_each_gets_its_own_answer() {
    let model = Scripted::named(0);
    let server = Start::with(|config| config.batch_wait_ms = 500)
        .serve(model.clone())
        .await;
    let asked = [[10, 20], [30, 40], [50, 60]].map(|pair| server.ask(shades(&[&pair])));
    for (answer, expected) in asked.into_iter().zip([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]]) {
        assert_eq!(rewards(&answer.await.unwrap().unwrap()), [Ok(expected.to_vec())]);
    }
    let passes = model.passes();
    assert_eq!((passes.len(), passes[0].len()), (1, 3), "{passes:?}");
    let status = server.status().await;
    assert_eq!(
        (status.batches, status.batches_shared, status.groups_computed),
        (1, 1, 3)
    );
    server.stop().await;
}

#[tokio::test]
async fn what_comes_while_the_model_works_goes_together_up_to_the_bound() {
    let model = Scripted::named(0);
    let server = Start::with(|config| config.max_batch = 4)
        .serve(model.clone())
        .await;
    model.close();
    let first = server.ask(shades(&[&[1, 2]]));
    while model.passes().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut later = vec![];
    for (place, pair) in [[3, 4], [5, 6], [7, 8]].iter().enumerate() {
        later.push(server.ask(shades(&[pair])));
        server.until_waiting(place as u64 + 2).await;
    }
    model.open();
    for answer in std::iter::once(first).chain(later) {
        assert!(rewards(&answer.await.unwrap().unwrap())[0].is_ok());
    }
    let sizes: Vec<usize> = model.passes().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 2, 1]);
    server.stop().await;
}

#[tokio::test]
async fn without_a_wait_requests_stay_apart_and_in_a_deterministic_run_groups_do() {
    for (deterministic, sizes) in [(false, vec![1, 2, 1]), (true, vec![1, 1, 1, 1])] {
        let model = Scripted::named(0);
        let start = Start {
            deterministic,
            ..Start::with(|config| config.batch_wait_ms = 0)
        };
        let server = start.serve(model.clone()).await;
        model.close();
        let mut asked = vec![];
        let requests: [(&[&[u8]], u64); 3] = [(&[&[1, 2]], 1), (&[&[3, 4], &[5, 6]], 3), (&[&[7, 8]], 4)];
        for (groups, waiting) in requests {
            asked.push(server.ask(shades(groups)));
            server.until_waiting(waiting).await;
        }
        model.open();
        for answer in asked {
            assert_eq!(answer.await.unwrap().unwrap().scored_alone, deterministic);
        }
        let found: Vec<usize> = model.passes().iter().map(Vec::len).collect();
        assert_eq!(found, sizes, "deterministic: {deterministic}");
        let says = server.status().await.reward_model.unwrap().scores_alone;
        assert_eq!(says, deterministic);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_costs_no_pass_and_no_memory() {
    let model = Scripted::named(0);
    let server = Start::default().serve(model.clone()).await;
    model.close();
    let first = server.ask(shades(&[&[1, 2]]));
    // The pass has begun: what comes now is not part of it.
    while model.passes().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let given_up = server.ask(shades(&[&[3, 4], &[5, 6]]));
    server.until_waiting(3).await;
    given_up.abort();
    server.until("it is gone", |status| status.requests == 1).await;
    model.open();
    first.await.unwrap().unwrap();
    server
        .until("its groups are forgotten", |status| {
            status.groups_abandoned == 2 && status.bytes == 0
        })
        .await;
    assert_eq!(model.passes(), [[[1, 2]]]);
    server.stop().await;
}

#[tokio::test]
async fn a_group_that_breaks_the_model_fails_alone_and_the_server_goes_on() {
    let model = Scripted::named(0);
    let server = Start::with(|config| config.batch_wait_ms = 300)
        .serve(model.clone())
        .await;
    let innocent = server.ask(shades(&[&[1, 2]]));
    let guilty = server.ask(shades(&[&[3, PANICS], &[5, 6], &[7, NO_NUMBER]]));
    assert_eq!(rewards(&innocent.await.unwrap().unwrap()), [Ok(vec![1.0, 2.0])]);
    let answers = rewards(&guilty.await.unwrap().unwrap());
    assert_eq!(answers[1], Ok(vec![5.0, 6.0]));
    for (place, word) in [(0, "panicked"), (2, "NaN")] {
        let failure = answers[place].as_ref().unwrap_err();
        assert_eq!(failure.reason(), ScoreFailureReason::Model);
        assert!(failure.detail.contains(word), "{failure:?}");
    }
    // They went together first.
    assert_eq!(model.passes()[0].len(), 4);
    let next = server.ask(shades(&[&[8, 9]])).await.unwrap().unwrap();
    assert_eq!(rewards(&next), [Ok(vec![8.0, 9.0])]);
    server.stop().await;
}

#[tokio::test]
async fn a_question_is_computed_once_whether_it_is_asked_at_the_same_time_or_later() {
    let model = Scripted::named(7);
    let server = Start::default().serve(model.clone()).await;
    model.close();
    let same = shades(&[&[1, 2], &[1, 2], &[2, 2]]);
    let first = server.ask(same.clone());
    server.until_waiting(2).await;
    let second = server.ask(same.clone());
    server.until("it waits", |status| status.groups_joined == 4).await;
    // Whoever asked first may go: the question is the other's too.
    first.abort();
    server.until("it is gone", |status| status.requests == 1).await;
    model.open();
    let second = second.await.unwrap().unwrap();
    let later = server.ask(same).await.unwrap().unwrap();
    assert_eq!(later, second);
    assert_eq!(
        rewards(&later),
        [
            Ok(vec![1.007, 2.007]),
            Ok(vec![1.007, 2.007]),
            Ok(vec![2.007, 2.007])
        ]
    );
    let computed: usize = model.passes().iter().map(Vec::len).sum();
    assert_eq!(computed, 2);
    let status = server.status().await;
    assert_eq!(
        (status.cache_hits, status.cached_groups, status.groups_computed),
        (3, 2, 2)
    );
    // Another caption is another question.
    let mut other = shades(&[&[1, 2]]);
    other.groups[0].caption = "blue lamp".into();
    server.ask(other).await.unwrap().unwrap();
    assert_eq!(server.status().await.groups_computed, 3);
    server.stop().await;
}

/// Requests of groups of shades with a caption's number.
type Requests = Vec<Vec<(usize, Vec<u8>)>>;

const CAPTIONS: [&str; 4] = ["red chair", "", "a blue lamp on a desk", "green vase"];

fn requests() -> impl Strategy<Value = Requests> {
    let group = (0..CAPTIONS.len(), prop::collection::vec(any::<u8>(), 2..5));
    prop::collection::vec(prop::collection::vec(group, 1..4), 1..5)
}

/// The answers of a server to requests that come at the same time, and those of the model to each group alone.
fn together_and_alone<M: ServedModel + Clone>(
    model: &M,
    requests: &Requests,
    deterministic: bool,
) -> Vec<[Vec<f64>; 2]> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let alone = |(caption, shades): &(usize, Vec<u8>)| {
        let group = CreativeGroup {
            caption: CAPTIONS[*caption].into(),
            creatives: shades.iter().map(|shade| flat(*shade)).collect(),
        };
        score_groups(model, &[group], 16).remove(0).unwrap().rewards
    };
    let message = |groups: &Vec<(usize, Vec<u8>)>| {
        let group = |(caption, shades): &(usize, Vec<u8>)| pb::ImageGroup {
            caption: CAPTIONS[*caption].into(),
            images: shades
                .iter()
                .map(|shade| encode_rgb_png(&flat(*shade)).into())
                .collect(),
            ..Default::default()
        };
        pb::ScoreGroupsRequest {
            header: super::served::header(),
            groups: groups.iter().map(group).collect(),
        }
    };
    runtime.block_on(async {
        let start = Start {
            deterministic,
            ..Start::with(|config| (config.batch_wait_ms, config.max_batch) = (20, 16))
        };
        let server = start.serve(model.clone()).await;
        let asked: Vec<_> = requests
            .iter()
            .map(|groups| server.ask(message(groups)))
            .collect();
        let mut both = vec![];
        for (answer, groups) in asked.into_iter().zip(requests) {
            let answer = rewards(&answer.await.unwrap().unwrap());
            let pairs = answer.into_iter().zip(groups);
            both.extend(pairs.map(|(together, group)| [together.unwrap(), alone(group)]));
        }
        server.stop().await;
        both
    })
}

fn caig() -> ServedCaig {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/parity/fixtures/caig-reward/1");
    let model = CaigReward::load(&directory, &Device::flex(), DType::F32, &mut |_, _| ()).unwrap();
    ServedCaig::new(model, "Which one suits {caption}?".into())
}

fn check_close<M: ServedModel + Clone>(model: &M, requests: &Requests) -> Result<(), TestCaseError> {
    for [together, alone] in together_and_alone(model, requests, false) {
        prop_assert_eq!(together.len(), alone.len());
        for (a, b) in together.iter().zip(&alone) {
            prop_assert!((a - b).abs() < 1e-5, "{together:?} is not {alone:?}");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn scores_are_those_of_scoring_alone_whoever_else_asks(requests in requests()) {
        check_close(&model(CtrForm::Siamese, 3), &requests)?;
        check_close(&model(CtrForm::Concat, 3), &requests)?;
    }

    #[test]
    fn in_a_deterministic_run_they_are_to_the_last_bit(requests in requests()) {
        for form in [CtrForm::Siamese, CtrForm::Concat] {
            for [together, alone] in together_and_alone(&model(form, 3), &requests, true) {
                prop_assert_eq!(together, alone);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn caigs_reward_model_scores_as_it_does_alone(requests in requests()) {
        check_close(&caig(), &requests)?;
    }
}
