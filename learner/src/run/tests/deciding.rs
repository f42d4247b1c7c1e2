//! Callers that state settings which decide what becomes of tasks.

use super::refused::refusal;
use super::resumed::{Place, long, published};
use super::*;
use crate::ledger::{Beginning, Identity};
use crate::measured_products::measured_products;
use common::DecidingSettings;
use proto::WireError;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_states_other_settings_than_the_run_is_refused_by_their_keys_and_who_states_none_is_not() {
    let settings = |temperature: &str| {
        let settings = [
            ("group_size", "6".to_owned()),
            ("temperature", temperature.to_owned()),
        ];
        DecidingSettings::of_table("actor", settings)
    };
    let place = Place::new();
    let inputs = LearnerInputs {
        settings: settings("1.0"),
        ..place.inputs()
    };
    let running = start_with(long(), inputs, place.directory.clone()).await;
    let mut client = LearnerServiceClient::connect(running.url.clone()).await.unwrap();
    let mut join = async |settings: DecidingSettings| {
        let request = pb::JoinRequest {
            header: Some(header(None, None, "a")),
            settings: settings.into(),
        };
        client.join(request).await
    };
    let unknown = DecidingSettings::of_table("actor", [("nucleus", "1".to_owned())]);
    for stated in [settings("1.0"), DecidingSettings::default(), unknown] {
        join(stated).await.unwrap();
    }
    let refusal = join(settings("0.7")).await.unwrap_err();
    assert!(WireError::is_other_settings(&refusal), "{refusal}");
    let told = refusal.message();
    assert!(
        told.contains("actor.temperature = 0.7, the run has 1.0") && !told.contains("group_size"),
        "{told}"
    );
    // The run goes on with whoever has its settings.
    TestActor::join(&running.url, "b").await.work(made_up).await;
    running.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_measures_on_other_products_than_the_run_holds_out_is_refused_with_both_and_who_does_not_say_is_not()
 {
    let running = start(long()).await;
    let mut client = LearnerServiceClient::connect(running.url.clone()).await.unwrap();
    let mut watch = async |settings: DecidingSettings| {
        let request = pb::WatchPolicyRequest {
            header: Some(header(None, None, "evaluate")),
            after: None,
            relay_port: 0,
            evaluates: true,
            settings: settings.into(),
        };
        client.watch_policy(request).await
    };
    let measured = |share| measured_products(&catalogue(&[None; 5]).holding_out(share));
    let own = measured_products(&catalogue(&[None; 5]));
    for settings in [DecidingSettings::default(), own] {
        watch(settings).await.unwrap();
    }
    let refusal = watch(measured(0.4)).await.err().unwrap();
    assert!(WireError::is_other_settings(&refusal), "{refusal}");
    let told = refusal.message();
    assert!(
        told.contains("catalogue.held_out = 2 products, blake3:")
            && told.contains("the run has none of 5, blake3:"),
        "{told}"
    );
    TestActor::join(&running.url, "a").await.work(made_up).await;
    running.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_first_actors_files_hold_is_the_runs_over_all_its_starts() {
    let place = Place::new();
    let holding = |content: &[u8]| {
        DecidingSettings::of_contents("actor.guardrails.text_blocklist", store::digest(content))
    };
    let join = async |url: &str, name: &str, settings: DecidingSettings| {
        let request = pb::JoinRequest {
            header: Some(header(None, None, name)),
            settings: settings.into(),
        };
        let mut client = LearnerServiceClient::connect(url.to_owned()).await.unwrap();
        client.join(request).await
    };
    for first in [true, false] {
        let running = place.start(long()).await;
        if first {
            join(&running.url, "earlier", DecidingSettings::default())
                .await
                .unwrap();
            join(&running.url, "first", holding(b"beer\n")).await.unwrap();
        }
        let refusal = join(&running.url, "other", holding(b"wine\n")).await.unwrap_err();
        let [begun, stated] =
            [&b"beer\n"[..], b"wine\n"].map(|list| store::digest(list).to_string()[..40].to_owned());
        let told = refusal.message();
        assert!(
            told.contains(&format!("actor.guardrails.text_blocklist.digest = {stated}"))
                && told.contains(&format!("the run has {begun}")),
            "{told}"
        );
        join(&running.url, "another", holding(b"beer\n")).await.unwrap();
        running.shutdown.cancel();
        running.ended.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_tells_no_catalogue_tells_by_its_records_and_the_catalogue_is_recorded_then() {
    let config = LearnerConfig {
        deterministic: false,
        versions: 200,
        ..long()
    };
    let place = Place::new();
    let first = place.start(config.clone()).await;
    let url = first.url.clone();
    let actor = tokio::spawn(async move { TestActor::join(&url, "a").await.work(made_up).await });
    published(&first.url, 2).await;
    first.shutdown.cancel();
    first.ended.await.unwrap().unwrap();
    actor.abort();
    let inputs = place.inputs();
    let identity = Identity {
        run: inputs.run_id.clone(),
        run_seed: inputs.run_seed,
    };
    let key = Identity::ledger_of(&identity.run);
    let journal = inputs
        .store
        .open_journal(&key, Duration::from_millis(5))
        .await
        .unwrap();
    journal
        .append([Beginning::of_earlier_version(identity).stored()])
        .await
        .unwrap();
    journal.close().await.unwrap();

    let divided = || LearnerInputs {
        catalogue: Arc::new(catalogue(&[None; 5]).holding_out(0.4)),
        ..place.inputs()
    };
    let message = refusal(config.clone(), divided()).await;
    assert!(
        message.contains("was about product p") && message.contains("catalogue.test_share = 0"),
        "{message}"
    );
    let later = place.start(config.clone()).await;
    TestActor::join(&later.url, "b").await;
    later.shutdown.cancel();
    later.ended.await.unwrap().unwrap();
    let message = refusal(config, divided()).await;
    assert!(
        message.contains("products held out: the run was begun with none of 5"),
        "{message}"
    );
}
