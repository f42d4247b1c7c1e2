//! Asking to take part in a run, with the settings that decide what becomes of its tasks.

use crate::{ActorError, peer::Peer};
use common::DecidingSettings;
use proto::{
    WireError,
    pb::{self, learner_service_client::LearnerServiceClient},
    trace::{self, TraceId},
};
use tonic::transport::Channel;

/// Asks the learner `peer`, at the beginning or again. That the settings are not the run's is an answer, and the end.
///
/// # Errors
/// [`ActorError`] when the learner stays unreachable or refuses; [`ActorError::OtherSettings`].
pub(super) async fn ask_to_join(
    peer: &Peer,
    client: &LearnerServiceClient<Channel>,
    trace: TraceId,
    header: pb::RequestHeader,
    settings: &DecidingSettings,
) -> Result<pb::JoinResponse, ActorError> {
    let answer = peer.until_answered(|| {
        let request = pb::JoinRequest {
            header: Some(header.clone()),
            settings: settings.clone().into(),
        };
        let mut client = client.clone();
        async move {
            match client.join(trace::request(trace, request)).await {
                Ok(answer) => Ok(Ok(answer.into_inner())),
                Err(status) if WireError::is_other_settings(&status) => Ok(Err(status)),
                Err(status) => Err(status),
            }
        }
    });
    answer.await?.map_err(|refusal| ActorError::OtherSettings {
        url: peer.url().to_owned(),
        reason: proto::one_line(refusal.message()),
    })
}

#[cfg(test)]
mod tests {
    use crate::{
        ActorConfig, ActorError,
        background::Background,
        learner_client::LearnerClient,
        scripted_learner::{Script, manifest, serve},
    };
    use common::{ActorId, OtherSetting};
    use proto::{Tcp, WireError};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_learner_is_told_what_decides_at_each_join_and_one_that_refuses_it_ends_the_actor_at_once() {
        let (url, script) = serve(manifest(2, 3, b"x"), Script::default()).await;
        let config = ActorConfig::default();
        let join = async || {
            let name = ActorId::new("actor-0").unwrap();
            let peer = LearnerClient::at(&url, Arc::new(Tcp), &name, &config);
            LearnerClient::join(peer, name, config.deciding(), 0, &config, &Background::shared()).await
        };
        let (client, _) = join().await.unwrap();
        client.newest_policy().await.unwrap();
        let stated = std::mem::take(&mut script.lock().unwrap().stated);
        assert_eq!(stated, [config.deciding(), config.deciding()]);

        let other = OtherSetting {
            key: "actor.temperature".into(),
            stated: "1.0".into(),
            expected: "0.7".into(),
        };
        let (caller, others) = ("actor-0".into(), vec![other]);
        script.lock().unwrap().refuses_to_join = Some(WireError::OtherSettings { caller, others }.into());
        for refusal in [join().await.err(), client.newest_policy().await.err()] {
            let refusal = refusal.unwrap();
            assert!(matches!(refusal, ActorError::OtherSettings { .. }), "{refusal}");
            let told = refusal.to_string();
            for words in [
                url.as_str(),
                "actor.temperature = 1.0, the run has 0.7",
                "configuration",
            ] {
                assert!(told.contains(words), "{words}: {told}");
            }
        }
        script.lock().unwrap().refuses_to_join = Some(WireError::NotJoined.into());
        let refusal = join().await.err().unwrap();
        assert!(matches!(refusal, ActorError::Refused { .. }), "{refusal}");
    }
}
