//! Callers that state settings which decide what becomes of tasks.

use super::resumed::{Place, long};
use super::*;
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
