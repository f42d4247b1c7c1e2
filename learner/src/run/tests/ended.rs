//! What a run that is complete leaves in its store for those who come later, and what becomes of it when the run goes on.

use super::resumed::{Place, long, published};
use super::*;
use crate::checkpoint::roll_back;
use common::run_end::{RunEnd, complete_key, end_prefix, standing_end};
use models::optimizer::Schedule;

/// The end that stands in a store.
pub(super) async fn standing(store: &Store, run: &RunId) -> Option<RunEnd> {
    let keys = store.list(&end_prefix(run)).await.unwrap();
    let epoch = standing_end(keys.iter().map(String::as_str))?;
    let json = store.get(&complete_key(run, epoch)).await.unwrap();
    let end: RunEnd = serde_json::from_slice(&json).unwrap();
    Some(end.of(run, epoch).unwrap())
}

/// Of so many versions, and may be made longer.
fn of_versions(versions: u64) -> LearnerConfig {
    let mut config = LearnerConfig { versions, ..long() };
    config.optimizer.schedule = Schedule::Constant;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i11_an_end_stands_while_a_run_is_complete_and_neither_before_nor_when_it_goes_on() {
    let place = Place::new();
    let (store, run) = (place.inputs().store, place.inputs().run_id);
    let stands = async || {
        let end = standing(&store, &run).await;
        end.map(|end| (end.version.epoch.0, end.version.number, end.steps))
    };
    let first = place.start(of_versions(4)).await;
    let url = first.url.clone();
    let actor = async move { TestActor::join(&url, "a").await.work_before(14, made_up).await };
    let actor = tokio::spawn(actor);
    published(&first.url, 2).await;
    first.shutdown.cancel();
    assert!(!first.ended.await.unwrap().unwrap().complete);
    actor.abort();
    assert_eq!(stands().await, None);

    let second = place.start(of_versions(4)).await;
    TestActor::join(&second.url, "b").await.work(made_up).await;
    // It has been told that the run is over, and so can everybody know.
    assert_eq!(stands().await, Some((2, 4, 8)));
    let summary = second.ended.await.unwrap().unwrap();
    let end = standing(&store, &run).await.unwrap();
    assert_eq!(end.adapter, summary.adapter_digest);

    // Complete again.
    let third = place.start(of_versions(4)).await;
    assert!(third.ended.await.unwrap().unwrap().complete);
    assert_eq!(stands().await, Some((3, 4, 8)));

    // Made longer.
    let fourth = place.start(of_versions(6)).await;
    let goes_on = TestActor::join(&fourth.url, "d").await;
    assert!(!goes_on.manifest.last);
    assert_eq!(stands().await, None);
    goes_on.work(made_up).await;
    assert_eq!(stands().await, Some((4, 6, 12)));
    let last = fourth.ended.await.unwrap().unwrap();

    roll_back(
        &store,
        &run,
        PolicyVersion {
            number: 5,
            ..last.version
        },
    )
    .await
    .unwrap();
    assert_eq!(stands().await, None);
}
